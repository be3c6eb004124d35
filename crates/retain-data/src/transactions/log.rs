//! Reads a log: two passes, one to settle how dates are written, one to gather every customer's purchase days.
//!
//! What is kept grows with customers and their days, not with rows.

use std::collections::HashMap;

use retain_core::{Day, FeatureValue, MissingMarkers, parse_number};

use super::columns::LogColumns;
use super::dates::{DateFormat, DateFormats};
use super::error::TransactionError;
use crate::cells::Cells;
use crate::error::Warning;
use crate::table::TableSource;
use crate::task::shorten;

/// Larger amounts are slips; sums of these stay exact to the cent for all practical logs.
const MAX_AMOUNT: f64 = 1e15;
/// Row numbers told of each kind of row that was left out.
const EXAMPLES: usize = 5;
/// Days out of order that gather before they are sorted in.
const SLACK: usize = 64;

/// What the caller knows about a log; all else is found.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Column with the customer.
    pub customer: Option<String>,
    /// Column with the date.
    pub date: Option<String>,
    /// Column with the amount.
    pub amount: Option<String>,
    /// How dates are written.
    pub date_format: Option<DateFormat>,
}

/// One day of a customer with at least one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PurchaseDay {
    /// Days since 1970-01-01.
    pub day: i32,
    /// Rows with an amount of zero or more; none: there were only refunds.
    pub n_rows: u32,
    /// Sum of the amounts above zero.
    pub paid: f64,
    /// Sum of all amounts.
    pub net: f64,
}

/// A customer and its days, in order of time, each day once.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// As the log writes it, without surrounding blanks.
    pub id: String,
    /// At least one.
    pub days: Vec<PurchaseDay>,
}

/// How many rows there were, and how many of them are special.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Rows of the log.
    pub n_rows: usize,
    /// Rows with an amount below zero.
    pub n_refunds: usize,
    /// Rows with an amount of zero.
    pub n_zero_amounts: usize,
    /// Left out: no customer. The first row numbers, from 1, and how many.
    pub without_customer: (Vec<usize>, usize),
    /// Left out: no date.
    pub without_date: (Vec<usize>, usize),
    /// Left out: no amount.
    pub without_amount: (Vec<usize>, usize),
}

/// A log as its customers' purchase days.
#[derive(Debug, Clone)]
pub struct TransactionLog {
    /// Which columns were read.
    pub columns: LogColumns,
    /// How the dates were written.
    pub date_format: DateFormat,
    /// In the order of their first row.
    pub customers: Vec<Customer>,
    /// First and last day of all rows with a date, with or without a customer.
    pub range: (Day, Day),
    /// How many rows were what.
    pub counts: LogCounts,
    /// What the table's reader had to say.
    pub warnings: Vec<Warning>,
}

impl TransactionLog {
    /// Reads a log to its end.
    ///
    /// # Errors
    /// [`TransactionError`] names the column that is not to be found, the dates that contradict each other, or the first cell that
    /// cannot be read.
    pub fn read(source: &TableSource, options: &LogOptions) -> Result<Self, TransactionError> {
        let names = [&options.customer, &options.date, &options.amount].map(Option::as_deref);
        let columns = LogColumns::find(source, names[0], names[1], names[2])?;
        let date_format = settle_dates(source, columns.date, options.date_format)?;
        let mut gathering = Gathering::new(source, columns, date_format);
        let mut idxs = [columns.customer, columns.date, columns.amount];
        idxs.sort_unstable();
        let mut batches = source.batches(&idxs)?;
        for batch in batches.by_ref() {
            let batch = batch?;
            // A batch has its columns in the order of the table.
            let cells = |idx: usize| Cells::of(batch.column(idxs.iter().position(|known| *known == idx).unwrap_or(0)));
            let row_cells = [cells(columns.customer), cells(columns.date), cells(columns.amount)];
            for row in 0..batch.num_rows() {
                gathering.add(row_cells, row)?;
            }
        }
        gathering.finish(batches.warnings())
    }
}

fn settle_dates(source: &TableSource, column_idx: usize, stated: Option<DateFormat>) -> Result<DateFormat, TransactionError> {
    let mut formats = DateFormats::new(stated);
    let (markers, mut n_rows) = (MissingMarkers::usual(), 0);
    'table: for batch in source.batches(&[column_idx])? {
        let batch = batch?;
        let cells = Cells::of(batch.column(0));
        for row in 0..batch.num_rows() {
            n_rows += 1;
            if !markers.is_text(&cells.text(row)) && !formats.see(cells, row, n_rows) {
                break 'table;
            }
        }
    }
    formats.settle(&source.columns()[column_idx])
}

/// The second pass.
struct Gathering<'s> {
    source: &'s TableSource,
    columns: LogColumns,
    date_format: DateFormat,
    markers: MissingMarkers,
    positions: HashMap<Box<str>, usize>,
    customers: Vec<(String, Days)>,
    range: Option<(i32, i32)>,
    counts: LogCounts,
}

impl<'s> Gathering<'s> {
    fn new(source: &'s TableSource, columns: LogColumns, date_format: DateFormat) -> Self {
        Self {
            source,
            columns,
            date_format,
            markers: MissingMarkers::usual(),
            positions: HashMap::new(),
            customers: Vec::new(),
            range: None,
            counts: LogCounts::default(),
        }
    }

