//! Deciding what to do for one customer: filter, value, draw with exactly known probabilities, explain.
//!
//! [`Playbook::values`] turns what is known into what rules read, the assessment adds health, signals, segments and tier, and [`decide`]
//! makes a [`Decided`] of it. Everything is an argument: the clock, the random number, predictions, history, what was learned, what is left
//! of capacities. The same arguments give the same decision to the last bit.
//!
//! A mandatory action goes before all others and has probability 1; it has to pass the same filters, but for the guard and its worth. In
//! the holdout nothing is done, whatever is mandatory.

mod batch;
mod choose;
mod facts;
mod filter;
mod holdout;
mod past;
mod record;
mod sequences;
mod supplies;
#[cfg(test)]
mod tests;
mod trace;
mod value;
mod words;

use retain_core::PastDecision;

pub use batch::{Assigned, Batch, BatchCustomer, BatchTerms, assign};
pub use facts::{Facts, Prediction};
pub use holdout::is_held_out;
pub use supplies::{LimitOf, Supplies};
pub use trace::{Asked, Candidate, Check, CheckResult, Decided, Effect, EffectSource, RuleOf, Valuation};
pub use value::{Learned, Posteriors, PriorsOnly, Stock, Supply, TreatmentEffect};

use crate::playbook::{Action, Playbook};
use crate::rule::Values;
use filter::Filter;
use value::Appraiser;

/// What a decision depends on besides the playbook and the values of its rules.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// For whom; empty for somebody who has no name and is never held out.
    pub customer_id: &'a str,
    /// The clock, in milliseconds since 1970-01-01 UTC.
    pub now_ms: i64,
    /// What was decided for the customer before, in any order, as far back as [`Playbook::history_days`] says.
    pub history: &'a [PastDecision],
    /// What the uplift model says of the customer.
    pub effects: &'a [TreatmentEffect<'a>],
    /// What was learned from earlier decisions.
    pub learned: &'a dyn Posteriors,
    /// What is left of capacities and what it would bring elsewhere.
    pub supply: &'a Supply,
    /// The channels that can be used now; absent for any.
    pub channels: Option<&'a [&'a str]>,
    /// The customer's reasons for leaving, as the model or a person names them.
    pub reasons: &'a [&'a str],
    /// A random number from 0 to below 1 that nothing else uses.
    pub uniform: f64,
}

/// Decides what to do for a customer.
///
/// `values` are those of [`Playbook::values`], after the assessment. Every candidate's probability is exact: it is the one that
/// `situation.uniform` is compared with.
pub fn decide<'a>(playbook: &'a Playbook, values: &'a Values<'a>, situation: &Situation<'a>) -> Decided<'a> {
    let mut decided = appraise(playbook, values, situation);
    choose::set_probabilities(&mut decided);
    choose::draw(&mut decided, situation.uniform);
    decided
}

/// Filters and values every action, and draws nothing yet: all probabilities are 0, and what is chosen is to do nothing.
pub fn appraise<'a>(playbook: &'a Playbook, values: &'a Values<'a>, situation: &Situation<'a>) -> Decided<'a> {
    let filter = Filter::new(playbook, values, situation);
    let appraiser = Appraiser::new(playbook, values, situation, filter.past());
    // Three rules, limits and the like: room for them without growing.
    let mut checks = Vec::with_capacity(8 * playbook.actions.len());
    let mut candidates = Vec::with_capacity(playbook.actions.len() + 1);
    for (idx, action) in playbook.actions.iter().enumerate() {
        candidates.push(candidate(idx, action, &filter, &appraiser, &mut checks));
    }
    candidates.push(no_action(checks.len()));
    let mut decided = Decided {
        playbook,
        values,
        customer_id: situation.customer_id,
        now_ms: situation.now_ms,
        chosen: candidates.len() - 1,
        candidates,
        holdout: is_held_out(&playbook.exploration, situation.customer_id, situation.now_ms),
        nothing_sd: appraiser.nothing_sd(),
        checks,
        reasons: situation.reasons,
    };
    choose::rank(&mut decided);
    decided
}

/// Asks everything of one action; a mandatory one need not pass the guard, nor be worth anything.
fn candidate<'a>(
    idx: usize,
    action: &'a Action,
    filter: &Filter<'a, '_>,
    appraiser: &Appraiser<'a, '_>,
    checks: &mut Vec<Check<'a>>,
) -> Candidate {
    let from = checks.len();
    let passed = |checks: &[Check<'_>]| checks.iter().all(|check| check.result == CheckResult::Passed);
    filter.check(idx, action, checks);
    let filtered = passed(&checks[from..]);
    let valuation = appraiser.value(idx, action, checks);
    let mandatory = filtered && filter.is_mandatory(action);
    Candidate {
        action: Some(idx),
        eligible: mandatory || passed(&checks[from..]),
        mandatory,
        step: filter.step(idx),
        valuation,
        rank: None,
        probability: 0.0,
        checks: from..checks.len(),
    }
}

fn no_action(at: usize) -> Candidate {
    Candidate {
        action: None,
        eligible: true,
        mandatory: false,
        step: None,
        valuation: Some(Valuation::default()),
        rank: None,
        probability: 0.0,
        checks: at..at,
    }
}
