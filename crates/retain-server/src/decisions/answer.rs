//! Decisions and assessments as messages.

use prost_types::Timestamp;
use retain_policy::assess::{AssessmentReport, FiredReport, HealthReport, Severity};
use retain_policy::decide::{Candidate, CheckResult, Decided, EffectSource};
use retain_policy::playbook::{Language, Playbook};
use retain_proto::v1;

/// A playbook as it was read.
pub(super) fn playbook_version(playbook: &Playbook) -> v1::PlaybookVersion {
    v1::PlaybookVersion { name: playbook.settings.name.clone(), sha256: playbook.sha256().to_owned() }
}

/// A moment of the server's clock.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1_000), nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32 }
}

/// One candidate; its rules where `with_rules`.
pub(super) fn candidate(decided: &Decided<'_>, candidate: &Candidate, with_rules: bool, language: Language) -> v1::Candidate {
    let valuation = candidate.valuation.unwrap_or_default();
    let action = decided.action(candidate);
    let source = action.map_or(v1::EffectSource::Unspecified, |_| match valuation.effect.source {
        EffectSource::Prior => v1::EffectSource::Prior,
        EffectSource::Outcomes => v1::EffectSource::Outcomes,
        EffectSource::Model => v1::EffectSource::Model,
    });
    let rules = decided.checks(candidate).iter().filter(|_| with_rules).map(|check| v1::RuleTrace {
        rule: check.what.name().to_owned(),
        source: check.what.source(decided),
        result: match check.result {
            CheckResult::Passed => v1::RuleResult::Passed,
            CheckResult::Failed => v1::RuleResult::Failed,
            CheckResult::Unknown(_) => v1::RuleResult::Unknown,
            CheckResult::Fault(_) => v1::RuleResult::Fault,
        }
        .into(),
        seen: decided.seen(check),
    });
    v1::Candidate {
        action: decided.id(candidate).to_owned(),
        name: action.map_or_else(|| nothing(language).to_owned(), |action| action.name.of(language).to_owned()),
        channel: decided.channel(candidate).unwrap_or_default().to_owned(),
        eligible: candidate.eligible,
        propensity: candidate.probability,
        effect: valuation.effect.mean,
        effect_sd: valuation.effect.sd,
        effect_source: source.into(),
        prior_share: action.map_or(0.0, |_| valuation.effect.prior_share),
        value_at_stake: valuation.value_at_stake,
        cost: valuation.cost,
        fatigue: valuation.fatigue,
        capacity_price: valuation.capacity_price,
        expected_value: valuation.net,
        currency: decided.playbook.settings.currency.clone(),
        rules: rules.collect(),
        reason: decided.reason(candidate, language),
        expires_at: decided.expires_at_ms(candidate).map(timestamp),
    }
}

fn nothing(language: Language) -> &'static str {
    match language {
        Language::English => "Do nothing",
        Language::Spanish => "No hacer nada",
    }
}

/// An assessment in words.
pub(super) fn assessment(report: AssessmentReport) -> v1::AssessResponse {
    v1::AssessResponse {
        customer_id: String::new(),
        playbook: None,
        health: report.health.and_then(health),
        signals: report.signals.into_iter().map(fired).collect(),
        triggers: report.triggers.into_iter().map(fired).collect(),
        segments: report.segments.into_iter().map(|segment| label(segment.id, segment.name)).collect(),
        tier: report.tier.and_then(|tier| {
            let next = tier.next.map(|next| label(next.clone(), next));
            Some(v1::Tier { tier: Some(label(tier.id?, tier.name.unwrap_or_default())), next })
        }),
        points: report.points.and_then(|points| {
            Some(v1::Points {
                balance: points.balance?,
                reward: points.reached.last().map(|reward| label(reward.clone(), reward.clone())),
                next_reward: points.next_reward.map(|reward| label(reward.clone(), reward)),
                points_to_next: points.to_next,
            })
        }),
        badges: report.badges.into_iter().map(|badge| label(badge.id, badge.name)).collect(),
        milestones: report.milestones.into_iter().map(|milestone| label(milestone.id, milestone.name)).collect(),
        alerts: report
            .alerts
            .into_iter()
            .map(|alert| v1::FiredSignal {
                signal: Some(label(alert.id, alert.name)),
                severity: severity_word(alert.severity),
                seen: Vec::new(),
            })
            .collect(),
        stored_row: None,
    }
}

fn severity_word(severity: Severity) -> String {
    match severity {
        Severity::Immediate => "immediate",
        Severity::Urgent => "urgent",
        Severity::Monitor => "monitor",
        Severity::Info => "info",
    }
    .to_owned()
}

fn label(id: String, name: String) -> v1::Label {
    v1::Label { id, name }
}

fn fired(report: FiredReport) -> v1::FiredSignal {
    v1::FiredSignal {
        signal: Some(label(report.id, report.name)),
        severity: report.severity.map(severity_word).unwrap_or_default(),
        seen: report.seen.into_iter().map(|(name, value)| format!("{name} = {value}")).collect(),
    }
}

/// None where the score is withheld.
fn health(report: HealthReport) -> Option<v1::HealthScore> {
    let items = report.groups.into_iter().flat_map(|group| {
        let of = label(group.id, group.name);
        group.items.into_iter().map(move |item| v1::HealthItem {
            item: Some(label(item.id, item.name)),
            group: Some(of.clone()),
            points: item.points,
            max_points: item.max,
            seen: item.seen.or(item.absent).unwrap_or_default(),
        })
    });
    Some(v1::HealthScore {
        score: report.score?,
        band: report.band.map(|band| label(band, report.band_name.unwrap_or_default())),
        name: report.name,
        coverage: report.coverage,
        change: report.change,
        items: items.collect(),
    })
}
