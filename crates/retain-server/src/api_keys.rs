//! Who may call what: API keys, of which the server knows only the hashes.
//!
//! A key is sent as `authorization: Bearer KEY` or `x-api-key: KEY`. Keys are long and random, so a plain SHA-256 keeps them: there is
//! nothing to guess that a slow hash would protect. Several keys answer at once, so that one can be replaced without a gap.

use serde::Deserialize;
use tonic::codegen::http::{HeaderMap, HeaderValue};

use crate::config::ConfigError;
use crate::status::CallError;

/// SHA-256 of nothing: what hashing an unset variable gives.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Longest key that is hashed; longer ones are nobody's.
const MAX_KEY_BYTES: usize = 1024;

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

/// What a call needs where there are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: probes have no keys.
    Open,
    /// Any key.
    AnyKey,
    /// A key with this scope.
    Scope(Scope),
}

fn predictions() -> Vec<Scope> {
    vec![Scope::Predict]
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Decide => "decide",
            Self::Admin => "admin",
        }
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
        if key.scopes.is_empty() {
            return wrong("api_keys.scopes", "at least one of `predict`, `decide` and `admin`", &key.name);
        }
    }
    Ok(())
}

/// Lets a call pass, with its key where one was asked for, or says why not.
///
/// # Errors
/// [`CallError::Unauthenticated`] without a key that is known, [`CallError::Forbidden`] where it lacks the scope.
pub(crate) fn authorize<'k>(keys: &'k [ApiKey], access: Access, headers: &HeaderMap) -> Result<Option<&'k ApiKey>, CallError> {
    if keys.is_empty() || access == Access::Open {
        return Ok(None);
    }
    let refused = |reason, description: &str| CallError::Unauthenticated { reason, description: description.to_owned() };
    let Some(given) = given_key(headers) else {
        let description = "send an API key as `authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(refused("API_KEY_REQUIRED", description));
    };
    let known = (given.len() <= MAX_KEY_BYTES).then(|| find(keys, &retain_score::sha256(given))).flatten();
    let key = known.ok_or_else(|| refused("API_KEY_UNKNOWN", "the API key is not one of this server's"))?;
    match access {
        Access::Scope(scope) if !key.scopes.contains(&scope) => {
            Err(CallError::Forbidden { description: format!("the API key `{}` lacks the scope `{}`", key.name, scope.name()) })
        }
        _ => Ok(Some(key)),
    }
}

fn given_key(headers: &HeaderMap) -> Option<&[u8]> {
    let of = |name| headers.get(name).map(HeaderValue::as_bytes);
    let bearer = of("authorization").and_then(|value| value.split_at_checked("Bearer ".len()));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")).map(|(_, key)| key);
    bearer.or_else(|| of("x-api-key")).map(<[u8]>::trim_ascii)
}

/// The key of this hash. Every key is looked at to its end, so that the time tells nothing of the hashes.
fn find<'k>(keys: &'k [ApiKey], hash: &str) -> Option<&'k ApiKey> {
    let mut found = None;
    for key in keys {
        let difference = key.sha256.bytes().zip(hash.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
        if std::hint::black_box(difference) == 0 && key.sha256.len() == hash.len() {
            found = Some(key);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, secret: &str, scopes: &[Scope]) -> ApiKey {
        ApiKey { name: name.to_owned(), sha256: retain_score::sha256(secret.as_bytes()), scopes: scopes.to_vec() }
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(tonic::codegen::http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_key_opens_what_its_scopes_name() {
        let keys = [key("shop", "s3cret", &[Scope::Predict]), key("ops", "0ther", &[Scope::Admin])];
        let pass = |access, headers: &HeaderMap| authorize(&keys, access, headers).is_ok();
        for shop in [
            headers("authorization", "Bearer s3cret"),
            headers("authorization", "bearer s3cret "),
            headers("x-api-key", "s3cret"),
        ] {
            assert!(pass(Access::Scope(Scope::Predict), &shop) && pass(Access::AnyKey, &shop) && pass(Access::Open, &shop));
            assert!(!pass(Access::Scope(Scope::Admin), &shop));
        }
        assert!(pass(Access::Scope(Scope::Admin), &headers("x-api-key", "0ther")));
        for wrong in ["", "s3cre", "s3crett", "S3CRET", &"x".repeat(2_000)] {
            assert!(!pass(Access::AnyKey, &headers("x-api-key", wrong)), "{wrong}");
        }
        assert!(!pass(Access::AnyKey, &headers("authorization", "Basic s3cret")) && !pass(Access::AnyKey, &HeaderMap::new()));
        assert!(pass(Access::Open, &HeaderMap::new()));
        assert!(authorize(&[], Access::Scope(Scope::Admin), &HeaderMap::new()).is_ok());
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
        ] {
            assert!(check_keys(&wrong).is_err(), "{wrong:?}");
        }
    }
}
