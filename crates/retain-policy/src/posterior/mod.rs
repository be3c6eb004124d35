//! What is believed of an action's effect: the playbook's prior together with what logged, matured decisions say.
//!
//! [`Effects`] adds up matured rows, can be merged, and gives an [`EffectEstimate`]: how much more the action brought than doing
//! nothing, among customers for whom chance chose between the two. [`Prior::posterior`] makes a [`Posterior`] of it. A row whose
//! outcome is not known yet is not a failure: it has not [`has_matured`] and stays out.

mod effects;
mod joint;

use retain_core::{Decision, OutcomeEvent};
use serde::Serialize;

pub use effects::{EffectEstimate, Effects, EffectsError, MaturedRow};
pub use joint::joint_posteriors;

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

/// What a playbook says of an effect before there are rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    belief: Normal,
    ess: Option<f64>,
}

/// Numbers that make no prior.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PriorError {
    /// The belief is none.
    #[error(transparent)]
    Belief(#[from] NormalError),
    /// A weight that is none.
    #[error("the prior's equivalent sample size should be a finite number of at least 0, found {found}")]
    SampleSize {
        /// What was found.
        found: f64,
    },
}

impl Prior {
    /// A prior that weighs as much as its standard deviation says.
    ///
    /// # Errors
    /// [`PriorError`] unless the mean is finite and `sd` finite and at least 0.
    pub fn new(mean: f64, sd: f64) -> Result<Self, PriorError> {
        Ok(Self { belief: Normal::new(mean, sd)?, ess: None })
    }

    /// A prior that weighs as much as `ess` rows, whatever its standard deviation, which holds before there are any.
    ///
    /// # Errors
    /// [`PriorError`] as [`Self::new`], and for an `ess` below 0 or not finite.
    pub fn with_ess(mean: f64, sd: f64, ess: f64) -> Result<Self, PriorError> {
        if !(0.0..=f64::MAX).contains(&ess) {
            return Err(PriorError::SampleSize { found: ess });
        }
        Ok(Self { belief: Normal::new(mean, sd)?, ess: Some(ess) })
    }

    /// What is believed when rows have been seen; the prior itself where there are none.
    ///
    /// The mean is drawn from the estimate to the prior by the prior's share: `ess / (ess + effective rows)`, or what its
    /// variance asks for. The variance is that of the weighted sum, which in the second case is the normal model's posterior.
    pub fn posterior(&self, estimate: Option<&EffectEstimate>) -> Posterior {
        let (mean, variance) = (self.belief.mean(), self.belief.sd() * self.belief.sd());
        let Some(estimate) = estimate else {
            let (sd, own_sd) = (self.belief.sd(), self.belief.sd());
            return Posterior { mean, sd, own_sd, n: 0, effective_rows: 0.0, prior_share: 1.0 };
        };
        let share = match self.ess {
            Some(ess) if ess + estimate.effective_rows > 0.0 => ess / (ess + estimate.effective_rows),
            None if estimate.variance + variance > 0.0 => estimate.variance / (estimate.variance + variance),
            Some(_) | None => 1.0,
        };
        let rest = 1.0 - share;
        let own_variance = (estimate.variance - estimate.control_variance).max(0.0);
        Posterior {
            mean: share * mean + rest * estimate.mean,
            sd: (share * share * variance + rest * rest * estimate.variance).sqrt(),
            own_sd: (share * share * variance + rest * rest * own_variance).sqrt(),
            n: estimate.treated_rows,
            effective_rows: estimate.effective_rows,
            prior_share: share,
        }
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

    /// The belief for comparing actions with each other, beside [`control_belief`] for doing nothing.
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

/// The belief in doing nothing beside [`Posterior::own`]: 0 with the largest noise that any action was compared with.
pub fn control_belief(posteriors: &[Posterior]) -> Normal {
    let variance = posteriors.iter().map(|posterior| posterior.sd * posterior.sd - posterior.own_sd * posterior.own_sd);
    Normal::new(0.0, variance.fold(0.0, f64::max).sqrt()).unwrap_or(Normal::ZERO)
}

/// What is believed of an action in each segment: the segment's own rows, drawn to what is believed of the action everywhere.
///
/// `overall` is the posterior over all customers, `segments` what each segment's rows say. How far segments differ is
/// estimated from them: where they differ no more than chance, each has the overall belief.
///
/// # Source
/// Empirical Bayes with the moment estimate of the variance between groups (`DerSimonian` and Laird 1986).
pub fn segment_posteriors(overall: &Posterior, segments: &[Option<EffectEstimate>]) -> Vec<Posterior> {
    let between = variance_between(segments);
    let sd = (overall.sd * overall.sd + between).sqrt();
    let of_segment = |estimate: &Option<EffectEstimate>| {
        let Some(estimate) = estimate else {
            let own_sd = (overall.own_sd * overall.own_sd + between).sqrt();
            return Posterior { sd, own_sd, n: 0, effective_rows: 0.0, prior_share: 1.0, ..*overall };
        };
        // The overall belief has seen the segment's rows too: only the variance between segments is new to it.
        let total = estimate.variance + between;
        let share = if total > 0.0 { estimate.variance / total } else { 1.0 };
        let rest = 1.0 - share;
        Posterior {
            mean: share * overall.mean + rest * estimate.mean,
            sd: (share * between + share * share * overall.sd * overall.sd).sqrt(),
            own_sd: ((share * between - rest * rest * estimate.control_variance).max(0.0)
                + share * share * overall.own_sd * overall.own_sd)
                .sqrt(),
            n: estimate.treated_rows,
            effective_rows: estimate.effective_rows,
            prior_share: share,
        }
    };
    segments.iter().map(of_segment).collect()
}

/// How much the true effects of segments vary, by moments; 0 where they vary no more than chance.
fn variance_between(segments: &[Option<EffectEstimate>]) -> f64 {
    let known: Vec<&EffectEstimate> = segments.iter().flatten().filter(|estimate| estimate.variance > 0.0).collect();
    let weights = || known.iter().map(|estimate| 1.0 / estimate.variance);
    let (sum, squares) = weights().fold((0.0, 0.0), |(sum, squares), weight| (sum + weight, squares + weight * weight));
    if known.len() < 2 {
        return 0.0;
    }
    let mean = known.iter().zip(weights()).map(|(estimate, weight)| weight * estimate.mean).sum::<f64>() / sum;
    let spread: f64 = known.iter().zip(weights()).map(|(estimate, weight)| weight * (estimate.mean - mean).powi(2)).sum();
    let scale = sum - squares / sum;
    if scale > 0.0 { ((spread - (known.len() as f64 - 1.0)) / scale).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
