//! The playbook that is live, and what of it every call needs.

use std::path::Path;

use retain_core::{ColumnKind, FeatureSpec};
use retain_policy::playbook::{Playbook, Problem, Severity};
use retain_policy::presets::BuiltIn;
use retain_policy::rule::{Name, NameType};

/// A playbook with what is looked up in it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) playbook: Playbook,
    /// The addresses of its models, in its order.
    pub(super) addresses: Vec<String>,
    /// The features that its rules read.
    pub(super) rule_features: Vec<FeatureSpec>,
    /// Whether some action says which reasons it answers.
    pub(super) answers_reasons: bool,
}

/// Why a playbook is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaybookError {
    /// The file cannot be read.
    #[error("cannot read the playbook `{path}`")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// There is something wrong with it.
    #[error("the playbook `{path}` cannot be used: {first}{}", and_more(*.n_more))]
    Problems {
        /// Which.
        path: String,
        /// The first thing that is wrong.
        first: String,
        /// How much more there is.
        n_more: usize,
    },
}

fn and_more(n_more: usize) -> String {
    if n_more == 0 { String::new() } else { format!("; and {n_more} more, which `retain playbook validate` lists") }
}

impl Live {
    /// Reads a playbook's file.
    ///
    /// # Errors
    /// [`PlaybookError`].
    pub(super) fn read(path: &Path) -> Result<Self, PlaybookError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| PlaybookError::File { path: shown.clone(), source })?;
        let playbook = Playbook::parse(&text, &BuiltIn).map_err(|problems| refused(shown, &problems))?;
        for warning in playbook.warnings() {
            tracing::warn!(playbook = playbook.settings.name, "{warning}");
        }
        Ok(Self::of(playbook))
    }

    fn of(playbook: Playbook) -> Self {
        let addresses = playbook.models.iter().map(|model| model.address.to_string()).collect();
        let names = playbook.names();
        let feature = |(slot, name): (_, &Name)| match name {
            Name::Feature(feature) => Some(FeatureSpec::new(feature, column_kind(names.value_type(slot)))),
            _ => None,
        };
        let rule_features = names.iter().filter_map(feature).collect();
        let answers_reasons = playbook.actions.iter().any(|action| !action.answers.is_empty());
        Self { playbook, addresses, rule_features, answers_reasons }
    }

    /// Whether some rule reads this feature.
    pub(super) fn reads(&self, feature: &str) -> bool {
        self.playbook.names().find(&Name::Feature(feature.to_owned())).is_some()
    }
}

fn column_kind(value_type: NameType) -> ColumnKind {
    match value_type {
        NameType::Number => ColumnKind::Number,
        NameType::Boolean => ColumnKind::Boolean,
        NameType::Text | NameType::Any => ColumnKind::Category,
    }
}

fn refused(path: String, problems: &[Problem]) -> PlaybookError {
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    let first = errors.first().map_or_else(String::new, ToString::to_string);
    PlaybookError::Problems { path, first, n_more: errors.len().saturating_sub(1) }
}
