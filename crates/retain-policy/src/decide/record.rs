//! A decision as it is kept: JSON that people, SQL and off-policy evaluation read. Names are stable; what is absent is left out.

use std::fmt;

use retain_core::{Decision, DecisionId, OutcomeEvent};
use serde::{Serialize, Serializer};

use super::choose::for_people;
use super::trace::{Asked, Candidate, Check, CheckResult, Decided};
use crate::rule::{Known, Name, Rule};

const DAY_MS: i64 = 86_400_000;

/// One candidate.
#[derive(Serialize)]
struct CandidateRow<'a> {
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    eligible: bool,
    propensity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mandatory: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<&'a str>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    value: Option<ValueRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleRow<'a>>,
}

/// What a candidate is worth. What adds nothing is left out: it is 0.
#[derive(Serialize)]
struct ValueRow {
    effect: f64,
    effect_sd: f64,
    effect_source: &'static str,
    prior_share: f64,
    #[serde(skip_serializing_if = "is_zero")]
    model_share: f64,
    #[serde(skip_serializing_if = "is_zero")]
    n: f64,
    value_at_stake: f64,
    #[serde(skip_serializing_if = "is_zero")]
    own_value: f64,
    cost: f64,
    #[serde(skip_serializing_if = "is_zero")]
    fatigue: f64,
    #[serde(skip_serializing_if = "is_zero")]
    capacity_price: f64,
    expected_value: f64,
    expected_value_sd: f64,
    /// Left out where it is the expected value.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<f64>,
    /// Propensity, context weight, value and lever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pcvl: Option<[f64; 4]>,
}

/// One check. What passed is told without the rule itself, which the playbook of this SHA-256 has.
#[derive(Serialize)]
struct RuleRow<'a> {
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    result: &'static str,
    seen: Seen<'a>,
}

/// The values that a check read, written without a text for each on the way.
struct Seen<'a> {
    decided: &'a Decided<'a>,
    check: &'a Check<'a>,
}

/// One value that a rule read.
struct Reading<'a> {
    name: &'a Name,
    value: Known<'a>,
}

impl Serialize for Seen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.check.what {
            Asked::Rule { rule, .. } => serializer.collect_seq(self.decided.readings(rule)),
            _ => serializer.collect_seq(self.decided.seen(self.check)),
        }
    }
}

impl Serialize for Reading<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Known::Number(number) => write!(f, "{} = {number}", self.name),
            other => write!(f, "{} = {}", self.name, other.describe()),
        }
    }
}

