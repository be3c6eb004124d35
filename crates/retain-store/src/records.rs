//! What the log gives back.

use retain_core::{Decision, DecisionId, Outcome, Override};

/// Whether a record was new to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recorded {
    /// It is kept from now on.
    New,
    /// The same record had been kept before; nothing was added.
    Known,
}

/// A decision with all that was reported of it, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedDecision {
    /// What was decided.
    pub decision: Decision,
    /// What happened after it.
    pub outcomes: Vec<Outcome>,
    /// What people did instead; the last one holds.
    pub overrides: Vec<Override>,
}

/// How often an action was decided for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The action's id.
    pub action: String,
    /// How it reached the customers.
    pub channel: Option<String>,
    /// How many decisions.
    pub n_decisions: u64,
}

/// Where the next page of matured decisions begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) window_closes_at_ms: i64,
    pub(crate) id: DecisionId,
}

impl Cursor {
    /// Goes on behind this decision.
    pub fn behind(decision: &Decision) -> Self {
        Self { window_closes_at_ms: decision.window_closes_at_ms, id: decision.id }
    }
}

/// Decisions in the order in which their windows closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The decisions.
    pub decisions: Vec<LoggedDecision>,
    /// What to ask for the next page with; absent when this was the last.
    pub next: Option<Cursor>,
}

/// How much the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Decisions.
    pub decisions: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Overrides.
    pub overrides: u64,
}
