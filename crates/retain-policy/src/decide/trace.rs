//! What a decision is made of, kept so that it can be explained: every candidate, every rule with what it saw, every number.

use std::ops::Range;

use retain_core::{NO_ACTION, OutcomeEvent};

use super::choose::for_people;
use crate::playbook::{Action, Playbook};
use crate::rule::{Answer, Rule, RuleFault, SlotId, Values};

/// A decision for one customer. It borrows from the playbook and the values it was made with.
#[derive(Debug, Clone)]
pub struct Decided<'a> {
    /// The playbook that decided.
    pub playbook: &'a Playbook,
    /// What the rules read.
    pub values: &'a Values<'a>,
    /// For whom.
    pub customer_id: &'a str,
    /// When, by the clock that came in.
    pub now_ms: i64,
    /// Every action of the playbook in its order, then [`NO_ACTION`].
    pub candidates: Vec<Candidate>,
    /// What was drawn: an index into `candidates`.
    pub chosen: usize,
    /// Whether the customer is in the holdout, which gets no action.
    pub holdout: bool,
    /// How unsure it is what doing nothing comes to.
    pub(super) nothing_sd: f64,
    pub(super) checks: Vec<Check<'a>>,
    pub(super) reasons: &'a [&'a str],
}

/// One thing that could be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its index in the playbook; absent for [`NO_ACTION`].
    pub action: Option<usize>,
    /// Whether every check let it pass.
    pub eligible: bool,
    /// Whether it goes before all others.
    pub mandatory: bool,
    /// The sequence and step that it is.
    pub step: Option<(usize, usize)>,
    /// What it is worth; absent where that is unknown.
    pub valuation: Option<Valuation>,
    /// Its place by worth among those that are eligible, from 1.
    pub rank: Option<usize>,
    /// The exact probability that it is chosen for this customer now.
    pub probability: f64,
    pub(super) checks: Range<usize>,
}

/// What an action is expected to bring beyond doing nothing, and why.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Valuation {
    /// Its effect on the goal.
    pub effect: Effect,
    /// What one more success is worth for this customer.
    pub value_at_stake: f64,
    /// What the action is worth besides.
    pub own_value: f64,
    /// What it costs.
    pub cost: f64,
    /// What it costs the customer's patience.
    pub fatigue: f64,
    /// What the capacity and the budget that it takes would bring elsewhere.
    pub capacity_price: f64,
    /// Effect × value at stake + own value − cost − fatigue − price.
    pub net: f64,
    /// How unsure that is, as a standard deviation.
    pub net_sd: f64,
    /// The same without the luck that all actions share: what they are told apart by.
    pub own_sd: f64,
    /// What candidates are put in order by: `net`, or P × C × V × L.
    pub priority: f64,
    /// Propensity, context weight, value and lever; with `mode = "pcvl"` alone.
    pub factors: Option<[f64; 4]>,
}

/// A change of the probability of success.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// Expected, from −1 to 1; positive is good.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// The same without the luck that all actions share.
    pub own_sd: f64,
    /// Where it is from.
    pub source: EffectSource,
    /// What part of it is the playbook's prior rather than what was learned, from 0 to 1.
    pub prior_share: f64,
    /// What part of it is from the uplift model, from 0 to 1.
    pub model_share: f64,
    /// Decisions that it was learned from, besides the model.
    pub n: f64,
}

/// Where an effect is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EffectSource {
    /// The playbook's prior alone.
    #[default]
    Prior,
    /// The prior and the outcomes of earlier decisions.
    Outcomes,
    /// An uplift model for this customer, together with what was known before.
    Model,
}

impl EffectSource {
    /// The source's name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Outcomes => "outcomes",
            Self::Model => "model",
        }
    }
}

/// One thing that was asked of a candidate, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Check<'a> {
    /// What was asked.
    pub what: Asked<'a>,
    /// What came of it.
    pub result: CheckResult,
}

/// What came of a check. Only [`CheckResult::Passed`] lets a candidate pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CheckResult {
    /// It lets the action pass.
    Passed,
    /// It does not.
    Failed,
    /// This is missing.
    Unknown(SlotId),
    /// It cannot be answered for this customer.
    Fault(RuleFault),
}

