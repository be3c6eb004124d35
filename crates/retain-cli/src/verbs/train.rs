//! `retain train`: a feature table and a task become a bundle.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use retain_data::{TableReport, Task, Training};
use retain_eval::{Evaluation, Horizon, Interval, Metric, OutcomeKind};
use retain_score::Bundle;
use retain_train::{MetricsFile, Preference, TrainOptions, Trained, UpliftReport, Verdict};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_by_schema, read_task, read_training};
use crate::interrupt;
use crate::out_folder;
use crate::output::Output;
use crate::progress::Progress;
use crate::tables;
use crate::verbs::data::leakage;
use crate::verbs::data::{profile_json, profile_text};

/// Bootstrap resamples behind each interval.
const RESAMPLES: usize = 1000;
/// Metrics and their headings.
type Headings = &'static [(Metric, &'static str)];

/// The metrics of the leaderboard.
fn headings(kind: OutcomeKind) -> Headings {
    match kind {
        OutcomeKind::Binary => &[
            (Metric::RocAuc, "ROC AUC"),
            (Metric::AveragePrecision, "average precision"),
            (Metric::LogLoss, "log loss"),
            (Metric::BrierScore, "Brier"),
            (Metric::Ece10, "ECE"),
            (Metric::LiftAt10, "top-decile lift"),
        ],
        OutcomeKind::Value => &[
            (Metric::NormalizedGini, "normalized Gini"),
            (Metric::Spearman, "Spearman"),
            (Metric::DecileMape, "decile MAPE"),
            (Metric::TotalBias, "total bias"),
            (Metric::Mae, "MAE"),
            (Metric::Rmse, "RMSE"),
        ],
        OutcomeKind::Uplift => &[
            (Metric::Qini, "Qini"),
            (Metric::Auuc, "AUUC"),
            (Metric::UpliftAt30, "uplift@30"),
            (Metric::AverageEffect, "average effect"),
            (Metric::EffectBias, "bias"),
        ],
        OutcomeKind::Survival => &[
            (Metric::UnoC, "Uno's C"),
            (Metric::IntegratedBrier, "integrated Brier"),
            (Metric::SurvivalEce(Horizon::Days30), "ECE 30 d"),
            (Metric::SurvivalEce(Horizon::Days90), "ECE 90 d"),
            (Metric::SurvivalEce(Horizon::Days180), "ECE 180 d"),
            (Metric::DCalibrationP, "D-calibration p"),
        ],
    }
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The task file: what to predict, from which columns
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The feature table: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Another table to measure the finished model on; nothing is chosen by it
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// Folder of the bundle; a bundle that lies there already is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which model to bundle where several cannot be told apart: the one of least loss, or the simplest
    #[arg(long, value_enum, default_value_t)]
    prefer: Prefer,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Prefer {
    #[default]
    Accurate,
    Simple,
}

impl From<Prefer> for Preference {
    fn from(prefer: Prefer) -> Self {
        match prefer {
            Prefer::Accurate => Self::Accurate,
            Prefer::Simple => Self::Simple,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let started = Instant::now();
    refuse_two_pipes(arguments)?;
    let place = out_folder::check(&arguments.out)?;
    let task = task_with_seed(read_task(&arguments.config)?, global.seed);
    let source = open_table(&arguments.data)?;
    let test_source = arguments.test.as_deref().map(open_table).transpose()?;
    interrupt::watch();

    let mut training = read_training(&source, &task, output)?;
    leakage::check(&mut training, &task, output)?;
    let test = test_source
        .map(|source| read_by_schema(&source, &training.dataset.schema, training.report.reference, output))
        .transpose()?;
    warn_of_same_table(&training, test.as_ref(), output);
    let test = test.map(|test| test.dataset);
    output.text(&profile_text(&training.report, &training.dataset))?;
    let trained = train(&task, &training, test.as_ref(), Start { at: started, prefer: arguments.prefer.into() }, output)?;
    write(&trained.bundle, &place)?;
    output.text(&summary_text(&trained, Some(&arguments.out)))?;
    output.json(&summary_json(&trained, &training, &arguments.out))?;
    Ok(Exit::GOOD)
}

pub(crate) fn task_with_seed(task: Task, seed: Option<u64>) -> Task {
    Task { seed: seed.unwrap_or(task.seed), ..task }
}

/// When a run began, and what it was asked for beside the task.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) at: Instant,
    pub(crate) prefer: Preference,
}

/// Trains under a progress bar and tells the warnings that reading the table did not tell.
pub(crate) fn train(
    task: &Task,
    training: &Training,
    test: Option<&retain_data::Dataset>,
    start: Start,
    output: Output,
) -> Result<Trained> {
    let progress = Progress::new(output);
    let budget = Duration::from_secs(task.budget_seconds);
    let options = TrainOptions { seed: task.seed, started: start.at, budget, resamples: RESAMPLES, prefer: start.prefer };
    let tell = |what: &str, done: usize, total: usize| progress.update(what, done, total);
    let trained = retain_train::train(task, &training.dataset, &training.report, test, &options, &tell);
    progress.finish();
    let trained = trained.with_context(|| format!("cannot train `{}`", task.name))?;
    for warning in trained.warnings.iter().filter(|warning| !is_of_table(warning, &training.report)) {
        output.warn("training", warning);
    }
    Ok(trained)
}

fn is_of_table(warning: &str, report: &TableReport) -> bool {
    report.warnings.iter().any(|known| known.message == warning)
}

fn warn_of_same_table(training: &Training, test: Option<&Training>, output: Output) {
    if test.is_some_and(|test| test.report.sha256 == training.report.sha256) {
        let message = "`--test` is the table that is trained on: the model looks better there than on new customers";
        output.warn("training_table", message);
    }
}

fn refuse_two_pipes(arguments: &Arguments) -> Result<()> {
    let is_pipe = |path: &PathBuf| path.as_os_str() == "-";
    let n_pipes = [Some(&arguments.config), Some(&arguments.data), arguments.test.as_ref()].into_iter().flatten();
    if n_pipes.filter(|path| is_pipe(path)).count() > 1 {
        return Err(Complaint::usage("standard input can be only one of `--config`, `--data` and `--test`").into());
    }
    Ok(())
}

pub(crate) fn write(bundle: &Bundle, out: &Path) -> Result<()> {
    let attempt = || format!("cannot write the bundle `{}`", out.display());
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(attempt)?;
    }
    interrupt::uninterrupted(|| bundle.replace(out)).with_context(attempt)
}

/// The leaderboard and how the winner came to be.
pub(crate) fn summary_text(trained: &Trained, out: Option<&Path>) -> String {
    let (manifest, metrics) = (&trained.bundle.manifest, &trained.metrics);
    let validation = &metrics.validation;
    let test = metrics.test.as_ref().map_or_else(String::new, |test| {
        let numbers = tables::metrics(test);
        format!("\n{}, {} rows:\n\n{numbers}\n", test.measured_on, test.evaluation.n_rows)
    });
    let place = out.map_or_else(String::new, |out| format!("bundle: {}\n", out.display()));
    format!(
        "{}{}\n\nmeasured on {}\n{test}\n{}: {} ({})\ncalibration: {}\n{place}",
        leaderboard(metrics),
        metrics.uplift.as_ref().map_or_else(String::new, |uplift| format!("\n\n{}", uplift_text(uplift))),
        validation.measured_on,
        why(metrics),
        manifest.learner,
        manifest.configuration,
        manifest.calibrator
    )
}

/// What made the bundled model the one.
fn why(metrics: &MetricsFile) -> &'static str {
    let is_first = metrics.leaderboard.first().is_some_and(|row| row.is_winner);
    match metrics.validation.evaluation.kind {
        _ if !is_first => "simplest that cannot be told apart",
        OutcomeKind::Binary => "least log loss",
        OutcomeKind::Value => "best order of customers",
        OutcomeKind::Survival => "least log loss of leaving in a period",
        OutcomeKind::Uplift => "largest Qini coefficient",
    }
}

