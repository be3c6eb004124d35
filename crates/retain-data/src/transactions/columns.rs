//! Which columns of a log say who bought, when, and for how much.

use arrow::array::{Array, ArrayRef};
use retain_core::{FeatureValue, parse_number};

use super::dates::DateFormat;
use super::error::TransactionError;
use crate::cells::Cells;
use crate::table::TableSource;

/// Names without case and punctuation, as logs usually have them.
const CUSTOMER_NAMES: [&str; 19] = [
    "customerid",
    "customer",
    "custid",
    "cust",
    "customerno",
    "customernumber",
    "userid",
    "user",
    "clientid",
    "client",
    "accountid",
    "account",
    "householdid",
    "household",
    "memberid",
    "member",
    "buyerid",
    "shopperid",
    "visitorid",
];
const DATE_NAMES: [&str; 19] = [
    "date",
    "day",
    "time",
    "datetime",
    "timestamp",
    "ts",
    "invoicedate",
    "orderdate",
    "orderedat",
    "purchasedate",
    "purchasedat",
    "transactiondate",
    "transactiontime",
    "transactiontimestamp",
    "saledate",
    "createdat",
    "occurredat",
    "eventtime",
    "paidat",
];
const AMOUNT_NAMES: [&str; 21] = [
    "amount",
    "value",
    "sales",
    "salesvalue",
    "revenue",
    "spend",
    "total",
    "totalamount",
    "totalprice",
    "totalvalue",
    "netamount",
    "grossamount",
    "ordervalue",
    "ordertotal",
    "orderamount",
    "linetotal",
    "lineamount",
    "paid",
    "purchaseamount",
    "transactionamount",
    "invoiceamount",
];

/// Share of the first rows that make a column one of dates or numbers.
const KIND_SHARE: f64 = 0.9;

/// The three columns, by position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogColumns {
    /// Who bought.
    pub customer: usize,
    /// When.
    pub date: usize,
    /// For how much.
    pub amount: usize,
}

/// What one of the columns is for.
struct Role {
    name: &'static str,
    flag: &'static str,
    known_names: &'static [&'static str],
    stated: Option<String>,
}

/// What the first rows of a column hold.
#[derive(Clone, Copy)]
struct Looks {
    dates: bool,
    numbers: bool,
}

impl Looks {
    const NOTHING: Self = Self { dates: false, numbers: false };
}

impl LogColumns {
    /// Takes the columns that are stated, and finds the others by name and by what their first rows hold.
    pub(super) fn find(
        source: &TableSource,
        customer: Option<&str>,
        date: Option<&str>,
        amount: Option<&str>,
    ) -> Result<Self, TransactionError> {
        let role =
            |name, flag, known_names, stated: Option<&str>| Role { name, flag, known_names, stated: stated.map(str::to_owned) };
        let customer = role("customer", "--customer", &CUSTOMER_NAMES[..], customer);
        let date = role("date", "--date", &DATE_NAMES[..], date);
        let amount = role("amount", "--amount", &AMOUNT_NAMES[..], amount);
        // What is stated is no candidate for anything else.
        let stated = [&date, &amount, &customer].map(|role| role.stated.as_deref());
        let free = |idx: &usize| !stated.contains(&Some(source.columns()[*idx].as_str()));
        let looks = look_at_all(source)?;
        let looks = |idx: usize| looks.get(idx).copied().unwrap_or(Looks::NOTHING);
        let date_idx = date.choose(source, |idx| free(&idx) && looks(idx).dates, true)?;
        let amount_idx = amount.choose(source, |idx| free(&idx) && looks(idx).numbers && idx != date_idx, false)?;
        let customer_idx = customer.choose(source, |idx| free(&idx) && idx != date_idx && idx != amount_idx, false)?;
        let columns = Self { customer: customer_idx, date: date_idx, amount: amount_idx };
        columns.check_distinct(source)?;
        Ok(columns)
    }

