//! JSON web tokens (RFC 7519): signed by somebody that the server was told to believe, for a time, for us.
//!
//! The algorithm belongs to the key and not to the token, so that a token cannot choose how it is checked.

mod crypto;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use retain_core::Day;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::api_keys::Scope;
use crate::config::ConfigError;
use crate::gate::{Caller, Limit, check_rate};
use crate::status::CallError;
use crate::text::printable;

/// Largest file of a key that is read.
const MAX_KEY_BYTES: u64 = 64 << 10;
/// Shortest secret of HS256: shorter ones than the hash can be guessed (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Tokens that are remembered, so that each is verified once; those that ended make room first.
const MAX_REMEMBERED: usize = 4_096;
/// Most letters of a subject that are repeated.
const SUBJECT_CHARS: usize = 80;
const DEFAULT_LEEWAY_SECONDS: u64 = 30;

/// Whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to be, or have among its values.
    pub audience: String,
    /// Seconds that clocks may differ by, for `exp` and `nbf`. Default 30.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u64,
    /// Calls a second that one subject may make. Default: as many as it likes.
    pub requests_per_second: Option<u32>,
    /// The keys of the issuer; several while one is replaced by another.
    pub keys: Vec<JwtKey>,
}

/// A key that tokens are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    /// What `kid` of a token's header has to be; without it the key is tried for every token.
    pub id: Option<String>,
    /// How tokens are signed with it.
    pub algorithm: JwtAlgorithm,
    /// A public key in PEM (RS256, ES256), or the secret itself, at least 32 bytes (HS256).
    pub file: PathBuf,
}

/// The ways of signing that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSA, PKCS#1 1.5, with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

/// Why tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that holds something else than a key.
    #[error("`{path}` should hold {expected}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Checks tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    settings: Jwt,
    now: fn() -> Day,
    current: ArcSwap<Keys>,
    /// By the hash of the token: those that were verified with the current keys.
    remembered: Mutex<HashMap<[u8; 32], Verified>>,
    /// Limits stay with their subjects when these get new tokens.
    limited: Mutex<HashMap<String, Arc<Caller>>>,
}

struct Keys {
    /// The bytes of the files, to see whether they have changed.
    contents: Vec<Vec<u8>>,
    keys: Vec<(Option<String>, JwtAlgorithm, DecodingKey)>,
}

#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    ends: f64,
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: f64,
    nbf: Option<f64>,
    /// Words between spaces (RFC 8693), or a list.
    #[serde(default, alias = "scp")]
    scope: Option<Words>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    List(Vec<String>),
}

fn default_leeway() -> u64 {
    DEFAULT_LEEWAY_SECONDS
}

impl Jwt {
    /// Checks the settings of a server file.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names what is wrong.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, expected, found: &str| Err(ConfigError::Value { key, expected, found: found.to_owned() });
        if self.issuer.is_empty() {
            return wrong("jwt.issuer", "the `iss` of the tokens", "");
        }
        if self.audience.is_empty() {
            return wrong("jwt.audience", "the `aud` of the tokens", "");
        }
        if self.keys.is_empty() {
            return wrong("jwt.keys", "at least one key", "[]");
        }
        if self.leeway_seconds > 3_600 {
            return wrong("jwt.leeway_seconds", "a number of seconds within an hour", &self.leeway_seconds.to_string());
        }
        check_rate("jwt.requests_per_second", self.requests_per_second)
    }
}

impl Tokens {
    pub(crate) fn load(settings: Jwt, now: fn() -> Day) -> Result<Self, JwtError> {
        crypto::install();
        let keys = Keys::read(&settings)?;
        Ok(Self { settings, now, current: ArcSwap::from_pointee(keys), remembered: Mutex::default(), limited: Mutex::default() })
    }

    /// Reads the keys again; true where they have changed. On an error the ones before stay.
    pub(crate) fn reload(&self) -> Result<bool, JwtError> {
        let keys = Keys::read(&self.settings)?;
        if keys.contents == self.current.load().contents {
            return Ok(false);
        }
        self.current.store(Arc::new(keys));
        // What an old key signed is not believed any more.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        tracing::info!("the keys of tokens were read again");
        Ok(true)
    }

