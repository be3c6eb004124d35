//! Effects of segments: the parts of one feature, each drawn to the mean of all as far as its own mean could be chance.

use retain_core::ColumnKind;
use retain_data::Dataset;
use retain_score::{MarginModel, Node, NodeKind, Shape, Term, Test, Tree};

use crate::reference::sorted_present;

/// Parts that a number is cut into.
const N_PARTS: usize = 4;
/// A segment of fewer rows is not told apart from the mean of all.
const MIN_ROWS: f64 = 20.0;

/// One way to divide customers, with the effect of each part.
struct Division {
    feature_idx: usize,
    borders: Vec<f64>,
    /// By part: of numbers from low to high, then those without a value; of categories in schema order, unseen, without.
    parts: Vec<Part>,
    /// Variance of the parts' true means, as far as it can be told from chance, by that of chance.
    telling: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    n_rows: f64,
    sum: f64,
    squares: f64,
    effect: f64,
}

/// The effects of the parts of the feature that tells most; a constant where none tells anything.
///
/// `scores` are unbiased for the effects of `rows`, one each. Only features whose parts differ by more than chance are of use, so the effect
/// of a part is `mean + B · (its mean − mean)` with `B = τ² / (τ² + its variance)`, and `τ²` the variance of the parts' true means.
///
/// # Source
/// Empirical Bayes by the method of moments: Efron and Morris (1975), `DerSimonian` and Laird (1986).
pub(super) fn segments(dataset: &Dataset, rows: &[usize], scores: &[f64]) -> MarginModel {
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let divisions = (0..dataset.n_features()).filter_map(|feature_idx| Division::new(dataset, feature_idx, rows, scores, mean));
    // Of equals the first.
    let best = divisions.fold(None::<Division>, |best, one| match best {
        Some(best) if best.telling >= one.telling => Some(best),
        _ => Some(one),
    });
    let constant = MarginModel { intercept: mean, ..MarginModel::default() };
    best.filter(|best| best.telling > 0.0).map_or(constant, |best| best.model(dataset))
}

impl Division {
    fn new(dataset: &Dataset, feature_idx: usize, rows: &[usize], scores: &[f64], mean: f64) -> Option<Self> {
        let (spec, column) = (&dataset.schema.features[feature_idx], &dataset.columns[feature_idx]);
        let borders = if spec.kind == ColumnKind::Category {
            Vec::new()
        } else {
            borders(&rows.iter().map(|&row| column[row]).collect::<Vec<_>>())
        };
        let n_named = if spec.kind == ColumnKind::Category { spec.categories.len() + 1 } else { borders.len() + 1 };
        let mut parts = vec![Part::default(); n_named + 1];
        for (&row, score) in rows.iter().zip(scores) {
            let value = column[row];
            let at = match spec.kind {
                _ if value.is_nan() => n_named,
                ColumnKind::Category => (value as usize).min(n_named - 1),
                _ => borders.partition_point(|&border| border <= value),
            };
            parts[at].n_rows += 1.0;
            parts[at].sum += score;
            parts[at].squares += (score - mean) * (score - mean);
        }
        let telling = shrink(&mut parts, mean)?;
        Some(Self { feature_idx, borders, parts, telling })
    }

    fn model(&self, dataset: &Dataset) -> MarginModel {
        let effects: Vec<f64> = self.parts.iter().map(|part| part.effect).collect();
        let (named, missing) = effects.split_at(effects.len() - 1);
        if dataset.schema.features[self.feature_idx].kind == ColumnKind::Category {
            let total: f64 = self.parts.iter().map(|part| part.n_rows).sum();
            let mean = self.parts.iter().map(|part| part.n_rows * part.effect).sum::<f64>() / total.max(1.0);
            let shape = Shape::Category { values: named.to_vec(), missing: missing[0] };
            let term = Term { feature_idx: self.feature_idx as u32, shape, mean };
            return MarginModel { terms: vec![term], ..MarginModel::default() };
        }
        MarginModel { trees: vec![self.tree(missing[0])], ..MarginModel::default() }
    }

    /// Is a value there; then border after border, from the lowest.
    fn tree(&self, missing: f64) -> Tree {
        let cover = |part: &Part| part.n_rows.max(1.0);
        let leaf = |part: &Part, value: f64| Node { cover: cover(part), kind: NodeKind::Leaf { value } };
        let split = |parts: &[Part], threshold: f64, left: usize, right: usize| Node {
            cover: parts.iter().map(cover).sum(),
            kind: NodeKind::Split {
                feature_idx: self.feature_idx as u32,
                test: Test::Below(threshold),
                missing_left: false,
                left: left as u32,
                right: right as u32,
            },
        };
        let (named, without) = self.parts.split_at(self.parts.len() - 1);
        // A threshold of infinity asks whether there is a value: what is missing goes right.
        let mut nodes = vec![split(&self.parts, f64::INFINITY, 2, 1), leaf(&without[0], missing)];
        for (position, &border) in self.borders.iter().enumerate() {
            let place = nodes.len();
            nodes.push(split(&named[position..], border, place + 1, place + 2));
            nodes.push(leaf(&named[position], named[position].effect));
        }
        let last = &named[named.len() - 1];
        nodes.push(leaf(last, last.effect));
        Tree { nodes }
    }
}

/// Quantiles that differ, above the least value.
fn borders(values: &[f64]) -> Vec<f64> {
    let sorted = sorted_present(values);
    let mut borders: Vec<f64> = (1..N_PARTS).filter_map(|part| sorted.get(part * sorted.len() / N_PARTS).copied()).collect();
    borders.dedup();
    borders.retain(|&border| sorted.first().is_some_and(|&least| border > least));
    // Where three quarters have one value, what is above it is a part of its own.
    if borders.is_empty() {
        borders.extend(sorted.iter().copied().find(|value| sorted.first().is_some_and(|least| value > least)));
    }
    borders
}

/// Sets the effect of each part and returns how much the parts tell; none where there is only one of some size.
fn shrink(parts: &mut [Part], mean: f64) -> Option<f64> {
    let variance = |part: &Part| {
        let apart = part.sum / part.n_rows - mean;
        ((part.squares / part.n_rows - apart * apart) / part.n_rows).max(f64::MIN_POSITIVE)
    };
    let large: Vec<(f64, f64)> =
        parts.iter().filter(|part| part.n_rows >= MIN_ROWS).map(|part| (part.sum / part.n_rows, variance(part))).collect();
    if large.len() < 2 {
        return None;
    }
    let weights: f64 = large.iter().map(|(_, variance)| 1.0 / variance).sum();
    let center = large.iter().map(|(mean, variance)| mean / variance).sum::<f64>() / weights;
    let chi_square: f64 = large.iter().map(|(mean, variance)| (mean - center) * (mean - center) / variance).sum();
    let squared: f64 = large.iter().map(|(_, variance)| 1.0 / (variance * variance)).sum();
    let degrees = (large.len() - 1) as f64;
    let between = ((chi_square - degrees) / (weights - squared / weights)).max(0.0);
    for part in parts.iter_mut() {
        let share = if part.n_rows >= MIN_ROWS { between / (between + variance(part)) } else { 0.0 };
        part.effect = if share > 0.0 { center + share * (part.sum / part.n_rows - center) } else { center };
    }
    // In deviations of the chi-square statistic, so that features of many parts have no advantage.
    Some(if between > 0.0 { (chi_square - degrees) / (2.0 * degrees).sqrt() } else { 0.0 })
}
