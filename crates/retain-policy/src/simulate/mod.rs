//! A world whose truth is known, to see what a playbook would earn in it.
//!
//! A [`World`] holds customers of several segments who come over time, with planted effects of each action in each segment. Outcomes come when
//! windows have closed, and some never. [`run`] lets a [`Policy`] decide for everybody with the code that servers decide with: rules and
//! limits, [`decide`], [`Supplies`] with their prices, the holdout, and [`LearnedEffects`] from the records of its decisions. The
//! [`RunReport`] has the net value, what was used, and what was violated, which is counted from the records by code of its own.
//!
//! Net values are expected ones, by the planted effects: what chance made of single customers is not the policy's merit. A customer who
//! leaves is followed by another of the same kind and history.

mod audit;
mod policy;
#[cfg(test)]
mod tests;
mod world;
mod worlds;

use retain_core::{Day, Decision, DecisionId, FeatureValue, OutcomeEvent, PastDecision};
use serde::Serialize;

pub use audit::{CapacityUse, Violations};
pub use policy::Policy;
pub use world::{Arrival, Customer, PlantedEffect, PlantedSegment, World, WorldError, WorldParams};
pub use worlds::NamedWorld;

use crate::decide::{Decided, Facts, Posteriors, Prediction, PriorsOnly, Situation, Supplies, decide};
use crate::learn::LearnedEffects;
use crate::playbook::Playbook;
use policy::Truth;

/// How many points a run is reported at.
const CHECKPOINTS: usize = 100;
const DAY_MS: i64 = 86_400_000;
/// Longest JSON of the candidates of one decision.
const MAX_CANDIDATES_BYTES: usize = 1 << 20;

/// What a policy earned and did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// The planted value of all choices, net of costs.
    pub net_value: f64,
    /// The same by hundredth of the decisions, not cumulated.
    pub net_value_by_hundredth: Vec<f64>,
    /// How often each action was taken, in the order of the playbook, and then how often none.
    pub uses: Vec<u64>,
    /// What was used of limited actions and channels.
    pub capacities: Vec<CapacityUse>,
    /// What was not kept.
    pub violations: Violations,
}

impl RunReport {
    /// The net value from one share of the decisions to another.
    pub fn net_value_between(&self, from: f64, to: f64) -> f64 {
        let place = |share: f64| ((share * CHECKPOINTS as f64).round() as usize).min(CHECKPOINTS);
        self.net_value_by_hundredth[place(from).min(place(to))..place(to)].iter().sum()
    }

    /// The smallest share that was used of anything limited; 1 where nothing is.
    pub fn least_capacity_used(&self) -> f64 {
        let some = self.capacities.iter().filter(|capacity| capacity.available > 0);
        some.map(|capacity| capacity.used as f64 / capacity.available as f64).fold(1.0, f64::min)
    }
}

/// Lets a policy decide for everybody who comes to a world that was made for this playbook.
pub fn run(world: &World, playbook: &Playbook, policy: Policy) -> RunReport {
    let own = policy.playbook(playbook);
    let mut walk = Walk::new(world, &own, policy);
    for idx in 0..world.arrivals().len() {
        walk.learn(idx);
        walk.step(idx);
    }
    RunReport {
        net_value: walk.by_hundredth.iter().sum(),
        net_value_by_hundredth: walk.by_hundredth,
        uses: walk.uses,
        capacities: audit::capacity_uses(playbook, &walk.decisions),
        violations: audit::violations(playbook, &walk.decisions),
    }
}

/// A policy on its way through a world.
struct Walk<'w> {
    world: &'w World,
    playbook: &'w Playbook,
    policy: Policy,
    supplies: Supplies,
    learned: LearnedEffects,
    histories: Vec<Vec<PastDecision>>,
    decisions: Vec<Decision>,
    /// Whether a customer is known to have left, by decision.
    told: Vec<bool>,
    n_learned: usize,
    by_hundredth: Vec<f64>,
    uses: Vec<u64>,
}

impl<'w> Walk<'w> {
    fn new(world: &'w World, playbook: &'w Playbook, policy: Policy) -> Self {
        let n = world.arrivals().len();
        Self {
            world,
            playbook,
            policy,
            supplies: Supplies::new(playbook, world.arrivals().first().map_or(0, |arrival| arrival.now_ms)),
            learned: LearnedEffects::default(),
            histories: vec![Vec::new(); world.customers().len()],
            decisions: Vec::with_capacity(n),
            told: Vec::with_capacity(n),
            n_learned: 0,
            by_hundredth: vec![0.0; CHECKPOINTS],
            uses: vec![0; playbook.actions.len() + 1],
        }
    }

