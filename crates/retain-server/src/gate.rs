//! Who may call what, and how often: the door that every call goes through before anything of it is counted or read.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use retain_core::Day;
use ring::digest::{SHA256, digest};
use tonic::codegen::http::{HeaderMap, HeaderValue};

use crate::api_keys::Scope;
use crate::config::{Config, ConfigError};
use crate::jwt::{JwtError, Tokens, expired};
use crate::status::CallError;

/// Longest key or token that is looked at; longer ones are nobody's.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;
/// Most calls a second that a limit may allow; more is no limit.
const MAX_RATE: u32 = 1_000_000;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// What a call needs where callers are asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: probes have no keys.
    Open,
    /// Any key.
    AnyKey,
    /// A key with this scope.
    Scope(Scope),
}

/// Somebody who may call.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The name of the API key, or the subject of the token.
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) limit: Option<Limit>,
}

/// How often a caller may call.
#[derive(Debug)]
pub(crate) struct Limit(DefaultDirectRateLimiter);

/// A caller that was let in.
#[derive(Debug)]
pub(crate) enum Admitted<'g> {
    /// Nobody was asked.
    Anybody,
    /// The owner of a key.
    Key(&'g Arc<Caller>),
    /// The bearer of a token, and until when it is believed, in seconds since 1970-01-01 UTC.
    Token(Arc<Caller>, f64),
}

/// Somebody who opened a stream, which may stay open for longer than a token is believed.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    caller: Arc<Caller>,
    /// Seconds since 1970-01-01 UTC; keys have no end.
    ends: Option<f64>,
}

impl Guest {
    /// Whether the guest may go on at this moment.
    ///
    /// # Errors
    /// [`CallError::Unauthenticated`] once the token has ended.
    pub(crate) fn check(&self, now: Day) -> Result<(), CallError> {
        let seconds = now.days() * SECONDS_PER_DAY;
        if self.ends.is_some_and(|ends| seconds > ends) { Err(expired()) } else { Ok(()) }
    }

    /// Counts one call.
    ///
    /// # Errors
    /// As [`Caller::count_call`].
    pub(crate) fn count_call(&self) -> Result<(), CallError> {
        self.caller.count_call()
    }
}

/// The callers that are known.
#[derive(Debug)]
pub(crate) struct Gate {
    keys: Vec<([u8; 32], Arc<Caller>)>,
    tokens: Option<Tokens>,
}

/// Checks a limit of a server file.
///
/// # Errors
/// [`ConfigError::Value`] for a limit that lets nobody in, or everybody.
pub(crate) fn check_rate(key: &'static str, requests_per_second: Option<u32>) -> Result<(), ConfigError> {
    match requests_per_second {
        Some(rate) if !(1..=MAX_RATE).contains(&rate) => {
            Err(ConfigError::Value { key, expected: "a whole number from 1 to 1000000", found: rate.to_string() })
        }
        _ => Ok(()),
    }
}

impl Limit {
    /// So many calls a second, and twice as many at once after a rest.
    pub(crate) fn new(requests_per_second: u32) -> Option<Self> {
        let rate = NonZeroU32::new(requests_per_second)?;
        let burst = rate.saturating_add(requests_per_second);
        Some(Self(RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))))
    }
}

impl Caller {
    /// Counts one call.
    ///
    /// # Errors
    /// [`CallError::RateLimited`] says when the next one may come.
    pub(crate) fn count_call(&self) -> Result<(), CallError> {
        let Some(Limit(limit)) = &self.limit else { return Ok(()) };
        limit.check().map_err(|wait| {
            let retry_after = wait.wait_time_from(DefaultClock::default().now());
            // Sooner than a millisecond is not worth a timer.
            CallError::RateLimited { caller: self.name.clone(), retry_after: retry_after.max(Duration::from_millis(1)) }
        })
    }
}

