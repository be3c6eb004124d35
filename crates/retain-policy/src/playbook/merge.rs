//! From the files to a playbook: the playbook and its presets are parsed, merged by id, compiled and checked.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::action::{Action, RawAction, Surroundings, read_action};
use super::contact::{ContactPolicy, read_contact};
use super::contradictions::Whole;
use super::problem::{Place, Problem, Problems};
use super::reader::{Document, Section, did_you_mean, shorten};
use super::reads::{Ids, all_rules};
use super::rules::Rules;
use super::sequence::{RawSequence, read_sequence, write_out};
use super::settings::{Mode, Settings, read_exploration, read_fatigue, read_models, read_settings};
use super::{MAX_ACTIONS, MAX_PLAYBOOK_BYTES, Playbook, Presets, Source};
use crate::assess::{self, Assessment, ProblemKind};
use crate::rule::Names;

const OWN_TABLES: [&str; 7] = ["playbook", "models", "exploration", "fatigue", "contact", "action", "sequence"];

pub(super) fn parse(text: &str, presets: &dyn Presets) -> Result<Playbook, Vec<Problem>> {
    let problems = Problems::default();
    let playbook = gather_sources(text, presets, &problems).and_then(|sources| read(&sources, &problems));
    match playbook {
        Some(playbook) if !problems.any_error() => Ok(Playbook { warnings: problems.into_sorted(), ..playbook }),
        _ => Err(problems.into_sorted()),
    }
}

/// The playbook's text and those of the presets it names.
fn gather_sources(text: &str, presets: &dyn Presets, problems: &Problems) -> Option<Vec<Source>> {
    if text.len() > MAX_PLAYBOOK_BYTES {
        let what = format!("a playbook has at most {MAX_PLAYBOOK_BYTES} bytes, found {}", text.len());
        let start = Place { preset: None, line: 1, column: 1 };
        problems.error(start, what, "leave out what is not needed, or move parts into presets".to_owned());
        return None;
    }
    let document = Document::parse(None, text, problems)?;
    let mut sources = vec![Source { preset: None, text: text.to_owned() }];
    let Some(section) = document.root(problems).section("playbook") else { return Some(sources) };
    for name in section.texts("presets") {
        let twice = sources.iter().any(|source| source.preset.as_deref() == Some(&name.value));
        match presets.text(&name.value) {
            _ if twice => {
                problems.error(name.place, format!("preset `{}` is named twice", name.value), "name it once".to_owned());
            }
            Some(text) if text.len() <= MAX_PLAYBOOK_BYTES => {
                sources.push(Source { preset: Some(name.value), text: text.to_owned() });
            }
            Some(_) => problems.error(name.place, format!("preset `{}` is too long", name.value), "divide it".to_owned()),
            None => {
                let what = format!("there is no preset `{}`", shorten(&name.value));
                problems.error(name.place, what, did_you_mean(&name.value, presets.names()));
            }
        }
    }
    Some(sources)
}

fn read(sources: &[Source], problems: &Problems) -> Option<Playbook> {
    let parse = |source| document_of(source, problems);
    let documents: Vec<Document<'_>> = sources.iter().filter_map(parse).collect();
    let roots: Vec<Section<'_>> = documents.iter().map(|document| document.root(problems)).collect();
    let own = roots.first()?.clone();
    roots.iter().for_each(check_tables);
    let mut rules = Rules { names: Names::default() };
    let settings = read_settings(&own, &mut rules);
    let mut contact = read_contact(&roots, &mut rules);
    let attribution_days = settings.as_ref().map_or(30, |settings| settings.attribution_days);
    let actions = read_actions(&roots, &mut rules, &mut contact, attribution_days);
    let action_ids: Vec<String> = actions.iter().map(|action| action.id.clone()).collect();
    let sequences = write_out(read_sequences(&roots, &mut rules), &action_ids, problems);
    let fatigue_of = roots.iter().find(|root| root.has("fatigue")).unwrap_or(&own);
    let mut in_sequence = vec![false; actions.len()];
    sequences.iter().flat_map(|sequence| &sequence.steps).for_each(|step| in_sequence[step.action] = true);
    let assessment = read_assessment(sources, &mut rules.names, problems);
    let playbook = Playbook {
        settings: settings?,
        models: read_models(&own),
        exploration: read_exploration(&own),
        fatigue: read_fatigue(fatigue_of),
        contact,
        action_idx: action_ids.into_iter().enumerate().map(|(idx, id)| (id, idx)).collect(),
        actions,
        sequences,
        assessment: assessment.clone().unwrap_or_default(),
        names: rules.names,
        in_sequence,
        sha256: digest(sources),
        sources: sources.to_vec(),
        warnings: Vec::new(),
    };
    check(&playbook, assessment.as_ref(), &roots, problems);
    Some(playbook)
}

