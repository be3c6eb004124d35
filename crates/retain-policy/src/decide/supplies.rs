//! What is left of capacities, over all customers, and what one more would bring: counted in periods that begin at whole multiples of their
//! length since 1970, so that every server and every restart counts the same ones.

use super::choose::explored_sd;
use super::trace::Decided;
use super::value::{Stock, Supply};
use crate::allocate::Pacer;
use crate::playbook::{Capacity, Playbook};

const DAY_MS: f64 = 86_400_000.0;

/// All capacities of a playbook.
#[derive(Debug, Clone)]
pub struct Supplies(Vec<Limited>);

/// What a capacity is of, by its place in the playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitOf {
    /// An action.
    Action(usize),
    /// A channel.
    Channel(usize),
}

/// One capacity in its period.
#[derive(Debug, Clone)]
struct Limited {
    of: LimitOf,
    capacity: Capacity,
    period_from_ms: i64,
    /// What the log had at the last look.
    used: u64,
    /// What was taken since, kept or on its way there: when it was decided.
    taken: Vec<i64>,
    /// What a batch that is worked on may take.
    set_aside: u64,
    pacer: Option<Pacer>,
    draws: Draws,
}

impl Supplies {
    /// Nothing used yet.
    pub fn new(playbook: &Playbook, now_ms: i64) -> Self {
        let actions = playbook.actions.iter().enumerate().map(|(idx, action)| (LimitOf::Action(idx), action.capacity));
        let channels = playbook.contact.channels.iter().enumerate();
        let channels = channels.map(|(idx, channel)| (LimitOf::Channel(idx), channel.capacity));
        let limited = actions.chain(channels).filter_map(|(of, capacity)| {
            let capacity = capacity?;
            let period_from_ms = period_from(capacity, now_ms);
            let pacer = Pacer::new(0.0, f64::from(capacity.count)).ok();
            Some(Limited {
                of,
                capacity,
                period_from_ms,
                used: 0,
                taken: Vec::new(),
                set_aside: 0,
                pacer,
                draws: Draws::default(),
            })
        });
        Self(limited.collect())
    }

    /// Whether anything is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The beginnings of the periods that are under way, each once.
    pub fn periods(&self, now_ms: i64) -> Vec<i64> {
        let mut from: Vec<i64> = self.0.iter().map(|limited| period_from(limited.capacity, now_ms)).collect();
        from.sort_unstable();
        from.dedup();
        from
    }

    /// Takes over what the log has: `counted` tells for the beginning of a period how often something was used since then, where that was asked;
    /// what was decided after `asked_ms` may not be in it.
    pub fn refresh(&mut self, counted: impl Fn(i64, LimitOf) -> Option<u64>, asked_ms: i64) {
        for limited in &mut self.0 {
            limited.turn(asked_ms);
            let Some(used) = counted(limited.period_from_ms, limited.of) else { continue };
            limited.used = used;
            limited.taken.retain(|&taken_ms| taken_ms >= asked_ms);
        }
    }

    /// What there is now.
    pub fn supply(&mut self, playbook: &Playbook, now_ms: i64) -> Supply {
        if self.0.is_empty() {
            return Supply::default();
        }
        let mut supply = Supply {
            actions: vec![Stock::default(); playbook.actions.len()],
            channels: vec![Stock::default(); playbook.contact.channels.len()],
            budget_price: 0.0,
        };
        for limited in &mut self.0 {
            limited.turn(now_ms);
            let place = match limited.of {
                LimitOf::Action(idx) => supply.actions.get_mut(idx),
                LimitOf::Channel(idx) => supply.channels.get_mut(idx),
            };
            if let Some(place) = place {
                *place = Stock { price: limited.pacer.as_ref().map_or(0.0, Pacer::price), left: Some(limited.left()) };
            }
        }
        supply
    }

    /// Takes what a decision needs; false where somebody else has taken the last of it meanwhile, and then nothing is taken.
    pub fn take(&mut self, decided: &Decided<'_>) -> bool {
        let chosen = decided.chosen().action;
        let channel = chosen.and_then(|idx| decided.playbook.actions[idx].channel);
        if self.0.iter().any(|limited| limited.is_used_by(chosen, channel) && limited.left() == 0) {
            return false;
        }
        for limited in &mut self.0 {
            let is_taken = limited.is_used_by(chosen, channel);
            if is_taken {
                limited.taken.push(decided.now_ms);
            }
            limited.pace(decided, is_taken);
        }
        true
    }

