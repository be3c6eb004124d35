//! Everything that can go wrong with the log.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use retain_core::{DecisionId, OutcomeEvent};

/// What a database said. Shared, because one failure answers every call of a group.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a call has no result. `place` is the file, or the database's address without its password.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A setting that cannot be.
    #[error("`{key}` should be {expected}, found `{found}`")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What was found, without secrets.
        found: String,
    },
    /// A record that cannot be kept as it is.
    #[error("`{field}` should be {expected}, found {found}")]
    Invalid {
        /// Which field of the record.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What was found, or how much of it.
        found: String,
    },
    /// An outcome of a decision that is not in the log: it never was, or it was removed for its age.
    #[error("there is no decision `{id}`")]
    UnknownDecision {
        /// Which.
        id: DecisionId,
    },
    /// Another decision has this id.
    #[error("decision `{id}` is in the log with other content")]
    DecisionDiffers {
        /// Which.
        id: DecisionId,
    },
    /// The key has been used for another report about the same decision.
    #[error("key `{key}` of decision `{id}` stands for another report")]
    KeyReused {
        /// The decision.
        id: DecisionId,
        /// The key.
        key: String,
    },
    /// What is reported cannot be true beside an earlier report.
    #[error(
        "`{kind}` contradicts `{earlier}`, which was reported of decision `{id}` with key `{earlier_key}` for {earlier_ms} ms"
    )]
    Contradiction {
        /// The decision.
        id: DecisionId,
        /// What is reported now.
        kind: OutcomeEvent,
        /// What was reported before.
        earlier: OutcomeEvent,
        /// Under which key.
        earlier_key: String,
        /// When that had happened.
        earlier_ms: i64,
    },
    /// It happened after the decision's window.
    #[error("the window of decision `{id}` closed at {window_closes_at_ms} ms, and this happened at {occurred_at_ms} ms")]
    WindowClosed {
        /// The decision.
        id: DecisionId,
        /// When it happened.
        occurred_at_ms: i64,
        /// When the window closed.
        window_closes_at_ms: i64,
    },
    /// It happened within the window and was reported too long after it.
    #[error("reports on decision `{id}` were accepted until {accepted_until_ms} ms, and it is {now_ms} ms")]
    ReportedTooLate {
        /// The decision.
        id: DecisionId,
        /// The window's end and `late_days`.
        accepted_until_ms: i64,
        /// When it was reported.
        now_ms: i64,
    },
    /// It happened before there was a decision.
    #[error("decision `{id}` was made at {decided_at_ms} ms, and this happened before it, at {occurred_at_ms} ms")]
    BeforeDecision {
        /// The decision.
        id: DecisionId,
        /// When it happened.
        occurred_at_ms: i64,
        /// When the decision was made.
        decided_at_ms: i64,
    },
    /// A decision has as many reports as one may have.
    #[error("decision `{id}` has {limit} reports, which is all that one may have")]
    TooManyReports {
        /// The decision.
        id: DecisionId,
        /// The limit.
        limit: usize,
    },
    /// More calls wait than may wait. Nothing was kept; later there will be room.
    #[error("{waiting} calls wait for the decision log, which is all that may")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// Others hold the database's locks. Nothing was kept.
    #[error("others keep the decision log `{place}` locked")]
    Locked {
        /// Which database.
        place: Arc<str>,
        /// What it said.
        source: Cause,
    },
    /// No answer in time. It may or may not have been kept; making the same call again is safe and tells.
    #[error("no answer from the decision log within {after_ms} ms: the record may or may not be kept")]
    NoAnswer {
        /// How long the call may take.
        after_ms: u64,
    },
    /// There is no room for it. Nothing was kept; what was kept before is still there.
    #[error("the decision log `{place}` has no room")]
    Full {
        /// Which database.
        place: Arc<str>,
        /// What it said.
        source: Cause,
    },
    /// The database cannot be reached. Nothing was kept.
    #[error("the decision log `{place}` cannot be reached")]
    Unavailable {
        /// Which database.
        place: Arc<str>,
        /// What the system said.
        source: Cause,
    },
    /// A newer program has changed the tables.
    #[error("the tables of `{place}` are of version {found}, and this program knows {known}")]
    SchemaNewer {
        /// Which database.
        place: Arc<str>,
        /// Their version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("`{place}` holds tables that are no decision log")]
    NotALog {
        /// Which database.
        place: Arc<str>,
    },
    /// What was read is not what was written.
    #[error("the decision log `{place}` is damaged: `{column}` {problem}")]
    Damaged {
        /// Which database.
        place: Arc<str>,
        /// Where.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused, for a reason that has no name here.
    #[error("the decision log `{place}` refused")]
    Database {
        /// Which database.
        place: Arc<str>,
        /// What it said.
        source: Cause,
    },
    /// The export cannot be written.
    #[error("cannot write the export `{path}`")]
    Export {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Cause,
    },
    /// The log was closed, or one of its threads has ended.
    #[error("the decision log is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn invalid(field: &'static str, expected: &'static str, found: impl Into<String>) -> Self {
        Self::Invalid { field, expected, found: found.into() }
    }

    /// Whether another connection may help.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether it may be one record's fault, so that the others of its group deserve a transaction of their own.
    pub(crate) fn may_be_one_records(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Database { .. } | Self::Damaged { .. })
    }
}
