//! What one pass over a column finds: how many cells are numbers, words, dates; which values there are and how often.

use std::collections::{HashMap, HashSet};

use retain_core::{ColumnKind, Day, FeatureValue, MissingMarkers, parse_boolean, parse_number};

use crate::cells::Cells;
use crate::task::ColumnHint;

/// Distinct values that are told apart in one column; later ones are counted together.
pub(crate) const MAX_DISTINCT: usize = 100_000;
const MAX_DISTINCT_BYTES: usize = 16 << 20;
/// A longer text describes one row, it is no category.
const MAX_CATEGORY_BYTES: usize = 1000;

/// What a cell looks like on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Missing,
    Number,
    Boolean,
    Date,
    Word,
}

/// Counts over the cells of one column.
pub(crate) struct ColumnProfile {
    /// Has the missing markers that hold for the column.
    markers: MissingMarkers,
    /// The task wants texts even where the table has numbers.
    as_text: bool,
    counts: [usize; 5],
    texts: HashMap<Box<str>, (usize, Class)>,
    text_bytes: usize,
    numbers: HashSet<u64>,
    overflowed: bool,
    /// The last whole number, as long as each was greater than the one before.
    rising: Option<i64>,
    n_rising: usize,
    latest: Option<Day>,
}

impl ColumnProfile {
    pub(crate) fn new(hint: Option<&ColumnHint>) -> Self {
        Self {
            markers: missing_markers(hint),
            as_text: hint.is_some_and(|hint| hint.kind == Some(ColumnKind::Category)),
            counts: [0; 5],
            texts: HashMap::new(),
            text_bytes: 0,
            numbers: HashSet::new(),
            overflowed: false,
            rising: Some(i64::MIN),
            n_rising: 0,
            latest: None,
        }
    }

    /// Counts the cells of the rows that `keep` marks.
    pub(crate) fn add(&mut self, cells: Cells<'_>, keep: &[bool]) {
        for row in (0..keep.len()).filter(|&row| keep[row]) {
            self.follow_rise(cells, row);
            match cells.value(row) {
                FeatureValue::Text(text) => self.add_text(text.trim()),
                FeatureValue::Missing => self.counts[Class::Missing as usize] += 1,
                _ if self.as_text => self.add_text(&cells.text(row)),
                FeatureValue::Number(number) => self.add_number(number),
                FeatureValue::Boolean(yes) => self.add_distinct(u64::from(yes), Class::Boolean),
                FeatureValue::Day(day) => {
                    self.see_day(day);
                    self.add_distinct(day.days().to_bits(), Class::Date);
                }
            }
        }
    }

    pub(crate) fn count(&self, class: Class) -> usize {
        let of_texts = self.texts.values().filter(|(_, known)| *known == class).map(|(count, _)| count);
        self.counts[class as usize] + of_texts.sum::<usize>()
    }

    /// Cells that are not missing.
    pub(crate) fn n_present(&self) -> usize {
        [Class::Number, Class::Boolean, Class::Date, Class::Word].map(|class| self.count(class)).iter().sum()
    }

    /// Distinct values, missing not among them; exact unless [`ColumnProfile::overflowed`].
    pub(crate) fn n_distinct(&self) -> usize {
        self.texts.values().filter(|(_, class)| *class != Class::Missing).count() + self.numbers.len()
    }

    /// Whether there are more values than are told apart.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the cells are whole numbers that grow from row to row.
    pub(crate) fn rises(&self) -> bool {
        self.rising.is_some() && self.n_rising > 1
    }

    /// The latest date among the cells.
    pub(crate) fn latest(&self) -> Option<Day> {
        self.latest
    }

    pub(crate) fn missing(&self) -> &MissingMarkers {
        &self.markers
    }

    /// The texts and how often each occurs, most frequent first, equals in byte order.
    pub(crate) fn texts(&self) -> Vec<(&str, usize)> {
        let present = self.texts.iter().filter(|(_, (_, class))| *class != Class::Missing);
        let mut texts: Vec<(&str, usize)> = present.map(|(text, (count, _))| (text.as_ref(), *count)).collect();
        texts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        texts
    }

    fn add_text(&mut self, text: &str) {
        if let Some((count, _)) = self.texts.get_mut(text) {
            *count += 1;
            return;
        }
        let class = self.classify(text);
        let full = self.texts.len() >= MAX_DISTINCT || self.text_bytes + text.len() > MAX_DISTINCT_BYTES;
        if full || text.len() > MAX_CATEGORY_BYTES {
            self.overflowed |= class != Class::Missing;
            self.counts[class as usize] += 1;
        } else {
            self.text_bytes += text.len();
            self.texts.insert(text.into(), (1, class));
        }
    }

    fn classify(&mut self, text: &str) -> Class {
        if self.markers.is_text(text) {
            return Class::Missing;
        }
        if parse_number(text).is_some() {
            return Class::Number;
        }
        if parse_boolean(text).is_some() {
            return Class::Boolean;
        }
        match Day::parse(text) {
            Ok(day) => {
                self.see_day(day);
                Class::Date
            }
            Err(_) => Class::Word,
        }
    }

    fn add_number(&mut self, number: f64) {
        if self.markers.is_number(number) {
            self.counts[Class::Missing as usize] += 1;
        } else {
            self.add_distinct(number.to_bits(), Class::Number);
        }
    }

    fn add_distinct(&mut self, bits: u64, class: Class) {
        self.counts[class as usize] += 1;
        if self.numbers.len() < MAX_DISTINCT {
            self.numbers.insert(bits);
        } else if !self.overflowed {
            self.overflowed = !self.numbers.contains(&bits);
        }
    }

    fn see_day(&mut self, day: Day) {
        if self.latest.is_none_or(|latest| day > latest) {
            self.latest = Some(day);
        }
    }

    fn follow_rise(&mut self, cells: Cells<'_>, row: usize) {
        let Some(last) = self.rising else { return };
        let whole = match cells {
            Cells::Integer(_) | Cells::Text(_) => cells.text(row).trim().parse::<i64>().ok(),
            _ => None,
        };
        self.rising = whole.filter(|&whole| whole > last);
        self.n_rising += 1;
    }
}

/// The texts that mean "nothing known" in a column, beside blank: the task's, or else the usual ones.
pub(crate) fn missing_markers(hint: Option<&ColumnHint>) -> MissingMarkers {
    hint.and_then(|hint| hint.missing.clone()).map_or_else(MissingMarkers::usual, MissingMarkers::from)
}
