//! Gamma-Gamma: how much a customer spends on a purchase, from the mean of those seen and the mean of everybody.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::minimise::{Minimum, minimise};
use super::special::digamma;
use super::{Diagnosis, MAX_STANDARD_ERROR, MIN_REPEAT_BUYERS, PRIOR_SPREADS, Prior, Unidentified};

const CHUNK_ROWS: usize = 2048;
/// The `q` taken where the data ask for an infinite mean: the least with which the mean spend is finite and half the weight of a purchase.
const HELD_Q: f64 = 2.0;
/// Above this the likelihood's own `q` is kept.
const LEAST_Q: f64 = 1.0;
/// Rank correlations beyond are told of.
const MAX_CORRELATION: f64 = 0.3;

/// A repeat buyer's purchases: how many had an amount, and their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpendHistory {
    n_purchases: u32,
    mean: f64,
}

impl SpendHistory {
    /// None unless there is a purchase and the mean is finite and above zero: the model has no other.
    pub fn new(n_purchases: u32, mean: f64) -> Option<Self> {
        (n_purchases > 0 && mean.is_finite() && mean > 0.0).then_some(Self { n_purchases, mean })
    }
}

/// A fitted Gamma-Gamma model; `v` is in the currency of the amounts.
///
/// Amounts are Gamma(`p`, ν) and ν ~ Gamma(`q`, `v`) over customers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendModel {
    /// Shape of one customer's amounts; the larger, the more alike they are.
    pub p: f64,
    /// Shape over customers; above one.
    pub q: f64,
    /// Scale over customers, an amount.
    pub v: f64,
}

impl SpendModel {
    /// Mean amount of the customer's purchases to come; without a history, the mean over customers.
    ///
    /// # Source
    /// Fader and Hardie (2013), equation 5.
    pub fn expected_spend(&self, history: Option<SpendHistory>) -> f64 {
        let (n, mean) = history.map_or((0.0, 0.0), |history| (f64::from(history.n_purchases), history.mean));
        self.p * (self.v + n * mean) / (self.p * n + self.q - 1.0)
    }

    /// Log likelihood of one customer's mean, and its gradient by the logarithms of `p`, `q`, `v`.
    ///
    /// # Source
    /// Fader and Hardie (2013), equation 1a.
    pub(super) fn log_likelihood(&self, history: &SpendHistory) -> (f64, [f64; 3]) {
        let Self { p, q, v } = *self;
        let (n, mean) = (f64::from(history.n_purchases), history.mean);
        let shape = p * n;
        let (ln_v, ln_total, ln_rest) = (libm::log(v), libm::log(n * mean), libm::log(v + n * mean));
        let value = libm::lgamma(shape + q) - libm::lgamma(shape) - libm::lgamma(q) + q * ln_v + shape * ln_total
            - libm::log(mean)
            - (shape + q) * ln_rest;
        let both = digamma(shape + q);
        let by_p = n * (both - digamma(shape) + ln_total - ln_rest);
        let by_q = both - digamma(q) + ln_v - ln_rest;
        (value, [by_p * p, by_q * q, q - (shape + q) * v / (v + n * mean)])
    }

    /// Whether all parameters are above zero and finite, and the mean spend too.
    pub(super) fn is_sound(&self) -> bool {
        [self.p, self.q - 1.0, self.v].iter().all(|value| value.is_finite() && *value > 0.0)
    }
}

/// A fitted model and how far to trust it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendFit {
    /// The model, in the currency of the amounts.
    pub model: SpendModel,
    /// Log likelihood of all repeat buyers, without any prior.
    pub log_likelihood: f64,
    /// Repeat buyers with an amount.
    pub n_repeat_buyers: usize,
    /// Spread of the log-normal prior; none where maximum likelihood sufficed.
    pub prior_spread: Option<f64>,
    /// What is wrong, if anything; it may be more than one thing.
    pub diagnoses: Vec<Diagnosis>,
}

/// Fits the model to repeat buyers.
///
/// # Errors
/// [`Diagnosis::TooFewRepeatBuyers`]; any other diagnosis comes with a fit.
pub fn fit_spend(histories: &[SpendHistory]) -> Result<SpendFit, Diagnosis> {
    if histories.len() < MIN_REPEAT_BUYERS {
        return Err(Diagnosis::TooFewRepeatBuyers { found: histories.len(), needed: MIN_REPEAT_BUYERS });
    }
    let unit = histories.iter().map(|history| history.mean).sum::<f64>() / histories.len() as f64;
    let scaled: Vec<SpendHistory> = histories.iter().map(|h| SpendHistory { mean: h.mean / unit, ..*h }).collect();
    let (model, prior_spread, mut diagnoses) = fit_scaled(&scaled);
    let correlation = rank_correlation(histories);
    if correlation.abs() > MAX_CORRELATION {
        diagnoses.push(Diagnosis::SpendCorrelatedWithFrequency { correlation });
    }
    let n = histories.len() as f64;
    let model_log_likelihood = -n * mean_loss(&scaled, |history| model.log_likelihood(history)).0;
    Ok(SpendFit {
        model: SpendModel { v: model.v * unit, ..model },
        log_likelihood: model_log_likelihood - n * libm::log(unit),
        n_repeat_buyers: histories.len(),
        prior_spread,
        diagnoses,
    })
}