/// Every learner on two lines, values above their intervals, so that six metrics fit into 120 columns; the base rate below them.
fn leaderboard(metrics: &MetricsFile) -> String {
    let kind = metrics.validation.evaluation.kind;
    let of_kind = headings(kind);
    let headings = std::iter::once("learner").chain(of_kind.iter().map(|(_, heading)| *heading));
    let mut table = tables::table(&headings.collect::<Vec<_>>(), 1);
    let texts = |text: &dyn Fn(Metric) -> String| of_kind.iter().map(|(metric, _)| text(*metric)).collect::<Vec<_>>();
    let values = |evaluation: &Evaluation| texts(&|metric| tables::value(evaluation.get(metric)));
    let intervals = |evaluation: &Evaluation| texts(&|metric| tables::interval(evaluation.get(metric)));
    for row in &metrics.leaderboard {
        let mark = match (row.is_winner, row.is_tied) {
            (true, _) => "  winner",
            (false, true) => "  tied",
            (false, false) => "",
        };
        table.add_row(std::iter::once(row.learner.clone()).chain(values(&row.evaluation)));
        table.add_row(std::iter::once(mark.to_owned()).chain(intervals(&row.evaluation)));
    }
    table.add_row(std::iter::once(metrics.validation.baseline_is.clone()).chain(values(&metrics.validation.baseline)));
    let confidence = 100.0 * metrics.validation.evaluation.confidence;
    let is_tied = metrics.leaderboard.iter().any(|row| row.is_tied && !row.is_winner);
    let tied_by = match kind {
        OutcomeKind::Binary => "its log loss",
        OutcomeKind::Value => "normalized Gini and Spearman",
        OutcomeKind::Survival => "its integrated Brier score",
        OutcomeKind::Uplift => "its Qini coefficient",
    };
    let legend =
        if is_tied { format!("\n\ntied: the paired interval of {tied_by} leaves open which is better") } else { String::new() };
    format!("leaderboard, {confidence:.0} % intervals\n\n{}{legend}", tables::render(&table))
}

