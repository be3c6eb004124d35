//! A health score as the TOML of a playbook, with learned weights.

use retain_policy::assess::fit::HealthFit;
use retain_policy::assess::{Group, Health, Item, MissingPolicy, Scale, Step, Text};

/// A weight below this is nothing: a group needs some.
const LEAST_WEIGHT: f64 = 1e-4;

/// `[health]` with the weights of `fit`; groups that the data gives nothing are left out.
pub(super) fn text(health: &Health, fit: &HealthFit, source: &str) -> String {
    let weights = weights(fit);
    let kept = || health.groups.iter().zip(&weights).filter(|(_, weight)| **weight >= LEAST_WEIGHT);
    let left_out: Vec<&str> = health
        .groups
        .iter()
        .zip(&weights)
        .filter(|(_, weight)| **weight < LEAST_WEIGHT)
        .map(|(group, _)| group.id.as_str())
        .collect();
    let mut lines = vec![format!("# {} with weights {}.", health.name, source.replace(['\n', '\r'], " "))];
    if !left_out.is_empty() {
        lines.push(format!("# Left out, since the data gives them no weight: {}.", left_out.join(", ")));
    }
    // Another name: scores by two definitions have no difference.
    lines.extend([
        String::new(),
        "[health]".to_owned(),
        format!("name = {}", quoted(&format!("{}-fitted", health.name))),
        format!("missing = {}", quoted(missing(health.missing))),
        format!("steady_within = {}", number(health.steady_within)),
        "bands = [".to_owned(),
    ]);
    for band in &health.bands {
        lines.push(format!("    {{ id = {}, from = {}, name = {} }},", quoted(&band.id), number(band.from), words(&band.name)));
    }
    lines.push("]".to_owned());
    kept().for_each(|(group, weight)| push_group(&mut lines, group, *weight));
    lines.push(String::new());
    lines.join("\n")
}

/// Four digits each, adding up to 100 to the last of them: what is left by rounding goes to the largest.
fn weights(fit: &HealthFit) -> Vec<f64> {
    let mut tenthousandths: Vec<i64> = fit.weights.iter().map(|weight| (weight.fitted * 1e4).round() as i64).collect();
    let missing = 1_000_000 - tenthousandths.iter().sum::<i64>();
    if let Some(largest) = tenthousandths.iter_mut().max() {
        *largest += missing;
    }
    tenthousandths.into_iter().map(|weight| weight as f64 / 1e4).collect()
}

fn push_group(lines: &mut Vec<String>, group: &Group, weight: f64) {
    lines.extend([
        String::new(),
        "[[health.group]]".to_owned(),
        format!("id = {}", quoted(&group.id)),
        format!("name = {}", words(&group.name)),
        format!("weight = {} # chosen: {}", number(weight), group.weight),
    ]);
    group.items.iter().for_each(|item| push_item(lines, item));
}

fn push_item(lines: &mut Vec<String>, item: &Item) {
    lines.extend([
        String::new(),
        "[[health.group.item]]".to_owned(),
        format!("id = {}", quoted(&item.id)),
        format!("name = {}", words(&item.name)),
        format!("reads = {}", quoted(item.reads.source())),
        scale(&item.scale),
        format!("max = {}", number(item.max)),
    ]);
    if item.optional {
        lines.push("optional = true".to_owned());
    }
}

fn scale(scale: &Scale) -> String {
    match scale {
        Scale::Curve(anchors) => {
            let anchors: Vec<String> =
                anchors.iter().map(|(at, points)| format!("[{}, {}]", number(*at), number(*points))).collect();
            format!("curve = [{}]", anchors.join(", "))
        }
        Scale::Steps(steps) => {
            let step = |step: &Step| {
                let key = if step.above { "above" } else { "at_least" };
                format!("{{ {key} = {}, points = {} }}", number(step.limit), number(step.points))
            };
            format!("steps = [{}]", steps.iter().map(step).collect::<Vec<_>>().join(", "))
        }
        Scale::Words(words) => {
            let words: Vec<String> =
                words.iter().map(|(word, points)| format!("{} = {}", quoted(word), number(*points))).collect();
            format!("words = {{ {} }}", words.join(", "))
        }
    }
}

fn missing(policy: MissingPolicy) -> &'static str {
    match policy {
        MissingPolicy::Redistribute => "redistribute",
        MissingPolicy::Zero => "zero",
        MissingPolicy::Neutral => "neutral",
        MissingPolicy::Unknown => "unknown",
    }
}

fn words(text: &Text) -> String {
    format!("{{ en = {}, es = {} }}", quoted(&text.en), quoted(&text.es))
}

/// A basic string of TOML, which is also a key.
fn quoted(text: &str) -> String {
    let letter = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04X}", u32::from(letter)),
        letter => letter.to_string(),
    };
    format!("\"{}\"", text.chars().map(letter).collect::<String>())
}

/// Whole numbers as such, others by the shortest text that reads back to the same.
fn number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number:.0}") } else { format!("{number:?}") }
}
