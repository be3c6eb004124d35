//! Where a customer is in each sequence.

use super::past::{Done, Past};
use crate::playbook::{Playbook, Sequence};
use crate::rule::{Answer, NumberAnswer, Values};

/// The step of a sequence that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextStep {
    pub(super) sequence: usize,
    pub(super) step: usize,
    pub(super) action: usize,
}

/// The steps that are due now, at most one of each sequence.
pub(super) fn due_steps(playbook: &Playbook, values: &Values<'_>, past: &Past<'_>) -> Vec<NextStep> {
    let sequences = playbook.sequences.iter().enumerate();
    sequences
        .filter_map(|(idx, sequence)| {
            let step = due_step(sequence, values, past)?;
            Some(NextStep { sequence: idx, step, action: sequence.steps[step].action })
        })
        .collect()
}

/// How far a customer has come.
struct Way<'p> {
    sequence: &'p Sequence,
    /// Steps that were taken or passed over.
    passed: usize,
    /// Days since the beginning.
    began_days: Option<f64>,
}

fn due_step(sequence: &Sequence, values: &Values<'_>, past: &Past<'_>) -> Option<usize> {
    let since = match sequence.since.as_ref().map(|since| since.rule.number(values)) {
        None => None,
        Some(NumberAnswer::Number(days)) if days >= 0.0 => Some(days),
        Some(_) => return None,
    };
    if sequence.stop.as_ref().is_some_and(|stop| stop.rule.test(values) == Answer::Yes) {
        return None;
    }
    let mut way = Way { sequence, passed: 0, began_days: since };
    past.done().iter().for_each(|done| way.take(done, since));
    way.pass_over(0.0, since);
    let step = sequence.steps.get(way.passed)?;
    let starts = way.passed > 0 || sequence.start.as_ref().is_none_or(|start| start.rule.test(values) == Answer::Yes);
    // Where nobody says when it began, it begins with its first step.
    let is_due = way.began_days.is_none_or(|began_days| began_days >= step.day);
    (starts && is_due).then_some(way.passed)
}

impl Way<'_> {
    /// Goes on by an action that was done, if it is the next step.
    fn take(&mut self, done: &Done<'_>, since: Option<f64>) {
        if since.is_some_and(|since| done.age_days > since) {
            return;
        }
        self.pass_over(done.age_days, since);
        let Some(step) = self.sequence.steps.get(self.passed) else { return };
        if done.action == Some(step.action) {
            self.began_days = self.began_days.or(Some(done.age_days + step.day));
            self.passed += 1;
        }
    }

    /// Passes over, as of so many days ago, steps that were not taken in time; begins again where that time has come.
    fn pass_over(&mut self, days_ago: f64, since: Option<f64>) {
        let Some(began_days) = self.began_days else { return };
        let elapsed = began_days - days_ago;
        if since.is_none() && self.sequence.repeat_days.is_some_and(|repeat| elapsed >= repeat) {
            (self.passed, self.began_days) = (0, None);
            return;
        }
        let Some(patience) = self.sequence.patience_days else { return };
        while self.sequence.steps.get(self.passed).is_some_and(|step| elapsed > step.day + patience) {
            self.passed += 1;
        }
    }
}
