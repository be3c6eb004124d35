//! What is wrong in a file, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong or doubtful in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{kind}: {source_name}, line {line}: {what}; {fix}")]
pub struct Problem {
    /// The file, or the preset as `preset NAME`.
    pub source_name: String,
    /// Line, from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub what: String,
    /// What to change.
    pub fix: String,
    /// Whether the file can be used all the same.
    pub kind: ProblemKind,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProblemKind {
    /// The file cannot be used.
    Error,
    /// The file can be used, though probably not as meant.
    Warning,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
