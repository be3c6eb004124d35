//! Fits BG/NBD and MBG/NBD by maximum likelihood, and says when the data cannot carry them.

use rayon::prelude::*;

use super::minimise::{Minimum, minimise};
use super::purchases::{PurchaseHistory, PurchaseModel, PurchaseModelKind};
use super::special::{ln_rising, ln_rising_slope};
use super::{Diagnosis, MAX_STANDARD_ERROR, MIN_REPEAT_BUYERS, PRIOR_SPREADS, Prior, Unidentified};

/// Half the 95 % quantile of χ² with one degree of freedom: a likelihood ratio that chance seldom exceeds.
const WORTH_A_PARAMETER: f64 = 1.92;
/// Rows of one piece of work; fixed, so that sums do not depend on the number of threads.
const CHUNK_ROWS: usize = 2048;
/// Where the search starts and what the prior leans to: `r` and `alpha` of one (in units of the mean age), one purchase in four the last.
const TYPICAL: [f64; 4] = [0.0, 0.0, 0.0, 1.098_612_288_668_109_8];

/// A fitted model and how far to trust it.
#[derive(Debug, Clone, PartialEq)]
pub struct PurchaseFit {
    /// The model, in the unit of time of the histories.
    pub model: PurchaseModel,
    /// Log likelihood of all customers, without any prior.
    pub log_likelihood: f64,
    /// Customers.
    pub n_customers: usize,
    /// Customers with a repeat purchase.
    pub n_repeat_buyers: usize,
    /// Repeat purchases of all of them.
    pub n_repeats: u64,
    /// Spread of the log-normal prior; none where maximum likelihood sufficed.
    pub prior_spread: Option<f64>,
    /// What is wrong, if anything.
    pub diagnosis: Option<Diagnosis>,
}

/// Equal histories counted once, in scaled time.
struct Sample {
    rows: Vec<(PurchaseHistory, f64)>,
    n_customers: usize,
    /// Mean age, the scaled unit of time.
    unit: f64,
}

/// Fits the model of this kind to customers in one unit of time, which need not be days.
///
/// # Errors
/// [`Diagnosis::NoRepeatPurchase`] and [`Diagnosis::TooFewRepeatBuyers`]; any other diagnosis comes with a fit that has a weak prior.
pub fn fit_purchases(kind: PurchaseModelKind, histories: &[PurchaseHistory]) -> Result<PurchaseFit, Diagnosis> {
    let n_repeat_buyers = histories.iter().filter(|history| history.n_repeats() > 0).count();
    if n_repeat_buyers == 0 {
        return Err(Diagnosis::NoRepeatPurchase { n_customers: histories.len() });
    }
    if n_repeat_buyers < MIN_REPEAT_BUYERS {
        return Err(Diagnosis::TooFewRepeatBuyers { found: n_repeat_buyers, needed: MIN_REPEAT_BUYERS });
    }
    let sample = Sample::new(histories);
    let mut minimum = sample.fit(kind, &Prior::none(), TYPICAL);
    let diagnosis = sample.diagnose(&minimum);
    let mut prior_spread = None;
    if diagnosis.is_some() {
        for spread in PRIOR_SPREADS {
            minimum = sample.fit(kind, &Prior { centre: TYPICAL, spread }, TYPICAL);
            prior_spread = Some(spread);
            if largest(&minimum.standard_errors(sample.n())) <= MAX_STANDARD_ERROR {
                break;
            }
        }
    }
    let scaled = PurchaseModel::from_logarithms(kind, &minimum.at);
    Ok(PurchaseFit {
        model: PurchaseModel { alpha: scaled.alpha * sample.unit, ..scaled },
        log_likelihood: sample.log_likelihood(&scaled),
        n_customers: sample.n_customers,
        n_repeat_buyers,
        n_repeats: histories.iter().map(|history| u64::from(history.n_repeats())).sum(),
        prior_spread,
        diagnosis,
    })
}

impl Sample {
    fn new(histories: &[PurchaseHistory]) -> Self {
        let unit = histories.iter().map(PurchaseHistory::age).sum::<f64>() / histories.len() as f64;
        let mut scaled: Vec<PurchaseHistory> = histories.iter().map(|history| history.in_units_of(unit)).collect();
        scaled.sort_by(|x, y| {
            let by_count = x.n_repeats().cmp(&y.n_repeats());
            by_count.then(x.recency().total_cmp(&y.recency())).then(x.age().total_cmp(&y.age()))
        });
        let mut rows: Vec<(PurchaseHistory, f64)> = Vec::new();
        for history in scaled {
            match rows.last_mut() {
                Some((last, weight)) if *last == history => *weight += 1.0,
                _ => rows.push((history, 1.0)),
            }
        }
        Self { rows, n_customers: histories.len(), unit }
    }

