//! Reads playbooks for the verbs that assess and decide.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use retain_core::ModelAddress;
use retain_policy::playbook::{Language, Playbook, Problem, Severity};
use retain_policy::presets::BuiltIn;
use retain_score::Registry;

use crate::exit::Complaint;
use crate::input::read_text;
use crate::output::Output;

/// Problems that are told where a playbook is only used; `playbook validate` tells all.
const TOLD_PROBLEMS: usize = 5;

/// A language of texts for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tongue {
    /// English
    En,
    /// Spanish
    Es,
}

impl From<Tongue> for Language {
    fn from(tongue: Tongue) -> Self {
        match tongue {
            Tongue::En => Self::English,
            Tongue::Es => Self::Spanish,
        }
    }
}

/// Reads a playbook that can be used, and tells its warnings.
///
/// # Errors
/// A complaint with the first problems of one that cannot.
pub(crate) fn read_playbook(path: &Path, output: Output) -> Result<Playbook> {
    let text = read_text(path, "playbook")?;
    let playbook = Playbook::parse(&text, &BuiltIn).map_err(|problems| unusable(path, &problems))?;
    for warning in playbook.warnings() {
        output.warn("playbook", &format!("{}: {}; {}", warning.place, warning.what, warning.fix));
    }
    Ok(playbook)
}

fn unusable(path: &Path, problems: &[Problem]) -> Complaint {
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    let told: Vec<String> = errors.iter().take(TOLD_PROBLEMS).map(|problem| format!("\n  {problem}")).collect();
    let message = format!("the playbook `{}` cannot be used:{}", path.display(), told.concat());
    let more = match errors.len().saturating_sub(TOLD_PROBLEMS) {
        0 => String::new(),
        n => format!("\n  … and {n} more"),
    };
    let hint = format!("`retain playbook validate {}` tells every problem with its place", path.display());
    Complaint::usage(format!("{message}{more}")).hint(hint)
}

/// The folder of the bundle that a playbook's model stands for.
pub(crate) fn model_folder(address: &ModelAddress, models: &Path) -> Result<PathBuf> {
    let found = Registry::new(models).resolve(address);
    found.with_context(|| format!("cannot find the model `{address}` of the playbook in `{}`", models.display()))
}
