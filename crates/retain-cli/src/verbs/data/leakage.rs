//! `retain data leakage`: looks for what knows the answer; `retain train` asks the same questions first.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use retain_data::{Finding, LeakReport, NOT_SHOWN, Severity, Task, Training, Twins, find_leaks, keep_together};
use serde_json::{Value, json};

use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_task, read_training, today};
use crate::output::Output;
use crate::tables;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The task file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The feature table: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let task = read_task(&arguments.config)?;
    let source = open_table(&arguments.data)?;
    let training = read_training(&source, &task, output)?;
    let leaks = find_leaks(&training.dataset, &task, today());
    output.text(&report_text(&leaks, training.dataset.n_rows()))?;
    output.json(&report_json(&leaks, &training))?;
    Ok(if leaks.refusals().next().is_some() { Exit::DATA } else { Exit::GOOD })
}

/// Looks for leaks before training: refuses what is certain, adds the rest to the warnings of the table, and keeps twins in one fold.
///
/// # Errors
/// A [`Complaint`] with the code for data that names every column to exclude or allow.
pub(crate) fn check(training: &mut Training, task: &Task, output: Output) -> Result<()> {
    let leaks = find_leaks(&training.dataset, task, today());
    let refusals: Vec<String> = leaks.refusals().map(ToString::to_string).collect();
    if !refusals.is_empty() {
        let message = format!("the table knows what the model should predict:\n  {}", refusals.join("\n  "));
        return Err(Complaint::new(Exit::DATA, message).hint("`retain data leakage` shows all that was found").into());
    }
    keep_together(&mut training.dataset, &leaks.twins);
    for warning in leaks.warnings() {
        output.warn(warning.code, &warning.message);
        training.report.warnings.push(warning);
    }
    Ok(())
}

/// Groups of twins that are listed row by row.
const LISTED_TWINS: usize = 1000;

/// The findings as a table, what each means below it, and what cannot be seen here.
fn report_text(leaks: &LeakReport, n_rows: usize) -> String {
    let mut text = format!("{n_rows} rows, {}\n\n", summary(leaks));
    if !leaks.findings.is_empty() {
        let mut table = tables::table(&["severity", "finding", "columns", "measure", "figure"], 4);
        for finding in &leaks.findings {
            let figure = figure_text(finding.figure);
            table.add_row([severity_text(finding), finding.code, &finding.columns.join(", "), finding.measure, &figure]);
        }
        let details: Vec<String> = leaks.findings.iter().map(|finding| format!("- {finding}")).collect();
        text = format!("{text}{}\n\n{}\n\n", tables::render(&table), details.join("\n"));
    }
    let unseen: Vec<String> = NOT_SHOWN.iter().map(|what| format!("- {what}")).collect();
    format!("{text}what one table cannot show:\n{}\n", unseen.join("\n"))
}

fn summary(leaks: &LeakReport) -> String {
    if leaks.findings.is_empty() {
        return "nothing found that knows the answer".to_owned();
    }
    let count = |severity: Severity| leaks.findings.iter().filter(|finding| finding.severity == severity).count();
    let counts = [Severity::Certain, Severity::Likely, Severity::Note]
        .map(|severity| format!("{} {}", count(severity), severity.as_str()));
    let refused = leaks.refusals().count();
    let verdict = if refused > 0 { "training would be refused" } else { "training would go on" };
    format!("{}: {verdict}", counts.join(", "))
}

fn severity_text(finding: &Finding) -> &'static str {
    if finding.allowed { "allowed" } else { finding.severity.as_str() }
}

/// Counts as they are, shares and strengths with four digits.
fn figure_text(figure: f64) -> String {
    if figure.fract() == 0.0 && figure.abs() > 1.0 { format!("{figure}") } else { format!("{figure:.4}") }
}

fn report_json(leaks: &LeakReport, training: &Training) -> Value {
    json!({
        "n_rows": training.dataset.n_rows(),
        "sha256": training.report.sha256,
        "refused": leaks.refusals().next().is_some(),
        "findings": leaks.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "twins": twins_json(&leaks.twins),
        "not_shown": NOT_SHOWN,
    })
}

/// Rows are counted from 1, and only those with a label.
fn twins_json(twins: &Twins) -> Value {
    let numbered = |rows: &Vec<usize>| rows.iter().map(|row| row + 1).collect::<Vec<_>>();
    json!({
        "n_rows": twins.n_rows(),
        "n_customers": twins.groups.len(),
        "n_shifted": twins.n_shifted,
        "rows": twins.groups.iter().take(LISTED_TWINS).map(numbered).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "code": finding.code,
        "severity": finding.severity.as_str(),
        "columns": finding.columns,
        "measure": finding.measure,
        "figure": finding.figure,
        "message": finding.message,
        "fix": finding.fix,
        "allowed": finding.allowed,
    })
}
