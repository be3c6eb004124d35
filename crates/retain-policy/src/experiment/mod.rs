//! Experiments on customers: how many are needed, and what came out.
//!
//! [`Design`] says what is measured and how customers are divided; [`Design::customers_for`] and [`Design::detectable_effect`] plan
//! it. [`read`] compares arms with the first one, [`ExperimentReading`] holds the differences with intervals, whether the arms have
//! the sizes they should have, and what the data could have shown.

mod distributions;
mod plan;
mod read;
mod units;

pub use plan::{Design, DesignError, Measure, Plan};
pub use read::{Comparison, ExperimentReading, Method, ReadOptions, Verdict, read};
pub use units::{ArmSummary, ExperimentRow, ReadError};

#[cfg(test)]
mod tests;
