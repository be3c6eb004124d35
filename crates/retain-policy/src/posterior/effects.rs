//! Effects of actions against doing nothing, from sums that can be added to and merged.

use std::collections::BTreeMap;

/// How many rows the stated spread of rewards counts for beside what is seen.
const SPREAD_ROWS: f64 = 10.0;
const LARGEST_REWARD: f64 = 1e100;
const LEAST_PROPENSITY: f64 = 1e-100;
/// A row counts for at most so many: the rare rows of an action that is hardly taken any more would else outweigh all
/// that were seen while it was. Larger weights would leave less bias where chances differ much, and more noise everywhere.
const LARGEST_WEIGHT: f64 = 5.0;

/// A decision whose reward can no longer change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaturedRow<'a> {
    /// Whose it is; rows of one customer are not taken for independent evidence.
    pub customer: u64,
    /// The customer's segment; 0 where there is one only.
    pub segment: u32,
    /// What was done; 0 is to do nothing.
    pub action: usize,
    /// The probability that each action had, the chance of the holdout included; 0 for those not eligible.
    pub probabilities: &'a [f64],
    /// What came of it.
    pub reward: f64,
}

/// What is wrong with a row, or with two sums that should be one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EffectsError {
    /// Probabilities of other actions.
    #[error("should have the probabilities of {expected} actions, found {found}")]
    Actions {
        /// How many actions there are.
        expected: usize,
        /// What was found.
        found: usize,
    },
    /// An action that could not have been taken.
    #[error("the action should be one of positive probability, found {action}")]
    Impossible {
        /// What was found.
        action: usize,
    },
    /// A number outside its range.
    #[error("the {what} should be {expected}, found {found}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Which range.
        expected: &'static str,
        /// What was found.
        found: f64,
    },
}

/// How much more an action brought than doing nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EffectEstimate {
    /// The difference of the two weighted means, in the unit of the reward.
    pub mean: f64,
    /// Its variance, customers being independent and their rows not.
    pub variance: f64,
    /// The part of it that is the noise of the rows without any action; the same rows stand against every action.
    pub control_variance: f64,
    /// Rows with the action.
    pub treated_rows: u64,
    /// Rows without any action where this one could have been taken.
    pub control_rows: u64,
    /// As many rows in each arm, equally weighted, would say as much: the harmonic mean of both arms' effective rows.
    pub effective_rows: f64,
}

/// Weights and weighted rewards of one customer, with the action and without any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct OfCustomer {
    treated: Sums,
    control: Sums,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    n: u64,
    weight: f64,
    squared_weight: f64,
    reward: f64,
}

impl Sums {
    fn row(propensity: f64, reward: f64) -> Self {
        let weight = (1.0 / propensity).min(LARGEST_WEIGHT);
        Self { n: 1, weight, squared_weight: weight * weight, reward: weight * reward }
    }

    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.weight += other.weight;
        self.squared_weight += other.squared_weight;
        self.reward += other.reward;
    }
}

/// Sums over matured rows, by segment and action, from which effects are estimated.
///
/// A row counts for the comparison of an action with doing nothing where both had a chance, so the two arms are the same kind of
/// customers. Rows can be added in any order and sums of different rows merged; estimates are the same but for rounding.
///
/// # Source
/// Weights `1 / propensity`, normalised by their sum in each arm: Hájek (1971); of at most 5, as Ionides (2008) truncates them.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    n_actions: usize,
    reward_sd: f64,
    sums: BTreeMap<(u32, usize), BTreeMap<u64, OfCustomer>>,
}

