//! Confidence intervals: [`evaluate`] for one model, [`compare`] for two models on the same rows.
//!
//! Whole groups (customers) are drawn with replacement, so that rows of one customer are not taken for independent evidence.
//! The draw is not stratified by label: the rate of positives is itself uncertain, and an interval that holds it fixed is too
//! narrow for every metric that depends on it (`calibration_in_the_large` would be covered 7 times in 10 instead of 19 in 20;
//! see `tests/coverage.rs`). Where a resample leaves a metric undefined, that resample is left out.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::gauge::Gauge;
use crate::labelled::{EvalError, Labelled};
use crate::metrics::Metric;
use crate::normal::held_confidence;
use crate::outcome::OutcomeKind;

/// Resamples are reduced, though never below [`MIN_RESAMPLES`], where rows × resamples would pass this: half a minute of work.
const MAX_ROW_VISITS: usize = 400_000_000;
const MIN_RESAMPLES: usize = 200;
/// More do not make an interval better, only the machine slower.
const MAX_RESAMPLES: usize = 100_000;

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// Number of resamples, held within 1 and 100,000; huge tables get fewer, see [`Evaluation::resamples`].
    pub resamples: usize,
    /// Chance that an interval covers the truth, held within 0.5 and 0.9999.
    pub confidence: f64,
    /// All randomness comes from this number.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 7 }
    }
}

impl BootstrapOptions {
    /// The number of resamples that a table of this size gets; for survival curves the size is rows × grid days.
    pub fn resamples_for(&self, size: usize) -> usize {
        let affordable = (MAX_ROW_VISITS / size.max(1)).max(MIN_RESAMPLES);
        self.resamples.clamp(1, MAX_RESAMPLES).min(affordable)
    }
}

/// A number and the range it may lie in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// What was measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A metric with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured.
    pub metric: Metric,
    /// Its value on the rows.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Standard deviation over the resamples.
    pub standard_error: f64,
}

impl Measured {
    /// Value and range.
    pub fn interval(&self) -> Interval {
        Interval { value: self.value, low: self.low, high: self.high }
    }
}

/// Metrics of one model with their intervals, as stored in a bundle's `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Kind of outcome; files leave it out where it is binary.
    #[serde(default, skip_serializing_if = "OutcomeKind::is_binary")]
    pub kind: OutcomeKind,
    /// Rows measured.
    pub n_rows: usize,
    /// Of which positive: see [`Labelled::n_positives`].
    pub n_positives: usize,
    /// Groups, usually customers: what was resampled.
    pub n_groups: usize,
    /// Resamples drawn: fewer than [`Self::resamples_asked`] on tables of more than 400,000,000 / `resamples_asked` rows.
    pub resamples: usize,
    /// Resamples asked for.
    pub resamples_asked: usize,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Where the randomness came from.
    pub seed: u64,
    /// The metrics, in the order asked for; one that is not defined on these rows is absent.
    pub metrics: Vec<Measured>,
}

impl Evaluation {
    /// The metric, where it was asked for and is defined.
    pub fn get(&self, metric: Metric) -> Option<&Measured> {
        self.metrics.iter().find(|measured| measured.metric == metric)
    }

    /// Rows where it did not happen.
    pub fn n_negatives(&self) -> usize {
        self.n_rows.saturating_sub(self.n_positives)
    }
}

/// How much better a model is than another on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The metric compared.
    pub metric: Metric,
    /// New minus champion, turned so that above 0 the new one is better: `metric.higher_is_better()` as it stands, losses
    /// negated, and for metrics with a target the distance that the new model is nearer to it.
    pub value: f64,
    /// Lower end of the paired interval.
    pub low: f64,
    /// Upper end of the paired interval.
    pub high: f64,
    /// Standard deviation over the resamples.
    pub standard_error: f64,
}

