//! Logistic regression whose coefficients are one slope times weights that add up to 1 within a leash.
//!
//! The log odds of leaving are `intercept − slope · score`, the score being the weighted mean of the shares that are known. For given
//! weights the two numbers come from Newton's method; the weights go down the gradient of what is then left, projected back onto the
//! leash. In `slope · weights` the problem is convex where nothing is missing, so what it stops at is the best there is.

use super::simplex::Leash;

/// Halvings of a step before it is given up.
const MAX_HALVINGS: usize = 40;
const MAX_STEPS: usize = 500;
const MAX_NEWTON_STEPS: usize = 50;
/// A step that moves no weight by more than this ends the search.
const TOLERANCE: f64 = 1e-9;
/// The slope is held above 0, so that weights which tell nothing yet still have a direction to improve in.
const LEAST_SLOPE: f64 = 1e-3;
/// Keeps the slope finite where the score tells everything.
const RIDGE: f64 = 1e-6;

/// Shares of points, `n_rows × n_groups`, NaN where unknown; and who left.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) shares: Vec<f64>,
    pub(super) n_groups: usize,
    pub(super) left: Vec<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    pub(super) weights: Vec<f64>,
    pub(super) intercept: f64,
    pub(super) slope: f64,
}

impl Table {
    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.shares.chunks_exact(self.n_groups)
    }

    /// The weighted mean of what is known of a row, and the weight that is known; a row of nothing is in the middle.
    pub(super) fn score(row: &[f64], weights: &[f64]) -> (f64, f64) {
        let known = || row.iter().zip(weights).filter(|(share, _)| !share.is_nan());
        let weight: f64 = known().map(|(_, weight)| weight).sum();
        let points: f64 = known().map(|(share, weight)| share * weight).sum();
        if weight > 0.0 { (points / weight, weight) } else { (0.5, 0.0) }
    }

    fn scores(&self, weights: &[f64]) -> Vec<f64> {
        self.rows().map(|row| Self::score(row, weights).0).collect()
    }
}

/// Fits the weights, from `hand` on.
pub(super) fn fit(table: &Table, hand: &[f64], leash: &Leash) -> Fit {
    let rate = (table.left.iter().sum::<f64>() / table.left.len() as f64).clamp(1e-6, 1.0 - 1e-6);
    let start = Fit { weights: leash.nearest(hand), intercept: libm::log(rate / (1.0 - rate)), slope: 1.0 };
    let (mut best, mut loss) = refit(table, start);
    let mut step = 1.0;
    for _ in 0..MAX_STEPS {
        let gradient = gradient(table, &best);
        let Some((next, next_loss, used)) = descend(table, leash, &best, loss, &gradient, step) else { break };
        let moved = next.weights.iter().zip(&best.weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        (best, loss, step) = (next, next_loss, used * 2.0);
        if moved < TOLERANCE {
            break;
        }
    }
    best
}

/// A step against the gradient that makes the loss smaller; none where there is none.
fn descend(table: &Table, leash: &Leash, from: &Fit, loss: f64, gradient: &[f64], longest: f64) -> Option<(Fit, f64, f64)> {
    let mut step = longest;
    for _ in 0..MAX_HALVINGS {
        let wished: Vec<f64> = from.weights.iter().zip(gradient).map(|(weight, slope)| weight - step * slope).collect();
        let weights = leash.nearest(&wished);
        let moved: f64 = weights.iter().zip(&from.weights).map(|(a, b)| (a - b) * (a - b)).sum();
        let (next, next_loss) = refit(table, Fit { weights, ..from.clone() });
        if next_loss < loss - 1e-4 / step * moved {
            return Some((next, next_loss, step));
        }
        step /= 2.0;
    }
    None
}

/// Newton's method for intercept and slope under given weights, and the loss that is left.
fn refit(table: &Table, mut fit: Fit) -> (Fit, f64) {
    let scores = table.scores(&fit.weights);
    let mut loss = mean_loss(&scores, &table.left, fit.intercept, fit.slope);
    for _ in 0..MAX_NEWTON_STEPS {
        let (mut change, was) = (newton_step(&scores, &table.left, &fit), loss);
        // A full step may pass the minimum by far where the score tells nearly everything.
        for _ in 0..MAX_HALVINGS {
            let (intercept, slope) = (fit.intercept + change.0, (fit.slope + change.1).max(LEAST_SLOPE));
            let next = mean_loss(&scores, &table.left, intercept, slope);
            if next <= loss {
                (fit.intercept, fit.slope, loss) = (intercept, slope, next);
                break;
            }
            change = (change.0 / 2.0, change.1 / 2.0);
        }
        if was - loss < 1e-15 {
            break;
        }
    }
    (fit, loss)
}

fn newton_step(scores: &[f64], left: &[f64], fit: &Fit) -> (f64, f64) {
    let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (score, label) in scores.iter().zip(left) {
        let chance = chance(fit.intercept - fit.slope * score);
        let (error, curvature) = (chance - label, chance * (1.0 - chance));
        ga += error;
        gb -= error * score;
        haa += curvature;
        hab -= curvature * score;
        hbb += curvature * score * score;
    }
    let n = scores.len() as f64;
    let (ga, gb) = (ga / n, gb / n + 2.0 * RIDGE * fit.slope);
    let (haa, hab, hbb) = (haa / n + 1e-12, hab / n, hbb / n + 2.0 * RIDGE);
    let held = fit.slope <= LEAST_SLOPE && (haa * gb - hab * ga) > 0.0;
    if held {
        return (-ga / haa, 0.0);
    }
    let determinant = (haa * hbb - hab * hab).max(1e-18);
    ((hab * gb - hbb * ga) / determinant, (hab * ga - haa * gb) / determinant)
}

fn mean_loss(scores: &[f64], left: &[f64], intercept: f64, slope: f64) -> f64 {
    let loss = |(score, label): (&f64, &f64)| {
        let margin = intercept - slope * score;
        // ln(1 + e^margin) − label · margin, without overflow.
        margin.max(0.0) + libm::log1p(libm::exp(-margin.abs())) - label * margin
    };
    scores.iter().zip(left).map(loss).sum::<f64>() / scores.len() as f64 + RIDGE * slope * slope
}

fn gradient(table: &Table, fit: &Fit) -> Vec<f64> {
    let mut gradient = vec![0.0; table.n_groups];
    for (row, label) in table.rows().zip(&table.left) {
        let (score, known) = Table::score(row, &fit.weights);
        if known == 0.0 {
            continue;
        }
        let error = chance(fit.intercept - fit.slope * score) - label;
        for (slope, share) in gradient.iter_mut().zip(row).filter(|(_, share)| !share.is_nan()) {
            *slope -= error * fit.slope * (share - score) / known;
        }
    }
    let n_rows = table.left.len() as f64;
    gradient.into_iter().map(|slope| slope / n_rows).collect()
}

fn chance(margin: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-margin))
}
