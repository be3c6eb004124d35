//! Deciding for many customers at once, so that capacities and a budget are kept and the sum of what is brought is largest.
//!
//! Each customer is appraised and kept as a [`BatchCustomer`]; [`assign`] allocates by [`allocate`](crate::allocate) and explores;
//! [`Decided::settle`] turns a customer's share of it into a decision.
//!
//! Probabilities are exact because the allocation itself is not random: the same customers give the same allocation. What is random is
//! that a share of the customers is drawn, each independently, who then get with equal chance what was allocated to them, nothing, or any
//! other action they may have whose use cannot break a limit: one without capacity and, under a budget, without cost, and not costly. So an
//! action is chosen with probability `share / n` for each of these `n`, and `1 − share` more for what was allocated. Actions of limited
//! capacity are compared with nothing and with unlimited ones among those that they were allocated to, and with nobody else.

use super::trace::Decided;
use crate::allocate::{Allocation, Limit, Offer, Problem, ProblemError, allocate};
use crate::explore;

/// What a batch needs to know of one customer.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchCustomer {
    /// In the holdout, which gets nothing.
    pub holdout: bool,
    /// What goes before everything else.
    pub mandatory: Option<usize>,
    /// What the customer may have, with its worth and cost.
    pub offers: Vec<Offer>,
    /// For each offer whether it is too costly to be tried out.
    pub costly: Vec<bool>,
}

/// What a batch has to keep to.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchTerms {
    /// Number of actions of the playbook.
    pub n_actions: usize,
    /// Capacities of actions and channels.
    pub limits: Vec<Limit>,
    /// The most that all actions may cost together.
    pub budget: Option<f64>,
    /// Share of the customers that is explored with.
    pub explored_share: f64,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What each customer gets.
    pub assigned: Vec<Assigned>,
    /// The allocation that was explored around, with prices, what is unused and how near to the best it is. Customers in the holdout and
    /// those with a mandatory action have none in it.
    pub allocation: Allocation,
}

/// What one customer gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// The action; absent for none.
    pub action: Option<usize>,
    /// The exact probability of every action that could have been drawn, and of none; they sum to 1.
    pub probabilities: Vec<(Option<usize>, f64)>,
}

impl BatchCustomer {
    /// What a batch needs to know of a customer who was appraised with [`appraise`](super::appraise), without prices of capacity.
    pub fn of(decided: &Decided<'_>) -> Self {
        let mut customer = Self { holdout: decided.holdout, mandatory: None, offers: Vec::new(), costly: Vec::new() };
        for candidate in decided.candidates.iter().filter(|candidate| candidate.eligible) {
            let Some(idx) = candidate.action else { continue };
            let valuation = candidate.valuation.unwrap_or_default();
            let action = &decided.playbook.actions[idx];
            customer.offers.push(Offer { action: idx, value: valuation.priority, cost: action.cost });
            customer.costly.push(action.costly);
            if candidate.mandatory && customer.mandatory.is_none() {
                customer.mandatory = Some(idx);
            }
        }
        customer
    }
}

/// Decides for all customers. `uniforms` are random numbers from 0 to below 1, one per customer, that nothing else uses.
///
/// Mandatory actions are given first, in the order of the customers, while there is capacity; who comes later is treated like the others.
///
/// # Errors
/// [`ProblemError`] for capacities, a budget or worths that cannot be allocated.
///
/// # Panics
/// When there are not as many random numbers as customers.
pub fn assign(customers: &[BatchCustomer], terms: &BatchTerms, uniforms: &[f64]) -> Result<Batch, ProblemError> {
    assert_eq!(customers.len(), uniforms.len(), "one random number per customer");
    let mut left = Left { limits: terms.limits.clone(), budget: terms.budget };
    let mandatory: Vec<Option<usize>> = customers.iter().map(|customer| left.take_mandatory(customer)).collect();
    let mut problem = Problem::new(terms.n_actions, left.limits, left.budget)?;
    for (customer, mandatory) in customers.iter().zip(&mandatory) {
        let is_free = !customer.holdout && mandatory.is_none();
        let usable = |offer: &&Offer| is_free && customer.mandatory != Some(offer.action);
        problem.push_customer(&customer.offers.iter().filter(usable).copied().collect::<Vec<_>>())?;
    }
    let allocation = allocate(&problem);
    let unlimited = unlimited(terms);
    let assigned = customers.iter().enumerate().map(|(position, customer)| {
        let allocated = allocation.actions[position].map(|action| action as usize);
        let probabilities = match (customer.holdout, mandatory[position]) {
            (true, _) => vec![(None, 1.0)],
            (false, Some(action)) => vec![(Some(action), 1.0)],
            (false, None) => probabilities(customer, allocated, terms, &unlimited),
        };
        let shares: Vec<f64> = probabilities.iter().map(|(_, probability)| *probability).collect();
        Assigned { action: probabilities[explore::draw(&shares, uniforms[position])].0, probabilities }
    });
    Ok(Batch { assigned: assigned.collect(), allocation })
}

/// What mandatory actions have left.
struct Left {
    limits: Vec<Limit>,
    budget: Option<f64>,
}

impl Left {
    fn take_mandatory(&mut self, customer: &BatchCustomer) -> Option<usize> {
        let action = customer.mandatory.filter(|_| !customer.holdout)?;
        let cost = customer.offers.iter().find(|offer| offer.action == action).map_or(0.0, |offer| offer.cost);
        let binds = |limit: &&mut Limit| limit.actions.contains(&action);
        let room = self.limits.iter_mut().filter(binds).all(|limit| limit.capacity > 0);
        if !room || self.budget.is_some_and(|budget| budget < cost) {
            return None;
        }
        self.limits.iter_mut().filter(binds).for_each(|limit| limit.capacity -= 1);
        self.budget = self.budget.map(|budget| budget - cost);
        Some(action)
    }
}

/// For each action whether no limit counts it.
fn unlimited(terms: &BatchTerms) -> Vec<bool> {
    let mut unlimited = vec![true; terms.n_actions];
    terms.limits.iter().flat_map(|limit| &limit.actions).for_each(|action| unlimited[*action] = false);
    unlimited
}

fn probabilities(
    customer: &BatchCustomer,
    allocated: Option<usize>,
    terms: &BatchTerms,
    unlimited: &[bool],
) -> Vec<(Option<usize>, f64)> {
    let harmless = |offer: &Offer| unlimited[offer.action] && (terms.budget.is_none() || offer.cost == 0.0);
    let tried = customer.offers.iter().zip(&customer.costly).filter(|(offer, costly)| !**costly && harmless(offer));
    let mut among: Vec<Option<usize>> = tried.map(|(offer, _)| Some(offer.action)).collect();
    among.push(None);
    if !among.contains(&allocated) {
        among.push(allocated);
    }
    let share = terms.explored_share.clamp(0.0, 1.0);
    let each = share / among.len() as f64;
    among.into_iter().map(|action| (action, if action == allocated { 1.0 - share + each } else { each })).collect()
}

impl Decided<'_> {
    /// Takes over what a batch has assigned to this customer, who was appraised with the same arguments.
    pub fn settle(&mut self, assigned: &Assigned) {
        let nothing = self.candidates.len() - 1;
        self.candidates.iter_mut().for_each(|candidate| candidate.probability = 0.0);
        for (action, probability) in &assigned.probabilities {
            self.candidates[action.unwrap_or(nothing)].probability = *probability;
        }
        self.chosen = assigned.action.unwrap_or(nothing);
    }
}
