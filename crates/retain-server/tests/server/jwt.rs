//! Tokens in the place of keys, and limits of calls a second.
//!
//! `jwt/rs256.jwt` was signed with an RSA key made for it (`openssl genrsa 2048`, `openssl dgst -sha256 -sign`) and thrown away; `jwt/rsa.pem` is its
//! public half. The other tokens are signed here.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_server::{ApiKey, Jwt, JwtAlgorithm, JwtKey, Scope};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::*;

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// The beginning of every public key on P-256 in DER (RFC 5480); the point follows.
const P256_DER: [u8; 26] =
    [0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0];

/// An issuer with a key of each kind, and a server that believes it.
struct Issuer {
    server: TestServer,
    ec: EcdsaKeyPair,
    folder: tempfile::TempDir,
}

impl Issuer {
    async fn start(change: impl FnOnce(&mut Jwt)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &SystemRandom::new()).unwrap();
        let der = [&P256_DER[..], ec.public_key().as_ref()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        std::fs::write(folder.path().join("ec.pem"), pem).unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let key = |id: &str, algorithm, file: PathBuf| JwtKey { id: Some(id.to_owned()), algorithm, file };
        let mut jwt = Jwt {
            issuer: "https://id.example".into(),
            audience: "retain".into(),
            leeway_seconds: 30,
            requests_per_second: None,
            keys: vec![
                key("rsa", JwtAlgorithm::RS256, PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/jwt/rsa.pem"))),
                key("ec", JwtAlgorithm::ES256, folder.path().join("ec.pem")),
                key("hmac", JwtAlgorithm::HS256, folder.path().join("secret")),
            ],
        };
        change(&mut jwt);
        let server = TestServer::start_with(&[telco(-1.0)], |config| config.jwt = Some(jwt)).await;
        Self { server, ec, folder }
    }

    fn es256(&self, claims: &serde_json::Value) -> String {
        let message = message(&json!({ "alg": "ES256", "kid": "ec" }), claims);
        let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    async fn predict(&self, token: &str) -> Result<v1::PredictResponse, Status> {
        let mut call = Request::new(request(&[("tenure", Value::Number(3.0))]));
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.server.predictions().predict(call).await.map(tonic::Response::into_inner)
    }

    async fn refused(&self, token: &str) -> (Code, String) {
        let status = self.predict(token).await.unwrap_err();
        (status.code(), reason_of(&status))
    }
}

fn message(header: &serde_json::Value, claims: &serde_json::Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn hs256(header: &serde_json::Value, claims: &serde_json::Value, secret: &[u8]) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Claims that let predictions be made, with these in the place of some.
fn claims(changed: &serde_json::Value) -> serde_json::Value {
    let now = TODAY * 86_400.0;
    let mut claims = json!({
        "iss": "https://id.example", "aud": "retain", "sub": "shop", "exp": now + 600.0, "nbf": now - 600.0, "scope": "predict"
    });
    for (name, value) in changed.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn tokens_of_all_three_algorithms_open_what_their_scopes_name() {
    let issuer = Issuer::start(|_| ()).await;
    let rs256 = include_str!("jwt/rs256.jwt");
    let es256 = issuer.es256(&claims(&json!({ "scope": null, "scp": ["predict"] })));
    let hs256 = hs256(&json!({ "alg": "HS256", "kid": "hmac" }), &claims(&json!({})), SECRET);
    for token in [rs256, &es256, &hs256] {
        // The second time from memory.
        for _ in 0..2 {
            issuer.predict(token).await.unwrap();
        }
    }
    let no_scope = issuer.es256(&claims(&json!({ "scope": "admin predictions" })));
    assert_eq!(issuer.refused(&no_scope).await, (Code::PermissionDenied, "SCOPE_REQUIRED".into()));
}

#[tokio::test]
async fn tokens_that_are_not_for_us_or_not_for_now_are_refused() {
    let issuer = Issuer::start(|_| ()).await;
    let now = TODAY * 86_400.0;
    for (changed, reason) in [
        (json!({ "exp": now - 31.0 }), "TOKEN_EXPIRED"),
        (json!({ "nbf": now + 31.0 }), "TOKEN_NOT_YET_VALID"),
        (json!({ "iss": "https://id.example.evil" }), "TOKEN_INVALID"),
        (json!({ "aud": "other" }), "TOKEN_INVALID"),
        (json!({ "exp": null }), "TOKEN_INVALID"),
        (json!({ "iss": null }), "TOKEN_INVALID"),
        (json!({ "aud": null }), "TOKEN_INVALID"),
        (json!({ "exp": "tomorrow" }), "TOKEN_INVALID"),
    ] {
        let token = issuer.es256(&claims(&changed));
        assert_eq!(issuer.refused(&token).await, (Code::Unauthenticated, reason.to_owned()), "{changed}");
    }
    // Clocks may differ a little.
    issuer.predict(&issuer.es256(&claims(&json!({ "exp": now - 29.0, "nbf": now + 29.0 })))).await.unwrap();
}

#[tokio::test]
async fn a_token_cannot_choose_how_it_is_checked() {
    let issuer = Issuer::start(|_| ()).await;
    let good = claims(&json!({}));
    let none = format!("{}.", message(&json!({ "alg": "none" }), &good));
    let none_with_id = format!("{}.", message(&json!({ "alg": "none", "kid": "ec" }), &good));
    // The public key as the secret of an HMAC: what fools those who take the algorithm from the token.
    let pem = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/jwt/rsa.pem")).unwrap();
    let confused = hs256(&json!({ "alg": "HS256", "kid": "rsa" }), &good, &pem);
    let other_secret = hs256(&json!({ "alg": "HS256", "kid": "hmac" }), &good, b"fedcba9876543210fedcba9876543210");
    let other_key = issuer.es256(&good).replace(
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"ec"}"#),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"rsa"}"#),
    );
    let mut changed = issuer.es256(&good);
    changed.pop();
    for token in [&none, &none_with_id, &confused, &other_secret, &other_key, &changed, "a.b.c", "..", "e30.e30."] {
        assert_eq!(issuer.refused(token).await, (Code::Unauthenticated, "TOKEN_INVALID".into()), "{token}");
    }
    assert_eq!(issuer.refused(&"x".repeat(7_000)).await.1, "API_KEY_UNKNOWN");
}

#[tokio::test]
async fn keys_that_were_taken_out_of_use_sign_nothing_more() {
    let issuer = Issuer::start(|_| ()).await;
    let token = issuer.es256(&claims(&json!({})));
    issuer.predict(&token).await.unwrap();
    let other = std::fs::read(Issuer::start(|_| ()).await.folder.path().join("ec.pem")).unwrap();
    std::fs::write(issuer.folder.path().join("ec.pem"), "no key").unwrap();
    assert!(issuer.server.running.handle().reload_token_keys().is_err());
    issuer.predict(&token).await.unwrap();
    std::fs::write(issuer.folder.path().join("ec.pem"), other).unwrap();
    assert!(issuer.server.running.handle().reload_token_keys().unwrap());
    assert_eq!(issuer.refused(&token).await.1, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_subject_that_calls_too_often_is_told_when_to_come_again() {
    let issuer = Issuer::start(|jwt| jwt.requests_per_second = Some(1)).await;
    // A new token is no new limit.
    for turn in 0..2 {
        issuer.predict(&issuer.es256(&claims(&json!({ "jti": turn })))).await.unwrap();
    }
    let status = issuer.predict(&issuer.es256(&claims(&json!({ "jti": 2 })))).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert!(status.get_error_details().retry_info().unwrap().retry_delay.is_some());
    issuer.predict(&issuer.es256(&claims(&json!({ "sub": "another" })))).await.unwrap();
}

#[tokio::test]
async fn messages_of_a_stream_count_as_calls() {
    let key = |requests_per_second| ApiKey {
        name: "shop".into(),
        sha256: retain_score::sha256(b"s3cret"),
        scopes: vec![Scope::Predict],
        requests_per_second,
    };
    let server = TestServer::start_with(&[telco(-1.0)], |config| config.api_keys = vec![key(Some(2))]).await;
    let requests = tokio_stream::iter(vec![request(&[("tenure", Value::Number(3.0))]); 20]);
    let mut call = Request::new(requests);
    call.metadata_mut().insert("x-api-key", "s3cret".parse().unwrap());
    let mut answers = server.predictions().predict_stream(call).await.unwrap().into_inner();
    let (mut answered, mut limited) = (0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.outcome.unwrap() {
            v1::predict_stream_response::Outcome::Response(_) => answered += 1,
            v1::predict_stream_response::Outcome::Error(error) => {
                assert_eq!(error.reason, "RATE_LIMITED");
                limited += 1;
            }
        }
    }
    // Opening the stream is the first of the four that may come at once.
    assert!(answered >= 3 && limited > 0, "{answered} {limited}");
}
