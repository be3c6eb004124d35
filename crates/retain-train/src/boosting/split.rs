//! The best split of one node by one column, from the column's histogram.
//!
//! A split is worth what it takes off the regularised second-order loss. Numbers are cut at a border between bins; categories
//! are told apart one against the rest while there are few, and by a set found along their sorted gradients when there are
//! many. Missing values try both sides.
//!
//! # Source
//! Gain and leaf value: Chen and Guestrin (2016). Sorted categories: Fisher (1958), with the smoothing of `LightGBM` (Ke et al.,
//! 2017).

use retain_core::Monotone;

use super::bins::{BinKind, BinSet, BinnedColumn};
use super::histogram::Sums;

/// Gains at or below this share of what the children save are rounding. A share, since amounts may be in any unit.
const MIN_GAIN_SHARE: f64 = 1e-9;
/// Up to so many categories in a node, each is tried against the rest.
const MAX_ONE_VERSUS_REST: usize = 4;
/// Rows a category needs to take part in the sorting; also added to its hessian, so that few rows do not lead the order.
const CATEGORY_SMOOTHING: f64 = 10.0;
/// L2 added where a set of many categories splits: such a split has more freedom to fit noise.
const CATEGORY_L2: f64 = 10.0;
/// Rows that must join the set between two cuts, and stay outside it.
const MIN_CATEGORY_GROUP_ROWS: u32 = 100;
/// Most categories that one split names.
const MAX_SET_CATEGORIES: usize = 32;

/// What a split has to respect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// Fewest rows of a child.
    pub(super) min_leaf_rows: u32,
    /// Smallest hessian sum of a child.
    pub(super) min_hessian: f64,
    /// L2 penalty on leaf values.
    pub(super) l2: f64,
}

/// The interval that monotone splits above have left for a node's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Smallest value.
    pub(super) lower: f64,
    /// Largest value.
    pub(super) upper: f64,
}

impl Bounds {
    /// No bounds.
    pub(super) const NONE: Self = Self { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
}

/// One way to part a node's rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    /// Loss saved, in the units of the loss; positive.
    pub(super) gain: f64,
    /// Bins of the rows that go left: complete, so every other bin goes right, in this node or not.
    pub(super) left_bins: BinSet,
    /// The rows that go left, and their value before the learning rate.
    pub(super) left: Side,
    /// The others.
    pub(super) right: Side,
}

/// One child of a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Side {
    /// Its rows.
    pub(super) sums: Sums,
    /// Its value before the learning rate.
    pub(super) value: f64,
    /// Bounds for its own children.
    pub(super) bounds: Bounds,
}

/// The node being split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    /// Its rows.
    pub(super) sums: Sums,
    /// Bounds for its children.
    pub(super) bounds: Bounds,
}

/// The value that minimises `gradient · value + (hessian + l2) · value² / 2` within bounds.
pub(super) fn best_value(sums: &Sums, l2: f64, bounds: &Bounds) -> f64 {
    let curvature = sums.hessian + l2;
    let free = if curvature > 0.0 { -sums.gradient / curvature } else { 0.0 };
    free.clamp(bounds.lower, bounds.upper)
}

/// Twice the loss that a value saves.
fn saved(sums: &Sums, value: f64, l2: f64) -> f64 {
    -(2.0 * sums.gradient + (sums.hessian + l2) * value) * value
}

/// The best split of a node by a column, if any is worth it.
pub(super) fn best_split(column: &BinnedColumn, histogram: &[Sums], parent: &Parent, limits: &Limits) -> Option<Split> {
    let stay = saved(&parent.sums, best_value(&parent.sums, limits.l2, &parent.bounds), limits.l2);
    let search = Search { histogram, parent, limits, monotone: column.monotone, stay };
    match &column.kind {
        BinKind::Numbers { .. } | BinKind::Statistic { .. } => search.numbers(column.n_value_bins()),
        BinKind::Categories { .. } => search.categories(column.n_value_bins()),
    }
}

/// A cut under consideration, by where it lies rather than by its bins: most are thrown away.
#[derive(Clone, Copy)]
struct Candidate<Cut> {
    gain: f64,
    cut: Cut,
    left: Sums,
    l2: f64,
    order: Option<Monotone>,
}

struct Search<'a> {
    histogram: &'a [Sums],
    parent: &'a Parent,
    limits: &'a Limits,
    monotone: Option<Monotone>,
    /// Twice the loss that the node saves as a leaf.
    stay: f64,
}

