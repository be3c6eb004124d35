//! Customers, what actions do to them, and when they come.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::playbook::{Action, Playbook};

const MOST_DECISIONS: usize = 10_000_000;
const MOST_CUSTOMERS: usize = 10_000_000;
const DAY_MS: f64 = 86_400_000.0;
/// When the first customer comes: 2024-10-14, the first day of a period of 30 days as capacities count them.
const START_MS: i64 = 20_010 * 86_400_000;
/// How far segments differ in the effect of an action that the world says nothing of, as a standard deviation.
const DRAWN_SEGMENT_SD: f64 = 0.01;

/// Customers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedSegment {
    /// What `features.segment` says of them.
    pub id: String,
    /// Their share of all customers.
    pub share: f64,
    /// The chance to leave within the window without any action: from the least to the largest, all alike probable.
    pub risk: (f64, f64),
    /// What one who stays is worth, from the least to the largest; its logarithm is anything alike probable.
    pub worth: (f64, f64),
}

/// What an action really does.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedEffect {
    /// Its id in the playbook.
    pub action: String,
    /// How much it adds to the chance to stay, by segment; below 0 where it drives customers away.
    pub by_segment: Vec<f64>,
}

/// How a world is made.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldParams {
    /// The kinds of customers.
    pub segments: Vec<PlantedSegment>,
    /// What actions do; the effect of any other action of the playbook is drawn around its prior.
    pub effects: Vec<PlantedEffect>,
    /// Number of customers; those who come are drawn from them.
    pub n_customers: usize,
    /// Decisions a day.
    pub decisions_per_day: u32,
    /// So many days after a window has closed its outcomes are complete.
    pub late_days: u32,
    /// The share of those who left of whom nobody ever tells.
    pub untold_share: f64,
}

/// A customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// The name.
    pub id: String,
    /// The position of the segment.
    pub segment: usize,
    /// The chance to leave within the window without any action.
    pub risk: f64,
    /// What it is worth if the customer stays.
    pub worth: f64,
}

/// A customer who comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Position of the customer.
    pub customer: usize,
    /// When, in milliseconds since 1970.
    pub now_ms: i64,
    /// A uniform number of `[0, 1)` to draw the action with.
    pub uniform: f64,
    /// The customer stays if the chance to stay is above it.
    pub(super) fate: f64,
    /// Whether nobody tells that the customer left.
    pub(super) is_untold: bool,
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
    params: WorldParams,
    customers: Vec<Customer>,
    arrivals: Vec<Arrival>,
    /// By action of the playbook and segment.
    effects: Vec<Vec<f64>>,
}

impl World {
    /// Draws a world for the actions of a playbook; the same seed draws the same.
    ///
    /// # Errors
    /// [`WorldError`] for numbers out of range: no segment, customer or decision, more than ten million of either, shares, risks, worths or
    /// effects that are none.
    pub fn new(params: &WorldParams, playbook: &Playbook, n_decisions: usize, seed: u64) -> Result<Self, WorldError> {
        check(params, n_decisions)?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let customers = (0..params.n_customers).map(|idx| customer(params, idx, &mut random)).collect();
        let arrivals = (0..n_decisions).map(|idx| arrival(params, idx, &mut random)).collect();
        let effects = playbook.actions.iter().map(|action| effects_of(params, action, &mut random)).collect();
        Ok(Self { params: params.clone(), customers, arrivals, effects })
    }

    /// How it was made.
    pub fn params(&self) -> &WorldParams {
        &self.params
    }

    /// The customers.
    pub fn customers(&self) -> &[Customer] {
        &self.customers
    }

    /// Everybody who comes, in their order.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// How much an action of the playbook adds to a customer's chance to stay.
    pub fn effect(&self, customer: &Customer, action: usize) -> f64 {
        self.chance_to_stay(customer, Some(action)) - (1.0 - customer.risk)
    }

