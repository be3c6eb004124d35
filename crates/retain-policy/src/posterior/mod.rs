//! What is believed of an action's effect: the playbook's prior together with what logged, matured decisions say.
//!
//! [`Effects`] adds up matured rows, can be merged, and gives an [`EffectEstimate`]: how much more the action brought than doing
//! nothing, among customers for whom chance chose between the two. [`group_posteriors`] makes a [`Posterior`] of it. A row whose
//! outcome is not known yet is not a failure: it has not [`has_matured`] and stays out.

mod effects;
mod hierarchy;

use retain_core::{Decision, OutcomeEvent};
use serde::Serialize;

pub use effects::{EffectEstimate, Effects, EffectsError, MaturedRow};
pub use hierarchy::{GroupBeliefs, group_posteriors};

use crate::explore::{Normal, NormalError};

/// Blocked where an effect is below 0 with more than this probability…
const SLEEPING_DOG_PROBABILITY: f64 = 0.8;
/// …and this many customers' rows with the action.
const SLEEPING_DOG_ROWS: u64 = 200;

/// Whether nothing that may still happen can change a decision's reward: its window has closed, or the customer has left or is
/// known to have stayed.
pub fn has_matured(decision: &Decision, outcomes: &[OutcomeEvent], now_ms: i64) -> bool {
    let is_final = |outcome: &OutcomeEvent| matches!(outcome, OutcomeEvent::Retained | OutcomeEvent::Churned);
    now_ms >= decision.window_closes_at_ms || outcomes.iter().any(is_final)
}

/// The variance of success among customers of whom one in seven fails; a prior's weight in rows is told by it.
const USUAL_VARIANCE: f64 = 0.125;

/// What a playbook says of an effect before there are rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    belief: Normal,
    weight: f64,
}

/// Numbers that make no prior.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PriorError {
    /// The belief is none.
    #[error(transparent)]
    Belief(#[from] NormalError),
    /// A weight that is none.
    #[error("the prior's weight in rows should be a finite number above 0, found {found}")]
    Weight {
        /// What was found.
        found: f64,
    },
}

impl Prior {
    /// A prior that is unsure by `sd`, and still counts for `weight` rows where rows contradict it.
    ///
    /// # Errors
    /// [`PriorError`] unless the mean is finite, `sd` finite and at least 0, and `weight` finite and above 0.
    pub fn new(mean: f64, sd: f64, weight: f64) -> Result<Self, PriorError> {
        if !(weight > 0.0 && weight <= f64::MAX) {
            return Err(PriorError::Weight { found: weight });
        }
        Ok(Self { belief: Normal::new(mean, sd)?, weight })
    }

    fn variance(&self) -> f64 {
        (self.belief.sd() * self.belief.sd()).max(f64::MIN_POSITIVE.sqrt())
    }

    /// Mean and variance of what is believed where the prior is wrong: anything around 0, weighing as much as its rows.
    fn wide(&self) -> (f64, f64) {
        (0.0, (USUAL_VARIANCE / self.weight).max(self.variance()))
    }
}

/// What is believed of an effect, as a normal distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Posterior {
    /// Middle of the belief, in the unit of the reward.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// The same without the noise of the rows that it was compared with.
    pub own_sd: f64,
    /// Matured rows with the action.
    pub n: u64,
    /// As many rows in each arm, equally weighted, would say as much.
    pub effective_rows: f64,
    /// How much of the mean is the prior's: 1 without rows, near 0 with many.
    pub prior_share: f64,
}

impl Posterior {
    /// The belief for [`crate::explore`].
    ///
    /// # Errors
    /// [`NormalError`] where rewards were so large that it is no number.
    pub fn normal(&self) -> Result<Normal, NormalError> {
        Normal::new(self.mean, self.sd)
    }

    /// The belief for comparing actions with each other, beside [`GroupBeliefs::control_sd`] for doing nothing.
    ///
    /// All actions were compared with the same rows without any action. Had each of them that noise, they would seem far less
    /// known against each other than they are; so doing nothing has it, once.
    ///
    /// # Errors
    /// [`NormalError`] where rewards were so large that it is no number.
    pub fn own(&self) -> Result<Normal, NormalError> {
        Normal::new(self.mean, self.own_sd)
    }

    /// The probability that the action does harm.
    pub fn probability_of_harm(&self) -> f64 {
        self.normal().map_or(1.0, |belief| belief.below_zero())
    }

    /// Whether the action should be blocked: it does harm with more than 80 % probability, by 200 rows or more.
    pub fn is_sleeping_dog(&self) -> bool {
        self.n >= SLEEPING_DOG_ROWS && self.probability_of_harm() > SLEEPING_DOG_PROBABILITY
    }
}

#[cfg(test)]
mod tests;
