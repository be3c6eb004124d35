//! Metrics, their confidence intervals and the quality gate, as pure functions: no file, no clock, no randomness but a seed.
//!
//! [`Labelled`] holds checked predictions beside what happened: whether, how much, when, or what a treatment changed ([`OutcomeKind`]).
//! [`Metric::measure`] reads one number off it,
//! [`evaluate`] adds bootstrap intervals, [`compare`] sets two models side by side on the same resamples,
//! [`calibration_table`] and [`threshold_table`] say what the probabilities are worth to somebody who acts on them.
//! [`GateFile`] is the parsed `gate.toml`, [`gate`] holds a model against it, and the [`GateReport`] prints itself as text,
//! JSON, `JUnit` and Markdown.
//!
//! Every number is the same to the last bit for every number of threads, and every metric for every order of the rows.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail"))]

mod binary;
mod bootstrap;
mod clustered;
mod d_calibration;
mod gate;
mod gate_error;
mod gate_file;
mod gate_parse;
mod gate_report;
mod gauge;
mod kaplan_meier;
mod labelled;
mod metrics;
mod normal;
mod outcome;
mod ranking;
mod recalibration;
mod survival;
mod tables;
mod uplift;
mod values;

pub use bootstrap::{BootstrapOptions, Difference, Evaluation, Interval, Measured, compare, evaluate, evaluate_base_rate};
pub use bootstrap::{percentile_interval, resample};
pub use clustered::clustered_mean;
pub use gate::{Champion, GateInput, PastColumn, ServingNumbers, SliceColumn, run as gate};
pub use gate_error::GateError;
pub use gate_file::{
    Baseline, Beats, Ceiling, Floor, GateFile, GateFileError, GateNeeds, NonInferiority, Serving, SliceCheck, SliceLimit,
};
pub use gate_report::{CheckKind, CheckLine, GateReport, Verdict};
pub use kaplan_meier::kaplan_meier;
pub use labelled::{EvalError, Labelled};
pub use metrics::{Horizon, Metric};
pub use normal::{two_sided_z, wilson};
pub use outcome::OutcomeKind;
pub use tables::{CalibrationBin, ThresholdRow, calibration_table, survival_calibration_table, threshold_table};
