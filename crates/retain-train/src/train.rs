//! One training run: split, try every learner, choose, judge, fit on all rows, bundle.

use std::time::{Duration, Instant};

use retain_data::{Dataset, LEARNERS, SplitError, TableReport, Task};
use retain_eval::{BootstrapOptions, EvalError, Labelled, Metric, compare, evaluate};
use retain_score::{Bundle, Engine, Model, ModelError};

use crate::boosting::Boosting;
use crate::bundle::{BundleParts, build_bundle};
use crate::learner::{FitContext, FitError, Learner, Loss};
use crate::learners;
use crate::metrics_file::{LeaderboardRow, Measurement, MetricsFile};
use crate::plan::Plan;
use crate::select::{Arena, Candidate, Ration};

/// Of the budget, what choosing may use; the rest is for the fit on all rows and the intervals.
const SELECTION_SHARE: f64 = 0.7;

/// Resamples of the trial that shows how long one takes.
const TRIAL_RESAMPLES: usize = 20;
/// Up to so many rows × resamples the intervals take a second or two, and no trial is made.
const QUICK_ROW_VISITS: usize = 20_000_000;
/// Fewer resamples say nothing about the ends of an interval, whatever the budget.
const MIN_RESAMPLES: usize = 100;
/// Of the time left, what the intervals may use; the fit on all rows comes after them.
const INTERVALS_SHARE: f64 = 0.5;

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
    /// Wall-clock limit; learners that it leaves too little time for learn from fewer rows, or are left out, with a warning.
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
    let (n_learners, resamples) = (learners.len(), options.resamples);
    let steps = Steps::new(progress, n_learners * (plan.folds.len() + 1) + 1);

    let arena = Arena::new(dataset, &plan);
    let candidates = try_learners(&arena, learners, task, options, &steps, &mut warnings)?;
    let winner = (0..candidates.len())
        .min_by(|&a, &b| candidates[a].calibration.log_loss.total_cmp(&candidates[b].calibration.log_loss))
        .ok_or(TrainError::OutOfTime { budget_seconds: options.budget.as_secs() })?;

    let labelled: Vec<Labelled> =
        candidates.iter().map(|candidate| judged_predictions(&arena, candidate, options)).collect::<Result<_, _>>()?;
    let options = &with_affordable_resamples(&labelled, options, &mut warnings);
    let judged = judge(labelled, &candidates, winner, options, &steps)?;
    warnings.extend(judged.warning());
    steps.begin("fit on all rows");
    let context = fit_context(options, &plan);
    let all_rows: Vec<usize> = (0..dataset.n_rows()).collect();
    let model = Model {
        margin: candidates[winner].fit(dataset, &all_rows, &context)?,
        calibrator: candidates[winner].calibration.calibrator.clone(),
    };
    model.check(&dataset.schema)?;
    let metrics = metrics_file(&plan, &judged, winner, dataset, &model, test, options)?;
    // Where the table's own checks have named a leak, a second voice would say the same.
    if !report.warnings.iter().any(|warning| warning.code.starts_with("leak_")) {
        warnings.extend(metrics.suspicion());
    }
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
        budget_bound: candidates.len() < n_learners
            || candidates.iter().any(|candidate| candidate.max_rows.is_some())
            || options.resamples < resamples,
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
        (self.progress)(what, self.done.load(std::sync::atomic::Ordering::Relaxed).min(self.total), self.total);
    }

    fn done(&self, what: &str) {
        let done = self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        (self.progress)(what, done.min(self.total), self.total);
    }
}

