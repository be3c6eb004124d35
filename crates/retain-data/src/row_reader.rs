//! Streams rows to score: column by column through Arrow batches, a bad row keeping its place.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use retain_core::{Day, DurationSpec, FeatureSchema, Rows, ValueError, ValueNote};

use crate::cells::{BLOCK_ROWS, Cells, FeatureEncoder, ShortCuts};
use crate::error::{DataError, RejectedCell, Warning};
use crate::load::{Layout, check_observation};
use crate::profile::missing_markers;
use crate::read::{check_schema_columns, nearest_hint};
use crate::table::{TableBatches, TableSource};
use crate::target::amount;

/// Rows of one batch, encoded.
#[derive(Debug, Clone)]
pub struct ScoringBatch {
    /// Position of the first row in the table, from 0.
    pub first_row: usize,
    /// One encoded row per row of the table; a row with a rejected cell is all missing.
    pub rows: Rows,
    /// The customer of each row.
    pub entity: Names,
    /// The first rejected cell of each bad row, in row order.
    pub rejected: Vec<RejectedCell>,
    /// Whether the row can be scored.
    pub row_ok: Vec<bool>,
    /// For each feature, how many of the good rows were unusual.
    pub notes: Vec<FeatureNotes>,
    /// Where asked for: days that each customer has been there already; NaN in a row that cannot be scored.
    pub elapsed_days: Option<Vec<f64>>,
}

/// How often a feature was unusual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeatureNotes {
    /// Rows without a value.
    pub missing: usize,
    /// Rows with a category that training never saw.
    pub unseen: usize,
    /// Rows with a number outside the range of training.
    pub out_of_range: usize,
}

/// The customer of each row of a batch, exactly as the table has it; the row number, from 1, where the schema has no entity.
#[derive(Debug, Clone)]
pub struct Names(ArrayRef);

/// Reads a table by the schema of a model, batch after batch of at most 8192 rows, in the order of the file.
///
/// As an iterator it reads and encodes in turn; [`RowReader::into_parts`] lets one thread read while others encode.
pub struct RowReader {
    batches: RawBatches,
    encoder: RowEncoder,
}

/// The batches of a table, as they were read.
pub struct RawBatches {
    batches: TableBatches,
    n_read: usize,
}

/// A batch as it was read.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// Position of the first row in the table, from 0.
    first_row: usize,
    batch: RecordBatch,
}

/// Encodes the batches of a table by the schema of a model.
pub struct RowEncoder {
    schema: FeatureSchema,
    /// One for each feature.
    short_cuts: Vec<ShortCuts>,
    layout: Layout,
    reference: Option<Day>,
    elapsed: Option<Elapsed>,
}

/// The column that says how long customers have been there.
struct Elapsed {
    spec: DurationSpec,
    /// Position in a batch.
    position: usize,
}

impl RowReader {
    /// Prepares to read `source`; `reference` is the day to which dates count where a row has no date of observation.
    ///
    /// # Errors
    /// [`DataError`] when the table lacks features or the entity of the schema, all named at once, or when the model has
    /// dates and neither the table nor `reference` says when the rows were observed.
    pub fn open(source: &TableSource, schema: &FeatureSchema, reference: Option<Day>) -> Result<RowReader, DataError> {
        check_schema_columns(source, schema)?;
        Self::new(source, schema, reference, None)
    }

    /// The same, and reads how long each customer has been there from the column of `elapsed`.
    ///
    /// # Errors
    /// As [`RowReader::open`], and [`DataError::UnknownColumn`] when the table has no such column.
    pub fn open_with_elapsed(
        source: &TableSource,
        schema: &FeatureSchema,
        reference: Option<Day>,
        elapsed: DurationSpec,
    ) -> Result<RowReader, DataError> {
        check_schema_columns(source, schema)?;
        if source.column_idx(&elapsed.column).is_none() {
            let hint = nearest_hint(source, &elapsed.column);
            return Err(DataError::UnknownColumn { named_in: "`--elapsed`".to_owned(), columns: vec![elapsed.column], hint });
        }
        Self::new(source, schema, reference, Some(elapsed))
    }

