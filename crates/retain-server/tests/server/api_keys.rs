//! Who may call what.

use retain_proto::v1;
use retain_server::{ApiKey, Config, Scope, Server, ServerError};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{TestServer, reason_of, request, telco, usual};

fn key(name: &str, secret: &str, scopes: &[Scope]) -> ApiKey {
    ApiKey {
        name: name.to_owned(),
        sha256: retain_score::sha256(secret.as_bytes()),
        scopes: scopes.to_vec(),
        requests_per_second: None,
    }
}

fn protect(config: &mut Config) {
    config.api_keys = vec![key("shop", "s3cret", &[Scope::Predict]), key("ops", "0ps", &[Scope::Admin])];
}

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !key.is_empty() {
        request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {key}")).unwrap());
    }
    request
}

fn refusal<T>(result: Result<T, Status>) -> Option<(Code, String)> {
    result.err().map(|status| (status.code(), reason_of(&status)))
}

#[tokio::test]
async fn calls_need_a_key_with_their_scope() {
    let server = TestServer::start_with(&[telco(-0.4)], protect).await;
    let predict = async |key: &str| refusal(server.predictions().predict(with_key(request(&usual()), key)).await);
    let list = async |key: &str| refusal(server.models().list_models(with_key(v1::ListModelsRequest {}, key)).await);
    let reload = async |key: &str| refusal(server.models().reload(with_key(v1::ReloadRequest {}, key)).await);
    let set = v1::SetAliasRequest { name: "telco".to_owned(), alias: "shadow".to_owned(), version: 1 };
    let set_alias = async |key: &str| refusal(server.models().set_alias(with_key(set.clone(), key)).await);

    assert_eq!((predict("s3cret").await, list("s3cret").await), (None, None));
    assert_eq!((reload("0ps").await, set_alias("0ps").await), (None, None));
    let refused = |code, reason: &str| Some((code, reason.to_owned()));
    for found in [predict("0ps").await, list("0ps").await, reload("s3cret").await, set_alias("s3cret").await] {
        assert_eq!(found, refused(Code::PermissionDenied, "SCOPE_REQUIRED"));
    }
    assert_eq!(predict("").await, refused(Code::Unauthenticated, "API_KEY_REQUIRED"));
    assert_eq!(predict("s3cre").await, refused(Code::Unauthenticated, "API_KEY_UNKNOWN"));
    // Probes have no keys.
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
}

#[tokio::test]
async fn who_has_no_key_takes_no_place_and_reads_no_message() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| {
        protect(config);
        config.max_in_flight = 1;
    })
    .await;
    let mut without = request(&usual());
    without.customer_id = "x".repeat(512 << 10);
    let strangers: Vec<_> = (0..50)
        .map(|_| {
            let (mut client, request) = (server.predictions(), without.clone());
            tokio::spawn(async move { client.predict(request).await })
        })
        .collect();
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap().unwrap_err().code(), Code::Unauthenticated);
    }
    server.predictions().predict(with_key(request(&usual()), "s3cret")).await.unwrap();
}

#[tokio::test]
async fn a_server_without_keys_stays_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::support::config(folder.path());
    config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Server::bind(config.clone()).await, Err(ServerError::Unprotected { .. })));
    let told = Config { allow_unprotected: true, ..config.clone() };
    assert!(Server::bind(told).await.is_ok());
    protect(&mut config);
    assert!(Server::bind(config).await.is_ok());
}