impl Effects {
    /// Sums without rows yet, of `n_actions` actions of which 0 is to do nothing.
    ///
    /// `reward_sd` is how far rewards typically spread. It counts for ten rows beside the spread that is seen, so that the first few
    /// rewards, if they happen to be equal, do not pass for certainty.
    ///
    /// # Errors
    /// [`EffectsError`] for no action, or a spread not finite and above 0.
    pub fn new(n_actions: usize, reward_sd: f64) -> Result<Self, EffectsError> {
        if n_actions == 0 {
            return Err(EffectsError::Actions { expected: 1, found: 0 });
        }
        if !(reward_sd > 0.0 && reward_sd <= LARGEST_REWARD) {
            let expected = "above 0 and at most 1e100";
            return Err(EffectsError::Number { what: "spread of rewards", expected, found: reward_sd });
        }
        Ok(Self { n_actions, reward_sd, sums: BTreeMap::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`EffectsError`] for an action that had no chance, probabilities outside 0 to 1 or of other actions, or a reward that is no
    /// number; the row is then not added.
    pub fn add(&mut self, row: &MaturedRow<'_>) -> Result<(), EffectsError> {
        self.check(row)?;
        let propensity = row.probabilities[row.action];
        let sums = Sums::row(propensity, row.reward);
        if row.action != 0 {
            if row.probabilities[0] > 0.0 {
                self.of(row, row.action).treated.add(&sums);
            }
            return Ok(());
        }
        for action in (1..self.n_actions).filter(|&action| row.probabilities[action] > 0.0) {
            self.of(row, action).control.add(&sums);
        }
        Ok(())
    }

    /// Adds the sums of other rows.
    ///
    /// # Errors
    /// [`EffectsError::Actions`] when they are of another number of actions.
    pub fn merge(&mut self, other: &Self) -> Result<(), EffectsError> {
        if other.n_actions != self.n_actions {
            return Err(EffectsError::Actions { expected: self.n_actions, found: other.n_actions });
        }
        for (cell, customers) in &other.sums {
            merge_customers(self.sums.entry(*cell).or_default(), customers);
        }
        Ok(())
    }

    /// An action's effect over all segments; none before there is a row with and a row without it.
    pub fn estimate(&self, action: usize) -> Option<EffectEstimate> {
        let mut all = BTreeMap::new();
        let of_action = self.sums.iter().filter(|((_, of), _)| *of == action);
        of_action.for_each(|(_, customers)| merge_customers(&mut all, customers));
        self.estimated(&all)
    }

    /// An action's effect in one segment.
    pub fn estimate_in(&self, segment: u32, action: usize) -> Option<EffectEstimate> {
        self.estimated(self.sums.get(&(segment, action))?)
    }

    fn of(&mut self, row: &MaturedRow<'_>, action: usize) -> &mut OfCustomer {
        self.sums.entry((row.segment, action)).or_default().entry(row.customer).or_default()
    }

    fn check(&self, row: &MaturedRow<'_>) -> Result<(), EffectsError> {
        let found = row.probabilities.len();
        if found != self.n_actions {
            return Err(EffectsError::Actions { expected: self.n_actions, found });
        }
        let possible = |p: f64| p == 0.0 || (LEAST_PROPENSITY..=1.0).contains(&p);
        if let Some(&found) = row.probabilities.iter().find(|probability| !possible(**probability)) {
            return Err(EffectsError::Number { what: "probability", expected: "0 or between 1e-100 and 1", found });
        }
        if !row.probabilities.get(row.action).is_some_and(|probability| *probability > 0.0) {
            return Err(EffectsError::Impossible { action: row.action });
        }
        if !(-LARGEST_REWARD..=LARGEST_REWARD).contains(&row.reward) {
            let expected = "a number between -1e100 and 1e100";
            return Err(EffectsError::Number { what: "reward", expected, found: row.reward });
        }
        Ok(())
    }

    fn estimated(&self, customers: &BTreeMap<u64, OfCustomer>) -> Option<EffectEstimate> {
        let mut total = OfCustomer::default();
        for of in customers.values() {
            total.treated.add(&of.treated);
            total.control.add(&of.control);
        }
        let (treated, control) = (total.treated, total.control);
        if treated.n == 0 || control.n == 0 {
            return None;
        }
        let means = (treated.reward / treated.weight, control.reward / control.weight);
        let of_treated = |of: &OfCustomer| (of.treated.reward - means.0 * of.treated.weight) / treated.weight;
        let of_control = |of: &OfCustomer| (of.control.reward - means.1 * of.control.weight) / control.weight;
        let squares = |influence: &dyn Fn(&OfCustomer) -> f64| customers.values().map(|of| influence(of).powi(2)).sum::<f64>();
        let per_square = |arm: &Sums| arm.squared_weight / (arm.weight * arm.weight);
        // The seen spread counts for the rows of the smaller arm: it knows least of its own.
        let n = treated.n.min(control.n) as f64;
        let with_stated = |seen: f64, per_square: f64| {
            (n * seen + SPREAD_ROWS * self.reward_sd * self.reward_sd * per_square) / (n + SPREAD_ROWS)
        };
        let both = squares(&|of| of_treated(of) - of_control(of));
        Some(EffectEstimate {
            mean: means.0 - means.1,
            variance: with_stated(both, per_square(&treated) + per_square(&control)),
            control_variance: with_stated(squares(&of_control), per_square(&control)),
            treated_rows: treated.n,
            control_rows: control.n,
            effective_rows: 2.0 / (per_square(&treated) + per_square(&control)),
        })
    }
}

fn merge_customers(into: &mut BTreeMap<u64, OfCustomer>, from: &BTreeMap<u64, OfCustomer>) {
    for (customer, other) in from {
        let of = into.entry(*customer).or_default();
        of.treated.add(&other.treated);
        of.control.add(&other.control);
    }
}
