//! What came of earlier decisions: effects of actions, from those whose windows have closed.

use std::borrow::Cow;
use std::collections::HashMap;

use retain_core::{NO_ACTION, OutcomeEvent};
use retain_policy::decide::{Learned, Posteriors};
use retain_policy::playbook::{Action, Goal, Playbook};
use retain_policy::posterior::{Effects, MaturedRow, Prior, control_belief, joint_posteriors};
use retain_store::{Cursor, LoggedDecision, MAX_PAGE, Store};
use serde::Deserialize;

use crate::status::CallError;

/// Customers fall into so many groups, of which each counts as one for how sure an effect is: the memory does not grow with customers.
const N_GROUPS: u64 = 1_024;
/// How far successes spread at most, being 0 or 1.
const REWARD_SD: f64 = 0.5;
/// Stands for the chance of an eligible action among customers of the holdout, whose weights are those of doing nothing.
const SOME_CHANCE: f64 = 1e-6;
/// Pages that one look reads at most; the rest comes with the next.
const PAGES_AT_ONCE: usize = 200;

/// Effects as far as they were learned.
#[derive(Debug, Clone, Default)]
pub(super) struct LearnedEffects {
    effects: Option<Effects>,
    /// By action, in the order of the playbook: how often it was taken, and accepted.
    taken: Vec<(u64, u64)>,
    learned: Vec<Option<Learned>>,
    /// How unsure it is what doing nothing comes to.
    control_sd: f64,
    after: Option<Cursor>,
}

/// What is read of a logged candidate.
#[derive(Deserialize)]
struct LoggedCandidate<'j> {
    #[serde(borrow)]
    action: Cow<'j, str>,
    propensity: f64,
    eligible: bool,
}

impl Posteriors for LearnedEffects {
    fn effect(&self, action_idx: usize, _: &Action) -> Option<Learned> {
        *self.learned.get(action_idx)?
    }

    fn control_sd(&self) -> f64 {
        self.control_sd
    }

    fn acceptance(&self, action_idx: usize, _: &Action) -> Option<f64> {
        let (n_taken, n_accepted) = *self.taken.get(action_idx)?;
        (n_taken > 0).then(|| n_accepted as f64 / n_taken as f64)
    }
}

impl LearnedEffects {
    /// Goes on with decisions whose outcomes can no longer change.
    ///
    /// # Errors
    /// When the log cannot be read; what was learned before stays.
    pub(super) async fn learn(&self, playbook: &Playbook, store: &Store, now_ms: i64) -> Result<Self, CallError> {
        let mut next = self.clone();
        next.taken.resize(playbook.actions.len(), (0, 0));
        let actions: HashMap<&str, usize> =
            playbook.actions.iter().enumerate().map(|(idx, action)| (action.id.as_str(), idx)).collect();
        let closed_before_ms = now_ms.saturating_sub(store.late_ms());
        for _ in 0..PAGES_AT_ONCE {
            let page = store.matured(closed_before_ms, next.after, MAX_PAGE).await?;
            for logged in &page.decisions {
                next.add(logged, playbook, &actions);
            }
            // The last page says nothing of where to go on: decisions that close later come behind its last one.
            let Some(after) = page.next else {
                next.after = page.decisions.last().map(|last| Cursor::behind(&last.decision)).or(next.after);
                break;
            };
            next.after = Some(after);
        }
        next.conclude(playbook);
        Ok(next)
    }

    /// Adds one decision; those of other playbooks, of people and of actions that are no more say nothing here.
    fn add(&mut self, logged: &LoggedDecision, playbook: &Playbook, actions: &HashMap<&str, usize>) {
        let decision = &logged.decision;
        if decision.playbook != playbook.settings.name || !logged.overrides.is_empty() {
            return;
        }
        let Ok(candidates) = serde_json::from_str::<Vec<LoggedCandidate<'_>>>(&decision.candidates) else { return };
        let mut probabilities = vec![0.0; playbook.actions.len() + 1];
        for candidate in &candidates {
            let chance = if decision.holdout && candidate.eligible { SOME_CHANCE } else { candidate.propensity };
            match actions.get(&*candidate.action) {
                Some(idx) => probabilities[idx + 1] = chance,
                None if candidate.action == NO_ACTION => probabilities[0] = candidate.propensity,
                None => {}
            }
        }
        let chosen =
            if decision.action == NO_ACTION { Some(0) } else { actions.get(decision.action.as_str()).map(|idx| idx + 1) };
        let (Some(action), Some(effects)) = (chosen, self.effects(playbook)) else { return };
        let has = |events: &[OutcomeEvent]| logged.outcomes.iter().any(|outcome| events.contains(&outcome.kind));
        let success = match playbook.settings.goal {
            Goal::Retain => !has(&[OutcomeEvent::Churned]),
            Goal::Convert => has(&[OutcomeEvent::Accepted, OutcomeEvent::Converted]),
            Goal::Engage => has(&[OutcomeEvent::Clicked, OutcomeEvent::Taken]),
        };
        let row = MaturedRow {
            customer: group(&decision.customer_id),
            segment: 0,
            action,
            probabilities: &probabilities,
            reward: f64::from(u8::from(success)),
        };
        // What another program has written there and cannot be is not learned from.
        if effects.add(&row).is_ok() && action > 0 {
            let (n_taken, n_accepted) = &mut self.taken[action - 1];
            *n_taken += 1;
            *n_accepted += u64::from(has(&[OutcomeEvent::Accepted, OutcomeEvent::Converted]));
        }
    }

    fn effects(&mut self, playbook: &Playbook) -> Option<&mut Effects> {
        if self.effects.is_none() {
            self.effects = Effects::new(playbook.actions.len() + 1, REWARD_SD).ok();
        }
        self.effects.as_mut()
    }

    /// The playbook's priors with what was seen of all actions together.
    fn conclude(&mut self, playbook: &Playbook) {
        let prior = |action: &Action| Prior::with_ess(action.prior.effect, action.prior.sd, action.prior.weight).ok();
        let Some(priors) = playbook.actions.iter().map(prior).collect::<Option<Vec<Prior>>>() else { return };
        let Some(effects) = &self.effects else { return };
        let estimates: Vec<_> = (0..priors.len()).map(|idx| effects.estimate(idx + 1)).collect();
        let posteriors = joint_posteriors(&priors, &estimates);
        self.control_sd = control_belief(&posteriors).sd();
        let seen = posteriors.iter().zip(&estimates);
        self.learned = seen.map(|(posterior, estimate)| estimate.as_ref().map(|_| Learned::from(posterior))).collect();
    }
}

/// A customer's group, the same in every run.
///
/// # Source
/// The hash of Fowler, Noll and Vo (FNV-1a, 64 bits).
fn group(customer_id: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    customer_id.bytes().fold(0xcbf2_9ce4_8422_2325, step) % N_GROUPS
}
