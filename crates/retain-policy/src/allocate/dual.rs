//! The dual of the assignment: what capacity and customers' surplus cost together at given prices, smoothed.

use rayon::prelude::*;

use super::problem::{Offer, Problem};

/// Customers are added up in chunks of this size, so that sums do not depend on the number of threads.
const CHUNK: usize = 2048;
/// An offer this many temperatures behind a customer's best has no share worth counting.
const NEGLIGIBLE: f64 = 30.0;

/// The dual function of all customers of a problem, or of a sample that stands for them.
pub(super) struct Dual<'a> {
    problem: &'a Problem,
    customers: Vec<u32>,
    /// What there is of each limit and of the budget; infinite where nobody could use it up.
    supply: Vec<f64>,
    mean_cost: f64,
}

/// Value, gradient and Hessian at one point.
pub(super) struct Local {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    /// Row after row.
    pub(super) hessian: Vec<f64>,
}

impl Local {
    fn zero(n: usize) -> Self {
        Self { value: 0.0, gradient: vec![0.0; n], hessian: vec![0.0; n * n] }
    }

    fn add(&mut self, other: &Self) {
        self.value += other.value;
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, term)| *sum += term);
        self.hessian.iter_mut().zip(&other.hessian).for_each(|(sum, term)| *sum += term);
    }
}

impl<'a> Dual<'a> {
    /// Of all customers that have an offer.
    pub(super) fn new(problem: &'a Problem) -> Self {
        Self::of(problem, (0..problem.n_customers() as u32).collect(), 1.0)
    }

    /// Of `n` customers and their share of everything.
    pub(super) fn sampled(problem: &'a Problem, n: usize) -> Self {
        let n_customers = problem.n_customers();
        let mut customers: Vec<u32> = (0..n_customers as u32).collect();
        // By a hash, because every n-th customer of a sorted list may be of one kind.
        customers.sort_by_cached_key(|&customer| u64::from(customer + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
        customers.truncate(n);
        customers.sort_unstable();
        Self::of(problem, customers, n as f64 / n_customers as f64)
    }

    fn of(problem: &'a Problem, mut customers: Vec<u32>, share: f64) -> Self {
        customers.retain(|&customer| !problem.offers(customer as usize).is_empty());
        let supplies = problem.limits().iter().map(|limit| limit.capacity as f64);
        let supplies = supplies.chain([problem.budget().unwrap_or(f64::INFINITY)]);
        let bound = |(supply, most): (f64, f64)| if supply >= most { f64::INFINITY } else { supply * share };
        let supply = supplies.zip(problem.most_demanded()).map(bound).collect();
        Self { problem, customers, supply, mean_cost: problem.mean_cost() }
    }

    /// Whether a price can ever be above 0.
    pub(super) fn can_bind(&self, price: usize) -> bool {
        self.supply[price].is_finite()
    }

    /// What an offer typically takes of what has this price: one of a limit, the mean cost of the budget.
    pub(super) fn unit(&self, price: usize) -> f64 {
        if price + 1 == self.supply.len() { self.mean_cost } else { 1.0 }
    }

    /// The smoothed dual at a temperature, which is convex in the prices.
    pub(super) fn local(&self, prices: &[f64], temperature: f64) -> Local {
        let n = self.supply.len();
        let charges = self.problem.charges(prices);
        let per_chunk = |customers: &[u32]| {
            let mut one = OneCustomer::new(self, &charges, prices[n - 1], temperature);
            for &customer in customers {
                one.add(customer);
            }
            one.sum
        };
        let parts: Vec<Local> = self.customers.par_chunks(CHUNK).map(per_chunk).collect();
        let mut total = Local::zero(n);
        for part in &parts {
            total.add(part);
        }
        for price in (0..n).filter(|&price| self.can_bind(price)) {
            total.value += self.supply[price] * prices[price];
            total.gradient[price] += self.supply[price];
        }
        total
    }

    /// The dual itself: no assignment within the limits has a larger value.
    pub(super) fn bound(&self, prices: &[f64]) -> f64 {
        let charges = self.problem.charges(prices);
        let per_money = prices[self.supply.len() - 1];
        let surplus = |&customer: &u32| {
            let offers = self.problem.offers(customer as usize);
            offers.iter().map(|offer| offer.value - charges[offer.action] - per_money * offer.cost).fold(0.0, f64::max)
        };
        let per_chunk = |customers: &[u32]| customers.iter().map(surplus).sum();
        let parts: Vec<f64> = self.customers.par_chunks(CHUNK).map(per_chunk).collect();
        let paid = (0..prices.len()).filter(|&price| self.can_bind(price)).map(|price| self.supply[price] * prices[price]);
        parts.iter().sum::<f64>() + paid.sum::<f64>()
    }
}

/// Adds up `t log(1 + Σ exp(surplus / t))` and its derivatives customer by customer.
struct OneCustomer<'a> {
    dual: &'a Dual<'a>,
    charges: &'a [f64],
    per_money: f64,
    temperature: f64,
    sum: Local,
    /// Surpluses of the customer's offers.
    surpluses: Vec<f64>,
    /// The offers that have a share, with it.
    likely: Vec<(Offer, f64)>,
    /// What the customer takes of each limit and of the budget, and which of them.
    demand: Vec<f64>,
    touched: Vec<usize>,
}

impl<'a> OneCustomer<'a> {
    fn new(dual: &'a Dual<'a>, charges: &'a [f64], per_money: f64, temperature: f64) -> Self {
        let n = dual.supply.len();
        Self {
            dual,
            charges,
            per_money,
            temperature,
            sum: Local::zero(n),
            surpluses: Vec::new(),
            likely: Vec::new(),
            demand: vec![0.0; n],
            touched: Vec::new(),
        }
    }