impl Admitted<'_> {
    pub(crate) fn caller(&self) -> Option<&Arc<Caller>> {
        match self {
            Self::Anybody => None,
            Self::Key(caller) => Some(caller),
            Self::Token(caller, _) => Some(caller),
        }
    }

    /// Who opens a stream, where callers are asked who they are.
    pub(crate) fn guest(&self) -> Option<Guest> {
        let ends = if let Self::Token(_, ends) = self { Some(*ends) } else { None };
        self.caller().map(|caller| Guest { caller: caller.clone(), ends })
    }
}

impl Gate {
    /// Knows the callers of these settings.
    ///
    /// # Errors
    /// [`JwtError`] names the file of a token's key that cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, JwtError> {
        let keys = config.api_keys.iter().filter_map(|key| {
            let limit = key.requests_per_second.and_then(Limit::new);
            let caller = Caller { name: key.name.clone(), scopes: key.scopes.clone(), limit };
            Some((key.digest()?, Arc::new(caller)))
        });
        let tokens = config.jwt.clone().map(|jwt| Tokens::load(jwt, config.now)).transpose()?;
        Ok(Self { keys: keys.collect(), tokens })
    }

    /// Whether callers are asked who they are.
    pub(crate) fn is_guarded(&self) -> bool {
        !self.keys.is_empty() || self.tokens.is_some()
    }

    /// Reads the keys of tokens again; true where they have changed.
    ///
    /// # Errors
    /// As [`Gate::new`]; the keys before stay.
    pub(crate) fn reload(&self) -> Result<bool, JwtError> {
        self.tokens.as_ref().map_or(Ok(false), Tokens::reload)
    }

    /// Lets a call in, or says why not.
    ///
    /// # Errors
    /// [`CallError::Unauthenticated`] without a key or token that is known, [`CallError::Forbidden`] where it lacks the scope,
    /// [`CallError::RateLimited`] where it called too often.
    pub(crate) fn admit(&self, access: Access, headers: &HeaderMap) -> Result<Admitted<'_>, CallError> {
        if access == Access::Open || !self.is_guarded() {
            return Ok(Admitted::Anybody);
        }
        let admitted = self.recognise(headers)?;
        if let Some(caller) = admitted.caller() {
            if let Access::Scope(scope) = access
                && !caller.scopes.contains(&scope)
            {
                let description = format!("`{}` lacks the scope `{}`", caller.name, scope.name());
                return Err(CallError::Forbidden { description });
            }
            caller.count_call()?;
        }
        Ok(admitted)
    }

    fn recognise(&self, headers: &HeaderMap) -> Result<Admitted<'_>, CallError> {
        let refused = |reason, description: &str| CallError::Unauthenticated { reason, description: description.to_owned() };
        let Some(given) = credential(headers) else {
            let description = "send an API key or token as `authorization: Bearer KEY`, or an API key as `x-api-key: KEY`";
            return Err(refused("API_KEY_REQUIRED", description));
        };
        if given.len() > MAX_CREDENTIAL_BYTES {
            return Err(refused("API_KEY_UNKNOWN", "the API key or token is longer than any"));
        }
        if let Some(caller) = self.key(digest(&SHA256, given).as_ref()) {
            return Ok(Admitted::Key(caller));
        }
        match &self.tokens {
            Some(tokens) if is_token(given) => tokens.verify(given).map(|(caller, ends)| Admitted::Token(caller, ends)),
            _ => Err(refused("API_KEY_UNKNOWN", "the API key is not one of this server's")),
        }
    }

    /// The owner of the key of this hash. Every key is looked at to its end, so that the time tells nothing of the hashes.
    fn key(&self, hash: &[u8]) -> Option<&Arc<Caller>> {
        let mut found = None;
        for (known, caller) in &self.keys {
            let difference = known.iter().zip(hash).fold(0, |difference, (a, b)| difference | (a ^ b));
            if std::hint::black_box(difference) == 0 && hash.len() == known.len() {
                found = Some(caller);
            }
        }
        found
    }
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let of = |name| headers.get(name).map(HeaderValue::as_bytes);
    let bearer = of("authorization").and_then(|value| value.split_at_checked("Bearer ".len()));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")).map(|(_, key)| key);
    bearer.or_else(|| of("x-api-key")).map(<[u8]>::trim_ascii)
}

