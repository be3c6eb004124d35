//! What may read what: each answer only reads answers that come before it, and only such that exist.
//!
//! The order is health, signals, `signal_count`, segments and triggers, points, tier, badges, then milestones, alerts and referral
//! schemes. It is fixed, so that nothing has to be sorted for a customer and no rule can wait for itself.

use std::collections::{HashMap, HashSet};

use retain_core::nearest;

use super::Assessment;
use super::file::Place;
use super::problem::ProblemKind;
use super::reader::File;
use super::rules_file::Entry;
use crate::rule::{Name, Names, Rule};

/// Where the entries of each list stand.
#[derive(Default)]
pub(super) struct Places(HashMap<&'static str, Vec<Place>>);

impl Places {
    pub(super) fn add(&mut self, key: &'static str, places: impl Iterator<Item = Place>) {
        self.0.entry(key).or_default().extend(places);
    }

    fn of(&self, key: &str, position: usize) -> Option<Place> {
        self.0.get(key)?.get(position).copied()
    }
}

/// Something that is answered in its turn.
struct Node<'a> {
    /// As rules name it; what rules cannot name is called by its list and id.
    name: String,
    turn: u8,
    rules: Vec<&'a Rule>,
    /// Other answers that it is made of.
    parts: Vec<String>,
    place: Option<Place>,
}

/// Notes rules that read what comes later or what is not there, and templates that are named and not there.
pub(super) fn check(assessment: &Assessment, places: &Places, files: &[File<'_>], names: &Names) {
    check_templates(assessment, places, files);
    let nodes = nodes(assessment, places);
    for node in &nodes {
        let Some(place) = node.place else { continue };
        let file = &files[place.file_idx];
        for slot in slots_read(node) {
            let read = names.name(slot);
            if let Some((what, fix)) = unknown(assessment, read) {
                // A preset may look at what only some playbooks have: without it, the rule is unknown and does not pass.
                let kind = if file.source.is_preset { ProblemKind::Warning } else { ProblemKind::Error };
                file.note(kind, place.line, format!("`{}` reads `{read}`: {what}", node.name), fix);
            } else if turn_of(read) >= node.turn {
                let (what, fix) = too_late(node, read, &nodes, names);
                file.note(ProblemKind::Error, place.line, what, fix);
            }
        }
    }
}

fn check_templates(assessment: &Assessment, places: &Places, files: &[File<'_>]) {
    let known = || assessment.templates.iter().map(|template| template.id.as_str());
    for (position, playbook) in assessment.band_playbooks.iter().enumerate() {
        let unknown = playbook.template.as_deref().filter(|id| !known().any(|template| template == *id));
        let (Some(id), Some(place)) = (unknown, places.of("band_playbook", position)) else { continue };
        let fix = match nearest(id, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add a `[[template]]` of that id".to_owned(),
        };
        let what = format!("band_playbook `{}` names the template `{id}`, and there is none", playbook.id);
        files[place.file_idx].note(ProblemKind::Error, place.line, what, fix);
    }
}

/// Why nothing answers to a name, and what to do about it.
pub(super) fn unknown(assessment: &Assessment, name: &Name) -> Option<(String, String)> {
    fn one_of<'a>(id: &str, key: &str, mut ids: impl Iterator<Item = &'a str> + Clone) -> Option<(String, String)> {
        if ids.clone().any(|known| known == id) {
            return None;
        }
        let fix = match nearest(id, &mut ids) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add a `[[{key}]]` of that id, or a preset that has it"),
        };
        Some((format!("there is no {key} `{id}`"), fix))
    }
    let without = |there: bool, what: &str, key: &str| {
        (!there).then(|| (format!("there is no {what}"), format!("add `{key}`, or a preset that has it")))
    };
    match name {
        Name::Health(_) => without(assessment.health.is_some(), "health score", "[health]"),
        Name::Signal(id) => one_of(id, "signal", assessment.signals.iter().map(|signal| signal.id.as_str())),
        Name::SignalCount => without(assessment.signals.iter().any(|signal| signal.counts), "signal that counts", "[[signal]]"),
        Name::Segment(id) => one_of(id, "segment", assessment.segments.iter().map(|segment| segment.id.as_str())),
        Name::Tier => without(assessment.tier_programme.is_some(), "loyalty programme", "[tier_programme]"),
        Name::Points => without(assessment.points.is_some(), "scheme of points", "[points]"),
        Name::Badge(id) => one_of(id, "badge", assessment.badges.iter().map(|badge| badge.id.as_str())),
        Name::Feature(_) | Name::Prediction { .. } | Name::History(_) | Name::Clock(_) | Name::Customer => None,
    }
}

