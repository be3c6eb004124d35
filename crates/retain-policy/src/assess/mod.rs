//! Assessment: how a customer is doing, by rules that people wrote.
//!
//! [`Assessment::parse`] reads `[health]`, `[[signal]]`, `[[segment]]`, tiers, points, badges and alerts of a playbook and its presets;
//! [`Assessment::assess`] answers them for one customer, in the one order that lets each read what came before; [`Assessment::report`] says it in
//! words. Whether any of this predicts anything is for [`audit`] to measure and [`fit`] to improve. Predictions come in as values:
//! they are made elsewhere.

mod alert;
mod assessed;
pub mod audit;
mod catalogue;
mod catalogue_file;
mod definitions;
mod file;
pub mod fit;
mod health;
mod health_file;
mod kpi;
mod order;
mod problem;
pub(crate) mod reader;
mod report;
mod rules_file;
mod scale;
mod standing;
#[cfg(test)]
mod tests;
mod text;

pub use alert::{AlertEvent, AlertNow, AlertState, within_budget};
pub use assessed::{Assessed, Previous, PreviousHealth};
pub use catalogue::{BandPlaybook, Capacity, Cause, CauseKind, Kpi, MeanCost, Offer, OfferKind, Referral, Template};
pub use definitions::{
    Alert, AlertBudget, Badge, Earn, Milestone, Points, Reward, Segment, Severity, Signal, Tier, TierProgramme, Trigger,
};
pub use file::{KEYS, Parsed};
pub use health::{Band, Direction, Group, GroupPoints, Health, HealthScore, Item, ItemPoints, MissingPolicy, Seen};
pub use kpi::churn_over;
pub use problem::{Problem, ProblemKind};
pub use reader::Source;
pub use report::{
    AlertReport, AssessmentReport, FiredReport, GroupReport, HealthReport, ItemReport, PointsReport, TierReport, UnknownReport,
};
pub use scale::{Scale, Step};
pub use standing::{PointsNow, TierNow};
pub use text::{Language, Text, TextList};

use crate::rule::{Name, SlotId};

/// What `tier` is for a customer who is in none.
pub const NO_TIER: &str = "none";

/// Everything that is looked at for a customer, and what is known besides.
#[derive(Debug, Clone, Default)]
pub struct Assessment {
    /// The health score, where one is defined.
    pub health: Option<Health>,
    /// Signals.
    pub signals: Vec<Signal>,
    /// What sets of signals ask for.
    pub triggers: Vec<Trigger>,
    /// Segments.
    pub segments: Vec<Segment>,
    /// The loyalty programme.
    pub tier_programme: Option<TierProgramme>,
    /// Points and rewards.
    pub points: Option<Points>,
    /// Badges.
    pub badges: Vec<Badge>,
    /// Milestones.
    pub milestones: Vec<Milestone>,
    /// Alerts.
    pub alerts: Vec<Alert>,
    /// How many alerts the team can look at.
    pub alert_budget: Option<AlertBudget>,
    /// Referral schemes.
    pub referrals: Vec<Referral>,
    /// Terms of offers.
    pub offers: Vec<Offer>,
    /// Targets of the business.
    pub kpis: Vec<Kpi>,
    /// Capacities of channels.
    pub capacities: Vec<Capacity>,
    /// What an action costs on average.
    pub mean_cost: Option<MeanCost>,
    /// Causes that reasons are grouped into.
    pub causes: Vec<Cause>,
    /// What is done for each band of health.
    pub band_playbooks: Vec<BandPlaybook>,
    /// Messages.
    pub templates: Vec<Template>,
    slots: Slots,
}

/// Where the answers go, so that later rules can read them.
#[derive(Debug, Clone, Default)]
struct Slots {
    health: Option<HealthSlots>,
    signals: Vec<SlotId>,
    signal_count: Option<SlotId>,
    segments: Vec<SlotId>,
    tier: Option<SlotId>,
    points: Option<SlotId>,
    badges: Vec<SlotId>,
}

#[derive(Debug, Clone, Copy)]
struct HealthSlots {
    score: SlotId,
    band: SlotId,
    coverage: SlotId,
    change: SlotId,
}

impl Assessment {
    /// How many segments there are.
    pub fn n_segments(&self) -> usize {
        self.segments.len()
    }

    /// The position of a segment.
    pub fn segment_idx(&self, id: &str) -> Option<usize> {
        self.segments.iter().position(|segment| segment.id == id)
    }

    /// The id of the segment at a position.
    pub fn segment_id(&self, idx: usize) -> Option<&str> {
        self.segments.get(idx).map(|segment| segment.id.as_str())
    }

    /// Why nothing answers to a name here, and what to do; none where something does, or where the name is of another kind.
    pub fn unknown(&self, name: &Name) -> Option<(String, String)> {
        order::unknown(self, name)
    }
}
