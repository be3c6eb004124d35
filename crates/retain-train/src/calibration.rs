//! Fits calibrators to margins of rows that no fit has seen, and chooses between them by cross-fitting.

use retain_data::{Fold, stratified_folds};
use retain_score::{Calibrator, sigmoid, softplus};

/// Isotonic regression needs this many positives before its steps are more than noise (methods: Niculescu-Mizil and Caruana, 2005).
const ISOTONIC_POSITIVES: usize = 1_000;
/// Pseudo-rows of the base rate mixed into every isotonic step, so that a step of zeros or ones keeps finite log-odds.
const ISOTONIC_SMOOTHING: f64 = 1.0;
/// Folds over which calibrators are compared.
const N_FOLDS: usize = 5;
/// Newton steps of the sigmoid; it converges in under ten.
const MAX_STEPS: usize = 50;

/// Margins with the labels that came true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcomes<'a> {
    /// Log-odds before calibration, one per row.
    pub(crate) margins: &'a [f64],
    /// 1 when it happened, else 0.
    pub(crate) target: &'a [f64],
    /// Rows of one number stay together.
    pub(crate) group: &'a [u32],
}

/// The chosen calibrator, and the probabilities of its kind where each row's calibrator was fitted without that row.
#[derive(Debug, Clone)]
pub(crate) struct Calibration {
    /// Fitted to all rows given.
    pub(crate) calibrator: Calibrator,
    /// Cross-fitted probabilities, in the order of the rows.
    pub(crate) probabilities: Vec<f64>,
    /// Mean log loss of these.
    pub(crate) log_loss: f64,
}

/// A way to fit a calibrator.
type Fit = fn(&[f64], &[f64]) -> Option<Calibrator>;

/// Fits every kind of calibrator by cross-fitting, simplest first, and keeps one for which the log loss speaks.
///
/// A calibrator has to be better than the simpler one before it by more than the standard error of the difference: what it gains
/// by less is chance, and it would lose as much on other customers.
pub(crate) fn calibrate(outcomes: Outcomes<'_>, seed: u64) -> Calibration {
    let n_positives = outcomes.target.iter().filter(|&&label| label == 1.0).count();
    // The margins as they stand: nothing is fitted, so every row's probability is one that it had no part in.
    let probabilities: Vec<f64> = outcomes.margins.iter().map(|&margin| Calibrator::Identity.probability(margin)).collect();
    let log_loss = mean_log_loss(&probabilities, outcomes.target);
    let mut best = Calibration { calibrator: Calibrator::Identity, probabilities, log_loss };
    // None where all rows are of one group: then nothing can be compared.
    let folds = stratified_folds(outcomes.target, outcomes.group, N_FOLDS, seed);
    let kinds: [Fit; 3] = [fit_sigmoid, fit_beta, fit_isotonic];
    for fit in &kinds[..if n_positives >= ISOTONIC_POSITIVES { 3 } else { 2 }] {
        let Some(calibrator) = fit(outcomes.margins, outcomes.target).filter(|_| !folds.is_empty()) else { continue };
        let probabilities = cross_fitted(outcomes, *fit, &folds);
        if is_better(&probabilities, &best.probabilities, outcomes.target) {
            let log_loss = mean_log_loss(&probabilities, outcomes.target);
            best = Calibration { calibrator, probabilities, log_loss };
        }
    }
    best
}

/// Whether the log loss of some probabilities is lower than that of others by more than the standard error of the difference.
fn is_better(probabilities: &[f64], others: &[f64], target: &[f64]) -> bool {
    let gains = probabilities.iter().zip(others).zip(target).map(|((&p, &q), &label)| log_loss(q, label) - log_loss(p, label));
    let (sum, squares) = gains.fold((0.0, 0.0), |(sum, squares), gain| (sum + gain, squares + gain * gain));
    let n = probabilities.len().max(1) as f64;
    let mean = sum / n;
    mean > ((squares / n - mean * mean).max(0.0) / n).sqrt()
}

fn cross_fitted(outcomes: Outcomes<'_>, fit: Fit, folds: &[Fold]) -> Vec<f64> {
    let mut probabilities = vec![0.0; outcomes.margins.len()];
    for fold in folds {
        let pick = |values: &[f64]| -> Vec<f64> { fold.train.iter().map(|&row_idx| values[row_idx]).collect() };
        let calibrator = fit(&pick(outcomes.margins), &pick(outcomes.target)).unwrap_or(Calibrator::Identity);
        for &row_idx in &fold.validate {
            probabilities[row_idx] = calibrator.probability(outcomes.margins[row_idx]);
        }
    }
    probabilities
}

/// Mean of `−ln(probability of what happened)`, natural logarithm; probabilities are kept off 0 and 1 by 1e-15.
pub(crate) fn mean_log_loss(probabilities: &[f64], target: &[f64]) -> f64 {
    probabilities.iter().zip(target).map(|(&p, &label)| log_loss(p, label)).sum::<f64>() / probabilities.len().max(1) as f64
}

