//! The customer table in memory: ids, and one packed column for each that live models read.

use std::collections::HashMap;

use retain_core::{Day, FeatureSpec, FeatureValue};
use retain_data::Cells;

use super::column::{CHUNK_ROWS, Column, ColumnBuilder, ColumnError, Wanted};
use super::texts::{Texts, TooManyTexts};

/// Longest id that is kept; a longer one is no id.
const MAX_ID_BYTES: usize = 1024;
/// Rows that are read at once are fewer than this.
const MAX_BATCH_ROWS: usize = 8192;
/// A feature that the table has no column for.
const NO_COLUMN: u32 = u32::MAX;

/// All customers as of one reading of the files.
#[derive(Debug)]
pub(crate) struct Table {
    /// The number of an id is the number of its row.
    ids: Texts,
    /// The first row of each chunk.
    starts: Vec<u32>,
    observed: Column,
    columns: Vec<Column>,
    /// What models asked for when the table was read, and where it is; no place: the files have no such column.
    asked: Vec<(Wanted, Option<usize>)>,
    /// Which of these have a name.
    by_name: HashMap<String, Vec<usize>>,
    pub(super) counts: Counts,
}

/// What was found in the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: usize,
    /// Rows of a customer that has a newer one.
    pub(super) superseded: usize,
    /// Rows without an id, or with one that is too long.
    pub(super) without_id: usize,
    /// Rows whose date of observation is missing or cannot be read.
    pub(super) undated: usize,
}

/// Where a row's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    chunk: usize,
    row: usize,
}

/// For each feature of a model, the column it is read from.
pub(super) type Plan = Box<[u32]>;

impl Table {
    /// Where a customer's row is.
    pub(super) fn find(&self, id: &str) -> Option<Place> {
        self.ids.find(id).map(|row| place(&self.starts, row))
    }

    /// When a row was known.
    pub(super) fn observed(&self, place: Place) -> Day {
        match self.observed.value(place.chunk, place.row) {
            FeatureValue::Day(day) => day,
            // Every row was given one.
            _ => Day::from_days(f64::NAN),
        }
    }

    /// The value of a cell in a column of a plan.
    pub(super) fn value(&self, place: Place, column: u32) -> FeatureValue<'_> {
        if column == NO_COLUMN {
            return FeatureValue::Missing;
        }
        self.columns[column as usize].value(place.chunk, place.row)
    }

    /// Where these features are; none when the table was read without asking for one of them.
    pub(super) fn plan(&self, features: &[FeatureSpec]) -> Option<Plan> {
        let column = |feature: &FeatureSpec| {
            let same_name = self.by_name.get(&feature.name)?;
            let (_, place) = same_name.iter().map(|&position| &self.asked[position]).find(|(wanted, _)| wanted.is_of(feature))?;
            Some(place.map_or(NO_COLUMN, |place| place as u32))
        };
        features.iter().map(column).collect()
    }

    pub(super) fn n_customers(&self) -> usize {
        self.ids.len()
    }

    /// Columns that models asked for and the files do not have.
    pub(super) fn absent(&self) -> impl Iterator<Item = &str> {
        self.asked.iter().filter(|(_, place)| place.is_none()).map(|(wanted, _)| wanted.name.as_str())
    }

    /// Columns with cells that do not fit what models want of them, and how many.
    pub(super) fn bad_cells(&self) -> impl Iterator<Item = (&str, usize)> {
        let counted = self.asked.iter().filter_map(|(wanted, place)| Some((wanted.name.as_str(), self.columns[(*place)?].n_bad)));
        counted.filter(|(_, n_bad)| *n_bad > 0)
    }

    /// Bytes that the table takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::memory_bytes).sum();
        self.ids.memory_bytes() + self.starts.capacity() * size_of::<u32>() + self.observed.memory_bytes() + columns
    }
}

fn place(starts: &[u32], row: u32) -> Place {
    let chunk = starts.partition_point(|&start| start <= row) - 1;
    Place { chunk, row: (row - starts[chunk]) as usize }
}

/// A table while it is read.
#[derive(Debug)]
pub(super) struct TableBuilder {
    ids: Texts,
    /// The row of each id.
    rows: Vec<u32>,
    n_rows: u32,
    starts: Vec<u32>,
    observed: ColumnBuilder,
    columns: Vec<ColumnBuilder>,
    asked: Vec<(Wanted, Option<usize>)>,
    counts: Counts,
    /// Rows of the batch at hand that are kept.
    chosen: Vec<usize>,
}

/// A batch of rows, with the columns in the order of the builder.
pub(super) struct Batch<'b> {
    pub(super) n_rows: usize,
    pub(super) ids: Cells<'b>,
    /// None: all rows were known when the file was written.
    pub(super) observed: Option<Cells<'b>>,
    pub(super) written: Day,
    pub(super) columns: Vec<Cells<'b>>,
}

/// Why a batch cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BatchError {
    /// More rows than are numbered.
    TooManyRows,
    /// More ids, or bytes of them, than are numbered.
    TooManyIds,
    /// A column cannot be read.
    Column { name: String, problem: ColumnError },
}

