//! A policy that knows every planted effect and who will come.

use super::world::{Arrival, World};
use super::{Choice, Policy};
use crate::allocate::{Limit, Offer, Problem, allocate};

/// Takes what is worth most at the prices that all arrivals together lead to.
///
/// The prices are those of the best allocation if everybody could be contacted; within contact policy and capacity it then takes the best
/// one at a time. No policy that only learns effects can be expected to do better, though by a hair it could be.
#[derive(Debug, Clone)]
pub struct Oracle<'a> {
    world: &'a World,
    prices: Vec<f64>,
}

impl<'a> Oracle<'a> {
    /// Finds the prices.
    pub fn new(world: &'a World) -> Self {
        Self { world, prices: prices(world).unwrap_or_else(|| vec![0.0; world.actions().len()]) }
    }
}

/// What one more use of each action would be worth; none where a world has more limited actions than can be priced.
fn prices(world: &World) -> Option<Vec<f64>> {
    let limited = world.actions().iter().enumerate().filter_map(|(idx, action)| Some((idx, action.capacity?)));
    let limited: Vec<(usize, u64)> = limited.collect();
    let limits = limited.iter().map(|&(action, capacity)| Limit { actions: vec![action], capacity }).collect();
    let mut problem = Problem::new(world.actions().len(), limits, None).ok()?;
    for arrival in world.arrivals() {
        let offer = |action| Offer { action, value: world.net_value(arrival, action), cost: 0.0 };
        problem.push_customer(&(1..world.actions().len()).map(offer).collect::<Vec<_>>()).ok()?;
    }
    let allocation = allocate(&problem);
    let mut prices = vec![0.0; world.actions().len()];
    for ((action, _), limit) in limited.iter().zip(&allocation.limits) {
        prices[*action] = limit.price;
    }
    Some(prices)
}

impl Policy for Oracle<'_> {
    fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice {
        let value = |action: usize| self.world.net_value(arrival, action) - self.prices[action];
        let actions = (0..allowed.len()).filter(|&action| allowed[action]);
        let best = actions.reduce(|best, next| if value(next) > value(best) { next } else { best });
        let action = best.unwrap_or(0);
        let probabilities = (0..allowed.len()).map(|other| f64::from(u8::from(other == action))).collect();
        Choice { action, probabilities }
    }
}
