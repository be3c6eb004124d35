//! Every typed call, keys, request ids, streams.

use std::time::Duration;

use retain_client::{Client, Error, v1};
use retain_server::{ApiKey, Scope};
use tonic::Code;

use crate::support::{Scripted, client, failure, request, start, url};

#[tokio::test]
async fn every_call_is_answered() {
    let server = start(|_| ()).await;
    let client = Client::connect([url(server.local_addr())]).await.unwrap();
    let predicted = client.predict(&request()).await.unwrap();
    assert_eq!((predicted.customer_id.as_str(), predicted.predictions.len()), ("c-1", 1));
    let columns = vec![v1::FeatureColumn {
        name: "tenure".to_owned(),
        values: Some(v1::feature_column::Values::Numbers(v1::NumberColumn { values: vec![3.0, 70.0] })),
        missing: Vec::new(),
    }];
    let customer_ids = vec!["c-1".to_owned(), "c-2".to_owned()];
    let batch = v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() };
    let batch = client.predict_batch(&batch).await.unwrap();
    assert_eq!(batch.predictions[0].probabilities[0].to_bits(), predicted.predictions[0].probability.to_bits());

    let v1::PredictRequest { customer_id, features, .. } = request();
    let explained = v1::ExplainRequest { customer_id, features: features.clone(), ..v1::ExplainRequest::default() };
    assert!(!client.explain(&explained).await.unwrap().contributions.is_empty());
    let change = v1::Change { features: [("tenure".to_owned(), v1::FeatureValue { value: None })].into() };
    let what_if = v1::WhatIfRequest { features, changes: vec![change], ..v1::WhatIfRequest::default() };
    assert_eq!(client.what_if(&what_if).await.unwrap().comparisons.len(), 1);

    assert!(client.list_models().await.unwrap().iter().any(|model| model.name == "telco-churn"));
    assert!(client.get_model("telco-churn").await.unwrap().model_card.contains("telco"));
    let reloaded = client.reload().await;
    assert_eq!((reloaded.len(), reloaded[0].0.as_str()), (1, url(server.local_addr()).as_str()));
    assert!(!reloaded[0].1.as_ref().unwrap().live.is_empty());
    let unknown = v1::SetAliasRequest { name: "telco-churn".to_owned(), alias: "shadow".to_owned(), version: 999 };
    assert_eq!(failure(client.set_alias(&unknown).await).code(), Code::NotFound);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_answers_in_order() {
    let server = start(|_| ()).await;
    let client = Client::connect([url(server.local_addr())]).await.unwrap();
    let customer = |number: u32| v1::PredictRequest { customer_id: format!("c-{number}"), ..request() };
    let mut stream = client.predict_stream(tokio_stream::iter((0..100).map(customer))).await.unwrap();
    assert_eq!(client.health()[0].in_flight, 1);
    for number in 0..100 {
        let Some(v1::predict_stream_response::Outcome::Response(answer)) = stream.message().await.unwrap().unwrap().outcome
        else {
            panic!("an error instead of an answer");
        };
        assert_eq!(answer.customer_id, format!("c-{number}"));
    }
    assert!(stream.message().await.unwrap().is_none());
    drop(stream);
    assert_eq!(client.health()[0].in_flight, 0);
}

#[tokio::test]
async fn the_key_is_shown_and_a_wrong_one_is_not_tried_again() {
    // The SHA-256 of `s3cret`.
    let sha256 = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0".to_owned();
    let key = ApiKey { name: "test".to_owned(), sha256, scopes: vec![Scope::Predict], requests_per_second: None };
    let server = start(|config| config.api_keys = vec![key]).await;
    let with = |key: &str| client([server.local_addr()]).api_key(key).connect();
    let good = with("s3cret").await.unwrap();
    good.predict(&request()).await.unwrap();
    let forbidden = failure(good.reload().await.remove(0).1);
    assert_eq!((forbidden.code(), forbidden.reason().as_deref()), (Code::PermissionDenied, Some("SCOPE_REQUIRED")));
    let refused = failure(with("wrong").await.unwrap().predict(&request()).await);
    assert_eq!((refused.code(), refused.attempts), (Code::Unauthenticated, 1));
}

#[tokio::test]
async fn a_mistake_names_its_fields() {
    let server = start(|_| ()).await;
    let client = Client::connect([url(server.local_addr())]).await.unwrap();
    let mut wrong = request();
    let word = v1::feature_value::Value::Text("three".to_owned());
    wrong.features.insert("tenure".to_owned(), v1::FeatureValue { value: Some(word) });
    let refused = failure(client.predict(&wrong).await);
    assert_eq!((refused.code(), refused.attempts), (Code::InvalidArgument, 1));
    assert_eq!(refused.fields()[0].field, "features[\"tenure\"]");
}

#[tokio::test]
async fn attempts_of_one_call_share_their_request_id() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    server.refuse([tonic::Status::unavailable("as told")]);
    client.predict(&request()).await.unwrap();
    client.with_request_id("r-17").unwrap().predict(&request()).await.unwrap();
    let ids: Vec<String> =
        server.calls().iter().map(|headers| headers.get("x-request-id").unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], "r-17");
    assert!(matches!(client.with_request_id("a\nb"), Err(Error::Setting { .. })));
}

#[tokio::test]
async fn connecting_to_nobody_says_why() {
    // A port that was free a moment ago.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client([address]).connect_timeout(Duration::from_millis(200)).connect().await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}
