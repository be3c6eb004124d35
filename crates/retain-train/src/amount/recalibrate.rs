//! From a log score to the log of a mean: a line by maximum likelihood, or a rising curve through blocks of rows.

use retain_score::Calibrator;

/// Newton steps of the line; it converges in under ten.
const MAX_STEPS: usize = 50;
/// Blocks that rows are sorted into before neighbours are pooled, at most.
const MAX_BLOCKS: usize = 20;
/// Rows with an amount that a block has at least: the mean of fewer long-tailed amounts says little.
const MIN_BLOCK_POSITIVES: usize = 50;
/// Logs of amounts are kept within this.
const MAX_LOG: f64 = 100.0;

/// `intercept + slope · score`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) intercept: f64,
    /// From 0.
    pub(super) slope: f64,
}

impl Line {
    pub(super) fn at(self, score: f64) -> f64 {
        self.intercept + self.slope * score
    }

    /// Maximum Poisson likelihood of `E[amount] = exp(intercept + slope · score)`, which is right for any amounts whose mean is that
    /// (Gourieroux, Monfort and Trognon, 1984).
    ///
    /// On rows that the score was not fitted to, the intercept is the smearing factor: what turns the exponential of a mean of
    /// logarithms into a mean, here such that the total is right (Duan, 1983, takes the mean of exponentiated residuals). A score
    /// that does not rise with the amounts gets the slope 0.
    pub(super) fn fit(scores: &[f64], amounts: &[f64]) -> Self {
        let total: f64 = amounts.iter().sum();
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n.max(1.0);
        let spread = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n.max(1.0)).sqrt();
        let flat = Self { intercept: libm::log((total / n).max(f64::MIN_POSITIVE)).max(-MAX_LOG), slope: 0.0 };
        // A spread that is rounding noise beside the scores themselves is none.
        if !(total > 0.0 && spread > 1e-9 * (1.0 + mean.abs()) && spread.is_finite()) {
            return flat;
        }
        let standardised: Vec<f64> = scores.iter().map(|score| (score - mean) / spread).collect();
        let Some((constant, slope)) = fit_standardised(&standardised, amounts, flat.intercept) else { return flat };
        if slope <= 0.0 { flat } else { Self { intercept: constant - slope * mean / spread, slope: slope / spread } }
    }
}

/// Newton's method with step halving from a flat line.
fn fit_standardised(scores: &[f64], amounts: &[f64], start: f64) -> Option<(f64, f64)> {
    let loss = |line: (f64, f64)| -> f64 {
        let row = |(z, amount): (&f64, &f64)| {
            let log = line.0 + line.1 * z;
            libm::exp(log.min(MAX_LOG)) - amount * log
        };
        scores.iter().zip(amounts).map(row).sum()
    };
    let mut line = (start, 0.0);
    let mut current = loss(line);
    for _ in 0..MAX_STEPS {
        let step = newton_step(scores, amounts, line)?;
        let mut share = 1.0;
        let (next, next_loss) = loop {
            let next = (line.0 + share * step.0, line.1 + share * step.1);
            let next_loss = loss(next);
            if next_loss <= current || share < 1e-6 {
                break (next, next_loss);
            }
            share /= 2.0;
        };
        let gained = current - next_loss;
        if gained.is_nan() || gained <= 0.0 {
            break;
        }
        (line, current) = (next, next_loss);
        if gained <= 1e-12 * current.abs() {
            break;
        }
    }
    (line.0.is_finite() && line.1.is_finite()).then_some(line)
}

fn newton_step(scores: &[f64], amounts: &[f64], line: (f64, f64)) -> Option<(f64, f64)> {
    let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&z, &amount) in scores.iter().zip(amounts) {
        let expected = libm::exp((line.0 + line.1 * z).clamp(-MAX_LOG, MAX_LOG));
        g0 += amount - expected;
        g1 += (amount - expected) * z;
        h00 += expected;
        h01 += expected * z;
        h11 += expected * z * z;
    }
    // A trace of ridge keeps the step finite.
    let h11 = h11 + 1e-9 * h00;
    let determinant = h00 * h11 - h01 * h01;
    let step = ((h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant);
    (step.0.is_finite() && step.1.is_finite()).then_some(step)
}

/// A strictly rising line through blocks of rows, from log score to log mean: rows are sorted into blocks of equal size, neighbours
/// pooled until the means rise, and the blocks' centres joined (centred isotonic regression: Oron and Flournoy, 2017). The total over
/// the rows given is right.
///
/// None where the rows are too few for two blocks.
pub(super) fn fit_curve(logs: &[f64], amounts: &[f64]) -> Option<Calibrator> {
    let blocks = pooled(blocks(logs, amounts));
    let (mut margins, mut means): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for block in blocks.iter().filter(|block| block.amounts > 0.0) {
        let (x, y) = (libm::log(block.expected / block.rows), libm::log(block.amounts / block.rows));
        if margins.last().is_none_or(|&last| x > last) && means.last().is_none_or(|&last| y > last) {
            margins.push(x);
            means.push(y);
        }
    }
    if margins.len() < 2 || margins.iter().chain(&means).any(|value| !value.is_finite()) {
        return None;
    }
    let joined = Calibrator::Isotonic { margins, log_odds: means };
    let total: f64 = logs.iter().map(|&log| libm::exp(joined.log_odds(log).min(MAX_LOG))).sum();
    let shift = libm::log(amounts.iter().sum::<f64>() / total);
    let Calibrator::Isotonic { margins, log_odds } = joined else { return None };
    let log_odds: Vec<f64> = log_odds.iter().map(|log| log + shift).collect();
    // A shift that swallowed the difference of two neighbours would break the order.
    (shift.is_finite() && log_odds.is_sorted_by(|a, b| a < b)).then_some(Calibrator::Isotonic { margins, log_odds })
}