    fn n(&self) -> f64 {
        self.n_customers as f64
    }

    fn fit(&self, kind: PurchaseModelKind, prior: &Prior<4>, start: [f64; 4]) -> Minimum<4> {
        let function = |at: &[f64; 4]| {
            let model = PurchaseModel::from_logarithms(kind, at);
            prior.add(at, self.n(), self.mean_loss(|history| model.log_likelihood(history)))
        };
        minimise(function, start)
    }

    /// Mean negative log likelihood and its gradient.
    fn mean_loss<const N: usize>(&self, log_likelihood: impl Fn(&PurchaseHistory) -> (f64, [f64; N]) + Sync) -> (f64, [f64; N]) {
        let add = |(mut value, mut gradient): (f64, [f64; N]), (history, weight): &(PurchaseHistory, f64)| {
            let (one, slopes) = log_likelihood(history);
            value -= weight * one;
            gradient.iter_mut().zip(slopes).for_each(|(total, slope)| *total -= weight * slope);
            (value, gradient)
        };
        let chunks = self.rows.par_chunks(CHUNK_ROWS);
        let parts: Vec<_> = chunks.map(|rows| rows.iter().fold((0.0, [0.0; N]), add)).collect();
        let (value, gradient) = parts.into_iter().fold((0.0, [0.0; N]), |(value, mut gradient), (part, slopes)| {
            gradient.iter_mut().zip(slopes).for_each(|(total, slope)| *total += slope);
            (value + part, gradient)
        });
        (value / self.n(), gradient.map(|total| total / self.n()))
    }

    /// In the unit of time of the caller: a density per unit of time is smaller the shorter the unit.
    fn log_likelihood(&self, scaled: &PurchaseModel) -> f64 {
        let n_purchases: f64 = self.rows.iter().map(|(history, weight)| weight * f64::from(history.n_repeats())).sum();
        -self.n() * self.mean_loss(|history| scaled.log_likelihood(history)).0 - n_purchases * libm::log(self.unit)
    }

    fn diagnose(&self, minimum: &Minimum<4>) -> Option<Diagnosis> {
        let [r, alpha, a, b] = minimum.standard_errors(self.n());
        // Written so that an error that is no number is a bad one.
        let known = |errors: [f64; 2]| errors.iter().all(|error| *error <= MAX_STANDARD_ERROR);
        if !known([a, b]) {
            let without_dropout = minimise(|at: &[f64; 2]| self.mean_loss(|history| without_dropout(at, history)), [0.0; 2]);
            let gain = self.n() * (without_dropout.value - minimum.value);
            if gain < WORTH_A_PARAMETER {
                let gain = gain.max(0.0);
                return Some(Diagnosis::DropoutNotIdentified { gain, a: libm::exp(minimum.at[2]), b: libm::exp(minimum.at[3]) });
            }
            return Some(Diagnosis::HeterogeneityNotIdentified { of: Unidentified::Dropout, standard_error: a.max(b) });
        }
        let of = Unidentified::PurchaseRate;
        (!known([r, alpha])).then(|| Diagnosis::HeterogeneityNotIdentified { of, standard_error: r.max(alpha) })
    }
}

/// The negative binomial model: customers who never stop. Log likelihood and gradient by the logarithms of `r` and `alpha`.
fn without_dropout(at: &[f64; 2], history: &PurchaseHistory) -> (f64, [f64; 2]) {
    let [r, alpha] = at.map(libm::exp);
    let shape = r + f64::from(history.n_repeats());
    let ln_end = libm::log(alpha + history.age());
    let value = ln_rising(r, history.n_repeats()) + r * at[1] - shape * ln_end;
    let by_r = ln_rising_slope(r, history.n_repeats()) + at[1] - ln_end;
    (value, [by_r * r, r - shape * alpha / (alpha + history.age())])
}

fn largest(errors: &[f64; 4]) -> f64 {
    errors.iter().fold(0.0, |most: f64, error| most.max(*error))
}