/// What each treatment changes, whether customers can be told apart, and what following that would have brought.
fn uplift_text(uplift: &UpliftReport) -> String {
    let interval = |one: &Interval| format!("{:.4} [{:.4}, {:.4}]", one.value, one.low, one.high);
    let mut treatments = tables::table(&["treatment", "verdict", "Qini", "average effect", "slope", "treated", "controls"], 2);
    for one in &uplift.treatments {
        treatments.add_row([
            one.treatment.clone(),
            one.verdict.name().to_owned(),
            interval(&one.qini),
            interval(&one.average),
            interval(&one.slope),
            one.n_treated.to_string(),
            one.n_controls.to_string(),
        ]);
    }
    let mut policies = tables::table(&["policy", "treated", "mean outcome", "gain of choosing"], 1);
    for one in &uplift.policies {
        let treated = format!("{:.1} %", 100.0 * one.treated);
        policies.add_row([one.policy.clone(), treated, interval(&one.doubly_robust), interval(&one.gain_of_choosing)]);
    }
    let inconclusive = uplift.treatments.iter().filter(|one| one.verdict == Verdict::Inconclusive);
    let names: Vec<String> = inconclusive.map(|one| format!("`{}`", one.treatment)).collect();
    let legend = if names.is_empty() {
        String::new()
    } else {
        format!(
            "\n\ninconclusive: the order of customers could be chance; {} is said to do the same for everybody",
            names.join(", ")
        )
    };
    format!(
        "effects compared with `{}`; above 0 is good\n\n{}{legend}\n\n{}",
        uplift.control,
        tables::render(&treatments),
        tables::render(&policies)
    )
}

fn summary_json(trained: &Trained, training: &Training, out: &Path) -> Value {
    let manifest = &trained.bundle.manifest;
    json!({
        "bundle": out.display().to_string(),
        "model": manifest.name,
        "learner": manifest.learner,
        "configuration": manifest.configuration,
        "calibrator": manifest.calibrator,
        "validation": manifest.validation,
        "seed": manifest.seed,
        "table": profile_json(&training.report, &training.dataset),
        "warnings": trained.warnings,
        "metrics": trained.metrics,
    })
}