/// Whether this looks like a JSON web token: three parts between dots.
fn is_token(credential: &[u8]) -> bool {
    credential.split(|byte| *byte == b'.').count() == 3
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tonic::codegen::http::HeaderName;

    use super::*;
    use crate::api_keys::ApiKey;

    fn gate(keys: &[(&str, &str, &[Scope], Option<u32>)]) -> Gate {
        let mut config = Config::new(Path::new("models"), || Day::from_days(0.0));
        let key = |&(name, secret, scopes, requests_per_second): &(&str, &str, &[Scope], Option<u32>)| ApiKey {
            name: name.to_owned(),
            sha256: retain_score::sha256(secret.as_bytes()),
            scopes: scopes.to_vec(),
            requests_per_second,
        };
        config.api_keys = keys.iter().map(key).collect();
        Gate::new(&config).unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_key_opens_what_its_scopes_name() {
        let gate = gate(&[("shop", "s3cret", &[Scope::Predict], None), ("ops", "0ther", &[Scope::Admin], None)]);
        let pass = |access, headers: &HeaderMap| gate.admit(access, headers).is_ok();
        for shop in [
            headers("authorization", "Bearer s3cret"),
            headers("authorization", "bearer s3cret "),
            headers("x-api-key", "s3cret"),
        ] {
            assert!(pass(Access::Scope(Scope::Predict), &shop) && pass(Access::AnyKey, &shop) && pass(Access::Open, &shop));
            assert!(!pass(Access::Scope(Scope::Admin), &shop));
        }
        assert!(pass(Access::Scope(Scope::Admin), &headers("x-api-key", "0ther")));
        for wrong in ["", "s3cre", "s3crett", "S3CRET", "a.b.c", &"x".repeat(20_000)] {
            assert!(!pass(Access::AnyKey, &headers("x-api-key", wrong)), "{wrong}");
        }
        assert!(!pass(Access::AnyKey, &headers("authorization", "Basic s3cret")) && !pass(Access::AnyKey, &HeaderMap::new()));
        assert!(pass(Access::Open, &HeaderMap::new()));
    }

    #[test]
    fn a_stream_may_go_on_as_long_as_its_token_is_believed() {
        let caller = Arc::new(Caller { name: "shop".to_owned(), scopes: vec![Scope::Predict], limit: None });
        let by_token = Admitted::Token(caller.clone(), 2.0 * SECONDS_PER_DAY).guest().unwrap();
        assert!(by_token.check(Day::from_days(2.0)).is_ok());
        let Err(CallError::Unauthenticated { reason, .. }) = by_token.check(Day::from_days(2.001)) else { panic!("let in") };
        assert_eq!(reason, "TOKEN_EXPIRED");
        assert!(Admitted::Key(&caller).guest().unwrap().check(Day::from_days(9e6)).is_ok(), "keys have no end");
        assert!(Admitted::Anybody.guest().is_none());
    }

    #[test]
    fn without_keys_nobody_is_asked() {
        assert!(gate(&[]).admit(Access::Scope(Scope::Admin), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_limit_lets_a_burst_through_and_says_when_to_come_again() {
        let gate = gate(&[("shop", "s3cret", &[Scope::Predict], Some(1)), ("free", "0ther", &[Scope::Predict], None)]);
        let call = |key| gate.admit(Access::Scope(Scope::Predict), &headers("x-api-key", key)).map(drop);
        assert!(call("s3cret").is_ok() && call("s3cret").is_ok());
        let Err(CallError::RateLimited { retry_after, caller }) = call("s3cret") else { panic!("not limited") };
        assert!(retry_after <= Duration::from_secs(1) && caller == "shop");
        assert!((0..100).all(|_| call("0ther").is_ok()));
    }
}