/// Rows of neighbouring scores.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    rows: f64,
    /// Sum of exponentiated scores.
    expected: f64,
    amounts: f64,
}

impl Block {
    fn joined(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, expected: self.expected + other.expected, amounts: self.amounts + other.amounts }
    }
}

/// Blocks of rows of rising score with about equally many amounts above 0 each; rows of one score are never parted.
fn blocks(logs: &[f64], amounts: &[f64]) -> Vec<Block> {
    let mut order: Vec<usize> = (0..logs.len()).collect();
    order.sort_by(|&a, &b| logs[a].total_cmp(&logs[b]).then(a.cmp(&b)));
    let n_positives = amounts.iter().filter(|&&amount| amount > 0.0).count();
    let wanted = n_positives.div_ceil(MAX_BLOCKS).max(MIN_BLOCK_POSITIVES);
    let (mut blocks, mut block, mut in_block): (Vec<Block>, Block, usize) = (Vec::new(), Block::default(), 0);
    for tied in order.chunk_by(|&a, &b| logs[a] == logs[b]) {
        for &row in tied {
            let expected = libm::exp(logs[row].clamp(-MAX_LOG, MAX_LOG));
            block = block.joined(Block { rows: 1.0, expected, amounts: amounts[row] });
            in_block += usize::from(amounts[row] > 0.0);
        }
        if in_block >= wanted {
            blocks.push(std::mem::take(&mut block));
            in_block = 0;
        }
    }
    match blocks.last_mut() {
        // What is left is no block of its own.
        Some(last) => *last = last.joined(block),
        None => blocks.push(block),
    }
    blocks
}

/// Joins neighbours until the mean amounts rise strictly.
fn pooled(blocks: Vec<Block>) -> Vec<Block> {
    let mut kept: Vec<Block> = Vec::with_capacity(blocks.len());
    for mut block in blocks {
        while let Some(before) = kept.pop_if(|before| before.amounts * block.rows >= block.amounts * before.rows) {
            block = before.joined(block);
        }
        kept.push(block);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Amounts whose mean is `exp(intercept + slope · score)`: half of the rows have twice the mean, half have nothing.
    fn rows(intercept: f64, slope: f64) -> (Vec<f64>, Vec<f64>) {
        let scores: Vec<f64> = (0..4000).map(|row| f64::from(row / 2) / 500.0).collect();
        let amount = |(row, score): (usize, &f64)| if row % 2 == 0 { 2.0 * (intercept + slope * score).exp() } else { 0.0 };
        let amounts = scores.iter().enumerate().map(amount).collect();
        (scores, amounts)
    }

    #[test]
    fn the_line_finds_the_mean_that_made_the_amounts() {
        for (intercept, slope) in [(-1.0, 0.5), (20.0, 1.5), (3.0, 0.01)] {
            let (scores, amounts) = rows(intercept, slope);
            let line = Line::fit(&scores, &amounts);
            assert!((line.intercept - intercept).abs() < 1e-4 && (line.slope - slope).abs() < 1e-4, "{line:?}");
            let total: f64 = scores.iter().map(|&score| line.at(score).exp()).sum();
            assert!((total / amounts.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_score_that_falls_or_stands_still_gives_the_mean() {
        let (scores, amounts) = rows(1.0, -0.5);
        let line = Line::fit(&scores, &amounts);
        assert_eq!(line.slope, 0.0);
        assert!((line.intercept.exp() - amounts.iter().sum::<f64>() / 4000.0).abs() < 1e-9);
        assert_eq!(Line::fit(&vec![2.0; 4000], &amounts).slope, 0.0);
        assert!(Line::fit(&[1.0, 2.0], &[0.0, 0.0]).intercept.is_finite());
    }

    #[test]
    fn the_curve_bends_to_the_means_of_blocks() {
        let (scores, amounts) = rows(0.0, 1.0);
        // The score says half the log it should, as a mean of logarithms might.
        let logs: Vec<f64> = scores.iter().map(|score| 0.1 * score * score).collect();
        let curve = fit_curve(&logs, &amounts).unwrap();
        curve.check().unwrap();
        for (log, score) in logs.iter().zip(&scores).skip(200).step_by(100) {
            assert!((curve.log_odds(*log) - score).abs() < 0.15, "{} {score}", curve.log_odds(*log));
        }
    }

    #[test]
    fn few_rows_have_no_curve() {
        assert!(fit_curve(&[1.0, 2.0, 3.0], &[0.0, 1.0, 2.0]).is_none());
        assert!(fit_curve(&[], &[]).is_none());
    }

    proptest! {
        #[test]
        fn curves_rise_and_keep_the_total(
            rows in prop::collection::vec((-5.0_f64..12.0, 0.0_f64..1.0), 100..800),
        ) {
            let logs: Vec<f64> = rows.iter().map(|row| row.0).collect();
            let amounts: Vec<f64> = rows.iter().map(|row| if row.1 < 0.4 { 0.0 } else { (row.0 * row.1).exp() }).collect();
            if let Some(curve) = fit_curve(&logs, &amounts) {
                prop_assert!(curve.check().is_ok());
                let total: f64 = logs.iter().map(|&log| curve.log_odds(log).exp()).sum();
                prop_assert!((total / amounts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
            let line = Line::fit(&logs, &amounts);
            prop_assert!(line.slope >= 0.0 && line.slope.is_finite() && line.intercept.is_finite());
        }
    }
}