fn log_loss(probability: f64, label: f64) -> f64 {
    -(if label == 1.0 { probability } else { 1.0 - probability }).clamp(1e-15, 1.0).ln()
}

/// Maximum likelihood of `σ(slope · margin + intercept)` by Newton's method with step halving.
///
/// None where the margins do not rank the labels better than chance (the slope would not be positive) or separate them wholly.
pub(crate) fn fit_sigmoid(margins: &[f64], target: &[f64]) -> Option<Calibrator> {
    let loss = |slope: f64, intercept: f64| -> f64 {
        margins.iter().zip(target).map(|(m, label)| softplus((1.0 - 2.0 * label) * (slope * m + intercept))).sum()
    };
    let (mut slope, mut intercept) = (1.0, 0.0);
    let mut current = loss(slope, intercept);
    for _ in 0..MAX_STEPS {
        let (step_slope, step_intercept) = newton_step(margins, target, slope, intercept)?;
        let mut share = 1.0;
        let next = loop {
            let next = loss(slope - share * step_slope, intercept - share * step_intercept);
            if next <= current || share < 1e-6 {
                break next;
            }
            share /= 2.0;
        };
        slope -= share * step_slope;
        intercept -= share * step_intercept;
        let gained = current - next;
        current = next;
        if gained.abs() <= 1e-10 * current.abs() {
            break;
        }
    }
    (slope.is_finite() && intercept.is_finite() && slope > 1e-6 && slope < 1e6)
        .then_some(Calibrator::Sigmoid { slope, intercept })
}

fn newton_step(margins: &[f64], target: &[f64], slope: f64, intercept: f64) -> Option<(f64, f64)> {
    let (mut g_slope, mut g_intercept, mut h_ss, mut h_si, mut h_ii) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&margin, &label) in margins.iter().zip(target) {
        let p = sigmoid(slope * margin + intercept);
        let (error, weight) = (p - label, p * (1.0 - p));
        g_slope += error * margin;
        g_intercept += error;
        h_ss += weight * margin * margin;
        h_si += weight * margin;
        h_ii += weight;
    }
    // A trace of ridge keeps the step finite when all margins are equal.
    let (h_ss, h_ii) = (h_ss + 1e-9, h_ii + 1e-9);
    let determinant = h_ss * h_ii - h_si * h_si;
    let step = ((h_ii * g_slope - h_si * g_intercept) / determinant, (h_ss * g_intercept - h_si * g_slope) / determinant);
    (determinant > 0.0 && step.0.is_finite() && step.1.is_finite()).then_some(step)
}

/// Maximum likelihood of [`Calibrator::Beta`] by Newton's method with step halving.
///
/// A weight that would be negative is held at 0 and the other fitted alone, as its authors do. None where the margins do not rank the
/// labels better than chance.
pub(crate) fn fit_beta(margins: &[f64], target: &[f64]) -> Option<Calibrator> {
    let bases: Vec<[f64; 2]> = margins.iter().map(|&margin| [-softplus(-margin), softplus(margin)]).collect();
    let [rise, fall, intercept] = match newton_beta(&bases, target, [true, true])? {
        [rise, _, _] if rise < 0.0 => newton_beta(&bases, target, [false, true])?,
        [_, fall, _] if fall < 0.0 => newton_beta(&bases, target, [true, false])?,
        both => both,
    };
    let is_weight = |weight: f64| (0.0..1e6).contains(&weight);
    (is_weight(rise) && is_weight(fall) && rise + fall > 1e-6 && intercept.is_finite()).then_some(Calibrator::Beta {
        rise,
        fall,
        intercept,
    })
}

