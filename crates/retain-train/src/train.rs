//! One training run: split, try every learner, choose, judge, fit on all rows, bundle.
//!
//! What all kinds of tasks share stands here; what a kind makes of it stands in a file of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use retain_core::TaskKind;
use retain_data::{Dataset, LEARNERS, SplitError, TableReport, Task};
use retain_eval::{BootstrapOptions, EvalError, Metric};
use retain_score::{Bundle, ModelError};

use crate::amount::train_amount;
use crate::boosting::Boosting;
use crate::event::train_event;
use crate::learner::{FitContext, FitError, Learner, Loss};
use crate::learners;
use crate::metrics_file::MetricsFile;
use crate::plan::Plan;
use crate::survival::{SurvivalError, train_survival};
use crate::uplift::{UpliftError, train_uplift};

/// Of the budget, what choosing may use; the rest is for the fit on all rows and the intervals.
const SELECTION_SHARE: f64 = 0.7;

/// The one learner that stands outside [`learners`]: it keeps monotone constraints.
pub(crate) const BOOSTING: &str = "boosting";
pub(crate) const FOREST: &str = "forest";

/// What the leaderboard shows of every learner.
pub const LEADERBOARD_METRICS: [Metric; 6] =
    [Metric::RocAuc, Metric::AveragePrecision, Metric::LogLoss, Metric::BrierScore, Metric::Ece10, Metric::LiftAt10];

/// What a run needs beside the table.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions {
    /// All randomness of the run comes from this number.
    pub seed: u64,
    /// When the run began: the budget counts from here.
    pub started: Instant,
    /// Wall-clock limit; learners that it leaves too little time for learn from fewer rows, or are left out, with a warning.
    pub budget: Duration,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
    /// Which model is bundled where several cannot be told apart.
    pub prefer: Preference,
}

/// Which of the models that cannot be told apart is bundled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preference {
    /// The one with the least loss.
    #[default]
    Accurate,
    /// The simplest: a logistic regression before a tree, a forest, boosting and a blend.
    Simple,
}

/// Told after each piece of work: what was done, how many pieces are done, how many there are.
pub type Progress<'a> = &'a (dyn Fn(&str, usize, usize) + Sync);

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The bundle, ready to be written; its version is 1 until it is published.
    pub bundle: Bundle,
    /// What stands in its `metrics.json`.
    pub metrics: MetricsFile,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why a run has no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The table cannot be split as the task asks.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A learner failed for another reason than time.
    #[error("the learner `{learner}` failed")]
    Fit {
        /// Its name.
        learner: &'static str,
        /// Why.
        source: FitError,
    },
    /// The budget ended before any learner had a model.
    #[error("the budget of {budget_seconds} s ended before any learner was done")]
    OutOfTime {
        /// The budget.
        budget_seconds: u64,
    },
    /// No learner of the task can keep its monotone constraints.
    #[error("none of the learners {learners} keeps monotone constraints")]
    Monotone {
        /// The learners of the task.
        learners: String,
    },
    /// Tasks of this kind cannot be trained.
    #[error("tasks of kind `{kind}` cannot be trained")]
    Kind {
        /// The kind.
        kind: TaskKind,
    },
    /// The table has no survival model.
    #[error(transparent)]
    Survival(#[from] SurvivalError),
    /// The table has no model of effects.
    #[error(transparent)]
    Uplift(#[from] UpliftError),
    /// No learner of the task can learn an amount.
    #[error("none of the learners {learners} learns amounts: `logistic`, which is a ridge regression there, and `boosting` do")]
    NoLearner {
        /// The learners of the task.
        learners: String,
    },
    /// An amount that is none.
    #[error("`{column}` of customer `{entity}` should be an amount from 0 to {most:e}, found {found:e}")]
    Amount {
        /// The target column.
        column: String,
        /// Whose.
        entity: String,
        /// The amount.
        found: f64,
        /// The largest that is one.
        most: f64,
    },
    /// A learner returned nothing.
    #[error("a learner returned no model")]
    NoModel,
    /// A learner returned a model that does not hold together.
    #[error("a learner's model does not hold together")]
    Model(#[from] ModelError),
    /// Predictions could not be measured.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A file of the bundle could not be made.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// Trains, calibrates and judges every learner of the task and bundles the best.
///
/// The learners' settings, the calibrators and the winner are chosen on rows that the fits did not see (folds; rolling origins when the
/// table has dates). The bundled model is then fitted to all rows. Its stated metrics are those of the same procedure without the
/// judged rows.
///
/// # Errors
/// [`TrainError`]; a table that is too small or has one class never comes this far: reading it has refused it.
pub fn train(
    task: &Task,
    dataset: &Dataset,
    report: &TableReport,
    test: Option<&Dataset>,
    options: &TrainOptions,
    progress: Progress<'_>,
) -> Result<Trained, TrainError> {
    if task.kind == TaskKind::Uplift {
        let warnings = report.warnings.iter().map(|warning| warning.message.clone()).collect();
        let mut run = Run { options, steps: Steps::new(progress), warnings, is_cut_short: false };
        return train_uplift(task, dataset, report, test, &mut run);
    }
    let gap_days = f64::from(task.horizon_days + task.lead_days);
    let plan = Plan::new(dataset, gap_days, options.seed)?;
    let warnings = report.warnings.iter().map(|warning| warning.message.clone()).chain(plan.warnings.clone()).collect();
    let mut run = Run { options, steps: Steps::new(progress), warnings, is_cut_short: false };
    match task.kind {
        TaskKind::Churn => train_event(task, dataset, report, test, &plan, &mut run),
        TaskKind::Survival => train_survival(task, dataset, report, test, &plan, &mut run),
        TaskKind::Ltv | TaskKind::Engagement => train_amount(task, dataset, report, test, &plan, &mut run),
        // Its folds are of another kind.
        TaskKind::Uplift => Err(TrainError::Kind { kind: task.kind }),
    }
}

/// One run on its way: what it was asked for, how far it is, and what it has to tell.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a TrainOptions,
    pub(crate) steps: Steps<'a>,
    pub(crate) warnings: Vec<String>,
    /// Whether more time would have led to another model.
    pub(crate) is_cut_short: bool,
}

impl Run<'_> {
    /// Until when models may be chosen: what is left of the budget then is for the fit on all rows and the intervals.
    pub(crate) fn selection_until(&self) -> Option<Instant> {
        // A budget too large for the clock to hold is no limit.
        self.options.started.checked_add(self.options.budget.mul_f64(SELECTION_SHARE))
    }

    /// What a fit of this loss is told; no deadline.
    pub(crate) fn context(&self, loss: Loss, plan: &Plan) -> FitContext {
        FitContext { loss, seed: self.options.seed, deadline: None, gap_days: plan.gap_days }
    }

    /// Notes what the budget prevented.
    pub(crate) fn cut_short(&mut self, what: &str) {
        self.is_cut_short = true;
        let budget_seconds = self.options.budget.as_secs();
        self.warnings.push(format!("to keep within the budget of {budget_seconds} s {what}: raise `budget_seconds`"));
    }
}

/// Counts pieces of work for the progress bar.
pub(crate) struct Steps<'a> {
    progress: Progress<'a>,
    done: AtomicUsize,
    total: AtomicUsize,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(progress: Progress<'a>) -> Self {
        Self { progress, done: AtomicUsize::new(0), total: AtomicUsize::new(0) }
    }

    /// Announces so many more pieces of work.
    pub(crate) fn plan(&self, n_pieces: usize) {
        self.total.fetch_add(n_pieces, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, what: &str) {
        let total = self.total.load(Ordering::Relaxed);
        (self.progress)(what, self.done.load(Ordering::Relaxed).min(total), total);
    }

    pub(crate) fn done(&self, what: &str) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let total = self.total.load(Ordering::Relaxed);
        (self.progress)(what, done.min(total), total);
    }
}