    fn check_distinct(self, source: &TableSource) -> Result<(), TransactionError> {
        let roles = [(self.customer, "customer"), (self.date, "date"), (self.amount, "amount")];
        for (position, (idx, second)) in roles.iter().enumerate() {
            if let Some((_, first)) = roles[..position].iter().find(|(other, _)| other == idx) {
                return Err(TransactionError::SameColumn { column: source.columns()[*idx].clone(), first, second });
            }
        }
        Ok(())
    }
}

impl Role {
    /// The stated column; else the only one with a usual name that could be it; else, `by_kind`, the only one that could be it.
    fn choose(&self, source: &TableSource, could_be: impl Fn(usize) -> bool, by_kind: bool) -> Result<usize, TransactionError> {
        if let Some(found) = &self.stated {
            return source.column_idx(found).ok_or_else(|| TransactionError::UnknownColumn {
                flag: self.flag,
                found: found.clone(),
                columns: quoted(source.columns().iter()),
            });
        }
        let possible: Vec<usize> = (0..source.columns().len()).filter(|&idx| could_be(idx)).collect();
        let is_usual = |idx: &&usize| self.known_names.contains(&plain(&source.columns()[**idx]).as_str());
        let usual: Vec<usize> = possible.iter().filter(is_usual).copied().collect();
        let candidates = match (&usual[..], &possible[..]) {
            ([only], _) => return Ok(*only),
            ([], [only]) if by_kind => return Ok(*only),
            ([], _) => possible,
            _ => usual,
        };
        let names = if candidates.is_empty() {
            quoted(source.columns().iter())
        } else {
            quoted(candidates.iter().map(|&idx| &source.columns()[idx]))
        };
        let n_candidates = match candidates.len() {
            0 => "none of the columns".to_owned(),
            1 => "1 column".to_owned(),
            n => format!("{n} columns"),
        };
        Err(TransactionError::Ambiguous { role: self.name, n_candidates, candidates: names, flag: self.flag })
    }
}

/// Lower-case letters and digits of a name.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn quoted<'a>(columns: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 20;
    let n_more = columns.len().saturating_sub(SHOWN);
    let names = columns.take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if n_more > 0 { format!("{names} and {n_more} more") } else { names }
}

/// What the first rows of every column hold.
///
/// A column of a type that is not read (a list, say) keeps the others from being read with it: then each is read alone.
fn look_at_all(source: &TableSource) -> Result<Vec<Looks>, TransactionError> {
    let all: Vec<usize> = (0..source.columns().len()).collect();
    if let Ok(mut batches) = source.batches(&all) {
        let first = batches.next().transpose()?;
        return Ok(first.map_or_else(Vec::new, |batch| batch.columns().iter().map(look).collect()));
    }
    let alone = |idx: usize| match source.batches(&[idx]) {
        Ok(mut batches) => Ok(batches.next().transpose()?.map_or(Looks::NOTHING, |batch| look(batch.column(0)))),
        Err(_) => Ok(Looks::NOTHING),
    };
    all.into_iter().map(alone).collect()
}

/// A column is of a kind when nearly all of its cells are: the few others are told of when they are read.
fn look(column: &ArrayRef) -> Looks {
    let cells = Cells::of(column);
    let is_number = |row: usize| match cells.value(row) {
        FeatureValue::Number(_) => true,
        FeatureValue::Text(text) => parse_number(text).is_some(),
        _ => false,
    };
    let (mut n_present, mut n_dates, mut n_numbers) = (0, 0, 0);
    for row in 0..column.len() {
        if !cells.text(row).trim().is_empty() {
            n_present += 1;
            n_dates += usize::from(DateFormat::ALL.iter().any(|format| format.day_of(cells, row).is_some()));
            n_numbers += usize::from(is_number(row));
        }
    }
    let nearly_all = |n: usize| n > 0 && n as f64 >= KIND_SHARE * f64::from(n_present);
    Looks { dates: nearly_all(n_dates), numbers: nearly_all(n_numbers) }
}
