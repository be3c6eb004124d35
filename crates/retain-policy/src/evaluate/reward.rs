//! A plain model of rewards: each action's mean, drawn to the mean of all where there are few rows.

use super::log::{EvaluateError, Log};

/// Where the modelled reward of each action comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum RewardModel {
    /// `n_rows × n_actions` values, row after row, by a model that saw no row it speaks of.
    Given(Vec<f64>),
    /// [`smoothed_means`] over this many folds of customers.
    SmoothedMeans {
        /// Folds; held within 2 and 100.
        folds: u32,
        /// How many rows the mean of all counts for.
        prior_rows: f64,
        /// Whether each position has means of its own.
        by_position: bool,
    },
}

impl Default for RewardModel {
    fn default() -> Self {
        Self::SmoothedMeans { folds: 5, prior_rows: 10.0, by_position: false }
    }
}

impl RewardModel {
    /// The modelled rewards, row after row; for resamples each customer counts as often as `counts` says.
    pub(super) fn rewards(&self, log: &Log, counts: Option<&[u32]>) -> Result<Vec<f64>, EvaluateError> {
        match self {
            Self::Given(rewards) => Ok(rewards.clone()),
            Self::SmoothedMeans { folds, prior_rows, by_position } => {
                smoothed_means(log, *folds, *prior_rows, *by_position, counts)
            }
        }
    }
}

/// Mean reward of each action, drawn to the mean of all, from the folds that a row's customer is not in; `n_rows × n_actions`.
///
/// The mean of `n` rows counts `n`, the mean of all `prior_rows`; an action without rows has the mean of all. `counts` says how
/// often each customer counts, once where absent.
///
/// # Errors
/// [`EvaluateError`] when `prior_rows` is not a finite number above 0.
pub fn smoothed_means(
    log: &Log,
    folds: u32,
    prior_rows: f64,
    by_position: bool,
    counts: Option<&[u32]>,
) -> Result<Vec<f64>, EvaluateError> {
    if !(prior_rows > 0.0 && prior_rows <= f64::MAX) {
        let expected = "a number above 0";
        return Err(EvaluateError::Number { row: 0, column: "prior rows", expected, found: prior_rows });
    }
    let folds = folds.clamp(2, 100);
    let positions = if by_position { log.position.as_deref() } else { None };
    let cells = Cells::new(log, positions);
    let sums: Vec<Vec<(f64, f64)>> = cells.sums(folds, counts);
    let means: Vec<Vec<f64>> = (0..folds).map(|left_out| means_without(&sums, left_out as usize, prior_rows)).collect();
    let of_row = |row: usize| {
        let first = cells.position(row) * log.n_actions;
        means[fold_of(log.customer[row], folds)][first..first + log.n_actions].iter().copied()
    };
    Ok((0..log.n_rows()).flat_map(of_row).collect())
}

/// A customer's fold, by a hash: neighbours in the list of customers may be alike.
fn fold_of(customer: u32, folds: u32) -> usize {
    let mixed = (u64::from(customer) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) as usize % folds as usize
}

/// Actions by position, as rows of one table.
struct Cells<'a> {
    log: &'a Log,
    /// The number of each row's position, from 0 on.
    positions: Vec<u32>,
    n_positions: usize,
}

impl<'a> Cells<'a> {
    fn new(log: &'a Log, positions: Option<&[u32]>) -> Self {
        let Some(positions) = positions else {
            return Self { log, positions: vec![0; log.n_rows()], n_positions: 1 };
        };
        let mut distinct = positions.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let number = |position: &u32| distinct.partition_point(|other| other < position) as u32;
        Self { log, positions: positions.iter().map(number).collect(), n_positions: distinct.len() }
    }

    fn position(&self, row: usize) -> usize {
        self.positions[row] as usize
    }

    /// Rows and rewards of each cell in each fold.
    fn sums(&self, folds: u32, counts: Option<&[u32]>) -> Vec<Vec<(f64, f64)>> {
        let mut sums = vec![vec![(0.0, 0.0); self.n_positions * self.log.n_actions]; folds as usize];
        for (row, &customer) in self.log.customer.iter().enumerate() {
            let count = counts.map_or(1.0, |counts| f64::from(counts[customer as usize]));
            let cell = self.position(row) * self.log.n_actions + self.log.action[row] as usize;
            let (n, reward) = &mut sums[fold_of(customer, folds)][cell];
            *n += count;
            *reward += count * self.log.reward[row];
        }
        sums
    }
}

/// The smoothed mean of each cell over all folds but one.
fn means_without(sums: &[Vec<(f64, f64)>], left_out: usize, prior_rows: f64) -> Vec<f64> {
    let add = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
    let others = || sums.iter().enumerate().filter(|(fold, _)| *fold != left_out).map(|(_, sums)| sums);
    let (n, reward) = others().flatten().fold((0.0, 0.0), add);
    let mean = if n > 0.0 { reward / n } else { 0.0 };
    let smoothed = |cell: usize| {
        let (n, reward) = others().map(|sums| &sums[cell]).fold((0.0, 0.0), add);
        (reward + prior_rows * mean) / (n + prior_rows)
    };
    (0..sums[0].len()).map(smoothed).collect()
}
