//! Reads an [`Assessment`] from a playbook and its presets, and merges them.
//!
//! Entries go by their id: the playbook's own replaces that of a preset. A health score, a loyalty programme and a scheme of points
//! are taken whole, and there is one of each: two presets that both bring one contradict each other.

use super::order;
use super::problem::{Problem, ProblemKind};
use super::reader::{File, Section, Source};
use super::rules_file::{Entry, RuleReader};
use super::{Assessment, HealthSlots, Slots, catalogue_file, health_file, rules_file};
use crate::rule::{HealthField, Name, Names};

/// The top-level keys that are read here; a playbook has others.
pub const KEYS: [&str; 18] = [
    "health",
    "signal",
    "trigger",
    "segment",
    "tier_programme",
    "points",
    "badge",
    "milestone",
    "alert",
    "alert_budget",
    "referral",
    "offer",
    "kpi",
    "capacity",
    "mean_cost",
    "cause",
    "band_playbook",
    "template",
];

/// What was read, and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What was read.
    pub assessment: Assessment,
    /// Warnings; there are no errors.
    pub warnings: Vec<Problem>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) file_idx: usize,
    pub(super) line: usize,
}

/// An entry and where it stands.
struct Placed<T> {
    entry: T,
    place: Place,
}

impl Assessment {
    /// Reads what assessment needs from the playbook and its presets; other keys of theirs are left to others.
    ///
    /// `names` gets a slot for everything that rules read and for every answer.
    ///
    /// # Errors
    /// Every problem that was found, warnings among them, in the order of sources and lines.
    pub fn parse(sources: &[Source<'_>], names: &mut Names) -> Result<Parsed, Vec<Problem>> {
        let mut ordered: Vec<Source<'_>> = sources.to_vec();
        ordered.sort_by_key(|source| source.is_preset);
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for source in ordered {
            match File::parse(source) {
                Ok(file) => files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        let assessment = read(&files, names);
        for file in files {
            let mut found = file.into_problems();
            found.sort_by_key(|problem| problem.line);
            problems.append(&mut found);
        }
        if problems.iter().any(|problem| problem.kind == ProblemKind::Error) {
            return Err(problems);
        }
        Ok(Parsed { assessment, warnings: problems })
    }
}

fn read(files: &[File<'_>], names: &mut Names) -> Assessment {
    let mut rules = RuleReader { names };
    let mut places = order::Places::default();
    let rules = &mut rules;
    let mut assessment = Assessment {
        health: places.one(single(files, "health", |section| health_file::read(section, rules)), "health"),
        signals: places.all(list(files, rules)),
        triggers: places.all(list(files, rules)),
        segments: places.all(list(files, rules)),
        tier_programme: places
            .one(single(files, "tier_programme", |section| rules_file::read_tier_programme(section, rules)), "tier_programme"),
        points: places.one(single(files, "points", |section| Some(rules_file::read_points(section, rules))), "points"),
        badges: places.all(list(files, rules)),
        milestones: places.all(list(files, rules)),
        alerts: places.all(list(files, rules)),
        alert_budget: value(single(files, "alert_budget", rules_file::read_alert_budget)),
        referrals: places.all(list(files, rules)),
        offers: places.all(list(files, rules)),
        kpis: places.all(list(files, rules)),
        capacities: places.all(list(files, rules)),
        mean_cost: value(single(files, "mean_cost", catalogue_file::read_mean_cost)),
        causes: places.all(list(files, rules)),
        band_playbooks: places.all(list(files, rules)),
        templates: places.all(list(files, rules)),
        slots: Slots::default(),
    };
    order::check(&assessment, &places, files, rules.names);
    assessment.slots = slots(&assessment, rules.names);
    assessment
}

/// The entries of all files, each id once.
fn list<T: Entry>(files: &[File<'_>], rules: &mut RuleReader<'_>) -> Vec<Placed<T>> {
    let mut entries: Vec<Placed<T>> = Vec::new();
    for (file_idx, file) in files.iter().enumerate() {
        for section in file.root().sections(T::KEY) {
            let earlier = section.peek_id().and_then(|id| entries.iter().find(|earlier| earlier.entry.id() == id));
            match earlier.map(|earlier| earlier.place) {
                Some(place) if section.file.source.is_preset && !files[place.file_idx].source.is_preset => {}
                Some(place) => tell_twice(section, T::KEY, &files[place.file_idx], place),
                None => {
                    let place = Place { file_idx, line: section.line() };
                    entries.extend(T::read(section, rules).map(|entry| Placed { entry, place }));
                }
            }
        }
    }
    entries
}

fn tell_twice(section: Section<'_>, key: &str, earlier: &File<'_>, place: Place) {
    let id = section.peek_id().unwrap_or_default();
    let what = format!("`[[{key}]]` has `{id}` twice, first in {}, line {}", earlier.source.name, place.line);
    let fix = if section.file.source.is_preset {
        "drop one of the presets, or define it in the playbook"
    } else {
        "give it another id"
    };
    section.wrong("id", what, fix);
}

/// The one section of a key: the playbook's own, else that of the only preset that has one.
fn single<T>(files: &[File<'_>], key: &str, mut read: impl FnMut(Section<'_>) -> Option<T>) -> Option<Placed<T>> {
    let mut taken: Option<(Place, Option<T>)> = None;
    for (file_idx, file) in files.iter().enumerate() {
        let Some(section) = file.root().section(key) else { continue };
        match &taken {
            None => {
                let place = Place { file_idx, line: section.line() };
                taken = Some((place, read(section)));
            }
            Some((place, _)) if files[place.file_idx].source.is_preset => {
                let what = format!("there can be one `[{key}]`, the first is in {}", files[place.file_idx].source.name);
                section.wrong(key, what, "choose one of the two presets");
            }
            Some(_) => {}
        }
    }
    let (place, entry) = taken?;
    Some(Placed { entry: entry?, place })
}

fn value<T>(placed: Option<Placed<T>>) -> Option<T> {
    placed.map(|placed| placed.entry)
}

impl order::Places {
    /// Notes where entries stand.
    fn all<T: Entry>(&mut self, placed: Vec<Placed<T>>) -> Vec<T> {
        self.add(T::KEY, placed.iter().map(|placed| placed.place));
        placed.into_iter().map(|placed| placed.entry).collect()
    }

    fn one<T>(&mut self, placed: Option<Placed<T>>, key: &'static str) -> Option<T> {
        self.add(key, placed.iter().map(|placed| placed.place));
        value(placed)
    }
}

/// A slot for every answer, whether or not anything reads it yet.
fn slots(assessment: &Assessment, names: &mut Names) -> Slots {
    let health = assessment.health.is_some().then(|| {
        let mut slot = |field| names.slot(Name::Health(field));
        HealthSlots {
            score: slot(HealthField::Score),
            band: slot(HealthField::Band),
            coverage: slot(HealthField::Coverage),
            change: slot(HealthField::Change),
        }
    });
    Slots {
        health,
        signals: assessment.signals.iter().map(|signal| names.slot(Name::Signal(signal.id.clone()))).collect(),
        signal_count: (!assessment.signals.is_empty()).then(|| names.slot(Name::SignalCount)),
        segments: assessment.segments.iter().map(|segment| names.slot(Name::Segment(segment.id.clone()))).collect(),
        tier: assessment.tier_programme.is_some().then(|| names.slot(Name::Tier)),
        points: assessment.points.is_some().then(|| names.slot(Name::Points)),
        badges: assessment.badges.iter().map(|badge| names.slot(Name::Badge(badge.id.clone()))).collect(),
    }
}