    fn new(
        source: &TableSource,
        schema: &FeatureSchema,
        reference: Option<Day>,
        elapsed: Option<DurationSpec>,
    ) -> Result<RowReader, DataError> {
        // The layout keeps a place for a column that groups rows, and scoring has no use for one: any column may stand there.
        let layout = Layout::new(source, schema, None, elapsed.as_ref().map(|elapsed| elapsed.column.as_str()));
        check_observation(schema, &layout, reference)?;
        let batches = source.batches(&layout.idxs)?;
        let elapsed = elapsed.zip(layout.group).map(|(spec, position)| Elapsed { spec, position });
        let short_cuts = schema.features.iter().map(ShortCuts::of).collect();
        let encoder = RowEncoder { schema: schema.clone(), short_cuts, layout, reference, elapsed };
        Ok(Self { batches: RawBatches { batches, n_read: 0 }, encoder })
    }

    /// What reads and what encodes.
    pub fn into_parts(self) -> (RawBatches, RowEncoder) {
        (self.batches, self.encoder)
    }
}

impl RawBatches {
    /// What the reader had to do to the text so far, such as reading it as Windows-1252.
    pub fn warnings(&self) -> Vec<Warning> {
        self.batches.warnings()
    }
}

impl RawBatch {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The batch in pieces of at most `n_rows` rows, at least one, in order; nothing is copied.
    pub fn pieces(&self, n_rows: usize) -> impl Iterator<Item = RawBatch> {
        (0..self.n_rows()).step_by(n_rows.max(1)).map(move |first| RawBatch {
            first_row: self.first_row + first,
            batch: self.batch.slice(first, n_rows.max(1).min(self.n_rows() - first)),
        })
    }

    /// Number of cells that were read.
    pub fn n_cells(&self) -> usize {
        self.batch.num_rows() * self.batch.num_columns()
    }
}

impl RowEncoder {
    /// Encodes a batch of the table that this was opened for.
    ///
    /// # Panics
    /// When the batch is of another table.
    pub fn encode(&self, RawBatch { first_row, batch }: &RawBatch) -> ScoringBatch {
        let (n_rows, n_features) = (batch.num_rows(), self.schema.n_features());
        let mut problems: Vec<Option<(&str, ValueError)>> = vec![None; n_rows];
        let mut noted = NotedRows::new(n_features);
        let observed = self.observed(batch, &mut problems);
        let mut values = vec![f64::NAN; n_rows * n_features];
        let columns = self.schema.features.iter().zip(&self.short_cuts).zip(&self.layout.features);
        let mut columns: Vec<(&str, Cells<'_>, FeatureEncoder<'_>)> = columns
            .map(|((spec, short_cuts), &position)| {
                (spec.name.as_str(), Cells::of(batch.column(position)), FeatureEncoder::new(spec, short_cuts))
            })
            .collect();
        for first in (0..n_rows).step_by(BLOCK_ROWS) {
            for (feature_idx, (name, cells, encoder)) in columns.iter_mut().enumerate() {
                let rows = first..n_rows.min(first + BLOCK_ROWS);
                let out = values[first * n_features + feature_idx..].iter_mut().step_by(n_features);
                let mut unusual = encoder.encode_usual(*cells, rows, out);
                while unusual != 0 {
                    let row = first + unusual.trailing_zeros() as usize;
                    unusual &= unusual - 1;
                    match encoder.encode(*cells, row, observed.get(row).copied().flatten()) {
                        Ok((number, note)) => {
                            values[row * n_features + feature_idx] = number;
                            noted.add(row, feature_idx, note);
                        }
                        Err(problem) => {
                            problems[row].get_or_insert((name, problem));
                        }
                    }
                }
            }
        }
        let elapsed_days = self.elapsed.as_ref().map(|elapsed| elapsed.days(batch, &mut problems));
        let row_ok: Vec<bool> = problems.iter().map(Option::is_none).collect();
        for row in (0..n_rows).filter(|&row| !row_ok[row]) {
            values[row * n_features..(row + 1) * n_features].fill(f64::NAN);
        }
        let rejected = self.name_problems(*first_row, problems);
        let rows = Rows::from_values(n_features, values).expect("there are n_rows times n_features values");
        let (entity, notes) = (self.names(*first_row, batch), noted.count(&row_ok));
        ScoringBatch { first_row: *first_row, rows, entity, rejected, notes, row_ok, elapsed_days }
    }

