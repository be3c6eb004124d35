//! Draws one of the candidates that are left, with a probability that is known exactly.

use std::cmp::Ordering;

use super::trace::{Candidate, Decided, Valuation};
use crate::explore::{self, Normal, best_probabilities, inverse_gap, with_floors};
use crate::playbook::{ExplorationMethod, Mode, Playbook};

/// All floors together leave at least half of the probability to the best.
const MOST_FLOOR: f64 = 0.5;
/// An action that was tried fewer times is explored by all that is unsure of it…
const FEW_ROWS: f64 = 50.0;
/// …any other by this part of it: the plain rule goes on trying long after it has stopped to pay.
const SETTLED_PART: f64 = 0.4;

/// Gives every candidate that may be chosen its place: mandatory ones first, as they stand in the playbook, then by worth. Of equals, one that answers a reason goes first, then the playbook's order. Doing
/// nothing goes before what brings nothing.
pub(super) fn rank(decided: &mut Decided<'_>) {
    let mut order: Vec<usize> = eligible(&decided.candidates);
    let answers: Vec<usize> = if decided.reasons.is_empty() {
        Vec::new()
    } else {
        decided.candidates.iter().map(|candidate| decided.answered(candidate).len()).collect()
    };
    let answers = |idx: usize| answers.get(idx).copied().unwrap_or(0);
    let candidates = &decided.candidates;
    order.sort_by(|&a, &b| {
        let mandatory = candidates[b].mandatory.cmp(&candidates[a].mandatory);
        if candidates[a].mandatory && candidates[b].mandatory {
            return a.cmp(&b);
        }
        let worth = || priority(&candidates[b]).total_cmp(&priority(&candidates[a]));
        let nothing = || candidates[a].action.is_some().cmp(&candidates[b].action.is_some());
        let answered = || answers(b).cmp(&answers(a));
        mandatory.then_with(worth).then_with(nothing).then_with(answered).then(a.cmp(&b))
    });
    for (place, idx) in order.into_iter().enumerate() {
        decided.candidates[idx].rank = Some(place + 1);
    }
}

/// Sets the probabilities: they sum to 1, and what may not be chosen has 0.
pub(super) fn set_probabilities(decided: &mut Decided<'_>) {
    let nothing = decided.candidates.len() - 1;
    let first = decided.candidates.iter().position(|candidate| candidate.rank == Some(1)).unwrap_or(nothing);
    if decided.holdout {
        decided.candidates[nothing].probability = 1.0;
    } else if decided.candidates[first].mandatory || decided.playbook.exploration.method == ExplorationMethod::Greedy {
        decided.candidates[first].probability = 1.0;
    } else {
        let among = eligible(&decided.candidates);
        for (idx, probability) in among.iter().zip(explore_among(decided, &among)) {
            decided.candidates[*idx].probability = probability;
        }
    }
}

/// Takes the candidate that the random number falls on.
pub(super) fn draw(decided: &mut Decided<'_>, uniform: f64) {
    let probabilities: Vec<f64> = decided.candidates.iter().map(|candidate| candidate.probability).collect();
    decided.chosen = explore::draw(&probabilities, uniform);
}

fn eligible(candidates: &[Candidate]) -> Vec<usize> {
    candidates.iter().enumerate().filter(|(_, candidate)| candidate.eligible).map(|(idx, _)| idx).collect()
}

fn explore_among(decided: &Decided<'_>, among: &[usize]) -> Vec<f64> {
    let exploration = &decided.playbook.exploration;
    let candidates = among.iter().map(|idx| &decided.candidates[*idx]);
    let free = match exploration.method {
        ExplorationMethod::InverseGap => {
            let worths: Vec<f64> = candidates.clone().map(priority).collect();
            inverse_gap(&worths, exploration.gamma, 0.0)
        }
        ExplorationMethod::Thompson | ExplorationMethod::Greedy => {
            let mode = decided.playbook.settings.mode;
            let worths: Vec<Normal> = candidates.clone().map(|candidate| worth(candidate, mode, decided.nothing_sd)).collect();
            best_probabilities(&worths)
        }
    };
    let floor = exploration.floor.min(MOST_FLOOR / among.len() as f64);
    let costly = |candidate: &Candidate| decided.action(candidate).is_some_and(|action| action.costly);
    let floors: Vec<f64> = candidates.map(|candidate| if costly(candidate) { 0.0 } else { floor }).collect();
    with_floors(&free, &floors)
}

/// What candidates are put in order by. A mandatory action of unknown worth is drawn without asking for it.
fn priority(candidate: &Candidate) -> f64 {
    candidate.valuation.map_or(0.0, |valuation| valuation.priority)
}

/// The belief about a candidate's worth; a product of P, C, V and L is taken as certain. What all actions were compared with is doing
/// nothing's own uncertainty, once, so that actions are told apart by their own rows.
fn worth(candidate: &Candidate, mode: Mode, nothing_sd: f64) -> Normal {
    let valuation = candidate.valuation.unwrap_or_default();
    let sd = match (mode, candidate.action) {
        (Mode::Pcvl, _) => 0.0,
        (Mode::Incremental, Some(_)) => explored_part(&valuation),
        (Mode::Incremental, None) => SETTLED_PART * nothing_sd,
    };
    let priority = valuation.priority;
    Normal::new(priority, sd).expect("a valuation that is not finite makes its candidate not eligible")
}

/// How far exploration may see an action's worth from its mean.
///
/// # Source
/// Thompson sampling with a reshaped posterior: Chapelle and Li (2011).
fn explored_part(valuation: &Valuation) -> f64 {
    let is_new = valuation.effect.n < FEW_ROWS;
    valuation.own_sd * if is_new { 1.0 } else { SETTLED_PART }
}

/// The same by the playbook's method: only Thompson sampling draws.
pub(super) fn explored_sd(playbook: &Playbook, valuation: &Valuation) -> f64 {
    let draws = playbook.exploration.method == ExplorationMethod::Thompson && playbook.settings.mode == Mode::Incremental;
    if draws { explored_part(valuation) } else { 0.0 }
}

/// Orders candidates for people: those that may be chosen by their place, then the others in the playbook's order.
pub(super) fn for_people(a: &Candidate, b: &Candidate) -> Ordering {
    let place = |candidate: &Candidate| candidate.rank.unwrap_or(usize::MAX);
    place(a).cmp(&place(b)).then(a.action.cmp(&b.action))
}
