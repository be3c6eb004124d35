//! The rules of the log, as a pure function of what is known: what is new, what was known, and what is refused.
//!
//! A writer loads what the log knows of the decisions that a group of requests names ([`Known`]), applies one request after the
//! other in memory, and writes the new records at once ([`NewRecords`]). So both databases have the same rules, a refused request
//! leaves nothing to undo, and a group costs a few statements however many requests are in it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use retain_core::{Decision, DecisionId, Outcome, Override};

use crate::error::StoreError;
use crate::records::Recorded;

/// How much earlier than its decision something may have happened: the clocks of two machines differ.
pub const CLOCK_TOLERANCE_MS: i64 = 5 * 60_000;
/// Most outcomes, and most overrides, of one decision, so that reading one is bounded.
pub const MAX_REPORTS: usize = 1_000;

/// What a writer is asked to do.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Keep all of these or none.
    Decisions(Vec<Arc<Decision>>),
    /// Keep what happened, reported now.
    Outcome { outcome: Arc<Outcome>, now_ms: i64 },
    /// Keep what a person did, reported now.
    Override { overriding: Arc<Override>, now_ms: i64 },
    /// Remove decisions whose window closed before, up to a number of them.
    Remove { closed_before_ms: i64, limit: usize },
    /// Nothing, through the same way.
    Ping,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// One answer for each record.
    Recorded(Vec<Recorded>),
    /// How many decisions were removed.
    Removed(u64),
    /// A ping has come through.
    Nothing,
}

/// When a decision was made and its window closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) id: DecisionId,
    pub(crate) decided_at_ms: i64,
    pub(crate) closes_at_ms: i64,
}

/// The decisions that requests name, sorted, so that every writer locks rows in the same order.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Those that are to be kept: is there one of this id already?
    pub(crate) recorded: Vec<DecisionId>,
    /// Those that something is reported of.
    pub(crate) reported: Vec<DecisionId>,
}

impl Named {
    pub(crate) fn by<'r>(requests: impl IntoIterator<Item = &'r Request>) -> Self {
        let (mut recorded, mut reported) = (BTreeSet::new(), BTreeSet::new());
        for request in requests {
            match request {
                Request::Decisions(decisions) => recorded.extend(decisions.iter().map(|decision| decision.id)),
                Request::Outcome { outcome, .. } => _ = reported.insert(outcome.decision_id),
                Request::Override { overriding, .. } => _ = reported.insert(overriding.decision_id),
                Request::Remove { .. } | Request::Ping => {}
            }
        }
        Self { recorded: recorded.into_iter().collect(), reported: reported.into_iter().collect() }
    }
}

/// Records to be written, each report with the time it came.
#[derive(Debug, Default)]
pub(crate) struct NewRecords {
    pub(crate) decisions: Vec<Arc<Decision>>,
    pub(crate) outcomes: Vec<(Arc<Outcome>, i64)>,
    pub(crate) overrides: Vec<(Arc<Override>, i64)>,
}

/// What is known of the named decisions: from the log, and from the requests before.
#[derive(Debug)]
pub(crate) struct Known {
    late_ms: i64,
    contents: HashMap<DecisionId, Arc<Decision>>,
    reports: HashMap<DecisionId, Reports>,
    new: NewRecords,
}

#[derive(Debug)]
struct Reports {
    window: Window,
    outcomes: Vec<Arc<Outcome>>,
    overrides: Vec<Arc<Override>>,
}

impl Known {
    /// Nothing is known yet; reports are taken until `late_ms` after the window.
    pub(crate) fn new(late_ms: i64) -> Self {
        Self { late_ms, contents: HashMap::new(), reports: HashMap::new(), new: NewRecords::default() }
    }

    pub(crate) fn add_decision(&mut self, decision: Arc<Decision>) {
        let Decision { id, decided_at_ms, window_closes_at_ms, .. } = *decision;
        self.add_window(Window { id, decided_at_ms, closes_at_ms: window_closes_at_ms });
        self.contents.insert(id, decision);
    }

    pub(crate) fn add_window(&mut self, window: Window) {
        let none = || Reports { window, outcomes: Vec::new(), overrides: Vec::new() };
        self.reports.entry(window.id).or_insert_with(none);
    }

    /// An outcome of a decision whose window is known.
    pub(crate) fn add_outcome(&mut self, outcome: Arc<Outcome>) {
        if let Some(reports) = self.reports.get_mut(&outcome.decision_id) {
            reports.outcomes.push(outcome);
        }
    }

    /// An override of a decision whose window is known.
    pub(crate) fn add_override(&mut self, overriding: Arc<Override>) {
        if let Some(reports) = self.reports.get_mut(&overriding.decision_id) {
            reports.overrides.push(overriding);
        }
    }

