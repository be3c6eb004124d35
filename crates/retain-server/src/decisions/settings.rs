//! `[decisions]` of the server file.

use std::path::PathBuf;

use retain_store::{StoreConfig, StoreError};
use serde::Deserialize;

use crate::config::ConfigError;

/// What decisions are made with, and where they are kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionSettings {
    /// The playbook's file. Read when the server begins, and again by a reload.
    pub playbook: PathBuf,
    /// The log of decisions and outcomes.
    pub store: StoreConfig,
    /// Seconds between two looks at what came of earlier decisions. Default 60.
    #[serde(default = "learn_seconds")]
    pub learn_seconds: u64,
    /// Days for which decisions are kept after their windows have closed. Default 1,095; 0: for ever.
    #[serde(default = "retention_days")]
    pub retention_days: u32,
}

fn learn_seconds() -> u64 {
    60
}

fn retention_days() -> u32 {
    1_095
}

impl DecisionSettings {
    /// The default settings for a playbook and a log.
    pub fn new(playbook: impl Into<PathBuf>, store: StoreConfig) -> Self {
        Self { playbook: playbook.into(), store, learn_seconds: learn_seconds(), retention_days: retention_days() }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, expected, found: String| Err(ConfigError::Value { key, expected, found });
        if !(1..=86_400).contains(&self.learn_seconds) {
            return wrong("decisions.learn_seconds", "a whole number from 1 to 86400", self.learn_seconds.to_string());
        }
        if self.retention_days > 36_500 {
            return wrong("decisions.retention_days", "at most 36500", self.retention_days.to_string());
        }
        match self.store.check() {
            Err(StoreError::Setting { key, expected, found }) => wrong(
                "decisions.store",
                expected,
                if found.is_empty() { format!("no `{key}`") } else { format!("{key} = {found}") },
            ),
            // What the file does not say is found out when the log is opened.
            _ => Ok(()),
        }
    }
}
