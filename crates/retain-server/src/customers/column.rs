//! One column of the customer table: its cells in chunks, each packed by itself.
//!
//! A cell comes back as the value that a call would have sent: the number of a text where a number is asked for, the text of a
//! category. What does not fit is kept as it came, so that it is refused with the same words as if it had been sent.

use std::collections::HashSet;

use retain_core::{ColumnKind, Day, FeatureSpec, FeatureValue, MissingMarkers, parse_boolean, parse_number};
use retain_data::Cells;

use super::packed::Packed;
use super::texts::{Texts, TooManyTexts};

/// Most rows of a chunk: positions of odd cells take two bytes.
pub(super) const CHUNK_ROWS: usize = 1 << 16;

/// A column as some models read it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    kind: ColumnKind,
    missing: MissingMarkers,
}

/// A column that was read to its end.
#[derive(Debug)]
pub(super) struct Column {
    form: Form,
    chunks: Vec<Chunk>,
    texts: Texts,
    /// Cells that do not fit what models want of the column.
    pub(super) n_bad: usize,
}

/// A column while it is read.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    wanted: Wanted,
    /// None until the first cell with a value.
    form: Option<Form>,
    chunks: Vec<Chunk>,
    numbers: Vec<f64>,
    odd: Vec<(u16, u32)>,
    texts: Texts,
    bad_texts: HashSet<u32>,
    n_bad: usize,
}

/// What the numbers of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Number,
    Boolean,
    Day,
    /// Numbers of texts.
    Text,
}

#[derive(Debug)]
struct Chunk {
    numbers: Packed,
    /// Cells that are texts where the others are not: row and number of the text, by row.
    odd: Box<[(u16, u32)]>,
}

/// One cell, about to be kept.
enum Cell<'c> {
    Missing,
    Plain(Form, f64),
    /// A category.
    Text(&'c str),
    /// A text where numbers are.
    Odd(Form, &'c str),
}

/// Why a column cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnError {
    TooManyTexts,
    /// Texts in one file, and numbers in another.
    MixedTypes,
}

impl From<TooManyTexts> for ColumnError {
    fn from(_: TooManyTexts) -> Self {
        Self::TooManyTexts
    }
}

impl Wanted {
    /// What a model reads of a feature.
    pub(super) fn of(feature: &FeatureSpec) -> Self {
        // Texts are kept as they are, so that what is missing is for each model to say.
        let by_text = matches!(feature.kind, ColumnKind::Category | ColumnKind::Boolean);
        let missing = if by_text { MissingMarkers::default() } else { feature.missing.clone() };
        Self { name: feature.name.clone(), kind: feature.kind, missing }
    }

    /// The dates of observation.
    pub(super) fn observation(name: &str) -> Self {
        Self { name: name.to_owned(), kind: ColumnKind::Date, missing: MissingMarkers::usual() }
    }

    /// Whether this is what a feature wants.
    pub(super) fn is_of(&self, feature: &FeatureSpec) -> bool {
        let by_text = matches!(feature.kind, ColumnKind::Category | ColumnKind::Boolean);
        self.kind == feature.kind && self.name == feature.name && (by_text || self.missing == feature.missing)
    }

    fn cell<'c>(&self, value: FeatureValue<'c>) -> Cell<'c> {
        match value {
            FeatureValue::Missing => Cell::Missing,
            FeatureValue::Number(number) => Cell::Plain(Form::Number, number),
            FeatureValue::Boolean(yes) => Cell::Plain(Form::Boolean, f64::from(u8::from(yes))),
            FeatureValue::Day(day) => Cell::Plain(Form::Day, day.days()),
            FeatureValue::Text(text) => self.text_cell(text),
        }
    }

    fn text_cell<'c>(&self, text: &'c str) -> Cell<'c> {
        let (form, parsed) = match self.kind {
            ColumnKind::Category | ColumnKind::Boolean if text.trim().is_empty() => return Cell::Missing,
            ColumnKind::Category | ColumnKind::Boolean => return Cell::Text(text),
            // A number that is a marker stays one: whoever reads it knows it by its value.
            ColumnKind::Number => (Form::Number, parse_number(text)),
            ColumnKind::Date if self.missing.is_text(text) => return Cell::Missing,
            ColumnKind::Date => (Form::Day, Day::parse(text).ok().map(Day::days)),
        };
        match parsed {
            Some(number) => Cell::Plain(form, number),
            None if self.missing.is_text(text) => Cell::Missing,
            None => Cell::Odd(form, text),
        }
    }

    /// Whether a model could read such a cell.
    fn takes(&self, form: Form, number: f64) -> bool {
        match (self.kind, form) {
            (ColumnKind::Number, Form::Number) => number.is_finite(),
            (ColumnKind::Boolean, Form::Number) => number == 0.0 || number == 1.0 || self.missing.is_number(number),
            (ColumnKind::Boolean, Form::Boolean) | (ColumnKind::Date, Form::Day) | (ColumnKind::Category, Form::Text) => true,
            _ => false,
        }
    }
}

impl ColumnBuilder {
    pub(super) fn new(wanted: Wanted) -> Self {
        let (chunks, numbers, odd) = (Vec::new(), Vec::new(), Vec::new());
        Self { wanted, form: None, chunks, numbers, odd, texts: Texts::default(), bad_texts: HashSet::new(), n_bad: 0 }
    }