    /// Once a day, learns from what can change no more.
    fn learn(&mut self, idx: usize) {
        let now_ms = self.world.arrivals()[idx].now_ms;
        let is_new_day = idx == 0 || self.world.arrivals()[idx - 1].now_ms.div_euclid(DAY_MS) < now_ms.div_euclid(DAY_MS);
        if self.policy != Policy::Learner || !is_new_day {
            return;
        }
        let closed_before = now_ms - i64::from(self.world.params().late_days) * DAY_MS;
        let before = self.n_learned;
        while let Some(decision) =
            self.decisions.get(self.n_learned).filter(|decision| decision.window_closes_at_ms < closed_before)
        {
            let outcomes: &[OutcomeEvent] = if self.told[self.n_learned] { &[OutcomeEvent::Churned] } else { &[] };
            self.learned.add(self.playbook, decision, outcomes);
            self.n_learned += 1;
        }
        if self.n_learned > before {
            self.learned.conclude(self.playbook);
        }
    }

    /// Decides for one customer who comes.
    fn step(&mut self, idx: usize) {
        let (world, playbook) = (self.world, self.playbook);
        let arrival = &world.arrivals()[idx];
        let customer = &world.customers()[arrival.customer];
        let history = &self.histories[arrival.customer];
        let supply = self.supplies.supply(playbook, arrival.now_ms);
        let predictions: Vec<Prediction<'_>> = playbook.models.iter().map(|model| prediction(&model.name, customer)).collect();
        let feature = |name: &str| feature(world, customer, name);
        let facts = Facts {
            customer_id: &customer.id,
            now_ms: arrival.now_ms,
            observed: Day::from_seconds(arrival.now_ms as f64 / 1_000.0),
            features: &feature,
            predictions: &predictions,
            history,
        };
        let mut values = playbook.values(&facts);
        let assessed = playbook.assessment().assess(&mut values, None, arrival.now_ms);
        let (truth, learned) = (Truth { world, customer }, self.learned.of(assessed.segment()));
        let known: &dyn Posteriors = match self.policy {
            Policy::Oracle => &truth,
            Policy::Learner => &learned,
            Policy::Priors | Policy::Random | Policy::DoNothing => &PriorsOnly,
        };
        let situation = Situation {
            customer_id: &customer.id,
            now_ms: arrival.now_ms,
            history,
            effects: &[],
            learned: known,
            supply: &supply,
            channels: None,
            reasons: &[],
            uniform: arrival.uniform,
        };
        let decided = decide(playbook, &values, &situation);
        // One after the other: nobody else can have taken the last one.
        self.supplies.take(&decided);
        let segment = assessed.segment().and_then(|segment| playbook.assessment().segment_id(segment));
        let context = serde_json::json!({ "segment": segment }).to_string();
        let record = decided.decision(DecisionId::new(arrival.now_ms, random_bytes(idx)), context, MAX_CANDIDATES_BYTES);
        let action = chosen_action(&decided);
        self.note(idx, action, record);
    }

    /// Keeps a decision and what comes of it.
    fn note(&mut self, idx: usize, action: Option<usize>, record: Decision) {
        let arrival = &self.world.arrivals()[idx];
        let customer = &self.world.customers()[arrival.customer];
        let stays = arrival.fate < self.world.chance_to_stay(customer, action);
        let brings = action
            .map_or(0.0, |action| self.world.effect(customer, action) * customer.worth - self.playbook.actions[action].cost);
        self.by_hundredth[idx * CHECKPOINTS / self.world.arrivals().len()] += brings;
        self.uses[action.unwrap_or(self.playbook.actions.len())] += 1;
        self.told.push(!stays && !arrival.is_untold);
        let oldest_ms = arrival.now_ms - (self.playbook.history_days() * DAY_MS as f64) as i64;
        let history = &mut self.histories[arrival.customer];
        history.retain(|past| past.decided_at_ms >= oldest_ms);
        history.push(past(&record));
        self.decisions.push(record);
    }
}

fn chosen_action(decided: &Decided<'_>) -> Option<usize> {
    decided.chosen().action
}

/// What the rules of a playbook can read of a customer.
fn feature<'w>(world: &'w World, customer: &Customer, name: &str) -> FeatureValue<'w> {
    match name {
        "segment" => FeatureValue::Text(world.segment_id(customer)),
        "worth" => FeatureValue::Number(customer.worth),
        "risk" => FeatureValue::Number(customer.risk),
        _ => FeatureValue::Missing,
    }
}

/// Every model of the playbook is one of churn, and right.
fn prediction<'p>(model: &'p str, customer: &Customer) -> Prediction<'p> {
    Prediction { model, probability: Some(customer.risk), expected_value: None, band: None }
}

fn past(decision: &Decision) -> PastDecision {
    PastDecision {
        id: decision.id,
        playbook: decision.playbook.clone(),
        action: decision.action.clone(),
        channel: decision.channel.clone(),
        decided_at_ms: decision.decided_at_ms,
        holdout: decision.holdout,
        outcomes: Vec::new(),
        overridden: None,
    }
}

/// Ids differ by the decision's number.
fn random_bytes(idx: usize) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&(idx as u64).to_be_bytes());
    bytes
}
