//! Whether what rules read is there: models, signals, segments, badges, channels and actions.

use std::collections::BTreeSet;

use super::contact::ContactPolicy;
use super::problem::{Place, Problems};
use super::reader::did_you_mean;
use super::rules::{Amount, PlacedRule};
use super::{Action, Playbook, Sequence};
use crate::assess::Assessment;
use crate::rule::{HistoryQuery, Name, Names};

/// The ids that names in rules can have.
pub(super) struct Ids<'a> {
    /// Absent where it could not be read, which is told already.
    pub(super) assessment: Option<&'a Assessment>,
    pub(super) models: BTreeSet<String>,
    pub(super) signals: BTreeSet<String>,
    pub(super) segments: BTreeSet<String>,
    pub(super) badges: BTreeSet<String>,
    /// Channels and actions.
    pub(super) reached_by: BTreeSet<String>,
}

impl Ids<'_> {
    /// Tells every name of the rules that stands for nothing.
    pub(super) fn check(&self, rules: &[&PlacedRule], names: &Names, problems: &Problems) {
        for placed in rules {
            if problems.is_full() {
                return;
            }
            for slot in placed.rule.reads() {
                self.check_name(names.name(*slot), &placed.place, problems);
            }
        }
    }

    fn check_name(&self, name: &Name, place: &Place, problems: &Problems) {
        let (id, what, known): (&str, &str, &BTreeSet<String>) = match name {
            Name::Prediction { model, .. } => (model, "model in `[models]`", &self.models),
            Name::Signal(id) => (id, "`[[signal]]`", &self.signals),
            Name::Segment(id) => (id, "`[[segment]]`", &self.segments),
            Name::Badge(id) => (id, "`[[badge]]`", &self.badges),
            Name::History(HistoryQuery::Count { what: Some(id), .. } | HistoryQuery::DaysSince { what: Some(id) }) => {
                (id, "channel or action", &self.reached_by)
            }
            _ => return self.check_assessed(name, place, problems),
        };
        if !known.contains(id) {
            let what = format!("`{name}` names `{id}`, and there is no such {what}");
            problems.error(place.clone(), what, did_you_mean(id, known.iter().map(String::as_str)));
        }
    }

    /// Health, tier and points are there, or are not. A preset may read what another brings; its rules then never hold.
    fn check_assessed(&self, name: &Name, place: &Place, problems: &Problems) {
        if let Some((what, fix)) = self.assessment.as_ref().and_then(|assessment| assessment.unknown(name)) {
            let tell = if place.preset.is_some() { Problems::warn } else { Problems::error };
            tell(problems, place.clone(), format!("`{name}`: {what}"), fix);
        }
    }
}

/// Every rule of the playbook, in its order.
pub(super) fn all_rules(playbook: &Playbook) -> Vec<&PlacedRule> {
    let mut rules: Vec<&PlacedRule> = Vec::new();
    rules.extend(playbook.settings.value_at_stake.iter().filter_map(amount_rule));
    rules_of_contact(&playbook.contact, &mut rules);
    playbook.actions.iter().for_each(|action| rules_of_action(action, &mut rules));
    playbook.sequences.iter().for_each(|sequence| rules_of_sequence(sequence, &mut rules));
    rules
}

fn rules_of_contact<'a>(contact: &'a ContactPolicy, rules: &mut Vec<&'a PlacedRule>) {
    rules.extend(&contact.quiet);
    for channel in &contact.channels {
        rules.extend(channel.consent.iter().chain(&channel.quiet));
    }
}

fn rules_of_action<'a>(action: &'a Action, rules: &mut Vec<&'a PlacedRule>) {
    rules.extend(action.value.iter().filter_map(amount_rule));
    rules.extend(action.eligible.iter().chain(&action.applicable).chain(&action.suitable).chain(&action.mandatory));
    let factors = [&action.pcvl.propensity, &action.pcvl.context, &action.pcvl.value, &action.pcvl.lever];
    rules.extend(factors.into_iter().flatten().filter_map(amount_rule));
}

fn rules_of_sequence<'a>(sequence: &'a Sequence, rules: &mut Vec<&'a PlacedRule>) {
    rules.extend(sequence.start.iter().chain(&sequence.stop).chain(&sequence.since));
}

fn amount_rule(amount: &Amount) -> Option<&PlacedRule> {
    match amount {
        Amount::Rule(rule) => Some(rule),
        Amount::Fixed(_) => None,
    }
}
