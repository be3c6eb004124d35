//! Gradient boosting of our own: histogram trees, grown leaf by leaf or level by level, on any of the losses.
//!
//! [`Boosting`] is the learner. A fit bins the table once (`bins`), finds the number of rounds by the loss of rows held out
//! (`rounds`), and runs them (`booster`): each round draws rows and columns and grows a tree (`grow`, `symmetric`, `partition`) from histograms
//! of derivatives (`histogram`, `loss`) by the best splits of its columns (`split`). Categories are told apart by sets or by their mean target (`target_statistics`). Randomness comes from the seed alone and
//! derivatives are added as whole numbers, so the number of threads does not change a bit. Scoring and explaining are elsewhere, in
//! `retain-score`.
//!
//! # Source
//! Friedman (2001); second-order trees: Chen and Guestrin (2016); histograms, leaf-wise growth and category sets: Ke et al.
//! (2017); symmetric trees and ordered target statistics: Prokhorenkova et al. (2018).

mod bins;
mod booster;
mod grow;
mod histogram;
mod loss;
mod params;
mod partition;
mod refit;
mod rounds;
mod split;
mod symmetric;
mod target_statistics;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::borrow::Cow;

use retain_data::Dataset;
use retain_score::MarginModel;

use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};
use crate::learners::Logistic;
use crate::learners::rows::{counting_rows, require_both_classes};
use bins::BinnedTable;
use booster::{Booster, Task};
use params::{BoostingParams, RoundsPlan};
use rounds::{best_rounds, inner_splits};
use target_statistics::{StatisticRows, with_statistics};

/// Rounds, times the learning rate, where the rows are too few to hold some out.
const UNJUDGED_LEARNING: f64 = 2.0;

/// The learner `boosting`.
///
/// A configuration has `learning_rate`, `leaves`, `depth`, `min_leaf_rows`, `min_hessian`, `l2`, `columns` and `rows` (shares
/// drawn for each tree), `symmetric` (1: all leaves of a level ask the same question, up to `depth` 8, `l2` counts rows, and
/// `leaves`, `min_leaf_rows` and `min_hessian` mean nothing), `noise` (on the scores of symmetric trees), `prior_rows` (tell
/// categories apart by their mean target, drawn to that of all rows as by so many rows), `base_alpha` (start from the margin of a logistic regression with this penalty instead of a constant,
/// where the loss is logistic and rows have no weights) and `rounds`; without `rounds` the fit finds their number on rows it
/// holds out.
///
/// Weights multiply derivatives and losses, and so count in `min_hessian` and against `l2`; `min_leaf_rows` counts rows. Rows of
/// weight 0 are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boosting;

impl Learner for Boosting {
    fn name(&self) -> &'static str {
        "boosting"
    }

    fn supports(&self, _loss: Loss) -> bool {
        true
    }

    fn supports_weights(&self) -> bool {
        true
    }

    fn configurations(&self, dataset: &Dataset, loss: Loss) -> Vec<Configuration> {
        params::configurations(dataset, loss)
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        let row_idxs = &*counting_rows(dataset, row_idxs)?;
        context.loss.check(&dataset.target, row_idxs)?;
        if context.loss == Loss::Logistic {
            require_both_classes(dataset, row_idxs)?;
        }
        let table = BinnedTable::new(dataset, row_idxs);
        let weights = dataset.weight.as_deref().map(|weights| of_rows(weights, row_idxs));
        let fit = Fit { dataset, row_idxs, context, table, targets: of_rows(&dataset.target, row_idxs), weights };
        configurations.iter().map(|configuration| fit.model(&BoostingParams::new(configuration))).collect()
    }

    /// Rows × the times each is trained on × rounds, which grow with the rows: on the public churn tables like their power 0.35.
    fn work(&self, n_rows: usize) -> f64 {
        let plan = RoundsPlan::new(n_rows);
        let parts = if plan.n_folds > 1 { plan.n_folds } else { RoundsPlan::HOLD_OUT_PARTS } as f64;
        let held_out_fits = if plan.n_folds > 1 { parts - 1.0 } else { 1.0 - 1.0 / parts };
        let passes = held_out_fits + f64::from(u8::from(plan.refit));
        passes * (n_rows as f64).powf(1.35)
    }

    /// Fixes the number of rounds to the mean of the fold models.
    fn settle(&self, chosen: &Configuration, fold_models: &[MarginModel]) -> Configuration {
        let mut settled = chosen.clone();
        if chosen.get("rounds").is_none() && !fold_models.is_empty() {
            let n_trees: usize = fold_models.iter().map(|model| model.trees.len()).sum();
            settled.values.push(("rounds", (n_trees as f64 / fold_models.len() as f64).round()));
        }
        settled
    }
}

