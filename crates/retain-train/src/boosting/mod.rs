//! Gradient boosting of our own: histogram trees grown leaf by leaf on the logistic loss.
//!
//! [`Boosting`] is the learner. A fit bins the table once (`bins`), finds the number of rounds by the loss of rows held out
//! (`rounds`), and runs them (`booster`): each round draws rows and columns and grows a tree (`grow`) from histograms of
//! derivatives (`histogram`, `loss`) by the best splits of its columns (`split`). Randomness comes from the seed alone and sums
//! are taken in a fixed order, so the number of threads does not change a bit. Scoring and explaining are elsewhere, in
//! `retain-score`.
//!
//! # Source
//! Friedman (2001); second-order trees: Chen and Guestrin (2016); histograms, leaf-wise growth and category sets: Ke et al.
//! (2017).

mod bins;
mod booster;
mod grow;
mod histogram;
mod loss;
mod params;
mod rounds;
mod split;
mod symmetric;
mod target_statistics;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::sync::Arc;

use retain_data::Dataset;
use retain_score::MarginModel;

use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};
use crate::learners::Logistic;
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
/// drawn for each tree), `base_alpha` (start from the margin of a logistic regression with this penalty instead of the base
/// rate) and `rounds`; without `rounds` the fit finds their number on rows it holds out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boosting;

impl Learner for Boosting {
    fn name(&self) -> &'static str {
        "boosting"
    }

    fn configurations(&self, dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        params::configurations(dataset)
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        let n_positives = row_idxs.iter().filter(|&&row_idx| dataset.target[row_idx] == 1.0).count();
        if n_positives == 0 || n_positives == row_idxs.len() {
            return Err(FitError::OneClass { n_rows: row_idxs.len(), n_positives });
        }
        let table = Arc::new(BinnedTable::new(dataset, row_idxs));
        let targets: Vec<f64> = row_idxs.iter().map(|&row_idx| dataset.target[row_idx]).collect();
        let fit = Fit { dataset, row_idxs, context, table, targets };
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
    table: Arc<BinnedTable>,
    targets: Vec<f64>,
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
        let task = Task { table: &self.table, targets: &self.targets, params, loss: self.context.loss };
        let start = self.start(params, task.loss, &train)?;
        let rows = StatisticRows {
            dataset: self.dataset,
            row_idxs: self.row_idxs,
            targets: &self.targets,
            train: &train,
            prior_rows: params.prior_rows.unwrap_or(0.0),
        };
        let tables =
            if params.prior_rows.is_some() { with_statistics(&self.table, &rows, seed) } else { vec![Arc::clone(&self.table)] };
        Ok(Booster::new(task, start, tables, train, watched, seed))
    }

    /// The model before the first tree, learned from the rows that train, and the margins it gives all rows.
    fn start(&self, params: &BoostingParams, loss: Loss, train: &[u32]) -> Result<(MarginModel, Vec<f64>), FitError> {
        let Some(alpha) = params.base_alpha else {
            let intercept = loss.constant(train.iter().map(|&row| self.targets[row as usize]));
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
