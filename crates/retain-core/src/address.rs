//! How a model is named: `telco-churn`, `telco-churn@champion` or `telco-churn/3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest model or alias name; names become folder names.
const MAX_NAME_BYTES: usize = 64;

/// A model's name: `[a-z0-9-]+`, at most 64 letters, so that it is safe as a folder name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// Which version of a model is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionSelector {
    /// The version an alias points at.
    Alias(String),
    /// One version by number.
    Version(u32),
}

/// A model and which version of it; without one, its champion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelAddress {
    /// The model.
    pub name: ModelName,
    /// The version or alias.
    pub selector: VersionSelector,
}

/// A text that does not name a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The name has letters that a model name may not have.
    #[error("a model name has 1 to 64 of the letters `a-z`, `0-9` and `-`, found `{found}`")]
    Name {
        /// The text that was found.
        found: String,
    },
    /// The part after `@` is not an alias.
    #[error("after `@` stands an alias such as `champion`, found `{found}`")]
    Alias {
        /// The text that was found.
        found: String,
    },
    /// The part after `/` is not a whole number from 1.
    #[error("a model version is a whole number from 1, found `{found}`")]
    Version {
        /// The text that was found.
        found: String,
    },
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl ModelName {
    /// Checks the letters of a name.
    ///
    /// # Errors
    /// [`AddressError::Name`] when it is empty, too long, or has other letters.
    pub fn new(name: &str) -> Result<Self, AddressError> {
        if is_name(name) { Ok(Self(name.to_owned())) } else { Err(AddressError::Name { found: shortened(name) }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelName {
    type Error = AddressError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModelAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((name, version)) = text.split_once('/') {
            let selector = match version.parse::<u32>() {
                Ok(number) if number >= 1 => VersionSelector::Version(number),
                _ => return Err(AddressError::Version { found: shortened(version) }),
            };
            return Ok(Self { name: ModelName::new(name)?, selector });
        }
        let (name, alias) = text.split_once('@').unwrap_or((text, "champion"));
        if !is_name(alias) {
            return Err(AddressError::Alias { found: shortened(alias) });
        }
        Ok(Self { name: ModelName::new(name)?, selector: VersionSelector::Alias(alias.to_owned()) })
    }
}

impl fmt::Display for ModelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            VersionSelector::Alias(alias) => write!(f, "{}@{alias}", self.name),
            VersionSelector::Version(version) => write!(f, "{}/{version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print() {
        for text in ["telco-churn@champion", "telco-churn/3", "a@shadow"] {
            assert_eq!(text.parse::<ModelAddress>().unwrap().to_string(), text);
        }
        assert_eq!("telco-churn".parse::<ModelAddress>().unwrap().to_string(), "telco-churn@champion");
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for text in ["", "..", "../etc", "a/0", "a/x", "A", "a@", "a@../b", "a b", "a/1/2", &"a".repeat(65)] {
            assert!(text.parse::<ModelAddress>().is_err(), "{text}");
        }
    }
}
