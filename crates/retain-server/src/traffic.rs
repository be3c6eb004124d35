//! Which customers the challenger answers, where a caller names no version.
//!
//! The first 8 bytes of the SHA-256 of `name/customer_id` in UTF-8, read as a big-endian number whose lowest 11 bits are dropped, over
//! 2⁵³: a position from 0 to 1, of which the share answered by the challenger is the lower end. Anybody can compute it:
//! `printf 'telco-churn/7590-VHVEG' | sha256sum`. It depends on nothing else, so every server and every version of a model chooses
//! alike, models choose independently of each other, and a customer who is the challenger's stays so while the share grows.

use std::collections::BTreeMap;

use retain_core::ModelName;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::ConfigError;

/// How calls are divided that ask for a model and not for a version of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// Share of every model's customers that its challenger answers, from 0 to 1, where there is a challenger. Default 0.
    pub challenger_share: f64,
    /// Other shares, by the model's name.
    pub challenger_shares: BTreeMap<String, f64>,
}

impl Traffic {
    /// The share of a model's customers that its challenger answers.
    pub(crate) fn share(&self, name: &ModelName) -> f64 {
        self.challenger_shares.get(name.as_str()).copied().unwrap_or(self.challenger_share)
    }

    /// Refuses what is no share, and what is no model's name.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with what was found.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (key, expected) = ("traffic.challenger_shares", "shares by the names of models, such as `telco-churn = 0.1`");
        for name in self.challenger_shares.keys() {
            ModelName::new(name).map_err(|error| ConfigError::Value { key, expected, found: error.to_string() })?;
        }
        let mut shares = self.challenger_shares.values().chain([&self.challenger_share]);
        match shares.find(|share| !(0.0..=1.0).contains(*share)) {
            None => Ok(()),
            Some(share) => {
                let (key, expected) = ("traffic.challenger_share", "a share from 0 to 1");
                Err(ConfigError::Value { key, expected, found: share.to_string() })
            }
        }
    }
}

/// Whether a customer is among the share of a model's customers. Nobody is the customer without a name.
pub(crate) fn is_among(share: f64, name: &ModelName, customer_id: &str) -> bool {
    share > 0.0 && !customer_id.is_empty() && position(name, customer_id) < share
}

fn position(name: &ModelName, customer_id: &str) -> f64 {
    let mut hash = Sha256::new();
    for part in [name.as_str(), "/", customer_id] {
        hash.update(part.as_bytes());
    }
    let first = hash.finalize().first_chunk::<8>().copied().unwrap_or_default();
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 20_000;

    fn ids() -> impl Iterator<Item = String> {
        (0..N).map(|number| format!("{number:05}-customer"))
    }

    fn share_of(share: f64, name: &str) -> Vec<bool> {
        let name = ModelName::new(name).unwrap();
        ids().map(|id| is_among(share, &name, &id)).collect()
    }

    fn n_true(list: &[bool]) -> f64 {
        list.iter().filter(|among| **among).count() as f64
    }

    #[test]
    fn the_position_is_the_one_that_is_documented() {
        // printf 'telco-churn/7590-VHVEG' | sha256sum
        let expected = (0xcec6_58a5_4472_cafa_u64 >> 11) as f64 / 2_f64.powi(53);
        assert_eq!(position(&ModelName::new("telco-churn").unwrap(), "7590-VHVEG"), expected);
    }

    #[test]
    fn the_share_is_kept_within_what_chance_allows() {
        for share in [0.01, 0.1, 0.5, 0.9] {
            for model in ["telco", "gym"] {
                // Five standard deviations of a binomial.
                let allowed = 5.0 * (N as f64 * share * (1.0 - share)).sqrt();
                let found = n_true(&share_of(share, model));
                assert!((found - N as f64 * share).abs() < allowed, "{model} {share}: {found}");
            }
        }
        assert_eq!((n_true(&share_of(0.0, "telco")), n_true(&share_of(1.0, "telco"))), (0.0, N as f64));
    }

    #[test]
    fn a_customer_stays_with_the_challenger_while_the_share_grows() {
        let mut before = vec![false; N];
        for share in [0.05, 0.1, 0.3, 0.8, 1.0] {
            let now = share_of(share, "telco");
            assert!(before.iter().zip(&now).all(|(before, now)| !before || *now), "{share}");
            before = now;
        }
    }

    #[test]
    fn models_choose_independently() {
        let (one, other) = (share_of(0.3, "telco"), share_of(0.3, "gym"));
        let both: Vec<bool> = one.iter().zip(&other).map(|(one, other)| *one && *other).collect();
        let expected = N as f64 * 0.09;
        assert!((n_true(&both) - expected).abs() < 5.0 * (expected * 0.91).sqrt(), "{}", n_true(&both));
    }

    #[test]
    fn nobody_is_nobodys_customer() {
        assert!(!is_among(1.0, &ModelName::new("telco").unwrap(), ""));
    }
}
