//! What the log gives back.

use retain_core::{Decision, DecisionId, Outcome, OutcomeEvent, Override};

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

/// What a contact policy has to know of an earlier decision for the same customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDecision {
    /// Its name.
    pub id: DecisionId,
    /// When it was made; after now where a clock has gone backwards.
    pub decided_at_ms: i64,
    /// The playbook's name.
    pub playbook: String,
    /// What was chosen.
    pub action: String,
    /// How it reached the customer.
    pub channel: Option<String>,
    /// Whether the customer was in the holdout.
    pub holdout: bool,
    /// What a person did instead, by the last override.
    pub overridden_by: Option<String>,
    /// What happened, oldest first.
    pub outcomes: Vec<PastOutcome>,
}

/// What happened after an earlier decision, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastOutcome {
    /// What.
    pub kind: OutcomeEvent,
    /// When.
    pub occurred_at_ms: i64,
}

/// Where the next page of matured decisions begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) window_closes_at_ms: i64,
    pub(crate) id: DecisionId,
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