/// Health, signals, segments, tiers and the like, with what is wrong with them.
fn read_assessment(sources: &[Source], names: &mut Names, problems: &Problems) -> Option<Assessment> {
    let named = sources.iter().map(|Source { preset, text }| (preset.as_deref().unwrap_or(""), text, preset.is_some()));
    let sources: Vec<_> = named.map(|(name, text, is_preset)| assess::Source { name, text, is_preset }).collect();
    let (assessment, found) = match Assessment::parse(&sources, names) {
        Ok(parsed) => (Some(parsed.assessment), parsed.warnings),
        Err(found) => (None, found),
    };
    for problem in found {
        let preset = (!problem.source_name.is_empty()).then_some(problem.source_name);
        let place = Place { preset, line: problem.line, column: 1 };
        match problem.kind {
            ProblemKind::Error => problems.error(place, problem.what, problem.fix),
            ProblemKind::Warning => problems.warn(place, problem.what, problem.fix),
        }
    }
    assessment
}

fn document_of<'t>(source: &'t Source, problems: &Problems) -> Option<Document<'t>> {
    Document::parse(source.preset.as_deref(), &source.text, problems)
}

fn check_tables(root: &Section<'_>) {
    match root.preset() {
        None => root.check_keys(&[&OWN_TABLES[..], &assess::KEYS].concat()),
        // What a preset says of the whole playbook would not be seen by who names it.
        Some(_) => root.check_keys(&[&OWN_TABLES[3..], &assess::KEYS, &["preset"]].concat()),
    }
}

/// The entries of a list over all files, by id: a playbook's own go before those of its presets, and one file has each id once.
fn entries<'f>(roots: &[Section<'f>], key: &str) -> Vec<(String, Section<'f>)> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut entries = Vec::new();
    for (file, root) in roots.iter().enumerate() {
        for section in root.sections(key, &format!("[[{key}]]")) {
            let Some(id) = section.id(&format!("the name of this [[{key}]]")) else { continue };
            match taken.get(&id) {
                Some(earlier) if *earlier == file => {
                    section.wrong("id", format!("there are two [[{key}]] with the id `{id}`"), "give one of them another id");
                }
                Some(_) => {}
                None => {
                    taken.insert(id.clone(), file);
                    let name = format!("{key} `{id}`");
                    entries.push((id, section.called(name)));
                }
            }
        }
    }
    entries
}

