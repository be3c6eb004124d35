//! An assessment in words: [`Assessment::report`].

use serde::Serialize;

use super::alert::AlertEvent;
use super::assessed::Assessed;
use super::health::{Direction, Health, HealthScore, ItemPoints, MissingPolicy, Seen};
use super::scale::Scale;
use super::text::Language;
use super::{Assessment, Severity};
use crate::rule::{Answer, Names, Rule, Values};

/// An assessment in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AssessmentReport {
    /// The health score.
    pub health: Option<HealthReport>,
    /// Signals that fire.
    pub signals: Vec<FiredReport>,
    /// How many of those that count fire.
    pub signal_count: usize,
    /// Signals that cannot be answered.
    pub unknown_signals: Vec<UnknownReport>,
    /// Triggers that hold, the most severe first.
    pub triggers: Vec<FiredReport>,
    /// Segments that the customer is in.
    pub segments: Vec<FiredReport>,
    /// The tier.
    pub tier: Option<TierReport>,
    /// The points.
    pub points: Option<PointsReport>,
    /// Badges that the customer has.
    pub badges: Vec<FiredReport>,
    /// Milestones that are reached.
    pub milestones: Vec<FiredReport>,
    /// The ids of milestones that were not reached the time before.
    pub new_milestones: Vec<String>,
    /// Alerts that are not quiet.
    pub alerts: Vec<AlertReport>,
}

/// A health score in words. Higher is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    /// The score's name.
    pub name: String,
    /// From 0 to 100.
    pub score: Option<f64>,
    /// The id of its band.
    pub band: Option<String>,
    /// The name of its band.
    pub band_name: Option<String>,
    /// The share of the points that could be judged.
    pub coverage: f64,
    /// What was done about the rest.
    pub missing: MissingPolicy,
    /// The score less the earlier one.
    pub change: Option<f64>,
    /// Where it is going.
    pub direction: Direction,
    /// Whether the band is worse than the time before.
    pub band_worsened: Option<bool>,
    /// Its parts.
    pub groups: Vec<GroupReport>,
}

/// A part of a health score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Option<f64>,
    /// The most it gives.
    pub max: f64,
    /// The share that could be judged.
    pub coverage: f64,
    /// What it is made of.
    pub items: Vec<ItemReport>,
}

/// One thing that gives points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Option<f64>,
    /// The most it gives.
    pub max: f64,
    /// Whether it only counts where it is known.
    pub optional: bool,
    /// What it reads.
    pub reads: String,
    /// The value.
    pub seen: Option<String>,
    /// Why there are no points.
    pub absent: Option<String>,
}

/// Something that holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FiredReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How soon somebody should look.
    pub severity: Option<Severity>,
    /// The rule.
    pub rule: String,
    /// The values that the rule read.
    pub seen: Vec<(String, String)>,
    /// What is claimed of it; nothing is computed from it.
    pub claimed: Option<String>,
    /// What it gives or asks for.
    pub details: Vec<String>,
}

/// Something that cannot be answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnknownReport {
    /// Its id.
    pub id: String,
    /// What is missing, or what went wrong.
    pub why: String,
}

/// A tier in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierReport {
    /// Its id; absent where the customer is in none.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it gives.
    pub benefits: Vec<String>,
    /// Whether something is missing to say more.
    pub uncertain: bool,
    /// The id of the next tier.
    pub next: Option<String>,
    /// Days of tenure that the next tier still asks for.
    pub days_to_next: Option<f64>,
    /// What else the next tier asks for, where that does not hold.
    pub next_asks: Option<String>,
}

/// Points in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointsReport {
    /// The balance.
    pub balance: Option<f64>,
    /// Whether every counter was known.
    pub complete: bool,
    /// Rewards that the balance reaches.
    pub reached: Vec<String>,
    /// The next reward.
    pub next_reward: Option<String>,
    /// Points that it still asks for.
    pub to_next: Option<f64>,
}

/// An alert in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How soon somebody should look.
    pub severity: Severity,
    /// Whether it is good news.
    pub positive: bool,
    /// What happened.
    pub event: AlertEvent,
}

