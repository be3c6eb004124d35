//! Customer value and engagement: the chance of any amount, the expected amount with its limits, and the chance of a decline.
//!
//! [`train_amount`] is the story. `occurrence` learns whether there is an amount; `members` tries several ways to say how much, each
//! fitted out of fold by [`crate::select`]; `stack` puts them on one scale, averages those that order customers best together
//! (`rank` says what best means) and recalibrates the average (`recalibrate`) so that totals are right at every size; `interval`
//! adds limits; `decline` is a head of its own. `candidates` makes one [`AmountModel`](retain_score::AmountModel) of it all,
//! `judge` measures it beside what one would say without a model.

mod candidates;
mod decline;
mod interval;
mod judge;
mod members;
mod occurrence;
mod rank;
mod recalibrate;
mod stack;
mod target;
#[cfg(test)]
mod tests;

pub use judge::AMOUNT_METRICS;

use std::collections::BTreeSet;
use std::time::Instant;

use retain_data::{Dataset, Fold, TableReport, Task, stratified_folds};
use retain_score::{AmountModel, Model};

use crate::bundle::{BundleParts, build_bundle};
use crate::plan::Plan;
use crate::train::{Run, TrainError, Trained};
use candidates::{Candidate, candidates};
use decline::Decline;
use judge::Judge;
use members::{Lab, Members};
use occurrence::Occurrence;

/// Amounts up to here are money or counts; beyond, sums of them lose whole units.
const MAX_AMOUNT: f64 = 1e15;
/// Folds over which the stage after the learners is cross-fitted.
const N_FOLDS: usize = 5;
/// Of the time for choosing, what the chance of any amount may use.
const OCCURRENCE_SHARE: f64 = 0.3;
/// Of what is left then, what the chance of a decline may use.
const DECLINE_SHARE: f64 = 0.2;

/// Trains every head of an amount, chooses on rows that no fit has seen, and bundles what orders customers best.
pub(crate) fn train_amount(
    task: &Task,
    dataset: &Dataset,
    report: &TableReport,
    test: Option<&Dataset>,
    plan: &Plan,
    run: &mut Run<'_>,
) -> Result<Trained, TrainError> {
    check_amounts(task, dataset)?;
    let until = run.selection_until();
    run.steps.plan(2);
    let occurrence = Occurrence::learn(task, dataset, plan, part_of(until, OCCURRENCE_SHARE), run)?;
    let decline = Decline::learn(task, dataset, plan, part_of(until, DECLINE_SHARE), run)?;
    let unit = dataset.target.iter().sum::<f64>() / dataset.n_rows() as f64;
    let lab = Lab { task, dataset, plan, unit };
    let members = Members::learn(lab, &occurrence, until, run)?;
    // Several trials are cut short in the same words.
    let mut told = BTreeSet::new();
    run.warnings.retain(|warning| told.insert(warning.clone()));

    let judged = plan.judged_rows();
    let folds = judged_folds(dataset, plan, &judged, run);
    let amounts: Vec<f64> = judged.iter().map(|&row| dataset.target[row]).collect();
    let candidates = candidates(&members, &amounts, &folds);
    run.steps.begin("fit on all rows");
    let heads = Heads { lab, occurrence: &occurrence, decline: decline.as_ref(), members: &members, amounts: &amounts };
    let judge = Judge { heads, candidates: &candidates, judged: &judged, folds: &folds };
    let verdict = judge.verdict(run)?;
    let winner = &candidates[verdict.winner];
    let all_rows: Vec<usize> = (0..dataset.n_rows()).collect();
    let model = Model::Amount(heads.models(&[winner], &all_rows, run)?.remove(0));
    model.check(&dataset.schema)?;
    let metrics = judge.metrics(&verdict, &model, test)?;
    run.steps.done("fit on all rows");
    let bundle = build_bundle(&BundleParts {
        task,
        dataset,
        report,
        plan,
        learner: &winner.name,
        configuration: winner.configuration.clone(),
        model,
        metrics: &metrics,
        judged: verdict.expected(),
        warnings: &run.warnings,
        budget_bound: run.is_cut_short,
        seed: run.options.seed,
    })?;
    Ok(Trained { bundle, metrics, warnings: run.warnings.clone() })
}

/// Refuses amounts that are no amounts of anything.
fn check_amounts(task: &Task, dataset: &Dataset) -> Result<(), TrainError> {
    match dataset.target.iter().position(|amount| !(0.0..=MAX_AMOUNT).contains(amount)) {
        Some(row) => Err(TrainError::Amount {
            column: task.table.target.clone(),
            entity: dataset.entity[row].clone(),
            found: dataset.target[row],
            most: MAX_AMOUNT,
        }),
        None => Ok(()),
    }
}

/// A share of the time that is left until then.
fn part_of(until: Option<Instant>, share: f64) -> Option<Instant> {
    let now = Instant::now();
    until.map(|until| now + until.saturating_duration_since(now).mul_f64(share))
}

/// Folds of the judged rows, by their positions among these.
fn judged_folds(dataset: &Dataset, plan: &Plan, judged: &[usize], run: &Run<'_>) -> Vec<Fold> {
    let strata: Vec<f64> = judged.iter().map(|&row| plan.strata[row]).collect();
    let group: Vec<u32> = judged.iter().map(|&row| dataset.group[row]).collect();
    stratified_folds(&strata, &group, N_FOLDS, run.options.seed)
}

/// Everything that a model is made of.
#[derive(Clone, Copy)]
struct Heads<'a> {
    lab: Lab<'a>,
    occurrence: &'a Occurrence,
    decline: Option<&'a Decline>,
    members: &'a Members,
    /// Amounts of the judged rows.
    amounts: &'a [f64],
}

impl Heads<'_> {
    /// The candidates' models with their heads fitted to these rows; what they share is fitted once.
    fn models(&self, candidates: &[&Candidate], row_idxs: &[usize], run: &Run<'_>) -> Result<Vec<AmountModel>, TrainError> {
        let occurrence = self.occurrence.fit(self.lab.dataset, row_idxs, run, self.lab.plan)?;
        let decline = self.decline.map(|decline| decline.fit(row_idxs, run)).transpose()?;
        let used: Vec<Vec<bool>> = candidates.iter().map(|candidate| self.members.used_parts(&candidate.stack)).collect();
        let fit = |part: usize| {
            let is_used = used.iter().any(|used| used[part]);
            is_used.then(|| self.members.parts[part].fit(row_idxs, self.lab, run)).transpose()
        };
        let fitted = (0..self.members.parts.len()).map(fit).collect::<Result<Vec<_>, TrainError>>()?;
        let model = |candidate: &&Candidate| {
            let interval = candidate.interval(self.amounts);
            candidate.model(self.members, &fitted, occurrence.clone(), decline.clone(), interval)
        };
        Ok(candidates.iter().map(model).collect())
    }
}