fn read_actions(roots: &[Section<'_>], rules: &mut Rules, contact: &mut ContactPolicy, attribution_days: u32) -> Vec<Action> {
    let mut around = Surroundings { rules, channels: &mut contact.channels, attribution_days };
    let entries = entries(roots, "action");
    if let Some((_, section)) = entries.get(MAX_ACTIONS) {
        let what = format!("a playbook has at most {MAX_ACTIONS} actions, found {}", entries.len());
        section.problems().error(section.place(), what, "divide it into several playbooks".to_owned());
    }
    let raw: Vec<RawAction> =
        entries.iter().take(MAX_ACTIONS).map(|(id, section)| read_action(id, section, &mut around)).collect();
    let ids: Vec<String> = raw.iter().map(|raw| raw.action.id.clone()).collect();
    let problems = roots.first().map(Section::problems);
    both_ways(raw.into_iter().map(|raw| with_excludes(raw, &ids, problems)).collect())
}

/// Lets exclusion go both ways.
fn both_ways(mut actions: Vec<Action>) -> Vec<Action> {
    for idx in 0..actions.len() {
        for other in actions[idx].excludes.clone() {
            if !actions[other].excludes.contains(&idx) {
                actions[other].excludes.push(idx);
            }
        }
    }
    actions
}

/// Finds the actions that one names as not going with it.
fn with_excludes(raw: RawAction, ids: &[String], problems: Option<&Problems>) -> Action {
    let mut action = raw.action;
    for name in raw.excludes {
        let found = ids.iter().position(|id| *id == name.value);
        match (found, problems) {
            (Some(other), _) if ids[other] != action.id => action.excludes.push(other),
            (_, None) => {}
            (Some(_), Some(problems)) => {
                let what = format!("action `{}` excludes itself", action.id);
                problems.error(name.place, what, "remove it; `cooldown_days` keeps an action from being repeated".to_owned());
            }
            (None, Some(problems)) => {
                let what = format!("action `{}` excludes `{}`, and there is no such action", action.id, shorten(&name.value));
                problems.error(name.place, what, did_you_mean(&name.value, ids.iter().map(String::as_str)));
            }
        }
    }
    action
}

fn read_sequences(roots: &[Section<'_>], rules: &mut Rules) -> Vec<RawSequence> {
    entries(roots, "sequence").iter().map(|(id, section)| read_sequence(id, section, rules)).collect()
}

fn check(playbook: &Playbook, assessment: Option<&Assessment>, roots: &[Section<'_>], problems: &Problems) {
    let ids_of = |key: &str| -> BTreeSet<String> {
        let sections = roots.iter().flat_map(|root| root.sections(key, &format!("[[{key}]]")));
        sections.filter_map(|section| section.text("id")).collect()
    };
    let actions = playbook.actions.iter().map(|action| action.id.clone());
    let ids = Ids {
        assessment,
        models: playbook.models.iter().map(|model| model.name.clone()).collect(),
        signals: ids_of("signal"),
        segments: ids_of("segment"),
        badges: ids_of("badge"),
        reached_by: playbook.contact.channels.iter().map(|channel| channel.id.clone()).chain(actions).collect(),
    };
    ids.check(&all_rules(playbook), &playbook.names, problems);
    check_values(playbook, problems);
    check_steps(playbook, problems);
    let Playbook { names, contact, actions, sequences, .. } = playbook;
    let whole = Whole { names, contact, actions, sequences, problems };
    whole.check();
    check_assessment(roots, &whole, names);
}

/// Without a value at stake an effect is worth nothing.
fn check_values(playbook: &Playbook, problems: &Problems) {
    let Settings { mode, value_at_stake, .. } = &playbook.settings;
    if *mode == Mode::Incremental && value_at_stake.is_none() {
        for action in playbook.actions.iter().filter(|action| action.value.is_none()) {
            let what = format!("action `{}` has no value: neither `value_at_stake` in [playbook] nor its own `value`", action.id);
            let fix =
                "say in [playbook] what one more success is worth, such as `value_at_stake = \"predictions.ltv.expected_value\"`";
            problems.error(action.place.clone(), what, fix.to_owned());
        }
    }
    if playbook.actions.is_empty() {
        let start = Place { preset: None, line: 1, column: 1 };
        problems.warn(
            start,
            "there is no action to choose".to_owned(),
            "add an `[[action]]`, or a preset that has some".to_owned(),
        );
    }
}

/// A step that is switched off holds its sequence up.
fn check_steps(playbook: &Playbook, problems: &Problems) {
    for sequence in playbook.sequences.iter().filter(|sequence| sequence.patience_days.is_none()) {
        let off = sequence.steps.iter().map(|step| &playbook.actions[step.action]).find(|action| !action.enabled);
        if let Some(action) = off {
            let what = format!("sequence `{}` waits for ever at its step `{}`, which is not enabled", sequence.id, action.id);
            problems.warn(sequence.place.clone(), what, "remove the step, or give the sequence `patience_days`".to_owned());
        }
    }
}

/// Signals, segments and badges that can never be. What else is wrong with them is told by `assess`.
fn check_assessment(roots: &[Section<'_>], whole: &Whole<'_>, names: &Names) {
    let silent = Problems::default();
    let mut rules = Rules { names: names.clone() };
    for key in ["signal", "segment", "badge", "trigger", "milestone"] {
        for section in roots.iter().flat_map(|root| root.sections(key, &format!("[[{key}]]"))) {
            let Some(rule) = rules.condition(&section.with_problems(&silent), "when") else { continue };
            let id = section.text("id").unwrap_or_default();
            let whole = Whole { names: &rules.names, ..*whole };
            whole.check_rule(&format!("`when` of {key} `{id}`"), &rule);
        }
    }
}

fn digest(sources: &[Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        if let Some(preset) = &source.preset {
            hash.update([0]);
            hash.update(preset);
            hash.update([0]);
        }
        hash.update(&source.text);
    }
    hex::encode(hash.finalize())
}
