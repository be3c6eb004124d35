//! Metrics of amounts and counts: how well expected values order the actual ones, and how near they come.
//!
//! Rows are sorted once, by prediction and then by everything else a metric reads, so that sums do not depend on the order of the
//! table. A resample is a weight per row; ranks are twice the distance from the middle, which keeps them whole numbers.

use crate::binary::N_BINS;
use crate::metrics::Metric;
use crate::outcome::Values;
use crate::ranking::{block_ends, tenth};

/// Values sorted once, to be measured under any weights of their groups.
#[derive(Debug)]
pub(crate) struct ValueGauge {
    /// By falling prediction.
    rows: Vec<ValueRow>,
    /// Ends of runs of equal predictions in `rows`.
    prediction_ends: Vec<usize>,
    /// Distinct actual values, falling.
    actual_values: Vec<f64>,
    has_interval: bool,
    has_negative: bool,
    /// Whether Poisson's deviance is finite for every row.
    has_deviance: bool,
}

#[derive(Debug, Clone, Copy)]
struct ValueRow {
    group_idx: u32,
    /// Position of the actual value among the distinct ones.
    actual_block: u32,
    expected: f64,
    actual: f64,
    low: f64,
    high: f64,
    /// Poisson's deviance from the prediction.
    deviance: f64,
    /// `actual · ln(actual)`, 0 at 0.
    entropy: f64,
}

/// Rows of one prediction, of one actual value or of one bin in one resample: how many, and sums of their values.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    n_rows: u64,
    actual: f64,
    expected: f64,
}

/// One resample: weights, and sums per run of equal predictions.
struct Resample<'a> {
    gauge: &'a ValueGauge,
    weights: Vec<u32>,
    by_prediction: Vec<Block>,
    whole: Block,
}

impl ValueGauge {
    pub(crate) fn new(values: &Values, group_idx: &[u32]) -> Self {
        let mut actual_values = values.actual.clone();
        actual_values.sort_unstable_by(|a, b| b.total_cmp(a));
        actual_values.dedup();
        let row = |row_idx: usize| ValueRow::new(values, row_idx, group_idx[row_idx], &actual_values);
        let mut rows: Vec<ValueRow> = (0..values.actual.len()).map(row).collect();
        rows.sort_unstable_by(|a, b| {
            let falling = b.expected.total_cmp(&a.expected).then(b.actual.total_cmp(&a.actual));
            falling.then(a.low.total_cmp(&b.low)).then(a.high.total_cmp(&b.high))
        });
        let prediction_ends = block_ends(&rows, |a, b| a.expected == b.expected);
        let has_negative = rows.iter().any(|row| row.actual < 0.0);
        let has_deviance = !has_negative && rows.iter().all(|row| row.deviance.is_finite());
        Self { rows, prediction_ends, actual_values, has_interval: values.interval.is_some(), has_negative, has_deviance }
    }

    /// The metrics with each row counted as often as its group weighs; metrics of other kinds are not defined.
    pub(crate) fn measure(&self, metrics: &[Metric], group_weights: &[u32]) -> Vec<Option<f64>> {
        let resample = Resample::new(self, group_weights);
        let n_rows = resample.whole.n_rows as f64;
        let needs_ranks = |metric: &Metric| matches!(metric, Metric::NormalizedGini | Metric::Spearman | Metric::PoissonD2);
        let by_actual = if metrics.iter().any(needs_ranks) { resample.by_actual() } else { Vec::new() };
        let is_constant = by_actual.iter().filter(|block| block.n_rows > 0).count() < 2;
        let measure = |metric: &Metric| match metric {
            Metric::NormalizedGini if !is_constant => Some(resample.normalized_gini(&by_actual)),
            Metric::Spearman if !is_constant => resample.spearman(&by_actual),
            Metric::PoissonD2 if self.has_deviance && !is_constant => Some(resample.poisson_d2()),
            Metric::DecileMape => resample.decile_mape(),
            Metric::TotalBias => {
                let Block { actual, expected, .. } = resample.whole;
                (actual > 0.0).then(|| (expected - actual) / actual)
            }
            Metric::Mae => Some(resample.sum(|row| (row.expected - row.actual).abs()) / n_rows),
            Metric::Rmse => {
                let square = |row: &ValueRow| (row.expected - row.actual) * (row.expected - row.actual);
                Some((resample.sum(square) / n_rows).sqrt())
            }
            Metric::TopTenthValue if !self.has_negative => resample.top_tenth_value(),
            Metric::IntervalCoverage if self.has_interval => {
                let inside = |row: &ValueRow| f64::from(u8::from(row.low <= row.actual && row.actual <= row.high));
                Some(resample.sum(inside) / n_rows)
            }
            Metric::IntervalWidth if self.has_interval => Some(resample.sum(|row| row.high - row.low) / n_rows),
            _ => None,
        };
        metrics.iter().map(measure).collect()
    }
}

