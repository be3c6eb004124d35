//! Sums of derivatives per bin: all that a split search looks at.

use std::ops::{AddAssign, Sub};

use super::bins::BinnedColumn;
use super::loss::Derivatives;

/// Summed derivatives of some rows, and how many rows they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// Sum of first derivatives.
    pub(super) gradient: f64,
    /// Sum of second derivatives.
    pub(super) hessian: f64,
    /// Number of rows; exact, where the other two carry rounding.
    pub(super) n_rows: u32,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.n_rows += other.n_rows;
    }
}

impl Sub for Sums {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let n_rows = self.n_rows - other.n_rows;
        if n_rows == 0 {
            // What rounding leaves of an empty set is not a sum of anything.
            return Self::default();
        }
        Self { gradient: self.gradient - other.gradient, hessian: (self.hessian - other.hessian).max(0.0), n_rows }
    }
}

impl Sums {
    /// The sums of these derivatives, added in their order.
    pub(super) fn of(derivatives: &[Derivatives]) -> Self {
        let mut sums = Self::default();
        for row in derivatives {
            sums.add_row(row);
        }
        sums
    }

    /// Adds one row.
    pub(super) fn add_row(&mut self, row: &Derivatives) {
        self.gradient += row.gradient;
        self.hessian += row.hessian;
        self.n_rows += 1;
    }
}

/// The sums per bin of one column over some rows; `derivatives` has one entry per row of `rows`, in their order.
pub(super) fn histogram(column: &BinnedColumn, rows: &[u32], derivatives: &[Derivatives]) -> Vec<Sums> {
    let mut sums = vec![Sums::default(); column.n_bins()];
    for (&row, row_derivatives) in rows.iter().zip(derivatives) {
        sums[usize::from(column.bins[row as usize])].add_row(row_derivatives);
    }
    sums
}

/// The histogram of the sibling: the parent's rows without the child's.
pub(super) fn remainder(parent: &[Sums], child: &[Sums]) -> Vec<Sums> {
    parent.iter().zip(child).map(|(&all, &some)| all - some).collect()
}

#[cfg(test)]
mod tests {
    use retain_core::Monotone;

    use super::super::bins::BinKind;
    use super::*;

    #[test]
    fn parent_without_child_is_the_sibling() {
        let column = BinnedColumn {
            feature_idx: 0,
            kind: BinKind::Numbers { thresholds: vec![0.5, 1.5] },
            monotone: None::<Monotone>,
            bins: vec![0, 1, 2, 1, 3, 0],
        };
        let rows: Vec<u32> = (0..6).collect();
        let derivatives: Vec<Derivatives> =
            (0..6).map(|k| Derivatives { gradient: 0.1 * f64::from(k) - 0.2, hessian: 0.25 }).collect();
        let of = |chosen: &[u32]| {
            let picked: Vec<Derivatives> = chosen.iter().map(|&row| derivatives[row as usize]).collect();
            histogram(&column, chosen, &picked)
        };
        let found = remainder(&of(&rows), &of(&[0, 1, 2]));
        for (found, expected) in found.iter().zip(of(&[3, 4, 5])) {
            assert_eq!(found.n_rows, expected.n_rows);
            assert!((found.gradient - expected.gradient).abs() < 1e-15);
            assert!((found.hessian - expected.hessian).abs() < 1e-15);
        }
        assert_eq!(found[2], Sums::default());
    }
}
