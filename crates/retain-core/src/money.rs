//! An amount of money with its currency, in whole minor units so that sums are exact.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in hundredths (or what else the currency counts in) of a currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The ISO 4217 code: three capital letters.
    currency: String,
    /// Whole minor units, such as cents; below 0 for what was paid back.
    minor_units: i64,
}

/// A text that is no currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("should be a currency of three capital letters such as `USD`, found `{found}`")]
pub struct CurrencyError {
    /// What was found, shortened.
    found: String,
}

impl Money {
    /// An amount of a currency.
    ///
    /// # Errors
    /// [`CurrencyError`] unless the currency is three capital letters.
    pub fn new(currency: &str, minor_units: i64) -> Result<Self, CurrencyError> {
        check_currency(currency)?;
        Ok(Self { currency: currency.to_owned(), minor_units })
    }

    /// The currency's code.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The amount in minor units.
    pub fn minor_units(&self) -> i64 {
        self.minor_units
    }

    /// The amount in major units: 12.5 for 1,250 cents, 1,250 for 1,250 yen.
    pub fn amount(&self) -> f64 {
        self.minor_units as f64 / 10_f64.powi(minor_digits(&self.currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = minor_digits(&self.currency) as usize;
        write!(f, "{:.digits$} {}", self.amount(), self.currency)
    }
}

/// Refuses what is not three capital letters.
///
/// # Errors
/// [`CurrencyError`].
pub fn check_currency(currency: &str) -> Result<(), CurrencyError> {
    if currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(CurrencyError { found: currency.chars().take(20).collect() })
    }
}

/// Digits behind the point, by ISO 4217.
fn minor_digits(currency: &str) -> i32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND" | "VUV" | "XAF"
        | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_the_currency() {
        assert_eq!(Money::new("USD", 1_250).unwrap().to_string(), "12.50 USD");
        assert_eq!(Money::new("JPY", 1_250).unwrap().to_string(), "1250 JPY");
        assert_eq!(Money::new("KWD", -1_250).unwrap().to_string(), "-1.250 KWD");
    }

    #[test]
    fn a_currency_is_three_capitals() {
        for bad in ["", "usd", "US", "USDT", "U$D"] {
            assert!(Money::new(bad, 1).is_err(), "{bad}");
        }
    }
}
