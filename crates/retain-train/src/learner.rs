//! The trait that every learner implements, and what it is told.
//!
//! A learner knows nothing of folds, calibration or metrics: it fits rows and returns margins in log-odds. Which
//! configuration wins is decided by [`crate::select`] on rows that the fit did not see.

use std::time::Instant;

use retain_data::Dataset;
use retain_score::MarginModel;

/// A family of models that can be fitted to a table.
pub trait Learner: Sync {
    /// The learner's name in task files, leaderboards and manifests.
    fn name(&self) -> &'static str;

    /// Whether the learner can minimise this loss.
    fn supports(&self, loss: Loss) -> bool {
        loss == Loss::Logistic
    }

    /// Whether the learner can weigh rows; one that cannot refuses a table with weights.
    fn supports_weights(&self) -> bool {
        false
    }

    /// The settings worth trying on this table for this loss, simplest first; at least one.
    fn configurations(&self, dataset: &Dataset, loss: Loss) -> Vec<Configuration>;

    /// Fits each configuration to the chosen rows and returns one model per configuration, in their order.
    ///
    /// `row_idxs` are positions in `dataset`, sorted; no other row's label or features may be looked at. A row counts by its
    /// weight where the dataset has weights, and a row of weight 0 not at all. The same rows, configurations and seed give the
    /// same bits, whatever the number of threads.
    ///
    /// # Errors
    /// [`FitError`] when no model can be had from these rows.
    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError>;

    /// How much work a fit to `n_rows` rows is, in any unit: a budget compares it with the work of a fit that it has timed.
    fn work(&self, n_rows: usize) -> f64 {
        n_rows as f64
    }

    /// The configuration for the final fit on all rows, told what the fits on the folds came to.
    ///
    /// Boosting fixes its number of rounds here; the others keep what they had.
    fn settle(&self, chosen: &Configuration, _fold_models: &[MarginModel]) -> Configuration {
        chosen.clone()
    }
}

/// What a fit minimises: a loss of one margin and one target value.
///
/// Where a link is named, the prediction is that function of the margin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Log loss of a 0/1 target; the margin is in log-odds.
    Logistic,
    /// Half the squared error; the margin is the prediction.
    Squared,
    /// Poisson deviance of a target from 0 on; the prediction is `exp(margin)`.
    Poisson,
    /// Tweedie deviance of a target from 0 on; the prediction is `exp(margin)`.
    Tweedie {
        /// Power of the variance, between 1 (Poisson) and 2 (gamma), both excluded.
        power: f64,
    },
    /// Gamma deviance of a target above 0; the prediction is `exp(margin)`.
    Gamma,
    /// Pinball loss; the margin is the prediction.
    Quantile {
        /// Share of the targets that should lie below the prediction, between 0 and 1, both excluded.
        level: f64,
    },
}

/// One setting of a learner: named numbers, such as `alpha = 1` or `depth = 5`, in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Names and values.
    pub values: Vec<(&'static str, f64)>,
}

impl Configuration {
    /// A configuration of these named numbers.
    pub fn new(values: &[(&'static str, f64)]) -> Self {
        Self { values: values.to_vec() }
    }

    /// The value of this name, if the configuration has it.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl std::fmt::Display for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (name, value)) in self.values.iter().enumerate() {
            write!(f, "{}{name}={value}", if position == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// What a fit is told beside its rows.
#[derive(Debug, Clone, Copy)]
pub struct FitContext {
    /// What the fit minimises.
    pub loss: Loss,
    /// All randomness of the fit comes from this number.
    pub seed: u64,
    /// When the run's budget ends; a fit that would go past it returns [`FitError::OutOfTime`].
    pub deadline: Option<Instant>,
    /// Days between rows that train and rows that validate, when the table has dates: lead time plus horizon.
    pub gap_days: Option<f64>,
}

impl FitContext {
    /// Ends the fit when the budget is used up; learners ask between their steps.
    ///
    /// # Errors
    /// [`FitError::OutOfTime`] past the deadline.
    pub fn check_time(&self) -> Result<(), FitError> {
        // A deadline that the caller set cannot be kept without looking at the time.
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) { Err(FitError::OutOfTime) } else { Ok(()) }
    }
}

/// Why a learner has no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The budget ended first.
    #[error("the budget ended before the fit did")]
    OutOfTime,
    /// The rows have labels of one class only, or there are none.
    #[error("{n_rows} training rows have {n_positives} positives: both classes are needed")]
    OneClass {
        /// Rows given.
        n_rows: usize,
        /// Of which positive.
        n_positives: usize,
    },
    /// The rows are none, or none of them has a weight above 0.
    #[error("none of {n_rows} training rows counts: at least one row with a weight above 0 is needed")]
    NoRows {
        /// Rows given.
        n_rows: usize,
    },
    /// A target that the loss cannot have.
    #[error("row {row}: the target should be {expected}, found {found}")]
    Target {
        /// Position in the dataset.
        row: usize,
        /// The target.
        found: f64,
        /// What the loss allows.
        expected: &'static str,
    },
    /// A weight that is none.
    #[error("row {row}: the weight should be a number from 0 to 1e30, found {found}")]
    Weight {
        /// Position in the dataset.
        row: usize,
        /// The weight.
        found: f64,
    },
    /// The learner's package cannot weigh rows.
    #[error("the learner `{learner}` cannot weigh rows, and the table has weights")]
    WeightsUnsupported {
        /// The learner.
        learner: &'static str,
    },
    /// A parameter of a loss outside its range.
    #[error("{parameter} should be between {from} and {to}, both excluded, found {found}")]
    LossParameter {
        /// Which one.
        parameter: &'static str,
        /// Its value.
        found: f64,
        /// Lower end of the range.
        from: f64,
        /// Upper end of the range.
        to: f64,
    },
    /// The package that does the fit refused.
    #[error("{package}: {message}")]
    Package {
        /// The crate.
        package: &'static str,
        /// What it said.
        message: String,
    },
}
