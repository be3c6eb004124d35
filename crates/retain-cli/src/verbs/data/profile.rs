//! `retain data profile`: what is in a table, as training would see it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use retain_core::ColumnKind;
use retain_data::{ColumnRole, ColumnSummary, Dataset, TableReport};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::input::{open_table, read_task, read_training};
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
    output.text(&profile_text(&training.report, &training.dataset))?;
    output.json(&profile_json(&training.report, &training.dataset))?;
    Ok(Exit::GOOD)
}

/// The table in one line and its columns.
pub(crate) fn profile_text(report: &TableReport, dataset: &Dataset) -> String {
    let positives = dataset.n_positives();
    let observed = report.observed.map_or_else(String::new, |(first, last)| format!(", observed from {first} to {last}"));
    let facts = format!(
        "{} rows, {} customers, {positives} positive ({:.2} %), {} features{observed}",
        report.n_rows,
        dataset.n_groups(),
        100.0 * positives as f64 / report.n_rows.max(1) as f64,
        dataset.n_features()
    );
    let mut table = tables::table(&["column", "role", "kind", "missing", "distinct"], 3);
    for column in &report.columns {
        let count = |n: Option<usize>| n.map_or_else(String::new, |n| n.to_string());
        let kind = column.kind.map_or("", |kind| kind.as_str());
        table.add_row([&column.name, role(column.role), kind, &count(column.n_missing), &count(column.n_distinct)]);
    }
    format!("{facts}\n\n{}\n", tables::render(&table))
}

/// The same for programs.
pub(crate) fn profile_json(report: &TableReport, dataset: &Dataset) -> Value {
    json!({
        "n_rows": report.n_rows,
        "n_positives": dataset.n_positives(),
        "n_customers": dataset.n_groups(),
        "n_features": dataset.n_features(),
        "observed": report.observed.map(|(first, last)| json!({ "from": first.to_string(), "to": last.to_string() })),
        "reference_day": report.reference.map(|day| day.to_string()),
        "sha256": report.sha256,
        "columns": report.columns.iter().map(column_json).collect::<Vec<_>>(),
        "warnings": report.warnings.iter().map(|w| json!({ "code": w.code, "message": w.message })).collect::<Vec<_>>(),
    })
}

fn column_json(column: &ColumnSummary) -> Value {
    json!({
        "name": column.name,
        "role": role(column.role),
        "kind": column.kind.map(ColumnKind::as_str),
        "n_missing": column.n_missing,
        "n_distinct": column.n_distinct,
    })
}

fn role(role: ColumnRole) -> &'static str {
    match role {
        ColumnRole::Feature => "feature",
        ColumnRole::Entity => "entity",
        ColumnRole::Target => "target",
        ColumnRole::ObservedAt => "observed_at",
        ColumnRole::Group => "group",
        ColumnRole::Duration => "duration",
        ColumnRole::Treatment => "treatment",
        ColumnRole::Excluded => "excluded",
        ColumnRole::Dropped => "dropped",
        ColumnRole::Unused => "unused",
    }
}
