//! `retain train`: a feature table and a task become a bundle.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use retain_data::{TableReport, Task, Training};
use retain_eval::{Evaluation, Metric};
use retain_score::{Bundle, MANIFEST};
use retain_train::{MetricsFile, TrainOptions, Trained};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_by_schema, read_task, read_training};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::tables;
use crate::verbs::data::{profile_json, profile_text};

/// Bootstrap resamples behind each interval.
const RESAMPLES: usize = 1000;
/// The metrics of the leaderboard.
const LEADERBOARD: [(Metric, &str); 6] = [
    (Metric::RocAuc, "ROC AUC"),
    (Metric::AveragePrecision, "average precision"),
    (Metric::LogLoss, "log loss"),
    (Metric::BrierScore, "Brier"),
    (Metric::Ece10, "ECE"),
    (Metric::LiftAt10, "top-decile lift"),
];

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
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let started = Instant::now();
    refuse_two_pipes(arguments)?;
    check_out(&arguments.out)?;
    let task = task_with_seed(read_task(&arguments.config)?, global.seed);
    let source = open_table(&arguments.data)?;
    let test_source = arguments.test.as_deref().map(open_table).transpose()?;
    interrupt::watch();

    let training = read_training(&source, &task, output)?;
    let test = test_source
        .map(|source| read_by_schema(&source, &training.dataset.schema, training.report.reference, output))
        .transpose()?
        .map(|test| test.dataset);
    output.text(&profile_text(&training.report, &training.dataset))?;
    let trained = train(&task, &training, test.as_ref(), started, output)?;
    write(&trained.bundle, &arguments.out)?;
    output.text(&summary_text(&trained, Some(&arguments.out)))?;
    output.json(&summary_json(&trained, &training, &arguments.out))?;
    Ok(Exit::GOOD)
}

pub(crate) fn task_with_seed(task: Task, seed: Option<u64>) -> Task {
    Task { seed: seed.unwrap_or(task.seed), ..task }
}

/// Trains under a progress bar and tells the warnings that reading the table did not tell.
pub(crate) fn train(
    task: &Task,
    training: &Training,
    test: Option<&retain_data::Dataset>,
    started: Instant,
    output: Output,
) -> Result<Trained> {
    let progress = Progress::new(output);
    let budget = Duration::from_secs(task.budget_seconds);
    let options = TrainOptions { seed: task.seed, started, budget, resamples: RESAMPLES };
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

fn refuse_two_pipes(arguments: &Arguments) -> Result<()> {
    let is_pipe = |path: &PathBuf| path.as_os_str() == "-";
    let n_pipes = [Some(&arguments.config), Some(&arguments.data), arguments.test.as_ref()].into_iter().flatten();
    if n_pipes.filter(|path| is_pipe(path)).count() > 1 {
        return Err(Complaint::usage("standard input can be only one of `--config`, `--data` and `--test`").into());
    }
    Ok(())
}

/// Refuses, before the long work, a place that the bundle could not be written to.
fn check_out(out: &Path) -> Result<()> {
    let shown = out.display();
    let Some(name) = out.file_name() else {
        return Err(Complaint::usage(format!("`--out {shown}` has no name of its own")).hint("name a new folder").into());
    };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.join("aliases.json").exists() || is_published(out, parent, &name.to_string_lossy()) {
        let message = format!("`--out {shown}` lies among published models, and published versions never change");
        let hint = "write to a folder of its own, then `retain models publish --model DIR` gives it the next version";
        return Err(Complaint::usage(message).hint(hint).into());
    }
    let is_taken = out.is_file() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken && !out.join(MANIFEST).is_file() {
        let message = format!("`--out {shown}` holds something that is not a bundle");
        return Err(Complaint::usage(message).hint("name a folder that is new, empty, or holds a bundle to replace").into());
    }
    check_writable(parent).with_context(|| format!("cannot write to `--out {shown}`"))
}

/// Whether a version lies here that was published without an alias: `<name>/<number>`.
fn is_published(out: &Path, parent: &Path, name: &str) -> bool {
    let is_version = name.parse::<u32>().is_ok() && out.join(MANIFEST).is_file();
    is_version && parent.file_name().is_some_and(|model| Bundle::read(out).is_ok_and(|b| *b.manifest.name.as_str() == *model))
}

/// Tries the nearest folder that exists, since the others will be made inside it.
fn check_writable(folder: &Path) -> std::io::Result<()> {
    let existing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let probe = existing.join(format!(".retain-probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

fn write(bundle: &Bundle, out: &Path) -> Result<()> {
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
        let numbers = tables::metrics(&test.evaluation, &test.baseline);
        format!("\n{}, {} rows:\n\n{numbers}\n", test.measured_on, test.evaluation.n_rows)
    });
    let place = out.map_or_else(String::new, |out| format!("bundle: {}\n", out.display()));
    format!(
        "{}\n\nmeasured on {}\n{test}\nwinner: {} ({}), by log loss\ncalibration: {}\n{place}",
        leaderboard(metrics),
        validation.measured_on,
        manifest.learner,
        manifest.configuration,
        manifest.calibrator
    )
}

/// Every learner with intervals, and the base rate below them.
fn leaderboard(metrics: &MetricsFile) -> String {
    let mut headings = vec!["learner"];
    headings.extend(LEADERBOARD.iter().map(|(_, heading)| *heading));
    headings.push("");
    let mut table = tables::table(&headings, 1);
    let cells = |evaluation: &Evaluation| LEADERBOARD.map(|(metric, _)| tables::interval(evaluation.get(metric)));
    for row in &metrics.leaderboard {
        let mark = match (row.is_winner, row.is_tied) {
            (true, _) => "winner",
            (false, true) => "cannot be told apart",
            (false, false) => "",
        };
        let learner = std::iter::once(row.learner.clone());
        table.add_row(learner.chain(cells(&row.evaluation)).chain([mark.to_owned()]));
    }
    let baseline = LEADERBOARD.map(|(metric, _)| tables::value(metrics.validation.baseline.get(metric)));
    table.add_row(std::iter::once("base rate".to_owned()).chain(baseline));
    let confidence = 100.0 * metrics.validation.evaluation.confidence;
    format!("leaderboard, {confidence:.0} % intervals\n\n{}", tables::render(&table))
}

fn summary_json(trained: &Trained, training: &Training, out: &Path) -> Value {
    let manifest = &trained.bundle.manifest;
    json!({
        "bundle": out,
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
