//! What an experiment showed.

use retain_eval::{two_sided_z, wilson};
use serde::Serialize;

use super::distributions::{chi_square_p, t_quantile, t_two_sided_p};
use super::units::{ArmSummary, Arms, ExperimentRow, ReadError};

/// Arms whose sizes chance would hardly make so: whatever divided the customers did something else than planned.
const SAMPLE_RATIO_ALARM: f64 = 0.001;

/// How an experiment is read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOptions {
    /// The share of customers that each arm should have, the control first.
    pub shares: Vec<f64>,
    /// The chance of a verdict where there is no effect, for all arms together; intervals are for each arm alone.
    pub alpha: f64,
    /// The power that the detectable effect is stated for.
    pub power: f64,
}

impl ReadOptions {
    /// Arms of the same size, 5 % and 80 %.
    pub fn even(n_arms: usize) -> Self {
        Self { shares: vec![1.0 / n_arms as f64; n_arms], alpha: 0.05, power: 0.8 }
    }
}

/// How the difference and its interval were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Rates: Newcombe's interval from Wilson's of both arms, and the pooled z test.
    Newcombe,
    /// Amounts, or rows that repeat: Welch's t test over customers.
    Welch,
    /// The same after taking out what the covariate explains (CUPED).
    AdjustedWelch,
}

/// What an arm is against the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The outcome is higher than the control's.
    Better,
    /// It is lower.
    Worse,
    /// It could be either.
    Inconclusive,
}

/// One arm beside the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Position of the arm.
    pub arm: usize,
    /// Its mean less the control's, adjusted where there is a covariate.
    pub difference: f64,
    /// Lower end of the interval of this arm alone.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The chance of a difference this large where there is none.
    pub p_value: f64,
    /// The same, held against all arms by Holm's method; the verdict is from it.
    pub adjusted_p_value: f64,
    /// Whether outcomes are higher.
    pub verdict: Verdict,
    /// The effect that data of this spread and size show with the stated power, all arms considered.
    pub detectable_effect: f64,
}

/// Everything that came out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentReading {
    /// Each arm, the control first.
    pub arms: Vec<ArmSummary>,
    /// Each other arm beside the control.
    pub comparisons: Vec<Comparison>,
    /// How differences and intervals were found.
    pub method: Method,
    /// The chance of arm sizes this far from the planned shares.
    pub sample_ratio_p_value: f64,
}

impl ExperimentReading {
    /// Whether arms have other sizes than planned beyond chance: then customers were not divided by chance alone, and there
    /// is no verdict.
    pub fn has_sample_ratio_mismatch(&self) -> bool {
        self.sample_ratio_p_value < SAMPLE_RATIO_ALARM
    }
}

/// Compares every arm with the first.
///
/// Rows of one customer are added up first; means are per row, uncertainty is between customers.
///
/// # Errors
/// [`ReadError`] for rows that do not fit together, a customer in two arms, or an arm of fewer than two customers.
///
/// # Source
/// Newcombe (1998), method 10; Welch (1947); Deng, Xu, Kohavi and Walker (2013); Holm (1979).
pub fn read(rows: &[ExperimentRow], options: &ReadOptions) -> Result<ExperimentReading, ReadError> {
    check_options(options)?;
    let mut arms = Arms::new(rows, options.shares.len())?;
    let summaries = arms.summaries();
    let method = match (arms.has_covariate, arms.is_rate) {
        (true, _) => Method::AdjustedWelch,
        (false, true) => Method::Newcombe,
        (false, false) => Method::Welch,
    };
    if arms.has_covariate {
        arms.adjust();
    }
    let compare = |arm| if method == Method::Newcombe { newcombe(&summaries, arm, options) } else { welch(&arms, arm, options) };
    let mut comparisons: Vec<Comparison> = (1..summaries.len()).map(compare).collect();
    let mut reading = ExperimentReading {
        sample_ratio_p_value: sample_ratio(&summaries, &options.shares),
        arms: summaries,
        comparisons: Vec::new(),
        method,
    };
    holm(&mut comparisons);
    if !reading.has_sample_ratio_mismatch() {
        for comparison in &mut comparisons {
            comparison.verdict = verdict(comparison, options.alpha);
        }
    }
    reading.comparisons = comparisons;
    Ok(reading)
}