impl TableBuilder {
    /// A table of these columns; those without `true` the files do not have.
    pub(super) fn new(asked: Vec<(Wanted, bool)>, observed: Option<&str>) -> Self {
        let present = asked.iter().filter(|(_, is_there)| *is_there);
        let columns: Vec<_> = present.map(|(wanted, _)| ColumnBuilder::new(wanted.clone())).collect();
        let mut places = 0..columns.len();
        let asked = asked.into_iter().map(|(wanted, is_there)| (wanted, if is_there { places.next() } else { None })).collect();
        Self {
            ids: Texts::default(),
            rows: Vec::new(),
            n_rows: 0,
            starts: vec![0],
            observed: ColumnBuilder::new(Wanted::observation(observed.unwrap_or_default())),
            columns,
            asked,
            counts: Counts::default(),
            chosen: Vec::new(),
        }
    }

    /// Adds rows; of several rows of one customer the one that was known last counts, and of those the last one.
    pub(super) fn add(&mut self, batch: &Batch<'_>) -> Result<(), BatchError> {
        if self.observed.n_open() + MAX_BATCH_ROWS.max(batch.n_rows) > CHUNK_ROWS {
            self.close_chunk();
        }
        self.choose(batch)?;
        for (column, cells) in self.columns.iter_mut().zip(&batch.columns) {
            let added = self.chosen.iter().try_for_each(|&row| column.push(*cells, row));
            added.map_err(|problem| BatchError::Column { name: column.name().to_owned(), problem })?;
        }
        let n_live = self.ids.len();
        // A history of every customer would otherwise be held at once.
        if self.n_rows as usize > 2 * n_live + CHUNK_ROWS {
            self.drop_superseded();
        }
        Ok(())
    }

    fn choose(&mut self, batch: &Batch<'_>) -> Result<(), BatchError> {
        self.chosen.clear();
        for row in 0..batch.n_rows {
            self.counts.rows += 1;
            let id = batch.ids.text(row);
            if id.trim().is_empty() || id.len() > MAX_ID_BYTES {
                self.counts.without_id += 1;
                continue;
            }
            let observed = self.observation(batch, row);
            let (number, is_new) = self.ids.number(&id).map_err(|TooManyTexts| BatchError::TooManyIds)?;
            if !is_new {
                self.counts.superseded += 1;
                let Place { chunk, row } = place(&self.starts, self.rows[number as usize]);
                if self.observed.number(chunk, row) > observed.days() {
                    continue;
                }
            }
            if is_new {
                self.rows.push(self.n_rows);
            } else {
                self.rows[number as usize] = self.n_rows;
            }
            self.n_rows = self.n_rows.checked_add(1).ok_or(BatchError::TooManyRows)?;
            self.observed
                .push_day(observed)
                .map_err(|problem| BatchError::Column { name: self.observed.name().to_owned(), problem })?;
            self.chosen.push(row);
        }
        Ok(())
    }

    fn observation(&mut self, batch: &Batch<'_>, row: usize) -> Day {
        let Some(cells) = batch.observed else { return batch.written };
        let observed = match cells.value(row) {
            FeatureValue::Day(day) => Some(day),
            FeatureValue::Text(text) => Day::parse(text).ok(),
            _ => None,
        };
        observed.unwrap_or_else(|| {
            self.counts.undated += 1;
            batch.written
        })
    }

    fn close_chunk(&mut self) {
        if self.observed.n_open() == 0 {
            return;
        }
        self.observed.close_chunk();
        self.columns.iter_mut().for_each(ColumnBuilder::close_chunk);
        self.starts.push(self.n_rows);
    }

    /// Leaves the newest row of each customer, in the order in which customers first came.
    fn drop_superseded(&mut self) {
        self.close_chunk();
        let rows = &self.rows;
        let starts = &self.starts;
        let places = || rows.iter().map(|&row| place(starts, row)).map(|Place { chunk, row }| (chunk, row));
        self.observed.keep(places());
        self.columns.iter_mut().for_each(|column| column.keep(places()));
        self.n_rows = self.rows.len() as u32;
        self.rows = (0..self.n_rows).collect();
        self.starts = (0..self.n_rows).step_by(CHUNK_ROWS).collect();
        // Where the next chunk begins, which is open.
        self.starts.push(self.n_rows);
    }

    /// The table, when all rows were added.
    pub(super) fn finish(mut self) -> Table {
        if self.n_rows as usize > self.ids.len() {
            self.drop_superseded();
        }
        self.close_chunk();
        let Self { mut ids, mut starts, observed, columns, asked, counts, .. } = self;
        // The last one is where nothing begins any more.
        starts.pop();
        starts.shrink_to_fit();
        ids.shrink();
        let columns = columns.into_iter().map(ColumnBuilder::finish).collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, (wanted, _)) in asked.iter().enumerate() {
            by_name.entry(wanted.name.clone()).or_default().push(position);
        }
        Table { ids, starts, observed: observed.finish(), columns, asked, by_name, counts }
    }
}
