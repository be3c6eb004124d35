//! Fits every learner on the folds, chooses its settings and its calibrator on rows the fits did not see, and ranks the learners.

use std::time::Instant;

use rayon::prelude::*;
use retain_core::Rows;
use retain_data::Dataset;
use retain_score::{Engine, MarginModel, sigmoid};

use crate::calibration::{Calibration, Outcomes, calibrate, mean_log_loss};
use crate::learner::{Configuration, FitContext, FitError, Learner};
use crate::learners::rows::thinned;
use crate::plan::Plan;
use crate::train::TrainError;

/// Rows of each fold on which a learner shows how fast it is, and which it learns from when there is no time for more.
const PILOT_ROWS: usize = 2_000;
/// Rows of a fold from which a learner has to show that first: below, the pilot would cost more than it saves.
const PILOT_FROM_ROWS: usize = 10_000;
/// Part of the time left that the next fit is planned to take.
const PLANNED_SHARE: f64 = 0.6;

/// Until when a learner may fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ration {
    /// The end of its own share of the time.
    pub(crate) share: Option<Instant>,
    /// The end of the time of all learners: the pilot may last until then, so that there is some model.
    pub(crate) all: Option<Instant>,
}

impl Ration {
    fn seconds_left(self) -> f64 {
        self.share.map_or(f64::INFINITY, |until| until.saturating_duration_since(Instant::now()).as_secs_f64())
    }
}

/// What the folds of one learner came to.
struct FoldFits {
    /// One model per fold and setting.
    models: Vec<Vec<MarginModel>>,
    /// Rows that each fit was thinned to; none where it had all.
    max_rows: Option<usize>,
}

/// A learner with the setting that did best on the folds.
pub(crate) struct Candidate {
    pub(crate) learner: Box<dyn Learner + Send>,
    /// How many settings it was chosen from.
    pub(crate) n_configurations: usize,
    /// The setting for fits after the folds.
    pub(crate) settled: Configuration,
    /// Rows that the budget let it learn from; none where it had all.
    pub(crate) max_rows: Option<usize>,
    /// Fitted to the margins of the judged rows, with cross-fitted probabilities of the same rows.
    pub(crate) calibration: Calibration,
}

/// The table and its splits, as every learner sees them.
pub(crate) struct Arena<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) plan: &'a Plan,
    /// Rows that some fold validates, rising.
    pub(crate) judged: Vec<usize>,
    /// Encoded validation rows of each fold.
    validation: Vec<Rows>,
}

impl<'a> Arena<'a> {
    pub(crate) fn new(dataset: &'a Dataset, plan: &'a Plan) -> Self {
        let validation = plan.folds.iter().map(|fold| dataset.rows(&fold.validate)).collect();
        Self { dataset, plan, judged: plan.judged_rows(), validation }
    }

    /// Labels of the judged rows.
    pub(crate) fn judged_target(&self) -> Vec<f64> {
        self.judged.iter().map(|&row_idx| self.dataset.target[row_idx]).collect()
    }

    /// Groups of the judged rows.
    pub(crate) fn judged_group(&self) -> Vec<u32> {
        self.judged.iter().map(|&row_idx| self.dataset.group[row_idx]).collect()
    }

