//! All estimates side by side, the one to trust, and whether the policy should replace the one that decided.

use retain_eval::{BootstrapOptions, percentile_interval, resample};
use serde::Serialize;

use super::bernstein::bernstein_margin;
use super::diagnostics::Diagnostics;
use super::estimator::{Contributions, Estimator, Rows, mean};
use super::log::{EvaluateError, Log, Probabilities};
use super::reward::RewardModel;
use super::tuning::{all, direct_bias};

/// A number with an interval around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The number.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What one estimator says of the policy, per row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Which estimator, with its tuned parameter.
    pub estimator: Estimator,
    /// The value with a bootstrap interval over customers. A built-in reward model is fitted anew on each resample; a given one is
    /// taken as it is, and tuned parameters are.
    pub range: Range,
    /// The standard deviation over the resamples.
    pub standard_error: f64,
    /// An interval that needs no approximation if no reward and no weight is larger than those logged; absent where the estimate is
    /// self-normalised, because that is no mean.
    pub bernstein: Option<Range>,
    /// The direct estimate of the bias; absent without logged probabilities.
    pub bias: Option<f64>,
    /// The estimated mean squared error that estimators are chosen by.
    pub squared_error: f64,
}

/// What is known of a policy from a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OffPolicyReport {
    /// Every estimator that the log allows.
    pub estimates: Vec<Estimate>,
    /// The position of the one of least estimated squared error among those with a reward model; the first of equal ones.
    ///
    /// Those that only weight rewards are there to compare: a model takes part of the noise out of what is weighted. The chosen one's bias estimate is its distance from the doubly robust value, so the choice does not go much further from that than the noise it saves. Without logged probabilities it is the direct method, of whose bias nothing is known.
    pub chosen: usize,
    /// What the policy that decided earned per row.
    pub on_policy: Range,
    /// The doubly robust value less what was earned, on the same resamples; absent without logged probabilities.
    pub gain: Option<Range>,
    /// What the weights look like.
    pub diagnostics: Diagnostics,
    /// What to know before believing the numbers, in sentences.
    pub warnings: Vec<String>,
}

impl OffPolicyReport {
    /// The estimate to trust.
    pub fn chosen(&self) -> &Estimate {
        &self.estimates[self.chosen]
    }

    /// Whether the policy is better than the one that decided by more than `margin` per row: the lower end of [`Self::gain`] is
    /// above it. Never without logged probabilities, and never where the diagnostics warn.
    pub fn promotes(&self, margin: f64) -> bool {
        self.warnings.is_empty() && self.gain.is_some_and(|gain| gain.low > margin)
    }
}

/// Estimates what a policy would have earned per row of a log.
///
/// # Errors
/// [`EvaluateError`] when the numbers do not fit together.
pub fn evaluate(
    log: &Log,
    policy: &Probabilities,
    model: &RewardModel,
    options: &BootstrapOptions,
) -> Result<OffPolicyReport, EvaluateError> {
    let rewards = model.rewards(log, None)?;
    let rows = Rows::new(log, policy, &rewards)?;
    let diagnostics = Diagnostics::new(&rows, policy);
    let estimators = all(&rows);
    let resamples = Resamples::draw(&rows, &estimators, policy, model, options)?;
    let estimate = |(idx, &estimator)| resamples.estimate(idx, estimator, &rows);
    let estimates: Vec<Estimate> = estimators.iter().enumerate().map(estimate).collect();
    let eligible = estimates.iter().enumerate().filter(|(_, estimate)| estimate.estimator.has_model());
    let squared_errors = eligible.map(|(idx, estimate)| (idx, estimate.squared_error));
    let chosen = squared_errors.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(idx, _)| idx);
    Ok(OffPolicyReport {
        chosen,
        on_policy: resamples.on_policy(log),
        gain: resamples.gain(&estimates, log),
        warnings: diagnostics.warnings(log.propensity.is_some()),
        diagnostics,
        estimates,
    })
}

/// Every estimate on every resample of customers.
struct Resamples {
    /// By estimator, then by resample.
    values: Vec<Vec<f64>>,
    on_policy: Vec<f64>,
    confidence: f64,
}

