//! `retain health`: a score from 0 to 100 by rules that people wrote, what it is worth, and weights that the data asks for.

mod audit;
mod fit;
mod health_toml;
mod score;

use anyhow::Result;
use clap::Subcommand;
use retain_policy::assess::Health;
use retain_policy::playbook::Playbook;

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Score every row of a table, in its order: score, band, signals, segments, tier and points
    Score(score::Arguments),
    /// Hold a score against who left: rates by band, their order, and a model with as many alerts
    Audit(audit::Arguments),
    /// Learn the weights of a score from who left, near those that people chose
    Fit(fit::Arguments),
}

pub(crate) fn run(command: &Command, global: &Global, output: Output) -> Result<Exit> {
    match command {
        Command::Score(arguments) => score::run(arguments, output),
        Command::Audit(arguments) => audit::run(arguments, global, output),
        Command::Fit(arguments) => fit::run(arguments, global, output),
    }
}

/// The health score of a playbook.
///
/// # Errors
/// A complaint where it has none.
fn health_of(playbook: &Playbook) -> Result<&Health> {
    playbook.assessment().health.as_ref().ok_or_else(|| {
        let complaint = Complaint::usage(format!("the playbook `{}` defines no health score", playbook.settings.name));
        complaint.hint("write a `[health]`, or name a preset such as `saas-health-a`: `retain playbook list` shows them").into()
    })
}
