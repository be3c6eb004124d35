//! The chance of any amount at all.

use retain_data::{Dataset, Task};
use retain_score::{Calibrator, Head, MarginModel};

use super::target::Target;
use crate::learner::Loss;
use crate::plan::Plan;
use crate::select::{Arena, Entry, select};
use crate::train::{Run, TrainError, learners_beside_amount};

/// Rows of either kind, with an amount and without, from which their difference is learned: fewer say nothing over folds.
const MIN_ROWS: usize = 50;

/// The chance of any amount, judged out of fold.
pub(super) struct Occurrence {
    /// None where one of both kinds of rows is too rare: then all have the same chance.
    entry: Option<Entry>,
    target: Target,
    /// Share of rows with an amount.
    rate: f64,
    /// Chances of the judged rows, above 0.
    pub(super) probabilities: Vec<f64>,
}

impl Occurrence {
    /// Tries the learners of the task on whether there is an amount.
    pub(super) fn learn(
        task: &Task,
        dataset: &Dataset,
        plan: &Plan,
        until: Option<std::time::Instant>,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        let target = Target::happened(&dataset.target);
        let (n_rows, n_positives) = (dataset.n_rows(), dataset.n_positives());
        let rate = (n_positives as f64 + 0.5) / (n_rows as f64 + 1.0);
        let table = target.dataset(dataset);
        let arena = Arena::new(&table, plan);
        let has_both = plan.folds.iter().all(|fold| {
            let n = fold.train.iter().filter(|&&row| dataset.target[row] > 0.0).count();
            0 < n && n < fold.train.len()
        });
        if n_positives.min(n_rows - n_positives) < MIN_ROWS || !has_both {
            return Ok(Self { entry: None, target, rate, probabilities: vec![rate; arena.judged.len()] });
        }
        let learners = learners_beside_amount(task, dataset, &mut run.warnings)?;
        run.steps.plan(learners.len() * plan.folds.len());
        let entry = select(&arena, &learners, &run.context(Loss::Logistic, plan), until, run)?.into_iter().next();
        let calibration = entry.as_ref().and_then(|entry| entry.calibration.as_ref());
        let probabilities = calibration.map_or(vec![rate; arena.judged.len()], |calibration| calibration.probabilities.clone());
        Ok(Self { entry, target, rate, probabilities })
    }

    /// Whether chances differ between rows.
    pub(super) fn is_learned(&self) -> bool {
        self.entry.is_some()
    }

    /// Logs of the chances of the judged rows.
    pub(super) fn logs(&self) -> Vec<f64> {
        self.probabilities.iter().map(|probability| libm::log(probability.max(1e-12))).collect()
    }

    /// The head fitted to these rows.
    pub(super) fn fit(&self, dataset: &Dataset, row_idxs: &[usize], run: &Run<'_>, plan: &Plan) -> Result<Head, TrainError> {
        let Some(entry) = &self.entry else {
            let intercept = libm::log(self.rate / (1.0 - self.rate));
            return Ok(Head { margin: MarginModel { intercept, ..MarginModel::default() }, calibrator: Calibrator::Identity });
        };
        let margin = entry.recipe.fit(&self.target.dataset(dataset), row_idxs, &run.context(Loss::Logistic, plan))?;
        let calibrator = entry.calibration.as_ref().map_or(Calibrator::Identity, |calibration| calibration.calibrator.clone());
        Ok(Head { margin, calibrator })
    }
}