/// What is asked of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked<'a> {
    /// Whether it is switched on.
    Enabled,
    /// Whether its channel can be used now.
    ChannelOpen,
    /// A rule of the playbook.
    Rule {
        /// What the rule is for.
        of: RuleOf,
        /// The rule.
        rule: &'a Rule,
    },
    /// Whether it is the step of a sequence that is due.
    Step,
    /// A limit of contacts.
    Limit {
        /// The channel; absent for all together.
        channel: Option<&'a str>,
        /// Contacts in the window so far.
        count: u32,
        /// Most of them.
        max: u32,
        /// Length of the window.
        days: f64,
    },
    /// The time between two of the same action.
    Cooldown {
        /// Days since the last one.
        since_days: Option<f64>,
        /// Days it takes.
        days: f64,
    },
    /// The silence after an outcome.
    Suppression {
        /// After which.
        after: OutcomeEvent,
        /// Whether the outcome of any action counts.
        of_any: bool,
        /// Days since it was reported.
        since_days: Option<f64>,
        /// Days of silence.
        days: f64,
    },
    /// Another action that it does not go with.
    Exclusion {
        /// The other one.
        other: usize,
        /// Days since that was done.
        since_days: Option<f64>,
        /// Days until that expires.
        days: f64,
    },
    /// What is left of the action or of its channel.
    Capacity {
        /// How many.
        left: u64,
    },
    /// Whether its effect is probably not harmful.
    Guard,
    /// Whether what it is worth is a number.
    Worth,
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOf {
    /// Whether this customer may have it at all.
    Eligible,
    /// Whether it makes sense now.
    Applicable,
    /// Whether it is good for the customer.
    Suitable,
    /// Whether the customer agreed to the channel.
    Consent,
    /// Whether the channel is silent; this one has to fail.
    Quiet,
    /// What one more success is worth.
    ValueAtStake,
    /// What the action is worth besides.
    OwnValue,
    /// A factor of P × C × V × L.
    Factor(&'static str),
}

impl RuleOf {
    /// Its name in records: the key of the playbook.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::Applicable => "applicable",
            Self::Suitable => "suitable",
            Self::Consent => "consent",
            Self::Quiet => "quiet",
            Self::ValueAtStake => "value_at_stake",
            Self::OwnValue => "value",
            Self::Factor(name) => name,
        }
    }
}

impl From<Answer> for CheckResult {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::Passed,
            Answer::No => Self::Failed,
            Answer::Unknown(slot) => Self::Unknown(slot),
            Answer::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl CheckResult {
    /// Its name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown(_) => "unknown",
            Self::Fault(_) => "fault",
        }
    }

    pub(super) fn of(passes: bool) -> Self {
        if passes { Self::Passed } else { Self::Failed }
    }
}

impl<'a> Decided<'a> {
    /// The candidate that was chosen.
    pub fn chosen(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// The playbook's entry of a candidate; absent for [`NO_ACTION`].
    pub fn action(&self, candidate: &Candidate) -> Option<&'a Action> {
        candidate.action.map(|action| &self.playbook.actions[action])
    }

    /// The id of a candidate.
    pub fn id(&self, candidate: &Candidate) -> &'a str {
        self.action(candidate).map_or(NO_ACTION, |action| action.id.as_str())
    }

    /// How a candidate reaches the customer.
    pub fn channel(&self, candidate: &Candidate) -> Option<&'a str> {
        self.action(candidate)?.channel.map(|channel| self.playbook.contact.channels[channel].id.as_str())
    }

    /// What was asked of a candidate, in order.
    pub fn checks(&self, candidate: &Candidate) -> &[Check<'a>] {
        &self.checks[candidate.checks.clone()]
    }

    /// The customer's reasons for leaving that a candidate answers.
    pub fn answered(&self, candidate: &Candidate) -> Vec<&'a str> {
        let Some(action) = self.action(candidate) else { return Vec::new() };
        self.reasons.iter().copied().filter(|reason| action.answers.iter().any(|answer| answer == reason)).collect()
    }

    /// When a candidate is no longer worth doing.
    pub fn expires_at_ms(&self, candidate: &Candidate) -> Option<i64> {
        self.action(candidate).map(|action| self.now_ms.saturating_add((action.expires_days * 86_400_000.0) as i64))
    }

    /// All candidates: those that may be chosen by their place, then the others in the playbook's order.
    pub fn in_order(&self) -> Vec<&Candidate> {
        let mut order: Vec<&Candidate> = self.candidates.iter().collect();
        order.sort_by(|a, b| for_people(a, b));
        order
    }

    /// Candidates that may be chosen, the best first; doing nothing is among them.
    pub fn ranked(&self) -> Vec<&Candidate> {
        let mut ranked: Vec<&Candidate> = self.candidates.iter().filter(|candidate| candidate.rank.is_some()).collect();
        ranked.sort_by_key(|candidate| candidate.rank);
        ranked
    }
}