fn check_options(options: &ReadOptions) -> Result<(), ReadError> {
    let sum: f64 = options.shares.iter().sum();
    if options.shares.len() < 2 || !options.shares.iter().all(|share| *share > 0.0) || (sum - 1.0).abs() > 1e-9 {
        return Err(ReadError::Shares);
    }
    let level = |what, found: f64, low: f64, high: f64, expected| {
        if (low..=high).contains(&found) { Ok(()) } else { Err(ReadError::Level { what, expected, found }) }
    };
    level("alpha", options.alpha, 1e-9, 0.5, "between 1e-9 and 0.5")?;
    level("power", options.power, 0.5, 0.9999, "between 0.5 and 0.9999")
}

fn newcombe(arms: &[ArmSummary], arm: usize, options: &ReadOptions) -> Comparison {
    let (one, two) = (&arms[arm], &arms[0]);
    let (n1, n2) = (one.n_customers as f64, two.n_customers as f64);
    let ((l1, u1), (l2, u2)) = (wilson(one.mean, n1, 1.0 - options.alpha), wilson(two.mean, n2, 1.0 - options.alpha));
    let difference = one.mean - two.mean;
    let pooled = (one.mean * n1 + two.mean * n2) / (n1 + n2);
    let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    let p_value = if error > 0.0 { libm::erfc((difference / error).abs() / std::f64::consts::SQRT_2) } else { 1.0 };
    Comparison {
        low: difference - (one.mean - l1).hypot(u2 - two.mean),
        high: difference + (u1 - one.mean).hypot(two.mean - l2),
        ..undecided(arm, difference, p_value, error, arms.len(), options)
    }
}

fn welch(arms: &Arms, arm: usize, options: &ReadOptions) -> Comparison {
    let ((m1, v1), (m0, v0)) = (arms.moments(arm), arms.moments(0));
    let (n1, n0) = (arms.units[arm].len() as f64, arms.units[0].len() as f64);
    let (difference, variance) = (m1 - m0, v1 + v0);
    let error = variance.sqrt();
    let df = variance * variance / (v1 * v1 / (n1 - 1.0) + v0 * v0 / (n0 - 1.0));
    // Without any spread a difference is certain, and there are no degrees of freedom.
    let (p_value, margin) = if error > 0.0 {
        (t_two_sided_p(difference / error, df), t_quantile(1.0 - options.alpha, df) * error)
    } else {
        (if difference == 0.0 { 1.0 } else { 0.0 }, 0.0)
    };
    let comparison = undecided(arm, difference, p_value, error, arms.units.len(), options);
    Comparison { low: difference - margin, high: difference + margin, ..comparison }
}

/// A comparison without interval, adjustment and verdict yet.
fn undecided(arm: usize, difference: f64, p_value: f64, error: f64, n_arms: usize, options: &ReadOptions) -> Comparison {
    let z = two_sided_z(1.0 - options.alpha / (n_arms as f64 - 1.0)) + two_sided_z(2.0 * options.power - 1.0);
    Comparison {
        arm,
        difference,
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        p_value,
        adjusted_p_value: p_value,
        verdict: Verdict::Inconclusive,
        detectable_effect: z * error,
    }
}

/// The smallest of k chances times k, the next times k − 1, and so on, never below one before.
fn holm(comparisons: &mut [Comparison]) {
    let n = comparisons.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| comparisons[a].p_value.total_cmp(&comparisons[b].p_value));
    let mut largest: f64 = 0.0;
    for (rank, idx) in order.into_iter().enumerate() {
        largest = largest.max((comparisons[idx].p_value * (n - rank) as f64).min(1.0));
        comparisons[idx].adjusted_p_value = largest;
    }
}

fn verdict(comparison: &Comparison, alpha: f64) -> Verdict {
    match comparison.adjusted_p_value < alpha {
        true if comparison.difference > 0.0 => Verdict::Better,
        true if comparison.difference < 0.0 => Verdict::Worse,
        _ => Verdict::Inconclusive,
    }
}

/// Pearson's test of the customers in each arm against the planned shares.
fn sample_ratio(arms: &[ArmSummary], shares: &[f64]) -> f64 {
    let total: usize = arms.iter().map(|arm| arm.n_customers).sum();
    let excess = |(arm, share): (&ArmSummary, &f64)| {
        let expected = share * total as f64;
        (arm.n_customers as f64 - expected).powi(2) / expected
    };
    chi_square_p(arms.iter().zip(shares).map(excess).sum(), arms.len() as f64 - 1.0)
}
