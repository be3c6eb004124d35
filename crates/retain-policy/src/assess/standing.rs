//! Where a customer stands in a loyalty programme and in points.

use super::definitions::{Points, Tier, TierProgramme};
use crate::rule::{Answer, NumberAnswer, Rule, Values};

/// Where a customer stands in a loyalty programme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierNow {
    /// The highest tier whose conditions hold, by position.
    pub tier: Option<usize>,
    /// Whether something is missing to say more: a higher tier, or any, may hold as well.
    pub uncertain: bool,
    /// The tier after that.
    pub next: Option<usize>,
    /// Days of tenure that the next tier still asks for; 0 where it asks for none or enough have passed.
    pub days_to_next: Option<f64>,
    /// Whether the next tier's condition besides tenure holds.
    pub next_condition: Option<Answer>,
}

/// Where a customer stands in points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointsNow {
    /// The balance; absent where neither it nor any counter is known.
    pub balance: Option<f64>,
    /// Whether every counter was known, or the balance was given.
    pub complete: bool,
    /// How many of the rewards, from the cheapest on, the balance reaches.
    pub reached: usize,
    /// Points that the next reward still asks for; absent after the last one.
    pub to_next: Option<f64>,
}

impl TierProgramme {
    /// Where the customer stands.
    pub fn standing(&self, values: &Values<'_>) -> TierNow {
        let tenure = self.tenure.as_ref().and_then(|rule| known(rule, values));
        let (mut found, mut uncertain) = (None, false);
        for (position, tier) in self.tiers.iter().enumerate().rev() {
            match tier.holds(tenure, values) {
                Some(true) => {
                    found = Some(position);
                    break;
                }
                Some(false) => {}
                None => uncertain = true,
            }
        }
        let next = found.map_or(0, |position| position + 1);
        let next_tier = self.tiers.get(next);
        TierNow {
            tier: found,
            uncertain,
            next: next_tier.map(|_| next),
            days_to_next: next_tier.and_then(|tier| tier.days_left(tenure)),
            next_condition: next_tier.and_then(|tier| tier.when.as_ref()).map(|rule| rule.test(values)),
        }
    }
}

impl Tier {
    /// Whether the customer may be in it; none where that cannot be said.
    fn holds(&self, tenure: Option<f64>, values: &Values<'_>) -> Option<bool> {
        let long_enough = match (self.from_days, tenure) {
            (None, _) => Some(true),
            (Some(from), Some(days)) => Some(days >= from),
            (Some(_), None) => None,
        };
        let asked = self.when.as_ref().map_or(Some(true), |rule| match rule.test(values) {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown(_) | Answer::Fault(_) => None,
        });
        match (long_enough, asked) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    fn days_left(&self, tenure: Option<f64>) -> Option<f64> {
        match self.from_days {
            None => Some(0.0),
            Some(from) => tenure.map(|days| (from - days).max(0.0)),
        }
    }
}

impl Points {
    /// Where the customer stands.
    pub fn standing(&self, values: &Values<'_>) -> PointsNow {
        let (balance, complete) = match self.balance.as_ref().and_then(|rule| known(rule, values)) {
            Some(balance) => (Some(balance), true),
            None => self.earned(values),
        };
        let reached = balance.map_or(0, |balance| self.rewards.partition_point(|reward| reward.points <= balance));
        let to_next = balance.and_then(|balance| Some(self.rewards.get(reached)?.points - balance));
        PointsNow { balance, complete, reached, to_next }
    }

    fn earned(&self, values: &Values<'_>) -> (Option<f64>, bool) {
        let (mut sum, mut n_known) = (0.0, 0);
        for earn in &self.earn {
            if let Some(times) = known(&earn.reads, values) {
                // A counter below 0 is a fault of the data, not a debt.
                sum += earn.points * times.max(0.0);
                n_known += 1;
            }
        }
        ((n_known > 0).then_some(sum), n_known == self.earn.len() && n_known > 0)
    }
}

fn known(rule: &Rule, values: &Values<'_>) -> Option<f64> {
    match rule.number(values) {
        NumberAnswer::Number(number) => Some(number),
        NumberAnswer::Unknown(_) | NumberAnswer::Fault(_) => None,
    }
}