    /// The chance to stay under an action, or none.
    pub fn chance_to_stay(&self, customer: &Customer, action: Option<usize>) -> f64 {
        let effect = action.map_or(0.0, |action| self.effects[action][customer.segment]);
        (1.0 - customer.risk + effect).clamp(0.0, 1.0)
    }

    /// What a customer's model of churn and stored row say: the segment's id.
    pub(super) fn segment_id(&self, customer: &Customer) -> &str {
        &self.params.segments[customer.segment].id
    }
}

fn customer(params: &WorldParams, idx: usize, random: &mut Xoshiro256PlusPlus) -> Customer {
    let shares: Vec<f64> = params.segments.iter().map(|segment| segment.share).collect();
    let total: f64 = shares.iter().sum();
    let segment = crate::explore::draw(&shares, random.random::<f64>() * total);
    let PlantedSegment { risk, worth, .. } = &params.segments[segment];
    Customer {
        id: format!("c{idx}"),
        segment,
        risk: risk.0 + (risk.1 - risk.0) * random.random::<f64>(),
        worth: worth.0 * libm::exp(libm::log(worth.1 / worth.0) * random.random::<f64>()),
    }
}

fn arrival(params: &WorldParams, idx: usize, random: &mut Xoshiro256PlusPlus) -> Arrival {
    Arrival {
        customer: (random.random::<f64>() * params.n_customers as f64) as usize,
        now_ms: START_MS + (idx as f64 * DAY_MS / f64::from(params.decisions_per_day)) as i64,
        uniform: random.random(),
        fate: random.random(),
        is_untold: random.random::<f64>() < params.untold_share,
    }
}

/// What the world says of an action, or what is drawn around its prior.
fn effects_of(params: &WorldParams, action: &Action, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    if let Some(planted) = params.effects.iter().find(|planted| planted.action == action.id) {
        return planted.by_segment.clone();
    }
    let common = action.prior.effect + action.prior.sd * normal(random);
    params.segments.iter().map(|_| (common + DRAWN_SEGMENT_SD * normal(random)).clamp(-1.0, 1.0)).collect()
}

/// A standard normal number.
///
/// # Source
/// Box and Muller (1958).
fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
    let radius = (-2.0 * libm::log(1.0 - random.random::<f64>())).sqrt();
    radius * libm::cos(2.0 * std::f64::consts::PI * random.random::<f64>())
}

fn check(params: &WorldParams, n_decisions: usize) -> Result<(), WorldError> {
    let require = |fits: bool, what, expected| if fits { Ok(()) } else { Err(WorldError { what, expected }) };
    let segments = &params.segments;
    let share = |number: f64| (0.0..=1.0).contains(&number);
    let range = |(low, high): (f64, f64), fits: &dyn Fn(f64) -> bool| fits(low) && fits(high) && low <= high;
    let shares_fit = segments.iter().all(|segment| share(segment.share)) && segments.iter().any(|segment| segment.share > 0.0);
    require(shares_fit, "the shares of segments", "between 0 and 1, one of them above 0")?;
    require(segments.iter().all(|segment| range(segment.risk, &share)), "risks", "a range between 0 and 1")?;
    let worth = |number: f64| (1e-6..=1e12).contains(&number);
    require(segments.iter().all(|segment| range(segment.worth, &worth)), "worths", "a range between 1e-6 and 1e12")?;
    let effect = |effect: &f64| (-1.0..=1.0).contains(effect);
    let effects_fit =
        |planted: &PlantedEffect| planted.by_segment.len() == segments.len() && planted.by_segment.iter().all(effect);
    require(params.effects.iter().all(effects_fit), "effects", "one for each segment, between -1 and 1")?;
    require((1..=MOST_CUSTOMERS).contains(&params.n_customers), "the number of customers", "between 1 and 10,000,000")?;
    require((1..=MOST_DECISIONS).contains(&n_decisions), "the number of decisions", "between 1 and 10,000,000")?;
    require(params.decisions_per_day > 0, "decisions a day", "above 0")?;
    require(params.late_days <= 3_650, "late days", "at most 3,650")?;
    require(share(params.untold_share), "the untold share", "between 0 and 1")
}