/// Two weights and the shift; a weight that is not free stays 0.
fn newton_beta(bases: &[[f64; 2]], target: &[f64], free: [bool; 2]) -> Option<[f64; 3]> {
    let log_odds = |w: &[f64; 3], base: &[f64; 2]| w[0] * base[0] + w[1] * base[1] + w[2];
    let loss = |w: &[f64; 3]| -> f64 {
        bases.iter().zip(target).map(|(base, label)| softplus((1.0 - 2.0 * label) * log_odds(w, base))).sum()
    };
    let mut weights = [f64::from(u8::from(free[0])), f64::from(u8::from(free[1])), 0.0];
    let mut current = loss(&weights);
    for _ in 0..MAX_STEPS {
        let (mut gradient, mut hessian) = ([0.0; 3], [[0.0; 3]; 3]);
        for (base, &label) in bases.iter().zip(target) {
            let p = sigmoid(log_odds(&weights, base));
            let x = [if free[0] { base[0] } else { 0.0 }, if free[1] { base[1] } else { 0.0 }, 1.0];
            for i in 0..3 {
                gradient[i] += (p - label) * x[i];
                (0..3).for_each(|j| hessian[i][j] += p * (1.0 - p) * x[i] * x[j]);
            }
        }
        // A trace of ridge keeps the step finite where the bases hardly differ, and holds what is not free.
        (0..3).for_each(|i| hessian[i][i] += if hessian[i][i] == 0.0 { 1.0 } else { 1e-9 * (1.0 + hessian[i][i]) });
        let step = solve(hessian, gradient)?;
        let mut share = 1.0;
        let (next, next_loss) = loop {
            let next: [f64; 3] = std::array::from_fn(|i| weights[i] - share * step[i]);
            let next_loss = loss(&next);
            if next_loss <= current || share < 1e-6 {
                break (next, next_loss);
            }
            share /= 2.0;
        };
        let gained = current - next_loss;
        (weights, current) = (next, next_loss);
        if gained.abs() <= 1e-10 * current.abs() {
            break;
        }
    }
    weights.iter().all(|weight| weight.is_finite()).then_some(weights)
}

/// Solves three linear equations by elimination with pivoting; none where they do not determine the solution.
fn solve(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let divisor = matrix[column][column];
        if divisor.abs() < f64::MIN_POSITIVE || !divisor.is_finite() {
            return None;
        }
        for row in column + 1..3 {
            let factor = matrix[row][column] / divisor;
            (column..3).for_each(|k| matrix[row][k] -= factor * matrix[column][k]);
            right[row] -= factor * right[column];
        }
    }
    let mut solution = [0.0; 3];
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|k| matrix[row][k] * solution[k]).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    Some(solution)
}

/// Centred isotonic regression: pool adjacent violators, then a line through the blocks' mean margins.
///
/// Plain isotonic steps give tied probabilities to customers whom the model tells apart; joining the centres of the blocks keeps
/// their order (Oron and Flournoy, 2017).
pub(crate) fn fit_isotonic(margins: &[f64], target: &[f64]) -> Option<Calibrator> {
    let base_rate = target.iter().sum::<f64>() / target.len().max(1) as f64;
    if !(base_rate > 0.0 && base_rate < 1.0) {
        return None;
    }
    let blocks = pool_adjacent_violators(margins, target);
    let mut calibrated_margins: Vec<f64> = Vec::with_capacity(blocks.len());
    let mut log_odds: Vec<f64> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let rate = (block.positives + ISOTONIC_SMOOTHING * base_rate) / (block.rows + ISOTONIC_SMOOTHING);
        let (margin, odds) = (block.margin_sum / block.rows, (rate / (1.0 - rate)).ln());
        // Smoothing may pull a small block past its larger neighbour; such a block adds nothing that can be trusted.
        if calibrated_margins.last().is_none_or(|&last| margin > last) && log_odds.last().is_none_or(|&last| odds > last) {
            calibrated_margins.push(margin);
            log_odds.push(odds);
        }
    }
    Some(Calibrator::Isotonic { margins: calibrated_margins, log_odds })
}

#[derive(Debug, Clone, Copy)]
struct Block {
    rows: f64,
    positives: f64,
    margin_sum: f64,
}

fn pool_adjacent_violators(margins: &[f64], target: &[f64]) -> Vec<Block> {
    let mut order: Vec<usize> = (0..margins.len()).collect();
    order.sort_by(|&a, &b| margins[a].total_cmp(&margins[b]).then(a.cmp(&b)));
    let mut blocks: Vec<Block> = Vec::new();
    let mut previous = f64::NAN;
    for row_idx in order {
        let row = Block { rows: 1.0, positives: target[row_idx], margin_sum: margins[row_idx] };
        match blocks.last_mut() {
            // Rows of one margin are one point.
            Some(last) if margins[row_idx] == previous => *last = last.joined(row),
            _ => {
                settle(&mut blocks);
                blocks.push(row);
            }
        }
        previous = margins[row_idx];
    }
    settle(&mut blocks);
    blocks
}

/// Joins the last blocks until their rates rise strictly.
fn settle(blocks: &mut Vec<Block>) {
    while let [.., before, last] = blocks.as_slice() {
        if before.positives * last.rows < last.positives * before.rows {
            return;
        }
        let joined = before.joined(*last);
        blocks.truncate(blocks.len() - 2);
        blocks.push(joined);
    }
}