    /// Keeps all that is left from others, who see none of it until [`Self::put_back`] has the amounts that this gives.
    pub fn set_aside(&mut self) -> Vec<u64> {
        let aside = |limited: &mut Limited| {
            let left = limited.left();
            limited.set_aside += left;
            left
        };
        self.0.iter_mut().map(aside).collect()
    }

    /// Ends what [`Self::set_aside`] began.
    pub fn put_back(&mut self, amounts: &[u64]) {
        for (limited, amount) in self.0.iter_mut().zip(amounts) {
            limited.set_aside = limited.set_aside.saturating_sub(*amount);
        }
    }

    /// Counts something that was taken without asking, from what was set aside: action and channel by their places in the playbook.
    pub fn note_taken(&mut self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        for limited in self.0.iter_mut().filter(|limited| limited.is_used_by(action, channel)) {
            limited.taken.push(taken_ms);
        }
    }

    /// Gives back what a decision that was not kept had taken.
    pub fn give_back(&mut self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        for limited in self.0.iter_mut().filter(|limited| limited.is_used_by(action, channel)) {
            if let Some(position) = limited.taken.iter().position(|&ms| ms == taken_ms) {
                limited.taken.swap_remove(position);
            }
        }
    }
}

impl Limited {
    fn is_used_by(&self, action: Option<usize>, channel: Option<usize>) -> bool {
        match self.of {
            LimitOf::Action(idx) => action == Some(idx),
            LimitOf::Channel(idx) => channel == Some(idx),
        }
    }

    fn left(&self) -> u64 {
        u64::from(self.capacity.count).saturating_sub(self.used + self.set_aside + self.taken.len() as u64)
    }

    /// Begins a new period where the last one is over; a clock that goes back begins none.
    fn turn(&mut self, now_ms: i64) {
        let from = period_from(self.capacity, now_ms);
        if from > self.period_from_ms {
            self.period_from_ms = from;
            self.used = 0;
            self.taken.retain(|&taken_ms| taken_ms >= from);
            let price = self.pacer.as_ref().map_or(0.0, Pacer::price);
            self.pacer = Pacer::new(price, f64::from(self.capacity.count)).ok();
        }
    }

    /// Tells the pacer what one unit would have brought to this customer.
    fn pace(&mut self, decided: &Decided<'_>, is_taken: bool) {
        let length = self.capacity.days * DAY_MS;
        let elapsed = ((decided.now_ms - self.period_from_ms) as f64 / length).clamp(0.0, 1.0);
        // The best with a unit and the best without one, each with how far exploration may see it from its mean.
        let (mut with, mut without) = (None, (0.0, 0.0));
        for candidate in decided.candidates.iter().filter(|candidate| candidate.eligible && !decided.holdout) {
            let (Some(idx), Some(valuation)) = (candidate.action, candidate.valuation) else { continue };
            let sd = explored_sd(decided.playbook, &valuation);
            if self.is_used_by(Some(idx), decided.playbook.actions[idx].channel) {
                let worth = valuation.net + valuation.capacity_price;
                if with.is_none_or(|(best, _)| worth > best) {
                    with = Some((worth, sd));
                }
            } else if valuation.net > without.0 {
                without = (valuation.net, sd);
            }
        }
        let draw = self.draws.next_draw();
        let worth = with.map_or(0.0, |(worth, sd)| worth - without.0 + draw * libm::hypot(sd, without.1));
        if let Some(pacer) = &mut self.pacer {
            // Only numbers that are not finite are refused, and those price nothing.
            let _ = pacer.observe(worth.max(0.0), f64::from(u8::from(is_taken)), elapsed);
        }
    }
}

/// Standard normal numbers, spread evenly: what exploration draws at random, without the luck.
#[derive(Debug, Clone, Copy, Default)]
struct Draws(u32);

impl Draws {
    /// The next one, of shares that are multiples of the golden ratio.
    ///
    /// # Source
    /// The logistic distribution over 1.702 is within 0.01 of the normal one everywhere (Haley 1952).
    fn next_draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9);
        let share = (f64::from(self.0) + 0.5) / 4_294_967_296.0;
        libm::log(share / (1.0 - share)) / 1.702
    }
}

fn period_from(capacity: Capacity, now_ms: i64) -> i64 {
    let length = (capacity.days * DAY_MS).max(1.0) as i64;
    now_ms.div_euclid(length) * length
}
