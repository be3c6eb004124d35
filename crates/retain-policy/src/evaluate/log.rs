//! Logged decisions with their rewards, and another policy's probabilities on the same rows, checked once.

use std::collections::BTreeMap;

/// Probabilities of a row may miss 1 by this much, as logged decimals do.
const SUM_TOLERANCE: f64 = 1e-6;
const LARGEST_REWARD: f64 = 1e100;

/// Decisions that were made, row by row, with what came of them.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) n_actions: usize,
    pub(super) customer: Vec<u32>,
    pub(super) n_customers: usize,
    pub(super) action: Vec<u32>,
    pub(super) reward: Vec<f64>,
    pub(super) propensity: Option<Vec<f64>>,
    pub(super) position: Option<Vec<u32>>,
}

/// For each row the probability of each action under a policy.
#[derive(Debug, Clone)]
pub struct Probabilities {
    pub(super) n_actions: usize,
    pub(super) values: Vec<f64>,
}

/// What is wrong with a log or with what is held beside it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// No rows or no actions.
    #[error("should have at least one row and one action, found {n_rows} rows and {n_actions} actions")]
    Empty {
        /// Number of rows.
        n_rows: usize,
        /// Number of actions.
        n_actions: usize,
    },
    /// Columns of different lengths.
    #[error("`{column}` should have {expected} values, found {found}")]
    Length {
        /// Which column.
        column: &'static str,
        /// As many as the rows ask for.
        expected: usize,
        /// What was found.
        found: usize,
    },
    /// An action that is not there.
    #[error("row {row}: the action should be below {n_actions}, found {found}")]
    UnknownAction {
        /// Position of the row.
        row: usize,
        /// What was found.
        found: u32,
        /// Number of actions.
        n_actions: usize,
    },
    /// A number outside its range.
    #[error("row {row}: `{column}` should be {expected}, found {found}")]
    Number {
        /// Position of the row.
        row: usize,
        /// Which column.
        column: &'static str,
        /// Which range.
        expected: &'static str,
        /// What was found.
        found: f64,
    },
}

impl Log {
    /// A log of rows: whose they are, which action was taken, what it earned, and with which probability it was taken.
    ///
    /// All columns have one value per row. Rows of one customer are not taken for independent evidence. Without `propensity` only
    /// the reward model can speak. `position` is where the action was shown, if that matters.
    ///
    /// # Errors
    /// [`EvaluateError`] for no rows, columns of other lengths, an action not below `n_actions`, a reward that is no number, or
    /// a propensity not within 1e-100 and 1.
    pub fn new(
        n_actions: usize,
        customer: &[u32],
        action: Vec<u32>,
        reward: Vec<f64>,
        propensity: Option<Vec<f64>>,
        position: Option<Vec<u32>>,
    ) -> Result<Self, EvaluateError> {
        let n_rows = action.len();
        if n_rows == 0 || n_actions == 0 {
            return Err(EvaluateError::Empty { n_rows, n_actions });
        }
        check_length("customer", n_rows, customer.len())?;
        check_length("reward", n_rows, reward.len())?;
        check_length("propensity", n_rows, propensity.as_ref().map_or(n_rows, Vec::len))?;
        check_length("position", n_rows, position.as_ref().map_or(n_rows, Vec::len))?;
        if let Some((row, &found)) = action.iter().enumerate().find(|(_, action)| **action as usize >= n_actions) {
            return Err(EvaluateError::UnknownAction { row, found, n_actions });
        }
        check_numbers("reward", "a number between -1e100 and 1e100", &reward, |x| x.abs() <= LARGEST_REWARD)?;
        if let Some(propensity) = &propensity {
            check_numbers("propensity", "between 1e-100 and 1", propensity, |x| (1e-100..=1.0).contains(&x))?;
        }
        let (customer, n_customers) = numbered(customer);
        Ok(Self { n_actions, customer, n_customers, action, reward, propensity, position })
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.action.len()
    }

    /// Number of customers.
    pub fn n_customers(&self) -> usize {
        self.n_customers
    }

    /// What the policy that decided earned per row.
    pub fn mean_reward(&self) -> f64 {
        self.reward.iter().sum::<f64>() / self.n_rows() as f64
    }
}

/// Customers by number from 0 on, in the order of their labels.
fn numbered(labels: &[u32]) -> (Vec<u32>, usize) {
    let mut numbers: BTreeMap<u32, u32> = labels.iter().map(|&label| (label, 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, position)| *number = position);
    (labels.iter().map(|label| numbers[label]).collect(), numbers.len())
}

impl Probabilities {
    /// Probabilities of `n_rows × n_actions`, row after row.
    ///
    /// # Errors
    /// [`EvaluateError`] when their number is not that of the log, one is outside 0 to 1, or a row's sum is not 1 within 1e-6.
    pub fn new(log: &Log, values: Vec<f64>) -> Result<Self, EvaluateError> {
        check_length("probability", log.n_rows() * log.n_actions, values.len())?;
        for (row, of_row) in values.chunks_exact(log.n_actions).enumerate() {
            let outside = of_row.iter().find(|probability| !(0.0..=1.0).contains(*probability));
            if let Some(&found) = outside {
                return Err(EvaluateError::Number { row, column: "probability", expected: "between 0 and 1", found });
            }
            let found: f64 = of_row.iter().sum();
            if (found - 1.0).abs() > SUM_TOLERANCE {
                return Err(EvaluateError::Number { row, column: "sum of probabilities", expected: "1", found });
            }
        }
        Ok(Self { n_actions: log.n_actions, values })
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_actions..(row + 1) * self.n_actions]
    }
}

pub(super) fn check_length(column: &'static str, expected: usize, found: usize) -> Result<(), EvaluateError> {
    if found == expected { Ok(()) } else { Err(EvaluateError::Length { column, expected, found }) }
}

pub(super) fn check_numbers(
    column: &'static str,
    expected: &'static str,
    values: &[f64],
    fits: impl Fn(f64) -> bool,
) -> Result<(), EvaluateError> {
    match values.iter().enumerate().find(|(_, value)| !fits(**value)) {
        Some((row, &found)) => Err(EvaluateError::Number { row, column, expected, found }),
        None => Ok(()),
    }
}
