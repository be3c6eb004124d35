//! Churn: one chance, of an event within the horizon.

use std::time::Instant;

use retain_data::{Dataset, LEARNERS, TableReport, Task};
use retain_eval::{BootstrapOptions, Labelled, Metric, compare, evaluate};
use retain_score::{Calibrator, Head, Model, Predictor};

use crate::bundle::{BundleParts, build_bundle};
use crate::learner::Loss;
use crate::metrics_file::{LeaderboardRow, Measurement, MetricsFile};
use crate::plan::Plan;
use crate::select::{Arena, Entry, select};
use crate::train::{LEADERBOARD_METRICS, Preference, Run, Steps, TrainError, TrainOptions, Trained, bootstrap, learners_for};

/// Resamples of the trial that shows how long one takes.
const TRIAL_RESAMPLES: usize = 20;
/// Up to so many rows × resamples the intervals take a second or two, and no trial is made.
const QUICK_ROW_VISITS: usize = 20_000_000;
/// Fewer resamples say nothing about the ends of an interval, whatever the budget.
const MIN_RESAMPLES: usize = 100;
/// Of the time left, what the intervals may use; the fit on all rows comes after them.
const INTERVALS_SHARE: f64 = 0.5;

/// Trains, calibrates and judges every learner of the task and bundles the best.
pub(crate) fn train_event(
    task: &Task,
    dataset: &Dataset,
    report: &TableReport,
    test: Option<&Dataset>,
    plan: &Plan,
    run: &mut Run<'_>,
) -> Result<Trained, TrainError> {
    let learners = learners_for(task, dataset, Loss::Logistic, &mut run.warnings)?;
    run.steps.plan(learners.len() * (plan.folds.len() + 1) + 2);
    let arena = Arena::new(dataset, plan);
    let context = run.context(Loss::Logistic, plan);
    let entries = select(&arena, &learners, &context, run.selection_until(), run)?;
    let labelled: Vec<Labelled> = entries.iter().map(|entry| judged_predictions(&arena, entry, run)).collect::<Result<_, _>>()?;
    let options = &with_affordable_resamples(&labelled, &LEADERBOARD_METRICS, run);
    let judged = judge(labelled, &entries, options, &run.steps)?;
    let winner = judged.winner;
    run.warnings.extend(judged.warning());
    run.steps.begin("fit on all rows");
    let all_rows: Vec<usize> = (0..dataset.n_rows()).collect();
    let model = model_of(&entries[winner], dataset, &all_rows, run, plan)?;
    model.check(&dataset.schema)?;
    let metrics = metrics_file(plan, &judged, dataset, &model, test, options)?;
    // Where the table's own checks have named a leak, a second voice would say the same.
    if !report.warnings.iter().any(|warning| warning.code.starts_with("leak_")) {
        run.warnings.extend(metrics.suspicion());
    }
    run.steps.done("fit on all rows");
    let bundle = build_bundle(&BundleParts {
        task,
        dataset,
        report,
        plan,
        learner: entries[winner].recipe.name(),
        configuration: entries[winner].recipe.configuration(),
        model,
        metrics: &metrics,
        judged: judged.labelled[winner].probability(),
        warnings: &run.warnings,
        budget_bound: run.is_cut_short,
        seed: options.seed,
    })?;
    Ok(Trained { bundle, metrics, warnings: run.warnings.clone() })
}

/// The entry fitted to these rows, with the calibrator that its out-of-fold margins gave.
fn model_of(entry: &Entry, dataset: &Dataset, row_idxs: &[usize], run: &Run<'_>, plan: &Plan) -> Result<Model, TrainError> {
    let margin = entry.recipe.fit(dataset, row_idxs, &run.context(Loss::Logistic, plan))?;
    let calibrator = entry.calibration.as_ref().map_or(Calibrator::Identity, |calibration| calibration.calibrator.clone());
    Ok(Model::Event(Head { margin, calibrator }))
}

