//! What decisions teach: effects of actions, from logged decisions whose outcomes can no longer change.
//!
//! The server, `retain recommend` and the simulator learn with this alone. A decision is read from what the log has of it: its candidates with
//! their probabilities, and from its context the segment. What people overrode must not be handed in, and no outcome before the window's end
//! is no failure.

use std::borrow::Cow;

use retain_core::{Decision, NO_ACTION, OutcomeEvent};
use serde::Deserialize;

use crate::decide::{Learned, Posteriors};
use crate::playbook::{Action, Goal, Playbook};
use crate::posterior::{Effects, GroupBeliefs, MaturedRow, Prior, group_posteriors};

/// Customers fall into so many groups, of which each counts as one for how sure an effect is: the memory does not grow with customers.
const N_GROUPS: u64 = 1_024;
/// How far successes usually spread: one customer in seven fails.
const REWARD_SD: f64 = 0.35;
/// Stands for the chance of an eligible action among customers of the holdout, whose weights are those of doing nothing.
const SOME_CHANCE: f64 = 1e-6;
/// The first so many segments of a playbook are told apart; those behind them are learned about together.
const MAX_SEGMENTS: usize = 100;

/// Effects as far as they were learned, by segment.
#[derive(Debug, Clone, Default)]
pub struct LearnedEffects {
    effects: Option<Effects>,
    /// By action, in the order of the playbook: how often it was taken, and accepted.
    taken: Vec<(u64, u64)>,
    /// What is believed of customers in no segment, then in each.
    groups: Vec<GroupBeliefs>,
}

/// What was learned, for customers of one segment.
#[derive(Debug, Clone, Copy)]
pub struct OfSegment<'l> {
    learned: &'l LearnedEffects,
    segment: Option<usize>,
}

/// What is read of a logged candidate.
#[derive(Deserialize)]
struct LoggedCandidate<'j> {
    #[serde(borrow)]
    action: Cow<'j, str>,
    propensity: f64,
    eligible: bool,
}

/// What is read of a decision's context.
#[derive(Deserialize, Default)]
struct LoggedContext<'j> {
    #[serde(borrow, default)]
    segment: Option<Cow<'j, str>>,
}

impl Posteriors for OfSegment<'_> {
    fn effect(&self, action_idx: usize, _: &Action) -> Option<Learned> {
        self.beliefs()?.actions.get(action_idx).map(Learned::from)
    }

    fn control_sd(&self) -> f64 {
        self.beliefs().map_or(0.0, |beliefs| beliefs.control_sd)
    }

    fn acceptance(&self, action_idx: usize, _: &Action) -> Option<f64> {
        let (n_taken, n_accepted) = *self.learned.taken.get(action_idx)?;
        (n_taken > 0).then(|| n_accepted as f64 / n_taken as f64)
    }
}

impl OfSegment<'_> {
    fn beliefs(&self) -> Option<&GroupBeliefs> {
        self.learned.groups.get(group(self.segment))
    }
}

impl LearnedEffects {
    /// What was learned, for customers whose segment is this one of the playbook, as [`Assessed::segment`](crate::assess::Assessed::segment) tells it.
    pub fn of(&self, segment: Option<usize>) -> OfSegment<'_> {
        OfSegment { learned: self, segment }
    }

    /// Adds one decision that people did not override; those of other playbooks and of actions that are no more say nothing here.
    ///
    /// Beliefs stay as they are until [`Self::conclude`].
    pub fn add(&mut self, playbook: &Playbook, decision: &Decision, outcomes: &[OutcomeEvent]) {
        if decision.playbook != playbook.settings.name {
            return;
        }
        let Some((action, probabilities)) = chances(playbook, decision) else { return };
        let context: LoggedContext<'_> = serde_json::from_str(&decision.context).unwrap_or_default();
        let segment = context.segment.and_then(|id| playbook.assessment().segment_idx(&id));
        let has = |events: &[OutcomeEvent]| outcomes.iter().any(|outcome| events.contains(outcome));
        let row = MaturedRow {
            customer: customer_group(&decision.customer_id),
            segment: group(segment) as u32,
            action,
            probabilities: &probabilities,
            reward: f64::from(u8::from(is_success(playbook.settings.goal, outcomes))),
        };
        self.taken.resize(playbook.actions.len(), (0, 0));
        if self.effects.is_none() {
            self.effects = Effects::new(playbook.actions.len() + 1, REWARD_SD).ok();
        }
        // What another program has written there and cannot be is not learned from.
        let is_added = self.effects.as_mut().is_some_and(|effects| effects.add(&row).is_ok());
        if is_added && action > 0 {
            let (n_taken, n_accepted) = &mut self.taken[action - 1];
            *n_taken += 1;
            *n_accepted += u64::from(has(&[OutcomeEvent::Accepted, OutcomeEvent::Converted]));
        }
    }

    /// Makes beliefs of the playbook's priors and all that was added.
    pub fn conclude(&mut self, playbook: &Playbook) {
        let prior = |action: &Action| Prior::new(action.prior.effect, action.prior.sd, action.prior.weight).ok();
        let Some(priors) = playbook.actions.iter().map(prior).collect::<Option<Vec<Prior>>>() else { return };
        let Some(effects) = &self.effects else { return };
        let n_groups = 1 + playbook.assessment().n_segments().min(MAX_SEGMENTS);
        let of_group = |group: usize| (1..=priors.len()).map(|action| effects.estimate_in(group as u32, action)).collect();
        let estimates: Vec<_> = (0..n_groups).map(of_group).collect();
        self.groups = group_posteriors(&priors, &estimates);
    }
}

/// Whether what happened is what the playbook wants; what did not happen by the window's end did not happen.
pub fn is_success(goal: Goal, outcomes: &[OutcomeEvent]) -> bool {
    let has = |events: &[OutcomeEvent]| outcomes.iter().any(|outcome| events.contains(outcome));
    match goal {
        Goal::Retain => !has(&[OutcomeEvent::Churned]),
        Goal::Convert => has(&[OutcomeEvent::Accepted, OutcomeEvent::Converted]),
        Goal::Engage => has(&[OutcomeEvent::Clicked, OutcomeEvent::Taken]),
    }
}

/// The place of what was chosen and the chance that everything had; doing nothing is at 0.
fn chances(playbook: &Playbook, decision: &Decision) -> Option<(usize, Vec<f64>)> {
    let place = |id: &str| if id == NO_ACTION { Some(0) } else { playbook.action_idx(id).map(|idx| idx + 1) };
    let candidates: Vec<LoggedCandidate<'_>> = serde_json::from_str(&decision.candidates).ok()?;
    let mut probabilities = vec![0.0; playbook.actions.len() + 1];
    for candidate in &candidates {
        let is_kept_back = decision.holdout && candidate.eligible && candidate.action != NO_ACTION;
        if let Some(place) = place(&candidate.action) {
            probabilities[place] = if is_kept_back { SOME_CHANCE } else { candidate.propensity };
        }
    }
    Some((place(&decision.action)?, probabilities))
}

/// Where a segment's rows are: customers in none come first, with those of segments beyond the last that is told apart.
fn group(segment: Option<usize>) -> usize {
    segment.filter(|segment| *segment < MAX_SEGMENTS).map_or(0, |segment| segment + 1)
}

/// A customer's group, the same in every run.
///
/// # Source
/// The hash of Fowler, Noll and Vo (FNV-1a, 64 bits).
fn customer_group(customer_id: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    customer_id.bytes().fold(0xcbf2_9ce4_8422_2325, step) % N_GROUPS
}