impl Block {
    fn joined(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            positives: self.positives + other.positives,
            margin_sum: self.margin_sum + other.margin_sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose true log-odds are `slope · margin + intercept`, in exact proportions: no noise.
    fn rows(slope: f64, intercept: f64) -> (Vec<f64>, Vec<f64>) {
        let mut margins = Vec::new();
        let mut target = Vec::new();
        for step in -30_i32..=30 {
            let margin = f64::from(step) / 10.0;
            let positives = (1000.0 * sigmoid(slope * margin + intercept)).round() as usize;
            for row in 0..1000 {
                margins.push(margin);
                target.push(f64::from(u8::from(row < positives)));
            }
        }
        (margins, target)
    }

    #[test]
    fn the_sigmoid_finds_the_line_that_made_the_labels() {
        let (margins, target) = rows(0.7, -0.4);
        let Some(Calibrator::Sigmoid { slope, intercept }) = fit_sigmoid(&margins, &target) else { panic!("no fit") };
        assert!((slope - 0.7).abs() < 2e-3 && (intercept + 0.4).abs() < 2e-3, "{slope} {intercept}");
    }

    #[test]
    fn beta_finds_the_curve_that_made_the_labels() {
        let truth = Calibrator::Beta { rise: 0.6, fall: 1.5, intercept: -0.3 };
        let (mut margins, mut target) = (Vec::new(), Vec::new());
        for step in -40_i32..=40 {
            let positives = (1000.0 * truth.probability(f64::from(step) / 10.0)).round() as usize;
            margins.extend([f64::from(step) / 10.0; 1000]);
            target.extend((0..1000).map(|row| f64::from(u8::from(row < positives))));
        }
        let Some(Calibrator::Beta { rise, fall, intercept }) = fit_beta(&margins, &target) else { panic!("no fit") };
        assert!((rise - 0.6).abs() < 0.01 && (fall - 1.5).abs() < 0.01 && (intercept + 0.3).abs() < 0.01);
        let loss =
            |fit: &Calibrator| mean_log_loss(&margins.iter().map(|&margin| fit.probability(margin)).collect::<Vec<_>>(), &target);
        assert!(loss(&fit_beta(&margins, &target).unwrap()) < loss(&fit_sigmoid(&margins, &target).unwrap()) - 1e-3);
    }

    #[test]
    fn a_model_worse_than_chance_gets_no_calibrator() {
        let (margins, target) = rows(-1.0, 0.0);
        assert!(fit_sigmoid(&margins, &target).is_none());
        assert!(fit_beta(&margins, &target).is_none());
    }

    #[test]
    fn isotonic_follows_any_rising_curve_and_keeps_the_order() {
        let (margins, target) = rows(0.7, -0.4);
        let calibrator = fit_isotonic(&margins, &target).unwrap();
        calibrator.check().unwrap();
        for step in -28_i32..=28 {
            let margin = f64::from(step) / 10.0;
            let expected = sigmoid(0.7 * margin - 0.4);
            assert!((calibrator.probability(margin) - expected).abs() < 0.01, "{margin}");
            assert!(calibrator.probability(margin) < calibrator.probability(margin + 0.05));
        }
    }

    #[test]
    fn pooling_joins_only_violators() {
        let blocks = pool_adjacent_violators(&[1.0, 2.0, 3.0, 4.0, 4.0], &[0.0, 1.0, 0.0, 1.0, 1.0]);
        let shapes: Vec<(f64, f64)> = blocks.iter().map(|block| (block.rows, block.positives)).collect();
        assert_eq!(shapes, [(1.0, 0.0), (2.0, 1.0), (2.0, 2.0)]);
    }

    #[test]
    fn rows_of_one_group_keep_the_models_own_probabilities() {
        let (margins, target) = rows(0.4, 0.0);
        let group = vec![0; target.len()];
        let calibration = calibrate(Outcomes { margins: &margins, target: &target, group: &group }, 3);
        assert_eq!(calibration.calibrator, Calibrator::Identity);
        assert_eq!(calibration.probabilities[0], sigmoid(margins[0]));
    }

    #[test]
    fn margins_that_separate_the_labels_keep_finite_probabilities() {
        let margins: Vec<f64> = (0..400).map(|row| if row % 4 == 0 { 3.0 } else { -3.0 }).collect();
        let target: Vec<f64> = (0..400).map(|row| f64::from(u8::from(row % 4 == 0))).collect();
        let group: Vec<u32> = (0..400).collect();
        let calibration = calibrate(Outcomes { margins: &margins, target: &target, group: &group }, 3);
        calibration.calibrator.check().unwrap();
        assert!(calibration.log_loss.is_finite() && calibration.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
    }

    #[test]
    fn an_overconfident_model_is_calibrated_and_an_honest_one_left_alone() {
        let (margins, target) = rows(0.4, 0.0);
        let group: Vec<u32> = (0..target.len() as u32).collect();
        let calibration = calibrate(Outcomes { margins: &margins, target: &target, group: &group }, 3);
        assert_ne!(calibration.calibrator, Calibrator::Identity);
        let raw: Vec<f64> = margins.iter().map(|&m| sigmoid(m)).collect();
        assert!(calibration.log_loss < mean_log_loss(&raw, &target) - 0.01);
    }
}
