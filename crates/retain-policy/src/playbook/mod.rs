//! Playbooks: what can be done for customers, for whom, how often and how it is chosen, as one TOML file.
//!
//! [`Playbook::parse`] reads a file and the presets it names, tells every [`Problem`] with its line and a fix, and compiles every
//! rule. What decides with it is in [`decide`](crate::decide); health, signals, segments and tiers are read by `assess`.

mod action;
mod contact;
mod contradictions;
mod known;
mod merge;
mod problem;
mod reader;
mod reads;
mod rules;
mod sequence;
mod settings;
mod solve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

pub use crate::assess::Language;
pub use action::{Action, Pcvl, Prior};
pub use contact::{Capacity, Channel, ContactPolicy, Limit, Suppression};
pub use problem::{Place, Problem, Severity};
pub use rules::{Amount, PlacedRule};
pub use sequence::{Sequence, Step};
pub use settings::{Exploration, ExplorationMethod, Fatigue, Goal, Mode, NamedModel, Settings, Words};

use crate::assess::Assessment;
use crate::rule::Names;

/// Longest playbook or preset, in bytes.
pub const MAX_PLAYBOOK_BYTES: usize = 1 << 20;

/// Most actions of a playbook, those of its presets included.
pub const MAX_ACTIONS: usize = 500;

/// Where presets come from.
pub trait Presets {
    /// The TOML text of a preset.
    fn text(&self, name: &str) -> Option<&str>;

    /// The names of all presets.
    fn names(&self) -> Vec<&str>;
}

impl Presets for BTreeMap<String, String> {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }
}

/// A file that a playbook was read from: itself, then its presets in the order it names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The preset's name; absent for the playbook itself.
    pub preset: Option<String>,
    /// The TOML text.
    pub text: String,
}

/// A playbook that can be decided with.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// What it says of itself.
    pub settings: Settings,
    /// The models that its rules read.
    pub models: Vec<NamedModel>,
    /// How actions are drawn.
    pub exploration: Exploration,
    /// What earlier contacts cost.
    pub fatigue: Fatigue,
    /// How often and when customers may be contacted.
    pub contact: ContactPolicy,
    /// What can be done, the playbook's own first.
    pub actions: Vec<Action>,
    /// What follows each other.
    pub sequences: Vec<Sequence>,
    assessment: Assessment,
    names: Names,
    action_idx: HashMap<String, usize>,
    in_sequence: Vec<bool>,
    sources: Vec<Source>,
    sha256: String,
    warnings: Vec<Problem>,
}

impl Playbook {
    /// Reads a playbook and the presets that it names; what the playbook says itself goes before its presets, entry by entry.
    ///
    /// # Errors
    /// Every problem of the file, in its order, warnings among them; at least one is an error.
    pub fn parse(text: &str, presets: &dyn Presets) -> Result<Self, Vec<Problem>> {
        merge::parse(text, presets)
    }

    /// What can be used and does probably not do what was meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Health, signals, segments, tiers and whatever else is told of customers.
    pub fn assessment(&self) -> &Assessment {
        &self.assessment
    }

    /// Every name that rules read.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The SHA-256 of the file and of the presets it names, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The files it was read from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The position of an action.
    pub fn action_idx(&self, id: &str) -> Option<usize> {
        self.action_idx.get(id).copied()
    }

    /// Whether some sequence names the action, which is then taken as a step only, unless it may be taken `alone`.
    pub fn is_step(&self, action_idx: usize) -> bool {
        self.in_sequence[action_idx] && !self.actions[action_idx].alone
    }

    /// The short name and address of a model.
    pub fn model(&self, name: &str) -> Option<&NamedModel> {
        self.models.iter().find(|model| model.name == name)
    }
}
