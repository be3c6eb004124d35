//! What was done for a customer before, as the next decision has to see it.
//!
//! What counts is what was really done: an override replaces the choice, and an action that was reported as not taken was not taken. A
//! decision from the future, which a clock that went backwards leaves behind, counts as made now.

use retain_core::{NO_ACTION, OutcomeEvent, PastDecision};

use crate::playbook::Playbook;
use crate::rule::{HistoryQuery, Known};

const DAY_MS: f64 = 86_400_000.0;

/// The past of one customer, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Past<'a> {
    done: Vec<Done<'a>>,
    decisions: Vec<(Option<usize>, &'a PastDecision)>,
    now_ms: i64,
}

/// One action that reached the customer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done<'a> {
    /// Its index, where the playbook still has it.
    pub(super) action: Option<usize>,
    pub(super) id: &'a str,
    /// Absent where nothing reached the customer, or nobody knows how.
    pub(super) channel: Option<&'a str>,
    /// Whether the customer noticed: it has a channel, or a person did something that the playbook does not know.
    pub(super) is_contact: bool,
    pub(super) age_days: f64,
}

impl<'a> Past<'a> {
    pub(super) fn new(playbook: &'a Playbook, history: &'a [PastDecision], now_ms: i64) -> Self {
        let mut decisions: Vec<&PastDecision> = history.iter().collect();
        decisions.sort_by_key(|decision| (decision.decided_at_ms, decision.id));
        let done = decisions.iter().filter_map(|decision| done(playbook, decision, now_ms)).collect();
        let decisions = decisions.into_iter().map(|decision| (playbook.action_idx(done_id(decision)), decision)).collect();
        Self { done, decisions, now_ms }
    }

    /// What was done, oldest first.
    pub(super) fn done(&self) -> &[Done<'a>] {
        &self.done
    }

    /// Contacts in the last days, of one channel or of all.
    pub(super) fn contacts(&self, channel: Option<&str>, days: f64) -> u32 {
        let counts = |done: &&Done<'_>| {
            done.is_contact && done.age_days < days && channel.is_none_or(|channel| done.channel == Some(channel))
        };
        self.done.iter().filter(counts).count() as u32
    }

    /// Days since an action was last done.
    pub(super) fn days_since(&self, action: usize) -> Option<f64> {
        self.done.iter().rev().find(|done| done.action == Some(action)).map(|done| done.age_days)
    }

    /// Days since an outcome was last reported of one action, or of any.
    pub(super) fn days_since_outcome(&self, action: Option<usize>, event: OutcomeEvent) -> Option<f64> {
        let of_action = self.decisions.iter().filter(|(done, _)| action.is_none() || *done == action);
        let outcomes = of_action.flat_map(|(_, decision)| &decision.outcomes).filter(|(kind, _)| *kind == event);
        outcomes.map(|(_, at_ms)| self.age_days(*at_ms)).min_by(f64::total_cmp)
    }

    /// The earlier contacts, each counting half after every `halves_after_days`.
    pub(super) fn fresh_contacts(&self, halves_after_days: f64) -> f64 {
        let contacts = self.done.iter().filter(|done| done.is_contact);
        contacts.map(|done| libm::exp2(-done.age_days / halves_after_days)).sum()
    }

    /// The answer to a rule's question.
    pub(super) fn answer(&self, query: &HistoryQuery) -> Known<'static> {
        let is_of = |done: &Done<'_>, what: &Option<String>| {
            what.as_deref().is_none_or(|what| done.id == what || done.channel == Some(what))
        };
        match query {
            HistoryQuery::Count { what, days } => {
                let within = |done: &&Done<'_>| done.age_days < f64::from(*days) && is_of(done, what);
                Known::Number(self.done.iter().filter(within).count() as f64)
            }
            HistoryQuery::DaysSince { what } => {
                let last = self.done.iter().rev().find(|done| is_of(done, what));
                last.map_or(Known::Missing, |done| Known::Number(done.age_days))
            }
            HistoryQuery::Outcomes { event, days } => {
                let outcomes = self.decisions.iter().flat_map(|(_, decision)| &decision.outcomes);
                let within = |(kind, at_ms): &&(OutcomeEvent, i64)| kind == event && self.age_days(*at_ms) < f64::from(*days);
                Known::Number(outcomes.filter(within).count() as f64)
            }
        }
    }

    fn age_days(&self, at_ms: i64) -> f64 {
        age_days(self.now_ms, at_ms)
    }
}

fn age_days(now_ms: i64, at_ms: i64) -> f64 {
    now_ms.saturating_sub(at_ms).max(0) as f64 / DAY_MS
}

/// The id of what was done: the override's, where there is one.
fn done_id(decision: &PastDecision) -> &str {
    decision.overridden.as_deref().unwrap_or(&decision.action)
}

fn done<'a>(playbook: &'a Playbook, decision: &'a PastDecision, now_ms: i64) -> Option<Done<'a>> {
    let id = done_id(decision);
    let not_taken = decision.outcomes.iter().any(|(kind, _)| *kind == OutcomeEvent::NotTaken);
    if id == NO_ACTION || not_taken && decision.overridden.is_none() {
        return None;
    }
    let action = playbook.action_idx(id);
    let (channel, is_contact) = match (&decision.overridden, action) {
        (None, _) => (decision.channel.as_deref(), decision.channel.is_some()),
        (Some(_), Some(action)) => {
            let channel = playbook.actions[action].channel.map(|channel| playbook.contact.channels[channel].id.as_str());
            (channel, channel.is_some())
        }
        // Nobody knows how it reached the customer; that it did is what the limits over all channels are for.
        (Some(_), None) => (None, true),
    };
    Some(Done { action, id, channel, is_contact, age_days: age_days(now_ms, decision.decided_at_ms) })
}
