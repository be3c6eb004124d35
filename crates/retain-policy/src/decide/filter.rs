//! Which actions a customer may have now. Every check is made, also after one has failed, so that all can be told.

use super::Situation;
use super::past::Past;
use super::sequences::{NextStep, due_steps};
use super::trace::{Asked, Check, CheckResult, RuleOf};
use crate::playbook::{Action, Channel, Limit, PlacedRule, Playbook, Suppression};
use crate::rule::{Answer, Values};

/// What is the same for all candidates of one decision.
pub(super) struct Filter<'a, 's> {
    playbook: &'a Playbook,
    values: &'a Values<'a>,
    situation: &'s Situation<'a>,
    past: Past<'a>,
    due: Vec<NextStep>,
    /// Checks of every action that reaches the customer: overall limits and silence.
    shared: Vec<Check<'a>>,
    /// Checks of each channel.
    by_channel: Vec<Vec<Check<'a>>>,
    /// Silence after outcomes of any action.
    silence: Vec<Check<'a>>,
}

impl<'a, 's> Filter<'a, 's> {
    pub(super) fn new(playbook: &'a Playbook, values: &'a Values<'a>, situation: &'s Situation<'a>) -> Self {
        let past = Past::new(playbook, situation.history, situation.now_ms);
        let due = due_steps(playbook, values, &past);
        let policy = &playbook.contact;
        let mut shared: Vec<Check<'a>> = policy.overall.iter().map(|limit| limited(limit, None, &past)).collect();
        shared.extend(policy.quiet.as_ref().map(|quiet| silent(quiet, values)));
        let by_channel = policy.channels.iter().map(|channel| channel_checks(channel, values, &past)).collect();
        let silence = policy.suppress.iter().map(|suppression| suppressed(suppression, None, &past)).collect();
        Self { playbook, values, situation, past, due, shared, by_channel, silence }
    }

    pub(super) fn past(&self) -> &Past<'a> {
        &self.past
    }

    pub(super) fn is_mandatory(&self, action: &Action) -> bool {
        action.mandatory.as_ref().is_some_and(|mandatory| mandatory.rule.test(self.values) == Answer::Yes)
    }

    /// The sequence and step that an action is now.
    pub(super) fn step(&self, action: usize) -> Option<(usize, usize)> {
        self.due.iter().find(|due| due.action == action).map(|due| (due.sequence, due.step))
    }

    /// Asks everything of an action but what it is worth.
    pub(super) fn check(&self, idx: usize, action: &'a Action, checks: &mut Vec<Check<'a>>) {
        if !action.enabled {
            checks.push(Check { what: Asked::Enabled, result: CheckResult::Failed });
        }
        let rules = [
            (RuleOf::Eligible, &action.eligible),
            (RuleOf::Applicable, &action.applicable),
            (RuleOf::Suitable, &action.suitable),
        ];
        for (of, placed) in rules {
            checks.extend(placed.as_ref().map(|placed| {
                let result = placed.rule.test(self.values).into();
                Check { what: Asked::Rule { of, rule: &placed.rule }, result }
            }));
        }
        if self.playbook.is_step(idx) {
            checks.push(Check { what: Asked::Step, result: CheckResult::of(self.step(idx).is_some()) });
        }
        self.check_channel(action, checks);
        self.check_past(idx, action, checks);
        self.check_supply(idx, action, checks);
    }

    fn check_channel(&self, action: &Action, checks: &mut Vec<Check<'a>>) {
        let Some(channel) = action.channel else { return };
        if let Some(open) = self.situation.channels {
            let is_open = open.contains(&self.playbook.contact.channels[channel].id.as_str());
            checks.push(Check { what: Asked::ChannelOpen, result: CheckResult::of(is_open) });
        }
        checks.extend_from_slice(&self.by_channel[channel]);
        checks.extend_from_slice(&self.shared);
    }

    fn check_past(&self, idx: usize, action: &Action, checks: &mut Vec<Check<'a>>) {
        if action.cooldown_days > 0.0 {
            let (since_days, days) = (self.past.days_since(idx), action.cooldown_days);
            checks.push(Check { what: Asked::Cooldown { since_days, days }, result: is_over(since_days, days) });
        }
        for other in &action.excludes {
            let (since_days, days) = (self.past.days_since(*other), self.playbook.actions[*other].expires_days);
            checks.push(Check { what: Asked::Exclusion { other: *other, since_days, days }, result: is_over(since_days, days) });
        }
        checks.extend(action.suppress.iter().map(|suppression| suppressed(suppression, Some(idx), &self.past)));
        checks.extend_from_slice(&self.silence);
    }

    /// The guard and what is left.
    fn check_supply(&self, idx: usize, action: &Action, checks: &mut Vec<Check<'a>>) {
        let supply = self.situation.supply;
        let of_action = supply.action(idx).left.or(action.capacity.filter(|capacity| capacity.count == 0).map(|_| 0));
        let channel =
            action.channel.map(|channel| (supply.channel(channel).left, self.playbook.contact.channels[channel].capacity));
        let of_channel = channel.and_then(|(left, capacity)| left.or(capacity.filter(|capacity| capacity.count == 0).map(|_| 0)));
        if let Some(left) = of_action.into_iter().chain(of_channel).min() {
            checks.push(Check { what: Asked::Capacity { left }, result: CheckResult::of(left > 0) });
        }
    }
}

fn channel_checks<'a>(channel: &'a Channel, values: &Values<'a>, past: &Past<'a>) -> Vec<Check<'a>> {
    let consent = channel.consent.as_ref().map(|consent| Check {
        what: Asked::Rule { of: RuleOf::Consent, rule: &consent.rule },
        result: consent.rule.test(values).into(),
    });
    let quiet = channel.quiet.as_ref().map(|quiet| silent(quiet, values));
    let limits = channel.limits.iter().map(|limit| limited(limit, Some(&channel.id), past));
    consent.into_iter().chain(quiet).chain(limits).collect()
}

/// A time of silence has to be known to be over.
fn silent<'a>(quiet: &'a PlacedRule, values: &Values<'a>) -> Check<'a> {
    let result = match quiet.rule.test(values) {
        Answer::Yes => CheckResult::Failed,
        Answer::No => CheckResult::Passed,
        other => other.into(),
    };
    Check { what: Asked::Rule { of: RuleOf::Quiet, rule: &quiet.rule }, result }
}

fn limited<'a>(limit: &Limit, channel: Option<&'a str>, past: &Past<'_>) -> Check<'a> {
    let count = past.contacts(channel, limit.days);
    let what = Asked::Limit { channel, count, max: limit.max, days: limit.days };
    Check { what, result: CheckResult::of(count < limit.max) }
}

fn suppressed<'a>(suppression: &Suppression, action: Option<usize>, past: &Past<'_>) -> Check<'a> {
    let since_days = past.days_since_outcome(action, suppression.after);
    let Suppression { after, days } = *suppression;
    let what = Asked::Suppression { after, of_any: action.is_none(), since_days, days };
    Check { what, result: is_over(since_days, days) }
}

fn is_over(since_days: Option<f64>, days: f64) -> CheckResult {
    CheckResult::of(since_days.is_none_or(|since_days| since_days >= days))
}
