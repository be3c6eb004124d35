//! `retain playbook show`: a preset's text, or what a playbook comes to with its presets.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use retain_core::nearest;
use retain_policy::assess::Health;
use retain_policy::playbook::{Action, Capacity, ExplorationMethod, Language, Playbook, Sequence};
use retain_policy::presets;
use serde_json::{Value, json};

use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::playbook_file::{Tongue, read_playbook};
use crate::tables;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A preset of `retain playbook list`, or a playbook's file
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// Language of names
    #[arg(long, value_enum, default_value_t = Tongue::En)]
    language: Tongue,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let what = arguments.what.as_str();
    if let Some(preset) = presets::all().iter().find(|preset| preset.name == what) {
        output.text(preset.text)?;
        output.json(&json!({ "name": preset.name, "en": preset.en, "es": preset.es, "text": preset.text }))?;
        return Ok(Exit::GOOD);
    }
    if what != "-" && !Path::new(what).exists() {
        let complaint = Complaint::usage(format!("`{what}` is neither a preset nor a file"));
        let hint = match nearest(what, presets::names()) {
            Some(near) => format!("did you mean the preset `{near}`?"),
            None => "`retain playbook list` shows the presets".to_owned(),
        };
        return Err(complaint.hint(hint).into());
    }
    let playbook = read_playbook(Path::new(what), output)?;
    output.text(&text(&playbook, arguments.language.into()))?;
    output.json(&json(&playbook))?;
    Ok(Exit::GOOD)
}

fn text(playbook: &Playbook, language: Language) -> String {
    let settings = &playbook.settings;
    let presets: Vec<&str> = playbook.sources().iter().filter_map(|source| source.preset.as_deref()).collect();
    let presets = if presets.is_empty() { String::new() } else { format!(", presets {}", presets.join(", ")) };
    let exploration = &playbook.exploration;
    let head = format!(
        "{} in {}{presets}\nexploration {}, floor {}, holdout {}\nsha256 {}",
        settings.name,
        settings.currency,
        method(exploration.method),
        exploration.floor,
        exploration.holdout,
        playbook.sha256()
    );
    let mut parts = vec![head];
    push_list(&mut parts, "models", playbook.models.iter().map(|model| format!("  {} = {}", model.name, model.address)));
    if !playbook.actions.is_empty() {
        parts.push(actions_text(playbook));
    }
    push_list(&mut parts, "sequences", playbook.sequences.iter().map(|one| sequence_text(playbook, one)));
    let assessment = playbook.assessment();
    parts.extend(assessment.health.as_ref().map(|health| health_text(health, language)));
    let signals = assessment.signals.iter();
    let signals = signals.map(|signal| format!("  {} ({}): {}", signal.id, signal.severity, signal.when.source()));
    push_list(&mut parts, "signals", signals);
    let segments = assessment.segments.iter().map(|segment| format!("  {}: {}", segment.id, segment.when.source()));
    push_list(&mut parts, "segments", segments);
    push_list(&mut parts, "names that rules read", names(playbook).into_iter().map(|name| format!("  {name}")));
    parts.join("\n\n")
}

fn push_list(parts: &mut Vec<String>, heading: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        parts.push(format!("{heading}\n{}", lines.join("\n")));
    }
}

fn actions_text(playbook: &Playbook) -> String {
    let mut table = tables::table(&["action", "channel", "capacity", "cost", "prior effect", "sd", "decisions"], 3);
    for action in &playbook.actions {
        let id = if action.enabled { action.id.clone() } else { format!("{} (off)", action.id) };
        table.add_row([
            id,
            channel(playbook, action).unwrap_or("–").to_owned(),
            capacity_text(action.capacity.or_else(|| playbook.contact.channels.get(action.channel?)?.capacity)),
            format!("{:.2}", action.cost),
            format!("{:+.4}", action.prior.effect),
            format!("{:.4}", action.prior.sd),
            action.prior.weight.to_string(),
        ]);
    }
    tables::render(&table)
}

fn capacity_text(capacity: Option<Capacity>) -> String {
    capacity.map_or_else(|| "–".to_owned(), |capacity| format!("{} in {} days", capacity.count, capacity.days))
}

