//! [`Health`]: a score from 0 to 100 made of points, and how what is missing is treated.
//!
//! A group's points are its weight times the share of its items' points that was reached. The score is the sum over groups, rounded
//! to nine digits so that a sum that is meant to be 80 is in the band that begins at 80.

use serde::Serialize;

use super::scale::Scale;
use super::text::Text;
use crate::rule::{Expression, Known, NumberAnswer, Rule, RuleFault, SlotId, Values};

/// A health score.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Its name, such as `saas-health-a`.
    pub name: String,
    /// What an item without a value does.
    pub missing: MissingPolicy,
    /// A change of at most so many points is steady.
    pub steady_within: f64,
    /// From the healthiest on; the last one begins at 0.
    pub bands: Vec<Band>,
    /// The parts of the score; their weights add up to 100.
    pub groups: Vec<Group>,
}

/// A range of scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// Its id in rules.
    pub id: String,
    /// The lowest score in it.
    pub from: f64,
    /// Its name.
    pub name: Text,
}

/// A part of a health score.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// The most points that it gives.
    pub weight: f64,
    /// What it is made of.
    pub items: Vec<Item>,
}

/// One thing that gives points.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// The most points it gives, in the scale of its group's items.
    pub max: f64,
    /// Whether it only counts where it is known: its absence is not a gap, whatever the [`MissingPolicy`].
    pub optional: bool,
    /// What it reads.
    pub reads: Rule,
    /// How the value becomes points.
    pub scale: Scale,
}

/// What an item without a value does to the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingPolicy {
    /// The others of its group stand for it; without any, the other groups stand for the group.
    Redistribute,
    /// It has no points.
    Zero,
    /// It has half of its points.
    Neutral,
    /// There is no score.
    Unknown,
}

/// Where a score is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Up by more than [`Health::steady_within`].
    Improving,
    /// Neither.
    Steady,
    /// Down by more than that.
    Worsening,
    /// There is no earlier score, or none now.
    Unknown,
}

/// What an item's value was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen {
    /// A number.
    Number(f64),
    /// The word at this position of the item's scale.
    Word(usize),
    /// A word, or another kind of value, that the scale does not know.
    Stranger,
    /// Nothing; what the rule lacked.
    Missing(SlotId),
    /// The item's rule could not be answered.
    Fault(RuleFault),
}

/// What one item gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemPoints {
    /// The value.
    pub seen: Seen,
    /// Points out of the item's `max`; absent where there was no usable value.
    pub points: Option<f64>,
}

/// What one group gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupPoints {
    /// Points out of the group's weight; absent where nothing in it could be judged and the policy makes up nothing.
    pub points: Option<f64>,
    /// The share of its points that could be judged, from 0 to 1.
    pub coverage: f64,
}

/// A customer's health. Higher is better.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthScore {
    /// From 0 to 100; absent where nothing is known, or where the policy withholds it.
    pub score: Option<f64>,
    /// The position of its band in [`Health::bands`].
    pub band: Option<usize>,
    /// The share of the points that could be judged, from 0 to 1.
    pub coverage: f64,
    /// The score less the earlier one.
    pub change: Option<f64>,
    /// Where it is going.
    pub direction: Direction,
    /// One per group.
    pub groups: Vec<GroupPoints>,
    /// One per item, group by group.
    pub items: Vec<ItemPoints>,
}

