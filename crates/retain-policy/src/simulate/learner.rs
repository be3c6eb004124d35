//! A policy that knows nothing but its priors, and learns.

use super::world::{Arrival, World};
use super::{Choice, Matured, Policy};
use crate::allocate::{Pacer, PacerError};
use crate::explore::{Normal, best_probabilities, draw, with_floors};
use crate::posterior::{Effects, EffectsError, MaturedRow, Posterior, Prior};

/// Beliefs are made anew when there are this many times as many matured rows as at the last time.
const GROWTH: f64 = 1.05;

/// What the learner begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerParams {
    /// What is believed of each action in each segment before there are rows: `priors[segment][action]`, doing nothing among them.
    pub priors: Vec<Vec<Prior>>,
    /// The smallest probability of each action that is allowed.
    pub floor: f64,
    /// The smallest probability of doing nothing: what effects are measured against.
    pub control_floor: f64,
}

/// A learner that cannot begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// Priors that do not fit the world.
    #[error("should have priors for {n_segments} segments with {n_actions} actions each")]
    Priors {
        /// Segments of the world.
        n_segments: usize,
        /// Actions of the world.
        n_actions: usize,
    },
    /// A capacity that cannot be paced.
    #[error(transparent)]
    Pacer(#[from] PacerError),
    /// No actions.
    #[error(transparent)]
    Effects(#[from] EffectsError),
}

/// Thompson sampling on posteriors of effects, with floors, and a paced price for each limited action.
#[derive(Debug, Clone)]
pub struct Learner {
    params: LearnerParams,
    costs: Vec<f64>,
    pacers: Vec<Option<Pacer>>,
    effects: Effects,
    beliefs: Vec<Vec<Posterior>>,
    n_matured: u64,
    next_update: u64,
}

impl Learner {
    /// A learner for a world's actions: it knows their costs, capacities and segments, not their effects.
    ///
    /// # Errors
    /// [`LearnerError`] when the priors are not one for each segment and action.
    pub fn new(world: &World, params: LearnerParams) -> Result<Self, LearnerError> {
        let (n_segments, n_actions) = (world.n_segments(), world.actions().len());
        if params.priors.len() != n_segments || params.priors.iter().any(|priors| priors.len() != n_actions) {
            return Err(LearnerError::Priors { n_segments, n_actions });
        }
        let pacer = |capacity: Option<u64>| capacity.map(|capacity| Pacer::new(0.0, capacity as f64)).transpose();
        let pacers: Result<Vec<_>, PacerError> = world.actions().iter().map(|action| pacer(action.capacity)).collect();
        let beliefs = params.priors.iter().map(|priors| priors.iter().map(|prior| prior.posterior(None)).collect()).collect();
        Ok(Self {
            costs: world.actions().iter().map(|action| action.cost).collect(),
            pacers: pacers?,
            effects: Effects::new(n_actions, 0.5)?,
            beliefs,
            params,
            n_matured: 0,
            next_update: 50,
        })
    }

    /// What is believed of each action in a segment.
    pub fn beliefs(&self, segment: usize) -> &[Posterior] {
        &self.beliefs[segment]
    }

    /// What an action is believed to bring this customer, net of its cost.
    fn value(&self, arrival: &Arrival, action: usize) -> Normal {
        let certain = Normal::ZERO;
        if action == 0 {
            return certain;
        }
        let belief = self.beliefs[arrival.segment][action].normal();
        belief.and_then(|belief| belief.times_plus(arrival.worth, -self.costs[action])).unwrap_or(certain)
    }

    /// The probability of each action: by how often it is the best at the present prices, and the floors.
    fn probabilities(&self, values: &[Normal], allowed: &[bool]) -> Vec<f64> {
        let open: Vec<usize> = (0..allowed.len()).filter(|&action| allowed[action]).collect();
        let price = |action: usize| self.pacers[action].as_ref().map_or(0.0, Pacer::price);
        let at_price = |&action: &usize| values[action].times_plus(1.0, -price(action)).unwrap_or(values[action]);
        let best = best_probabilities(&open.iter().map(at_price).collect::<Vec<_>>());
        let floor = |&action: &usize| if action == 0 { self.params.control_floor } else { self.params.floor };
        let mixed = with_floors(&best, &open.iter().map(floor).collect::<Vec<_>>());
        let mut probabilities = vec![0.0; allowed.len()];
        open.into_iter().zip(mixed).for_each(|(action, probability)| probabilities[action] = probability);
        probabilities
    }

    /// Tells each pacer what one use would have been worth beyond the best without it.
    fn pace(&mut self, arrival: &Arrival, values: &[Normal], allowed: &[bool], chosen: usize) {
        for action in 1..values.len() {
            let others = (0..values.len()).filter(|&other| other != action && allowed[other] && self.pacers[other].is_none());
            let other = others.map(|other| values[other].mean()).fold(0.0, f64::max);
            let worth = if allowed[action] { (values[action].mean() - other).max(0.0) } else { 0.0 };
            if let Some(pacer) = &mut self.pacers[action] {
                let used = f64::from(u8::from(action == chosen));
                // A worth that is no number leaves the price as it is.
                let _ = pacer.observe(worth, used, arrival.elapsed);
            }
        }
    }

    fn update(&mut self) {
        for (segment, (beliefs, priors)) in self.beliefs.iter_mut().zip(&self.params.priors).enumerate() {
            for (action, (belief, prior)) in beliefs.iter_mut().zip(priors).enumerate().skip(1) {
                *belief = prior.posterior(self.effects.estimate_in(segment as u32, action).as_ref());
            }
        }
    }
}

impl Policy for Learner {
    fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice {
        let values: Vec<Normal> = (0..allowed.len()).map(|action| self.value(arrival, action)).collect();
        let probabilities = self.probabilities(&values, allowed);
        let action = draw(&probabilities, arrival.uniform);
        self.pace(arrival, &values, allowed, action);
        Choice { action, probabilities }
    }

    fn learn(&mut self, matured: &Matured<'_>) {
        let row = MaturedRow {
            customer: matured.arrival.customer as u64,
            segment: matured.arrival.segment as u32,
            action: matured.choice.action,
            probabilities: &matured.choice.probabilities,
            reward: matured.retained,
        };
        // Every row comes from a choice of this policy, so it fits.
        if self.effects.add(&row).is_ok() {
            self.n_matured += 1;
        }
        if self.n_matured >= self.next_update {
            self.update();
            self.next_update = (self.n_matured as f64 * GROWTH) as u64 + 1;
        }
    }
}
