//! `retain playbook validate`: every problem as `FILE:LINE:COLUMN: error: …`, with what would put it right below.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use retain_policy::playbook::{Playbook, Problem, Severity};
use retain_policy::presets::BuiltIn;
use serde_json::{Value, json};

use super::unknown;
use crate::exit::Exit;
use crate::input::{open_table, read_bundle, read_text};
use crate::output::Output;
use crate::playbook_file::model_folder;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The playbooks; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A table of customers: rules may read its columns, and what neither it nor a model has is told
    #[arg(long, value_name = "TABLE")]
    data: Option<PathBuf>,
    /// Folder of published models: those of the playbook have to be there, and rules may read their features
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

/// What was found in one file.
struct Checked<'a> {
    file: &'a Path,
    problems: Vec<Problem>,
    /// What there is in a playbook that can be used.
    holds: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let columns = match &arguments.data {
        Some(path) => Some(open_table(path)?.columns().to_vec()),
        None => None,
    };
    let checked = arguments.files.iter().map(|file| check(file, columns.as_deref(), arguments.models.as_deref()));
    let checked = checked.collect::<Result<Vec<_>>>()?;
    output.text(&checked.iter().map(Checked::text).collect::<Vec<_>>().join("\n"))?;
    output.json(&checked.iter().flat_map(Checked::json).collect::<Vec<_>>())?;
    let counts = |problem: &Problem| problem.severity == Severity::Error || arguments.strict;
    let is_wrong = checked.iter().flat_map(|checked| &checked.problems).any(counts);
    Ok(if is_wrong { Exit::USAGE } else { Exit::GOOD })
}

fn check<'a>(file: &'a Path, columns: Option<&[String]>, models: Option<&Path>) -> Result<Checked<'a>> {
    let text = read_text(file, "playbook")?;
    let playbook = match Playbook::parse(&text, &BuiltIn) {
        Ok(playbook) => playbook,
        Err(problems) => return Ok(Checked { file, problems, holds: None }),
    };
    let mut problems = playbook.warnings().to_vec();
    let mut known: Vec<String> = columns.unwrap_or_default().to_vec();
    if let Some(models) = models {
        for model in &playbook.models {
            let bundle = model_folder(&model.address, models).and_then(|folder| read_bundle(&folder));
            match bundle {
                Ok(bundle) => known.extend(bundle.schema.features.iter().map(|feature| feature.name.clone())),
                Err(error) => problems.push(unknown::model(&playbook, model, &error)),
            }
        }
    }
    if columns.is_some() || models.is_some() {
        problems.extend(unknown::features(&playbook, &known.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(Checked { file, problems, holds: Some(holds(&playbook)) })
}

fn holds(playbook: &Playbook) -> String {
    let assessment = playbook.assessment();
    let counts = [
        (playbook.actions.len(), "actions"),
        (playbook.sequences.len(), "sequences"),
        (assessment.signals.len(), "signals"),
        (assessment.segments.len(), "segments"),
    ];
    let counts = counts.map(|(n, what)| format!("{n} {what}")).join(", ");
    let health = assessment.health.as_ref().map_or_else(String::new, |health| format!(", health `{}`", health.name));
    format!("`{}`: {counts}{health}", playbook.settings.name)
}

impl Checked<'_> {
    fn text(&self) -> String {
        let file = self.file.display();
        let mut lines: Vec<String> = self.problems.iter().map(|problem| self.line(problem)).collect();
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        let n_errors = self.problems.iter().filter(is_error).count();
        let counts = format!("{n_errors} errors, {} warnings", self.problems.len() - n_errors);
        lines.push(self.holds.as_ref().map_or_else(|| format!("{file}: {counts}"), |holds| format!("{file}: {counts}; {holds}")));
        lines.join("\n")
    }

    fn line(&self, problem: &Problem) -> String {
        let (file, place) = (self.file.display(), &problem.place);
        let preset = place.preset.as_ref().map_or_else(String::new, |preset| format!(" preset `{preset}`:"));
        let (line, column, severity) = (place.line, place.column, severity(problem));
        format!("{file}:{preset}{line}:{column}: {severity}: {}\n  fix: {}", problem.what, problem.fix)
    }

    fn json(&self) -> Vec<Value> {
        let file = self.file.display().to_string();
        let one = |problem: &Problem| {
            json!({
                "file": file,
                "preset": problem.place.preset,
                "line": problem.place.line,
                "column": problem.place.column,
                "severity": severity(problem),
                "what": problem.what,
                "fix": problem.fix,
            })
        };
        self.problems.iter().map(one).collect()
    }
}

fn severity(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