    /// Adds a cell of a table.
    pub(super) fn push(&mut self, cells: Cells<'_>, row: usize) -> Result<(), ColumnError> {
        let value = cells.value(row);
        match value {
            // A table that holds its categories as numbers means their texts: CSV would have them so.
            FeatureValue::Number(_) | FeatureValue::Boolean(_) | FeatureValue::Day(_)
                if self.wanted.kind == ColumnKind::Category =>
            {
                let text = cells.text(row);
                self.push_text(&text)
            }
            FeatureValue::Missing => {
                self.push_missing();
                Ok(())
            }
            value => match self.wanted.cell(value) {
                Cell::Missing => {
                    self.push_missing();
                    Ok(())
                }
                Cell::Plain(form, number) => self.push_plain(form, number),
                Cell::Text(text) => self.push_text(text),
                Cell::Odd(form, text) => self.push_odd(form, text),
            },
        }
    }

    /// Adds a row without a value.
    pub(super) fn push_missing(&mut self) {
        self.numbers.push(f64::NAN);
    }

    /// Adds a day.
    pub(super) fn push_day(&mut self, day: Day) -> Result<(), ColumnError> {
        self.push_plain(Form::Day, day.days())
    }

    fn push_plain(&mut self, form: Form, number: f64) -> Result<(), ColumnError> {
        self.take_form(form)?;
        self.n_bad += usize::from(!self.wanted.takes(form, number));
        self.numbers.push(number);
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), ColumnError> {
        self.take_form(Form::Text)?;
        let (number, is_new) = self.texts.number(text)?;
        if is_new
            && self.wanted.kind == ColumnKind::Boolean
            && parse_boolean(text).is_none()
            && !MissingMarkers::usual().is_text(text)
        {
            self.bad_texts.insert(number);
        }
        self.n_bad += usize::from(!self.bad_texts.is_empty() && self.bad_texts.contains(&number));
        self.numbers.push(f64::from(number));
        Ok(())
    }

    fn push_odd(&mut self, form: Form, text: &str) -> Result<(), ColumnError> {
        self.take_form(form)?;
        let (number, _) = self.texts.number(text)?;
        self.odd.push((self.numbers.len() as u16, number));
        self.n_bad += 1;
        self.numbers.push(f64::NAN);
        Ok(())
    }

    fn take_form(&mut self, form: Form) -> Result<(), ColumnError> {
        if *self.form.get_or_insert(form) == form { Ok(()) } else { Err(ColumnError::MixedTypes) }
    }

    pub(super) fn name(&self) -> &str {
        &self.wanted.name
    }

    /// Rows that are not in a chunk yet.
    pub(super) fn n_open(&self) -> usize {
        self.numbers.len()
    }

    /// Packs the open rows into a chunk.
    pub(super) fn close_chunk(&mut self) {
        let odd = std::mem::take(&mut self.odd).into_boxed_slice();
        self.chunks.push(Chunk { numbers: Packed::of(&self.numbers), odd });
        self.numbers.clear();
    }

    /// The number of a cell, NaN where there is none; the chunk behind the last one is the open one.
    pub(super) fn number(&self, chunk: usize, row: usize) -> f64 {
        self.chunks.get(chunk).map_or_else(|| self.numbers[row], |chunk| chunk.numbers.get(row))
    }

    /// Keeps these rows alone, in this order, in chunks of [`CHUNK_ROWS`]; rows that are open stay so no more.
    pub(super) fn keep(&mut self, places: impl Iterator<Item = (usize, usize)>) {
        if !self.numbers.is_empty() {
            self.close_chunk();
        }
        let before = std::mem::take(&mut self.chunks);
        for (chunk, row) in places {
            let chunk = &before[chunk];
            if let Some(text) = chunk.odd_text(row) {
                self.odd.push((self.numbers.len() as u16, text));
            }
            self.numbers.push(chunk.numbers.get(row));
            if self.numbers.len() == CHUNK_ROWS {
                self.close_chunk();
            }
        }
        if !self.numbers.is_empty() {
            self.close_chunk();
        }
    }

    /// The column, when all rows are in chunks.
    pub(super) fn finish(mut self) -> Column {
        self.texts.seal();
        let Self { form, mut chunks, texts, n_bad, .. } = self;
        chunks.shrink_to_fit();
        Column { form: form.unwrap_or(Form::Number), chunks, texts, n_bad }
    }
}

impl Chunk {
    fn odd_text(&self, row: usize) -> Option<u32> {
        if self.odd.is_empty() {
            return None;
        }
        let row = row as u16;
        self.odd.binary_search_by_key(&row, |(row, _)| *row).ok().map(|place| self.odd[place].1)
    }
}

impl Column {
    /// The value of a cell.
    pub(super) fn value(&self, chunk: usize, row: usize) -> FeatureValue<'_> {
        let chunk = &self.chunks[chunk];
        let number = chunk.numbers.get(row);
        if number.is_nan() {
            return chunk.odd_text(row).map_or(FeatureValue::Missing, |text| FeatureValue::Text(self.texts.get(text)));
        }
        match self.form {
            Form::Number => FeatureValue::Number(number),
            Form::Boolean => FeatureValue::Boolean(number == 1.0),
            Form::Day => FeatureValue::Day(Day::from_days(number)),
            Form::Text => FeatureValue::Text(self.texts.get(number as u32)),
        }
    }

    /// Bytes that the column takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of::<Chunk>() + chunk.numbers.memory_bytes() + size_of_val(&*chunk.odd);
        self.chunks.iter().map(chunk).sum::<usize>() + self.texts.memory_bytes()
    }
}
