//! BG/NBD and MBG/NBD: the likelihood of a customer's purchases, and what to expect next.
//!
//! A customer buys at rate λ ~ Gamma(`r`, `alpha`) and, after a purchase, stops for good with chance p ~ Beta(`a`, `b`). In the BG/NBD the
//! first purchase is no occasion to stop, so that everybody who bought once is active for ever; in the MBG/NBD it is.
//! Both are one formula in `m`, the number of occasions at which the customer went on: `n_repeats`, or one more.

use serde::{Deserialize, Serialize};

use super::special::{ln_rising, ln_rising_slope};

/// The series of expected purchases ends where what is left is a smaller part of it.
const SERIES_PRECISION: f64 = 1e-12;
/// Reached only where the horizon is some ten thousand times the time already observed.
const MAX_TERMS: u32 = 1 << 20;

/// Which purchases may be a customer's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurchaseModelKind {
    /// Repeat purchases (Fader, Hardie and Lee, 2005).
    BgNbd,
    /// The first one too (Batislam, Denizel and Filiztekin, 2007; Wagner and Hoppe, 2008).
    MbgNbd,
}

/// What these models know of a customer: one unit of time for both times, and the same for all customers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PurchaseHistory {
    n_repeats: u32,
    recency: f64,
    age: f64,
}

/// Numbers that no customer has.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{n_repeats} repeat purchases, the last {recency} after the first, of a customer of age {age}: expected 0 ≤ recency ≤ age, \
     and a recency above zero just where there are repeat purchases"
)]
pub struct PurchaseHistoryError {
    n_repeats: u32,
    recency: f64,
    age: f64,
}

impl PurchaseHistory {
    /// `n_repeats` purchases after the first, the last of them `recency` after it; the first was `age` ago.
    ///
    /// # Errors
    /// [`PurchaseHistoryError`] unless `0 ≤ recency ≤ age`, both finite, and `recency > 0` exactly where `n_repeats > 0`.
    pub fn new(n_repeats: u32, recency: f64, age: f64) -> Result<Self, PurchaseHistoryError> {
        let ordered = age.is_finite() && recency >= 0.0 && recency <= age;
        if ordered && (n_repeats > 0) == (recency > 0.0) {
            Ok(Self { n_repeats, recency, age })
        } else {
            Err(PurchaseHistoryError { n_repeats, recency, age })
        }
    }

    /// Purchases after the first.
    pub fn n_repeats(&self) -> u32 {
        self.n_repeats
    }

    /// Time from the first purchase to the last; zero without a repeat purchase.
    pub fn recency(&self) -> f64 {
        self.recency
    }

    /// Time since the first purchase.
    pub fn age(&self) -> f64 {
        self.age
    }

    /// The same customer in units that are `unit` times as long.
    pub(super) fn in_units_of(&self, unit: f64) -> Self {
        Self { n_repeats: self.n_repeats, recency: self.recency / unit, age: self.age / unit }
    }
}

/// A fitted BG/NBD or MBG/NBD; `alpha` is in the unit of time of the histories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchaseModel {
    /// Which of the two.
    pub kind: PurchaseModelKind,
    /// Shape of the purchase rates; the larger, the more alike customers are.
    pub r: f64,
    /// Rate parameter of the purchase rates, a time: their mean is `r / alpha`.
    pub alpha: f64,
    /// First parameter of the chances of stopping: their mean is `a / (a + b)`.
    pub a: f64,
    /// Second parameter of the chances of stopping.
    pub b: f64,
}

impl PurchaseModelKind {
    /// `bg-nbd` or `mbg-nbd`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BgNbd => "bg-nbd",
            Self::MbgNbd => "mbg-nbd",
        }
    }

    /// Occasions at which the customer could have stopped and did not, if active now.
    fn occasions(self, history: &PurchaseHistory) -> u32 {
        match self {
            Self::BgNbd => history.n_repeats,
            Self::MbgNbd => history.n_repeats + 1,
        }
    }
}

impl PurchaseModel {
    /// The model with these logarithms of `r`, `alpha`, `a`, `b`.
    pub(super) fn from_logarithms(kind: PurchaseModelKind, at: &[f64; 4]) -> Self {
        let [r, alpha, a, b] = at.map(libm::exp);
        Self { kind, r, alpha, a, b }
    }

