//! What would have come of each row in either arm, and what that and its own outcome say of its effect.

use retain_data::Dataset;

use super::experiment::{Experiment, Pair};
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};
use crate::learners::Linear;
use crate::train::TrainError;

/// Expected outcomes of rows without and with the treatment, and the doubly robust score of their effect.
#[derive(Debug, Clone)]
pub(super) struct Outcomes {
    pub(super) rows: Vec<usize>,
    pub(super) without: Vec<f64>,
    pub(super) with: Vec<f64>,
    /// Its mean is the average effect, and the mean over customers alike is theirs.
    pub(super) score: Vec<f64>,
}

/// What is told of `at` by regressions on `train`.
///
/// # Source
/// Robins, Rotnitzky and Zhao (1994): augmented inverse probability weighting; the regressions make the average as precise as CUPED does
/// (Deng, Xu, Kohavi and Walker, 2013).
pub(super) fn outcomes_of(
    experiment: &Experiment<'_>,
    pair: &Pair,
    train: &[usize],
    at: &[usize],
    context: &FitContext,
) -> Result<Outcomes, TrainError> {
    let of_arm = |arm: u32| expected(experiment, &experiment.of_arm(arm, train), at, context);
    Ok(scored(experiment, pair, at.to_vec(), of_arm(0)?, of_arm(pair.arm)?))
}

/// The same of the rows that teach: what is said of either half of the customers was learned from the other.
pub(super) fn outcomes_within(
    experiment: &Experiment<'_>,
    pair: &Pair,
    rows: &[usize],
    context: &FitContext,
) -> Result<Outcomes, TrainError> {
    let half = |side: bool| -> Vec<usize> { rows.iter().copied().filter(|&row| experiment.half[row] == side).collect() };
    let halves = [half(false), half(true)];
    let is_divided = |arm: u32| halves.iter().all(|half| experiment.of_arm(arm, half).len() > 1);
    if !(is_divided(0) && is_divided(pair.arm)) {
        return outcomes_of(experiment, pair, rows, rows, context);
    }
    let mut of_row = vec![(0.0, 0.0); experiment.arms.len()];
    for (at, train) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
        let Outcomes { without, with, .. } = outcomes_of(experiment, pair, train, at, context)?;
        for ((&row, without), with) in at.iter().zip(without).zip(with) {
            of_row[row] = (without, with);
        }
    }
    let (without, with) = rows.iter().map(|&row| of_row[row]).unzip();
    Ok(scored(experiment, pair, rows.to_vec(), without, with))
}

fn scored(experiment: &Experiment<'_>, pair: &Pair, rows: Vec<usize>, without: Vec<f64>, with: Vec<f64>) -> Outcomes {
    let score = |position: usize| {
        let row = rows[position];
        let (without, with, actual) = (without[position], with[position], experiment.dataset.target[row]);
        let own = if experiment.arms[row] == pair.arm { actual - with } else { without - actual };
        with - without + pair.weight[row] * own
    };
    let score = (0..rows.len()).map(score).collect();
    Outcomes { rows, without, with, score }
}

/// A ridge regression of the outcome on these rows, at others.
fn expected(experiment: &Experiment<'_>, train: &[usize], at: &[usize], context: &FitContext) -> Result<Vec<f64>, TrainError> {
    let settings = [Configuration::new(&[("alpha", 0.01), ("squares", 1.0)])];
    let model = fit_first(&Linear, experiment.dataset, train, &settings, &FitContext { loss: Loss::Squared, ..*context })?;
    experiment.margins(&model, at)
}

/// The model of the one setting.
pub(super) fn fit_first(
    learner: &dyn Learner,
    dataset: &Dataset,
    rows: &[usize],
    settings: &[Configuration],
    context: &FitContext,
) -> Result<retain_score::MarginModel, TrainError> {
    let failed = |source: FitError| TrainError::Fit { learner: learner.name(), source };
    let models = learner.fit(dataset, rows, settings, context).map_err(failed)?;
    models.into_iter().next().ok_or(TrainError::NoModel)
}
