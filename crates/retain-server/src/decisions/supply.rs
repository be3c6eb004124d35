//! What is left of capacities, over all customers, and what one more would bring: counted in periods that begin at whole multiples of their
//! length since 1970, so that every server and every restart counts the same ones.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use retain_policy::allocate::Pacer;
use retain_policy::decide::{Decided, Stock, Supply};
use retain_policy::playbook::{Capacity, Playbook};
use retain_store::Used;

const DAY_MS: f64 = 86_400_000.0;

/// All capacities of a playbook.
#[derive(Debug)]
pub(super) struct Supplies(Mutex<Vec<Limited>>);

/// What a capacity is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Action(usize),
    Channel(usize),
}

/// One capacity in its period.
#[derive(Debug)]
struct Limited {
    of: Of,
    id: String,
    capacity: Capacity,
    period_from_ms: i64,
    /// What the log had at the last look.
    used: u64,
    /// What was taken since, kept or on its way there: when it was decided.
    taken: Vec<i64>,
    /// What a batch that is worked on may take.
    set_aside: u64,
    pacer: Option<Pacer>,
}

impl Supplies {
    /// Nothing used yet.
    pub(super) fn new(playbook: &Playbook, now_ms: i64) -> Self {
        let actions = playbook.actions.iter().enumerate().map(|(idx, action)| (Of::Action(idx), &action.id, action.capacity));
        let channels = playbook.contact.channels.iter().enumerate();
        let channels = channels.map(|(idx, channel)| (Of::Channel(idx), &channel.id, channel.capacity));
        let limited = actions.chain(channels).filter_map(|(of, id, capacity)| {
            let capacity = capacity?;
            let period_from_ms = period_from(capacity, now_ms);
            let pacer = Pacer::new(0.0, f64::from(capacity.count)).ok();
            Some(Limited { of, id: id.clone(), capacity, period_from_ms, used: 0, taken: Vec::new(), set_aside: 0, pacer })
        });
        Self(Mutex::new(limited.collect()))
    }

    /// Whether anything is limited.
    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The beginnings of the periods that are under way, each once.
    pub(super) fn periods(&self, now_ms: i64) -> Vec<i64> {
        let mut from: Vec<i64> = self.all().iter().map(|limited| period_from(limited.capacity, now_ms)).collect();
        from.sort_unstable();
        from.dedup();
        from
    }

    /// Takes over what the log has, by the beginnings of periods; what was decided after `asked_ms` may not be in it.
    pub(super) fn refresh(&self, counted: &HashMap<i64, Vec<Used>>, asked_ms: i64) {
        for limited in self.all().iter_mut() {
            limited.turn(asked_ms);
            let Some(used) = counted.get(&limited.period_from_ms) else { continue };
            let counts = used.iter().filter(|used| match limited.of {
                Of::Action(_) => used.action == limited.id,
                Of::Channel(_) => used.channel.as_ref() == Some(&limited.id),
            });
            limited.used = counts.map(|used| used.n_decisions).sum();
            limited.taken.retain(|&taken_ms| taken_ms >= asked_ms);
        }
    }

    /// What there is now.
    pub(super) fn supply(&self, playbook: &Playbook, now_ms: i64) -> Supply {
        let mut all = self.all();
        if all.is_empty() {
            return Supply::default();
        }
        let mut supply = Supply {
            actions: vec![Stock::default(); playbook.actions.len()],
            channels: vec![Stock::default(); playbook.contact.channels.len()],
            budget_price: 0.0,
        };
        for limited in all.iter_mut() {
            limited.turn(now_ms);
            let place = match limited.of {
                Of::Action(idx) => supply.actions.get_mut(idx),
                Of::Channel(idx) => supply.channels.get_mut(idx),
            };
            if let Some(place) = place {
                *place = Stock { price: limited.pacer.as_ref().map_or(0.0, Pacer::price), left: Some(limited.left()) };
            }
        }
        supply
    }

