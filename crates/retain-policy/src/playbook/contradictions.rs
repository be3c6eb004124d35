//! Rules that can never hold, and what can never be reached because of others.

use super::action::Action;
use super::contact::{ContactPolicy, Limit};
use super::problem::Problems;
use super::rules::PlacedRule;
use super::sequence::Sequence;
use super::solve::{Conflict, conflict, conflict_from};
use crate::rule::{Expression, Names};

/// Pairs of actions are compared up to so many mandatory ones.
const MAX_MANDATORY: usize = 20;

/// What is looked through.
pub(super) struct Whole<'a> {
    pub(super) names: &'a Names,
    pub(super) contact: &'a ContactPolicy,
    pub(super) actions: &'a [Action],
    pub(super) sequences: &'a [Sequence],
    pub(super) problems: &'a Problems,
}

impl Whole<'_> {
    pub(super) fn check(&self) {
        self.actions.iter().for_each(|action| self.check_action(action));
        self.check_mandatory();
        self.sequences.iter().for_each(|sequence| self.check_sequence(sequence));
        self.check_contact();
    }

    /// Tells a rule that can never hold.
    pub(super) fn check_rule(&self, what: &str, rule: &PlacedRule) -> bool {
        let Some(conflict) = conflict(&[(rule.rule.expression(), true)], self.names) else { return true };
        let what = format!("{what} can never hold: {}", self.because(conflict));
        self.problems.error(rule.place.clone(), what, self.fix(conflict));
        false
    }

    fn check_action(&self, action: &Action) {
        let named = [("eligible", &action.eligible), ("applicable", &action.applicable), ("suitable", &action.suitable)];
        let rules: Vec<(&str, &PlacedRule)> =
            named.iter().filter_map(|(name, rule)| rule.as_ref().map(|rule| (*name, rule))).collect();
        let each_can = rules.iter().all(|(name, rule)| self.check_rule(&format!("`{name}` of action `{}`", action.id), rule));
        let together: Vec<(&Expression, bool)> = rules.iter().map(|(_, rule)| (rule.rule.expression(), true)).collect();
        if each_can && let Some(conflict) = conflict(&together, self.names) {
            let names: Vec<String> = rules.iter().map(|(name, _)| format!("`{name}`")).collect();
            let what =
                format!("{} of action `{}` can never hold together: {}", names.join(", "), action.id, self.because(conflict));
            self.problems.error(rules[0].1.place.clone(), what, self.fix(conflict));
        }
        if let Some(mandatory) = &action.mandatory
            && self.check_rule(&format!("`mandatory` of action `{}`", action.id), mandatory)
            && let Some(conflict) = conflict(&[&together[..], &[(mandatory.rule.expression(), true)]].concat(), self.names)
        {
            let what =
                format!("action `{}` is never mandatory while its other rules hold: {}", action.id, self.because(conflict));
            self.problems.warn(mandatory.place.clone(), what, "change `mandatory` or those rules".to_owned());
        }
    }

    /// An action that is a candidate only while a mandatory one goes before it is never chosen.
    fn check_mandatory(&self) {
        let first =
            self.actions.iter().filter(|action| action.enabled && action.cooldown_days == 0.0 && action.capacity.is_none());
        for first in first.filter(|action| action.mandatory.is_some() && action.channel.is_none()).take(MAX_MANDATORY) {
            let whenever: Vec<&PlacedRule> = first.mandatory.iter().chain(rules_of(first)).collect();
            for action in self.actions.iter().filter(|action| action.id != first.id && action.mandatory.is_none()) {
                let own: Vec<(&Expression, bool)> = rules_of(action).map(|rule| (rule.rule.expression(), true)).collect();
                let implies =
                    |rule: &&PlacedRule| conflict(&[&own[..], &[(rule.rule.expression(), false)]].concat(), self.names).is_some();
                if !own.is_empty() && conflict(&own, self.names).is_none() && whenever.iter().all(implies) {
                    let what = format!("action `{}` is never chosen: whenever it can be, `{}` is mandatory", action.id, first.id);
                    self.problems.warn(action.place.clone(), what, format!("give `{}` a cooldown, or other rules", first.id));
                }
            }
        }
    }

    fn check_sequence(&self, sequence: &Sequence) {
        let id = &sequence.id;
        let start_can =
            sequence.start.as_ref().is_none_or(|start| self.check_rule(&format!("`start` of sequence `{id}`"), start));
        let Some(stop) = &sequence.stop else { return };
        let stop_can = self.check_rule(&format!("`stop` of sequence `{id}`"), stop);
        if let Some(start) = sequence.start.as_ref().filter(|_| start_can && stop_can) {
            let begins = [(start.rule.expression(), true), (stop.rule.expression(), false)];
            if let Some(conflict) = conflict(&begins, self.names) {
                let what = format!("sequence `{id}` stops whenever it starts: {}", self.because(conflict));
                self.problems.error(stop.place.clone(), what, "change `start` or `stop`".to_owned());
                return;
            }
        }
        self.check_steps(sequence, stop);
    }

    /// A step whose day comes only after the sequence has stopped.
    fn check_steps(&self, sequence: &Sequence, stop: &PlacedRule) {
        let Some(Expression::Read(since)) = sequence.since.as_ref().map(|since| since.rule.expression()) else { return };
        let goes_on = [(stop.rule.expression(), false)];
        let after = sequence.steps.iter().find(|step| conflict_from(&goes_on, Some((*since, step.day)), self.names).is_some());
        if let Some(step) = after {
            let action = &self.actions[step.action].id;
            let what = format!("sequence `{}` has stopped before its step `{action}` on day {}", sequence.id, step.day);
            self.problems.warn(stop.place.clone(), what, "let it stop later, or remove the step".to_owned());
        }
    }

    fn check_contact(&self) {
        let policy = self.contact;
        self.check_limits("all channels", &policy.overall, &[]);
        if let Some(quiet) = &policy.quiet {
            self.check_quiet("every channel", quiet);
        }
        for channel in &policy.channels {
            self.check_limits(&format!("channel `{}`", channel.id), &channel.limits, &policy.overall);
            if let Some(consent) = &channel.consent {
                self.check_rule(&format!("`consent` of channel `{}`", channel.id), consent);
            }
            if let Some(quiet) = &channel.quiet {
                self.check_quiet(&format!("channel `{}`", channel.id), quiet);
            }
        }
    }

    fn check_quiet(&self, of: &str, quiet: &PlacedRule) {
        self.check_rule(&format!("`quiet` of {of}"), quiet);
        if conflict(&[(quiet.rule.expression(), false)], self.names).is_some() {
            let what = format!("`quiet` of {of} always holds, so nothing is ever sent");
            self.problems.error(quiet.place.clone(), what, "let it end, as `now.hour < 8 || now.hour >= 20` does".to_owned());
        }
    }

    /// Limits that let nothing through, and limits that others already keep.
    fn check_limits(&self, of: &str, limits: &[Limit], wider: &[Limit]) {
        for (position, limit) in limits.iter().enumerate() {
            if limit.max == 0 {
                let what = format!("a limit of {of} lets nothing through: `max = 0`");
                self.problems.warn(limit.place.clone(), what, "set `max` to at least 1, or disable the actions".to_owned());
            }
            let others = limits.iter().enumerate().filter(|(other, _)| *other != position);
            // Of two that say the same, the later one is told.
            let earlier = others.filter(|(other, kept)| !shadows(limit, kept) || *other < position).map(|(_, kept)| kept);
            if let Some(kept) = earlier.chain(wider).find(|kept| shadows(kept, limit)) {
                let what = format!(
                    "the limit of {of} of {} in {} days is never reached: {} in {} days comes first",
                    limit.max, limit.days, kept.max, kept.days
                );
                self.problems.warn(limit.place.clone(), what, "remove it, or make it narrower".to_owned());
            }
        }
    }

    fn because(&self, conflict: Conflict) -> String {
        match conflict {
            Conflict::Name(slot) => format!("there is no value of `{}` that fits", self.names.name(slot)),
            Conflict::Literal => "it says `false`".to_owned(),
        }
    }

    fn fix(&self, conflict: Conflict) -> String {
        match conflict {
            Conflict::Name(slot) => format!("change what is asked of `{}`", self.names.name(slot)),
            Conflict::Literal => "remove it; `enabled = false` switches an action off".to_owned(),
        }
    }
}

fn rules_of(action: &Action) -> impl Iterator<Item = &PlacedRule> {
    action.eligible.iter().chain(&action.applicable).chain(&action.suitable)
}

/// Whether `kept` alone keeps `limit` from ever being reached.
fn shadows(kept: &Limit, limit: &Limit) -> bool {
    let windows = (limit.days / kept.days).ceil();
    f64::from(kept.max) * windows <= f64::from(limit.max) && kept.max > 0
}
