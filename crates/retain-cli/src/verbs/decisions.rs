//! `retain decisions`: the log of decisions as a file for other tools.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use retain_store::{PostgresUrl, Store, StoreConfig, StoreError};
use serde_json::json;

use crate::exit::{Complaint, Exit};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write all decisions with what was reported of them to a Parquet file
    Export(Export),
    /// Tell how many decisions, outcomes and overrides the log holds
    Count(Place),
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    /// The Parquet file; it is whole or not there
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Where the log is.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// A SQLite file, or an address such as `postgresql://user@host/retain`
    #[arg(long, value_name = "PLACE", env = "RETAIN_STORE", hide_env_values = true)]
    store: String,
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::Export(arguments) => export(arguments, output),
        Command::Count(place) => count(place, output),
    }
}

fn export(arguments: &Export, output: Output) -> Result<Exit> {
    let store = arguments.place.open()?;
    let n_decisions = store.export(&arguments.output).map_err(complaint)?;
    let path = arguments.output.display().to_string();
    output.text(&format!("{n_decisions} decisions in {path}"))?;
    output.json(&json!({ "decisions": n_decisions, "path": path }))?;
    Ok(Exit::GOOD)
}

fn count(place: &Place, output: Output) -> Result<Exit> {
    let counts = place.open()?.counts().wait().map_err(complaint)?;
    let (decisions, outcomes, overrides) = (counts.decisions, counts.outcomes, counts.overrides);
    output.text(&format!("{decisions} decisions, {outcomes} outcomes, {overrides} overrides"))?;
    output.json(&json!({ "decisions": decisions, "outcomes": outcomes, "overrides": overrides }))?;
    Ok(Exit::GOOD)
}

impl Place {
    fn open(&self) -> Result<Store> {
        let config = if self.store.starts_with("postgres://") || self.store.starts_with("postgresql://") {
            StoreConfig::postgres(self.store.parse::<PostgresUrl>().map_err(complaint)?)
        } else {
            let path = PathBuf::from(&self.store);
            // Opening would make an empty log.
            if !path.is_file() {
                let complaint = Complaint::usage(format!("there is no decision log `{}`", path.display()));
                return Err(complaint.hint("name the `path` or the `postgres` of `[decisions]` in the server file").into());
            }
            StoreConfig::sqlite(path)
        };
        Ok(Store::open(&config).map_err(complaint)?)
    }
}

fn complaint(error: StoreError) -> Complaint {
    let exit = if matches!(error, StoreError::Setting { .. }) { Exit::USAGE } else { Exit::DATA };
    Complaint::new(exit, "the decision log cannot be read").because(error)
}
