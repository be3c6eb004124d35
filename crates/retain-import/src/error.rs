//! Why a file is not taken for a model.

use retain_score::ModelError;

/// What is wrong with a model file: found, expected, where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes are not in the format at all, or end too soon.
    #[error("{place}: {what}")]
    Syntax {
        /// Line, byte or part of the file.
        place: String,
        /// What the reader met there.
        what: String,
    },
    /// A value that does not belong where it stands.
    #[error("{place}: `{what}` should be {expected}, found {found}")]
    Value {
        /// Part of the file, such as `tree 3`.
        place: String,
        /// The key.
        what: String,
        /// What may stand there.
        expected: String,
        /// What does.
        found: String,
    },
    /// A property of the model that the engine cannot express.
    #[error("the model has {found}; supported: {supported}")]
    Unsupported {
        /// The property, by the library's name for it.
        found: String,
        /// What can be imported instead.
        supported: &'static str,
    },
    /// Nodes that are no tree, as the file counts them from 0, or more of something than a model may have.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The texts of a feature's categories are not in the file, and were not given.
    #[error("feature `{feature}`: {what}")]
    Categories {
        /// The feature.
        feature: String,
        /// What is not known.
        what: String,
    },
}

/// Most characters of a file that are repeated in a message.
const SHOWN: usize = 60;

impl ImportError {
    pub(crate) fn syntax(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Syntax { place: place.into(), what: what.into() }
    }

    /// `found` is what stands there, in full: it is shortened here.
    pub(crate) fn value(place: impl Into<String>, what: &str, expected: impl Into<String>, found: &str) -> Self {
        let (place, expected) = (place.into(), expected.into());
        Self::Value { place, what: what.to_owned(), expected, found: quoted(found) }
    }

    pub(crate) fn no_tree(tree: usize, node: usize, what: &'static str) -> Self {
        ModelError::Structure { tree, node, what }.into()
    }

    pub(crate) fn too_large(what: &'static str, found: usize, limit: usize) -> Self {
        ModelError::TooLarge { what, found, limit }.into()
    }

    pub(crate) fn unsupported(found: impl Into<String>, supported: &'static str) -> Self {
        Self::Unsupported { found: found.into(), supported }
    }
}

/// A text between quotes, short enough for a message.
pub(crate) fn quoted(found: &str) -> String {
    let mut short: String = found.chars().take(SHOWN).collect();
    if short.len() < found.len() {
        short.push('…');
    }
    if short.is_empty() { "nothing".to_owned() } else { format!("`{short}`") }
}
