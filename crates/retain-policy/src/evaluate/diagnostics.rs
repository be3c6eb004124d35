//! Whether the logged rows can say anything about the policy at all.

use serde::Serialize;

use super::estimator::{Rows, mean};
use super::log::Probabilities;

/// Fewer effective rows than this say next to nothing.
const FEW_EFFECTIVE_ROWS: f64 = 100.0;
/// The mean weight's distance from 1 in standard errors that chance hardly explains.
const FAR_FROM_ONE: f64 = 3.0;
const MUCH_UNSUPPORTED: f64 = 0.01;
const HEAVY_ROW: f64 = 0.05;

/// What the weights look like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnostics {
    /// Rows of the log.
    pub n_rows: usize,
    /// Customers of the log.
    pub n_customers: usize,
    /// As many equally weighted rows would say as much: `(Σ w)² / Σ w²`.
    pub effective_rows: f64,
    /// The largest weight.
    pub largest_weight: f64,
    /// The mean weight, which should be 1: another one says that logged probabilities are not those that were drawn with.
    pub mean_weight: f64,
    /// The chance of a mean weight this far from 1 if the probabilities are right; customers are independent, their rows are not.
    pub mean_weight_p_value: f64,
    /// The share of the policy's decisions for actions that the log never took.
    pub unsupported_share: f64,
    /// Actions that the policy takes and the log never took.
    pub unsupported_actions: usize,
}

impl Diagnostics {
    pub(super) fn new(rows: &Rows<'_>, policy: &Probabilities) -> Self {
        let log = rows.log;
        let (sum, squares) = rows.weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
        let z = mean_weight_z(rows);
        let (unsupported_share, unsupported_actions) = unsupported(rows, policy);
        Self {
            n_rows: log.n_rows(),
            n_customers: log.n_customers(),
            effective_rows: if squares > 0.0 { sum * sum / squares } else { 0.0 },
            largest_weight: rows.weights.iter().copied().fold(0.0, f64::max),
            mean_weight: sum / log.n_rows() as f64,
            mean_weight_p_value: libm::erfc(z.abs() / std::f64::consts::SQRT_2),
            unsupported_share,
            unsupported_actions,
        }
    }

    /// What a reader should know before believing a number, in sentences.
    pub(super) fn warnings(&self, has_propensities: bool) -> Vec<String> {
        if !has_propensities {
            return vec!["no logged probabilities: the estimate is the reward model's alone and as biased as it is".to_owned()];
        }
        let mut warnings = Vec::new();
        if self.effective_rows < FEW_EFFECTIVE_ROWS {
            warnings.push(format!("the weights leave only {:.0} effective rows of {}", self.effective_rows, self.n_rows));
        }
        if self.mean_weight_p_value < libm::erfc(FAR_FROM_ONE / std::f64::consts::SQRT_2) {
            let mean = self.mean_weight;
            warnings.push(format!("the mean weight is {mean:.3} and should be 1: the logged probabilities seem wrong"));
        }
        if self.unsupported_share > MUCH_UNSUPPORTED {
            let (percent, n) = (100.0 * self.unsupported_share, self.unsupported_actions);
            warnings.push(format!("{percent:.1} % of the policy's decisions are for {n} actions that the log never took"));
        }
        let share = self.largest_weight / (self.mean_weight * self.n_rows as f64);
        if share > HEAVY_ROW {
            warnings.push(format!("one row has {:.0} % of all weight", 100.0 * share));
        }
        warnings
    }
}

/// The mean weight's distance from 1 in clustered standard errors; 0 where weights do not vary.
fn mean_weight_z(rows: &Rows<'_>) -> f64 {
    let mean_weight = mean(&rows.weights);
    let mut of_customer = vec![0.0; rows.log.n_customers];
    for (weight, &customer) in rows.weights.iter().zip(&rows.log.customer) {
        of_customer[customer as usize] += weight - mean_weight;
    }
    let error = of_customer.iter().map(|sum| sum * sum).sum::<f64>().sqrt() / rows.weights.len() as f64;
    let distance = mean_weight - 1.0;
    if error > 0.0 {
        distance / error
    } else if distance.abs() < 1e-9 {
        0.0
    } else {
        f64::INFINITY
    }
}

fn unsupported(rows: &Rows<'_>, policy: &Probabilities) -> (f64, usize) {
    let n_actions = rows.log.n_actions;
    let mut taken = vec![false; n_actions];
    rows.log.action.iter().for_each(|&action| taken[action as usize] = true);
    let mut mass = vec![0.0; n_actions];
    for of_row in policy.values.chunks_exact(n_actions) {
        mass.iter_mut().zip(of_row).for_each(|(mass, probability)| *mass += probability);
    }
    let missing = mass.iter().zip(&taken).filter(|(mass, taken)| **mass > 0.0 && !**taken);
    let (sum, count) = missing.fold((0.0, 0), |(sum, count), (mass, _)| (sum + mass, count + 1));
    (sum / rows.log.n_rows() as f64, count)
}
