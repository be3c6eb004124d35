//! Who gets which action when there is not enough of everything: one action at most for each customer, within limits and a budget.
//!
//! [`Problem`] holds the net value of every action that a customer is eligible for, the [`Limit`]s and the budget;
//! [`allocate`] gives an [`Allocation`]: the actions, what one more unit of each limit would be worth, and a bound on what the
//! best allocation could bring. [`Pacer`] moves such a price while customers come one by one.
//!
//! # Source
//! Prices are the dual solution of the assignment's linear program. The maximum in the dual is smoothed by a log-sum-exp
//! (Nesterov 2005), minimised by a projected Newton method (Bertsekas 1982) and sharpened in steps; a greedy pass then makes
//! whole assignments that fit.

mod dual;
mod newton;
mod pacer;
mod primal;
mod problem;

pub use pacer::{Pacer, PacerError};
pub use problem::{Limit, Offer, Problem, ProblemError};

use dual::Dual;
use primal::Assignment;

/// The temperatures of the smoothing, in shares of a customer's mean best value.
const FIRST_TEMPERATURE: f64 = 0.3;
const COOLING: f64 = 0.2;
const LAST_TEMPERATURE: f64 = 1e-6;
/// Larger problems find their first prices on a sample of this many customers.
const N_SAMPLED: usize = 8192;
/// Below this temperature all customers are looked at.
const SAMPLED_TEMPERATURE: f64 = 0.01;
/// Cooling ends where the assignment is proven this close to the best.
const GOOD_GAP: f64 = 5e-4;

/// The actions given out, with their prices.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Each customer's action; none where it is better to do nothing, or nothing was left.
    pub actions: Vec<Option<u32>>,
    /// Each limit's use and price, in their order.
    pub limits: Vec<LimitUse>,
    /// The budget's use and price, where there is a budget.
    pub budget: Option<BudgetUse>,
    /// The sum of the net values given out.
    pub value: f64,
    /// No allocation within limits and budget has a larger value.
    pub upper_bound: f64,
}

impl Allocation {
    /// The share of the upper bound that is missing at most: 0 where the allocation is the best there is.
    pub fn gap(&self) -> f64 {
        if self.upper_bound > 0.0 { ((self.upper_bound - self.value) / self.upper_bound).max(0.0) } else { 0.0 }
    }
}

/// What became of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitUse {
    /// How often its actions could be given.
    pub capacity: u64,
    /// How often they were given.
    pub used: u64,
    /// What one more would be worth, in the unit of the values.
    pub price: f64,
}

impl LimitUse {
    /// What was not given out.
    pub fn unused(&self) -> u64 {
        self.capacity - self.used
    }
}

/// What became of the budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetUse {
    /// What could be spent.
    pub available: f64,
    /// What was spent; never more than is available.
    pub spent: f64,
    /// What one more unit of money would bring.
    pub price: f64,
}

/// Gives each customer at most one action so that the sum of values is as large as limits and budget allow, or close to it.
///
/// [`Allocation::gap`] proves how close. Limits and budget are kept exactly, whatever the prices. Values of 0 or less are never
/// given. The same problem gives the same bits with any number of threads.
pub fn allocate(problem: &Problem) -> Allocation {
    let scale = problem.mean_best_value();
    if scale == 0.0 {
        return report(problem, &Assignment::empty(problem), &vec![0.0; problem.n_prices()], 0.0);
    }
    let mut prices = vec![0.0; problem.n_prices()];
    let mut temperature = FIRST_TEMPERATURE;
    if problem.n_customers() > 2 * N_SAMPLED {
        let sampled = Dual::sampled(problem, N_SAMPLED);
        while temperature > SAMPLED_TEMPERATURE {
            newton::minimise(&sampled, temperature * scale, &mut prices);
            temperature *= COOLING;
        }
    }
    sharpen(problem, scale, temperature, prices)
}

/// Cools the prices on all customers until the assignment they lead to is good enough.
fn sharpen(problem: &Problem, scale: f64, mut temperature: f64, mut prices: Vec<f64>) -> Allocation {
    let dual = Dual::new(problem);
    let mut best = (Assignment::empty(problem), prices.clone());
    let mut upper_bound = f64::INFINITY;
    loop {
        newton::minimise(&dual, temperature * scale, &mut prices);
        let bound = dual.bound(&prices);
        if bound < upper_bound {
            (upper_bound, best.1) = (bound, prices.clone());
        }
        let assignment = Assignment::at_prices(problem, &prices);
        if assignment.value() > best.0.value() {
            best.0 = assignment;
        }
        temperature *= COOLING;
        if upper_bound - best.0.value() <= GOOD_GAP * upper_bound || temperature < LAST_TEMPERATURE {
            return report(problem, &best.0, &best.1, upper_bound);
        }
    }
}

fn report(problem: &Problem, assignment: &Assignment, prices: &[f64], upper_bound: f64) -> Allocation {
    let used = assignment.used();
    let limit_use = |(idx, limit): (usize, &Limit)| LimitUse {
        capacity: limit.capacity,
        used: used[idx],
        price: problem.closed_price(idx, prices).unwrap_or(prices[idx]),
    };
    let budget_idx = problem.limits().len();
    let budget_use = |available| BudgetUse {
        available,
        spent: assignment.spent(),
        price: problem.closed_price(budget_idx, prices).unwrap_or(prices[budget_idx]),
    };
    Allocation {
        actions: assignment.actions().to_vec(),
        limits: problem.limits().iter().enumerate().map(limit_use).collect(),
        budget: problem.budget().map(budget_use),
        value: assignment.value(),
        upper_bound: upper_bound.max(assignment.value()),
    }
}

#[cfg(test)]
mod tests;
