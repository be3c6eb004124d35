//! The settings of one boosted model.

use retain_data::Dataset;

use super::split::Limits;
use crate::learner::{Configuration, Loss};

/// Rows up to which a table counts as small: noise, not time, is then what limits a model.
const SMALL_ROWS: usize = 20_000;
/// Rows up to which the model is fitted again on all rows once its rounds are known.
const REFIT_ROWS: usize = 50_000;
/// Trees at most, whatever the losses say.
const MAX_ROUNDS: usize = 2_000;

/// Checked settings; every number lies in the range its field names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BoostingParams {
    /// Share of each tree's values that is added, in (0, 1]; smaller needs more rounds and generalises better.
    pub(super) learning_rate: f64,
    /// Leaves of a tree at most, from 2.
    pub(super) max_leaves: usize,
    /// Questions on a path at most, from 1.
    pub(super) max_depth: usize,
    /// Share of the columns that each tree may use, in (0, 1].
    pub(super) column_share: f64,
    /// Share of the rows that each tree is grown on, in (0, 1].
    pub(super) row_share: f64,
    /// What every split respects.
    pub(super) limits: Limits,
    /// Number of trees; none: the losses on rows held out decide.
    pub(super) rounds: Option<usize>,
    /// One question for all leaves of a level.
    pub(super) symmetric: bool,
    /// Noise on the scores of symmetric trees at first, in units of a score of pure noise.
    pub(super) noise: f64,
    /// Rows of the prior mean in each statistic of a category; none: categories are told apart by sets.
    pub(super) prior_rows: Option<f64>,
    /// L2 penalty of the logistic regression whose margin the trees start from; none: they start from the base rate.
    pub(super) base_alpha: Option<f64>,
}

impl BoostingParams {
    /// Reads the settings; what is not named has its default, and a number outside its range becomes the nearest inside.
    pub(super) fn new(configuration: &Configuration) -> Self {
        let number = |name: &str, default: f64, low: f64, high: f64| {
            configuration.get(name).filter(|value| !value.is_nan()).unwrap_or(default).clamp(low, high)
        };
        let optional = |name: &str, high: f64| configuration.get(name).is_some().then(|| number(name, 0.0, 0.0, high));
        let symmetric = number("symmetric", 0.0, 0.0, 1.0) == 1.0;
        Self {
            learning_rate: number("learning_rate", 0.05, 1e-4, 1.0),
            max_leaves: number("leaves", 8.0, 2.0, 4096.0) as usize,
            max_depth: number("depth", 16.0, 1.0, if symmetric { 8.0 } else { 64.0 }) as usize,
            symmetric,
            noise: number("noise", 1.0, 0.0, 1e9),
            prior_rows: optional("prior_rows", 1e9),
            column_share: number("columns", 0.5, 1e-6, 1.0),
            row_share: number("rows", 0.7, 1e-6, 1.0),
            limits: Limits {
                min_leaf_rows: number("min_leaf_rows", 20.0, 1.0, 1e9) as u32,
                min_hessian: number("min_hessian", 1e-3, 0.0, 1e9),
                l2: number("l2", 5.0, 0.0, 1e9),
            },
            rounds: optional("rounds", MAX_ROUNDS as f64).map(|rounds| rounds as usize),
            base_alpha: optional("base_alpha", 1e9),
        }
    }

    /// Trees at most.
    pub(super) fn max_rounds(&self) -> usize {
        self.rounds.unwrap_or(MAX_ROUNDS)
    }

    /// Rounds without a better loss after which the search for their number ends: about two time constants of the learning.
    pub(super) fn patience(&self) -> usize {
        ((2.0 / self.learning_rate) as usize).clamp(20, 100)
    }
}

/// How the number of rounds is found on this many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundsPlan {
    /// Parts that the rows are dealt into; 1 holds out one of [`RoundsPlan::HOLD_OUT_PARTS`] only.
    pub(super) n_folds: usize,
    /// Whether the model is fitted once more on all rows with the number of rounds found.
    pub(super) refit: bool,
}