impl Search<'_> {
    /// Borders between number bins, with missing values on either side, and present against missing.
    fn numbers(&self, n_value_bins: usize) -> Option<Split> {
        let missing = self.histogram[n_value_bins];
        let mut best = None;
        let mut below = Sums::default();
        for border in 1..=n_value_bins {
            let bin = self.histogram[border - 1];
            if bin.n_rows == 0 {
                continue;
            }
            below += bin;
            let all_values_below = below.n_rows + missing.n_rows == self.parent.sums.n_rows;
            let order = if all_values_below { None } else { self.monotone };
            keep_better(&mut best, self.candidate((border, false), below, self.limits.l2, order));
            if missing.n_rows > 0 && !all_values_below {
                let mut left = below;
                left += missing;
                keep_better(&mut best, self.candidate((border, true), left, self.limits.l2, order));
            }
        }
        best.map(|candidate| self.number_split(&candidate, n_value_bins))
    }

    fn number_split(&self, candidate: &Candidate<(usize, bool)>, n_value_bins: usize) -> Split {
        let Candidate { gain, cut: (border, missing_left), .. } = *candidate;
        let (left, right) = self.sides(candidate);
        // Bins without rows of this node lie on either side of the border at will: their middle is the fairest guess. Where only
        // empty ones follow, the question is whether there is a value.
        let next = (border..n_value_bins).find(|&bin| self.histogram[bin].n_rows > 0);
        let border = next.map_or(n_value_bins, |next| usize::midpoint(border, next));
        let missing_here = self.histogram[n_value_bins].n_rows > 0;
        let mut left_bins = BinSet::default();
        (0..border).for_each(|bin| left_bins.insert(bin));
        if missing_left || (!missing_here && left.sums.n_rows >= right.sums.n_rows) {
            left_bins.insert(n_value_bins);
        }
        Split { gain, left_bins, left, right }
    }

    /// One category against the rest, or a set of them; missing counts as a category.
    fn categories(&self, n_value_bins: usize) -> Option<Split> {
        let mut present: Vec<usize> = (0..=n_value_bins).filter(|&bin| self.histogram[bin].n_rows > 0).collect();
        if present.len() <= MAX_ONE_VERSUS_REST {
            let mut best = None;
            for (place, &bin) in present.iter().enumerate() {
                keep_better(&mut best, self.candidate(place, self.histogram[bin], self.limits.l2, None));
            }
            return best.map(|best| self.category_split(&best, &[present[best.cut]], n_value_bins));
        }
        present.retain(|&bin| f64::from(self.histogram[bin].n_rows) >= CATEGORY_SMOOTHING);
        let leaning = |bin: usize| self.histogram[bin].gradient / (self.histogram[bin].hessian + CATEGORY_SMOOTHING);
        present.sort_by(|&a, &b| leaning(a).total_cmp(&leaning(b)));
        let from_low = self.best_prefix(&present);
        present.reverse();
        let from_high = self.best_prefix(&present);
        match (from_low, from_high) {
            (Some(low), high) if high.is_none_or(|high| low.gain >= high.gain) => {
                present.reverse();
                Some(self.category_split(&low, &present[..low.cut], n_value_bins))
            }
            (_, high) => high.map(|high| self.category_split(&high, &present[..high.cut], n_value_bins)),
        }
    }

    /// The best number of categories, taken from the front, against the rest.
    fn best_prefix(&self, sorted: &[usize]) -> Option<Candidate<usize>> {
        let mut best = None;
        let (mut left, mut rows_in_group) = (Sums::default(), 0);
        let longest = MAX_SET_CATEGORIES.min(sorted.len().div_ceil(2));
        for (place, &bin) in sorted[..longest].iter().enumerate() {
            left += self.histogram[bin];
            rows_in_group += self.histogram[bin].n_rows;
            if self.parent.sums.n_rows - left.n_rows < MIN_CATEGORY_GROUP_ROWS {
                break;
            }
            if rows_in_group >= MIN_CATEGORY_GROUP_ROWS {
                rows_in_group = 0;
                keep_better(&mut best, self.candidate(place + 1, left, self.limits.l2 + CATEGORY_L2, None));
            }
        }
        best
    }

    /// The split of `chosen` bins against the rest.
    ///
    /// "Other", which holds the categories never seen, and every bin without rows here go to one side: to that of the other
    /// rare categories of this node, or else to the larger. That side is made the right one, so that the question names the
    /// categories of the left and never has to name an unseen one. Missing values without an example go to the larger side.
    fn category_split(&self, candidate: &Candidate<usize>, chosen: &[usize], n_value_bins: usize) -> Split {
        let (gain, (left, right)) = (candidate.gain, self.sides(candidate));
        let (missing, other) = (n_value_bins, n_value_bins - 1);
        let chosen_is_larger = left.sums.n_rows > right.sums.n_rows;
        let named_are_chosen = if self.histogram[other].n_rows > 0 { !chosen.contains(&other) } else { !chosen_is_larger };
        let mut left_bins = BinSet::default();
        (0..=missing)
            .filter(|&bin| self.histogram[bin].n_rows > 0 && chosen.contains(&bin) == named_are_chosen)
            .for_each(|bin| left_bins.insert(bin));
        if self.histogram[missing].n_rows == 0 && chosen_is_larger == named_are_chosen {
            left_bins.insert(missing);
        }
        let (left, right) = if named_are_chosen { (left, right) } else { (right, left) };
        Split { gain, left_bins, left, right }
    }

    /// The gain of sending `left` left, or nothing where a limit or the order forbids it.
    #[inline]
    fn candidate<Cut>(&self, cut: Cut, left: Sums, l2: f64, order: Option<Monotone>) -> Option<Candidate<Cut>> {
        let right = self.parent.sums - left;
        let too_small = |side: &Sums| side.n_rows < self.limits.min_leaf_rows || side.hessian < self.limits.min_hessian;
        if too_small(&left) || too_small(&right) {
            return None;
        }
        let value = |sums: &Sums| best_value(sums, l2, &self.parent.bounds);
        let (left_value, right_value) = (value(&left), value(&right));
        let in_order = match order {
            None => true,
            Some(Monotone::Increasing) => left_value <= right_value,
            Some(Monotone::Decreasing) => left_value >= right_value,
        };
        let children = saved(&left, left_value, l2) + saved(&right, right_value, l2);
        let gain = children - self.stay;
        (in_order && gain > MIN_GAIN_SHARE * children).then_some(Candidate { gain, cut, left, l2, order })
    }

    /// Left and right child. The middle between their values separates all leaves below them where an order is asked for.
    fn sides<Cut>(&self, candidate: &Candidate<Cut>) -> (Side, Side) {
        let Parent { sums, bounds } = *self.parent;
        let side = |sums: Sums| Side { sums, value: best_value(&sums, candidate.l2, &bounds), bounds };
        let (mut left, mut right) = (side(candidate.left), side(sums - candidate.left));
        let middle = f64::midpoint(left.value, right.value);
        match candidate.order {
            None => {}
            Some(Monotone::Increasing) => (left.bounds.upper, right.bounds.lower) = (middle, middle),
            Some(Monotone::Decreasing) => (left.bounds.lower, right.bounds.upper) = (middle, middle),
        }
        (left, right)
    }
}

