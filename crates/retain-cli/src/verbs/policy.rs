//! `retain policy`: how good a policy of actions is, by the log of another one or in a world whose truth is known.

mod evaluate;
mod judged;
mod logged;
mod simulate;
mod stored;

use anyhow::Result;
use clap::Subcommand;

use crate::cli::Global;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What another policy would have earned, from what was logged under the one that decided
    Evaluate(Box<evaluate::Arguments>),
    /// Let the learner decide in worlds with planted effects, beside an oracle that knows them
    Simulate(simulate::Arguments),
}

pub(crate) fn run(command: &Command, global: &Global, output: Output) -> Result<Exit> {
    match command {
        Command::Evaluate(arguments) => evaluate::run(arguments, global, output),
        Command::Simulate(arguments) => simulate::run(arguments, global, output),
    }
}