impl RoundsPlan {
    /// A single part held out is one of so many.
    pub(super) const HOLD_OUT_PARTS: usize = 8;

    /// Small tables use every row in turn, since a single small part is mostly noise; large ones cannot pay for that, and lose
    /// little by never training on the part held out.
    pub(super) fn new(n_rows: usize) -> Self {
        Self { n_folds: if n_rows <= SMALL_ROWS { 4 } else { 1 }, refit: n_rows <= REFIT_ROWS }
    }
}

/// A name and its number.
type Setting = (&'static str, f64);

/// Coarse trees of few columns, for effects that add up.
const SMOOTH: &[Setting] = &[
    ("symmetric", 1.0),
    ("depth", 4.0),
    ("leaves", 4.0),
    ("l2", 3.0),
    ("min_leaf_rows", 20.0),
    ("columns", 0.5),
    ("rows", 0.8),
    ("prior_rows", 10.0),
];
/// Symmetric trees of all columns, for effects that depend on each other.
const DEEP: &[Setting] = &[
    ("symmetric", 1.0),
    ("depth", 6.0),
    ("leaves", 16.0),
    ("l2", 3.0),
    ("min_leaf_rows", 10.0),
    ("columns", 1.0),
    ("rows", 0.8),
    ("prior_rows", 10.0),
];
/// Trees that grow where it pays, for small groups of rows unlike all others.
const LEAFWISE: &[Setting] =
    &[("leaves", 16.0), ("l2", 1.0), ("min_leaf_rows", 10.0), ("columns", 0.7), ("rows", 0.8), ("prior_rows", 10.0)];
/// The same where there are rows enough for more leaves and no draws.
const LEAFWISE_LARGE: &[Setting] =
    &[("leaves", 63.0), ("l2", 1.0), ("min_leaf_rows", 20.0), ("columns", 1.0), ("rows", 1.0), ("prior_rows", 10.0)];
/// Penalty of a linear base: enough to keep it from fitting what trees fit better.
const BASE_ALPHA: f64 = 100.0;

/// The settings worth trying on a table, simplest first.
///
/// Which of them wins differs from table to table: of the public ones, smooth trees lead on Telco (on top of a linear base) and on bank
/// customers, deep ones on call records with planted rules, those grown leaf by leaf where there are many rows. They err
/// differently, too, so that a blend of them is better than each. A table with an order to keep has no symmetric trees: `leaves` is
/// then the size of the trees of those settings.
pub(super) fn configurations(dataset: &Dataset, loss: Loss) -> Vec<Configuration> {
    let settings: &[(f64, &[Setting])] = if dataset.n_rows() <= SMALL_ROWS {
        &[(0.05, SMOOTH), (0.05, DEEP), (0.05, LEAFWISE)]
    } else {
        // Symmetric trees learn slowly: more rows allow larger steps.
        &[(0.08, DEEP), (0.05, LEAFWISE_LARGE)]
    };
    let named = |&(rate, setting): &(f64, &[Setting])| Configuration { values: [&[("learning_rate", rate)], setting].concat() };
    let mut found: Vec<Configuration> = settings.iter().map(named).collect();
    if loss == Loss::Logistic && dataset.weight.is_none() {
        let mut on_linear_base = found[0].clone();
        on_linear_base.values.push(("base_alpha", BASE_ALPHA));
        found.push(on_linear_base);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_brought_inside() {
        let params = BoostingParams::new(&Configuration::new(&[
            ("learning_rate", -3.0),
            ("leaves", 1e300),
            ("min_leaf_rows", 0.0),
            ("rows", f64::NAN),
            ("rounds", 1e300),
        ]));
        assert_eq!((params.learning_rate, params.max_leaves, params.limits.min_leaf_rows), (1e-4, 4096, 1));
        assert_eq!((params.row_share, params.rounds), (0.7, Some(MAX_ROUNDS)));
        assert_eq!(BoostingParams::new(&Configuration::new(&[])).rounds, None);
    }
}
