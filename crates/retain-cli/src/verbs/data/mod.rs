//! `retain data`: what is in a table, and what of it should not be.

pub(crate) mod leakage;
pub(crate) mod profile;

use anyhow::Result;
use clap::Subcommand;

use crate::exit::Exit;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The columns of a table, their inferred kinds, and what is odd about them
    Profile(profile::Arguments),
    /// Columns and rows that know the answer: what makes a model look better than it is
    Leakage(leakage::Arguments),
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::Profile(arguments) => profile::run(arguments, output),
        Command::Leakage(arguments) => leakage::run(arguments, output),
    }
}