/// Measures metrics with percentile intervals from a bootstrap over groups.
///
/// A metric is left out where it is undefined on the rows (as those of another kind are, see [`Metric::of_kind`]) or on more
/// than half of the resamples. Errors that average gaps over bins (`ece_10`, `decile_mape`, `survival_ece_…`) are an exception
/// to the percentiles: their resampled values lie too high, because noise never cancels in an absolute value, so both ends are
/// moved down by the bootstrap's estimate of that bias (mean of the resamples − value) and held at 0. The value itself overstates
/// the error of a well calibrated model for the same reason, and so does its interval: a ceiling on it errs on the safe side.
///
/// # Source
/// Efron and Tibshirani (1993), chapters 10 (bias) and 13 (percentiles); Field and Welsh (2007) for clusters; on the bias of
/// binned calibration errors Roelofs et al. (2022), "Mitigating bias in calibration error estimation".
pub fn evaluate(labelled: &Labelled, metrics: &[Metric], options: &BootstrapOptions) -> Evaluation {
    let plan = Plan::new(labelled, options);
    let gauge = Gauge::new(labelled);
    let values = gauge.measure_whole(metrics, labelled.n_groups());
    let replicates = plan.replicates(|weights| gauge.measure_resample(metrics, weights));
    let mut measured = plan.measured(metrics, &values, &replicates);
    for error in measured.iter_mut().filter(|measured| measured.metric.is_binned_gap()) {
        (error.low, error.high) = (error.low.max(0.0), error.high.max(0.0));
    }
    Evaluation {
        kind: labelled.kind(),
        metrics: measured,
        n_rows: labelled.n_rows(),
        n_positives: labelled.n_positives(),
        n_groups: labelled.n_groups(),
        resamples: plan.resamples,
        resamples_asked: options.resamples,
        confidence: plan.confidence,
        seed: options.seed,
    }
}

/// Measures the trivial baseline: the rate of positives, or the mean value, of the training rows as everybody's prediction.
///
/// For survival it is a curve, such as [`crate::kaplan_meier`] of the training rows: evaluate [`Labelled::with_constant`].
///
/// # Errors
/// [`EvalError`] when `base_rate` is not a probability, for values not finite, or the rows have survival curves of several days.
pub fn evaluate_base_rate(
    labelled: &Labelled,
    base_rate: f64,
    metrics: &[Metric],
    options: &BootstrapOptions,
) -> Result<Evaluation, EvalError> {
    Ok(evaluate(&labelled.with_constant(&[base_rate])?, metrics, options))
}

/// Measures how much better `new` is than `champion`, both on the same resamples of the same rows.
///
/// Intervals are percentiles; those of errors over bins are moved by the bias as in [`evaluate`]. A metric that is undefined for
/// either model, or on more than half of the resamples, is left out.
///
/// # Errors
/// [`EvalError::DifferentRows`] when outcomes, grid days or groups are not the same row by row.
pub fn compare(
    new: &Labelled,
    champion: &Labelled,
    metrics: &[Metric],
    options: &BootstrapOptions,
) -> Result<Vec<Difference>, EvalError> {
    if !new.same_rows(champion) {
        return Err(EvalError::DifferentRows);
    }
    let plan = Plan::new(new, options);
    let gauges = [new, champion].map(Gauge::new);
    let better_by = |sides: [Vec<Option<f64>>; 2]| -> Vec<Option<f64>> {
        let [news, champions] = sides;
        let differences = metrics.iter().zip(news.into_iter().zip(champions));
        differences.map(|(metric, (new, champion))| Some(metric.goodness(new?) - metric.goodness(champion?))).collect()
    };
    let values = better_by([0, 1].map(|side: usize| gauges[side].measure_whole(metrics, new.n_groups())));
    let replicates =
        plan.replicates(|weights| better_by([0, 1].map(|side: usize| gauges[side].measure_resample(metrics, weights))));
    let difference = |measured: Measured| {
        let Measured { metric, value, low, high, standard_error } = measured;
        Difference { metric, value, low, high, standard_error }
    };
    Ok(plan.measured(metrics, &values, &replicates).into_iter().map(difference).collect())
}

/// Options held within their bounds, for one table.
struct Plan {
    n_groups: usize,
    resamples: usize,
    confidence: f64,
    seed: u64,
}

