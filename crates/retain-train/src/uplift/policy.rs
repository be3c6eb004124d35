//! What it would have brought to give everybody the treatment that is said to do most, beside giving all the same.

use rayon::prelude::*;
use retain_data::Fold;
use retain_eval::{Interval, clustered_mean};
use serde::{Deserialize, Serialize};

use super::choice::widened;
use super::experiment::Experiment;
use super::nuisance::fit_first;
use crate::learner::{Configuration, Loss};
use crate::learners::Linear;
use crate::train::{Run, TrainError};

/// What a policy is worth: the mean outcome, had everybody been treated as it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyValue {
    /// The policy: the treatment that all get, or what is chosen for each.
    pub policy: String,
    /// By inverse probability weighting.
    pub value: Interval,
    /// By the doubly robust estimate, which regressions make more precise.
    pub doubly_robust: Interval,
    /// How much more it brings than this policy to choose for each customer; paired, doubly robust.
    pub gain_of_choosing: Interval,
    /// Share of customers that the policy treats.
    pub treated: f64,
}

/// Names the policy that chooses for each.
pub(super) const BEST_FOR_EACH: &str = "best for each";
const N_RESULTS: usize = 2;

/// The values of choosing for each, of treating all alike, and of treating nobody; `told` says an effect of a row and an arm from 1.
pub(super) fn policy_values(
    experiment: &Experiment<'_>,
    told: &[Box<dyn Fn(usize) -> f64 + '_>],
    run: &Run<'_>,
) -> Result<Vec<PolicyValue>, TrainError> {
    let rows = experiment.plan.judged_rows();
    let group: Vec<u32> = rows.iter().map(|&row| experiment.dataset.group[row]).collect();
    let expected = expected_outcomes(experiment, told.len(), run)?;
    let best = |row: usize| {
        let effects = told.iter().map(|effect| effect(row)).enumerate();
        // Nothing is done where no treatment does good; of equals the first is given.
        effects.fold((0_usize, 0.0), |best, (arm, effect)| if effect > best.1 { (arm + 1, effect) } else { best }).0
    };
    let chosen: Vec<usize> = rows.iter().map(|&row| best(row)).collect();
    let weight = weights(experiment, &rows, told.len() + 1);
    let worth = |choice: &dyn Fn(usize) -> usize| -> [Vec<f64>; N_RESULTS] {
        let of = |position: usize| {
            let (row, arm) = (rows[position], choice(position));
            let is_taken = experiment.arms[row] as usize == arm;
            let (actual, expected) = (experiment.dataset.target[row], expected[arm][row]);
            let weight = if is_taken { weight[position] } else { 0.0 };
            (weight * actual, expected + weight * (actual - expected))
        };
        let (plain, robust) = (0..rows.len()).map(of).unzip();
        [plain, robust]
    };
    let of_chosen = worth(&|position| chosen[position]);
    let value = |policy: String, worth: &[Vec<f64>; N_RESULTS], treated: f64| -> Result<PolicyValue, TrainError> {
        let gain: Vec<f64> = of_chosen[1].iter().zip(&worth[1]).map(|(chosen, all)| chosen - all).collect();
        Ok(PolicyValue {
            policy,
            value: clustered_mean(&worth[0], &group, 0.95)?,
            doubly_robust: clustered_mean(&worth[1], &group, 0.95)?,
            gain_of_choosing: widened(clustered_mean(&gain, &group, 0.95)?, experiment.widening()),
            treated,
        })
    };
    let share = chosen.iter().filter(|&&arm| arm > 0).count() as f64 / rows.len() as f64;
    let mut values = vec![value(BEST_FOR_EACH.to_owned(), &of_chosen, share)?];
    // In the order of the model, and doing nothing at the end.
    for (arm, name) in experiment.treatments.iter().enumerate() {
        values.push(value(format!("{name} for all"), &worth(&|_| arm + 1), 1.0)?);
    }
    values.push(value("nothing for all".to_owned(), &worth(&|_| 0), 0.0)?);
    Ok(values)
}

/// One over the chance of the arm that each row was in: as logged, else the share of the arm.
fn weights(experiment: &Experiment<'_>, rows: &[usize], n_arms: usize) -> Vec<f64> {
    let chance = |row: usize| experiment.dataset.propensity.as_ref().map_or(1.0, |logged| logged[row]);
    let mut totals = vec![0.0; n_arms];
    for &row in rows {
        totals[experiment.arms[row] as usize] += 1.0 / chance(row);
    }
    rows.iter().map(|&row| rows.len() as f64 / (totals[experiment.arms[row] as usize] * chance(row))).collect()
}

/// Cross-fitted expected outcomes of judged rows in every arm, by arm and row of the table.
fn expected_outcomes(experiment: &Experiment<'_>, n_treatments: usize, run: &Run<'_>) -> Result<Vec<Vec<f64>>, TrainError> {
    let settings = [Configuration::new(&[("alpha", 0.01), ("squares", 1.0)])];
    let context = run.context(Loss::Squared, experiment.plan);
    let of_fold = |fold: &Fold| -> Result<Vec<Vec<f64>>, TrainError> {
        let of_arm = |arm: u32| {
            let train = experiment.of_arm(arm, &fold.train);
            let model = fit_first(&Linear, experiment.dataset, &train, &settings, &context)?;
            experiment.margins(&model, &fold.validate)
        };
        (0..=n_treatments as u32).map(of_arm).collect()
    };
    let folds = &experiment.plan.folds;
    let of_folds: Vec<Vec<Vec<f64>>> = folds.par_iter().map(of_fold).collect::<Result<_, TrainError>>()?;
    let mut expected = vec![vec![0.0; experiment.arms.len()]; n_treatments + 1];
    for (fold, of_arms) in folds.iter().zip(of_folds) {
        for (of_rows, margins) in expected.iter_mut().zip(of_arms) {
            fold.validate.iter().zip(margins).for_each(|(&row, margin)| of_rows[row] = margin);
        }
    }
    Ok(expected)
}
