//! Three worlds with their playbooks, from one that is quickly learned to one that 20,000 decisions are too few for.

use super::world::{PlantedEffect, PlantedSegment, WorldParams};

/// A world that comes with this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedWorld {
    /// Two segments, four actions of 2 to 15 points, one of them harmful.
    Easy,
    /// Three segments with 5 to 40 % risk, seven actions of −2 to 15 points of which most are for some customers only.
    Default,
    /// Four segments, eight actions for everybody, of −3 to 6 points and near to each other.
    Hard,
}

impl NamedWorld {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Default, Self::Hard];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Default => "default",
            Self::Hard => "hard",
        }
    }

    /// The playbook that a team would begin with there, as TOML.
    pub fn playbook(self) -> &'static str {
        match self {
            Self::Easy => include_str!("../../worlds/easy.toml"),
            Self::Default => include_str!("../../worlds/default.toml"),
            Self::Hard => include_str!("../../worlds/hard.toml"),
        }
    }

    /// The customers and the planted effects.
    pub fn params(self) -> WorldParams {
        match self {
            Self::Easy => easy(),
            Self::Default => default(),
            Self::Hard => hard(),
        }
    }
}

fn segment(id: &str, share: f64, risk: (f64, f64), worth: (f64, f64)) -> PlantedSegment {
    PlantedSegment { id: id.to_owned(), share, risk, worth }
}

fn effect(action: &str, by_segment: &[f64]) -> PlantedEffect {
    PlantedEffect { action: action.to_owned(), by_segment: by_segment.to_vec() }
}

fn easy() -> WorldParams {
    WorldParams {
        segments: vec![segment("new", 0.5, (0.2, 0.4), (200.0, 600.0)), segment("settled", 0.5, (0.15, 0.3), (300.0, 900.0))],
        effects: vec![
            effect("onboarding", &[0.12, 0.0]),
            effect("reward", &[0.02, 0.1]),
            effect("reminder", &[-0.04, -0.03]),
            effect("call", &[0.15, 0.15]),
        ],
        n_customers: 8_000,
        decisions_per_day: 20,
        late_days: 2,
        untold_share: 0.02,
    }
}

fn default() -> WorldParams {
    WorldParams {
        segments: vec![
            segment("new", 0.35, (0.15, 0.4), (150.0, 900.0)),
            segment("settled", 0.45, (0.08, 0.24), (300.0, 1_200.0)),
            segment("loyal", 0.2, (0.05, 0.1), (500.0, 2_000.0)),
        ],
        effects: vec![
            effect("tips", &[0.03, 0.02, 0.005]),
            effect("onboarding", &[0.1, 0.0, 0.0]),
            effect("reward", &[0.0, 0.07, 0.01]),
            effect("discount", &[0.07, 0.05, -0.01]),
            effect("call", &[0.15, 0.08, 0.05]),
            effect("survey", &[-0.02, -0.015, -0.01]),
            effect("upgrade", &[0.0, 0.03, 0.0]),
        ],
        n_customers: 8_000,
        decisions_per_day: 20,
        late_days: 2,
        untold_share: 0.02,
    }
}

fn hard() -> WorldParams {
    WorldParams {
        segments: vec![
            segment("trial", 0.25, (0.2, 0.4), (100.0, 500.0)),
            segment("new", 0.25, (0.12, 0.3), (150.0, 900.0)),
            segment("settled", 0.3, (0.08, 0.2), (300.0, 1_200.0)),
            segment("loyal", 0.2, (0.05, 0.1), (500.0, 2_000.0)),
        ],
        effects: vec![
            effect("tips", &[0.02, 0.02, 0.01, 0.0]),
            effect("webinar", &[0.04, 0.03, 0.02, 0.01]),
            effect("reward", &[0.01, 0.03, 0.05, 0.02]),
            effect("upgrade", &[-0.01, 0.01, 0.03, 0.03]),
            effect("survey", &[-0.03, -0.02, -0.01, -0.01]),
            effect("letter", &[0.03, 0.02, 0.02, 0.01]),
            effect("discount", &[0.05, 0.05, 0.04, -0.01]),
            effect("call", &[0.06, 0.06, 0.06, 0.04]),
        ],
        n_customers: 20_000,
        decisions_per_day: 50,
        late_days: 5,
        untold_share: 0.05,
    }
}
