//! What is wrong with a playbook, where, and how to put it right. Reading goes on after a problem, so that all are told at once.

use std::cell::RefCell;
use std::fmt;

/// So many problems are told; a file with more has one cause.
const MAX_PROBLEMS: usize = 200;

/// Whether a playbook can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot be used.
    Error,
    /// It can be used, and does probably not do what its author meant.
    Warning,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The preset; absent for the playbook itself.
    pub preset: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in letters, from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong: what was found and what was expected.
    pub what: String,
    /// What would put it right.
    pub fix: String,
    /// How bad it is.
    pub severity: Severity,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(preset) = &self.preset {
            write!(f, "preset `{preset}`, ")?;
        }
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{}: {kind}{}; {}", self.place, self.what, self.fix)
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn error(&self, place: Place, what: String, fix: String) {
        self.add(Problem { place, what, fix, severity: Severity::Error });
    }

    pub(super) fn warn(&self, place: Place, what: String, fix: String) {
        self.add(Problem { place, what, fix, severity: Severity::Warning });
    }

    fn add(&self, problem: Problem) {
        let mut all = self.0.borrow_mut();
        // An error is told even where warnings have filled the list.
        if all.len() < MAX_PROBLEMS || problem.severity == Severity::Error && all.len() < 2 * MAX_PROBLEMS {
            all.push(problem);
        }
    }

    /// Whether nothing more is told.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().len() >= MAX_PROBLEMS
    }

    pub(super) fn any_error(&self) -> bool {
        self.0.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All of them, in the order of the file, the playbook before its presets.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut all = self.0.into_inner();
        all.sort_by(|a, b| a.place.cmp(&b.place));
        all.dedup();
        all
    }
}
