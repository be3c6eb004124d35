//! One training run: split, try every learner, choose, judge, fit on all rows, bundle.

use std::time::{Duration, Instant};

use retain_data::{Dataset, SplitError, TableReport, Task};
use retain_eval::{BootstrapOptions, Difference, EvalError, Evaluation, Labelled, Metric, compare, evaluate};
use retain_score::{Bundle, Engine, Model, ModelError};

use crate::boosting::Boosting;
use crate::bundle::{BundleParts, build_bundle};
use crate::learner::{FitContext, FitError, Learner};
use crate::learners;
use crate::metrics_file::{LeaderboardRow, MetricsFile};
use crate::plan::Plan;
use crate::select::{Arena, Candidate};

/// Of the budget, what choosing may use; the rest is for the fit on all rows and the intervals.
const SELECTION_SHARE: f64 = 0.7;

/// The one learner that stands outside [`learners`]: it keeps monotone constraints.
const BOOSTING: &str = "boosting";

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
    /// Wall-clock limit; learners that it leaves no time for are left out with a warning.
    pub budget: Duration,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
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
/// The learners' settings, the calibrators and the winner are chosen by log loss on rows that the fits did not see
/// (folds; rolling origins when the table has dates). The bundled model is then fitted to all rows. Its stated metrics are those of
/// the same procedure without the judged rows.
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
    let gap_days = f64::from(task.horizon_days + task.lead_days);
    let plan = Plan::new(dataset, gap_days, options.seed)?;
    let mut warnings: Vec<String> =
        report.warnings.iter().map(|warning| warning.message.clone()).chain(plan.warnings.clone()).collect();
    let learners = learners_for(task, dataset, &mut warnings)?;
    let steps = Steps::new(progress, learners.len() * (plan.folds.len() + 1) + 1);

    let arena = Arena::new(dataset, &plan);
    let candidates = try_learners(&arena, learners, task, options, &steps, &mut warnings)?;
    let winner = (0..candidates.len())
        .min_by(|&a, &b| candidates[a].calibration.log_loss.total_cmp(&candidates[b].calibration.log_loss))
        .ok_or(TrainError::OutOfTime { budget_seconds: options.budget.as_secs() })?;

    let judged = judge(&arena, &candidates, winner, options, &steps)?;
    steps.begin("fit on all rows");
    let context = fit_context(options, &plan, None);
    let all_rows: Vec<usize> = (0..dataset.n_rows()).collect();
    let model = Model {
        margin: candidates[winner].fit(dataset, &all_rows, &context)?,
        calibrator: candidates[winner].calibration.calibrator.clone(),
    };
    model.check(&dataset.schema)?;
    let metrics = metrics_file(&plan, &judged, winner, dataset, &model, test, options)?;
    steps.done("fit on all rows");
    let bundle = build_bundle(&BundleParts {
        task,
        dataset,
        report,
        plan: &plan,
        candidate: &candidates[winner],
        model,
        metrics: &metrics,
        judged: &judged.labelled[winner],
        warnings: &warnings,
        seed: options.seed,
    })?;
    Ok(Trained { bundle, metrics, warnings })
}

/// Counts pieces of work for the progress bar.
struct Steps<'a> {
    progress: Progress<'a>,
    done: std::sync::atomic::AtomicUsize,
    total: usize,
}

impl<'a> Steps<'a> {
    fn new(progress: Progress<'a>, total: usize) -> Self {
        Self { progress, done: std::sync::atomic::AtomicUsize::new(0), total }
    }

    fn begin(&self, what: &str) {
        (self.progress)(what, self.done.load(std::sync::atomic::Ordering::Relaxed), self.total);
    }

    fn done(&self, what: &str) {
        let done = self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        (self.progress)(what, done.min(self.total), self.total);
    }
}

fn learners_for(task: &Task, dataset: &Dataset, warnings: &mut Vec<String>) -> Result<Vec<Box<dyn Learner + Send>>, TrainError> {
    let constrained = dataset.schema.features.iter().any(|feature| feature.monotone.is_some());
    let mut chosen = Vec::new();
    for name in &task.learners {
        if constrained && name != BOOSTING && !learners::supports_monotone(name) {
            warnings.push(format!("the learner `{name}` cannot keep monotone constraints and was left out"));
            continue;
        }
        // The task file has checked the names.
        chosen.extend(if name == BOOSTING {
            Some(Box::new(Boosting) as Box<dyn Learner + Send>)
        } else {
            learners::by_name(name)
        });
    }
    if chosen.is_empty() { Err(TrainError::Monotone { learners: task.learners.join(", ") }) } else { Ok(chosen) }
}

fn fit_context(options: &TrainOptions, plan: &Plan, deadline: Option<Instant>) -> FitContext {
    FitContext { seed: options.seed, deadline, gap_days: plan.gap_days }
}

