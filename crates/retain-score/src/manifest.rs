//! `manifest.json`: what a bundle is, and the checksums of its other files.

use std::collections::BTreeMap;

use retain_core::{Day, ModelName, TaskKind};
use serde::{Deserialize, Serialize};

/// The bundle format this build writes, and the newest it reads.
pub const BUNDLE_FORMAT_VERSION: u32 = 2;

/// What a bundle is and how it came to be. Holds no time of day: the same table, task and seed give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the bundle; a newer one than this build knows is refused.
    pub format_version: u32,
    /// The model's name.
    pub name: ModelName,
    /// Whole number from 1, given when the bundle is published.
    pub version: u32,
    /// What is predicted.
    pub kind: TaskKind,
    /// What the target means, in words.
    pub definition: String,
    /// Length of the label window.
    pub horizon_days: u32,
    /// Days between the observation and the label window.
    pub lead_days: u32,
    /// Seed of all randomness of the run.
    pub seed: u64,
    /// The learner that won.
    pub learner: String,
    /// Its settings.
    pub configuration: String,
    /// How margins become probabilities: `none`, `sigmoid`, `beta` or `isotonic`; `logarithm` where the margin is an amount itself.
    pub calibrator: String,
    /// How the model was validated, in words.
    pub validation: String,
    /// Rows it was fitted on.
    pub n_rows: u64,
    /// Of which positive: it happened, or the amount is above 0.
    pub n_positives: u64,
    /// Distinct customers among them.
    pub n_customers: u64,
    /// First and last date of observation, where the table has dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<DateRange>,
    /// Tables whose features are dates but which do not say when they were known: the day that dates are counted to, in days since 1970-01-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_day: Option<f64>,
    /// Amounts: the currency they are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Where the bands begin.
    pub bands: Bands,
    /// SHA-256 of the training table's bytes.
    pub data_sha256: String,
    /// SHA-256 of `schema.json`.
    pub schema_sha256: String,
    /// The build that made it.
    pub tool_version: String,
    /// What the training run warned of.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// SHA-256 of every other file of the bundle, by name.
    pub files: BTreeMap<String, String>,
}

/// First and last day, as ISO dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateRange {
    /// First.
    pub from: String,
    /// Last.
    pub to: String,
}

/// Where the medium and the high band begin: probabilities of leaving (churn, survival), expected amounts (ltv, engagement) or effects
/// (uplift).
///
/// Chosen by capacity, from predictions on rows the fit did not see: the highest tenth is high, the next two tenths medium. A fixed
/// 0.5 would say nothing where few customers leave. High is urgent where leaving is predicted, and valuable or active where amounts
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bands {
    /// Least probability or amount of the medium band.
    pub medium: f64,
    /// Least probability or amount of the high band.
    pub high: f64,
}

/// Where a customer stands among the others: in risk, value or activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// The lowest seven tenths.
    Low,
    /// The next two tenths.
    Medium,
    /// The highest tenth.
    High,
}

impl Bands {
    /// The band of a probability or an amount.
    pub fn of(self, value: f64) -> Band {
        if value >= self.high {
            Band::High
        } else if value >= self.medium {
            Band::Medium
        } else {
            Band::Low
        }
    }
}

impl Band {
    /// The band's name: `low`, `medium` or `high`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Manifest {
    /// The day that dates are counted to where rows do not carry their own.
    pub fn reference_day(&self) -> Option<Day> {
        self.reference_day.map(Day::from_days)
    }

    /// `name/version`.
    pub fn address(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}
