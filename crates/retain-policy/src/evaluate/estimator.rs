//! The estimators, as what each row contributes to a mean.

use serde::Serialize;

use super::log::{EvaluateError, Log, Probabilities, check_length, check_numbers};

/// How an estimate is made from logged rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// What the reward model says of the policy's actions; as biased as the model.
    DirectMethod,
    /// Rewards weighted by how much more probable the action is under the policy.
    InverseProbability,
    /// The same with weights of at most this.
    ClippedInverseProbability(f64),
    /// The same, divided by the mean weight instead of 1.
    SelfNormalized,
    /// The reward model, corrected by the weighted rewards that it misses.
    DoublyRobust,
    /// The same with the correction divided by the mean weight.
    SelfNormalizedDoublyRobust,
    /// Doubly robust where the weight is at most this, the reward model elsewhere.
    SwitchDoublyRobust(f64),
    /// Doubly robust with weights `w` shrunk to `λ w / (w² + λ)`: 0 is the reward model, infinity is doubly robust.
    ShrunkDoublyRobust(f64),
}

impl Estimator {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::DirectMethod => "dm",
            Self::InverseProbability => "ips",
            Self::ClippedInverseProbability(_) => "clipped_ips",
            Self::SelfNormalized => "snips",
            Self::DoublyRobust => "dr",
            Self::SelfNormalizedDoublyRobust => "sndr",
            Self::SwitchDoublyRobust(_) => "switch_dr",
            Self::ShrunkDoublyRobust(_) => "dr_os",
        }
    }

    /// The largest weight, or λ; absent where there is nothing to choose.
    pub fn parameter(self) -> Option<f64> {
        match self {
            Self::ClippedInverseProbability(value) | Self::SwitchDoublyRobust(value) | Self::ShrunkDoublyRobust(value) => {
                Some(value)
            }
            Self::DirectMethod
            | Self::InverseProbability
            | Self::SelfNormalized
            | Self::DoublyRobust
            | Self::SelfNormalizedDoublyRobust => None,
        }
    }

    /// Whether the logged probabilities are needed.
    pub fn needs_propensities(self) -> bool {
        self != Self::DirectMethod
    }

    /// The weight that is used for a row of this weight.
    pub fn used_weight(self, weight: f64) -> f64 {
        match self {
            Self::InverseProbability
            | Self::SelfNormalized
            | Self::DoublyRobust
            | Self::SelfNormalizedDoublyRobust
            | Self::ShrunkDoublyRobust(f64::INFINITY) => weight,
            Self::ClippedInverseProbability(largest) => weight.min(largest),
            Self::SwitchDoublyRobust(largest) if weight <= largest => weight,
            // λ w / (w² + λ), written so that neither square nor product can leave the numbers.
            Self::ShrunkDoublyRobust(lambda) if lambda > 0.0 => weight / (weight * (weight / lambda) + 1.0),
            Self::DirectMethod | Self::SwitchDoublyRobust(_) | Self::ShrunkDoublyRobust(_) => 0.0,
        }
    }

    /// Whether the reward model is used.
    pub fn has_model(self) -> bool {
        !matches!(self, Self::InverseProbability | Self::ClippedInverseProbability(_) | Self::SelfNormalized)
    }

    pub(super) fn is_self_normalized(self) -> bool {
        matches!(self, Self::SelfNormalized | Self::SelfNormalizedDoublyRobust)
    }

    /// What each row contributes.
    pub fn contributions(self, rows: &Rows<'_>) -> Contributions {
        let n = rows.log.n_rows();
        let baseline = if self.has_model() { rows.direct.clone() } else { vec![0.0; n] };
        let known = |row: usize| if self.has_model() { rows.factual[row] } else { 0.0 };
        let correction = |row: usize| self.used_weight(rows.weights[row]) * (rows.log.reward[row] - known(row));
        Contributions {
            baseline,
            correction: (0..n).map(correction).collect(),
            weight: if self.is_self_normalized() { rows.weights.clone() } else { vec![1.0; n] },
        }
    }
}