fn try_learners(
    arena: &Arena<'_>,
    learners: Vec<Box<dyn Learner + Send>>,
    task: &Task,
    options: &TrainOptions,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Candidate>, TrainError> {
    // A budget too large for the clock to hold is no limit.
    let deadline = options.started.checked_add(options.budget.mul_f64(SELECTION_SHARE));
    let context = fit_context(options, arena.plan, deadline);
    let mut candidates = Vec::new();
    for learner in learners {
        let name = learner.name();
        steps.begin(name);
        match arena.run(learner, &context, &|| steps.done(name)) {
            Ok(candidate) => candidates.push(candidate),
            Err(TrainError::Fit { source: FitError::OutOfTime, .. }) => warnings.push(format!(
                "the budget of {} s left no time for the learner `{name}`: raise `budget_seconds`",
                task.budget_seconds
            )),
            Err(other) => return Err(other),
        }
    }
    if candidates.is_empty() { Err(TrainError::OutOfTime { budget_seconds: options.budget.as_secs() }) } else { Ok(candidates) }
}

/// Predictions of every candidate on the rows that judge it.
struct Judged {
    labelled: Vec<Labelled>,
    evaluations: Vec<Evaluation>,
    /// Against the winner, in log loss; none for the winner itself.
    differences: Vec<Option<Difference>>,
    rows: Vec<LeaderboardRow>,
}

fn bootstrap(options: &TrainOptions) -> BootstrapOptions {
    BootstrapOptions { resamples: options.resamples, confidence: 0.95, seed: options.seed }
}

fn judge(
    arena: &Arena<'_>,
    candidates: &[Candidate],
    winner: usize,
    options: &TrainOptions,
    steps: &Steps<'_>,
) -> Result<Judged, TrainError> {
    let mut judged = Judged { labelled: Vec::new(), evaluations: Vec::new(), differences: Vec::new(), rows: Vec::new() };
    for candidate in candidates {
        let labelled = judged_predictions(arena, candidate, options)?;
        judged.evaluations.push(evaluate(&labelled, &LEADERBOARD_METRICS, &bootstrap(options)));
        judged.labelled.push(labelled);
        steps.done(candidate.learner.name());
    }
    for (position, candidate) in candidates.iter().enumerate() {
        let difference = if position == winner {
            None
        } else {
            let differences =
                compare(&judged.labelled[position], &judged.labelled[winner], &[Metric::LogLoss], &bootstrap(options))?;
            differences.into_iter().next()
        };
        judged.rows.push(LeaderboardRow {
            learner: candidate.learner.name().to_owned(),
            configuration: candidate.settled.to_string(),
            n_configurations: candidate.n_configurations,
            calibrator: candidate.calibration.calibrator.name().to_owned(),
            selection_log_loss: candidate.calibration.log_loss,
            is_winner: position == winner,
            is_tied: difference.is_some_and(|difference| difference.high >= 0.0),
            evaluation: judged.evaluations[position].clone(),
        });
        judged.differences.push(difference);
    }
    judged.rows.sort_by(|a, b| a.selection_log_loss.total_cmp(&b.selection_log_loss));
    Ok(judged)
}

/// Without dates: the cross-fitted probabilities of the folds. With dates: a fit on all rows before the test block, on that block.
fn judged_predictions(arena: &Arena<'_>, candidate: &Candidate, options: &TrainOptions) -> Result<Labelled, TrainError> {
    let Some(test) = &arena.plan.test else {
        return Ok(Labelled::new(&arena.judged_target(), &candidate.calibration.probabilities, &arena.judged_group())?);
    };
    let dataset = arena.dataset;
    let margin_model = candidate.fit(dataset, &test.train, &fit_context(options, arena.plan, None))?;
    let model = Model { margin: margin_model, calibrator: candidate.calibration.calibrator.clone() };
    let subset = |values: &[f64]| -> Vec<f64> { test.validate.iter().map(|&row_idx| values[row_idx]).collect() };
    let group: Vec<u32> = test.validate.iter().map(|&row_idx| dataset.group[row_idx]).collect();
    let probabilities = probabilities(&model, dataset, &test.validate)?;
    Ok(Labelled::new(&subset(&dataset.target), &probabilities, &group)?)
}

fn probabilities(model: &Model, dataset: &Dataset, row_idxs: &[usize]) -> Result<Vec<f64>, TrainError> {
    let engine = Engine::new(&model.margin, &dataset.schema)?;
    let rows = dataset.rows(row_idxs);
    Ok(rows.in_order().map(|row| model.calibrator.probability(engine.margin(row))).collect())
}

fn metrics_file(
    plan: &Plan,
    judged: &Judged,
    winner: usize,
    dataset: &Dataset,
    model: &Model,
    test: Option<&Dataset>,
    options: &TrainOptions,
) -> Result<MetricsFile, TrainError> {
    let base_rate = dataset.n_positives() as f64 / dataset.n_rows() as f64;
    let test = test
        .map(|test| -> Result<_, TrainError> {
            let all: Vec<usize> = (0..test.n_rows()).collect();
            let labelled = Labelled::new(&test.target, &probabilities(model, test, &all)?, &test.group)?;
            MetricsFile::measure("the table given as --test", &labelled, base_rate, &bootstrap(options)).map_err(Into::into)
        })
        .transpose()?;
    let measured_on = match &plan.test {
        None => format!("rows left out of the fit: {}", plan.description),
        Some(_) => format!("the latest block, which nothing was chosen on: {}", plan.description),
    };
    let on_judged = MetricsFile::measure(&measured_on, &judged.labelled[winner], base_rate, &bootstrap(options))?;
    MetricsFile::new(on_judged, judged.rows.clone(), test, dataset, model).map_err(Into::into)
}
