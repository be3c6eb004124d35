//! What a playbook knows besides rules for each customer: referral schemes, offers, targets, capacities, causes, playbooks of bands.
//!
//! These are read, checked and shown. Nothing here changes a decision except where an action names it.

use serde::Serialize;

use super::text::{Text, TextList};
use crate::rule::Rule;

/// What a customer gets for bringing another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Referral {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Who is asked.
    pub eligible: Option<Rule>,
    /// What the one who refers gets.
    pub referrer: TextList,
    /// What the one who is referred gets.
    pub referred: TextList,
    /// What the scheme wants to see.
    pub targets: TextList,
}

/// The terms of an offer that an action of the same id makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The id of the action.
    pub id: String,
    /// What is offered.
    pub name: Text,
    /// What kind of offer.
    pub kind: OfferKind,
    /// What calls for it, in words; the action's `eligible` is the same as a rule.
    pub trigger: Text,
    /// When it is made.
    pub timing: Option<Text>,
    /// What it is said to bring.
    pub benefit: Option<Text>,
    /// What is guaranteed or what it costs.
    pub terms: Option<Text>,
}

/// Kinds of offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferKind {
    /// More of the same.
    Upsell,
    /// Something else.
    CrossSell,
    /// A larger account.
    Expansion,
}

/// A number that a business wants to move.
#[derive(Debug, Clone, PartialEq)]
pub struct Kpi {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// The strategy that sets it.
    pub strategy: String,
    /// `percent`, `currency`, `days`, …
    pub unit: String,
    /// Whether a lower number is better.
    pub lower_is_better: bool,
    /// Where it stands, as the strategy says.
    pub now: Option<f64>,
    /// Where it should be; absent where the strategy only says where it stands.
    pub target: Option<f64>,
    /// Whether `retain` computes it from tables, or reads it from elsewhere.
    pub computed: bool,
    /// What to know about the number, such as that it contradicts another one.
    pub note: Option<Text>,
}

/// How much of a channel there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// The channel.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// The most in a period.
    pub max: f64,
    /// Length of the period.
    pub days: f64,
}

/// What an action costs on average where nothing better is known.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanCost {
    /// Per action.
    pub amount: f64,
    /// Its currency, such as `USD`.
    pub currency: String,
}

/// Why customers leave, or why they do not use something: what reasons are grouped into and actions answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Its id, as in an action's `answers`.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// Of what it is a cause: leaving, or not adopting a feature.
    pub of: CauseKind,
    /// The share that is claimed of it, in percent; shown as a claim.
    pub claimed: Option<Text>,
    /// Features that speak of it.
    pub features: Vec<String>,
}

/// What a cause leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CauseKind {
    /// The customer leaves.
    Churn,
    /// A feature is not used.
    Adoption,
}

/// What is done for the customers of a band of health.
#[derive(Debug, Clone, PartialEq)]
pub struct BandPlaybook {
    /// The id of the band.
    pub id: String,
    /// Its name.
    pub name: Text,
    /// What it is for.
    pub goal: Text,
    /// The ids of actions.
    pub actions: Vec<String>,
    /// The id of the template of its message.
    pub template: Option<String>,
}

/// A message with places to fill in.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its id.
    pub id: String,
    /// Its subject.
    pub name: Text,
    /// Its text; places are written `{so}`.
    pub body: Text,
    /// What fills each place.
    pub slots: Vec<String>,
}
