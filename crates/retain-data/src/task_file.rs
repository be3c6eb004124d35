//! Walks the TOML of a task file: typed look-ups whose errors know the line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::task::{TaskError, one_of, shorten};
use retain_core::nearest;

/// The parsed TOML beside its text, which says where the lines are.
pub(crate) struct TaskFile<'t> {
    text: &'t str,
    table: DeTable<'t>,
}

/// One table of the file, such as `[train]`.
pub(crate) struct Section<'f> {
    text: &'f str,
    place: String,
    table: &'f DeTable<'f>,
}

impl<'t> TaskFile<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, TaskError> {
        // Editors on Windows like to put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let table = DeTable::parse(text).map_err(|error| TaskError::Syntax {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', ", "),
        })?;
        Ok(Self { text, table: table.into_inner() })
    }

    pub(crate) fn root(&self) -> Section<'_> {
        Section { text: self.text, place: "the task file".to_owned(), table: &self.table }
    }
}

impl<'f> Section<'f> {
    /// The section's keys, in byte order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.table.keys().map(|key| key.get_ref().clone().into_owned()).collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Whether a list stands at the key.
    pub(crate) fn is_list(&self, key: &str) -> bool {
        matches!(self.value(key), Some(DeValue::Array(_)))
    }

    /// The line of a key, from 1.
    pub(crate) fn line(&self, key: &str) -> usize {
        let entry = self.table.keys().find(|known| known.get_ref() == key);
        entry.map_or(1, |known| line_at(self.text, known.span().start))
    }

    pub(crate) fn check_keys(&self, known: &[&str]) -> Result<(), TaskError> {
        // In the order of the file, so that the first slip is told first.
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).min_by_key(|key| key.span().start);
        let Some(key) = unknown else { return Ok(()) };
        let hint = match nearest(key.get_ref(), known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
        };
        let line = line_at(self.text, key.span().start);
        Err(TaskError::UnknownKey { line, key: shorten(key.get_ref()), place: self.place.clone(), hint })
    }

    pub(crate) fn section(&self, key: &str) -> Result<Option<Section<'f>>, TaskError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let DeValue::Table(table) = value else { return Err(self.bad(key, "a section", &describe(value))) };
        // At the top a section has its own name; below, as in `[columns.plan]`, it is named with its parent.
        let place = match self.place.strip_suffix(']') {
            Some(parent) => format!("{parent}.{}]", shorten(key)),
            None => format!("[{key}]"),
        };
        Ok(Some(Section { text: self.text, place, table }))
    }

    pub(crate) fn required_section(&self, key: &'static str, meaning: &'static str) -> Result<Section<'f>, TaskError> {
        self.section(key)?.ok_or_else(|| self.missing(key, meaning))
    }

    /// A text that is not blank.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, TaskError> {
        match self.value(key) {
            None => Ok(None),
            Some(DeValue::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone().into_owned())),
            Some(other) => Err(self.bad(key, "a text that is not blank", &describe(other))),
        }
    }

    pub(crate) fn required_text(&self, key: &'static str, meaning: &'static str) -> Result<String, TaskError> {
        self.text(key)?.ok_or_else(|| self.missing(key, meaning))
    }

    /// A text, or a number or boolean as it stands in the file: `positive = 1` means `"1"`.
    pub(crate) fn scalar_text(&self, key: &str) -> Result<Option<String>, TaskError> {
        match self.value(key) {
            Some(DeValue::Integer(number)) if number.radix() == 10 => Ok(Some(number.as_str().to_owned())),
            Some(DeValue::Float(number)) => Ok(Some(number.as_str().to_owned())),
            Some(DeValue::Boolean(yes)) => Ok(Some(yes.to_string())),
            _ => self.text(key),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, TaskError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let expected = "a list of texts, such as `[\"a\", \"b\"]`";
        let DeValue::Array(items) = value else { return Err(self.bad(key, expected, &describe(value))) };
        let read = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(self.bad(key, expected, &format!("{} in the list", describe(other)))),
        };
        items.iter().map(read).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// One of some words.
    pub(crate) fn word(&self, key: &str, known: &[&'static str]) -> Result<Option<&'static str>, TaskError> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        let found = known.iter().find(|&&candidate| candidate == word).copied();
        found.map(Some).ok_or_else(|| self.bad(key, &one_of(&word, known), &format!("`{}`", shorten(&word))))
    }

    pub(crate) fn whole(&self, key: &str, min: u64, max: u64) -> Result<Option<u64>, TaskError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match number.and_then(|number| u64::try_from(number).ok()).filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(key, &format!("a whole number from {min} to {max}"), &describe(value))),
        }
    }

    pub(crate) fn missing(&self, key: &'static str, meaning: &'static str) -> TaskError {
        TaskError::MissingKey { place: self.place.clone(), key, meaning }
    }

    pub(crate) fn bad(&self, key: &str, expected: &str, found: &str) -> TaskError {
        let (place, key) = (self.place.clone(), key.to_owned());
        TaskError::BadValue { line: self.line(&key), place, key, expected: expected.to_owned(), found: found.to_owned() }
    }

    fn value(&self, key: &str) -> Option<&'f DeValue<'f>> {
        self.table.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value.get_ref())
    }
}

fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|&b| b == b'\n').count()
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("`{}`", shorten(text)),
        DeValue::Integer(number) => format!("`{}`", shorten(number.as_str())),
        DeValue::Float(number) => format!("`{}`", shorten(number.as_str())),
        DeValue::Boolean(yes) => format!("`{yes}`"),
        DeValue::Datetime(datetime) => format!("`{datetime}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}