    /// Whose token it is, and until when it is believed, in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`CallError::Unauthenticated`] says what is wrong with it, and not what would be right.
    pub(crate) fn verify(&self, token: &[u8]) -> Result<(Arc<Caller>, f64), CallError> {
        let now = (self.now)().days() * 86_400.0;
        let hash: [u8; 32] = digest(&SHA256, token).as_ref().try_into().map_err(|_| CallError::Internal)?;
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some(verified) = remembered {
            return if now <= verified.ends { Ok((verified.caller, verified.ends)) } else { Err(expired()) };
        }
        let keys = self.current.load_full();
        let claims = self.claims(&keys, token)?;
        let leeway = self.settings.leeway_seconds as f64;
        let ends = claims.exp + leeway;
        // JSON has no NaN, so that one of the two comparisons holds.
        if now > ends {
            return Err(expired());
        }
        if claims.nbf.is_some_and(|begins| now < begins - leeway) {
            return Err(refused("TOKEN_NOT_YET_VALID", "the token is not valid yet"));
        }
        let caller = self.caller(claims);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, verified| now <= verified.ends);
        }
        // Keys that were replaced meanwhile have signed what is not to be remembered; nor is there room for more than this.
        if remembered.len() < MAX_REMEMBERED && Arc::ptr_eq(&keys, &self.current.load()) {
            remembered.insert(hash, Verified { caller: caller.clone(), ends });
        }
        Ok((caller, ends))
    }

    fn claims(&self, keys: &Keys, token: &[u8]) -> Result<Claims, CallError> {
        let header = decode_header(token).map_err(|_| refused("TOKEN_INVALID", "the token cannot be read"))?;
        let fits = |id: &Option<String>| id.is_none() || *id == header.kid;
        let mut wrong = refused("TOKEN_INVALID", "the token is signed with none of the keys that are believed");
        for (_, algorithm, key) in keys.keys.iter().filter(|(id, _, _)| fits(id)) {
            match decode::<Claims>(token, key, &self.settings.validation(*algorithm)) {
                Ok(data) => return Ok(data.claims),
                Err(error) => {
                    use jsonwebtoken::errors::ErrorKind;
                    match error.kind() {
                        ErrorKind::InvalidIssuer => wrong = refused("TOKEN_INVALID", "the token is of another issuer"),
                        ErrorKind::InvalidAudience => wrong = refused("TOKEN_INVALID", "the token is for another audience"),
                        ErrorKind::MissingRequiredClaim(claim) => {
                            wrong = refused("TOKEN_INVALID", &format!("the token has no `{claim}`"));
                        }
                        ErrorKind::Json(_) => wrong = refused("TOKEN_INVALID", "the token's claims cannot be read"),
                        _ => {}
                    }
                }
            }
        }
        Err(wrong)
    }

    fn caller(&self, claims: Claims) -> Arc<Caller> {
        let words = match claims.scope {
            Some(Words::Text(text)) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Some(Words::List(list)) => list,
            None => Vec::new(),
        };
        let known = [Scope::Predict, Scope::Decide, Scope::Admin];
        let scopes: Vec<Scope> = known.into_iter().filter(|scope| words.iter().any(|word| word == scope.name())).collect();
        let name = claims.sub.map_or_else(|| "a token".to_owned(), |subject| printable(&subject, SUBJECT_CHARS));
        let Some(rate) = self.settings.requests_per_second else { return Arc::new(Caller { name, scopes, limit: None }) };
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        // Scopes are part of the caller: a subject with other ones has a limit of its own.
        let key = format!("{scopes:?} {name}");
        if limited.len() >= MAX_REMEMBERED {
            limited.retain(|_, caller| Arc::strong_count(caller) > 1);
        }
        if limited.len() >= MAX_REMEMBERED {
            limited.clear();
        }
        limited.entry(key).or_insert_with(|| Arc::new(Caller { name, scopes, limit: Limit::new(rate) })).clone()
    }
}

/// What the bearer of a token hears that is too old.
pub(crate) fn expired() -> CallError {
    refused("TOKEN_EXPIRED", "the token has expired")
}

fn refused(reason: &'static str, description: &str) -> CallError {
    CallError::Unauthenticated { reason, description: description.to_owned() }
}

impl Jwt {
    fn validation(&self, algorithm: JwtAlgorithm) -> Validation {
        let mut validation = Validation::new(algorithm.into());
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By the server's own clock, afterwards.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }
}

impl From<JwtAlgorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::HS256 => Self::HS256,
            JwtAlgorithm::RS256 => Self::RS256,
            JwtAlgorithm::ES256 => Self::ES256,
        }
    }
}

impl Keys {
    fn read(settings: &Jwt) -> Result<Self, JwtError> {
        let contents: Vec<Vec<u8>> = settings.keys.iter().map(|key| read(&key.file)).collect::<Result<_, _>>()?;
        let keys = settings
            .keys
            .iter()
            .zip(&contents)
            .map(|(key, content)| Ok((key.id.clone(), key.algorithm, key.decoding_key(content)?)));
        Ok(Self { keys: keys.collect::<Result<_, JwtError>>()?, contents })
    }
}

impl JwtKey {
    fn decoding_key(&self, content: &[u8]) -> Result<DecodingKey, JwtError> {
        let wrong = |expected| JwtError::Key { path: self.file.clone(), expected };
        match self.algorithm {
            JwtAlgorithm::HS256 => {
                let secret = content.trim_ascii_end();
                let expected = "a secret of at least 32 bytes";
                if secret.len() < MIN_SECRET_BYTES { Err(wrong(expected)) } else { Ok(DecodingKey::from_secret(secret)) }
            }
            JwtAlgorithm::RS256 => crypto::rsa_key(content).ok_or_else(|| wrong("a public RSA key of 2048 bits or more, in PEM")),
            JwtAlgorithm::ES256 => crypto::ec_key(content).ok_or_else(|| wrong("a public key on the curve P-256, in PEM")),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JwtError> {
    use std::io::Read;
    let error = |source| JwtError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(error)?;
    let mut content = Vec::new();
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut content).map_err(error)?;
    if content.len() as u64 > MAX_KEY_BYTES {
        return Err(JwtError::Key { path: path.to_owned(), expected: "a key, and no more than 64 KiB" });
    }
    Ok(content)
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never their content.
        write!(f, "{} keys", self.keys.len())
    }
}
