//! The chance that an amount falls to half of what it was before, or less.

use std::time::Instant;

use retain_data::{Dataset, Fold, Task};
use retain_eval::Labelled;
use retain_score::{Calibrator, Head, Model, Predictor};

use crate::learner::Loss;
use crate::plan::Plan;
use crate::select::{Arena, Entry, select};
use crate::train::{Run, TrainError, learners_beside_amount};

/// A fall to this share of what was before, or below it, is a decline.
pub(super) const DECLINE_TO: f64 = 0.5;
/// Rows of either kind from which their difference is learned.
const MIN_ROWS: usize = 50;

/// The chance of a decline, judged out of fold.
pub(super) struct Decline {
    entry: Entry,
    /// The rows that can decline, with the label.
    table: Dataset,
    /// Their positions in the whole table, rising.
    rows: Vec<usize>,
    plan: Plan,
}

impl Decline {
    /// Tries the learners of the task on the rows whose past amount is known and above 0.
    ///
    /// None where the task names no past, or too few rows decline or do not.
    pub(super) fn learn(
        task: &Task,
        dataset: &Dataset,
        plan: &Plan,
        until: Option<Instant>,
        run: &mut Run<'_>,
    ) -> Result<Option<Self>, TrainError> {
        let Some(past) = &dataset.past else { return Ok(None) };
        let rows: Vec<usize> = (0..dataset.n_rows()).filter(|&row| past[row] > 0.0).collect();
        let label = |&row: &usize| f64::from(u8::from(dataset.target[row] <= DECLINE_TO * past[row]));
        let mut table = Dataset { target: rows.iter().map(label).collect(), ..dataset.subset(&rows) };
        // What makes an amount rise says nothing of the direction of its fall.
        table.schema.features.iter_mut().for_each(|feature| feature.monotone = None);
        let plan = restricted(plan, &rows, &table.target);
        let n_declines = table.n_positives();
        if n_declines.min(rows.len() - n_declines) < MIN_ROWS || plan.folds.is_empty() {
            run.warnings.push(format!(
                "there is no head for a decline: of {} rows with a past amount {n_declines} declined, and {MIN_ROWS} of either kind \
                 are needed",
                rows.len()
            ));
            return Ok(None);
        }
        let learners = learners_beside_amount(task, &table, &mut Vec::new())?;
        run.steps.plan(learners.len() * plan.folds.len());
        let arena = Arena::new(&table, &plan);
        let found = match select(&arena, &learners, &run.context(Loss::Logistic, &plan), until, run) {
            Ok(entries) => entries.into_iter().next(),
            Err(TrainError::OutOfTime { .. }) => None,
            Err(other) => return Err(other),
        };
        Ok(found.map(|entry| Self { entry, table, rows, plan }))
    }

    /// The head fitted to those of these rows that can decline.
    pub(super) fn fit(&self, row_idxs: &[usize], run: &Run<'_>) -> Result<Head, TrainError> {
        let within: Vec<usize> = row_idxs.iter().filter_map(|row| self.rows.binary_search(row).ok()).collect();
        let margin = self.entry.recipe.fit(&self.table, &within, &run.context(Loss::Logistic, &self.plan))?;
        let calibrator =
            self.entry.calibration.as_ref().map_or(Calibrator::Identity, |calibration| calibration.calibrator.clone());
        Ok(Head { margin, calibrator })
    }

    /// Chances beside labels: cross-fitted, or those of the test block by a head that was fitted before it.
    pub(super) fn labelled(&self, before_test: Option<&Head>) -> Result<Labelled, TrainError> {
        let (rows, probabilities) = if let (Some(test), Some(head)) = (&self.plan.test, before_test) {
            let predictor = Predictor::new(&Model::Event(head.clone()), &self.table.schema)?;
            let encoded = self.table.rows(&test.validate);
            (test.validate.clone(), encoded.in_order().map(|row| predictor.predict(row).probability).collect())
        } else {
            let calibration = self.entry.calibration.as_ref();
            (self.plan.judged_rows(), calibration.map_or_else(Vec::new, |calibration| calibration.probabilities.clone()))
        };
        let target: Vec<f64> = rows.iter().map(|&row| self.table.target[row]).collect();
        let group: Vec<u32> = rows.iter().map(|&row| self.table.group[row]).collect();
        Ok(Labelled::new(&target, &probabilities, &group)?)
    }

    /// Share of the rows that declined.
    pub(super) fn rate(&self) -> f64 {
        self.table.n_positives() as f64 / self.table.n_rows().max(1) as f64
    }
}

/// The plan for some of the rows, by their positions among these; folds that would learn or judge one label only are left out.
fn restricted(plan: &Plan, rows: &[usize], target: &[f64]) -> Plan {
    let within = |side: &[usize]| -> Vec<usize> { side.iter().filter_map(|row| rows.binary_search(row).ok()).collect() };
    let fold = |fold: &Fold| Fold { train: within(&fold.train), validate: within(&fold.validate) };
    let has_both = |rows: &[usize]| rows.iter().any(|&row| target[row] == 1.0) && rows.iter().any(|&row| target[row] != 1.0);
    let is_usable = |fold: &Fold| has_both(&fold.train) && !fold.validate.is_empty();
    Plan {
        folds: plan.folds.iter().map(fold).filter(is_usable).collect(),
        strata: target.to_vec(),
        test: plan.test.as_ref().map(fold).filter(|fold| is_usable(fold) && has_both(&fold.validate)),
        description: plan.description.clone(),
        gap_days: plan.gap_days,
        warnings: Vec::new(),
    }
}