    /// Fits all settings of a learner on all folds, and keeps the best by log loss on the judged rows.
    ///
    /// A learner that cannot be done within its ration learns from a random share of the rows.
    pub(crate) fn run(
        &self,
        learner: Box<dyn Learner + Send>,
        context: &FitContext,
        ration: Ration,
        fold_done: &(dyn Fn() + Sync),
    ) -> Result<Candidate, TrainError> {
        let name = learner.name();
        let configurations = learner.configurations(self.dataset, context.loss);
        let work = Work { learner: learner.as_ref(), configurations: &configurations, context, fold_done };
        let FoldFits { models: mut fits, max_rows } =
            self.fit_in_time(work, ration).map_err(|source| TrainError::Fit { learner: name, source })?;
        let target = self.judged_target();
        let losses: Vec<f64> = (0..configurations.len())
            .map(|configuration| {
                let margins = self.judged_margins(&fits, configuration)?;
                let probabilities: Vec<f64> = margins.iter().map(|&margin| sigmoid(margin)).collect();
                Ok(mean_log_loss(&probabilities, &target))
            })
            .collect::<Result<_, TrainError>>()?;
        let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or(0);
        let margins = self.judged_margins(&fits, best)?;
        let group = self.judged_group();
        let calibration = calibrate(Outcomes { margins: &margins, target: &target, group: &group }, context.seed);
        let fold_models: Vec<MarginModel> = fits.iter_mut().map(|models| models.swap_remove(best)).collect();
        let settled = learner.settle(&configurations[best], &fold_models);
        Ok(Candidate { learner, n_configurations: configurations.len(), settled, max_rows, calibration })
    }

    /// All rows where the time allows, else half of them, a quarter and so on; each fit shows better how long the next will take.
    fn fit_in_time(&self, work: Work<'_>, ration: Ration) -> Result<FoldFits, FitError> {
        let most = self.plan.folds.iter().map(|fold| fold.train.len()).max().unwrap_or(0);
        let silent = Work { fold_done: &|| (), ..work };
        let pilot = || self.fit_folds(silent, PILOT_ROWS, ration.all);
        if most < PILOT_FROM_ROWS {
            return match self.fit_folds(work, usize::MAX, ration.share) {
                Err(FitError::OutOfTime) if most > PILOT_ROWS => pilot(),
                other => other,
            };
        }
        let mut started = Instant::now();
        let (mut fits, mut n_rows) = (pilot()?, PILOT_ROWS);
        loop {
            let work_per_second = work.learner.work(n_rows) / started.elapsed().as_secs_f64();
            let affordable = PLANNED_SHARE * ration.seconds_left() * work_per_second;
            let mut halves =
                std::iter::successors(Some(most), |rows| Some(rows / 2)).take_while(|rows| *rows > n_rows + n_rows / 2);
            let Some(next) = halves.find(|&rows| work.learner.work(rows) <= affordable) else { return Ok(fits) };
            started = Instant::now();
            match self.fit_folds(if next == most { work } else { silent }, next, ration.share) {
                Ok(more) if more.max_rows.is_none() => return Ok(more),
                Ok(more) => (fits, n_rows) = (more, next),
                Err(FitError::OutOfTime) => return Ok(fits),
                Err(other) => return Err(other),
            }
        }
    }

    /// Fits each fold to at most `max_rows` of its rows.
    fn fit_folds(&self, work: Work<'_>, max_rows: usize, deadline: Option<Instant>) -> Result<FoldFits, FitError> {
        let context = FitContext { deadline, ..*work.context };
        let fits: Vec<Result<Vec<MarginModel>, FitError>> = self
            .plan
            .folds
            .par_iter()
            .map(|fold| {
                context.check_time()?;
                let row_idxs = thinned(self.dataset, &fold.train, max_rows, context.seed);
                let fit = work.learner.fit(self.dataset, &row_idxs, work.configurations, &context);
                (work.fold_done)();
                fit
            })
            .collect();
        let is_thinned = self.plan.folds.iter().any(|fold| fold.train.len() > max_rows);
        Ok(FoldFits { models: fits.into_iter().collect::<Result<_, _>>()?, max_rows: is_thinned.then_some(max_rows) })
    }

    /// Margins of the judged rows, each from the model that did not train on it, in the order of `judged`.
    fn judged_margins(&self, fits: &[Vec<MarginModel>], configuration: usize) -> Result<Vec<f64>, TrainError> {
        let mut margin_of = vec![0.0; self.dataset.n_rows()];
        for ((fold, rows), models) in self.plan.folds.iter().zip(&self.validation).zip(fits) {
            let engine = Engine::new(&models[configuration], &self.dataset.schema)?;
            for (&row_idx, row) in fold.validate.iter().zip(rows.in_order()) {
                margin_of[row_idx] = engine.margin(row);
            }
        }
        Ok(self.judged.iter().map(|&row_idx| margin_of[row_idx]).collect())
    }
}

