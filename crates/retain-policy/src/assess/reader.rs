//! Walks the TOML of one file: typed look-ups that note what is wrong and go on, so that all problems are told at once.

use std::cell::RefCell;

use retain_core::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, ProblemKind};
use super::text::{Text, TextList};

/// No file of this kind is larger.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;
/// No list of entries is longer.
const MAX_ENTRIES: usize = 500;
/// No text shown to people is longer.
const MAX_TEXT_BYTES: usize = 2_000;
/// No id is longer.
const MAX_ID_BYTES: usize = 64;

/// A file to read: the playbook itself, or a preset.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What problems call it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Whether it is a preset, whose entries give way to those of the playbook.
    pub is_preset: bool,
}

/// One parsed file and what was wrong in it.
pub(crate) struct File<'t> {
    pub(crate) source: Source<'t>,
    line_starts: Vec<usize>,
    table: DeTable<'t>,
    problems: RefCell<Vec<Problem>>,
}

/// One table of a file.
#[derive(Clone, Copy)]
pub(crate) struct Section<'f> {
    pub(crate) file: &'f File<'f>,
    place: &'f str,
    table: &'f DeTable<'f>,
    start: usize,
}

impl<'t> File<'t> {
    /// Reads the TOML.
    ///
    /// # Errors
    /// The problem, where it is too large or no TOML.
    pub(crate) fn parse(source: Source<'t>) -> Result<Self, Problem> {
        let fail = |line, what, fix: &str| {
            let kind = ProblemKind::Error;
            Err(Problem { source_name: source.name.to_owned(), line, what, fix: fix.to_owned(), kind })
        };
        // Editors on Windows like to put a byte order mark in front.
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(source.text);
        if text.len() > MAX_FILE_BYTES {
            let what = format!("the file should have at most {MAX_FILE_BYTES} bytes, found {}", text.len());
            return fail(1, what, "divide it, or remove what is not used");
        }
        let line_starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { source, line_starts, table: table.into_inner(), problems: RefCell::default() }),
            Err(error) => {
                let line = line_at(&line_starts, error.span().map_or(0, |span| span.start));
                fail(line, error.message().replace('\n', ", "), "write it as TOML 1.0 asks")
            }
        }
    }

    pub(crate) fn root(&self) -> Section<'_> {
        Section { file: self, place: "the file", table: &self.table, start: 0 }
    }

    /// Notes what is wrong at a line.
    pub(crate) fn note(&self, kind: ProblemKind, line: usize, what: String, fix: String) {
        self.problems.borrow_mut().push(Problem { source_name: self.source.name.to_owned(), line, what, fix, kind });
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

impl<'f> Section<'f> {
    /// The line of the section's first key.
    pub(crate) fn line(&self) -> usize {
        let first = self.table.keys().map(|key| key.span().start).min();
        line_at(&self.file.line_starts, first.unwrap_or(self.start))
    }

    pub(crate) fn line_of(&self, key: &str) -> usize {
        let known = self.table.keys().find(|known| known.get_ref() == key);
        known.map_or_else(|| self.line(), |known| line_at(&self.file.line_starts, known.span().start))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Notes an error at a key.
    pub(crate) fn wrong(&self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.file.note(ProblemKind::Error, self.line_of(key), what.into(), fix.into());
    }

    /// Notes every key that is not known here.
    pub(crate) fn check_keys(&self, known: &[&str]) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let fix = match nearest(key.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
            };
            self.wrong(key.get_ref(), format!("unknown key `{}` in {}", shorten(key.get_ref()), self.place), fix);
        }
    }

    pub(crate) fn section(&self, key: &str) -> Option<Section<'f>> {
        let (place, value) = self.table.get_key_value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section { file: self.file, place: place.get_ref(), table, start: value.span().start }),
            other => self.bad(key, "a section", other),
        }
    }

    /// The tables of a list, such as `[[signal]]`.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'f>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            self.bad::<()>(key, &format!("a list of sections, each `[[{key}]]`"), value);
            return Vec::new();
        };
        if items.len() > MAX_ENTRIES {
            let what = format!("`{key}` should have at most {MAX_ENTRIES} entries, found {}", items.len());
            self.wrong(key, what, "divide them over several files");
        }
        let section = |item: &'f Spanned<DeValue<'f>>| match item.get_ref() {
            DeValue::Table(table) => Some(Section { file: self.file, place: key, table, start: item.span().start }),
            other => self.bad(key, "sections", other),
        };
        items.iter().take(MAX_ENTRIES).filter_map(section).collect()
    }

    /// A text that is not blank.
    pub(crate) fn string(&self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        plain(value).map_or_else(|| self.bad(key, "a text that is not blank and not too long", value), Some)
    }

    pub(crate) fn required_string(&self, key: &str, meaning: &str) -> Option<String> {
        if !self.has(key) {
            self.missing(key, meaning);
        }
        self.string(key)
    }

    /// The id as it stands there, checked by [`Self::id`].
    pub(crate) fn peek_id(&self) -> Option<&'f str> {
        match self.value("id")? {
            DeValue::String(id) => Some(id.as_ref()),
            _ => None,
        }
    }

    /// The entry's id: letters, digits and `_`, so that rules can name it.
    pub(crate) fn id(&self) -> Option<String> {
        let id = self.required_string("id", "its name in rules, such as `low_logins`")?;
        let starts_well = id.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let reads_well = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if starts_well && reads_well && id.len() <= MAX_ID_BYTES {
            return Some(id);
        }
        let what = format!("`{}` cannot be an id", shorten(&id));
        self.wrong("id", what, format!("use letters, digits and `_`, at most {MAX_ID_BYTES}, beginning with a letter"));
        None
    }

    /// Words in both languages; one text stands for both.
    pub(crate) fn text(&self, key: &str) -> Option<Text> {
        let value = self.value(key)?;
        if let Some(plain) = plain(value) {
            return Some(Text { en: plain.clone(), es: plain });
        }
        let expected = "a text, or `{ en = \"…\", es = \"…\" }`";
        let DeValue::Table(table) = value else { return self.bad(key, expected, value) };
        let language = |code: &str| table.get(code).and_then(|words| plain(words.get_ref()));
        match (language("en"), language("es"), table.len()) {
            (Some(en), Some(es), 2) => Some(Text { en, es }),
            _ => self.bad(key, expected, value),
        }
    }

    /// The name shown to people; the id where there is none.
    pub(crate) fn name_or(&self, id: &str) -> Text {
        self.text("name").unwrap_or_else(|| Text { en: id.to_owned(), es: id.to_owned() })
    }

    /// A list in both languages, equally long; empty where there is none.
    pub(crate) fn text_list(&self, key: &str) -> TextList {
        self.read_text_list(key).unwrap_or_default()
    }

    fn read_text_list(&self, key: &str) -> Option<TextList> {
        let value = self.value(key)?;
        let expected = "`{ en = [\"…\"], es = [\"…\"] }`, both equally long";
        let DeValue::Table(table) = value else { return self.bad(key, expected, value) };
        let language = |code: &str| match table.get(code)?.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| plain(item.get_ref())).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match (language("en"), language("es"), table.len()) {
            (Some(en), Some(es), 2) if en.len() == es.len() => Some(TextList { en, es }),
            _ => self.bad(key, expected, value),
        }
    }

    /// A list of texts; empty where there is none.
    pub(crate) fn strings(&self, key: &str) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let texts: Option<Vec<String>> = match value {
            DeValue::Array(items) if items.len() <= MAX_ENTRIES => items.iter().map(|item| plain(item.get_ref())).collect(),
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.bad::<Vec<String>>(key, "a list of texts, such as `[\"a\", \"b\"]`", value).unwrap_or_default()
        })
    }

    /// A number from `min` to `max`.
    pub(crate) fn number(&self, key: &str, min: f64, max: f64) -> Option<f64> {
        let value = self.value(key)?;
        let fits = |number: &f64| *number >= min && *number <= max;
        number_of(value).filter(fits).map_or_else(|| self.bad(key, &format!("a number from {min} to {max}"), value), Some)
    }

    pub(crate) fn required_number(&self, key: &str, min: f64, max: f64, meaning: &str) -> Option<f64> {
        if !self.has(key) {
            self.missing(key, meaning);
        }
        self.number(key, min, max)
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            DeValue::Boolean(yes) => Some(*yes),
            other => self.bad(key, "`true` or `false`", other),
        }
    }

    /// The value that one of some words stands for.
    pub(crate) fn word<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let found = plain(value).and_then(|word| known.iter().find(|(candidate, _)| *candidate == word).copied());
        let words = || known.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        found.map_or_else(|| self.bad(key, &format!("one of {}", words()), value), |(_, meaning)| Some(meaning))
    }

    /// The keys of the section as words, each with a number, in the order of the file.
    pub(crate) fn numbers_by_word(&self) -> Vec<(String, f64)> {
        let mut keys: Vec<_> = self.table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let word: &toml::de::DeString<'_> = key.get_ref();
            let number = number_of(value.get_ref()).or_else(|| self.bad(word, "a number", value.get_ref()))?;
            Some((word.clone().into_owned(), number))
        };
        keys.into_iter().filter_map(pair).collect()
    }

    /// A list of pairs of numbers, such as `[[0, 0], [2, 50]]`.
    pub(crate) fn pairs(&self, key: &str) -> Option<Vec<(f64, f64)>> {
        let value = self.value(key)?;
        let expected = "a list of pairs of numbers, such as `[[0, 0], [2, 50]]`";
        let DeValue::Array(items) = value else { return self.bad(key, expected, value) };
        let pair = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Array(pair) if pair.len() == 2 => Some((number_of(pair[0].get_ref())?, number_of(pair[1].get_ref())?)),
            _ => None,
        };
        let pairs: Option<Vec<_>> = items.iter().take(MAX_ENTRIES).map(pair).collect();
        pairs.map_or_else(|| self.bad(key, expected, value), Some)
    }

    pub(crate) fn missing(&self, key: &str, meaning: &str) {
        self.wrong(key, format!("{} needs `{key}`", self.place), format!("add `{key}`: {meaning}"));
    }

    fn bad<T>(&self, key: &str, expected: &str, found: &DeValue<'_>) -> Option<T> {
        let what = format!("`{}` in {} should be {expected}, found {}", shorten(key), self.place, describe(found));
        self.wrong(key, what, format!("write {expected}"));
        None
    }

    fn value(&self, key: &str) -> Option<&'f DeValue<'f>> {
        self.table.get(key).map(Spanned::get_ref)
    }
}

/// A text that is not blank and not too long.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES => Some(text.clone().into_owned()),
        _ => None,
    }
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64,
        DeValue::Float(float) => float.as_str().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn line_at(line_starts: &[usize], byte: usize) -> usize {
    line_starts.partition_point(|&start| start <= byte).max(1)
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

/// The beginning of a text that may be very long.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
