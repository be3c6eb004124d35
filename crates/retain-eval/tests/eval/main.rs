//! Tests of the crate as its callers see it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail")]

/// Intervals cover the truth as often as they say, on tables drawn from known probabilities.
mod coverage;
/// Verdicts and renderings of the gate.
mod gate;
/// Values of scikit-learn, scipy and scikit-survival, made by the scripts in `tests/golden`.
mod golden;
/// What holds for every table.
mod properties;
/// Tables drawn from known probabilities.
mod simulate;
/// What holds for every table of values and of censored times.
mod values_survival;