/// A log beside a policy and a reward model: what all estimators start from.
pub struct Rows<'a> {
    pub(super) log: &'a Log,
    /// The policy's probability of the logged action divided by the logged one; 0 without logged probabilities.
    pub(super) weights: Vec<f64>,
    /// The reward model's value of the policy on each row.
    pub(super) direct: Vec<f64>,
    /// The reward model's value of the logged action.
    pub(super) factual: Vec<f64>,
}

impl<'a> Rows<'a> {
    /// Puts the three side by side; `rewards` has `n_rows × n_actions` values, row after row.
    ///
    /// # Errors
    /// [`EvaluateError`] when numbers do not fit together or a modelled reward is no number.
    pub fn new(log: &'a Log, policy: &Probabilities, rewards: &[f64]) -> Result<Self, EvaluateError> {
        let n_actions = log.n_actions;
        check_length("probability", log.n_rows() * n_actions, policy.values.len())?;
        check_length("modelled reward", log.n_rows() * n_actions, rewards.len())?;
        check_numbers("modelled reward", "a number between -1e100 and 1e100", rewards, |x| x.abs() <= 1e100)?;
        let of_action = |values: &[f64], row: usize| values[row * n_actions + log.action[row] as usize];
        let weight = |(row, propensity): (usize, &f64)| of_action(&policy.values, row) / propensity;
        let direct = |(row, rewards): (usize, &[f64])| {
            let probabilities = policy.row(row);
            let sum: f64 = probabilities.iter().zip(rewards).map(|(probability, reward)| probability * reward).sum();
            sum / probabilities.iter().sum::<f64>()
        };
        Ok(Self {
            log,
            weights: match &log.propensity {
                Some(propensity) => propensity.iter().enumerate().map(weight).collect(),
                None => vec![0.0; log.n_rows()],
            },
            direct: rewards.chunks_exact(n_actions).enumerate().map(direct).collect(),
            factual: (0..log.n_rows()).map(|row| of_action(rewards, row)).collect(),
        })
    }

    /// The importance weights.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }
}

/// What rows contribute: the estimate is `mean(baseline) + mean(correction) / mean(weight)`.
#[derive(Debug, Clone)]
pub struct Contributions {
    pub(super) baseline: Vec<f64>,
    pub(super) correction: Vec<f64>,
    pub(super) weight: Vec<f64>,
}

impl Contributions {
    /// The estimate.
    pub fn value(&self) -> f64 {
        mean(&self.baseline) + self.ratio()
    }

    /// The correction per weight; 0 where no row has any weight.
    fn ratio(&self) -> f64 {
        let weight = mean(&self.weight);
        if weight > 0.0 { mean(&self.correction) / weight } else { 0.0 }
    }

    /// The estimate where each customer counts this often.
    pub(super) fn resampled(&self, log: &Log, counts: &[u32]) -> f64 {
        let mut total = [0.0; 4];
        for (row, &customer) in log.customer.iter().enumerate() {
            let count = f64::from(counts[customer as usize]);
            let of_row = [1.0, self.baseline[row], self.correction[row], self.weight[row]];
            total.iter_mut().zip(of_row).for_each(|(total, term)| *total += count * term);
        }
        let [n, baseline, correction, weight] = total;
        baseline / n + if weight > 0.0 { correction / weight } else { 0.0 }
    }

    /// How far each row moves the estimate, times the number of rows; sums to 0.
    pub(super) fn influences(&self) -> Vec<f64> {
        let (baseline, ratio, weight) = (mean(&self.baseline), self.ratio(), mean(&self.weight));
        let per_weight = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let influence =
            |row: usize| self.baseline[row] - baseline + (self.correction[row] - ratio * self.weight[row]) * per_weight;
        (0..self.baseline.len()).map(influence).collect()
    }

    /// The variance of the estimate, customers being independent and their rows not.
    pub fn variance(&self, log: &Log) -> f64 {
        let mut of_customer = vec![0.0; log.n_customers];
        for (influence, &customer) in self.influences().iter().zip(&log.customer) {
            of_customer[customer as usize] += influence;
        }
        let squares: f64 = of_customer.iter().map(|influence| influence * influence).sum();
        squares / (log.n_rows() as f64 * log.n_rows() as f64)
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
