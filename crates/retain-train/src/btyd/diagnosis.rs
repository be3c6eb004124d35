//! What data cannot tell these models, by name.

use std::fmt;

/// Whose differences between customers the data do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unidentified {
    /// How often customers buy: `r` and `alpha`.
    PurchaseRate,
    /// How soon they stop: `a` and `b`.
    Dropout,
    /// How much they spend: `p`, `q` and `v`.
    Spend,
}

/// Why a model could not be fitted, or why its parameters deserve no trust on their own.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Diagnosis {
    /// Nobody bought on a second day. Nothing is fitted.
    NoRepeatPurchase {
        /// Customers in the data.
        n_customers: usize,
    },
    /// Too few customers bought on a second day. Nothing is fitted.
    TooFewRepeatBuyers {
        /// Customers with a repeat purchase.
        found: usize,
        /// [`crate::btyd::MIN_REPEAT_BUYERS`].
        needed: usize,
    },
    /// Customers who never stop explain the data as well: `a` runs to zero. The fit has a weak prior.
    DropoutNotIdentified {
        /// Log likelihood gained by letting customers stop; under 1.92 it is not worth its two parameters.
        gain: f64,
        /// The `a` that maximum likelihood alone ended at.
        a: f64,
        /// The `b` that maximum likelihood alone ended at.
        b: f64,
    },
    /// Some parameters may be any multiple of what they are. The fit has a weak prior.
    HeterogeneityNotIdentified {
        /// Which of them.
        of: Unidentified,
        /// The largest standard error among their logarithms; infinite where the likelihood is flat.
        standard_error: f64,
    },
    /// Those who buy often spend other amounts than those who do not, and the model takes the two as unrelated. The fit stands.
    SpendCorrelatedWithFrequency {
        /// Spearman's rank correlation over repeat buyers.
        correlation: f64,
    },
    /// Amounts differ so much that the mean over customers is infinite: `q` is not above one. It is held at two, the others are fitted.
    InfiniteMeanSpend {
        /// The `q` of maximum likelihood.
        q: f64,
    },
}

impl Diagnosis {
    /// A fixed name for programs, such as `dropout_not_identified`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRepeatPurchase { .. } => "no_repeat_purchase",
            Self::TooFewRepeatBuyers { .. } => "too_few_repeat_buyers",
            Self::DropoutNotIdentified { .. } => "dropout_not_identified",
            Self::HeterogeneityNotIdentified { .. } => "heterogeneity_not_identified",
            Self::SpendCorrelatedWithFrequency { .. } => "spend_correlated_with_frequency",
            Self::InfiniteMeanSpend { .. } => "infinite_mean_spend",
        }
    }
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PurchaseRate => "how often they buy (r, alpha)",
            Self::Dropout => "how soon they stop (a, b)",
            Self::Spend => "how much they spend (p, q, v)",
        })
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRepeatPurchase { n_customers } => {
                write!(f, "none of {n_customers} customers bought on a second day: there is no repeat purchase to learn from")
            }
            Self::TooFewRepeatBuyers { found, needed } => {
                write!(f, "{found} customers bought on a second day, at least {needed} are needed")
            }
            Self::DropoutNotIdentified { gain, a, b } => write!(
                f,
                "the data do not show customers stopping for good: letting them stop gains {gain:.2} of log likelihood, less than \
                 1.92 (maximum likelihood ends at a = {a:.2e}, b = {b:.2e}); the fit has a weak prior, read its counts and not its a and b"
            ),
            Self::HeterogeneityNotIdentified { of, standard_error } => write!(
                f,
                "the data do not tell how customers differ in {of}: a standard error of {standard_error:.1} on the logarithm, expected at \
                 most 1; the fit has a weak prior"
            ),
            Self::SpendCorrelatedWithFrequency { correlation } => write!(
                f,
                "amount and number of purchases go together (rank correlation {correlation:+.2}), and the model takes them as \
                 unrelated: `expected_value` will be off for frequent buyers"
            ),
            Self::InfiniteMeanSpend { q } => write!(
                f,
                "a few amounts outweigh all others: maximum likelihood ends at q = {q:.3}, where the mean spend is infinite; q is held at 2"
            ),
        }
    }
}
