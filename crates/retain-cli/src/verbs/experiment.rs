//! `retain experiment`: how many customers an experiment takes, and what came of one.

mod plan;
mod read;

use anyhow::Result;
use clap::Subcommand;

use crate::exit::Exit;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How many customers it takes to see an effect, or how small an effect so many customers show
    Plan(plan::Arguments),
    /// Compare the arms of an experiment with the control
    Read(read::Arguments),
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::Plan(arguments) => plan::run(arguments, output),
        Command::Read(arguments) => read::run(arguments, output),
    }
}

/// A text of the command line that is a finite number.
fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "should be a number".to_owned())
}
