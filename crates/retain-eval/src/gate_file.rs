//! [`GateFile`]: what a model has to prove, as `gate.toml` says it. Reading the text is in `gate_parse`.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::bootstrap::BootstrapOptions;
use crate::metrics::Metric;

/// Fewest positives, and fewest negatives, that a verdict of pass may rest on.
pub(crate) const MIN_PER_CLASS: usize = 30;

/// A checked gate file: at least one check, every number finite and in its range.
#[derive(Debug, Clone, PartialEq)]
pub struct GateFile {
    /// Confidence, resamples and seed of all intervals.
    pub bootstrap: BootstrapOptions,
    /// Metrics whose lower bound must reach a minimum.
    pub floors: Vec<Floor>,
    /// Metrics whose upper bound must stay under a maximum.
    pub ceilings: Vec<Ceiling>,
    /// Metrics that may not be worse than the champion's.
    pub non_inferiority: Vec<NonInferiority>,
    /// Metrics that must beat a trivial baseline.
    pub beats: Vec<Beats>,
    /// Limits that hold in every slice of the rows.
    pub slices: Vec<SliceCheck>,
    /// Limits on speed, size and parity.
    pub serving: Vec<Serving>,
}

/// `[[floor]]`: the lower bound of `metric` must reach `min`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Floor {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// Least value.
    pub min: f64,
}

/// `[[ceiling]]`: the upper bound of `metric` must not pass `max`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ceiling {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// Largest value.
    pub max: f64,
}

/// `[[non_inferiority]]`: the lower bound of how much better the new model is must lie above `−margin`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NonInferiority {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How much worse is still acceptable, in the metric's own unit; 0 asks for better.
    pub margin: f64,
}

/// `[[beats]]`: the lower bound of how much better the model is than `baseline` must lie above 0.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Beats {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// What it is compared with; default `base_rate`.
    #[serde(default)]
    pub baseline: Baseline,
    /// The column that `past` reads, and absent for every other baseline.
    pub column: Option<String>,
}

/// A prediction that needs no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// What the training rows say of everybody: their rate of positives, their mean value (also written `constant`), or their
    /// Kaplan-Meier curve (also written `kaplan_meier`).
    #[default]
    #[serde(alias = "constant", alias = "kaplan_meier")]
    BaseRate,
    /// What a column of the data says of each row, in the unit of the prediction: past spend, last period's activity.
    Past,
}

/// `[[slice]]`: a limit that holds for every combination of values of the columns `by`.
///
/// Slices with fewer positives than `min_positives` are counted in the report and not judged.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceCheck {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// Columns whose combined values make the slices.
    pub by: Vec<String>,
    /// What is measured.
    pub metric: Metric,
    /// The limit.
    pub limit: SliceLimit,
    /// Fewest positives of a slice that is judged; default and least 30.
    pub min_positives: usize,
}

/// The limit of a slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SliceLimit {
    /// The whole interval must lie within `±max_abs`.
    MaxAbs(f64),
    /// The lower bound must reach this.
    Min(f64),
    /// The upper bound must not pass this.
    Max(f64),
}

/// `[[serving]]`: limits on measured numbers; at least one is given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Serving {
    /// The model meant; absent means the one being gated.
    pub model: Option<String>,
    /// Largest 99th percentile of answering one customer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Largest size of the model file, in megabytes of 1,000,000 bytes.
    pub model_mb: Option<f64>,
    /// Largest absolute difference between the same row's probability in training and in serving.
    pub parity_max_abs: Option<f64>,
}

/// What a gate file needs to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing to fetch, and any may be needed with any other")]
pub struct GateNeeds {
    /// Metrics that the evaluation must have, for floors and ceilings.
    pub metrics: Vec<Metric>,
    /// Rows with labels: for champion, baseline and slices.
    pub data: bool,
    /// A champion's predictions on those rows.
    pub champion: bool,
    /// What the training rows say of everybody: rate of positives, mean value or Kaplan-Meier curve.
    pub base_rate: bool,
    /// Columns that predict by the past, sorted.
    pub past_columns: Vec<String>,
    /// Columns whose values make slices, sorted.
    pub slice_columns: Vec<String>,
    /// A measured 99th percentile.
    pub p99: bool,
    /// The model's size.
    pub model_size: bool,
    /// A measured parity of training and serving.
    pub parity: bool,
}

/// What is wrong with a gate file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GateFileError {
    /// Not TOML, or a value of the wrong type.
    #[error("line {line}: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A table or key that no gate file has.
    #[error("line {line}: unknown key `{key}`{place}, {hint}")]
    UnknownKey {
        /// Line, counted from 1.
        line: usize,
        /// The key, shortened.
        key: String,
        /// Its table: empty, or ` in [[floor]]`.
        place: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A number outside its range.
    #[error("line {line}: `{key}` should be {expected}, found `{found}`")]
    Value {
        /// Line, counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A check that limits nothing, or limits twice.
    #[error("line {line}: {expected}")]
    Limits {
        /// Line, counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A file that checks nothing lets everything pass.
    #[error(
        "the gate file has no checks: add a [[floor]], [[ceiling]], [[non_inferiority]], [[beats]], [[slice]] or [[serving]]"
    )]
    NoChecks,
}

impl GateFile {
    /// Number of checks in the file.
    pub fn n_checks(&self) -> usize {
        let quality = self.floors.len() + self.ceilings.len() + self.non_inferiority.len() + self.beats.len();
        quality + self.slices.len() + self.serving.len()
    }

    /// What has to be measured before the gate can run.
    pub fn needs(&self) -> GateNeeds {
        let floors = self.floors.iter().map(|floor| floor.metric);
        let metrics: BTreeSet<Metric> = floors.chain(self.ceilings.iter().map(|ceiling| ceiling.metric)).collect();
        let columns: BTreeSet<&String> = self.slices.iter().flat_map(|slice| &slice.by).collect();
        let champion = !self.non_inferiority.is_empty();
        let past: BTreeSet<&String> = self.beats.iter().filter_map(|beats| beats.column.as_ref()).collect();
        GateNeeds {
            metrics: metrics.into_iter().collect(),
            data: champion || !self.beats.is_empty() || !self.slices.is_empty(),
            champion,
            base_rate: self.beats.iter().any(|beats| beats.baseline == Baseline::BaseRate),
            past_columns: past.into_iter().cloned().collect(),
            slice_columns: columns.into_iter().cloned().collect(),
            p99: self.serving.iter().any(|serving| serving.p99_ms.is_some()),
            model_size: self.serving.iter().any(|serving| serving.model_mb.is_some()),
            parity: self.serving.iter().any(|serving| serving.parity_max_abs.is_some()),
        }
    }
}
