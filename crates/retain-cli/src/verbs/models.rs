//! `retain models`: the registry of published models.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use retain_core::{ModelAddress, ModelName, VersionSelector};
use retain_score::{Bundle, Published, Registry, VersionInfo};
use serde_json::{Value, json};

use crate::exit::{Complaint, Exit};
use crate::input::read_bundle;
use crate::interrupt;
use crate::model_path::resolve;
use crate::output::Output;
use crate::tables;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every published version and its aliases
    List(Place),
    /// What a model is: its manifest and card
    Show(ShowArguments),
    /// Point an alias at a version
    Promote(PromoteArguments),
    /// Read every bundle again and check it: checksums, structure, answers to its check rows
    Verify(VerifyArguments),
    /// Copy a bundle into the registry under the next free version
    Publish(PublishArguments),
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Folder of published models
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// `name` (its champion), `name@alias`, `name/3`, or a bundle's folder
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArguments {
    /// The version: `name/3`, or `name@challenger`
    #[arg(value_name = "MODEL")]
    model: String,
    /// `champion`, `challenger` or `shadow`
    #[arg(long, value_name = "ALIAS", default_value = "champion")]
    alias: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Check this version only: `name` (its champion), `name@alias` or `name/3`
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// The bundle's folder, as `retain train` wrote it
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Make it the champion
    #[arg(long)]
    promote: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(command: &Command, output: Output) -> Result<Exit> {
    match command {
        Command::List(place) => list(&place.models, output),
        Command::Show(arguments) => show(arguments, output),
        Command::Promote(arguments) => promote(arguments, output),
        Command::Verify(arguments) => verify(arguments, output),
        Command::Publish(arguments) => publish(arguments, output),
    }
}

fn list(models: &Path, output: Output) -> Result<Exit> {
    let registry = Registry::new(models);
    let versions = registry.list()?;
    let mut table = tables::table(&["model", "aliases", "learner", "rows", "seed", "definition"], 99);
    let mut facts = Vec::new();
    for info in &versions {
        // A damaged version is still listed: `verify` says what is wrong with it.
        let bundle = Bundle::read(&registry.path(&info.name, info.version));
        let manifest = bundle.as_ref().ok().map(|bundle| &bundle.manifest);
        let of = |text: Option<String>| text.unwrap_or_else(|| "damaged".to_owned());
        table.add_row([
            address(info),
            info.aliases.join(", "),
            of(manifest.map(|manifest| manifest.learner.clone())),
            of(manifest.map(|manifest| manifest.n_rows.to_string())),
            of(manifest.map(|manifest| manifest.seed.to_string())),
            of(manifest.map(|manifest| manifest.definition.clone())),
        ]);
        facts.push(json!({
            "name": info.name,
            "version": info.version,
            "aliases": info.aliases,
            "manifest": manifest,
            "error": bundle.as_ref().err().map(ToString::to_string),
        }));
    }
    if versions.is_empty() {
        output.note(&format!("note: `{}` has no published models", models.display()));
    } else {
        output.text(&tables::render(&table))?;
    }
    output.json(&facts)?;
    Ok(Exit::GOOD)
}

fn address(info: &VersionInfo) -> String {
    format!("{}/{}", info.name, info.version)
}

fn show(arguments: &ShowArguments, output: Output) -> Result<Exit> {
    let path = resolve(&arguments.model, &arguments.place.models)?;
    let bundle = read_bundle(&path)?;
    output.text(&facts_text(&bundle, &path))?;
    output.json(
        &json!({ "path": path.display().to_string(), "manifest": bundle.manifest, "schema": bundle.schema, "card": bundle.card }),
    )?;
    Ok(Exit::GOOD)
}

fn facts_text(bundle: &Bundle, path: &Path) -> String {
    let manifest = &bundle.manifest;
    let mut table = tables::table(&["", ""], 99);
    let facts = [
        ("model", manifest.address()),
        ("folder", path.display().to_string()),
        ("predicts", format!("{} within {} days", manifest.kind, manifest.horizon_days)),
        ("definition", manifest.definition.clone()),
        ("learner", format!("{} ({})", manifest.learner, manifest.configuration)),
        ("calibration", manifest.calibrator.clone()),
        (
            "trained on",
            format!("{} rows, {} positive, {} customers", manifest.n_rows, manifest.n_positives, manifest.n_customers),
        ),
        ("bands", format!("medium from {:.4}, high from {:.4}", manifest.bands.medium, manifest.bands.high)),
        ("size", format!("{} bytes", bundle.size_bytes)),
        ("built by", format!("retain {}, seed {}", manifest.tool_version, manifest.seed)),
    ];
    for (what, fact) in facts {
        table.add_row([what.to_owned(), fact]);
    }
    format!("{}\n\n{}", tables::render(&table).trim_start_matches('\n'), bundle.card)
}

fn promote(arguments: &PromoteArguments, output: Output) -> Result<Exit> {
    let registry = Registry::new(&arguments.place.models);
    let address: ModelAddress =
        arguments.model.parse().with_context(|| format!("`{}` is no published version", arguments.model))?;
    let path = registry.resolve(&address).with_context(|| format!("cannot promote `{}`", arguments.model))?;
    let bundle = read_bundle(&path)?;
    let version = version_of(&registry, &address)?;
    let before = registry.aliases(&address.name)?.get(&arguments.alias).copied();
    interrupt::watch();
    interrupt::uninterrupted(|| registry.set_alias(&address.name, &arguments.alias, version))?;
    let was = before.map_or_else(|| "nothing".to_owned(), |version| format!("version {version}"));
    output.text(&format!("{}@{} is now version {version}; it was {was}", bundle.manifest.name, arguments.alias))?;
    output.json(&json!({ "name": address.name, "alias": arguments.alias, "version": version, "before": before }))?;
    Ok(Exit::GOOD)
}

fn version_of(registry: &Registry, address: &ModelAddress) -> Result<u32> {
    match &address.selector {
        VersionSelector::Version(version) => Ok(*version),
        VersionSelector::Alias(alias) => {
            let version = registry.aliases(&address.name)?.get(alias).copied();
            version.with_context(|| format!("model `{}` lost its `{alias}` meanwhile", address.name))
        }
    }
}

fn verify(arguments: &VerifyArguments, output: Output) -> Result<Exit> {
    let registry = Registry::new(&arguments.place.models);
    let versions = match &arguments.model {
        None => all_versions(&registry)?,
        Some(text) => {
            let address: ModelAddress = text.parse().with_context(|| format!("`{text}` is no published version"))?;
            registry.resolve(&address).with_context(|| format!("cannot verify `{text}`"))?;
            vec![(address.name.clone(), version_of(&registry, &address)?)]
        }
    };
    if versions.is_empty() {
        let message = format!("`{}` has no published models to verify", registry.root().display());
        return Err(Complaint::usage(message).hint("name the folder with `--models DIR`").into());
    }
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    if arguments.model.is_none() {
        for (alias, problem) in dangling_aliases(&registry)? {
            lines.push(format!("{alias}: {problem}"));
            bad.push(json!({ "model": alias, "problem": problem }));
        }
    }
    for (name, version) in &versions {
        let problem = problem_of(&registry, name, *version);
        lines.push(format!("{name}/{version}: {}", problem.as_deref().unwrap_or("good")));
        bad.extend(problem.map(|problem| json!({ "model": format!("{name}/{version}"), "problem": problem })));
    }
    output.text(&lines.join("\n"))?;
    output.json(&json!({ "n_versions": versions.len(), "bad": bad }))?;
    if bad.is_empty() {
        return Ok(Exit::GOOD);
    }
    let names: Vec<&str> = bad.iter().filter_map(|entry: &Value| entry["model"].as_str()).collect();
    let message = format!("not good: {} (versions read: {})", names.join(", "), versions.len());
    Err(Complaint::new(Exit::DATA, message).hint("publish them again, or remove them and point their aliases elsewhere").into())
}

fn all_versions(registry: &Registry) -> Result<Vec<(ModelName, u32)>> {
    Ok(registry.list()?.into_iter().map(|info| (info.name, info.version)).collect())
}

/// Aliases that point at a version that is not there, and what to say of them.
fn dangling_aliases(registry: &Registry) -> Result<Vec<(String, String)>> {
    let mut dangling = Vec::new();
    for name in registry.names()? {
        let versions = registry.versions(&name)?;
        let aliases = registry.aliases(&name)?.into_iter().filter(|(_, version)| !versions.contains(version));
        dangling.extend(aliases.map(|(alias, version)| (format!("{name}@{alias}"), format!("there is no version {version}"))));
    }
    Ok(dangling)
}

/// What is wrong with a published version; none when all is well.
fn problem_of(registry: &Registry, name: &ModelName, version: u32) -> Option<String> {
    match Bundle::read(&registry.path(name, version)) {
        Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
        Ok(bundle) if bundle.manifest.name != *name || bundle.manifest.version != version => {
            Some(format!("the bundle says that it is `{}`", bundle.manifest.address()))
        }
        Ok(_) => None,
    }
}

fn publish(arguments: &PublishArguments, output: Output) -> Result<Exit> {
    let bundle = read_bundle(&arguments.model)?;
    let registry = Registry::new(&arguments.place.models);
    interrupt::watch();
    let published = publish_bundle(&registry, &bundle)?;
    let name = &bundle.manifest.name;
    if arguments.promote {
        interrupt::uninterrupted(|| registry.set_alias(name, "champion", published.version))?;
    }
    let what = if published.is_new { "published as" } else { "the same bundle had been published as" };
    output.text(&format!("{what} {name}/{} in {}", published.version, published.path.display()))?;
    if !arguments.promote {
        output.note(&format!("note: `retain models promote {name}/{}` makes it the champion", published.version));
    }
    output.json(&json!({
        "name": name,
        "version": published.version,
        "path": published.path.display().to_string(),
        "is_new": published.is_new,
        "promoted": arguments.promote,
    }))?;
    Ok(Exit::GOOD)
}

/// Publishes a bundle that was read or trained; the folder is made where it does not exist.
pub(crate) fn publish_bundle(registry: &Registry, bundle: &Bundle) -> Result<Published> {
    let attempt = || format!("cannot publish `{}` in `{}`", bundle.manifest.name, registry.root().display());
    interrupt::uninterrupted(|| registry.publish(bundle)).with_context(attempt)
}