impl Resamples {
    /// A model of ours is fitted anew on each resample: what it does not know is part of what an estimate does not know.
    fn draw(
        rows: &Rows<'_>,
        estimators: &[Estimator],
        policy: &Probabilities,
        model: &RewardModel,
        options: &BootstrapOptions,
    ) -> Result<Self, EvaluateError> {
        let log = rows.log;
        let refits = !matches!(model, RewardModel::Given(_));
        let fixed: Vec<Contributions> = estimators.iter().map(|estimator| estimator.contributions(rows)).collect();
        let one = |counts: &[u32]| -> Result<(Vec<f64>, f64), EvaluateError> {
            let reward = resampled_mean(&log.reward, log, counts);
            if !refits {
                return Ok((fixed.iter().map(|contributions| contributions.resampled(log, counts)).collect(), reward));
            }
            let rewards = model.rewards(log, Some(counts))?;
            let rows = Rows::new(log, policy, &rewards)?;
            let value = |estimator: &Estimator| estimator.contributions(&rows).resampled(log, counts);
            Ok((estimators.iter().map(value).collect(), reward))
        };
        let n = options.resamples_for(if refits { policy.values.len() } else { log.n_rows() });
        let drawn: Result<Vec<_>, _> = resample(log.n_customers, n, options.seed, one).into_iter().collect();
        let drawn = drawn?;
        Ok(Self {
            values: (0..estimators.len()).map(|idx| drawn.iter().map(|(values, _)| values[idx]).collect()).collect(),
            on_policy: drawn.iter().map(|(_, reward)| *reward).collect(),
            confidence: options.confidence,
        })
    }

    fn estimate(&self, idx: usize, estimator: Estimator, rows: &Rows<'_>) -> Estimate {
        let contributions = estimator.contributions(rows);
        let bias = rows.log.propensity.is_some().then(|| direct_bias(estimator, rows));
        let standard_error = standard_deviation(&self.values[idx]);
        Estimate {
            estimator,
            range: self.range(contributions.value(), self.values[idx].clone()),
            standard_error,
            bernstein: (!estimator.is_self_normalized()).then(|| bernstein(&contributions, rows.log, self.confidence)),
            bias,
            squared_error: standard_error * standard_error + bias.map_or(0.0, |bias| bias * bias),
        }
    }

    fn on_policy(&self, log: &Log) -> Range {
        self.range(log.mean_reward(), self.on_policy.clone())
    }

    fn gain(&self, estimates: &[Estimate], log: &Log) -> Option<Range> {
        let idx = estimates.iter().position(|estimate| estimate.estimator == Estimator::DoublyRobust)?;
        let gains = self.values[idx].iter().zip(&self.on_policy).map(|(value, reward)| value - reward).collect();
        Some(self.range(estimates[idx].range.value - log.mean_reward(), gains))
    }

    fn range(&self, value: f64, replicates: Vec<f64>) -> Range {
        let (low, high) = percentile_interval(replicates, self.confidence).unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Range { value, low, high }
    }
}

fn resampled_mean(values: &[f64], log: &Log, counts: &[u32]) -> f64 {
    let counted = values.iter().zip(&log.customer).map(|(value, &customer)| (value, f64::from(counts[customer as usize])));
    let (sum, n) = counted.fold((0.0, 0.0), |(sum, n), (value, count)| (sum + count * value, n + count));
    sum / n
}

fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// Means over customers, whose rows are added up; the range is the widest that was seen.
fn bernstein(contributions: &Contributions, log: &Log, confidence: f64) -> Range {
    let mut of_customer = vec![0.0; log.n_customers];
    for (row, &customer) in log.customer.iter().enumerate() {
        of_customer[customer as usize] += contributions.baseline[row] + contributions.correction[row];
    }
    let rows_per_customer = log.n_rows() as f64 / log.n_customers as f64;
    for sum in &mut of_customer {
        *sum /= rows_per_customer;
    }
    let (low, high) = of_customer.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
    let margin = bernstein_margin(&of_customer, high - low, (1.0 - confidence) / 2.0);
    let value = mean(&of_customer);
    Range { value, low: value - margin, high: value + margin }
}
