//! What a playbook asks of the world around it: which features its rules read, and how far back they look.

use std::collections::BTreeSet;

use super::problem::{Problem, Problems};
use super::reader::did_you_mean;
use super::reads::all_rules;
use super::{Action, Limit, Playbook};
use crate::rule::{HistoryQuery, Name, SlotId};

/// A question without a window, such as `history.days_since("call")`, looks back so far.
const DAYS_OF_OPEN_QUESTIONS: f64 = 365.0;

impl Playbook {
    /// The features that rules read, in byte order.
    pub fn features(&self) -> BTreeSet<&str> {
        fn feature((_, name): (SlotId, &Name)) -> Option<&str> {
            if let Name::Feature(feature) = name { Some(feature) } else { None }
        }
        self.names.iter().filter_map(feature).collect()
    }

    /// Every rule that reads a feature which is none of `known`, with the nearest that is.
    pub fn check_features(&self, known: &[&str]) -> Vec<Problem> {
        let problems = Problems::default();
        for placed in all_rules(self) {
            for slot in placed.rule.reads() {
                if let Name::Feature(feature) = self.names.name(*slot)
                    && !known.contains(&feature.as_str())
                {
                    let what = format!("no model and no table has the feature `{feature}`");
                    problems.error(placed.place.clone(), what, did_you_mean(feature, known.iter().copied()));
                }
            }
        }
        problems.into_sorted()
    }

    /// So many days of a customer's history are all that deciding looks at.
    pub fn history_days(&self) -> f64 {
        let questions = self.names.iter().filter_map(|(_, name)| match name {
            Name::History(HistoryQuery::Count { days, .. } | HistoryQuery::Outcomes { days, .. }) => Some(f64::from(*days)),
            Name::History(HistoryQuery::DaysSince { .. }) => Some(DAYS_OF_OPEN_QUESTIONS),
            _ => None,
        });
        let limits = self.contact.channels.iter().flat_map(|channel| &channel.limits).chain(&self.contact.overall);
        let limits = limits.map(|limit: &Limit| limit.days);
        let suppressions = self.actions.iter().flat_map(|action| &action.suppress).chain(&self.contact.suppress);
        let suppressions = suppressions.map(|suppression| suppression.days);
        let actions = self.actions.iter().map(|action: &Action| action.cooldown_days.max(action.expires_days));
        // A sequence that is not repeated has to remember its steps for as long as anybody could come back to it.
        let sequences = self.sequences.iter().map(|sequence| {
            let last = sequence.steps.last().map_or(0.0, |step| step.day);
            sequence.repeat_days.unwrap_or(last + DAYS_OF_OPEN_QUESTIONS)
        });
        // Old contacts count 1/1,000 after ten halvings.
        let fatigue = if self.fatigue.cost_per_contact > 0.0 { 10.0 * self.fatigue.halves_after_days } else { 0.0 };
        questions.chain(limits).chain(suppressions).chain(actions).chain(sequences).fold(fatigue, f64::max)
    }
}