/// What the texts need besides the assessment.
struct Teller<'a> {
    names: &'a Names,
    values: &'a Values<'a>,
    language: Language,
}

impl Assessment {
    /// Says in words what was found; `values` are those that [`Self::assess`] read and completed.
    pub fn report(&self, assessed: &Assessed, names: &Names, values: &Values<'_>, language: Language) -> AssessmentReport {
        let teller = Teller { names, values, language };
        let health = self.health.as_ref().zip(assessed.health.as_ref());
        let mut triggers: Vec<FiredReport> = held(&self.triggers, &assessed.triggers)
            .map(|trigger| FiredReport {
                severity: Some(trigger.severity),
                ..teller.fired(&trigger.id, trigger.name.of(language), &trigger.when)
            })
            .collect();
        triggers.sort_by_key(|trigger| trigger.severity);
        AssessmentReport {
            health: health.map(|(health, found)| teller.health(health, found, assessed.band_worsened())),
            signals: self.signals_report(assessed, &teller),
            signal_count: assessed.signal_count,
            unknown_signals: self.unknown_signals(assessed, &teller),
            triggers,
            segments: self.segments_report(assessed, &teller),
            tier: self.tier_report(assessed, language),
            points: self.points_report(assessed, language),
            badges: held(&self.badges, &assessed.badges)
                .map(|badge| FiredReport {
                    details: badge.benefits.of(language).to_vec(),
                    ..teller.fired(&badge.id, badge.name.of(language), &badge.when)
                })
                .collect(),
            milestones: held(&self.milestones, &assessed.milestones)
                .map(|milestone| FiredReport {
                    details: milestone.rewards.of(language).to_vec(),
                    ..teller.fired(&milestone.id, milestone.name.of(language), &milestone.when)
                })
                .collect(),
            new_milestones: assessed.new_milestones.iter().map(|&position| self.milestones[position].id.clone()).collect(),
            alerts: self.alerts_report(assessed, language),
        }
    }

    fn signals_report(&self, assessed: &Assessed, teller: &Teller<'_>) -> Vec<FiredReport> {
        let report = |signal: &super::Signal| FiredReport {
            severity: Some(signal.severity),
            claimed: signal.claimed.as_ref().map(|claimed| claimed.of(teller.language).to_owned()),
            ..teller.fired(&signal.id, signal.name.of(teller.language), &signal.when)
        };
        held(&self.signals, &assessed.signals).map(report).collect()
    }

    fn unknown_signals(&self, assessed: &Assessed, teller: &Teller<'_>) -> Vec<UnknownReport> {
        let why = |answer: &Answer| match answer {
            Answer::Yes | Answer::No => None,
            Answer::Unknown(slot) => Some(format!("`{}` is missing", teller.names.name(*slot))),
            Answer::Fault(fault) => Some(fault.to_string()),
        };
        let answers = self.signals.iter().zip(&assessed.signals);
        answers.filter_map(|(signal, answer)| Some(UnknownReport { id: signal.id.clone(), why: why(answer)? })).collect()
    }

    fn segments_report(&self, assessed: &Assessed, teller: &Teller<'_>) -> Vec<FiredReport> {
        let report = |segment: &super::Segment| FiredReport {
            claimed: segment.claimed.as_ref().map(|claimed| claimed.of(teller.language).to_owned()),
            details: segment.treatment.iter().map(|treatment| treatment.of(teller.language).to_owned()).collect(),
            ..teller.fired(&segment.id, segment.name.of(teller.language), &segment.when)
        };
        held(&self.segments, &assessed.segments).map(report).collect()
    }

    fn tier_report(&self, assessed: &Assessed, language: Language) -> Option<TierReport> {
        let (programme, found) = self.tier_programme.as_ref().zip(assessed.tier)?;
        let tier = found.tier.map(|position| &programme.tiers[position]);
        let next = found.next.map(|position| &programme.tiers[position]);
        let unmet = next.and_then(|next| next.when.as_ref()).filter(|_| found.next_condition != Some(Answer::Yes));
        Some(TierReport {
            id: tier.map(|tier| tier.id.clone()),
            name: tier.map(|tier| tier.name.of(language).to_owned()),
            benefits: tier.map(|tier| tier.benefits.of(language).to_vec()).unwrap_or_default(),
            uncertain: found.uncertain,
            next: next.map(|next| next.id.clone()),
            days_to_next: found.days_to_next,
            next_asks: unmet.map(|rule| rule.source().to_owned()),
        })
    }