impl Health {
    /// Scores one customer; `previous` is an earlier score of the same definition.
    pub fn score(&self, values: &Values<'_>, previous: Option<f64>) -> HealthScore {
        let items: Vec<ItemPoints> = self.items().map(|item| item.judge(values)).collect();
        let mut rest = items.as_slice();
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let (own, others) = rest.split_at(group.items.len());
            groups.push(group.points(own, self.missing));
            rest = others;
        }
        let score = self.total(&groups);
        let change = score.zip(previous).map(|(score, previous)| score - previous);
        let coverage = self.groups.iter().zip(&groups).map(|(group, points)| group.weight * points.coverage).sum::<f64>() / 100.0;
        HealthScore {
            score,
            band: score.map(|score| self.band_of(score)),
            coverage: rounded(coverage).min(1.0),
            change,
            direction: self.direction(change),
            groups,
            items,
        }
    }

    /// The position of the band that a score is in.
    pub fn band_of(&self, score: f64) -> usize {
        let found = self.bands.iter().position(|band| score >= band.from);
        found.unwrap_or(self.bands.len().saturating_sub(1))
    }

    /// All items, group by group.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.groups.iter().flat_map(|group| &group.items)
    }

    fn total(&self, groups: &[GroupPoints]) -> Option<f64> {
        if self.missing == MissingPolicy::Unknown && groups.iter().any(|group| group.points.is_none()) {
            return None;
        }
        let known = || self.groups.iter().zip(groups).filter_map(|(group, found)| Some((group.weight, found.points?)));
        let weight: f64 = known().map(|(weight, _)| weight).sum();
        let points: f64 = known().map(|(_, points)| points).sum();
        (weight > 0.0).then(|| rounded(points / weight * 100.0).clamp(0.0, 100.0))
    }

    fn direction(&self, change: Option<f64>) -> Direction {
        match change {
            None => Direction::Unknown,
            Some(change) if change > self.steady_within => Direction::Improving,
            Some(change) if change < -self.steady_within => Direction::Worsening,
            Some(_) => Direction::Steady,
        }
    }
}

impl Group {
    fn points(&self, items: &[ItemPoints], missing: MissingPolicy) -> GroupPoints {
        let (mut points, mut judged, mut counted, mut required, mut gap) = (0.0, 0.0, 0.0, 0.0, false);
        for (item, found) in self.items.iter().zip(items) {
            required += if item.optional { 0.0 } else { item.max };
            let stand_in = match missing {
                MissingPolicy::Zero => Some(0.0),
                MissingPolicy::Neutral => Some(item.max / 2.0),
                MissingPolicy::Redistribute | MissingPolicy::Unknown => None,
            };
            gap |= found.points.is_none() && !item.optional;
            judged += if found.points.is_some() { item.max } else { 0.0 };
            if let Some(given) = found.points.or(stand_in.filter(|_| !item.optional)) {
                points += given;
                counted += item.max;
            }
        }
        let withheld = missing == MissingPolicy::Unknown && gap;
        let known = counted > 0.0 && !withheld;
        // An optional item may stand for one that is missing, though never for more than the whole group.
        let coverage = if required > 0.0 { (judged / required).min(1.0) } else { f64::from(u8::from(judged > 0.0)) };
        GroupPoints { points: known.then(|| self.weight * (points / counted)), coverage }
    }
}

impl Item {
    fn judge(&self, values: &Values<'_>) -> ItemPoints {
        if let Scale::Words(_) = self.scale {
            return self.judge_word(values);
        }
        let (seen, points) = match self.reads.number(values) {
            NumberAnswer::Number(number) => (Seen::Number(number), self.scale.points(number)),
            NumberAnswer::Unknown(slot) => (Seen::Missing(slot), None),
            NumberAnswer::Fault(fault) => (Seen::Fault(fault), None),
        };
        ItemPoints { seen, points }
    }

    fn judge_word(&self, values: &Values<'_>) -> ItemPoints {
        // Reading checked that such an item reads one name and nothing else.
        let Expression::Read(slot) = self.reads.expression() else { return ItemPoints { seen: Seen::Stranger, points: None } };
        match values.get(*slot) {
            Known::Missing => ItemPoints { seen: Seen::Missing(*slot), points: None },
            Known::Text(word) => match self.scale.word(word) {
                Some((position, points)) => ItemPoints { seen: Seen::Word(position), points: Some(points) },
                None => ItemPoints { seen: Seen::Stranger, points: None },
            },
            Known::Number(_) | Known::Boolean(_) => ItemPoints { seen: Seen::Stranger, points: None },
        }
    }
}

/// Nine digits after the point: far finer than any threshold, far coarser than the dust of sums.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}
