//! Fits every learner on the folds, chooses its settings and its calibrator on rows the fits did not see, and ranks the learners.

use rayon::prelude::*;
use retain_core::Rows;
use retain_data::Dataset;
use retain_score::{Engine, MarginModel, sigmoid};

use crate::calibration::{Calibration, Outcomes, calibrate, mean_log_loss};
use crate::learner::{Configuration, FitContext, FitError, Learner};
use crate::plan::Plan;
use crate::train::TrainError;

/// A learner with the setting that did best on the folds.
pub(crate) struct Candidate {
    pub(crate) learner: Box<dyn Learner + Send>,
    /// How many settings it was chosen from.
    pub(crate) n_configurations: usize,
    /// The setting for fits after the folds.
    pub(crate) settled: Configuration,
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
    pub(crate) fn run(
        &self,
        learner: Box<dyn Learner + Send>,
        context: &FitContext,
        fold_done: &(dyn Fn() + Sync),
    ) -> Result<Candidate, TrainError> {
        let name = learner.name();
        let configurations = learner.configurations(self.dataset);
        let fits = self.fit_folds(learner.as_ref(), &configurations, context, fold_done);
        let mut fits = fits.map_err(|source| TrainError::Fit { learner: name, source })?;
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
        Ok(Candidate { learner, n_configurations: configurations.len(), settled, calibration })
    }

    /// One model per fold and setting.
    fn fit_folds(
        &self,
        learner: &dyn Learner,
        configurations: &[Configuration],
        context: &FitContext,
        fold_done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<MarginModel>>, FitError> {
        let fits: Vec<Result<Vec<MarginModel>, FitError>> = self
            .plan
            .folds
            .par_iter()
            .map(|fold| {
                let fit = learner.fit(self.dataset, &fold.train, configurations, context);
                fold_done();
                fit
            })
            .collect();
        fits.into_iter().collect()
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

impl Candidate {
    /// The margin model of the settled setting, fitted to these rows.
    pub(crate) fn fit(&self, dataset: &Dataset, row_idxs: &[usize], context: &FitContext) -> Result<MarginModel, TrainError> {
        let failed = |source| TrainError::Fit { learner: self.learner.name(), source };
        let models = self.learner.fit(dataset, row_idxs, std::slice::from_ref(&self.settled), context).map_err(failed)?;
        models.into_iter().next().ok_or(TrainError::NoModel)
    }
}