/// The learners of the task that can minimise this loss and keep what the table asks for, simplest first.
///
/// # Errors
/// [`TrainError::Monotone`] when none of them keeps monotone constraints.
pub(crate) fn learners_for(
    task: &Task,
    dataset: &Dataset,
    loss: Loss,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<dyn Learner + Send>>, TrainError> {
    let constrained = dataset.schema.features.iter().any(|feature| feature.monotone.is_some());
    let mut chosen = Vec::new();
    for name in LEARNERS.into_iter().filter(|name| task.learners.iter().any(|asked| asked == name)) {
        if constrained && name != BOOSTING && !learners::supports_monotone(name) {
            warnings.push(format!("the learner `{name}` cannot keep monotone constraints and was left out"));
            continue;
        }
        // The task file has checked the names.
        let learner: Option<Arc<dyn Learner + Send>> =
            if name == BOOSTING { Some(Arc::new(Boosting)) } else { learners::by_name(name) };
        chosen.extend(learner.filter(|learner| learner.supports(loss)));
    }
    if chosen.is_empty() { Err(TrainError::Monotone { learners: task.learners.join(", ") }) } else { Ok(chosen) }
}

/// The learners for a chance that stands beside an amount: a forest and a tree take time that the amount makes better use of, and are left
/// out where the task has others.
pub(crate) fn learners_beside_amount(
    task: &Task,
    dataset: &Dataset,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<dyn Learner + Send>>, TrainError> {
    let all = learners_for(task, dataset, Loss::Logistic, warnings)?;
    let is_worth_it = |learner: &Arc<dyn Learner + Send>| ["logistic", BOOSTING].contains(&learner.name());
    let quick: Vec<_> = all.iter().filter(|learner| is_worth_it(learner)).cloned().collect();
    Ok(if quick.is_empty() { all } else { quick })
}

/// The options of the intervals.
pub(crate) fn bootstrap(options: &TrainOptions) -> BootstrapOptions {
    BootstrapOptions { resamples: options.resamples, confidence: 0.95, seed: options.seed }
}
