//! `retain playbook`: what can be done for customers, checked and shown before anything is decided with it.

mod show;
mod unknown;
mod validate;

use anyhow::Result;
use clap::{Args, Subcommand};
use retain_policy::playbook::Language;
use retain_policy::presets;
use serde_json::json;

use crate::exit::Exit;
use crate::output::Output;
use crate::playbook_file::Tongue;
use crate::tables;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell every problem of playbooks, with its place and a fix
    Validate(validate::Arguments),
    /// The presets that a playbook can name
    List(ListArguments),
    /// The text of a preset, or in short what a playbook comes to with its presets
    Show(show::Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Language of the descriptions
    #[arg(long, value_enum, default_value_t = Tongue::En)]
    language: Tongue,
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::Validate(arguments) => validate::run(arguments, output),
        Command::List(arguments) => list(arguments.language.into(), output),
        Command::Show(arguments) => show::run(arguments, output),
    }
}

fn list(language: Language, output: Output) -> Result<Exit> {
    let mut table = tables::table(&["preset", "what it is"], 99);
    for preset in presets::all() {
        let sentence = match language {
            Language::English => preset.en,
            Language::Spanish => preset.es,
        };
        table.add_row([preset.name, sentence]);
    }
    output.text(&tables::render(&table))?;
    let preset = |preset: &presets::Preset| json!({ "name": preset.name, "en": preset.en, "es": preset.es });
    output.json(&presets::all().iter().map(preset).collect::<Vec<_>>())?;
    Ok(Exit::GOOD)
}
