//! Presets are read, hold together, speak both languages, and keep every threshold at the number that it says.

mod boundaries;
mod content;
mod health;
mod thresholds;

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{BuiltIn, all, text};
use crate::assess::{Assessment, Parsed, Source};
use crate::playbook::Playbook;
use crate::rule::{Known, Name, Names, Values};

/// Presets as a playbook that names them, with what their rules need of it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) playbook: String,
    pub(super) names: Names,
    pub(super) assessment: Assessment,
    pub(super) tables: Vec<Table>,
}

/// A value of a feature.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given {
    Number(f64),
    Yes,
    No,
    Word(&'static str),
}

#[track_caller]
pub(super) fn load(presets: &[&str]) -> Loaded {
    let sources: Vec<Source<'_>> =
        presets.iter().map(|name| Source { name, text: text(name).unwrap(), is_preset: true }).collect();
    let mut names = Names::default();
    let Parsed { assessment, .. } = Assessment::parse(&sources, &mut names).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let tables = presets.iter().map(|name| text(name).unwrap().parse().unwrap()).collect();
    let list = presets.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let playbook = format!(
        "[playbook]\nname = \"p\"\ncurrency = \"USD\"\nlanguage = \"en\"\npresets = [{list}]\ngoal = \"retain\"\n\
         value_at_stake = 100.0\nattribution_days = 30\nmode = \"incremental\"\n[models]\nchurn = \"churn\"\n"
    );
    Loaded { playbook, names, assessment, tables }
}

/// Values with these features; names that no rule reads are left out.
pub(super) fn values<'a>(names: &Names, given: &[(&str, Given)]) -> Values<'a> {
    let mut values = Values::new(names);
    for (name, given) in given {
        let known = match *given {
            Given::Number(number) => Known::Number(number),
            Given::Yes => Known::Boolean(true),
            Given::No => Known::Boolean(false),
            Given::Word(word) => Known::Text(word),
        };
        if let Some(slot) = names.find(&Name::Feature((*name).to_owned())) {
            values.set(slot, known);
        }
    }
    values
}

/// The entries of a list.
pub(super) fn entries<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

pub(super) fn string<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("`{key}` of {table}"))
}

#[test]
fn every_preset_is_read_and_stands_alone_as_a_playbook() {
    for preset in all() {
        let loaded = load(&[preset.name]);
        let playbook = Playbook::parse(&loaded.playbook, &BuiltIn);
        assert!(playbook.is_ok(), "{}: {:#?}", preset.name, playbook.unwrap_err());
    }
}

#[test]
fn presets_that_go_together_are_read_together() {
    let together = |health: &str, loyalty: &str, points: &str| {
        let names: Vec<&str> = all()
            .iter()
            .map(|preset| preset.name)
            .filter(|name| !name.starts_with("sequence-") && !["saas-health-a", "email-platform-health-b"].contains(name))
            .filter(|name| !name.starts_with("loyalty") && !name.starts_with("points"))
            .chain([health, loyalty, points])
            .collect();
        let loaded = load(&names);
        let parsed = Playbook::parse(&loaded.playbook, &BuiltIn);
        assert!(parsed.is_ok(), "{:#?}", parsed.unwrap_err());
    };
    together("saas-health-a", "loyalty-l1", "points-p1");
    together("email-platform-health-b", "loyalty-l2", "points-p2");
}

#[test]
fn one_health_score_one_programme_and_one_scheme_of_points_is_active() {
    for pair in [["saas-health-a", "email-platform-health-b"], ["loyalty-l1", "loyalty-l2"], ["points-p1", "points-p2"]] {
        let sources = pair.map(|name| Source { name, text: text(name).unwrap(), is_preset: true });
        let problems = Assessment::parse(&sources, &mut Names::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.contains("there can be one"), "{}", problems[0]);
    }
}

#[test]
fn names_are_unique_and_found() {
    let names: BTreeSet<&str> = super::names().collect();
    assert_eq!(names.len(), all().len());
    assert!(names.iter().all(|name| text(name).is_some()));
    assert_eq!(text("no-such-preset"), None);
}

/// Every table that is shown to people: those with an id, at any depth.
fn each_shown<'a>(value: &'a Value, way: &str, see: &mut impl FnMut(&str, &'a Table)) {
    match value {
        Value::Table(table) => {
            if table.contains_key("id") || way.ends_with("points") {
                see(way, table);
            }
            table.iter().for_each(|(key, inner)| each_shown(inner, &format!("{way}.{key}"), see));
        }
        Value::Array(items) => items.iter().for_each(|item| each_shown(item, way, see)),
        _ => {}
    }
}

#[test]
fn every_item_is_named_in_both_languages() {
    let mut n_seen = 0;
    for preset in all() {
        assert!(!preset.en.is_empty() && !preset.es.is_empty());
        let table = Value::Table(preset.text.parse().unwrap());
        each_shown(&table, preset.name, &mut |way, item| {
            n_seen += 1;
            let name = item.get("name").and_then(Value::as_table).unwrap_or_else(|| panic!("{way}: {item}"));
            assert!(!string(name, "en").is_empty() && !string(name, "es").is_empty(), "{way}: {item}");
        });
    }
    assert!(n_seen > 400, "{n_seen}");
}

/// Every text for people, at any depth: `{ en, es }`, texts or lists of texts.
fn each_text(value: &Value, way: &str, see: &mut impl FnMut(&str, &Table)) {
    match value {
        Value::Table(table) if table.contains_key("en") || table.contains_key("es") => see(way, table),
        Value::Table(table) => table.iter().for_each(|(key, inner)| each_text(inner, &format!("{way}.{key}"), see)),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, way, see)),
        _ => {}
    }
}

#[test]
fn every_text_and_list_is_in_both_languages() {
    let length = |value: Option<&Value>| match value {
        Some(Value::String(text)) => usize::from(!text.trim().is_empty()),
        Some(Value::Array(items)) => {
            items.iter().filter(|item| item.as_str().is_some_and(|text| !text.trim().is_empty())).count()
        }
        _ => 0,
    };
    for preset in all() {
        each_text(&Value::Table(preset.text.parse().unwrap()), preset.name, &mut |way, texts| {
            let (en, es) = (length(texts.get("en")), length(texts.get("es")));
            assert!(en > 0 && en == es && texts.len() == 2, "{way}: {texts}");
        });
    }
}

#[test]
fn no_claim_is_an_effect() {
    let mut n_actions = 0;
    for preset in all() {
        let table: Table = preset.text.parse().unwrap();
        for action in entries(&table, "action") {
            n_actions += 1;
            let prior = action["prior"].as_table().unwrap_or_else(|| panic!("{action}"));
            let numbers = ["effect", "sd", "weight"].map(|key| prior[key].as_float().unwrap());
            assert_eq!(numbers, [0.01, 0.02, 10.0], "{}: {action}", preset.name);
            assert!(["value", "pcvl", "claimed"].iter().all(|key| !action.contains_key(*key)), "{action}");
        }
    }
    assert!(n_actions > 150, "{n_actions}");
}