fn sequence_text(playbook: &Playbook, sequence: &Sequence) -> String {
    let step = |step: &retain_policy::playbook::Step| format!("day {} {}", step.day, playbook.actions[step.action].id);
    format!("  {}: {}", sequence.id, sequence.steps.iter().map(step).collect::<Vec<_>>().join(", "))
}

fn health_text(health: &Health, language: Language) -> String {
    let bands: Vec<String> = health.bands.iter().map(|band| format!("{} from {}", band.id, band.from)).collect();
    let group = |group: &retain_policy::assess::Group| {
        let items: Vec<String> = group.items.iter().map(|item| format!("{} = {}", item.id, item.reads.source())).collect();
        format!("  {} of 100: {} ({})", group.weight, group.name.of(language), items.join("; "))
    };
    let groups: Vec<String> = health.groups.iter().map(group).collect();
    format!("health {}: {}\n{}", health.name, bands.join(", "), groups.join("\n"))
}

fn names(playbook: &Playbook) -> Vec<String> {
    let mut names: Vec<String> = playbook.names().iter().map(|(_, name)| name.to_string()).collect();
    names.sort();
    names
}

fn channel<'a>(playbook: &'a Playbook, action: &Action) -> Option<&'a str> {
    Some(playbook.contact.channels.get(action.channel?)?.id.as_str())
}

fn method(method: ExplorationMethod) -> &'static str {
    match method {
        ExplorationMethod::Thompson => "thompson",
        ExplorationMethod::InverseGap => "inverse_gap",
        ExplorationMethod::Greedy => "none",
    }
}

fn json(playbook: &Playbook) -> Value {
    let (settings, exploration, assessment) = (&playbook.settings, &playbook.exploration, playbook.assessment());
    let limited = |capacity: Option<Capacity>| capacity.map(|of| json!({ "count": of.count, "days": of.days }));
    let action = |action: &Action| {
        json!({
            "id": action.id,
            "name": { "en": action.name.of(Language::English), "es": action.name.of(Language::Spanish) },
            "channel": channel(playbook, action),
            "cost": action.cost,
            "capacity": limited(action.capacity),
            "prior": { "effect": action.prior.effect, "sd": action.prior.sd, "weight": action.prior.weight },
            "enabled": action.enabled,
        })
    };
    let channels = playbook.contact.channels.iter();
    let sequence = |sequence: &Sequence| {
        let steps = sequence.steps.iter().map(|step| json!({ "day": step.day, "action": playbook.actions[step.action].id }));
        json!({ "id": sequence.id, "steps": steps.collect::<Vec<_>>() })
    };
    let health = assessment.health.as_ref().map(|health| {
        let groups = health.groups.iter().map(|group| json!({ "id": group.id, "weight": group.weight }));
        let bands = health.bands.iter().map(|band| json!({ "id": band.id, "from": band.from }));
        json!({ "name": health.name, "groups": groups.collect::<Vec<_>>(), "bands": bands.collect::<Vec<_>>() })
    });
    let models = playbook.models.iter();
    let models = models.map(|model| json!({ "name": model.name, "address": model.address.to_string() }));
    json!({
        "name": settings.name,
        "currency": settings.currency,
        "sha256": playbook.sha256(),
        "presets": playbook.sources().iter().filter_map(|source| source.preset.as_deref()).collect::<Vec<_>>(),
        "exploration": { "method": method(exploration.method), "floor": exploration.floor, "holdout": exploration.holdout },
        "models": models.collect::<Vec<_>>(),
        "actions": playbook.actions.iter().map(action).collect::<Vec<_>>(),
        "channels": channels.map(|one| json!({ "id": one.id, "capacity": limited(one.capacity) })).collect::<Vec<_>>(),
        "sequences": playbook.sequences.iter().map(sequence).collect::<Vec<_>>(),
        "health": health,
        "signals": assessment.signals.iter().map(|one| json!({ "id": one.id, "when": one.when.source() })).collect::<Vec<_>>(),
        "segments": assessment.segments.iter().map(|one| json!({ "id": one.id, "when": one.when.source() })).collect::<Vec<_>>(),
        "reads": names(playbook),
    })
}
