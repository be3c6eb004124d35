//! What another policy would have earned, from what was logged under the one that decided.
//!
//! [`Log`] holds who got which action with which probability and what came of it, [`Probabilities`] what the other policy would have
//! done on the same rows, [`RewardModel`] what each action is thought to bring. [`evaluate`] puts them through every
//! [`Estimator`], says how far each can be trusted, and chooses one by a rule that looks at no truth; [`OffPolicyReport::promotes`]
//! holds the policy against the one that decided.
//!
//! # Source
//! Estimators: Horvitz and Thompson (1952), Swaminathan and Joachims (2015, self-normalised), Dudík, Langford and Li (2011,
//! doubly robust), Wang, Agarwal and Dudík (2017, switch), Su, Dimakopoulou, Krishnamurthy and Dudík (2020, shrinkage, and the
//! choice by estimated error); names and forms as in the Open Bandit Pipeline (Saito et al. 2021).

mod bernstein;
mod diagnostics;
mod estimator;
mod log;
mod report;
mod reward;
mod tuning;

pub use bernstein::bernstein_margin;
pub use diagnostics::Diagnostics;
pub use estimator::{Contributions, Estimator, Rows};
pub use log::{EvaluateError, Log, Probabilities};
pub use report::{Estimate, OffPolicyReport, Range, evaluate};
pub use reward::{RewardModel, smoothed_means};
pub use tuning::{direct_error, tuned};

#[cfg(test)]
mod tests;
