//! [`Assessment::assess`]: everything about one customer, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::{AlertEvent, AlertNow, AlertState};
use super::definitions::Severity;
use super::health::HealthScore;
use super::standing::{PointsNow, TierNow};
use super::{Assessment, NO_TIER};
use crate::rule::{Answer, Known, Values};

/// What is kept of a customer between two looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Previous {
    /// When the customer was looked at, in milliseconds since 1970.
    pub assessed_at_ms: i64,
    /// The health score of that time.
    pub health: Option<PreviousHealth>,
    /// Alerts that are active or have been raised, by id.
    pub alerts: BTreeMap<String, AlertState>,
    /// Milestones that were reached, by id.
    pub milestones: BTreeSet<String>,
}

/// An earlier health score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviousHealth {
    /// The name of its definition: scores of two definitions have no difference.
    pub name: String,
    /// From 0 to 100.
    pub score: f64,
    /// The id of its band.
    pub band: String,
}

/// How one customer is doing. Positions are those of the lists of the [`Assessment`].
#[derive(Debug, Clone, PartialEq)]
pub struct Assessed {
    /// The health score, where one is defined.
    pub health: Option<HealthScore>,
    /// The position of the band of the earlier score, where there is one.
    pub band_before: Option<usize>,
    /// One answer per signal.
    pub signals: Vec<Answer>,
    /// How many of the signals that count fire.
    pub signal_count: usize,
    /// How many of them cannot be answered.
    pub signals_unknown: usize,
    /// One answer per trigger.
    pub triggers: Vec<Answer>,
    /// The position of the most severe trigger that holds; the first of them where several are as severe.
    pub trigger: Option<usize>,
    /// One answer per segment.
    pub segments: Vec<Answer>,
    /// Where the customer stands in points.
    pub points: Option<PointsNow>,
    /// Where the customer stands in the loyalty programme.
    pub tier: Option<TierNow>,
    /// One answer per badge.
    pub badges: Vec<Answer>,
    /// One answer per milestone.
    pub milestones: Vec<Answer>,
    /// Milestones that were not reached the time before, by position.
    pub new_milestones: Vec<usize>,
    /// One per alert.
    pub alerts: Vec<AlertNow>,
}

impl Assessed {
    /// The segment that the customer counts for: the first of the playbook that they are in; none where they are in none.
    pub fn segment(&self) -> Option<usize> {
        self.segments.iter().position(|answer| *answer == Answer::Yes)
    }

    /// Whether the customer's band is worse than the time before; none where either is unknown.
    pub fn band_worsened(&self) -> Option<bool> {
        let now = self.health.as_ref()?.band?;
        self.band_before.map(|before| now > before)
    }
}