    fn add(&mut self, customer: u32) {
        let offers = self.dual.problem.offers(customer as usize);
        let (charges, per_money) = (self.charges, self.per_money);
        self.surpluses.clear();
        self.surpluses.extend(offers.iter().map(|offer| offer.value - charges[offer.action] - per_money * offer.cost));
        let best = self.surpluses.iter().copied().fold(0.0, f64::max);
        if best == 0.0 && self.surpluses.iter().all(|surplus| *surplus < -NEGLIGIBLE * self.temperature) {
            return;
        }
        let mut weights = weight(-best, self.temperature);
        self.likely.clear();
        for (offer, surplus) in offers.iter().zip(&self.surpluses) {
            let weight = weight(surplus - best, self.temperature);
            if weight > 0.0 {
                weights += weight;
                self.likely.push((*offer, weight));
            }
        }
        self.sum.value += best + self.temperature * weights.ln();
        self.add_derivatives(weights);
    }

    /// The gradient is less the mean demand, the Hessian the demand's covariance divided by the temperature.
    fn add_derivatives(&mut self, weights: f64) {
        // The largest weight is 1: a customer whose other weights are next to nothing is sure, and has no variance.
        let is_sure = weights - 1.0 < 1e-9;
        let n = self.demand.len();
        self.touched.clear();
        for (offer, weight) in &self.likely {
            let probability = weight / weights;
            for (row, amount) in self.dual.uses(offer) {
                if self.demand[row] == 0.0 {
                    self.touched.push(row);
                }
                self.demand[row] += probability * amount;
                if !is_sure {
                    let factor = probability * amount / self.temperature;
                    self.dual.uses(offer).for_each(|(column, other)| self.sum.hessian[row * n + column] += factor * other);
                }
            }
        }
        for &row in &self.touched {
            self.sum.gradient[row] -= self.demand[row];
            if !is_sure {
                let factor = self.demand[row] / self.temperature;
                self.touched.iter().for_each(|&column| self.sum.hessian[row * n + column] -= factor * self.demand[column]);
            }
        }
        self.touched.iter().for_each(|&row| self.demand[row] = 0.0);
    }
}

impl Dual<'_> {
    /// What an offer takes of what can run out: one of each of its limits, and its cost of the budget.
    fn uses(&self, offer: &Offer) -> impl Iterator<Item = (usize, f64)> {
        let limits = self.problem.limits_of(offer.action).iter().map(|&limit| (limit, 1.0));
        let budget = (self.supply.len() - 1, offer.cost);
        limits.chain([budget]).filter(|&(price, amount)| self.can_bind(price) && amount > 0.0)
    }
}

/// `exp(behind / temperature)`, or 0 where it is negligible.
fn weight(behind: f64, temperature: f64) -> f64 {
    let exponent = behind / temperature;
    if exponent < -NEGLIGIBLE { 0.0 } else { exponent.exp() }
}