/// Predictions of every entry on the rows that judge it, and what they are worth.
struct Judged {
    labelled: Vec<Labelled>,
    /// Best first by what the choice was made by.
    rows: Vec<LeaderboardRow>,
    /// The entry to be bundled.
    winner: usize,
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

/// The options with no more resamples than the rest of the budget allows; all that were asked for where the table is small.
pub(crate) fn with_affordable_resamples(labelled: &[Labelled], metrics: &[Metric], run: &mut Run<'_>) -> TrainOptions {
    let options = run.options;
    let Some(first) = labelled.first() else { return *options };
    if first.n_rows().saturating_mul(options.resamples) <= QUICK_ROW_VISITS {
        return *options;
    }
    let trial = |resamples: usize| {
        let started = Instant::now();
        evaluate(first, metrics, &BootstrapOptions { resamples, ..bootstrap(options) });
        started.elapsed().as_secs_f64()
    };
    // Sorting the rows takes as long whatever the resamples.
    let sorting = trial(1);
    // Each entry is measured and compared, which measures two; the winner and the base rate are measured once more.
    let n_measured = (3 * labelled.len()) as f64;
    let seconds_each = (trial(TRIAL_RESAMPLES + 1) - sorting).max(1e-6) * n_measured / TRIAL_RESAMPLES as f64;
    let left = INTERVALS_SHARE * options.budget.saturating_sub(options.started.elapsed()).as_secs_f64();
    let resamples = options.resamples.min(((left / seconds_each) as usize).max(MIN_RESAMPLES));
    if resamples < options.resamples {
        run.cut_short(&format!("the intervals come from {resamples} resamples instead of {}", options.resamples));
    }
    TrainOptions { resamples, ..*options }
}

/// Measures the entries, which stand best first, and chooses the one to be bundled.
fn judge(labelled: Vec<Labelled>, entries: &[Entry], options: &TrainOptions, steps: &Steps<'_>) -> Result<Judged, TrainError> {
    let differences = (0..entries.len())
        .map(|position| {
            let versus_first =
                |labelled: &[Labelled]| compare(&labelled[position], &labelled[0], &[Metric::LogLoss], &bootstrap(options));
            Ok(if position == 0 { None } else { versus_first(&labelled)?.into_iter().next() })
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let is_tied: Vec<bool> = differences.iter().map(|d| d.is_some_and(|d| d.low <= 0.0 && d.high >= 0.0)).collect();
    let winner = match options.prefer {
        Preference::Accurate => 0,
        Preference::Simple => simplest(entries, &is_tied),
    };
    let better = entries.iter().zip(&differences).filter(|(_, difference)| difference.is_some_and(|d| d.low > 0.0));
    let better = better.map(|(entry, _)| entry.recipe.name()).collect();
    let mut rows = Vec::with_capacity(entries.len());
    for (position, entry) in entries.iter().enumerate() {
        rows.push(LeaderboardRow {
            learner: entry.recipe.name().to_owned(),
            configuration: entry.recipe.configuration(),
            n_configurations: entry.n_configurations,
            calibrator: entry.calibration.as_ref().map_or("none", |calibration| calibration.calibrator.name()).to_owned(),
            selection_loss: entry.loss,
            is_winner: position == winner,
            is_tied: is_tied[position],
            evaluation: evaluate(&labelled[position], &LEADERBOARD_METRICS, &bootstrap(options)),
        });
        steps.done(entry.recipe.name());
    }
    Ok(Judged { labelled, rows, winner, better })
}

/// The simplest of the first entry and those that cannot be told apart from it.
fn simplest(entries: &[Entry], is_tied: &[bool]) -> usize {
    // A blend is none of the learners, and comes after them.
    let rank = |entry: &Entry| LEARNERS.iter().position(|name| *name == entry.recipe.name()).unwrap_or(LEARNERS.len());
    let allowed = (0..entries.len()).filter(|&position| position == 0 || is_tied[position]);
    allowed.min_by_key(|&position| rank(&entries[position])).unwrap_or(0)
}

/// Without dates: the cross-fitted probabilities of the folds. With dates: a fit on all rows before the test block, on that block.
fn judged_predictions(arena: &Arena<'_>, entry: &Entry, run: &Run<'_>) -> Result<Labelled, TrainError> {
    let Some(test) = &arena.plan.test else {
        let probabilities = entry.calibration.as_ref().map_or(&[][..], |calibration| &calibration.probabilities);
        return Ok(Labelled::new(&arena.judged_target(), probabilities, &arena.judged_group())?);
    };
    let dataset = arena.dataset;
    let model = model_of(entry, dataset, &test.train, run, arena.plan)?;
    let target: Vec<f64> = test.validate.iter().map(|&row_idx| dataset.target[row_idx]).collect();
    let group: Vec<u32> = test.validate.iter().map(|&row_idx| dataset.group[row_idx]).collect();
    Ok(Labelled::new(&target, &probabilities(&model, dataset, &test.validate)?, &group)?)
}

fn probabilities(model: &Model, dataset: &Dataset, row_idxs: &[usize]) -> Result<Vec<f64>, TrainError> {
    let predictor = Predictor::new(model, &dataset.schema)?;
    let rows = dataset.rows(row_idxs);
    Ok(rows.in_order().map(|row| predictor.predict(row).probability).collect())
}

fn metrics_file(
    plan: &Plan,
    judged: &Judged,
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
    let on_judged = Measurement::new(&plan.measured_on(), &judged.labelled[judged.winner], base_rate, &bootstrap(options))?;
    MetricsFile::new(on_judged, judged.rows.clone(), test, dataset, model).map_err(Into::into)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::blend::{Part, Recipe};
    use crate::calibration::Calibration;
    use crate::learner::Configuration;
    use crate::learners;

    fn options(budget: Duration) -> TrainOptions {
        TrainOptions { seed: 1, started: Instant::now(), budget, resamples: 1000, prefer: Preference::Accurate }
    }

    /// Rows of which a quarter leave, told apart by `spread` in probability.
    fn labelled(n_rows: usize, spread: f64) -> Labelled {
        let target: Vec<f64> = (0..n_rows).map(|row| f64::from(u8::from(row % 4 == 0))).collect();
        let probability: Vec<f64> = target.iter().map(|label| 0.25 + spread * (label - 0.25)).collect();
        Labelled::new(&target, &probability, &(0..n_rows as u32).collect::<Vec<_>>()).unwrap()
    }

    /// An entry of one member, or of two.
    fn entry(names: &[&str]) -> Entry {
        let part = |name: &&str| Part {
            learner: learners::by_name(name).unwrap(),
            configuration: Configuration::new(&[]),
            weight: 1.0 / names.len() as f64,
            max_rows: None,
        };
        let calibration = Calibration { calibrator: Calibrator::Identity, probabilities: Vec::new(), log_loss: 0.5 };
        Entry {
            recipe: Recipe { parts: names.iter().map(part).collect() },
            n_configurations: 1,
            margins: Vec::new(),
            loss: 0.5,
            calibration: Some(calibration),
        }
    }

    #[test]
    fn a_learner_surely_better_than_the_winner_is_named_and_not_called_tied() {
        let entries = [entry(&["tree"]), entry(&["logistic"]), entry(&["forest"])];
        let labelled = vec![labelled(400, 0.1), labelled(400, 0.9), labelled(400, 0.1)];
        let judged = judge(labelled, &entries, &options(Duration::MAX), &Steps::new(&|_, _, _| ())).unwrap();
        assert_eq!(judged.better, ["logistic"]);
        let tied: Vec<&str> = judged.rows.iter().filter(|row| row.is_tied).map(|row| row.learner.as_str()).collect();
        assert_eq!(tied, ["forest"]);
        assert!(judged.warning().unwrap().contains("`logistic` has a lower log loss"));
    }

    #[test]
    fn who_prefers_the_simple_gets_the_simplest_that_cannot_be_told_apart() {
        let entries = [entry(&["forest", "tree"]), entry(&["forest"]), entry(&["tree"]), entry(&["logistic"])];
        let labelled = vec![labelled(400, 0.5), labelled(400, 0.5), labelled(400, 0.5), labelled(400, 0.1)];
        let steps = Steps::new(&|_, _, _| ());
        let accurate = judge(labelled.clone(), &entries, &options(Duration::MAX), &steps).unwrap();
        assert_eq!(accurate.winner, 0);
        let simple = TrainOptions { prefer: Preference::Simple, ..options(Duration::MAX) };
        let simple = judge(labelled, &entries, &simple, &steps).unwrap();
        assert_eq!(entries[simple.winner].recipe.name(), "tree", "the logistic regression is surely worse");
        assert!(simple.rows[2].is_winner && !simple.rows[0].is_winner);
    }

    #[test]
    fn resamples_fall_only_where_a_large_table_meets_a_spent_budget() {
        let (small, large) = ([labelled(1_000, 0.5)], [labelled(30_000, 0.5)]);
        for (table, budget, expected) in [
            (&small, Duration::ZERO, 1000),
            (&large, Duration::from_secs(1_000_000), 1000),
            (&large, Duration::ZERO, MIN_RESAMPLES),
        ] {
            let options = options(budget);
            let steps = Steps::new(&|_, _, _| ());
            let mut run = Run { options: &options, steps, warnings: Vec::new(), is_cut_short: false };
            assert_eq!(with_affordable_resamples(table, &LEADERBOARD_METRICS, &mut run).resamples, expected);
            assert_eq!((run.warnings.len(), run.is_cut_short), (usize::from(expected < 1000), expected < 1000));
        }
    }
}
