//! What can be given to whom, checked once when it is entered.

/// More prices than this would make the Newton steps, which grow with their cube, take minutes.
const MAX_LIMITS: usize = 256;
const MAX_ACTIONS: usize = 65_536;
/// Values and costs beyond it could not be summed over customers without leaving the numbers.
const LARGEST: f64 = 1e100;

/// An action that a customer is eligible for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    /// Which action.
    pub action: usize,
    /// What it brings beyond doing nothing, net of its cost.
    pub value: f64,
    /// What it takes from the budget; 0 or more.
    pub cost: f64,
}

/// How often actions can be given in all: a channel's capacity, or one action's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The actions that count, each once.
    pub actions: Vec<usize>,
    /// How often they can be given together.
    pub capacity: u64,
}

/// Offers to customers, with the limits on them.
#[derive(Debug, Clone)]
pub struct Problem {
    n_actions: usize,
    limits: Vec<Limit>,
    budget: Option<f64>,
    /// The limits of each action.
    limits_of: Vec<Vec<usize>>,
    /// Where each customer's offers begin, and where the last one's end.
    starts: Vec<usize>,
    /// Offers of positive value, customer by customer.
    offers: Vec<Offer>,
    /// Offers that no capacity or no budget allows, with their customer: they only tell what an opening would be worth.
    closed: Vec<(usize, Offer)>,
}

