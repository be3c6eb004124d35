//! A decision log as the log that a policy is judged by: decisions whose outcomes can no longer change.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::ValueEnum;
use retain_core::OutcomeEvent;
use retain_policy::evaluate::Log;
use retain_store::{LoggedDecision, MAX_PAGE, Store, StoreConfig};
use serde::Deserialize;

use super::logged::{Logged, Offer, check_size};
use crate::columns::Numbering;
use crate::exit::{Complaint, Exit};
use crate::output::Output;

/// What counts as success; the reward is 1 for it and 0 else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RewardGoal {
    /// The customer did not leave within the window
    Retain,
    /// The customer accepted or bought
    Convert,
    /// The customer clicked or the action was taken up
    Engage,
}

impl RewardGoal {
    fn reward(self, logged: &LoggedDecision) -> f64 {
        let has = |events: &[OutcomeEvent]| logged.outcomes.iter().any(|outcome| events.contains(&outcome.kind));
        let success = match self {
            Self::Retain => !has(&[OutcomeEvent::Churned]),
            Self::Convert => has(&[OutcomeEvent::Accepted, OutcomeEvent::Converted]),
            Self::Engage => has(&[OutcomeEvent::Clicked, OutcomeEvent::Taken]),
        };
        f64::from(u8::from(success))
    }
}

/// What is read of a logged candidate.
#[derive(Deserialize)]
struct LoggedCandidate<'j> {
    #[serde(borrow)]
    action: Cow<'j, str>,
    propensity: f64,
    #[serde(default)]
    rank: Option<usize>,
}

/// Reads the decisions of one playbook; those of the holdout and those that a person changed are told and left out.
pub(super) fn read(path: &Path, playbook: Option<&str>, goal: RewardGoal, output: Output) -> Result<Logged> {
    let decisions = matured(path)?;
    let playbook = the_playbook(&decisions, playbook, path)?;
    let mut rows = Rows::default();
    for logged in decisions.iter().filter(|logged| logged.decision.playbook == playbook) {
        rows.add(logged, goal)?;
    }
    rows.tell(output);
    rows.finish(path)
}

/// Every decision that no report can change any more, in the order in which the windows closed.
fn matured(path: &Path) -> Result<Vec<LoggedDecision>> {
    let attempt = || format!("cannot read the decision log `{}`", path.display());
    // A store makes the file that is not there; this verb only reads.
    let metadata = std::fs::metadata(path).with_context(attempt)?;
    if !metadata.is_file() || metadata.len() == 0 {
        let message = format!("`{}` is no decision log", path.display());
        return Err(Complaint::usage(message).hint("name the SQLite file of the server's `[store]`").into());
    }
    let store = Store::open(&StoreConfig::sqlite(path)).with_context(attempt)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let closed_before_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_sub(store.late_ms());
    let (mut decisions, mut after) = (Vec::new(), None);
    loop {
        let page = store.matured(closed_before_ms, after, MAX_PAGE).wait().with_context(attempt)?;
        decisions.extend(page.decisions);
        after = page.next;
        if after.is_none() {
            return Ok(decisions);
        }
    }
}

/// The playbook that was named, or the only one.
fn the_playbook(decisions: &[LoggedDecision], named: Option<&str>, path: &Path) -> Result<String> {
    let playbooks: BTreeSet<&str> = decisions.iter().map(|logged| logged.decision.playbook.as_str()).collect();
    let shown: Vec<String> = playbooks.iter().take(8).map(|name| format!("`{name}`")).collect();
    let complaint = |message: String, hint: String| Err(Complaint::usage(message).hint(hint).into());
    match (named, playbooks.len()) {
        (_, 0) => {
            let message = format!("`{}` has no decision whose outcome can no longer change", path.display());
            Err(Complaint::new(Exit::DATA, message).hint("wait until windows have closed and late reports are in").into())
        }
        (Some(name), _) if playbooks.contains(name) => Ok(name.to_owned()),
        (Some(name), _) => {
            complaint(format!("the log has no decision of playbook `{name}`"), format!("it has {}", shown.join(", ")))
        }
        (None, 1) => Ok(playbooks.into_iter().collect()),
        (None, _) => {
            complaint("the log has several playbooks".to_owned(), format!("name one with `--playbook`: {}", shown.join(", ")))
        }
    }
}

/// The rows of the log as they come.
#[derive(Default)]
struct Rows {
    action_names: Numbering,
    customer_names: Numbering,
    customers: Vec<u32>,
    actions: Vec<u32>,
    rewards: Vec<f64>,
    propensities: Vec<f64>,
    offers: Vec<Offer>,
    n_held_out: usize,
    n_overridden: usize,
}

impl Rows {
    /// Adds a decision. The holdout got no action whatever the policy would have chosen, so it says nothing of policies; where a person did
    /// something else, the logged probability does not hold.
    fn add(&mut self, logged: &LoggedDecision, goal: RewardGoal) -> Result<()> {
        let decision = &logged.decision;
        if decision.holdout {
            self.n_held_out += 1;
            return Ok(());
        }
        if !logged.overrides.is_empty() {
            self.n_overridden += 1;
            return Ok(());
        }
        let candidates: Vec<LoggedCandidate<'_>> = serde_json::from_str(&decision.candidates).map_err(|error| {
            Complaint::new(Exit::DATA, format!("the candidates of decision `{}` cannot be read", decision.id)).because(error)
        })?;
        let mut offer = Offer { chances: Vec::with_capacity(candidates.len()), first: None };
        for candidate in &candidates {
            let action = self.action_names.number(&candidate.action);
            if candidate.propensity > 0.0 {
                offer.chances.push((action, candidate.propensity));
            }
            if candidate.rank == Some(1) {
                offer.first = Some(action);
            }
        }
        self.customers.push(self.customer_names.number(&decision.customer_id));
        self.actions.push(self.action_names.number(&decision.action));
        self.rewards.push(goal.reward(logged));
        self.propensities.push(decision.propensity);
        self.offers.push(offer);
        Ok(())
    }

    fn tell(&self, output: Output) {
        if self.n_held_out > 0 {
            output.note(&format!("note: {} decisions of the holdout are left out: no policy decided there", self.n_held_out));
        }
        if self.n_overridden > 0 {
            output.note(&format!("note: {} decisions that a person changed are left out", self.n_overridden));
        }
    }

    fn finish(self, path: &Path) -> Result<Logged> {
        let actions = self.action_names.names;
        check_size(self.actions.len(), actions.len(), "action")?;
        let log = Log::new(actions.len(), &self.customers, self.actions, self.rewards, Some(self.propensities), None);
        let log = log.with_context(|| format!("the decision log `{}` cannot be used", path.display()))?;
        Ok(Logged { log, actions, positions: None, offers: Some(self.offers) })
    }
}