    /// Log likelihood of one customer's purchases, and its gradient by the logarithms of `r`, `alpha`, `a`, `b`.
    ///
    /// # Source
    /// Fader, Hardie and Lee (2005), equation 6; with `m = n_repeats + 1` it is equation 8 of Batislam et al. (2007).
    pub(super) fn log_likelihood(&self, history: &PurchaseHistory) -> (f64, [f64; 4]) {
        let Self { r, alpha, a, b, kind } = *self;
        let (n, m) = (history.n_repeats, kind.occasions(history));
        let shape = r + f64::from(n);
        let (ln_active, ln_gone) = (libm::log(alpha + history.age), libm::log(alpha + history.recency));
        // The likelihoods of being active still and of having stopped differ by the odds; `gone` weighs them.
        let ln_odds = self.ln_odds_gone(history);
        let gone = logistic(ln_odds);
        let either = -shape * ln_active + ln_odds.max(0.0) + libm::log1p(libm::exp(-ln_odds.abs()));
        let value = ln_rising(r, n) + r * libm::log(alpha) + ln_rising(b, m) - ln_rising(a + b, m) + either;
        let by_r = ln_rising_slope(r, n) + libm::log(alpha) - (1.0 - gone) * ln_active - gone * ln_gone;
        let by_alpha = r / alpha - shape * ((1.0 - gone) / (alpha + history.age) + gone / (alpha + history.recency));
        let shared = -ln_rising_slope(a + b, m);
        let by_a = shared + gone / a;
        let by_b = shared + ln_rising_slope(b, m) - if m > 0 { gone / (b + f64::from(m) - 1.0) } else { 0.0 };
        (value, [by_r * r, by_alpha * alpha, by_a * a, by_b * b])
    }

    /// Logarithm of the odds that the customer has stopped for good.
    fn ln_odds_gone(&self, history: &PurchaseHistory) -> f64 {
        let m = self.kind.occasions(history);
        if m == 0 {
            return f64::NEG_INFINITY;
        }
        let shape = self.r + f64::from(history.n_repeats);
        let ln_ratio = libm::log(self.alpha + history.age) - libm::log(self.alpha + history.recency);
        libm::log(self.a) - libm::log(self.b + f64::from(m) - 1.0) + shape * ln_ratio
    }

    fn chance_active(&self, history: &PurchaseHistory) -> f64 {
        logistic(-self.ln_odds_gone(history))
    }

    /// Purchases to expect within `horizon`, in the unit of time of the history.
    ///
    /// Of the purchases an active customer would make if none could be the last, K ~ negative binomial, the one after j others happens with
    /// chance `E[(1 − p)^j]`; so the answer is the sum over j of `P(K > j) · E[(1 − p)^j]`. It equals the hypergeometric form of the
    /// paper, and has neither its cancellation nor its division by zero at `a = 1`.
    ///
    /// # Source
    /// Fader, Hardie and Lee (2005), equation 10.
    pub fn expected_purchases(&self, history: &PurchaseHistory, horizon: f64) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        self.chance_active(history) * self.expected_while_active(history, horizon)
    }

    fn expected_while_active(&self, history: &PurchaseHistory, horizon: f64) -> f64 {
        let occasions = f64::from(self.kind.occasions(history));
        let shape = self.r + f64::from(history.n_repeats);
        let z = horizon / (self.alpha + history.age + horizon);
        let ln_none = shape * libm::log1p(-z);
        // P(K > j) and ln P(K = j), which starts far below what an `f64` holds when many purchases are to be expected.
        let (mut more, mut ln_exactly) = (-libm::expm1(ln_none), ln_none);
        let (mut went_on, mut sum) = (1.0, 0.0);
        for j in 0..MAX_TERMS {
            let j = f64::from(j);
            let term = went_on * more;
            sum += term;
            let ratio = z * (shape + j) / (j + 1.0);
            if more <= f64::EPSILON || (ratio < 1.0 && term * ratio <= SERIES_PRECISION * sum * (1.0 - ratio)) {
                break;
            }
            ln_exactly += libm::log(ratio);
            more = (more - libm::exp(ln_exactly)).max(0.0);
            went_on *= (self.b + occasions + j) / (self.a + self.b + occasions + j);
        }
        sum
    }

    /// Chance of at least one purchase within `horizon`, in the unit of time of the history.
    ///
    /// Exact: nobody stops between purchases, so an active customer's next one only waits for the rate.
    pub fn purchase_probability(&self, history: &PurchaseHistory, horizon: f64) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        let shape = self.r + f64::from(history.n_repeats);
        let ln_none = -shape * libm::log1p(horizon / (self.alpha + history.age));
        self.chance_active(history) * -libm::expm1(ln_none)
    }

    /// Whether all parameters are above zero and finite.
    pub(super) fn is_sound(&self) -> bool {
        [self.r, self.alpha, self.a, self.b].iter().all(|value| value.is_finite() && *value > 0.0)
    }
}

fn logistic(ln_odds: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-ln_odds))
}
