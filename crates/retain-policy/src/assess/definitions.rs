//! What is looked at for each customer: signals, triggers, segments, tiers, points, badges, milestones, alerts.
//!
//! `claimed` is what somebody says a rule or a programme achieves. It is shown as a claim and read by nothing.

use std::fmt;

use serde::Serialize;

use super::text::{Text, TextList};
use crate::rule::Rule;

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Severity {
    /// Now.
    #[serde(rename = "P0")]
    Immediate,
    /// Today.
    #[serde(rename = "P1")]
    Urgent,
    /// Keep an eye on it.
    #[serde(rename = "P2")]
    Monitor,
    /// Good to know.
    #[serde(rename = "P3")]
    Info,
}

impl Severity {
    /// The words for it in files.
    pub(super) const WORDS: [(&'static str, Self); 9] = [
        ("P0", Self::Immediate),
        ("immediate", Self::Immediate),
        ("P1", Self::Urgent),
        ("urgent", Self::Urgent),
        ("P2", Self::Monitor),
        ("monitor", Self::Monitor),
        ("warning", Self::Monitor),
        ("P3", Self::Info),
        ("info", Self::Info),
    ];

    /// `P0` to `P3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "P0",
            Self::Urgent => "P1",
            Self::Monitor => "P2",
            Self::Info => "P3",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something worth noticing about a customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Its id in rules.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// When it fires.
    pub when: Rule,
    /// How much it matters by itself.
    pub severity: Severity,
    /// Whether it is one of those that `signal_count` counts.
    pub counts: bool,
    /// What is claimed of it.
    pub claimed: Option<Text>,
}

/// What a set of signals asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// When it holds.
    pub when: Rule,
    /// How soon somebody should look.
    pub severity: Severity,
}

/// A group of customers; a customer may be in several.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its id in rules.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Who is in it.
    pub when: Rule,
    /// How its customers are treated.
    pub treatment: Option<Text>,
    /// What is claimed of it.
    pub claimed: Option<Text>,
}

/// A loyalty programme: tiers from the lowest to the highest.
#[derive(Debug, Clone, PartialEq)]
pub struct TierProgramme {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// How long somebody has been a customer, in days; what [`Tier::from_days`] is held against.
    pub tenure: Option<Rule>,
    /// The customer is in the highest whose conditions hold.
    pub tiers: Vec<Tier>,
}

/// One tier of a programme.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// Its id in rules.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// From which day of tenure on, that day included.
    pub from_days: Option<f64>,
    /// What it asks besides.
    pub when: Option<Rule>,
    /// What it is for.
    pub goal: Option<Text>,
    /// What it gives.
    pub benefits: TextList,
    /// What the programme wants to see in it.
    pub targets: TextList,
    /// What is claimed of it.
    pub claimed: Option<Text>,
}

/// How points are earned and what they buy.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// Its name.
    pub name: Text,
    /// The balance as somebody else keeps it; goes before the counters.
    pub balance: Option<Rule>,
    /// What a point costs, in the playbook's currency.
    pub value_per_point: Option<f64>,
    /// What earns points.
    pub earn: Vec<Earn>,
    /// What points buy, from the cheapest on.
    pub rewards: Vec<Reward>,
}

/// One thing that earns points.
#[derive(Debug, Clone, PartialEq)]
pub struct Earn {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Points each time.
    pub points: f64,
    /// How often it has happened.
    pub reads: Rule,
}

/// One thing that points buy.
#[derive(Debug, Clone, PartialEq)]
pub struct Reward {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Its price in points.
    pub points: f64,
}

/// A distinction that a customer has or has not.
#[derive(Debug, Clone, PartialEq)]
pub struct Badge {
    /// Its id in rules.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Who has it.
    pub when: Rule,
    /// What it gives.
    pub benefits: TextList,
}

/// A point on a customer's way that is celebrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Milestone {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// When it is reached.
    pub when: Rule,
    /// What is done then.
    pub rewards: TextList,
}

/// A message to the team that is sent once when something begins, not again while it lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// When it begins.
    pub enter: Rule,
    /// When it ends; without one it ends when `enter` no longer holds.
    pub leave: Option<Rule>,
    /// For so long after it was raised it is not raised again.
    pub cooldown_days: f64,
    /// How soon somebody should look.
    pub severity: Severity,
    /// Whether it is good news.
    pub positive: bool,
}

/// How many alerts a team can look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlertBudget {
    /// The most alerts in a period.
    pub max: u32,
    /// Length of the period.
    pub days: f64,
}