impl ValueRow {
    fn new(values: &Values, row_idx: usize, group_idx: u32, actual_values: &[f64]) -> Self {
        let (actual, expected) = (values.actual[row_idx], values.expected[row_idx]);
        let [low, high] = values.interval.as_ref().map_or([0.0; 2], |interval| interval[row_idx]);
        let actual_block = actual_values.partition_point(|&other| other > actual) as u32;
        let entropy = if actual > 0.0 { actual * libm::log(actual) } else { 0.0 };
        let deviance = poisson_deviance(actual, expected);
        Self { group_idx, actual_block, expected, actual, low, high, deviance, entropy }
    }
}

/// `2 · (y · ln(y / p) − y + p)`; infinite where something came that was held impossible, NaN for a prediction below 0.
fn poisson_deviance(actual: f64, expected: f64) -> f64 {
    let surprise = if actual > 0.0 { actual * libm::log(actual / expected) } else { 0.0 };
    if expected < 0.0 { f64::NAN } else { 2.0 * (surprise - actual + expected) }
}

impl<'a> Resample<'a> {
    fn new(gauge: &'a ValueGauge, group_weights: &[u32]) -> Self {
        let weights: Vec<u32> = gauge.rows.iter().map(|row| group_weights[row.group_idx as usize]).collect();
        let mut by_prediction = Vec::with_capacity(gauge.prediction_ends.len());
        let (mut whole, mut start) = (Block::default(), 0);
        for &end in &gauge.prediction_ends {
            let mut block = Block::default();
            for (row, &weight) in gauge.rows[start..end].iter().zip(&weights[start..end]) {
                block.n_rows += u64::from(weight);
                block.actual += f64::from(weight) * row.actual;
            }
            block.expected = block.n_rows as f64 * gauge.rows[start].expected;
            whole.n_rows += block.n_rows;
            whole.actual += block.actual;
            whole.expected += block.expected;
            by_prediction.push(block);
            start = end;
        }
        Self { gauge, weights, by_prediction, whole }
    }

    /// Weighted sum over the rows.
    fn sum(&self, number: impl Fn(&ValueRow) -> f64) -> f64 {
        self.gauge.rows.iter().zip(&self.weights).map(|(row, &weight)| f64::from(weight) * number(row)).sum()
    }

    /// Rows per distinct actual value, from the highest.
    fn by_actual(&self) -> Vec<Block> {
        let mut blocks = vec![Block::default(); self.gauge.actual_values.len()];
        for (row, &weight) in self.gauge.rows.iter().zip(&self.weights) {
            blocks[row.actual_block as usize].n_rows += u64::from(weight);
        }
        for (block, &actual) in blocks.iter_mut().zip(&self.gauge.actual_values) {
            block.actual = block.n_rows as f64 * actual;
        }
        blocks
    }

