//! Whether decisions kept what the playbook asks, counted from the records alone and by none of the code that decides.

use std::collections::{BTreeMap, HashMap};

use retain_core::{Decision, NO_ACTION};
use serde::{Deserialize, Serialize};

use crate::playbook::{Capacity, Limit, Playbook};

const DAY_MS: f64 = 86_400_000.0;

/// What was not kept, each a number of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Violations {
    /// More contacts in a window than a limit allows.
    pub contact: u64,
    /// The same action again before its time.
    pub cooldown: u64,
    /// More of an action or a channel in a period than there is.
    pub capacity: u64,
    /// An action for somebody in the holdout.
    pub holdout: u64,
    /// Probabilities that do not sum to 1, or an action that had none.
    pub propensity: u64,
}

impl Violations {
    /// All together.
    pub fn total(&self) -> u64 {
        self.contact + self.cooldown + self.capacity + self.holdout + self.propensity
    }
}

/// How much of a limited action or channel was used in the periods that were over by the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityUse {
    /// The id of the action or channel.
    pub of: String,
    /// How often it was used.
    pub used: u64,
    /// How often it could have been.
    pub available: u64,
}

#[derive(Deserialize)]
struct Chance {
    action: String,
    propensity: f64,
}

/// Looks through all decisions, in the order in which they were made.
pub(super) fn violations(playbook: &Playbook, decisions: &[Decision]) -> Violations {
    let mut by_customer: HashMap<&str, Vec<&Decision>> = HashMap::new();
    for decision in decisions {
        by_customer.entry(&decision.customer_id).or_default().push(decision);
    }
    let mut found = Violations::default();
    for made in by_customer.values() {
        for (idx, decision) in made.iter().enumerate().filter(|(_, decision)| decision.action != NO_ACTION) {
            let before = &made[..idx];
            found.contact += u64::from(!keeps_limits(playbook, decision, before));
            found.cooldown += u64::from(!keeps_cooldown(playbook, decision, before));
            found.holdout += u64::from(decision.holdout);
        }
    }
    found.propensity = decisions.iter().filter(|decision| !has_right_chances(decision)).count() as u64;
    found.capacity = limited(playbook).map(|(id, is_channel, capacity)| overused(id, is_channel, capacity, decisions)).sum();
    found
}

fn days_between(earlier: &Decision, later: &Decision) -> f64 {
    (later.decided_at_ms - earlier.decided_at_ms) as f64 / DAY_MS
}

fn keeps_limits(playbook: &Playbook, decision: &Decision, before: &[&Decision]) -> bool {
    let Some(channel) = &decision.channel else { return true };
    let has_room = |limit: &Limit, of: Option<&String>| {
        let counts = |other: &&&Decision| {
            other.channel.is_some()
                && of.is_none_or(|of| other.channel.as_ref() == Some(of))
                && days_between(other, decision) < limit.days
        };
        (before.iter().filter(counts).count() as u64) < u64::from(limit.max)
    };
    let own = playbook.contact.channels.iter().filter(|known| known.id == *channel).flat_map(|known| &known.limits);
    own.into_iter().all(|limit| has_room(limit, Some(channel)))
        && playbook.contact.overall.iter().all(|limit| has_room(limit, None))
}

fn keeps_cooldown(playbook: &Playbook, decision: &Decision, before: &[&Decision]) -> bool {
    let days = playbook.actions.iter().find(|action| action.id == decision.action).map_or(0.0, |action| action.cooldown_days);
    before.iter().all(|other| other.action != decision.action || days_between(other, decision) >= days)
}

fn has_right_chances(decision: &Decision) -> bool {
    let Ok(chances) = serde_json::from_str::<Vec<Chance>>(&decision.candidates) else { return false };
    let sum: f64 = chances.iter().map(|chance| chance.propensity).sum();
    let own = chances.iter().find(|chance| chance.action == decision.action).map_or(0.0, |chance| chance.propensity);
    (sum - 1.0).abs() < 1e-9 && own > 0.0 && own.total_cmp(&decision.propensity).is_eq()
}

/// Actions and channels of limited capacity, with whether it is a channel.
fn limited(playbook: &Playbook) -> impl Iterator<Item = (&str, bool, Capacity)> {
    let actions = playbook.actions.iter().filter_map(|action| Some((action.id.as_str(), false, action.capacity?)));
    let channels = playbook.contact.channels.iter().filter_map(|channel| Some((channel.id.as_str(), true, channel.capacity?)));
    actions.chain(channels)
}

/// How often something was used in each period since 1970.
fn uses(id: &str, is_channel: bool, capacity: Capacity, decisions: &[Decision]) -> BTreeMap<i64, u64> {
    let is_use = |decision: &&Decision| if is_channel { decision.channel.as_deref() == Some(id) } else { decision.action == id };
    let mut uses = BTreeMap::new();
    for decision in decisions.iter().filter(is_use) {
        *uses.entry(period(capacity, decision.decided_at_ms)).or_default() += 1;
    }
    uses
}

fn period(capacity: Capacity, at_ms: i64) -> i64 {
    (at_ms as f64 / (capacity.days * DAY_MS)).floor() as i64
}

fn overused(id: &str, is_channel: bool, capacity: Capacity, decisions: &[Decision]) -> u64 {
    uses(id, is_channel, capacity, decisions).values().map(|used| used.saturating_sub(u64::from(capacity.count))).sum()
}

/// What was used of everything that is limited.
pub(super) fn capacity_uses(playbook: &Playbook, decisions: &[Decision]) -> Vec<CapacityUse> {
    let (Some(first), Some(last)) = (decisions.first(), decisions.last()) else { return Vec::new() };
    let of_one = |(id, is_channel, capacity): (&str, bool, Capacity)| {
        let (from, to) = (period(capacity, first.decided_at_ms), period(capacity, last.decided_at_ms));
        let used = uses(id, is_channel, capacity, decisions).range(..to).map(|(_, used)| used).sum();
        CapacityUse { of: id.to_owned(), used, available: (to - from) as u64 * u64::from(capacity.count) }
    };
    limited(playbook).map(of_one).collect()
}
