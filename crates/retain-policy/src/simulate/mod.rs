//! A world whose truth is known, to see what a policy would earn in it.
//!
//! [`World`] holds customers of several segments who come over time, with planted effects of each action in each segment, delayed
//! outcomes, capacities, costs and a contact policy. [`run`] lets any [`Policy`] decide in it and gives a [`RunReport`]: the net value
//! beside an oracle's who knows the effects, the regret as it grew, what was used and what was violated. [`Learner`] is a
//! policy made of this crate's beliefs, exploration and prices, and nothing else.
//!
//! Net values are expected ones, by the planted effects: what chance made of single customers is not the policy's merit.

mod learner;
mod oracle;
mod world;

use std::collections::BinaryHeap;

use serde::Serialize;

pub use learner::{Learner, LearnerError, LearnerParams};
pub use oracle::Oracle;
pub use world::{Arrival, PlantedAction, World, WorldError, WorldParams};

/// How many points the regret is reported at.
const CHECKPOINTS: usize = 100;

/// Something that decides, one customer after the other, and may learn from what is told.
pub trait Policy {
    /// Chooses an action for a customer; `allowed` says which ones contact policy and capacity leave, doing nothing among them.
    fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice;

    /// Learns what came of an earlier choice, once it is known; the default learns nothing.
    fn learn(&mut self, _matured: &Matured<'_>) {}
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Position of the action; 0 is to do nothing.
    pub action: usize,
    /// The probability that each action had.
    pub probabilities: Vec<f64>,
}

/// A choice whose outcome is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matured<'a> {
    /// When and for whom it was made.
    pub arrival: &'a Arrival,
    /// What was chosen, and how.
    pub choice: &'a Choice,
    /// Whether the customer stayed: 1 or 0.
    pub retained: f64,
}

/// What a policy earned and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// The planted value of all choices, net of costs.
    pub net_value: f64,
    /// The same of the oracle.
    pub oracle_net_value: f64,
    /// Net value by hundredth of the decisions, not cumulated.
    pub net_value_by_hundredth: Vec<f64>,
    /// The same of the oracle.
    pub oracle_by_hundredth: Vec<f64>,
    /// How often each action was taken.
    pub uses: Vec<u64>,
    /// How often each action could have been taken, where that is limited.
    pub capacities: Vec<Option<u64>>,
    /// Choices that contact policy forbade; they have no effect and cost what they cost.
    pub contact_violations: u64,
    /// Choices beyond an action's capacity, likewise.
    pub capacity_violations: u64,
    /// Choices whose probabilities were no probabilities, or gave the chosen action none.
    pub propensity_violations: u64,
}

impl RunReport {
    /// The share of the oracle's net value that was earned.
    pub fn share_of_oracle(&self) -> f64 {
        self.net_value / self.oracle_net_value
    }

    /// What the oracle earned more in this share of the decisions, from the first on.
    pub fn regret(&self, share: f64) -> f64 {
        let n = ((share * CHECKPOINTS as f64).round() as usize).min(self.net_value_by_hundredth.len());
        self.oracle_by_hundredth[..n].iter().sum::<f64>() - self.net_value_by_hundredth[..n].iter().sum::<f64>()
    }

    /// The smallest share of a limited action's capacity that was used; 1 where nothing is limited.
    pub fn least_capacity_used(&self) -> f64 {
        let shares = self.uses.iter().zip(&self.capacities);
        let share = |(&uses, capacity): (&u64, &Option<u64>)| {
            capacity.filter(|capacity| *capacity > 0).map(|capacity| uses as f64 / capacity as f64)
        };
        shares.filter_map(share).fold(1.0, f64::min)
    }
}