    /// Twice how far each block's middle rank lies above the middle of all rows, from the highest to the lowest.
    fn heights(&self, blocks: &[Block]) -> Vec<f64> {
        let n_rows = i128::from(self.whole.n_rows);
        let mut above = 0;
        let height = |block: &Block| {
            let height = n_rows - 2 * above - i128::from(block.n_rows);
            above += i128::from(block.n_rows);
            height as f64
        };
        blocks.iter().map(height).collect()
    }

    /// `n · Σ actual` times the area between concentration curve and diagonal: the divisor cancels in the ratio.
    fn concentration(&self, blocks: &[Block]) -> f64 {
        blocks.iter().zip(self.heights(blocks)).map(|(block, height)| block.actual * height).sum()
    }

    fn normalized_gini(&self, by_actual: &[Block]) -> f64 {
        (self.concentration(&self.by_prediction) / self.concentration(by_actual)).clamp(-1.0, 1.0)
    }

    fn spearman(&self, by_actual: &[Block]) -> Option<f64> {
        let (actual, predicted) = (self.heights(by_actual), self.heights(&self.by_prediction));
        let spread = |blocks: &[Block], heights: &[f64]| -> f64 {
            blocks.iter().zip(heights).map(|(block, height)| block.n_rows as f64 * height * height).sum()
        };
        let (mut shared, mut start) = (0.0, 0);
        for (&end, height) in self.gauge.prediction_ends.iter().zip(&predicted) {
            let block = self.gauge.rows[start..end].iter().zip(&self.weights[start..end]);
            let of_actual = |(row, &weight): (&ValueRow, &u32)| f64::from(weight) * actual[row.actual_block as usize];
            shared += height * block.map(of_actual).sum::<f64>();
            start = end;
        }
        let both = spread(by_actual, &actual).sqrt() * spread(&self.by_prediction, &predicted).sqrt();
        (both > 0.0).then(|| (shared / both).clamp(-1.0, 1.0))
    }

    fn poisson_d2(&self) -> f64 {
        let Block { n_rows, actual, .. } = self.whole;
        // Σ y · ln(y / mean): the other terms of the deviance from the mean cancel.
        let from_mean = 2.0 * (self.sum(|row| row.entropy) - actual * libm::log(actual / n_rows as f64));
        1.0 - self.sum(|row| row.deviance) / from_mean
    }

    fn decile_mape(&self) -> Option<f64> {
        let overall = self.whole.actual / self.whole.n_rows as f64;
        let bins: Vec<Block> = self.bins().into_iter().filter(|bin| bin.n_rows > 0).collect();
        let error = |bin: &Block| {
            let (expected, actual) = (bin.expected / bin.n_rows as f64, bin.actual / bin.n_rows as f64);
            (expected - actual).abs() / if actual > 0.0 { actual } else { overall }
        };
        (overall > 0.0).then(|| bins.iter().map(error).sum::<f64>() / bins.len() as f64)
    }

    /// Ten bins of equal shares of rows, from low predictions to high.
    fn bins(&self) -> [Block; N_BINS] {
        let mut bins = [Block::default(); N_BINS];
        let mut below = 0;
        for block in self.by_prediction.iter().rev().filter(|block| block.n_rows > 0) {
            let bin = &mut bins[tenth(below, block.n_rows, self.whole.n_rows)];
            bin.n_rows += block.n_rows;
            bin.actual += block.actual;
            bin.expected += block.expected;
            below += block.n_rows;
        }
        bins
    }

    fn top_tenth_value(&self) -> Option<f64> {
        let (mut value, mut left) = (0.0, self.whole.n_rows as f64 / 10.0);
        for block in self.by_prediction.iter().filter(|block| block.n_rows > 0) {
            let n_rows = block.n_rows as f64;
            value += (left / n_rows).min(1.0) * block.actual;
            left -= n_rows;
            if left <= 0.0 {
                break;
            }
        }
        (self.whole.actual > 0.0).then(|| (value / self.whole.actual).min(1.0))
    }
}