fn learners_for(task: &Task, dataset: &Dataset, warnings: &mut Vec<String>) -> Result<Vec<Box<dyn Learner + Send>>, TrainError> {
    let constrained = dataset.schema.features.iter().any(|feature| feature.monotone.is_some());
    let mut chosen = Vec::new();
    for name in LEARNERS.into_iter().filter(|name| task.learners.iter().any(|asked| asked == name)) {
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

fn fit_context(options: &TrainOptions, plan: &Plan) -> FitContext {
    FitContext { loss: Loss::Logistic, seed: options.seed, deadline: None, gap_days: plan.gap_days }
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
    let context = fit_context(options, arena.plan);
    let n_rows = arena.dataset.n_rows();
    let mut candidates = Vec::new();
    for (n_left, learner) in (1..=learners.len()).rev().zip(learners) {
        let name = learner.name();
        steps.begin(name);
        let ration = Ration { share: deadline.map(|deadline| share_of(deadline, n_left)), all: deadline };
        match arena.run(learner, &context, ration, &|| steps.done(name)) {
            Ok(candidate) => {
                warnings.extend(candidate.max_rows.map(|max_rows| {
                    format!(
                        "to keep within the budget of {} s the learner `{name}` learned from {max_rows} of {n_rows} rows at a time: \
                         raise `budget_seconds`",
                        task.budget_seconds
                    )
                }));
                candidates.push(candidate);
            }
            Err(TrainError::Fit { source: FitError::OutOfTime, .. }) => warnings.push(format!(
                "the budget of {} s left no time for the learner `{name}`: raise `budget_seconds`",
                task.budget_seconds
            )),
            Err(other) => return Err(other),
        }
    }
    if candidates.is_empty() { Err(TrainError::OutOfTime { budget_seconds: options.budget.as_secs() }) } else { Ok(candidates) }
}

/// When a learner should be done that shares the time until `deadline` with others, `n_left` learners with itself: the last of them
/// counts twice.
fn share_of(deadline: Instant, n_left: usize) -> Instant {
    let now = Instant::now();
    let shares = if n_left > 1 { n_left + 1 } else { 1 };
    now + deadline.saturating_duration_since(now) / shares as u32
}

/// Predictions of every candidate on the rows that judge it, and what they are worth.
struct Judged {
    labelled: Vec<Labelled>,
    /// Best first by what the choice was made by.
    rows: Vec<LeaderboardRow>,
    /// Learners whose log loss is surely lower than the winner's: only possible where other rows judge than chose.
    better: Vec<&'static str>,
}

impl Judged {
    fn warning(&self) -> Option<String> {
        (!self.better.is_empty()).then(|| {
            format!(
                "on the latest block the learner `{}` has a lower log loss than the winner, which led on the earlier ones: what \
                 predicts leaving may be changing",
                self.better.join("`, `")
            )
        })
    }
}

fn bootstrap(options: &TrainOptions) -> BootstrapOptions {
    BootstrapOptions { resamples: options.resamples, confidence: 0.95, seed: options.seed }
}

/// The options with no more resamples than the rest of the budget allows; all that were asked for where the table is small.
fn with_affordable_resamples(labelled: &[Labelled], options: &TrainOptions, warnings: &mut Vec<String>) -> TrainOptions {
    let Some(first) = labelled.first() else { return *options };
    if first.n_rows().saturating_mul(options.resamples) <= QUICK_ROW_VISITS {
        return *options;
    }
    let trial = |resamples: usize| {
        let started = Instant::now();
        evaluate(first, &LEADERBOARD_METRICS, &BootstrapOptions { resamples, ..bootstrap(options) });
        started.elapsed().as_secs_f64()
    };
    // Sorting the rows takes as long whatever the resamples.
    let sorting = trial(1);
    // Each learner is measured and compared, which measures two; the winner and the base rate are measured once more.
    let n_measured = (3 * labelled.len()) as f64;
    let seconds_each = (trial(TRIAL_RESAMPLES + 1) - sorting).max(1e-6) * n_measured / TRIAL_RESAMPLES as f64;
    let left = INTERVALS_SHARE * options.budget.saturating_sub(options.started.elapsed()).as_secs_f64();
    let resamples = options.resamples.min(((left / seconds_each) as usize).max(MIN_RESAMPLES));
    if resamples < options.resamples {
        warnings.push(format!(
            "to keep within the budget of {} s the intervals come from {resamples} resamples instead of {}: raise `budget_seconds`",
            options.budget.as_secs(),
            options.resamples
        ));
    }
    TrainOptions { resamples, ..*options }
}

fn judge(
    labelled: Vec<Labelled>,
    candidates: &[Candidate],
    winner: usize,
    options: &TrainOptions,
    steps: &Steps<'_>,
) -> Result<Judged, TrainError> {
    let (mut rows, mut better) = (Vec::new(), Vec::new());
    for (position, candidate) in candidates.iter().enumerate() {
        let difference = if position == winner {
            None
        } else {
            compare(&labelled[position], &labelled[winner], &[Metric::LogLoss], &bootstrap(options))?.into_iter().next()
        };
        if difference.is_some_and(|difference| difference.low > 0.0) {
            better.push(candidate.learner.name());
        }
        rows.push(LeaderboardRow {
            learner: candidate.learner.name().to_owned(),
            configuration: candidate.settled.to_string(),
            n_configurations: candidate.n_configurations,
            calibrator: candidate.calibration.calibrator.name().to_owned(),
            selection_log_loss: candidate.calibration.log_loss,
            is_winner: position == winner,
            is_tied: difference.is_some_and(|difference| difference.low <= 0.0 && difference.high >= 0.0),
            evaluation: evaluate(&labelled[position], &LEADERBOARD_METRICS, &bootstrap(options)),
        });
        steps.done(candidate.learner.name());
    }
    rows.sort_by(|a, b| a.selection_log_loss.total_cmp(&b.selection_log_loss));
    Ok(Judged { labelled, rows, better })
}

/// Without dates: the cross-fitted probabilities of the folds. With dates: a fit on all rows before the test block, on that block.
fn judged_predictions(arena: &Arena<'_>, candidate: &Candidate, options: &TrainOptions) -> Result<Labelled, TrainError> {
    let Some(test) = &arena.plan.test else {
        return Ok(Labelled::new(&arena.judged_target(), &candidate.calibration.probabilities, &arena.judged_group())?);
    };
    let dataset = arena.dataset;
    let margin_model = candidate.fit(dataset, &test.train, &fit_context(options, arena.plan))?;
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
    let rate =
        |row_idxs: &[usize]| row_idxs.iter().map(|&row_idx| dataset.target[row_idx]).sum::<f64>() / row_idxs.len().max(1) as f64;
    let rate_of_all = dataset.n_positives() as f64 / dataset.n_rows() as f64;
    // What was known before the test block; folds that are stratified have everywhere the rate of the table.
    let base_rate = plan.test.as_ref().map_or(rate_of_all, |test| rate(&test.train));
    let test = test
        .map(|test| -> Result<_, TrainError> {
            let all: Vec<usize> = (0..test.n_rows()).collect();
            let labelled = Labelled::new(&test.target, &probabilities(model, test, &all)?, &test.group)?;
            Measurement::new("the table given as --test", &labelled, rate_of_all, &bootstrap(options)).map_err(Into::into)
        })
        .transpose()?;
    let measured_on = match &plan.test {
        None => format!("rows left out of the fit: {}", plan.description),
        Some(_) => format!("the latest block, which nothing was chosen on: {}", plan.description),
    };
    let on_judged = Measurement::new(&measured_on, &judged.labelled[winner], base_rate, &bootstrap(options))?;
    MetricsFile::new(on_judged, judged.rows.clone(), test, dataset, model).map_err(Into::into)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use retain_score::Calibrator;

    use super::*;
    use crate::calibration::Calibration;
    use crate::learner::Configuration;

    fn options(budget: Duration) -> TrainOptions {
        TrainOptions { seed: 1, started: Instant::now(), budget, resamples: 1000 }
    }

    /// Rows of which a quarter leave, told apart by `spread` in probability.
    fn labelled(n_rows: usize, spread: f64) -> Labelled {
        let target: Vec<f64> = (0..n_rows).map(|row| f64::from(u8::from(row % 4 == 0))).collect();
        let probability: Vec<f64> = target.iter().map(|label| 0.25 + spread * (label - 0.25)).collect();
        Labelled::new(&target, &probability, &(0..n_rows as u32).collect::<Vec<_>>()).unwrap()
    }

    fn candidate(name: &str) -> Candidate {
        Candidate {
            learner: learners::by_name(name).unwrap(),
            n_configurations: 1,
            settled: Configuration::new(&[]),
            max_rows: None,
            calibration: Calibration { calibrator: Calibrator::Identity, probabilities: Vec::new(), log_loss: 0.5 },
        }
    }

    #[test]
    fn a_learner_surely_better_than_the_winner_is_named_and_not_called_tied() {
        let candidates = [candidate("logistic"), candidate("tree"), candidate("forest")];
        let labelled = vec![labelled(400, 0.9), labelled(400, 0.1), labelled(400, 0.1)];
        let options = options(Duration::MAX);
        let judged = judge(labelled, &candidates, 1, &options, &Steps::new(&|_, _, _| (), 3)).unwrap();
        assert_eq!(judged.better, ["logistic"]);
        let tied: Vec<&str> = judged.rows.iter().filter(|row| row.is_tied).map(|row| row.learner.as_str()).collect();
        assert_eq!(tied, ["forest"]);
        assert!(judged.warning().unwrap().contains("`logistic` has a lower log loss"));
    }

    #[test]
    fn resamples_fall_only_where_a_large_table_meets_a_spent_budget() {
        let (small, large) = ([labelled(1_000, 0.5)], [labelled(30_000, 0.5)]);
        for (table, budget, expected) in [
            (&small, Duration::ZERO, 1000),
            (&large, Duration::from_secs(1_000_000), 1000),
            (&large, Duration::ZERO, MIN_RESAMPLES),
        ] {
            let mut warnings = Vec::new();
            assert_eq!(with_affordable_resamples(table, &options(budget), &mut warnings).resamples, expected);
            assert_eq!(warnings.len(), usize::from(expected < 1000), "{warnings:?}");
        }
    }
}
