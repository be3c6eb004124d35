//! One column of a batch, cell by cell, and how its cells become the numbers that models read.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::{Range, RangeInclusive};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use retain_core::{ColumnKind, Day, FeatureSpec, FeatureValue, ValueError, ValueNote, parse_number};

const MICROSECONDS_PER_SECOND: f64 = 1e6;
/// Rows that are encoded together: as many as a word has bits, and few enough for their numbers to stay in the first-level cache.
pub(crate) const BLOCK_ROWS: usize = 64;

/// A column of a batch; Arrow's types reduced to those that a table comes in.
#[derive(Debug, Clone, Copy)]
pub enum Cells<'a> {
    /// Texts, as all of CSV is.
    Text(&'a StringArray),
    /// Whole numbers.
    Integer(&'a Int64Array),
    /// Other numbers.
    Number(&'a Float64Array),
    /// Yes or no.
    Boolean(&'a BooleanArray),
    /// Points in time, in microseconds since 1970.
    Time(&'a TimestampMicrosecondArray),
}

impl<'a> Cells<'a> {
    /// The cells of a column of [`crate::TableBatches`].
    ///
    /// # Panics
    /// When the array is of a type that [`crate::TableBatches`] does not have.
    pub fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Int64 => Self::Integer(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::Number(array.as_primitive::<Float64Type>()),
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Timestamp(..) => Self::Time(array.as_primitive::<TimestampMicrosecondType>()),
            _ => Self::Text(array.as_string::<i32>()),
        }
    }

    /// Null, and the NaN with which some programs write it, are missing.
    #[inline]
    pub fn value(self, row: usize) -> FeatureValue<'a> {
        match self {
            Self::Text(array) if array.is_valid(row) => FeatureValue::Text(array.value(row)),
            Self::Integer(array) if array.is_valid(row) => FeatureValue::Number(array.value(row) as f64),
            Self::Number(array) if array.is_valid(row) && !array.value(row).is_nan() => FeatureValue::Number(array.value(row)),
            Self::Boolean(array) if array.is_valid(row) => FeatureValue::Boolean(array.value(row)),
            Self::Time(array) if array.is_valid(row) => {
                FeatureValue::Day(Day::from_seconds(array.value(row) as f64 / MICROSECONDS_PER_SECOND))
            }
            _ => FeatureValue::Missing,
        }
    }

    /// The cell as text, whole numbers with every digit; blank where nothing stands.
    pub fn text(self, row: usize) -> Cow<'a, str> {
        match (self, self.value(row)) {
            (Self::Integer(array), FeatureValue::Number(_)) => Cow::Owned(array.value(row).to_string()),
            (_, FeatureValue::Text(text)) => Cow::Borrowed(text),
            (_, FeatureValue::Number(number)) => Cow::Owned(number.to_string()),
            (_, FeatureValue::Boolean(yes)) => Cow::Owned(yes.to_string()),
            (_, FeatureValue::Day(day)) => Cow::Owned(day_text(day)),
            (_, FeatureValue::Missing) => Cow::Borrowed(""),
        }
    }
}

fn day_text(day: Day) -> String {
    if day.days().fract() == 0.0 { day.to_string() } else { format!("{day}+{:.9}", day.days().rem_euclid(1.0)) }
}

/// What is known of a feature before its cells are: which short cuts its encoder may take.
#[derive(Debug, Clone)]
pub(crate) struct ShortCuts {
    /// A number that can be read is not a missing marker.
    plain_numbers: bool,
    /// Numbers in between, where they are plain, need no second look.
    usual: RangeInclusive<f64>,
    /// A known category is not a missing marker.
    plain_categories: bool,
}

impl ShortCuts {
    /// Looks at every category of the feature.
    pub(crate) fn of(spec: &FeatureSpec) -> Self {
        let is_category = spec.kind == ColumnKind::Category;
        Self {
            plain_numbers: spec.kind == ColumnKind::Number && !spec.missing.has_numbers(),
            usual: spec.min.unwrap_or(f64::MIN)..=spec.max.unwrap_or(f64::MAX),
            plain_categories: is_category && !spec.categories.iter().any(|category| spec.missing.is_text(category)),
        }
    }
}

/// Encodes the cells of one feature; [`FeatureSpec::encode`] with short cuts for the usual cases.
pub(crate) struct FeatureEncoder<'s> {
    spec: &'s FeatureSpec,
    short_cuts: &'s ShortCuts,
    scratch: String,
}