/// What is wrong with a problem.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// A value cannot be added up.
    #[error("customer {customer}: the value of action {action} should be a number between -1e100 and 1e100, found {found}")]
    Value {
        /// Position of the customer.
        customer: usize,
        /// Position of the action.
        action: usize,
        /// What was found.
        found: f64,
    },
    /// A cost is negative or cannot be added up.
    #[error("customer {customer}: the cost of action {action} should be a number between 0 and 1e100, found {found}")]
    Cost {
        /// Position of the customer.
        customer: usize,
        /// Position of the action.
        action: usize,
        /// What was found.
        found: f64,
    },
    /// An action that is not there.
    #[error("customer {customer}: should offer actions below {n_actions}, found {action}")]
    UnknownAction {
        /// Position of the customer.
        customer: usize,
        /// Position of the action.
        action: usize,
        /// Number of actions.
        n_actions: usize,
    },
    /// The same action twice.
    #[error("customer {customer}: action {action} is offered twice")]
    Twice {
        /// Position of the customer.
        customer: usize,
        /// Position of the action.
        action: usize,
    },
    /// A limit on an action that is not there, or twice on the same.
    #[error("limit {limit}: should name each action below {n_actions} at most once, found {action}")]
    LimitAction {
        /// Position of the limit.
        limit: usize,
        /// Position of the action.
        action: usize,
        /// Number of actions.
        n_actions: usize,
    },
    /// A budget that is none.
    #[error("the budget should be a number between 0 and 1e100, found {found}")]
    Budget {
        /// What was found.
        found: f64,
    },
    /// More limits or actions than can be priced.
    #[error("should have at most {max} {what}, found {found}")]
    TooMany {
        /// `limits` or `actions`.
        what: &'static str,
        /// What was found.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

impl Problem {
    /// A problem without customers yet.
    ///
    /// # Errors
    /// [`ProblemError`] for a limit on an action not below `n_actions` or named twice, a budget that is negative or no number,
    /// more than 256 limits or 65,536 actions.
    pub fn new(n_actions: usize, limits: Vec<Limit>, budget: Option<f64>) -> Result<Self, ProblemError> {
        check_count("actions", n_actions, MAX_ACTIONS)?;
        check_count("limits", limits.len(), MAX_LIMITS)?;
        if let Some(found) = budget.filter(|budget| !(0.0..=LARGEST).contains(budget)) {
            return Err(ProblemError::Budget { found });
        }
        let mut limits_of = vec![Vec::new(); n_actions];
        for (limit, actions) in limits.iter().map(|limit| &limit.actions).enumerate() {
            for &action in actions {
                let known: Option<&mut Vec<usize>> = limits_of.get_mut(action);
                match known {
                    Some(of) if of.last() != Some(&limit) => of.push(limit),
                    _ => return Err(ProblemError::LimitAction { limit, action, n_actions }),
                }
            }
        }
        Ok(Self { n_actions, limits, budget, limits_of, starts: vec![0], offers: Vec::new(), closed: Vec::new() })
    }

    /// Adds a customer with the actions that the customer is eligible for; none is allowed.
    ///
    /// # Errors
    /// [`ProblemError`] for a value or a cost that is no number or too large, a negative cost, an action that is not there or
    /// offered twice; then the customer is not added.
    pub fn push_customer(&mut self, offers: &[Offer]) -> Result<(), ProblemError> {
        let customer = self.n_customers();
        for (position, offer) in offers.iter().enumerate() {
            self.check_offer(customer, offer)?;
            if offers[..position].iter().any(|earlier| earlier.action == offer.action) {
                return Err(ProblemError::Twice { customer, action: offer.action });
            }
        }
        for offer in offers.iter().filter(|offer| offer.value > 0.0) {
            if self.is_closed(offer) {
                self.closed.push((customer, *offer));
            } else {
                self.offers.push(*offer);
            }
        }
        self.starts.push(self.offers.len());
        Ok(())
    }

    /// Number of customers added.
    pub fn n_customers(&self) -> usize {
        self.starts.len() - 1
    }

    /// The limits, as given.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// The budget, as given.
    pub fn budget(&self) -> Option<f64> {
        self.budget
    }

    fn check_offer(&self, customer: usize, offer: &Offer) -> Result<(), ProblemError> {
        let &Offer { action, value, cost } = offer;
        if action >= self.n_actions {
            return Err(ProblemError::UnknownAction { customer, action, n_actions: self.n_actions });
        }
        if !(-LARGEST..=LARGEST).contains(&value) {
            return Err(ProblemError::Value { customer, action, found: value });
        }
        if !(0.0..=LARGEST).contains(&cost) {
            return Err(ProblemError::Cost { customer, action, found: cost });
        }
        Ok(())
    }

    fn is_closed(&self, offer: &Offer) -> bool {
        let full = self.limits_of[offer.action].iter().any(|&limit| self.limits[limit].capacity == 0);
        full || self.budget.is_some_and(|budget| offer.cost > budget)
    }

    /// The offers of a customer that have a positive value and could be given at all.
    pub(super) fn offers(&self, customer: usize) -> &[Offer] {
        &self.offers[self.starts[customer]..self.starts[customer + 1]]
    }

    pub(super) fn limits_of(&self, action: usize) -> &[usize] {
        &self.limits_of[action]
    }

    /// One price per limit, then the budget's.
    pub(super) fn n_prices(&self) -> usize {
        self.limits.len() + 1
    }

    /// The mean over customers with any offer of their best value; 0 where there is none.
    pub(super) fn mean_best_value(&self) -> f64 {
        let best = |customer| self.offers(customer).iter().map(|offer| offer.value).reduce(f64::max);
        let bests = (0..self.n_customers()).filter_map(best);
        let (sum, n) = bests.fold((0.0, 0.0), |(sum, n), best| (sum + best, n + 1.0));
        if n > 0.0 { sum / n } else { 0.0 }
    }

    /// The mean cost of the offers that cost anything; 1 where none does.
    pub(super) fn mean_cost(&self) -> f64 {
        let costs = self.offers.iter().map(|offer| offer.cost).filter(|cost| *cost > 0.0);
        let (sum, n) = costs.fold((0.0, 0.0), |(sum, n), cost| (sum + cost, n + 1.0));
        if n > 0.0 { sum / n } else { 1.0 }
    }

    /// The largest demand there can be for each limit and for the budget: each customer takes one, or the dearest.
    pub(super) fn most_demanded(&self) -> Vec<f64> {
        let n_limits = self.limits.len();
        let mut most = vec![0.0; n_limits + 1];
        let mut last_counted = vec![usize::MAX; n_limits];
        for customer in 0..self.n_customers() {
            let offers = self.offers(customer);
            for &limit in offers.iter().flat_map(|offer| self.limits_of(offer.action)) {
                if last_counted[limit] != customer {
                    last_counted[limit] = customer;
                    most[limit] += 1.0;
                }
            }
            most[n_limits] += offers.iter().map(|offer| offer.cost).fold(0.0, f64::max);
        }
        most
    }

    /// What each action is charged for its limits.
    pub(super) fn charges(&self, prices: &[f64]) -> Vec<f64> {
        self.limits_of.iter().map(|limits| limits.iter().map(|&limit| prices[limit]).sum()).collect()
    }

    /// An offer's value less what its limits and its cost are charged.
    fn reduced(&self, offer: &Offer, prices: &[f64]) -> f64 {
        let charge: f64 = self.limits_of[offer.action].iter().map(|&limit| prices[limit]).sum();
        offer.value - charge - prices[self.limits.len()] * offer.cost
    }

    /// What the first unit of something that there is none of would be worth at these prices; none where there is some of it.
    ///
    /// For a limit it is the best of its closed offers against the customer's best open one; for the budget the best per money.
    pub(super) fn closed_price(&self, limit: usize, prices: &[f64]) -> Option<f64> {
        let is_budget = limit == self.limits.len();
        let empty = if is_budget { self.budget == Some(0.0) } else { self.limits[limit].capacity == 0 };
        let counts = |offer: &Offer| if is_budget { offer.cost > 0.0 } else { self.limits_of[offer.action].contains(&limit) };
        let worth = |(customer, offer): &(usize, Offer)| {
            let open = self.offers(*customer).iter().map(|offer| self.reduced(offer, prices)).fold(0.0, f64::max);
            let gain = self.reduced(offer, prices) - open;
            if is_budget { gain / offer.cost } else { gain }
        };
        let closed = self.closed.iter().filter(|(_, offer)| counts(offer));
        empty.then(|| closed.map(worth).fold(0.0, f64::max))
    }
}

fn check_count(what: &'static str, found: usize, max: usize) -> Result<(), ProblemError> {
    if found <= max { Ok(()) } else { Err(ProblemError::TooMany { what, found, max }) }
}