/// What the fits of all configurations share.
struct Fit<'a> {
    dataset: &'a Dataset,
    row_idxs: &'a [usize],
    context: &'a FitContext,
    table: BinnedTable,
    targets: Cow<'a, [f64]>,
    weights: Option<Cow<'a, [f64]>>,
}

/// The values of these rows, which rise; borrowed where they are all.
fn of_rows<'a>(values: &'a [f64], row_idxs: &[usize]) -> Cow<'a, [f64]> {
    if row_idxs.len() == values.len() && row_idxs.is_sorted_by(|a, b| a < b) {
        return Cow::Borrowed(values);
    }
    Cow::Owned(row_idxs.iter().map(|&row_idx| values[row_idx]).collect())
}

impl Fit<'_> {
    fn model(&self, params: &BoostingParams) -> Result<MarginModel, FitError> {
        if let Some(rounds) = params.rounds {
            return self.model_of_rounds(params, rounds);
        }
        let plan = RoundsPlan::new(self.row_idxs.len());
        let splits = inner_splits(self.dataset, self.row_idxs, plan, self.context);
        if splits.is_empty() {
            return self.model_of_rounds(params, (UNJUDGED_LEARNING / params.learning_rate) as usize);
        }
        let seeds = (0..).map(|fold| self.context.seed.wrapping_add(fold));
        let start = |(split, seed): (rounds::InnerSplit, u64)| self.booster(params, split.train, split.held_out, seed);
        let mut boosters = splits.into_iter().zip(seeds).map(start).collect::<Result<Vec<_>, _>>()?;
        let rounds = best_rounds(&mut boosters, params, self.context)?;
        match boosters.pop() {
            Some(only) if boosters.is_empty() && !plan.refit => Ok(only.into_model(rounds)),
            _ => self.model_of_rounds(params, rounds),
        }
    }

    /// A model of all rows, none held out.
    fn model_of_rounds(&self, params: &BoostingParams, rounds: usize) -> Result<MarginModel, FitError> {
        let all_rows = (0..self.row_idxs.len() as u32).collect();
        let mut booster = self.booster(params, all_rows, Vec::new(), self.context.seed)?;
        for _ in 0..rounds {
            self.context.check_time()?;
            booster.step();
        }
        Ok(booster.into_model(rounds))
    }

    fn booster<'a>(
        &'a self,
        params: &'a BoostingParams,
        train: Vec<u32>,
        watched: Vec<u32>,
        seed: u64,
    ) -> Result<Booster<'a>, FitError> {
        let Self { table, targets, weights, .. } = self;
        let task = Task { table, targets, weights: weights.as_deref(), params, loss: self.context.loss };
        let start = self.start(&task, &train)?;
        let statistics = params.prior_rows.map(|prior_rows| {
            let Self { dataset, row_idxs, .. } = *self;
            with_statistics(&StatisticRows { dataset, row_idxs, task: &task, train: &train, prior_rows }, seed)
        });
        Ok(Booster::new(task, start, statistics.unwrap_or_default(), train, watched, seed))
    }

    /// The model before the first tree, learned from the rows that train, and the margins it gives all rows.
    ///
    /// The linear base is a logistic regression without weights: any other loss, and rows with weights, start from a constant.
    fn start(&self, task: &Task, train: &[u32]) -> Result<(MarginModel, Vec<f64>), FitError> {
        let has_base = task.loss == Loss::Logistic && task.weights.is_none();
        let Some(alpha) = task.params.base_alpha.filter(|_| has_base) else {
            let row = |&row: &u32| (task.targets[row as usize], task.weight(row as usize));
            let intercept = task.loss.constant(train.iter().map(row));
            let model = MarginModel { intercept, ..MarginModel::default() };
            return Ok((model, vec![intercept; self.row_idxs.len()]));
        };
        let train: Vec<usize> = train.iter().map(|&row| self.row_idxs[row as usize]).collect();
        let configuration = Configuration::new(&[("alpha", alpha), ("squares", 0.0)]);
        let model = Logistic.fit(self.dataset, &train, &[configuration], self.context)?.pop().unwrap_or_default();
        let mut row = vec![f64::NAN; self.dataset.n_features()];
        let margin = |&row_idx: &usize| {
            row.iter_mut().zip(&self.dataset.columns).for_each(|(value, column)| *value = column[row_idx]);
            model.margin(&row)
        };
        let margins = self.row_idxs.iter().map(margin).collect();
        Ok((model, margins))
    }
}