fn fit_scaled(histories: &[SpendHistory]) -> (SpendModel, Option<f64>, Vec<Diagnosis>) {
    let n = histories.len() as f64;
    let mut minimum = fit_with(histories, &Prior::none());
    let (mut spread, mut diagnoses) = (None, Vec::new());
    if from_logarithms(&minimum.at).q <= LEAST_Q {
        diagnoses.push(Diagnosis::InfiniteMeanSpend { q: from_logarithms(&minimum.at).q });
        return (fit_with_held_q(histories), None, diagnoses);
    }
    let standard_error = largest(&minimum.standard_errors(n));
    if standard_error.is_nan() || standard_error > MAX_STANDARD_ERROR {
        diagnoses.push(Diagnosis::HeterogeneityNotIdentified { of: Unidentified::Spend, standard_error });
        for prior_spread in PRIOR_SPREADS {
            minimum = fit_with(histories, &Prior { centre: typical(), spread: prior_spread });
            spread = Some(prior_spread);
            if largest(&minimum.standard_errors(n)) <= MAX_STANDARD_ERROR {
                break;
            }
        }
    }
    let model = from_logarithms(&minimum.at);
    if model.q > LEAST_Q { (model, spread, diagnoses) } else { (fit_with_held_q(histories), None, diagnoses) }
}

/// Amounts vary by half their mean around a customer's own, and these by as much around everybody's (in units of the mean amount).
fn typical() -> [f64; 3] {
    [4.0, 4.0, 0.75].map(libm::log)
}

fn from_logarithms(at: &[f64; 3]) -> SpendModel {
    let [p, q, v] = at.map(libm::exp);
    SpendModel { p, q, v }
}

fn fit_with(histories: &[SpendHistory], prior: &Prior<3>) -> Minimum<3> {
    let n = histories.len() as f64;
    let function = |at: &[f64; 3]| {
        let model = from_logarithms(at);
        prior.add(at, n, mean_loss(histories, |history| model.log_likelihood(history)))
    };
    minimise(function, typical())
}

/// Fits `p` and `v` alone, with a prior that matters only where all amounts are alike.
fn fit_with_held_q(histories: &[SpendHistory]) -> SpendModel {
    let n = histories.len() as f64;
    let [p, _, v] = typical();
    let prior = Prior { centre: [p, v], spread: PRIOR_SPREADS[0] };
    let function = |at: &[f64; 2]| {
        let model = from_logarithms(&[at[0], libm::log(HELD_Q), at[1]]);
        let loss = mean_loss(histories, |history| {
            let (value, [by_p, _, by_v]) = model.log_likelihood(history);
            (value, [by_p, by_v])
        });
        prior.add(at, n, loss)
    };
    let [p, v] = minimise(function, prior.centre).at.map(libm::exp);
    SpendModel { p, q: HELD_Q, v }
}

/// Mean negative log likelihood and its gradient; summed in pieces of fixed size, so that threads do not change it.
fn mean_loss<const N: usize>(
    histories: &[SpendHistory],
    log_likelihood: impl Fn(&SpendHistory) -> (f64, [f64; N]) + Sync,
) -> (f64, [f64; N]) {
    let add = |(value, mut gradient): (f64, [f64; N]), history: &SpendHistory| {
        let (one, slopes) = log_likelihood(history);
        gradient.iter_mut().zip(slopes).for_each(|(total, slope)| *total -= slope);
        (value - one, gradient)
    };
    let parts: Vec<_> = histories.par_chunks(CHUNK_ROWS).map(|rows| rows.iter().fold((0.0, [0.0; N]), add)).collect();
    let (value, gradient) = parts.into_iter().fold((0.0, [0.0; N]), |(value, mut gradient), (part, slopes)| {
        gradient.iter_mut().zip(slopes).for_each(|(total, slope)| *total += slope);
        (value + part, gradient)
    });
    let n = histories.len() as f64;
    (value / n, gradient.map(|total| total / n))
}

fn largest(errors: &[f64; 3]) -> f64 {
    errors.iter().fold(0.0, |most: f64, error| most.max(*error))
}

/// Spearman's correlation of the number of purchases and their mean; zero where one of them never differs.
fn rank_correlation(histories: &[SpendHistory]) -> f64 {
    let counts = ranks(histories, |history| f64::from(history.n_purchases));
    let means = ranks(histories, |history| history.mean);
    let middle = f64::midpoint(histories.len() as f64, 1.0);
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let scale = libm::sqrt(product(&counts, &counts) * product(&means, &means));
    if scale > 0.0 { product(&counts, &means) / scale } else { 0.0 }
}

/// Ranks from 1, ties with the mean of theirs.
fn ranks(histories: &[SpendHistory], of: impl Fn(&SpendHistory) -> f64) -> Vec<f64> {
    let values: Vec<f64> = histories.iter().map(of).collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&x, &y| values[x].total_cmp(&values[y]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&x, &y| values[x] == values[y]) {
        let rank = start as f64 + f64::midpoint(group.len() as f64, 1.0);
        for &idx in group {
            ranks[idx] = rank;
        }
        start += group.len();
    }
    ranks
}
