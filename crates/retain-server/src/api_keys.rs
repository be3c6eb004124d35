//! API keys, of which the server knows only the hashes.
//!
//! A key is sent as `authorization: Bearer KEY` or `x-api-key: KEY`. Keys are long and random, so a plain SHA-256 keeps them: there is
//! nothing to guess that a slow hash would protect. Several keys answer at once, so that one can be replaced without a gap.

use serde::Deserialize;

use crate::config::ConfigError;
use crate::gate::check_rate;

/// SHA-256 of nothing: what hashing an unset variable gives.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A key that may call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose it is: what the log says of admin calls.
    pub name: String,
    /// SHA-256 of the key's bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// What it may call. Default: predictions.
    #[serde(default = "predictions")]
    pub scopes: Vec<Scope>,
    /// Calls a second that it may make, each message of a stream being one; twice as many at once after a rest. Default: as many as it likes.
    pub requests_per_second: Option<u32>,
}

/// A part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Predictions and explanations, and which models there are.
    Predict,
    /// Recommendations and their outcomes.
    Decide,
    /// What changes which models answer.
    Admin,
}

fn predictions() -> Vec<Scope> {
    vec![Scope::Predict]
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Decide => "decide",
            Self::Admin => "admin",
        }
    }
}

impl ApiKey {
    /// The hash in bytes; none for what [`check_keys`] refuses.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(self.sha256.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(digest)
    }
}

/// Checks the keys of a server file.
///
/// # Errors
/// [`ConfigError::Value`] names what is wrong with the first of them that cannot be.
pub(crate) fn check_keys(keys: &[ApiKey]) -> Result<(), ConfigError> {
    let wrong = |key, expected, found: &str| Err(ConfigError::Value { key, expected, found: found.to_owned() });
    for (position, key) in keys.iter().enumerate() {
        let is_hash = key.sha256.len() == 64 && key.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if key.name.trim().is_empty() {
            return wrong("api_keys.name", "the name of who has the key", &key.name);
        }
        if !is_hash {
            return wrong("api_keys.sha256", "the SHA-256 of the key, 64 digits in lower-case hexadecimal", &key.sha256);
        }
        if key.sha256 == HASH_OF_NOTHING {
            return wrong("api_keys.sha256", "the SHA-256 of a key, not of an empty text", &key.name);
        }
        if keys[..position].iter().any(|before| before.sha256 == key.sha256) {
            return wrong("api_keys.sha256", "another key's for each entry", &key.name);
        }
        check_rate("api_keys.requests_per_second", key.requests_per_second)?;
        if key.scopes.is_empty() {
            return wrong("api_keys.scopes", "at least one of `predict`, `decide` and `admin`", &key.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, secret: &str, scopes: &[Scope]) -> ApiKey {
        ApiKey {
            name: name.to_owned(),
            sha256: retain_score::sha256(secret.as_bytes()),
            scopes: scopes.to_vec(),
            requests_per_second: None,
        }
    }

    #[test]
    fn keys_that_cannot_be_are_refused() {
        let good = key("shop", "s3cret", &[Scope::Predict]);
        assert!(check_keys(&[good.clone(), key("shop", "next", &[Scope::Predict])]).is_ok());
        for wrong in [
            vec![good.clone(), good.clone()],
            vec![ApiKey { name: " ".to_owned(), ..good.clone() }],
            vec![ApiKey { sha256: "s3cret".to_owned(), ..good.clone() }],
            vec![ApiKey { sha256: good.sha256.to_uppercase(), ..good.clone() }],
            vec![key("shop", "", &[Scope::Predict])],
            vec![key("shop", "s3cret", &[])],
            vec![ApiKey { requests_per_second: Some(0), ..good.clone() }],
        ] {
            assert!(check_keys(&wrong).is_err(), "{wrong:?}");
        }
    }
}