    fn points_report(&self, assessed: &Assessed, language: Language) -> Option<PointsReport> {
        let (points, found) = self.points.as_ref().zip(assessed.points)?;
        let name = |reward: &super::Reward| reward.name.of(language).to_owned();
        Some(PointsReport {
            balance: found.balance,
            complete: found.complete,
            reached: points.rewards.iter().take(found.reached).map(name).collect(),
            next_reward: points.rewards.get(found.reached).map(name),
            to_next: found.to_next,
        })
    }

    fn alerts_report(&self, assessed: &Assessed, language: Language) -> Vec<AlertReport> {
        let heard = self.alerts.iter().zip(&assessed.alerts).filter(|(_, now)| now.event != AlertEvent::Quiet);
        heard
            .map(|(alert, now)| AlertReport {
                id: alert.id.clone(),
                name: alert.name.of(language).to_owned(),
                severity: alert.severity,
                positive: alert.positive,
                event: now.event,
            })
            .collect()
    }
}

impl Teller<'_> {
    fn fired(&self, id: &str, name: &str, rule: &Rule) -> FiredReport {
        let seen = |&slot| (self.names.name(slot).to_string(), self.values.get(slot).describe());
        FiredReport {
            id: id.to_owned(),
            name: name.to_owned(),
            severity: None,
            rule: rule.source().to_owned(),
            seen: rule.reads().iter().map(seen).collect(),
            claimed: None,
            details: Vec::new(),
        }
    }

    fn health(&self, health: &Health, found: &HealthScore, band_worsened: Option<bool>) -> HealthReport {
        let band = found.band.map(|position| &health.bands[position]);
        let mut items = found.items.iter();
        let group = |(group, points): (&super::Group, &super::GroupPoints)| GroupReport {
            id: group.id.clone(),
            name: group.name.of(self.language).to_owned(),
            points: points.points,
            max: group.weight,
            coverage: points.coverage,
            items: group.items.iter().zip(items.by_ref()).map(|(item, found)| self.item(item, found)).collect(),
        };
        HealthReport {
            name: health.name.clone(),
            score: found.score,
            band: band.map(|band| band.id.clone()),
            band_name: band.map(|band| band.name.of(self.language).to_owned()),
            coverage: found.coverage,
            missing: health.missing,
            change: found.change,
            direction: found.direction,
            band_worsened,
            groups: health.groups.iter().zip(&found.groups).map(group).collect(),
        }
    }

    fn item(&self, item: &super::Item, found: &ItemPoints) -> ItemReport {
        let (seen, absent) = match (found.seen, &item.scale) {
            (Seen::Number(number), _) => (Some(number.to_string()), None),
            (Seen::Word(position), Scale::Words(words)) => (words.get(position).map(|(word, _)| word.clone()), None),
            (Seen::Missing(slot), _) => (None, Some(format!("`{}` is missing", self.names.name(slot)))),
            (Seen::Fault(fault), _) => (None, Some(fault.to_string())),
            (Seen::Stranger | Seen::Word(_), _) => {
                (self.word_read(item), Some("the value is none of the item's words".to_owned()))
            }
        };
        ItemReport {
            id: item.id.clone(),
            name: item.name.of(self.language).to_owned(),
            points: found.points,
            max: item.max,
            optional: item.optional,
            reads: item.reads.source().to_owned(),
            seen,
            absent,
        }
    }

    fn word_read(&self, item: &super::Item) -> Option<String> {
        item.reads.reads().first().map(|&slot| self.values.get(slot).describe())
    }
}

/// The entries whose answer is yes.
fn held<'a, T>(entries: &'a [T], answers: &'a [Answer]) -> impl Iterator<Item = &'a T> {
    entries.iter().zip(answers).filter(|(_, answer)| **answer == Answer::Yes).map(|(entry, _)| entry)
}