fn keep_better<Cut>(best: &mut Option<Candidate<Cut>>, candidate: Option<Candidate<Cut>>) {
    if let Some(candidate) = candidate
        && best.as_ref().is_none_or(|best| candidate.gain > best.gain)
    {
        *best = Some(candidate);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min_leaf_rows: 1, min_hessian: 0.0, l2: 1.0 };

    /// Bins of (gradient, rows); each row has a hessian of 1.
    fn sums(bins: &[(f64, u32)]) -> Vec<Sums> {
        bins.iter().map(|&(gradient, n_rows)| Sums { gradient, hessian: f64::from(n_rows), n_rows }).collect()
    }

    fn numbers(n_value_bins: usize, monotone: Option<Monotone>) -> BinnedColumn {
        let thresholds = (1..n_value_bins).map(|bin| bin as f64).collect();
        BinnedColumn { feature_idx: 0, kind: BinKind::Numbers { thresholds }, monotone }
    }

    fn categories(n_categories: usize) -> BinnedColumn {
        let positions = (0..n_categories as u32).collect();
        BinnedColumn { feature_idx: 0, kind: BinKind::Categories { positions }, monotone: None }
    }

    fn split_with(column: &BinnedColumn, histogram: &[Sums], limits: &Limits) -> Option<Split> {
        let mut all = Sums::default();
        for &bin in histogram {
            all += bin;
        }
        best_split(column, histogram, &Parent { sums: all, bounds: Bounds::NONE }, limits)
    }

    #[test]
    fn the_best_border_and_its_gain_are_those_worked_by_hand() {
        // Gradients −4 (4 rows) | 1 (2 rows), 3 (2 rows): cut after the first bin.
        let column = numbers(3, None);
        let found = split_with(&column, &sums(&[(-4.0, 4), (1.0, 2), (3.0, 2), (0.0, 0)]), &LIMITS).unwrap();
        // 16 / 5 + 16 / 5 − 0 / 9.
        assert!((found.gain - 6.4).abs() < 1e-12);
        assert_eq!((found.left.value, found.right.value), (0.8, -0.8));
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::Below(1.0), true), "no missing: the larger side");
    }

    #[test]
    fn missing_values_go_where_they_save_more() {
        let column = numbers(2, None);
        let with_missing = |gradient| split_with(&column, &sums(&[(-4.0, 4), (4.0, 4), (gradient, 2)]), &LIMITS).unwrap();
        assert!(column.question(&with_missing(-2.0).left_bins).1);
        assert!(!column.question(&with_missing(2.0).left_bins).1);
    }

    #[test]
    fn missing_alone_can_be_the_question() {
        let column = numbers(2, None);
        let found = split_with(&column, &sums(&[(1.0, 4), (1.0, 4), (-8.0, 8)]), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::Below(f64::INFINITY), false));
        assert_eq!((found.left.sums.n_rows, found.right.sums.n_rows), (8, 8));
    }

    #[test]
    fn a_border_lies_in_the_middle_of_empty_bins() {
        let column = numbers(8, None);
        let histogram = sums(&[(-2.0, 2), (0.0, 0), (0.0, 0), (0.0, 0), (0.0, 0), (0.0, 0), (2.0, 2), (0.0, 0), (0.0, 0)]);
        let found = split_with(&column, &histogram, &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins).0, retain_score::Test::Below(3.0));
    }

    #[test]
    fn limits_forbid_small_sides() {
        let histogram = sums(&[(-9.0, 1), (3.0, 3), (3.0, 3), (0.0, 0)]);
        let rows = |limits: Limits| split_with(&numbers(3, None), &histogram, &limits).map(|split| split.left.sums.n_rows);
        assert_eq!(rows(LIMITS), Some(1));
        assert_eq!(rows(Limits { min_leaf_rows: 2, ..LIMITS }), Some(4));
        assert_eq!(rows(Limits { min_hessian: 1.5, ..LIMITS }), Some(4));
        assert_eq!(rows(Limits { min_leaf_rows: 5, ..LIMITS }), None);
    }

    #[test]
    fn a_split_against_the_order_is_refused() {
        let histogram = sums(&[(-4.0, 4), (4.0, 4), (0.0, 0)]);
        assert!(split_with(&numbers(2, Some(Monotone::Decreasing)), &histogram, &LIMITS).is_some());
        assert!(split_with(&numbers(2, Some(Monotone::Increasing)), &histogram, &LIMITS).is_none());
    }

    #[test]
    fn bounds_hold_child_values() {
        let histogram = sums(&[(-4.0, 4), (4.0, 4), (0.0, 0)]);
        let bounds = Bounds { lower: -0.1, upper: 0.5 };
        let mut all = histogram[0];
        all += histogram[1];
        let found = best_split(&numbers(2, None), &histogram, &Parent { sums: all, bounds }, &LIMITS).unwrap();
        assert_eq!((found.left.value, found.right.value), (0.5, -0.1));
    }

    #[test]
    fn few_categories_are_tried_one_against_the_rest() {
        let column = categories(3);
        // Category 1 differs; "other" and missing are empty.
        let found = split_with(&column, &sums(&[(2.0, 4), (-4.0, 4), (2.0, 4), (0.0, 0), (0.0, 0)]), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::OneOf(vec![1]), false));
        assert_eq!(found.left.value, 0.8);
    }

    #[test]
    fn unseen_categories_follow_the_larger_side() {
        let column = categories(2);
        let found = split_with(&column, &sums(&[(-4.0, 9), (4.0, 4), (0.0, 0), (0.0, 0)]), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::OneOf(vec![1]), false));
        assert_eq!((found.left.sums.n_rows, found.right.sums.n_rows), (4, 9));
    }

    #[test]
    fn unseen_categories_follow_the_rare_ones_where_there_are_some() {
        let column = categories(2);
        // "Other" (bin 2) is small and differs from the two known categories.
        let found = split_with(&column, &sums(&[(1.0, 9), (1.0, 9), (-4.0, 4), (0.0, 0)]), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::OneOf(vec![0, 1]), true));
        assert_eq!((found.left.sums.n_rows, found.right.sums.n_rows), (18, 4));
    }

    #[test]
    fn many_categories_are_parted_by_their_sorted_gradients() {
        let column = categories(6);
        let bins = [(-60.0, 100), (60.0, 100), (-50.0, 100), (50.0, 100), (55.0, 100), (-55.0, 100), (0.0, 0), (0.0, 0)];
        let found = split_with(&column, &sums(&bins), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins), (retain_score::Test::OneOf(vec![0, 2, 5]), false));
        // The category penalty joins the L2 of 1.
        assert!((found.left.value - 165.0 / 311.0).abs() < 1e-12);
    }

    #[test]
    fn rare_categories_do_not_lead_a_set() {
        let column = categories(6);
        // Category 5 leans as category 0 does, only more, but with five rows.
        let bins = [(-80.0, 100), (20.0, 100), (20.0, 100), (20.0, 100), (20.0, 100), (-12.0, 5), (0.0, 0), (0.0, 0)];
        let found = split_with(&column, &sums(&bins), &LIMITS).unwrap();
        assert_eq!(column.question(&found.left_bins).0, retain_score::Test::OneOf(vec![0]), "it stays with the rest");
        assert_eq!((found.left.sums.n_rows, found.right.sums.n_rows), (100, 405));
    }
}