/// What is fitted on every fold.
#[derive(Clone, Copy)]
struct Work<'a> {
    learner: &'a dyn Learner,
    configurations: &'a [Configuration],
    context: &'a FitContext,
    /// Told after each fold.
    fold_done: &'a (dyn Fn() + Sync),
}

impl Candidate {
    /// The margin model of the settled setting, fitted to these rows, or to as many of them as the folds could afford.
    pub(crate) fn fit(&self, dataset: &Dataset, row_idxs: &[usize], context: &FitContext) -> Result<MarginModel, TrainError> {
        let failed = |source| TrainError::Fit { learner: self.learner.name(), source };
        let row_idxs = &thinned(dataset, row_idxs, self.max_rows.unwrap_or(usize::MAX), context.seed);
        let models = self.learner.fit(dataset, row_idxs, std::slice::from_ref(&self.settled), context).map_err(failed)?;
        models.into_iter().next().ok_or(TrainError::NoModel)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::learner::Loss;
    use crate::learners::rows::tests::example;

    /// Says the base rate, and has no time for more rows than it affords.
    struct Slow {
        affords: usize,
    }

    impl Learner for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
            vec![Configuration::new(&[])]
        }

        fn fit(
            &self,
            _dataset: &Dataset,
            row_idxs: &[usize],
            configurations: &[Configuration],
            _context: &FitContext,
        ) -> Result<Vec<MarginModel>, FitError> {
            if row_idxs.len() > self.affords {
                Err(FitError::OutOfTime)
            } else {
                Ok(vec![MarginModel::default(); configurations.len()])
            }
        }
    }

    fn run(n_rows: usize, affords: usize, ration: Ration) -> Result<Candidate, TrainError> {
        let table = example(n_rows, 1);
        let plan = Plan::new(&table, 30.0, 1).unwrap();
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        Arena::new(&table, &plan).run(Box::new(Slow { affords }), &context, ration, &|| ())
    }

    #[test]
    fn a_learner_with_time_has_all_rows_and_one_without_has_the_pilots() {
        let endless = Ration { share: None, all: None };
        for (n_rows, affords, max_rows) in [
            (4_000, usize::MAX, None),
            (4_000, 2_500, Some(PILOT_ROWS)),
            (20_000, usize::MAX, None),
            (20_000, 2_500, Some(PILOT_ROWS)),
        ] {
            assert_eq!(run(n_rows, affords, endless).unwrap().max_rows, max_rows, "{n_rows} {affords}");
        }
        let spent = Ration { share: Some(Instant::now()), all: None };
        assert_eq!(run(20_000, usize::MAX, spent).unwrap().max_rows, Some(PILOT_ROWS));
    }

    #[test]
    fn a_learner_without_time_for_the_pilot_is_out_of_time() {
        let endless = Ration { share: None, all: None };
        for n_rows in [1_000, 4_000, 20_000] {
            let found = run(n_rows, 100, endless);
            assert!(matches!(found, Err(TrainError::Fit { learner: "slow", source: FitError::OutOfTime })));
        }
        let over = Ration { share: Some(Instant::now()), all: Some(Instant::now()) };
        assert!(matches!(run(20_000, usize::MAX, over), Err(TrainError::Fit { source: FitError::OutOfTime, .. })));
    }

    #[test]
    fn later_fits_are_thinned_as_the_folds_were() {
        let candidate = run(4_000, 2_500, Ration { share: None, all: None }).unwrap();
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        assert!(candidate.fit(&example(4_000, 1), &(0..4_000).collect::<Vec<_>>(), &context).is_ok());
    }
}