impl Assessment {
    /// Assesses one customer and puts every answer into `values`, where the rules of actions read it.
    ///
    /// `values` holds features, predictions, history and the clock; `previous` is what [`Self::remember`] gave the time before.
    pub fn assess<'a>(&'a self, values: &mut Values<'a>, previous: Option<&Previous>, now_ms: i64) -> Assessed {
        let (health, band_before) = self.assess_health(values, previous);
        let signals = self.assess_signals(values);
        let counting = || self.signals.iter().zip(&signals).filter(|(signal, _)| signal.counts).map(|(_, answer)| *answer);
        let signal_count = counting().filter(|answer| *answer == Answer::Yes).count();
        let signals_unknown = counting().filter(|answer| !matches!(answer, Answer::Yes | Answer::No)).count();
        if let Some(slot) = self.slots.signal_count {
            values.set(slot, Known::Number(signal_count as f64));
        }
        let triggers: Vec<Answer> = self.triggers.iter().map(|trigger| trigger.when.test(values)).collect();
        let segments: Vec<Answer> = self.segments.iter().map(|segment| segment.when.test(values)).collect();
        publish(values, &self.slots.segments, &segments);
        let points = self.assess_points(values);
        let tier = self.assess_tier(values);
        let badges: Vec<Answer> = self.badges.iter().map(|badge| badge.when.test(values)).collect();
        publish(values, &self.slots.badges, &badges);
        let milestones: Vec<Answer> = self.milestones.iter().map(|milestone| milestone.when.test(values)).collect();
        Assessed {
            health,
            band_before,
            signals,
            signal_count,
            signals_unknown,
            trigger: self.most_severe(&triggers),
            triggers,
            segments,
            points,
            tier,
            badges,
            new_milestones: self.new_milestones(&milestones, previous),
            milestones,
            alerts: self.assess_alerts(values, previous, now_ms),
        }
    }

    /// What to keep of this look for the next one.
    pub fn remember(&self, assessed: &Assessed, now_ms: i64) -> Previous {
        let health = self.health.as_ref().zip(assessed.health.as_ref()).and_then(|(definition, found)| {
            let (score, band) = found.score.zip(found.band)?;
            Some(PreviousHealth { name: definition.name.clone(), score, band: definition.bands.get(band)?.id.clone() })
        });
        let alerts = self.alerts.iter().zip(&assessed.alerts).filter(|(_, now)| now.state != AlertState::default());
        let reached = self.milestones.iter().zip(&assessed.milestones).filter(|(_, answer)| **answer == Answer::Yes);
        Previous {
            assessed_at_ms: now_ms,
            health,
            alerts: alerts.map(|(alert, now)| (alert.id.clone(), now.state)).collect(),
            milestones: reached.map(|(milestone, _)| milestone.id.clone()).collect(),
        }
    }

    /// The alerts that begin with this look, by position.
    pub fn raised(assessed: &Assessed) -> impl Iterator<Item = usize> + '_ {
        assessed.alerts.iter().enumerate().filter(|(_, now)| now.event == AlertEvent::Raised).map(|(position, _)| position)
    }

    fn assess_health<'a>(&'a self, values: &mut Values<'a>, previous: Option<&Previous>) -> (Option<HealthScore>, Option<usize>) {
        let Some(health) = &self.health else { return (None, None) };
        let before = previous.and_then(|previous| previous.health.as_ref()).filter(|before| before.name == health.name);
        let found = health.score(values, before.map(|before| before.score));
        if let Some(slots) = self.slots.health {
            let number = |number: Option<f64>| number.map_or(Known::Missing, Known::Number);
            values.set(slots.score, number(found.score));
            values.set(slots.band, found.band.map_or(Known::Missing, |band| Known::Text(&health.bands[band].id)));
            values.set(slots.coverage, Known::Number(found.coverage));
            values.set(slots.change, number(found.change));
        }
        let band_before = before.and_then(|before| health.bands.iter().position(|band| band.id == before.band));
        (Some(found), band_before)
    }

    fn assess_signals(&self, values: &mut Values<'_>) -> Vec<Answer> {
        let signals: Vec<Answer> = self.signals.iter().map(|signal| signal.when.test(values)).collect();
        publish(values, &self.slots.signals, &signals);
        signals
    }

    fn assess_points(&self, values: &mut Values<'_>) -> Option<PointsNow> {
        let points = self.points.as_ref()?.standing(values);
        if let Some(slot) = self.slots.points {
            values.set(slot, points.balance.map_or(Known::Missing, Known::Number));
        }
        Some(points)
    }

    fn assess_tier<'a>(&'a self, values: &mut Values<'a>) -> Option<TierNow> {
        let programme = self.tier_programme.as_ref()?;
        let tier = programme.standing(values);
        if let Some(slot) = self.slots.tier {
            let known = match tier.tier {
                Some(position) => Known::Text(&programme.tiers[position].id),
                None if tier.uncertain => Known::Missing,
                None => Known::Text(NO_TIER),
            };
            values.set(slot, known);
        }
        Some(tier)
    }

    fn assess_alerts(&self, values: &Values<'_>, previous: Option<&Previous>, now_ms: i64) -> Vec<AlertNow> {
        let before = |id: &str| previous.and_then(|previous| previous.alerts.get(id)).copied().unwrap_or_default();
        self.alerts.iter().map(|alert| alert.look(values, before(&alert.id), now_ms)).collect()
    }

    fn most_severe(&self, triggers: &[Answer]) -> Option<usize> {
        let held = (0..triggers.len()).filter(|&position| triggers[position] == Answer::Yes);
        let severity = |position: &usize| -> Severity { self.triggers[*position].severity };
        held.min_by_key(severity)
    }

    fn new_milestones(&self, milestones: &[Answer], previous: Option<&Previous>) -> Vec<usize> {
        // Whoever is seen for the first time does not celebrate everything at once.
        let Some(previous) = previous else { return Vec::new() };
        let is_new = |&position: &usize| {
            milestones[position] == Answer::Yes && !previous.milestones.contains(&self.milestones[position].id)
        };
        (0..milestones.len()).filter(is_new).collect()
    }
}

/// Puts answers where rules read them; what cannot be answered is missing.
fn publish(values: &mut Values<'_>, slots: &[crate::rule::SlotId], answers: &[Answer]) {
    for (&slot, answer) in slots.iter().zip(answers) {
        let known = match answer {
            Answer::Yes => Known::Boolean(true),
            Answer::No => Known::Boolean(false),
            Answer::Unknown(_) | Answer::Fault(_) => Known::Missing,
        };
        values.set(slot, known);
    }
}