    /// What the requests have added.
    pub(crate) fn into_new(self) -> NewRecords {
        self.new
    }

    /// Judges one request; what it adds is known to the next.
    pub(crate) fn apply(&mut self, request: &Request) -> Result<Done, StoreError> {
        match request {
            Request::Decisions(decisions) => self.apply_decisions(decisions).map(Done::Recorded),
            Request::Outcome { outcome, now_ms } => {
                let recorded = self.judge_outcome(outcome, *now_ms)?;
                if recorded == Recorded::New {
                    self.add_outcome(outcome.clone());
                    self.new.outcomes.push((outcome.clone(), *now_ms));
                }
                Ok(Done::Recorded(vec![recorded]))
            }
            Request::Override { overriding, now_ms } => {
                let recorded = self.judge_override(overriding, *now_ms)?;
                if recorded == Recorded::New {
                    self.add_override(overriding.clone());
                    self.new.overrides.push((overriding.clone(), *now_ms));
                }
                Ok(Done::Recorded(vec![recorded]))
            }
            // The writer does these itself.
            Request::Remove { .. } | Request::Ping => Ok(Done::Nothing),
        }
    }

    fn apply_decisions(&mut self, decisions: &[Arc<Decision>]) -> Result<Vec<Recorded>, StoreError> {
        let mut fresh: HashMap<DecisionId, &Arc<Decision>> = HashMap::new();
        let mut answers = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let id = decision.id;
            match self.contents.get(&id).or_else(|| fresh.get(&id).copied()) {
                Some(known) if known == decision => answers.push(Recorded::Known),
                Some(_) => return Err(StoreError::DecisionDiffers { id }),
                None => {
                    fresh.insert(id, decision);
                    answers.push(Recorded::New);
                }
            }
        }
        for (decision, recorded) in decisions.iter().zip(&answers) {
            if *recorded == Recorded::New {
                self.add_decision(decision.clone());
                self.new.decisions.push(decision.clone());
            }
        }
        Ok(answers)
    }

    fn judge_outcome(&self, outcome: &Outcome, now_ms: i64) -> Result<Recorded, StoreError> {
        let id = outcome.decision_id;
        let reports = self.reports.get(&id).ok_or(StoreError::UnknownDecision { id })?;
        if let Some(known) = reports.outcomes.iter().find(|known| known.key == outcome.key) {
            return same(**known == *outcome, id, &outcome.key);
        }
        self.check_report(&reports.window, reports.outcomes.len(), outcome.occurred_at_ms, now_ms)?;
        let opposite = outcome.kind.contradicts();
        match reports.outcomes.iter().find(|known| Some(known.kind) == opposite) {
            Some(earlier) => Err(StoreError::Contradiction {
                id,
                kind: outcome.kind,
                earlier: earlier.kind,
                earlier_key: earlier.key.clone(),
                earlier_ms: earlier.occurred_at_ms,
            }),
            None => Ok(Recorded::New),
        }
    }

    fn judge_override(&self, overriding: &Override, now_ms: i64) -> Result<Recorded, StoreError> {
        let id = overriding.decision_id;
        let reports = self.reports.get(&id).ok_or(StoreError::UnknownDecision { id })?;
        if let Some(known) = reports.overrides.iter().find(|known| known.key == overriding.key) {
            return same(**known == *overriding, id, &overriding.key);
        }
        self.check_report(&reports.window, reports.overrides.len(), overriding.occurred_at_ms, now_ms)?;
        Ok(Recorded::New)
    }

    /// When it happened decides; when it is reported only limits how late. A window may end beyond what a time can be.
    fn check_report(&self, window: &Window, n_reports: usize, occurred_at_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        let Window { id, decided_at_ms, closes_at_ms: window_closes_at_ms } = *window;
        let accepted_until_ms = window_closes_at_ms.saturating_add(self.late_ms);
        if occurred_at_ms < decided_at_ms - CLOCK_TOLERANCE_MS {
            Err(StoreError::BeforeDecision { id, occurred_at_ms, decided_at_ms })
        } else if occurred_at_ms > window_closes_at_ms {
            Err(StoreError::WindowClosed { id, occurred_at_ms, window_closes_at_ms })
        } else if now_ms > accepted_until_ms {
            Err(StoreError::ReportedTooLate { id, accepted_until_ms, now_ms })
        } else if n_reports >= MAX_REPORTS {
            Err(StoreError::TooManyReports { id, limit: MAX_REPORTS })
        } else {
            Ok(())
        }
    }
}

/// A key that is known: the same report once more, or another one.
fn same(is_same: bool, id: DecisionId, key: &str) -> Result<Recorded, StoreError> {
    if is_same { Ok(Recorded::Known) } else { Err(StoreError::KeyReused { id, key: key.to_owned() }) }
}