    fn observed<'s>(&'s self, batch: &RecordBatch, problems: &mut [Option<(&'s str, ValueError)>]) -> Vec<Option<Day>> {
        if !self.schema.has_dates() {
            return Vec::new();
        }
        let column = self.schema.observed_at.as_deref().unwrap_or_default();
        self.layout.observed(batch, self.reference, |row, problem| problems[row] = Some((column, problem)))
    }

    fn names(&self, first_row: usize, batch: &RecordBatch) -> Names {
        let numbered = || Names::numbered(first_row, batch.num_rows());
        self.layout.entity.map_or_else(numbered, |position| Names::of_column(batch.column(position)))
    }

    fn name_problems(&self, first_row: usize, problems: Vec<Option<(&str, ValueError)>>) -> Vec<RejectedCell> {
        let named = problems.into_iter().enumerate().filter_map(|(row, problem)| problem.map(|problem| (row, problem)));
        named
            .map(|(row, (column, problem))| RejectedCell {
                row: first_row + row + 1,
                column: column.to_owned(),
                is_feature: self.schema.feature_idx(column).is_some(),
                problem,
            })
            .collect()
    }
}

impl Names {
    /// The names in a column of [`crate::TableBatches`].
    ///
    /// # Panics
    /// When the array is of a type that [`crate::TableBatches`] does not have.
    pub fn of_column(column: &ArrayRef) -> Self {
        // Looks at the type alone.
        let _ = Cells::of(column);
        Self(Arc::clone(column))
    }

    /// The numbers of rows as names: `first_row` is the position of the first, from 0, and names are counted from 1.
    pub fn numbered(first_row: usize, n_rows: usize) -> Self {
        Self(Arc::new(Int64Array::from_iter_values((1..=n_rows).map(|row| (first_row + row) as i64))))
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.0.len()
    }

    /// The name in a row, blank where there is none.
    pub fn text(&self, row: usize) -> Cow<'_, str> {
        Cells::of(&self.0).text(row)
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        (0..self.n_rows()).map(|row| self.text(row))
    }

    /// The names of some rows, beginning at `first`.
    #[must_use]
    pub fn slice(&self, first: usize, n_rows: usize) -> Names {
        Self(self.0.slice(first, n_rows))
    }

    /// The names as a column: whole numbers as such, everything else as text without missing values.
    pub fn to_array(&self) -> ArrayRef {
        match self.0.data_type() {
            DataType::Int64 => Arc::clone(&self.0),
            DataType::Utf8 if self.0.null_count() == 0 => Arc::clone(&self.0),
            _ => Arc::new(self.iter().map(Some).collect::<StringArray>()),
        }
    }
}

impl Elapsed {
    /// Days of each row; a cell without a number from 0 on makes its row one that cannot be scored.
    fn days<'s>(&'s self, batch: &RecordBatch, problems: &mut [Option<(&'s str, ValueError)>]) -> Vec<f64> {
        let (cells, markers) = (Cells::of(batch.column(self.position)), missing_markers(None));
        let days = |(row, known): (usize, &mut Option<(&'s str, ValueError)>)| {
            let problem = match amount(cells.value(row), &markers) {
                Ok(Some(units)) if units >= 0.0 => return units * self.spec.unit_days,
                Ok(units) => ValueError::NotDuration { found: units.map_or_else(String::new, |units| units.to_string()) },
                Err(problem) => problem,
            };
            known.get_or_insert((self.spec.column.as_str(), problem));
            f64::NAN
        };
        problems.iter_mut().enumerate().map(days).collect()
    }
}

impl Iterator for RowReader {
    type Item = Result<ScoringBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.batches.next()?.map(|batch| self.encoder.encode(&batch)))
    }
}

impl Iterator for RawBatches {
    type Item = Result<RawBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let first_row = self.n_read;
        self.n_read += batch.num_rows();
        Some(Ok(RawBatch { first_row, batch }))
    }
}

/// Unusual cells, kept until it is known which rows are good.
struct NotedRows {
    cells: Vec<(u32, u32, ValueNote)>,
    n_features: usize,
}

impl NotedRows {
    fn new(n_features: usize) -> Self {
        Self { cells: Vec::new(), n_features }
    }

    fn add(&mut self, row: usize, feature_idx: usize, note: ValueNote) {
        if note != ValueNote::Usual {
            self.cells.push((row as u32, feature_idx as u32, note));
        }
    }

    fn count(&self, row_ok: &[bool]) -> Vec<FeatureNotes> {
        let mut notes = vec![FeatureNotes::default(); self.n_features];
        for (row, feature_idx, note) in &self.cells {
            if row_ok[*row as usize] {
                notes[*feature_idx as usize].add(*note);
            }
        }
        notes
    }
}

impl FeatureNotes {
    fn add(&mut self, note: ValueNote) {
        match note {
            ValueNote::Usual => {}
            ValueNote::Missing => self.missing += 1,
            ValueNote::Unseen => self.unseen += 1,
            ValueNote::OutOfRange => self.out_of_range += 1,
        }
    }
}
