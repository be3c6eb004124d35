//! Reads the target column: which rows are positive, and whether the column is a yes-or-no label at all.

use std::collections::{BTreeMap, BTreeSet};

use retain_core::{MissingMarkers, parse_boolean, parse_number};

use crate::cells::Cells;
use crate::error::{DataError, Warning};
use crate::task::shorten;

/// A column of more values than these is no label: a name or a number was taken for one.
const MAX_LABELS: usize = 20;
/// This many are told apart only to describe one that is none.
const MAX_VALUES: usize = 1000;
const SHOWN_VALUES: usize = 6;
/// A longer text is no label, and a thousand of them would fill the memory.
const MAX_LABEL_BYTES: usize = 1000;

/// A label by its meaning, so that `1`, `1.0`, `true` and `Yes` are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelKey {
    Truth(bool),
    Number(u64),
    Text(String),
}

impl LabelKey {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim();
        match (parse_boolean(text), parse_number(text)) {
            (Some(yes), _) => Self::Truth(yes),
            (None, Some(number)) if number == 0.0 || number == 1.0 => Self::Truth(number == 1.0),
            (None, Some(number)) => Self::Number(number.to_bits()),
            (None, None) => Self::Text(text.to_owned()),
        }
    }
}

/// 0 for a key that is not positive, else its number from 1.
fn number_of(key: &LabelKey, positive: &[LabelKey]) -> f64 {
    positive.iter().position(|known| known == key).map_or(0.0, |position| (position + 1) as f64)
}

/// Turns target cells into labels and counts what it sees.
pub(crate) struct LabelReader {
    column: String,
    positive: Vec<String>,
    positive_keys: Vec<LabelKey>,
    markers: MissingMarkers,
    values: BTreeMap<String, (LabelKey, usize)>,
    overflowed: bool,
    pub(crate) n_missing: usize,
}

impl LabelReader {
    pub(crate) fn new(column: &str, positive: &[String], missing: MissingMarkers) -> Self {
        Self {
            column: column.to_owned(),
            positive: positive.to_vec(),
            positive_keys: positive.iter().map(|text| LabelKey::of(text)).collect(),
            // A positive label is a label, even when it reads like a marker.
            markers: positive.iter().fold(missing, |markers, text| markers.without(text)),
            values: BTreeMap::new(),
            overflowed: false,
            n_missing: 0,
        }
    }

    /// The label of a row, 0 for all that is not positive, else the number of the positive label from 1: none where nothing is known.
    pub(crate) fn read(&mut self, cells: Cells<'_>, row: usize) -> Option<f64> {
        let text = cells.text(row);
        let text = text.trim();
        if let Some((key, count)) = self.values.get_mut(text) {
            *count += 1;
            return Some(number_of(key, &self.positive_keys));
        }
        if self.markers.is_text(text) {
            self.n_missing += 1;
            return None;
        }
        let key = LabelKey::of(text);
        let number = number_of(&key, &self.positive_keys);
        if self.values.len() < MAX_VALUES && text.len() <= MAX_LABEL_BYTES {
            self.values.insert(text.to_owned(), (key, 1));
        } else {
            self.overflowed = true;
        }
        Some(number)
    }

    /// Positive and negative rows, when the column has the positive values and at least one other.
    pub(crate) fn check(&self) -> Result<(usize, usize), DataError> {
        let (column, positive) = (self.column.clone(), self.positive.join("` or `"));
        let keys: BTreeSet<&LabelKey> = self.values.values().map(|(key, _)| key).collect();
        if keys.is_empty() && !self.overflowed {
            return Err(DataError::OneClass { column, found: "no value in any row".into(), positive });
        }
        if let Some(absent) = (0..self.positive.len()).find(|&at| !keys.contains(&self.positive_keys[at])) {
            let positive = self.positive[absent].clone();
            return Err(DataError::PositiveNotFound { column, positive, found: self.describe() });
        }
        if keys.len() == 1 {
            return Err(DataError::OneClass { column, found: format!("one value only: {}", self.describe()), positive });
        }
        if keys.len() > MAX_LABELS || self.overflowed {
            return Err(DataError::ManyClasses { column, positive, found: self.describe() });
        }
        let count = |wanted: bool| {
            let chosen = self.values.values().filter(|(key, _)| self.positive_keys.contains(key) == wanted);
            chosen.map(|(_, count)| count).sum()
        };
        Ok((count(true), count(false)))
    }

    /// A status of several values is a label too, once the reader knows which of them counts as what.
    pub(crate) fn warning(&self) -> Option<Warning> {
        let keys: BTreeSet<&LabelKey> = self.values.values().map(|(key, _)| key).collect();
        (keys.len() > 1 + self.positive.len()).then(|| {
            let message = format!(
                "target `{}` has {} values: {}; `{}` means it happened, every other that it did not",
                self.column,
                keys.len(),
                self.describe(),
                self.positive.join("` or `")
            );
            Warning::new("several_labels", message)
        })
    }

    pub(crate) fn n_distinct(&self) -> usize {
        self.values.len()
    }

    fn describe(&self) -> String {
        let mut values: Vec<_> = self.values.iter().map(|(text, (_, count))| (text, *count)).collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let shown = values.iter().take(SHOWN_VALUES).map(|(text, count)| format!("`{}` ({count} rows)", shorten(text)));
        let text = shown.collect::<Vec<_>>().join(", ");
        match values.len().saturating_sub(SHOWN_VALUES) {
            n_others if self.overflowed => format!("{text} and more than {n_others} others"),
            0 => text,
            n_others => format!("{text} and {n_others} others"),
        }
    }
}
