//! Walks the TOML of a playbook or preset: typed look-ups that tell a problem with its line, and go on.

use retain_core::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems};

/// Longest text in a playbook that is no rule, in bytes.
const MAX_TEXT_BYTES: usize = 2_000;

/// One file: its text, where its lines begin, and what stands in it.
pub(super) struct Document<'t> {
    preset: Option<String>,
    text: &'t str,
    line_starts: Vec<usize>,
    table: DeTable<'t>,
}

/// One table of a file, such as `[contact]` or one `[[action]]`.
#[derive(Clone)]
pub(super) struct Section<'f> {
    document: &'f Document<'f>,
    problems: &'f Problems,
    /// How messages call it.
    name: String,
    table: &'f DeTable<'f>,
    at: usize,
}

/// A value together with where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'t> Document<'t> {
    /// Parses a file; a fault of its syntax is told and leaves nothing to read.
    pub(super) fn parse(preset: Option<&str>, text: &'t str, problems: &Problems) -> Option<Self> {
        // Editors on Windows like to put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(newlines).collect();
        let empty = Self { preset: preset.map(str::to_owned), text, line_starts, table: DeTable::new() };
        match DeTable::parse(text) {
            Ok(table) => Some(Self { table: table.into_inner(), ..empty }),
            Err(error) => {
                let place = empty.place(error.span().map_or(0, |span| span.start));
                problems.error(place, error.message().replace('\n', ", "), "write it as TOML wants it".to_owned());
                None
            }
        }
    }

    pub(super) fn root<'f>(&'f self, problems: &'f Problems) -> Section<'f> {
        Section { document: self, problems, name: "the playbook".to_owned(), table: &self.table, at: 0 }
    }

    fn place(&self, byte: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= byte).max(1);
        let start = self.line_starts[line - 1];
        let column = 1 + self.text.get(start..byte).map_or(0, |before| before.chars().count());
        Place { preset: self.preset.clone(), line, column }
    }
}

impl<'f> Section<'f> {
    /// Where the section begins.
    pub(super) fn place(&self) -> Place {
        self.document.place(self.at)
    }

