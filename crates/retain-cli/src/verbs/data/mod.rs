//! `retain data`: what is in a table, what of it should not be, and tables made of transaction logs.

pub(crate) mod leakage;
mod profile;
mod transactions;

use anyhow::Result;
use clap::Subcommand;

use crate::exit::Exit;
use crate::output::Output;

pub(crate) use self::profile::{profile_json, profile_text};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The columns of a table, their inferred kinds, and what is odd about them
    Profile(profile::Arguments),
    /// Columns and rows that know the answer: what makes a model look better than it is
    Leakage(leakage::Arguments),
    /// Make a feature table of a log of purchases: one row per customer and observation date
    Transactions(Box<transactions::Arguments>),
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::Profile(arguments) => profile::run(arguments, output),
        Command::Leakage(arguments) => leakage::run(arguments, output),
        Command::Transactions(arguments) => transactions::run(arguments, output),
    }
}
