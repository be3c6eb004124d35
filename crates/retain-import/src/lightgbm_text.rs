//! The syntax of LightGBM's text format: blocks of `key=value` lines, and behind the trees the parameters.

use std::collections::HashMap;
use std::str::FromStr;

use crate::error::ImportError;

/// The blocks of a model file.
pub(crate) struct TextModel<'a> {
    /// What stands before the first tree.
    pub(crate) header: Block<'a>,
    /// The trees in their order.
    pub(crate) trees: Vec<Block<'a>>,
    /// `[key: value]` lines behind the trees.
    pub(crate) parameters: HashMap<&'a str, &'a str>,
    /// The JSON behind `pandas_categorical:`.
    pub(crate) pandas_categorical: Option<&'a str>,
}

/// `key=value` lines; a key without a value has an empty one.
pub(crate) struct Block<'a> {
    /// How messages call it.
    place: String,
    entries: HashMap<&'a str, &'a str>,
}

impl<'a> TextModel<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ImportError::syntax(format!("byte {}", error.valid_up_to()), "not text in UTF-8"))?;
        let mut lines = text.lines().map(str::trim_end).enumerate();
        if lines.by_ref().find(|(_, line)| !line.is_empty()).is_none_or(|(_, line)| line != "tree") {
            return Err(ImportError::syntax("line 1", "a LightGBM model begins with the line `tree`"));
        }
        let mut model = Self {
            header: Block::new("the header".to_owned()),
            trees: Vec::new(),
            parameters: HashMap::new(),
            pandas_categorical: None,
        };
        model.read_blocks(&mut lines)?;
        for (_, line) in lines {
            if let Some(json) = line.strip_prefix("pandas_categorical:") {
                model.pandas_categorical = Some(json);
            } else if let Some((key, value)) =
                line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).and_then(|line| line.split_once(':'))
            {
                model.parameters.insert(key.trim(), value.trim());
            }
        }
        Ok(model)
    }

    /// Reads up to the line `end of trees`.
    fn read_blocks(&mut self, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(), ImportError> {
        for (number, line) in lines.by_ref() {
            if line == "end of trees" {
                return Ok(());
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if key == "Tree" {
                let place = format!("tree {}", self.trees.len());
                if value.parse() != Ok(self.trees.len()) {
                    let expected = format!("`{}`, the number of trees before it", self.trees.len());
                    return Err(ImportError::value(format!("line {}", number + 1), "Tree", expected, value));
                }
                self.trees.push(Block::new(place));
            } else if !key.is_empty() {
                let block = self.trees.last_mut().unwrap_or(&mut self.header);
                if block.entries.insert(key, value).is_some() {
                    return Err(ImportError::syntax(
                        format!("line {}", number + 1),
                        format!("a second `{key}` in {}", block.place),
                    ));
                }
            }
        }
        let place = self.trees.last().map_or("the header", |tree| &tree.place);
        Err(ImportError::syntax(place, "the file ends here, before the line `end of trees`"))
    }
}

impl<'a> Block<'a> {
    fn new(place: String) -> Self {
        Self { place, entries: HashMap::new() }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.entries.get(key).copied()
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, ImportError> {
        self.get(key).ok_or_else(|| ImportError::syntax(&self.place, format!("there is no `{key}`")))
    }

    pub(crate) fn number<T: FromStr>(&self, key: &str) -> Result<T, ImportError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.bad(key, "a number", text))
    }

    /// The numbers of a line, which there should be `n` of.
    pub(crate) fn numbers<T: FromStr>(&self, key: &str, n: usize) -> Result<Vec<T>, ImportError> {
        let text = self.text(key)?;
        // The length first: a count is believed only if the line is as long.
        let found = text.split_ascii_whitespace().count();
        if found != n {
            return Err(self.bad(key, format!("{n} numbers"), &format!("{found} of them")));
        }
        let number = |word: &str| word.parse().map_err(|_| self.bad(key, "numbers", word));
        text.split_ascii_whitespace().map(number).collect()
    }

    pub(crate) fn bad(&self, key: &str, expected: impl Into<String>, found: &str) -> ImportError {
        ImportError::value(&self.place, key, expected, found)
    }
}