    /// Where a key's value stands; the section's beginning where there is none.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.document.place(self.entry(key).map_or(self.at, |value| value.span().start))
    }

    /// The place of a letter inside a text value, counted in letters; the value's own place where it is written over several lines
    /// or with escapes, since letters then stand elsewhere than in the file.
    pub(super) fn place_inside(&self, key: &str, value: &str, letters: usize) -> Place {
        let mut place = self.place_of(key);
        let written = self.entry(key).and_then(|entry| self.document.text.get(entry.span()));
        let plain = written.is_some_and(|written| written.get(1..written.len().saturating_sub(1)) == Some(value));
        place.column += if plain { 1 + letters } else { 0 };
        place
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn preset(&self) -> Option<&'f str> {
        self.document.preset.as_deref()
    }

    pub(super) fn problems(&self) -> &'f Problems {
        self.problems
    }

    /// The keys in the order of the file.
    pub(super) fn keys(&self) -> Vec<Placed<String>> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.iter().map(|key| Placed { value: key.get_ref().to_string(), place: self.document.place(key.span().start) }).collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub(super) fn check_keys(&self, known: &[&str]) {
        for key in self.keys().into_iter().filter(|key| !known.contains(&key.value.as_str())) {
            if self.problems.is_full() {
                return;
            }
            let what = format!("`{}` means nothing in {}", shorten(&key.value), self.name);
            self.problems.error(key.place, what, did_you_mean(&key.value, known.iter().copied()));
        }
    }

    /// A table.
    pub(super) fn section(&self, key: &str) -> Option<Section<'f>> {
        let entry = self.entry(key)?;
        let DeValue::Table(table) = entry.get_ref() else {
            self.bad::<()>(key, "a table", entry.get_ref());
            return None;
        };
        let name = match self.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(parent) => format!("[{parent}.{}]", shorten(key)),
            None if self.at == 0 => format!("[{}]", shorten(key)),
            None => format!("`{}` of {}", shorten(key), self.name),
        };
        Some(Section { document: self.document, problems: self.problems, name, table, at: entry.span().start })
    }

    /// The tables of a list; `one` is what messages call each.
    pub(super) fn sections(&self, key: &str, one: &str) -> Vec<Section<'f>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let DeValue::Array(items) = entry.get_ref() else {
            self.bad::<()>(key, "a list of tables", entry.get_ref());
            return Vec::new();
        };
        let section = |(position, item): (usize, &'f Spanned<DeValue<'f>>)| match item.get_ref() {
            DeValue::Table(table) => Some(Section {
                document: self.document,
                problems: self.problems,
                name: format!("{one} {}", position + 1),
                table,
                at: item.span().start,
            }),
            other => {
                self.bad::<()>(key, "a list of tables", other);
                None
            }
        };
        items.iter().enumerate().filter_map(section).collect()
    }

    /// The section with its problems told elsewhere.
    pub(super) fn with_problems<'s>(&'s self, problems: &'s Problems) -> Section<'s> {
        Section { problems, ..self.clone() }
    }

    /// The section under a better name, once its id is known.
    pub(super) fn called(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// A text that is not blank and not too long.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.text_up_to(key, MAX_TEXT_BYTES)
    }

    pub(super) fn text_up_to(&self, key: &str, max_bytes: usize) -> Option<String> {
        match self.entry(key)?.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => self.bad_text(key, "a text", "a blank one"),
            DeValue::String(text) if text.len() > max_bytes => {
                self.bad_text(key, &format!("a text of at most {max_bytes} bytes"), &format!("one of {} bytes", text.len()))
            }
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => self.bad(key, "a text", other),
        }
    }

    pub(super) fn required_text(&self, key: &str, meaning: &str) -> Option<String> {
        if !self.has(key) {
            let what = format!("{} says nothing of `{key}`, {meaning}", self.name);
            self.problems.error(self.place(), what, format!("add `{key} = \"…\"`"));
        }
        self.text(key)
    }

    /// A name of the letters `a-z`, `A-Z`, `0-9`, `_`, `-` and `.`, at most 64 of them.
    pub(super) fn id(&self, meaning: &str) -> Option<String> {
        let id = self.required_text("id", meaning)?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        if id.len() <= 64 && id.chars().all(allowed) {
            return Some(id);
        }
        self.bad_text("id", "1 to 64 of the letters `a-z`, `A-Z`, `0-9`, `_`, `-` and `.`", &format!("`{}`", shorten(&id)))
    }

    pub(super) fn texts(&self, key: &str) -> Vec<Placed<String>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let expected = "a list of texts such as `[\"a\", \"b\"]`";
        let DeValue::Array(items) = entry.get_ref() else {
            self.bad::<()>(key, expected, entry.get_ref());
            return Vec::new();
        };
        let read = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES => {
                Some(Placed { value: text.clone().into_owned(), place: self.document.place(item.span().start) })
            }
            other => self.bad(key, expected, other),
        };
        items.iter().filter_map(read).collect()
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        match self.entry(key)?.get_ref() {
            DeValue::Boolean(yes) => Some(*yes),
            other => self.bad(key, "`true` or `false`", other),
        }
    }

    /// A finite number from `min` to `max`.
    pub(super) fn number(&self, key: &str, min: f64, max: f64) -> Option<f64> {
        let value = self.entry(key)?.get_ref();
        match number_of(value).filter(|number| (min..=max).contains(number)) {
            Some(number) => Some(number),
            None => self.bad(key, &between("a number", min, max), value),
        }
    }

    /// A whole number from `min` to `max`.
    pub(super) fn whole(&self, key: &str, min: u32, max: u32) -> Option<u32> {
        let value = self.entry(key)?.get_ref();
        let whole = number_of(value).filter(|number| number.fract() == 0.0 && (f64::from(min)..=f64::from(max)).contains(number));
        match whole {
            Some(number) => Some(number as u32),
            None => self.bad(key, &format!("a whole number from {min} to {max}"), value),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Option<T> {
        let word = self.text(key)?;
        if let Some((_, meaning)) = known.iter().find(|(name, _)| *name == word) {
            return Some(*meaning);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let what = format!("`{key}` in {} should be one of {}, found `{}`", self.name, listed(&names), shorten(&word));
        self.problems.error(self.place_of(key), what, did_you_mean(&word, names));
        None
    }

    /// Whether a number (and no text) stands at the key.
    pub(super) fn is_number(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_)))
    }

    pub(super) fn is_text(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|value| matches!(value.get_ref(), DeValue::String(_)))
    }

    /// Tells that a value is not what it should be.
    pub(super) fn wrong(&self, key: &str, what: String, fix: &str) {
        self.problems.error(self.place_of(key), what, fix.to_owned());
    }

    fn bad<T>(&self, key: &str, expected: &str, found: &DeValue<'_>) -> Option<T> {
        self.bad_text(key, expected, &describe(found))
    }

    fn bad_text<T>(&self, key: &str, expected: &str, found: &str) -> Option<T> {
        let what = format!("`{}` in {} should be {expected}, found {found}", shorten(key), self.name);
        self.problems.error(self.place_of(key), what, format!("write {expected}"));
        None
    }

    fn entry(&self, key: &str) -> Option<&'f Spanned<DeValue<'f>>> {
        self.table.get(key)
    }
}

/// "did you mean …", or what there is to choose from.
pub(super) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Likeness costs a microsecond a name.
    let known: Vec<&str> = known.into_iter().take(1_000).collect();
    match nearest(found, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none to name yet".to_owned(),
        None => format!("known are {}", listed(&known[..known.len().min(20)])),
    }
}

pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{}`", shorten(word))).collect::<Vec<_>>().join(", ")
}

pub(super) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn between(what: &str, min: f64, max: f64) -> String {
    match (min == f64::MIN, max == f64::MAX) {
        (true, true) => format!("{what} that is finite"),
        (false, true) => format!("{what} of at least {min}"),
        (true, false) => format!("{what} of at most {max}"),
        (false, false) => format!("{what} from {min} to {max}"),
    }
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|whole| whole as f64),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().filter(|number| number.is_finite()),
        _ => None,
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text `{}`", shorten(text)),
        DeValue::Integer(number) => format!("`{}`", shorten(number.as_str())),
        DeValue::Float(number) => format!("`{}`", shorten(number.as_str())),
        DeValue::Boolean(yes) => format!("`{yes}`"),
        DeValue::Datetime(datetime) => format!("`{datetime}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