impl Decided<'_> {
    /// The decision as it is kept. `context` is what it was made from, as a JSON object; `max_bytes` bounds the candidates' JSON.
    pub fn decision(&self, id: DecisionId, context: String, max_bytes: usize) -> Decision {
        let (settings, chosen) = (&self.playbook.settings, self.chosen());
        let cost = self.action(chosen).map_or(0.0, |action| action.cost);
        Decision {
            id,
            customer_id: self.customer_id.to_owned(),
            decided_at_ms: self.now_ms,
            playbook: settings.name.clone(),
            playbook_sha256: self.playbook.sha256().to_owned(),
            action: self.id(chosen).to_owned(),
            channel: self.channel(chosen).map(str::to_owned),
            propensity: chosen.probability,
            holdout: self.holdout,
            expected_value: chosen.valuation.map_or(-cost, |valuation| valuation.net),
            cost,
            currency: settings.currency.clone(),
            window_closes_at_ms: self.window_closes_at_ms(),
            context,
            candidates: self.candidates_json(max_bytes),
        }
    }

    /// From when on outcomes no longer count for this decision.
    pub fn window_closes_at_ms(&self) -> i64 {
        self.now_ms.saturating_add(i64::from(self.playbook.settings.attribution_days) * DAY_MS)
    }

    /// Every candidate as a JSON array, those that may be chosen first, by their place.
    /// A number that is left out is 0; a `priority` that is left out is the expected value.
    ///
    /// Where that is longer than `max_bytes`, only rules that did not pass are told; then none; then only candidates that may be chosen.
    pub fn candidates_json(&self, max_bytes: usize) -> String {
        let mut order: Vec<&Candidate> = self.candidates.iter().collect();
        order.sort_by(|a, b| for_people(a, b));
        let failed = |check: &Check<'_>| check.result != CheckResult::Passed;
        let all = self.json(&order, |_| true);
        let shorter: [&dyn Fn() -> String; 2] = [&|| self.json(&order, failed), &|| self.json(&order, |_| false)];
        if all.len() <= max_bytes {
            return all;
        }
        if let Some(short) = shorter.iter().map(|make| make()).find(|json| json.len() <= max_bytes) {
            return short;
        }
        order.retain(|candidate| candidate.eligible);
        self.json(&order, |_| false)
    }

    fn json(&self, candidates: &[&Candidate], told: impl Fn(&Check<'_>) -> bool) -> String {
        let rows: Vec<CandidateRow<'_>> = candidates.iter().map(|candidate| self.row(candidate, &told)).collect();
        serde_json::to_string(&rows).expect("texts and numbers can be written as JSON")
    }

    fn row(&self, candidate: &Candidate, told: &impl Fn(&Check<'_>) -> bool) -> CandidateRow<'_> {
        let checks = self.checks(candidate).iter().filter(|check| told(check));
        let rules = checks.map(|check| RuleRow {
            rule: check.what.name(),
            source: (check.result != CheckResult::Passed).then(|| check.what.source(self)),
            result: check.result.as_str(),
            seen: Seen { decided: self, check },
        });
        CandidateRow {
            action: self.id(candidate),
            channel: self.channel(candidate),
            eligible: candidate.eligible,
            propensity: candidate.probability,
            rank: candidate.rank,
            mandatory: candidate.mandatory,
            sequence: candidate.step.map(|(sequence, _)| self.playbook.sequences[sequence].id.as_str()),
            step: candidate.step.map(|(_, step)| step + 1),
            value: value_row(candidate),
            answers: self.answered(candidate),
            expires_at_ms: self.expires_at_ms(candidate),
            rules: rules.collect(),
        }
    }

    /// The values that a check read, as `features.tenure = 3`; what is missing as `missing`.
    pub fn seen(&self, check: &Check<'_>) -> Vec<String> {
        let days_ago = |days: Option<f64>| match days {
            Some(days) => vec![format!("last {} days ago", in_tenths(days))],
            None => vec!["never".to_owned()],
        };
        match check.what {
            Asked::Rule { rule, .. } => self.readings(rule).map(|reading| reading.to_string()).collect(),
            Asked::Limit { count, max, days, .. } => vec![format!("{count} of {max} contacts in {days} days")],
            Asked::Cooldown { since_days, .. } | Asked::Exclusion { since_days, .. } | Asked::Suppression { since_days, .. } => {
                days_ago(since_days)
            }
            Asked::Capacity { left } => vec![format!("left = {left}")],
            Asked::Enabled | Asked::ChannelOpen | Asked::Step | Asked::Guard | Asked::Worth => Vec::new(),
        }
    }

    fn readings<'s>(&'s self, rule: &'s Rule) -> impl Iterator<Item = Reading<'s>> {
        let names = self.playbook.names();
        rule.reads().iter().map(|slot| Reading { name: names.name(*slot), value: self.values.get(*slot) })
    }
}

fn value_row(candidate: &Candidate) -> Option<ValueRow> {
    candidate.action?;
    let valuation = candidate.valuation?;
    let effect = valuation.effect;
    Some(ValueRow {
        effect: effect.mean,
        effect_sd: effect.sd,
        effect_source: effect.source.as_str(),
        prior_share: effect.prior_share,
        model_share: effect.model_share,
        n: effect.n,
        value_at_stake: valuation.value_at_stake,
        own_value: valuation.own_value,
        cost: valuation.cost,
        fatigue: valuation.fatigue,
        capacity_price: valuation.capacity_price,
        expected_value: valuation.net,
        expected_value_sd: valuation.net_sd,
        priority: (valuation.priority != valuation.net).then_some(valuation.priority),
        pcvl: valuation.factors,
    })
}

impl Asked<'_> {
    /// What was asked, in the words of the playbook.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::ChannelOpen => "channel",
            Self::Rule { of, .. } => of.as_str(),
            Self::Step => "sequence",
            Self::Limit { channel: None, .. } => "contact",
            Self::Limit { channel: Some(_), .. } => "contact channel",
            Self::Cooldown { .. } => "cooldown",
            Self::Suppression { .. } => "suppress",
            Self::Exclusion { .. } => "excludes",
            Self::Capacity { .. } => "capacity",
            Self::Guard => "guard",
            Self::Worth => "worth",
        }
    }

    /// The rule as it is written, or the limit in words.
    pub fn source(&self, decided: &Decided<'_>) -> String {
        let after = |after: OutcomeEvent, any: bool| format!("`{after}` of {}", if any { "any action" } else { "this action" });
        match *self {
            Self::Enabled => "the action is switched on".to_owned(),
            Self::ChannelOpen => "the channel can be used now".to_owned(),
            Self::Rule { rule, .. } => rule.source().to_owned(),
            Self::Step => "it is the step of a sequence that is due".to_owned(),
            Self::Limit { channel, max, days, .. } => {
                format!(
                    "at most {max} contacts {} in {days} days",
                    channel.map_or("in all".to_owned(), |channel| format!("by {channel}"))
                )
            }
            Self::Cooldown { days, .. } => format!("not again within {days} days"),
            Self::Suppression { after: event, of_any, days, .. } => {
                format!("not within {days} days after {}", after(event, of_any))
            }
            Self::Exclusion { other, days, .. } => {
                format!("not within {days} days after `{}`", decided.playbook.actions[other].id)
            }
            Self::Capacity { .. } => "some of its capacity is left".to_owned(),
            Self::Guard => "it is not probable that it does harm".to_owned(),
            Self::Worth => "what it is worth is a number, and factors are not negative".to_owned(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn in_tenths(days: f64) -> f64 {
    (days * 10.0).round() / 10.0
}
