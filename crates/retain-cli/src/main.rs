//! The `retain` command: parse, run, exit.
//!
//! [`cli`] defines the command line, each file under [`verbs`] is one verb, [`exit`] turns what went wrong into a message and
//! an exit code. Results go to standard output and everything else to standard error ([`output`]).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail"))]

mod answer;
mod audited;
mod cli;
mod clock;
mod columns;
mod exit;
mod history;
mod input;
mod interrupt;
mod model_path;
mod out_folder;
mod output;
mod playbook_file;
mod progress;
mod row_models;
mod rule_rows;
mod sample_calls;
mod score_writer;
mod tables;
mod verbs;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let output = Output::new(&cli.global);
    let result = cli.prepare().and_then(|()| cli.verb.run(&cli.global, output));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error, output.format()),
    }
}