impl Plan {
    fn new(labelled: &Labelled, options: &BootstrapOptions) -> Self {
        Self {
            n_groups: labelled.n_groups(),
            resamples: options.resamples_for(labelled.n_cells()),
            confidence: held_confidence(options.confidence),
            seed: options.seed,
        }
    }

    /// One vector of metrics per resample, in the order of resamples whatever the number of threads.
    fn replicates(&self, statistic: impl Fn(&[u32]) -> Vec<Option<f64>> + Sync + Send) -> Vec<Vec<Option<f64>>> {
        resample(self.n_groups, self.resamples, self.seed, statistic)
    }

    /// What the resamples say about each metric; those without an interval are left out.
    fn measured(&self, metrics: &[Metric], values: &[Option<f64>], replicates: &[Vec<Option<f64>>]) -> Vec<Measured> {
        let known = |(position, metric): (usize, &Metric)| {
            let replicates = replicates.iter().filter_map(|replicate| replicate[position]).collect();
            measured(*metric, values[position]?, replicates, self)
        };
        metrics.iter().enumerate().filter_map(known).collect()
    }
}

/// One value of a statistic per resample of whole groups, in the order of resamples whatever the number of threads.
///
/// The statistic gets how often each of the `n_groups` groups was drawn. `seed` and position alone decide a resample, so statistics
/// of the same groups and seed are paired.
pub fn resample<T: Send>(n_groups: usize, resamples: usize, seed: u64, statistic: impl Fn(&[u32]) -> T + Sync + Send) -> Vec<T> {
    let draw = |weights: &mut Vec<u32>, mut generator: Xoshiro256PlusPlus| {
        weights.fill(0);
        for _ in 0..n_groups {
            weights[generator.random_range(0..n_groups as u32) as usize] += 1;
        }
        statistic(weights)
    };
    generators(resamples, seed).into_par_iter().map_init(|| vec![0; n_groups], draw).collect()
}

/// The middle part of replicates that holds `confidence` of them, held within 0.5 and 0.9999; none without replicates.
pub fn percentile_interval(mut replicates: Vec<f64>, confidence: f64) -> Option<(f64, f64)> {
    replicates.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - held_confidence(confidence)) / 2.0;
    (!replicates.is_empty()).then(|| (quantile(&replicates, tail), quantile(&replicates, 1.0 - tail)))
}

/// One generator per resample, each 2¹²⁸ numbers further along the same sequence, so that none overlap.
fn generators(resamples: usize, seed: u64) -> Vec<Xoshiro256PlusPlus> {
    let further = |generator: &Xoshiro256PlusPlus| {
        let mut next = generator.clone();
        next.jump();
        Some(next)
    };
    std::iter::successors(Some(Xoshiro256PlusPlus::seed_from_u64(seed)), further).take(resamples).collect()
}

/// Percentiles and standard deviation of one metric's replicates; none where fewer than half of the resamples define it, or where
/// they are so far apart that their spread is not a number.
fn measured(metric: Metric, value: f64, mut replicates: Vec<f64>, plan: &Plan) -> Option<Measured> {
    if replicates.is_empty() || 2 * replicates.len() < plan.resamples {
        return None;
    }
    let n = replicates.len() as f64;
    let mean = replicates.iter().sum::<f64>() / n;
    let squares: f64 = replicates.iter().map(|replicate| (replicate - mean) * (replicate - mean)).sum();
    replicates.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - plan.confidence) / 2.0;
    let bias = if metric.is_binned_gap() { mean - value } else { 0.0 };
    let (low, high) = (quantile(&replicates, tail) - bias, quantile(&replicates, 1.0 - tail) - bias);
    let standard_error = (squares / (n - 1.0).max(1.0)).sqrt();
    standard_error.is_finite().then_some(Measured { metric, value, low, high, standard_error })
}

/// The quantile of sorted numbers, straight between neighbours as numpy's default; `sorted` is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = (place.floor() as usize).min(sorted.len() - 1);
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}
