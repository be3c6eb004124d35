//! Rows of an experiment, added up by customer: chance acted on customers, so they are what is counted.

use std::collections::BTreeMap;

/// One measured row of a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExperimentRow {
    /// Whose it is.
    pub customer: u64,
    /// The customer's arm; 0 is the control.
    pub arm: usize,
    /// What was measured: 0 or 1, or an amount.
    pub outcome: f64,
    /// The same or something like it from before the experiment, by which the outcome is adjusted; in all rows or in none.
    pub covariate: Option<f64>,
}

/// Rows that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A number outside its range.
    #[error("row {row}: the {what} should be a number between -1e100 and 1e100, found {found}")]
    Number {
        /// Position of the row.
        row: usize,
        /// Which number.
        what: &'static str,
        /// What was found.
        found: f64,
    },
    /// An arm without a share.
    #[error("row {row}: the arm should be below {n_arms}, found {found}")]
    UnknownArm {
        /// Position of the row.
        row: usize,
        /// What was found.
        found: usize,
        /// Number of arms.
        n_arms: usize,
    },
    /// A customer who was treated in two ways.
    #[error("row {row}: customer {customer} is in arm {found} and was in arm {earlier} before")]
    SeveralArms {
        /// Position of the row.
        row: usize,
        /// Whose row it is.
        customer: u64,
        /// The arm here.
        found: usize,
        /// The arm of an earlier row.
        earlier: usize,
    },
    /// A covariate in some rows only.
    #[error("row {row}: should have a covariate as the first row has, or none as it has none")]
    Covariate {
        /// Position of the row.
        row: usize,
    },
    /// Shares that are none.
    #[error("the shares should be two or more numbers above 0 that sum to 1")]
    Shares,
    /// Too few customers.
    #[error("arm {arm} should have at least two customers, found {found}")]
    TooFew {
        /// Which arm.
        arm: usize,
        /// What was found.
        found: usize,
    },
    /// Levels that make no interval.
    #[error("the {what} should be {expected}, found {found}")]
    Level {
        /// Which level.
        what: &'static str,
        /// Which range.
        expected: &'static str,
        /// What was found.
        found: f64,
    },
}

/// Sums over the rows of one customer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unit {
    pub(super) rows: f64,
    pub(super) outcome: f64,
    pub(super) covariate: f64,
}

/// Mean, variance of the mean and size of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmSummary {
    /// Customers.
    pub n_customers: usize,
    /// Rows.
    pub n_rows: usize,
    /// Mean outcome per row, not adjusted.
    pub mean: f64,
}

/// The customers of each arm.
pub(super) struct Arms {
    pub(super) units: Vec<Vec<Unit>>,
    pub(super) has_covariate: bool,
    /// Whether every outcome is 0 or 1 and no customer has two rows.
    pub(super) is_rate: bool,
}

impl Arms {
    pub(super) fn new(rows: &[ExperimentRow], n_arms: usize) -> Result<Self, ReadError> {
        let has_covariate = rows.first().is_some_and(|row| row.covariate.is_some());
        let mut customers: BTreeMap<u64, (usize, Unit)> = BTreeMap::new();
        for (position, row) in rows.iter().enumerate() {
            check_row(position, row, n_arms, has_covariate)?;
            let (arm, unit) = customers.entry(row.customer).or_insert((row.arm, Unit::default()));
            if *arm != row.arm {
                let (customer, found, earlier) = (row.customer, row.arm, *arm);
                return Err(ReadError::SeveralArms { row: position, customer, found, earlier });
            }
            unit.rows += 1.0;
            unit.outcome += row.outcome;
            unit.covariate += row.covariate.unwrap_or(0.0);
        }
        let is_rate = customers.values().all(|(_, unit)| unit.rows == 1.0 && (unit.outcome == 0.0 || unit.outcome == 1.0));
        let mut units = vec![Vec::new(); n_arms];
        for (arm, unit) in customers.into_values() {
            units[arm].push(unit);
        }
        match units.iter().position(|units| units.len() < 2) {
            Some(arm) => Err(ReadError::TooFew { arm, found: units[arm].len() }),
            None => Ok(Self { units, has_covariate, is_rate }),
        }
    }

    pub(super) fn summaries(&self) -> Vec<ArmSummary> {
        let summary = |units: &Vec<Unit>| {
            let rows: f64 = units.iter().map(|unit| unit.rows).sum();
            let outcome: f64 = units.iter().map(|unit| unit.outcome).sum();
            ArmSummary { n_customers: units.len(), n_rows: rows as usize, mean: outcome / rows }
        };
        self.units.iter().map(summary).collect()
    }

    /// Takes out of each outcome what the covariate explains: `outcome − θ (covariate − mean)`, θ found within arms.
    pub(super) fn adjust(&mut self) {
        let (mut products, mut squares) = (0.0, 0.0);
        for units in &self.units {
            let [rows, outcome, covariate] = totals(units);
            for unit in units {
                let x = unit.covariate - unit.rows * covariate / rows;
                products += x * (unit.outcome - unit.rows * outcome / rows);
                squares += x * x;
            }
        }
        let theta = if squares > 0.0 { products / squares } else { 0.0 };
        let all: Vec<[f64; 3]> = self.units.iter().map(|units| totals(units)).collect();
        let mean = all.iter().map(|sums| sums[2]).sum::<f64>() / all.iter().map(|sums| sums[0]).sum::<f64>();
        for unit in self.units.iter_mut().flatten() {
            unit.outcome -= theta * (unit.covariate - unit.rows * mean);
        }
    }

    /// Mean per row of an arm with the variance of that mean.
    pub(super) fn moments(&self, arm: usize) -> (f64, f64) {
        let units = &self.units[arm];
        let [rows, outcome, _] = totals(units);
        let (mean, n) = (outcome / rows, units.len() as f64);
        let squares: f64 = units.iter().map(|unit| (unit.outcome - mean * unit.rows).powi(2)).sum();
        (mean, squares / (rows * rows) * n / (n - 1.0))
    }
}

fn totals(units: &[Unit]) -> [f64; 3] {
    units
        .iter()
        .fold([0.0; 3], |[rows, outcome, covariate], unit| [rows + unit.rows, outcome + unit.outcome, covariate + unit.covariate])
}

fn check_row(position: usize, row: &ExperimentRow, n_arms: usize, has_covariate: bool) -> Result<(), ReadError> {
    if row.arm >= n_arms {
        return Err(ReadError::UnknownArm { row: position, found: row.arm, n_arms });
    }
    if row.covariate.is_some() != has_covariate {
        return Err(ReadError::Covariate { row: position });
    }
    for (what, found) in [("outcome", row.outcome), ("covariate", row.covariate.unwrap_or(0.0))] {
        if !(-1e100..=1e100).contains(&found) {
            return Err(ReadError::Number { row: position, what, found });
        }
    }
    Ok(())
}