impl<'s> FeatureEncoder<'s> {
    pub(crate) fn new(spec: &'s FeatureSpec, short_cuts: &'s ShortCuts) -> Self {
        Self { spec, short_cuts, scratch: String::new() }
    }

    /// Writes the numbers of at most [`BLOCK_ROWS`] rows that have nothing unusual about them, as nearly all: what
    /// [`FeatureEncoder::encode`] would say, sooner. Returns a bit for each row that it has to be asked about.
    pub(crate) fn encode_usual<'o>(&self, cells: Cells<'_>, rows: Range<usize>, out: impl Iterator<Item = &'o mut f64>) -> u64 {
        let all = u64::MAX >> (BLOCK_ROWS - rows.len());
        let (unusual, nulls) = match cells {
            _ if !self.short_cuts.plain_numbers => return all,
            Cells::Number(array) => (self.copy_usual(&array.values()[rows.clone()], |number| number, out), array.nulls()),
            Cells::Integer(array) => (self.copy_usual(&array.values()[rows.clone()], |number| number as f64, out), array.nulls()),
            _ => return all,
        };
        let present = |nulls: &NullBuffer| nulls.inner().slice(rows.start, rows.len()).bit_chunks().iter_padded().next();
        unusual | nulls.and_then(present).map_or(0, |present| all & !present)
    }

    fn copy_usual<'o, T: Copy>(&self, values: &[T], number: impl Fn(T) -> f64, out: impl Iterator<Item = &'o mut f64>) -> u64 {
        let (low, high) = (*self.short_cuts.usual.start(), *self.short_cuts.usual.end());
        let is_unusual = |value: T| !(number(value) >= low && number(value) <= high);
        values.iter().zip(out).for_each(|(&value, out)| *out = number(value));
        // Hardly ever is one: asked of all together, vector instructions answer.
        if !values.iter().fold(false, |any, &value| any | is_unusual(value)) {
            return 0;
        }
        values.iter().enumerate().fold(0, |unusual, (position, &value)| unusual | u64::from(is_unusual(value)) << position)
    }

    /// The cell's number, or what is wrong with it; `observed` is needed for dates alone.
    pub(crate) fn encode(&mut self, cells: Cells<'_>, row: usize, observed: Option<Day>) -> Result<(f64, ValueNote), ValueError> {
        let value = cells.value(row);
        match value {
            FeatureValue::Text(text) if self.short_cuts.plain_numbers => {
                if let Some(number) = parse_number(text) {
                    return Ok(self.in_range(number));
                }
            }
            FeatureValue::Number(number) if self.short_cuts.plain_numbers && number.is_finite() => {
                return Ok(self.in_range(number));
            }
            FeatureValue::Text(text) if self.short_cuts.plain_categories => {
                if let Some(position) = self.spec.category_index(text.trim()) {
                    return Ok((position as f64, ValueNote::Usual));
                }
            }
            // A table that holds its categories as numbers means their texts: CSV would have them so.
            FeatureValue::Number(_) | FeatureValue::Boolean(_) | FeatureValue::Day(_)
                if self.spec.kind == ColumnKind::Category =>
            {
                self.write_scratch(cells, row);
                return self.spec.encode(FeatureValue::Text(&self.scratch), observed);
            }
            _ => {}
        }
        self.spec.encode(value, observed)
    }

    fn in_range(&self, number: f64) -> (f64, ValueNote) {
        let inside = self.spec.min.is_none_or(|min| number >= min) && self.spec.max.is_none_or(|max| number <= max);
        (number, if inside { ValueNote::Usual } else { ValueNote::OutOfRange })
    }

    fn write_scratch(&mut self, cells: Cells<'_>, row: usize) {
        self.scratch.clear();
        match cells {
            Cells::Integer(array) => write!(self.scratch, "{}", array.value(row)),
            _ => write!(self.scratch, "{}", cells.text(row)),
        }
        .expect("writing to a String does not fail");
    }
}