    fn add(&mut self, [customer, date, amount]: [Cells<'_>; 3], row: usize) -> Result<(), TransactionError> {
        self.counts.n_rows += 1;
        let row_number = self.counts.n_rows;
        let missing = |cells: Cells<'_>| self.markers.is_text(&cells.text(row));
        let (no_customer, no_date, no_amount) = (missing(customer), missing(date), missing(amount));
        if no_date {
            note(&mut self.counts.without_date, row_number);
            return Ok(());
        }
        let day = self.date_format.day_of(date, row).ok_or_else(|| self.unread(self.columns.date, "a date", date, row))?;
        self.range = Some(self.range.map_or((day, day), |(first, last)| (first.min(day), last.max(day))));
        if no_customer {
            note(&mut self.counts.without_customer, row_number);
        } else if no_amount {
            note(&mut self.counts.without_amount, row_number);
        } else {
            let amount =
                number(amount, row).ok_or_else(|| self.unread(self.columns.amount, "a number up to 1e15", amount, row))?;
            self.counts.n_refunds += usize::from(amount < 0.0);
            self.counts.n_zero_amounts += usize::from(amount == 0.0);
            self.days_of(customer.text(row).trim()).add(day, amount);
        }
        Ok(())
    }

    fn days_of(&mut self, id: &str) -> &mut Days {
        let position = if let Some(&position) = self.positions.get(id) {
            position
        } else {
            self.positions.insert(id.into(), self.customers.len());
            self.customers.push((id.to_owned(), Days::default()));
            self.customers.len() - 1
        };
        &mut self.customers[position].1
    }

    fn unread(&self, column_idx: usize, expected: &'static str, cells: Cells<'_>, row: usize) -> TransactionError {
        let column = self.source.columns()[column_idx].clone();
        TransactionError::Cell { row: self.counts.n_rows, column, expected, found: shorten(&cells.text(row)) }
    }

    fn finish(self, warnings: Vec<Warning>) -> Result<TransactionLog, TransactionError> {
        let Some((first, last)) = self.range.filter(|_| !self.customers.is_empty()) else {
            return Err(TransactionError::NothingUsable { n_rows: self.counts.n_rows, left_out: self.counts.left_out() });
        };
        let customers = self.customers.into_iter().map(|(id, days)| Customer { id, days: days.finish() }).collect();
        Ok(TransactionLog {
            columns: self.columns,
            date_format: self.date_format,
            customers,
            range: (Day::from_days(f64::from(first)), Day::from_days(f64::from(last))),
            counts: self.counts,
            warnings,
        })
    }
}

impl LogCounts {
    /// The kinds of rows that were left out, with how many and the first of them; blank where there are none.
    pub fn left_out(&self) -> String {
        let kinds = [(&self.without_customer, "customer"), (&self.without_date, "date"), (&self.without_amount, "amount")];
        let told = kinds.iter().filter(|((_, n), _)| *n > 0).map(|((rows, n), what)| {
            let rows: Vec<String> = rows.iter().map(usize::to_string).collect();
            let more = if *n > rows.len() { ", …" } else { "" };
            format!("{n} without {what} (rows {}{more})", rows.join(", "))
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

fn note((rows, n): &mut (Vec<usize>, usize), row_number: usize) {
    if rows.len() < EXAMPLES {
        rows.push(row_number);
    }
    *n += 1;
}

fn number(cells: Cells<'_>, row: usize) -> Option<f64> {
    let number = match cells.value(row) {
        FeatureValue::Number(number) => Some(number),
        FeatureValue::Text(text) => parse_number(text),
        _ => None,
    };
    number.filter(|number| number.abs() <= MAX_AMOUNT)
}

/// Days being gathered: sorted up to `n_sorted`, then as they came.
#[derive(Default)]
struct Days {
    days: Vec<PurchaseDay>,
    n_sorted: usize,
}

impl Days {
    fn add(&mut self, day: i32, amount: f64) {
        let row = PurchaseDay { day, n_rows: u32::from(amount >= 0.0), paid: amount.max(0.0), net: amount };
        let all_sorted = self.n_sorted == self.days.len();
        match self.days.last_mut() {
            Some(last) if last.day == day => last.merge(&row),
            // Most logs are in order of time.
            Some(last) if last.day > day || !all_sorted => self.days.push(row),
            _ => {
                self.days.push(row);
                self.n_sorted += 1;
            }
        }
        // Sorting when the unsorted part has grown as large as the sorted one keeps the work at n log n in any order of rows.
        if self.days.len() >= 2 * self.n_sorted + SLACK {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.days.sort_by_key(|day| day.day);
        self.days.dedup_by(|next, kept| {
            let same = kept.day == next.day;
            if same {
                kept.merge(next);
            }
            same
        });
        self.n_sorted = self.days.len();
    }

    fn finish(mut self) -> Vec<PurchaseDay> {
        self.sort();
        self.days.shrink_to_fit();
        self.days
    }
}

impl PurchaseDay {
    fn merge(&mut self, other: &Self) {
        self.n_rows = self.n_rows.saturating_add(other.n_rows);
        self.paid += other.paid;
        self.net += other.net;
    }

    /// Whether anything was bought, rather than only given back.
    pub fn is_purchase(&self) -> bool {
        self.n_rows > 0
    }
}
