//! Buy-till-you-die models: what a customer will buy, told from dates and amounts of purchases alone.
//!
//! Customers buy at rates of their own until, unseen, they stop for good. [`PurchaseModel`] (BG/NBD or MBG/NBD) turns
//! the number of repeat purchases, the time of the last one and the customer's age into the purchases to expect; [`SpendModel`]
//! (Gamma-Gamma) turns the mean amount of repeat purchases into the amount of the next. Both are fitted by maximum likelihood,
//! and a fit that the data cannot carry comes with a [`Diagnosis`] instead of silently ending at infinity. [`ValueModel`] puts the
//! two together and is what `retain data transactions` saves and reads.
//!
//! The chance that a customer is still active is computed and not offered: it is one for everybody who bought once, however
//! long ago, and gets taken for a churn score. [`PurchaseModel::purchase_probability`] is the number to use.

mod diagnosis;
mod minimise;
mod purchases;
mod purchases_fit;
mod special;
mod spend;
mod value;

#[cfg(test)]
mod tests;

pub use diagnosis::{Diagnosis, Unidentified};
pub use purchases::{PurchaseHistory, PurchaseHistoryError, PurchaseModel, PurchaseModelKind};
pub use purchases_fit::{PurchaseFit, fit_purchases};
pub use spend::{SpendFit, SpendHistory, SpendModel, fit_spend};
pub use value::{BuyerHistory, Forecast, ValueFit, ValueModel, ValueModelError, fit_value};

/// Fewer repeat buyers say nothing about how customers differ.
pub const MIN_REPEAT_BUYERS: usize = 25;

/// A fit is believed when no parameter's standard error, on the logarithm, is larger: beyond, not even its order of magnitude is known.
const MAX_STANDARD_ERROR: f64 = 1.0;
/// Spreads of the log-normal priors tried in turn when the likelihood alone determines nothing; the first that does is kept.
const PRIOR_SPREADS: [f64; 3] = [4.0, 2.0, 1.0];

/// A quadratic penalty on log-parameters: a normal prior with this centre and spread, none where the spread is infinite.
#[derive(Debug, Clone, Copy)]
struct Prior<const N: usize> {
    centre: [f64; N],
    spread: f64,
}

impl<const N: usize> Prior<N> {
    fn none() -> Self {
        Self { centre: [0.0; N], spread: f64::INFINITY }
    }

    /// Adds the penalty, over `n` observations, to a mean negative log likelihood and its gradient.
    fn add(&self, at: &[f64; N], n: f64, (mut value, mut gradient): (f64, [f64; N])) -> (f64, [f64; N]) {
        for idx in 0..N {
            let distance = (at[idx] - self.centre[idx]) / self.spread;
            value += 0.5 * distance * distance / n;
            gradient[idx] += distance / (self.spread * n);
        }
        (value, gradient)
    }
}
