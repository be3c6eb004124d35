//! From prices to whole assignments that fit into limits and budget.

use super::problem::{Offer, Problem};

/// How often customers may be moved to what has become free.
const MAX_ROUNDS: usize = 20;

/// Who has what, and what that takes; never more than there is.
#[derive(Debug, Clone)]
pub(super) struct Assignment<'a> {
    problem: &'a Problem,
    actions: Vec<Option<u32>>,
    given: Vec<Option<Offer>>,
    used: Vec<u64>,
    spent: f64,
}

/// A customer's change to another offer, with what it gains.
struct Move {
    customer: usize,
    offer: Offer,
    gain: f64,
}

impl<'a> Assignment<'a> {
    pub(super) fn empty(problem: &'a Problem) -> Self {
        let n = problem.n_customers();
        Self { problem, actions: vec![None; n], given: vec![None; n], used: vec![0; problem.limits().len()], spent: 0.0 }
    }

    /// Gives customers what they want most at these prices, then fills what is left.
    ///
    /// Those who would lose most by their second choice choose first. What is left goes to whoever gains most by it, price
    /// counted, until no single customer can be bettered.
    pub(super) fn at_prices(problem: &'a Problem, prices: &[f64]) -> Self {
        let mut assignment = Self::empty(problem);
        let charges = problem.charges(prices);
        let per_money = prices[problem.limits().len()];
        let reduced = |offer: &Offer| offer.value - charges[offer.action] - per_money * offer.cost;
        for customer in by_regret(problem, reduced) {
            let offers = problem.offers(customer).iter().filter(|offer| reduced(offer) >= 0.0);
            let mut wanted: Vec<Offer> = offers.copied().collect();
            wanted.sort_by(|a, b| reduced(b).total_cmp(&reduced(a)).then(b.value.total_cmp(&a.value)));
            if let Some(offer) = wanted.into_iter().find(|offer| assignment.fits(customer, offer)) {
                assignment.give(customer, offer);
            }
        }
        assignment.fill(reduced);
        assignment.keep_budget();
        assignment
    }

    pub(super) fn actions(&self) -> &[Option<u32>] {
        &self.actions
    }

    pub(super) fn used(&self) -> &[u64] {
        &self.used
    }

    pub(super) fn spent(&self) -> f64 {
        self.spent
    }

    pub(super) fn value(&self) -> f64 {
        self.given.iter().flatten().map(|offer| offer.value).sum()
    }

    /// Moves customers to offers of more value that fit, best gain first, as long as there are any.
    fn fill(&mut self, reduced: impl Fn(&Offer) -> f64) {
        for _ in 0..MAX_ROUNDS {
            let mut moves = self.moves(&reduced);
            moves.sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.customer.cmp(&b.customer)));
            let mut changed = false;
            for Move { customer, offer, .. } in moves {
                let betters = self.given[customer].is_none_or(|given| offer.value > given.value);
                if betters && self.fits(customer, &offer) {
                    self.give(customer, offer);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Every change that would raise the value and fits by itself.
    fn moves(&self, reduced: &impl Fn(&Offer) -> f64) -> Vec<Move> {
        let mut moves = Vec::new();
        for customer in 0..self.problem.n_customers() {
            let (value, at_price) = self.given[customer].map_or((0.0, 0.0), |given| (given.value, reduced(&given)));
            for offer in self.problem.offers(customer) {
                if offer.value > value && self.fits(customer, offer) {
                    moves.push(Move { customer, offer: *offer, gain: reduced(offer) - at_price });
                }
            }
        }
        moves
    }

    /// Whether there is enough left for the customer to have this offer instead of the present one.
    fn fits(&self, customer: usize, offer: &Offer) -> bool {
        let given = self.given[customer];
        let freed = |limit: &usize| given.is_some_and(|given| self.problem.limits_of(given.action).contains(limit));
        let has_room = |limit: &usize| self.used[*limit] < self.problem.limits()[*limit].capacity || freed(limit);
        let spent = self.spent - given.map_or(0.0, |given| given.cost) + offer.cost;
        let budget = self.problem.budget().is_none_or(|budget| spent <= budget);
        budget && self.problem.limits_of(offer.action).iter().all(has_room)
    }

    /// The running sum of costs was rounded at every change: added up anew it may be a hair above the budget.
    fn keep_budget(&mut self) {
        let Some(budget) = self.problem.budget() else { return };
        self.spent = self.costs();
        while self.spent > budget {
            let costly = (0..self.given.len()).filter(|&customer| self.given[customer].is_some_and(|given| given.cost > 0.0));
            let value = |customer: &usize| self.given[*customer].map_or(0.0, |given| given.value);
            let Some(least) = costly.min_by(|a, b| value(a).total_cmp(&value(b))) else { return };
            self.take_back(least);
            self.spent = self.costs();
        }
    }

    fn costs(&self) -> f64 {
        self.given.iter().flatten().map(|offer| offer.cost).sum()
    }

    fn take_back(&mut self, customer: usize) {
        if let Some(given) = self.given[customer].take() {
            self.problem.limits_of(given.action).iter().for_each(|&limit| self.used[limit] -= 1);
            self.spent -= given.cost;
        }
        self.actions[customer] = None;
    }

    fn give(&mut self, customer: usize, offer: Offer) {
        self.take_back(customer);
        self.problem.limits_of(offer.action).iter().for_each(|&limit| self.used[limit] += 1);
        self.spent += offer.cost;
        self.given[customer] = Some(offer);
        self.actions[customer] = Some(offer.action as u32);
    }
}

/// Customers who want anything, those first who lose most by not getting their best offer; in order of entry where that is equal.
fn by_regret(problem: &Problem, reduced: impl Fn(&Offer) -> f64) -> Vec<usize> {
    let regret = |customer: usize| {
        let (mut best, mut second) = (f64::NEG_INFINITY, 0.0);
        for surplus in problem.offers(customer).iter().map(&reduced) {
            if surplus > best {
                second = best.max(second);
                best = surplus;
            } else if surplus > second {
                second = surplus;
            }
        }
        (best >= 0.0).then_some((customer, best - second))
    };
    let mut wanting: Vec<(usize, f64)> = (0..problem.n_customers()).filter_map(regret).collect();
    wanting.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    wanting.into_iter().map(|(customer, _)| customer).collect()
}