    /// Takes what a decision needs; false where somebody else has taken the last of it meanwhile, and then nothing is taken.
    pub(super) fn take(&self, decided: &Decided<'_>) -> bool {
        let mut all = self.all();
        let chosen = decided.chosen().action;
        let channel = chosen.and_then(|idx| decided.playbook.actions[idx].channel);
        let needs = |of: Of| match of {
            Of::Action(idx) => chosen == Some(idx),
            Of::Channel(idx) => channel == Some(idx),
        };
        if all.iter().any(|limited| needs(limited.of) && limited.left() == 0) {
            return false;
        }
        for limited in all.iter_mut() {
            let is_taken = needs(limited.of);
            if is_taken {
                limited.taken.push(decided.now_ms);
            }
            limited.pace(decided, is_taken);
        }
        true
    }

    /// Keeps all that is left from others until the batch that may take it is done.
    pub(super) fn set_aside(&self, playbook: &Playbook, now_ms: i64) -> SetAside<'_> {
        let supply = self.supply(playbook, now_ms);
        let mut all = self.all();
        let amounts = all.iter_mut().map(|limited| {
            let left = limited.left();
            limited.set_aside += left;
            left
        });
        let amounts = amounts.collect();
        drop(all);
        SetAside { supplies: self, amounts, supply }
    }

    /// Gives back what a decision that was not kept had taken.
    pub(super) fn give_back(&self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        for limited in self.all().iter_mut() {
            let is_of = match limited.of {
                Of::Action(idx) => action == Some(idx),
                Of::Channel(idx) => channel == Some(idx),
            };
            if let Some(position) = limited.taken.iter().position(|&ms| is_of && ms == taken_ms) {
                limited.taken.swap_remove(position);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Limited>> {
        // Whoever broke off has left whole numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept for a batch; what it does not take is there for others again when this is dropped.
#[derive(Debug)]
pub(super) struct SetAside<'s> {
    supplies: &'s Supplies,
    amounts: Vec<u64>,
    /// What the batch may take.
    pub(super) supply: Supply,
}

impl SetAside<'_> {
    /// The batch has taken this: action and channel by their places in the playbook.
    pub(super) fn take(&self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        for limited in self.supplies.all().iter_mut() {
            let is_of = match limited.of {
                Of::Action(idx) => action == Some(idx),
                Of::Channel(idx) => channel == Some(idx),
            };
            if is_of {
                limited.taken.push(taken_ms);
            }
        }
    }
}

impl Drop for SetAside<'_> {
    fn drop(&mut self) {
        for (limited, amount) in self.supplies.all().iter_mut().zip(&self.amounts) {
            limited.set_aside = limited.set_aside.saturating_sub(*amount);
        }
    }
}

impl Limited {
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
        let uses = |idx: usize| match self.of {
            Of::Action(of) => of == idx,
            Of::Channel(of) => decided.playbook.actions[idx].channel == Some(of),
        };
        let worth = |idx: usize, net: f64, price: f64| if uses(idx) { (true, net + price) } else { (false, net) };
        let (mut with, mut without) = (0.0_f64, 0.0_f64);
        for candidate in decided.candidates.iter().filter(|candidate| candidate.eligible) {
            if let (Some(idx), Some(valuation)) = (candidate.action, candidate.valuation) {
                match worth(idx, valuation.net, valuation.capacity_price) {
                    (true, value) => with = with.max(value),
                    (false, value) => without = without.max(value),
                }
            }
        }
        if let Some(pacer) = &mut self.pacer {
            // Only numbers that are not finite are refused, and those price nothing.
            let _ = pacer.observe((with - without).max(0.0), f64::from(u8::from(is_taken)), elapsed);
        }
    }
}

fn period_from(capacity: Capacity, now_ms: i64) -> i64 {
    let length = (capacity.days * DAY_MS).max(1.0) as i64;
    now_ms.div_euclid(length) * length
}
