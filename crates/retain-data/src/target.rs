//! Reads the target column of any kind of task: labels of what happened, or amounts.

use retain_core::{FeatureValue, MissingMarkers, ValueError, parse_number};

use crate::cells::Cells;
use crate::error::{DataError, Warning};
use crate::label::LabelReader;
use crate::task::shorten;

/// Distinct amounts are counted up to here.
const MAX_DISTINCT: usize = 1000;

/// Turns target cells into numbers and counts what it sees.
pub(crate) enum TargetReader {
    /// Something happened or did not.
    Label(LabelReader),
    /// An amount from 0 on.
    Amount(AmountReader),
}

/// Rows with something and rows with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetCounts {
    pub(crate) n_positives: usize,
    pub(crate) n_others: usize,
}

impl TargetReader {
    /// A reader of labels where there are positive ones, else of amounts.
    pub(crate) fn new(column: &str, positive: &[String], missing: MissingMarkers) -> Self {
        if positive.is_empty() {
            Self::Amount(AmountReader::new(column, missing))
        } else {
            Self::Label(LabelReader::new(column, positive, missing))
        }
    }

    /// The target of a row: none where nothing is known.
    ///
    /// # Errors
    /// What is wrong with a cell that should hold an amount.
    pub(crate) fn read(&mut self, cells: Cells<'_>, row: usize) -> Result<Option<f64>, ValueError> {
        match self {
            Self::Label(labels) => Ok(labels.read(cells, row)),
            Self::Amount(amounts) => amounts.read(cells, row),
        }
    }

    /// Whether the column can be a target.
    pub(crate) fn check(&self) -> Result<TargetCounts, DataError> {
        match self {
            Self::Label(labels) => labels.check().map(|(n_positives, n_others)| TargetCounts { n_positives, n_others }),
            Self::Amount(amounts) => amounts.check(),
        }
    }

    pub(crate) fn warning(&self) -> Option<Warning> {
        match self {
            Self::Label(labels) => labels.warning(),
            Self::Amount(_) => None,
        }
    }

    pub(crate) fn n_missing(&self) -> usize {
        match self {
            Self::Label(labels) => labels.n_missing,
            Self::Amount(amounts) => amounts.n_missing,
        }
    }

    pub(crate) fn n_distinct(&self) -> usize {
        match self {
            Self::Label(labels) => labels.n_distinct(),
            Self::Amount(amounts) => amounts.distinct.len(),
        }
    }
}

/// Reads amounts, which may be 0 and not below.
pub(crate) struct AmountReader {
    column: String,
    markers: MissingMarkers,
    n_rows: usize,
    n_missing: usize,
    n_positives: usize,
    n_negatives: usize,
    first_negative: Option<(usize, f64)>,
    distinct: std::collections::BTreeSet<u64>,
}

impl AmountReader {
    fn new(column: &str, markers: MissingMarkers) -> Self {
        Self {
            column: column.to_owned(),
            markers,
            n_rows: 0,
            n_missing: 0,
            n_positives: 0,
            n_negatives: 0,
            first_negative: None,
            distinct: std::collections::BTreeSet::new(),
        }
    }

    fn read(&mut self, cells: Cells<'_>, row: usize) -> Result<Option<f64>, ValueError> {
        self.n_rows += 1;
        // A cell that is no amount is told when the table is loaded; until then it counts as one.
        let amount = amount(cells.value(row), &self.markers).inspect_err(|_| self.n_positives += 1)?;
        let Some(amount) = amount else {
            self.n_missing += 1;
            return Ok(None);
        };
        if amount > 0.0 {
            self.n_positives += 1;
        } else if amount < 0.0 {
            self.n_negatives += 1;
            self.first_negative.get_or_insert((self.n_rows, amount));
        }
        if self.distinct.len() < MAX_DISTINCT {
            self.distinct.insert(amount.to_bits());
        }
        Ok(Some(amount))
    }

    fn check(&self) -> Result<TargetCounts, DataError> {
        let column = self.column.clone();
        if let Some((row, found)) = self.first_negative {
            return Err(DataError::NegativeAmounts { column, row, found, n_rows: self.n_negatives });
        }
        let n_labelled = self.n_rows - self.n_missing;
        if self.n_positives == 0 {
            return Err(DataError::NoAmounts { column, n_rows: n_labelled });
        }
        if self.distinct.len() == 1 {
            let found = self.distinct.first().map_or(0.0, |&bits| f64::from_bits(bits));
            return Err(DataError::OneAmount { column, found, n_rows: n_labelled });
        }
        Ok(TargetCounts { n_positives: self.n_positives, n_others: n_labelled - self.n_positives })
    }
}

/// A cell that should hold a number; none: nothing is known.
pub(crate) fn amount(value: FeatureValue<'_>, markers: &MissingMarkers) -> Result<Option<f64>, ValueError> {
    let not_number = |found: String| ValueError::NotNumber { found: shorten(&found) };
    match value {
        FeatureValue::Missing => Ok(None),
        FeatureValue::Text(text) if markers.is_text(text) => Ok(None),
        FeatureValue::Text(text) => parse_number(text).map(Some).ok_or_else(|| not_number(text.to_owned())),
        FeatureValue::Number(number) if markers.is_number(number) => Ok(None),
        FeatureValue::Number(number) if number.is_finite() => Ok(Some(number)),
        FeatureValue::Number(found) => Err(ValueError::NotFinite { found }),
        FeatureValue::Boolean(yes) => Err(not_number(yes.to_string())),
        FeatureValue::Day(day) => Err(not_number(day.to_string())),
    }
}