/// When a name is answered; 0 for what is known before.
fn turn_of(name: &Name) -> u8 {
    match name {
        Name::Feature(_) | Name::Prediction { .. } | Name::History(_) | Name::Clock(_) | Name::Customer => 0,
        Name::Health(_) => 1,
        Name::Signal(_) => 2,
        Name::SignalCount => 3,
        Name::Segment(_) => 4,
        Name::Points => 5,
        Name::Tier => 6,
        Name::Badge(_) => 7,
    }
}

fn nodes<'a>(assessment: &'a Assessment, places: &Places) -> Vec<Node<'a>> {
    let mut nodes = Vec::new();
    let mut add = |key: &str, position: usize, name: String, turn, rules| {
        nodes.push(Node { name, turn, rules, parts: Vec::new(), place: places.of(key, position) });
    };
    if let Some(health) = &assessment.health {
        add("health", 0, "health".to_owned(), 1, health.items().map(|item| &item.reads).collect());
    }
    if let Some(points) = &assessment.points {
        let rules = points.balance.iter().chain(points.earn.iter().map(|earn| &earn.reads)).collect();
        add("points", 0, "points".to_owned(), 5, rules);
    }
    if let Some(programme) = &assessment.tier_programme {
        let conditions = programme.tiers.iter().filter_map(|tier| tier.when.as_ref());
        add("tier_programme", 0, "tier".to_owned(), 6, programme.tenure.iter().chain(conditions).collect());
    }
    let counting = assessment.signals.iter().filter(|signal| signal.counts);
    let parts = counting.map(|signal| format!("signals.{}", signal.id)).collect();
    nodes.push(Node { name: "signal_count".to_owned(), turn: 3, rules: Vec::new(), parts, place: None });
    each(&mut nodes, places, &assessment.signals, "signals", 2);
    each(&mut nodes, places, &assessment.triggers, "trigger", 4);
    each(&mut nodes, places, &assessment.segments, "segments", 4);
    each(&mut nodes, places, &assessment.badges, "badges", 7);
    each(&mut nodes, places, &assessment.milestones, "milestone", 8);
    each(&mut nodes, places, &assessment.alerts, "alert", 8);
    each(&mut nodes, places, &assessment.referrals, "referral", 8);
    nodes
}

fn each<'a, T: Entry>(nodes: &mut Vec<Node<'a>>, places: &Places, entries: &'a [T], called: &str, turn: u8) {
    for (position, entry) in entries.iter().enumerate() {
        let name = format!("{called}.{}", entry.id());
        nodes.push(Node { name, turn, rules: entry.rules(), parts: Vec::new(), place: places.of(T::KEY, position) });
    }
}

fn slots_read(node: &Node<'_>) -> Vec<crate::rule::SlotId> {
    let mut slots: Vec<_> = node.rules.iter().flat_map(|rule| rule.reads()).copied().collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// The name of the node that a name belongs to: all of `health` is one.
fn node_name(name: &Name) -> String {
    match name {
        Name::Health(_) => "health".to_owned(),
        other => other.to_string(),
    }
}

fn too_late(node: &Node<'_>, read: &Name, nodes: &[Node<'_>], names: &Names) -> (String, String) {
    if let Some(way) = path(&node_name(read), &node.name, nodes, names) {
        let what = format!("a circle: `{}` reads {}", node.name, way.join(", which reads "));
        return (what, "let one of them read only features, predictions, history and the clock".to_owned());
    }
    let what = format!("`{}` reads `{read}`, which is only answered after it", node.name);
    (what, "the order is health, signals, signal_count, segments, points, tier, badges".to_owned())
}

/// The names on a way of readings from one name to another, both included.
fn path(from: &str, to: &str, nodes: &[Node<'_>], names: &Names) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen: HashSet<String> = HashSet::from([from.to_owned()]);
    while let Some(way) = ways.pop() {
        let last = way.last()?.clone();
        if last == to {
            return Some(way.iter().map(|name| format!("`{name}`")).collect());
        }
        for node in nodes.iter().filter(|node| node.name == last) {
            let read = slots_read(node).into_iter().map(|slot| node_name(names.name(slot)));
            for next in node.parts.iter().cloned().chain(read) {
                if nodes.iter().any(|node| node.name == next) && seen.insert(next.clone()) {
                    ways.push(way.iter().cloned().chain([next]).collect());
                }
            }
        }
    }
    None
}
