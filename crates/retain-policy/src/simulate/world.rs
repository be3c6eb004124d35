//! Customers, what actions do to them, and when they come.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const MOST_DECISIONS: usize = 10_000_000;

/// An action with what it really does.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedAction {
    /// How much it adds to the probability of staying, by segment; below 0 where it drives customers away.
    pub effects: Vec<f64>,
    /// What it costs each time.
    pub cost: f64,
    /// How often it can be taken in all; absent where it is not limited.
    pub capacity: Option<u64>,
}

/// How a world is made.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldParams {
    /// The actions besides doing nothing.
    pub actions: Vec<PlantedAction>,
    /// The probability of staying without any action, by segment.
    pub base_rates: Vec<f64>,
    /// What a customer who stays is worth: from the first to the second, all alike probable.
    pub worth: (f64, f64),
    /// Number of customers; those who come are drawn from them.
    pub n_customers: usize,
    /// Number of decisions.
    pub n_decisions: usize,
    /// Decisions a day.
    pub decisions_per_day: u32,
    /// A customer is not contacted again before this many days.
    pub cooldown_days: u32,
    /// Days until an outcome is known, at least and at most.
    pub delay_days: (u32, u32),
}

/// A customer who comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Position of the customer.
    pub customer: usize,
    /// The customer's segment.
    pub segment: usize,
    /// What it is worth if the customer stays.
    pub worth: f64,
    /// The day.
    pub day: u32,
    /// The share of all decisions that are over once this one is.
    pub elapsed: f64,
    /// A uniform number of `[0, 1)` for the policy to draw with.
    pub uniform: f64,
    /// Days until the outcome is known.
    pub(super) delay_days: u32,
    /// The customer stays if the probability of staying is above it.
    fate: f64,
}

/// A world that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} should be {expected}")]
pub struct WorldError {
    what: &'static str,
    expected: &'static str,
}

/// Everybody who will come, and what would become of them.
#[derive(Debug, Clone)]
pub struct World {
    actions: Vec<PlantedAction>,
    base_rates: Vec<f64>,
    n_customers: usize,
    cooldown_days: u32,
    arrivals: Vec<Arrival>,
}

impl World {
    /// Draws a world; the same seed draws the same.
    ///
    /// # Errors
    /// [`WorldError`] for numbers out of range: probabilities of staying outside 0 to 1 under any action, no segment, customer or
    /// decision, more than ten million decisions, worths, costs or delays that are none.
    pub fn new(params: &WorldParams, seed: u64) -> Result<Self, WorldError> {
        check(params)?;
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let n_segments = params.base_rates.len();
        let (low, high) = params.worth;
        let customers: Vec<(usize, f64)> = (0..params.n_customers)
            .map(|_| {
                let segment = (generator.random::<f64>() * n_segments as f64) as usize;
                (segment, low + (high - low) * generator.random::<f64>())
            })
            .collect();
        let arrival = |idx: usize| {
            let customer = (generator.random::<f64>() * customers.len() as f64) as usize;
            let (shortest, longest) = params.delay_days;
            Arrival {
                customer,
                segment: customers[customer].0,
                worth: customers[customer].1,
                day: (idx / params.decisions_per_day as usize) as u32,
                elapsed: (idx + 1) as f64 / params.n_decisions as f64,
                uniform: generator.random(),
                delay_days: shortest + (generator.random::<f64>() * f64::from(longest - shortest + 1)) as u32,
                fate: generator.random(),
            }
        };
        let arrivals = (0..params.n_decisions).map(arrival).collect();
        let nothing = PlantedAction { effects: vec![0.0; n_segments], cost: 0.0, capacity: None };
        Ok(Self {
            actions: std::iter::once(nothing).chain(params.actions.iter().cloned()).collect(),
            base_rates: params.base_rates.clone(),
            n_customers: params.n_customers,
            cooldown_days: params.cooldown_days,
            arrivals,
        })
    }

    /// The actions; the first is to do nothing.
    pub fn actions(&self) -> &[PlantedAction] {
        &self.actions
    }

    /// Number of segments.
    pub fn n_segments(&self) -> usize {
        self.base_rates.len()
    }

    /// Everybody who comes, in their order.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// What an action is expected to bring a customer's worth up by, net of its cost.
    pub fn net_value(&self, arrival: &Arrival, action: usize) -> f64 {
        let action = &self.actions[action];
        action.effects[arrival.segment] * arrival.worth - action.cost
    }

    pub(super) fn cost(&self, action: usize) -> f64 {
        self.actions.get(action).map_or(0.0, |action| action.cost)
    }

    pub(super) fn n_customers(&self) -> usize {
        self.n_customers
    }

    pub(super) fn may_contact(&self, arrival: &Arrival, last_contact: Option<u32>) -> bool {
        last_contact.is_none_or(|day| arrival.day >= day + self.cooldown_days)
    }

    /// 1 for a customer who stays after an action, 0 for one who leaves.
    pub(super) fn retained(&self, arrival: &Arrival, action: usize) -> f64 {
        let rate = self.base_rates[arrival.segment] + self.actions[action].effects[arrival.segment];
        f64::from(u8::from(arrival.fate < rate))
    }
}

fn check(params: &WorldParams) -> Result<(), WorldError> {
    let require = |fits: bool, what, expected| if fits { Ok(()) } else { Err(WorldError { what, expected }) };
    let n_segments = params.base_rates.len();
    let rates_of = |effects: &[f64]| {
        let mut rates = params.base_rates.iter().zip(effects).map(|(base, effect)| base + effect);
        effects.len() == n_segments && rates.all(|rate| (0.0..=1.0).contains(&rate))
    };
    require(n_segments > 0 && rates_of(&vec![0.0; n_segments]), "base rates", "one or more numbers between 0 and 1")?;
    let effects_fit = params.actions.iter().all(|action| rates_of(&action.effects));
    require(effects_fit, "effects", "one for each segment that leaves the rate between 0 and 1")?;
    let costs_fit = params.actions.iter().all(|action| (0.0..=1e100).contains(&action.cost));
    require(costs_fit, "costs", "between 0 and 1e100")?;
    let (low, high) = params.worth;
    require((0.0..=1e100).contains(&low) && low <= high && high <= 1e100, "worths", "a range between 0 and 1e100")?;
    require(params.n_customers > 0, "the number of customers", "above 0")?;
    require((1..=MOST_DECISIONS).contains(&params.n_decisions), "the number of decisions", "between 1 and 10,000,000")?;
    require(params.decisions_per_day > 0, "decisions a day", "above 0")?;
    let (shortest, longest) = params.delay_days;
    require(shortest <= longest && longest < 1_000_000, "delays", "a range below 1,000,000 days")?;
    require(params.cooldown_days < 1_000_000, "the cooldown", "below 1,000,000 days")
}
