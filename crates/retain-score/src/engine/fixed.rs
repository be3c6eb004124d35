//! Leaf values as whole numbers of one small unit.
//!
//! Sums of whole numbers do not depend on the order in which they are added up, so every kernel may add the trees of a model as it
//! likes, and all give the same bits. The unit is so small that the sum is more exact than one of floating-point numbers: with leaves
//! that add up to at most 8, it is 2⁻⁵⁸.

use crate::model::{MarginModel, NodeKind, Tree};

/// Bits of a sum, one below the sign's, so that the rounding of leaves cannot push it over.
const SUM_BITS: i32 = 61;
/// Smallest exponent of a unit: beyond, leaves are 0 for all purposes.
const MIN_EXPONENT: i32 = -1000;

/// The scale of leaf values in a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FixedPoint {
    /// The unit is two to this power.
    exponent: i32,
    unit: f64,
}

impl FixedPoint {
    /// A unit in which no row's sum over the trees overflows.
    pub(crate) fn of(model: &MarginModel) -> Self {
        let largest = |tree: &Tree| {
            let value = |kind: &NodeKind| if let NodeKind::Leaf { value } = kind { value.abs() } else { 0.0 };
            tree.nodes.iter().map(|node| value(&node.kind)).fold(0.0, f64::max)
        };
        let sum: f64 = model.trees.iter().map(largest).sum();
        // A sum that is no number any more is at most as many times the largest number as there are trees.
        let bits = if sum.is_finite() { libm::frexp(sum).1 } else { f64::MAX_EXP + model.trees.len().ilog2() as i32 + 1 };
        let exponent = if sum == 0.0 { 0 } else { (bits - SUM_BITS).max(MIN_EXPONENT) };
        Self { exponent, unit: libm::ldexp(1.0, exponent) }
    }

    /// The nearest whole number of units.
    pub(crate) fn encode(self, value: f64) -> i64 {
        libm::rint(libm::ldexp(value, -self.exponent)) as i64
    }

    /// What so many units are.
    #[inline]
    pub(crate) fn decode(self, units: i64) -> f64 {
        units as f64 * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(leaves: &[f64]) -> MarginModel {
        MarginModel { trees: leaves.iter().map(|&leaf| Tree::leaf(leaf, 1.0)).collect(), ..MarginModel::default() }
    }

    #[test]
    fn sums_are_nearer_than_those_of_floating_point_numbers() {
        let leaves: Vec<f64> = (1..=500).map(|i| (f64::from(i) * 0.37).sin() / f64::from(i)).collect();
        let fixed = FixedPoint::of(&model(&leaves));
        let sum: i64 = leaves.iter().map(|&leaf| fixed.encode(leaf)).sum();
        assert!(
            (fixed.decode(sum) - leaves.iter().sum::<f64>()).abs() < 1e-15 * leaves.iter().map(|leaf| leaf.abs()).sum::<f64>()
        );
    }

    #[test]
    fn numbers_of_every_size_are_held() {
        for size in [f64::MAX, 1e300, 1.0, 1e-300, f64::MIN_POSITIVE, 5e-324, 0.0] {
            for n_trees in [1, 3, 1000] {
                let fixed = FixedPoint::of(&model(&vec![-size; n_trees]));
                let sum = (0..n_trees).map(|_| fixed.encode(-size)).try_fold(0_i64, i64::checked_add);
                let found = fixed.decode(sum.unwrap_or(i64::MAX));
                let expected = -size * n_trees as f64;
                let off = if expected.is_finite() { (found - expected).abs() } else { 0.0 };
                assert!(off <= 1e-12 * expected.abs() + 1e-301 * n_trees as f64, "{size} {n_trees}: {found}");
            }
        }
    }
}