/// Lets a policy decide for everybody who comes, and the oracle for the same customers.
pub fn run(world: &World, policy: &mut dyn Policy) -> RunReport {
    let oracle = walk(world, &mut Oracle::new(world));
    let walked = walk(world, policy);
    RunReport {
        net_value: walked.by_hundredth.iter().sum(),
        oracle_net_value: oracle.by_hundredth.iter().sum(),
        net_value_by_hundredth: walked.by_hundredth,
        oracle_by_hundredth: oracle.by_hundredth,
        uses: walked.uses,
        capacities: world.actions().iter().map(|action| action.capacity).collect(),
        contact_violations: walked.contact_violations,
        capacity_violations: walked.capacity_violations,
        propensity_violations: walked.propensity_violations,
    }
}

#[derive(Default)]
struct Walked {
    by_hundredth: Vec<f64>,
    uses: Vec<u64>,
    contact_violations: u64,
    capacity_violations: u64,
    propensity_violations: u64,
}

/// One pass over all arrivals.
fn walk(world: &World, policy: &mut dyn Policy) -> Walked {
    let arrivals = world.arrivals();
    let mut walked = Walked { by_hundredth: vec![0.0; CHECKPOINTS], uses: vec![0; world.actions().len()], ..Walked::default() };
    let mut choices: Vec<Choice> = Vec::with_capacity(arrivals.len());
    let mut outcomes: Vec<f64> = Vec::with_capacity(arrivals.len());
    let mut last_contact = vec![None; world.n_customers()];
    // Which outcome becomes known when; the earliest first.
    let mut waiting = BinaryHeap::new();
    for (idx, arrival) in arrivals.iter().enumerate() {
        while let Some(&std::cmp::Reverse((_, known))) = waiting.peek().filter(|std::cmp::Reverse((day, _))| *day <= arrival.day)
        {
            waiting.pop();
            let known: usize = known;
            policy.learn(&Matured { arrival: &arrivals[known], choice: &choices[known], retained: outcomes[known] });
        }
        let contactable = world.may_contact(arrival, last_contact[arrival.customer]);
        let allowed = allowed(world, contactable, &walked.uses);
        let choice = policy.choose(arrival, &allowed);
        let took_effect = walked.count(world, &choice, contactable, &allowed);
        if choice.action != 0 {
            last_contact[arrival.customer] = Some(arrival.day);
        }
        let effective = if took_effect { choice.action } else { 0 };
        walked.by_hundredth[idx * CHECKPOINTS / arrivals.len()] +=
            world.net_value(arrival, effective) - if took_effect { 0.0 } else { world.cost(choice.action) };
        outcomes.push(world.retained(arrival, effective));
        waiting.push(std::cmp::Reverse((arrival.day + arrival.delay_days, idx)));
        choices.push(choice);
    }
    walked
}

/// The actions that contact policy and capacity leave.
fn allowed(world: &World, contactable: bool, uses: &[u64]) -> Vec<bool> {
    let has_room = |(action, &used): (&PlantedAction, &u64)| action.capacity.is_none_or(|capacity| used < capacity);
    let mut allowed: Vec<bool> = world.actions().iter().zip(uses).map(|pair| contactable && has_room(pair)).collect();
    allowed[0] = true;
    allowed
}

impl Walked {
    /// Notes what was chosen; whether it was allowed and so takes effect.
    fn count(&mut self, world: &World, choice: &Choice, contactable: bool, allowed: &[bool]) -> bool {
        let sum: f64 = choice.probabilities.iter().sum();
        let chosen = choice.probabilities.get(choice.action).copied().unwrap_or(0.0);
        let forbidden = choice.probabilities.iter().zip(allowed).any(|(probability, allowed)| *probability > 0.0 && !allowed);
        if (sum - 1.0).abs() > 1e-9 || chosen <= 0.0 || forbidden {
            self.propensity_violations += 1;
        }
        if choice.action == 0 {
            self.uses[0] += 1;
            return true;
        }
        if !contactable {
            self.contact_violations += 1;
            return false;
        }
        if choice.action >= world.actions().len() || !allowed[choice.action] {
            self.capacity_violations += 1;
            return false;
        }
        self.uses[choice.action] += 1;
        true
    }
}

#[cfg(test)]
mod tests;
