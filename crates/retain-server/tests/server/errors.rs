//! Every refusal, with its code and its field.

use std::collections::BTreeMap;

use http_body::Body as _;
use prost_types::Timestamp;
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic_types::StatusExt;

use crate::support::{TestServer, assert_refused, gym, publish, reason_of, request, telco, text, usual, values};

#[tokio::test]
async fn values_that_do_not_fit_are_all_named() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let check = async |features: &[(&str, Value)], fields: &[(&str, &str)]| {
        let status = server.predict(request(features)).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, fields);
    };
    let (tenure, contract, paperless) = ("features[\"tenure\"]", "features[\"contract\"]", "features[\"paperless\"]");
    check(&[("tenure", text("long"))], &[(tenure, "NOT_A_NUMBER")]).await;
    check(&[("tenure", Value::Boolean(true))], &[(tenure, "NOT_A_NUMBER")]).await;
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        check(&[("tenure", Value::Number(number))], &[(tenure, "NOT_FINITE")]).await;
    }
    check(&[("contract", Value::Number(1.0))], &[(contract, "NOT_A_CATEGORY")]).await;
    let all = [("tenure", text("long")), ("contract", Value::Boolean(true)), ("paperless", Value::Number(2.0))];
    check(&all, &[(tenure, "NOT_A_NUMBER"), (contract, "NOT_A_CATEGORY"), (paperless, "NOT_A_BOOLEAN")]).await;
}

#[tokio::test]
async fn dates_that_are_none_are_refused() {
    let server = TestServer::start(&[gym()]).await;
    let status = server.predict(request(&[("joined", text("31/01/2024"))])).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("features[\"joined\"]", "NOT_A_DATE")]);
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, i32::MAX)] {
        let request = v1::PredictRequest { observed_at: Some(Timestamp { seconds, nanos }), ..request(&[]) };
        let status = server.predict(request).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, &[("observed_at", "INVALID_TIMESTAMP")]);
    }
}

#[tokio::test]
async fn unknown_features_are_refused_with_the_nearest_unless_ignored() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let mut request = request(&[("tenur", Value::Number(1.0)), ("colour", text("red"))]);
    let status = server.predict(request.clone()).await.unwrap_err();
    let fields = [("features[\"colour\"]", "UNKNOWN_FEATURE"), ("features[\"tenur\"]", "UNKNOWN_FEATURE")];
    assert_refused(&status, Code::InvalidArgument, &fields);
    let details = status.get_error_details();
    assert!(details.bad_request().unwrap().field_violations[1].description.contains("did you mean `tenure`?"));
    assert_eq!(reason_of(&status), "UNKNOWN_FEATURE");

    request.unknown_feature_policy = v1::UnknownFeaturePolicy::Ignore.into();
    assert_eq!(server.predict(request.clone()).await.unwrap().predictions.len(), 1);
    request.unknown_feature_policy = 77;
    let status = server.predict(request).await.unwrap_err();
    assert!(status.message().starts_with("unknown_feature_policy "), "{}", status.message());
}

#[tokio::test]
async fn a_feature_is_known_when_one_of_the_models_knows_it() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let ask = async |models: &[&str], features: &[(&str, Value)]| {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        server.predict(v1::PredictRequest { models, ..request(features) }).await
    };
    let features = [("joined", text("2024-01-01")), ("contract", text("monthly"))];
    assert_eq!(ask(&[], &features).await.unwrap().predictions.len(), 2);
    let status = ask(&["telco"], &features).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("features[\"joined\"]", "UNKNOWN_FEATURE")]);
    // Good for one model and not for the other: named once.
    let status = ask(&[], &[("tenure", Value::Number(3.0))]).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("features[\"tenure\"]", "NOT_A_CATEGORY")]);
}

#[tokio::test]
async fn models_that_are_not_there_are_not_found() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    publish(&server.registry, &telco(0.5));
    server.running.handle().reload().await.unwrap();
    let check = async |models: &[&str], code, field, reason, message: &str| {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        let status = server.predict(v1::PredictRequest { models, ..request(&usual()) }).await.unwrap_err();
        assert_refused(&status, code, &[(field, reason)]);
        assert!(status.message().contains(message), "{}", status.message());
    };
    check(
        &["telco", "telko"],
        Code::NotFound,
        "models[1]",
        "MODEL_NOT_FOUND",
        "models[1] names `telko`, which is not a model here; did",
    )
    .await;
    check(&["telco/9"], Code::NotFound, "models[0]", "VERSION_NOT_FOUND", "not published").await;
    check(&["telco/1"], Code::NotFound, "models[0]", "VERSION_NOT_FOUND", "no alias points at it").await;
    check(&["telco@shadow"], Code::NotFound, "models[0]", "VERSION_NOT_FOUND", "it has `champion`").await;
    check(&["../telco"], Code::InvalidArgument, "models[0]", "INVALID_MODEL_ADDRESS", "found").await;
    check(&["telco/0"], Code::InvalidArgument, "models[0]", "INVALID_MODEL_ADDRESS", "found `0`").await;
    check(&vec!["telco"; 101], Code::InvalidArgument, "models", "TOO_MANY", "at most 100").await;
}

#[tokio::test]
async fn an_explanation_needs_one_model() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let explain = async |model: &str| {
        let request = v1::ExplainRequest { model: model.into(), ..v1::ExplainRequest::default() };
        server.predictions().explain(request).await.map(tonic::Response::into_inner)
    };
    assert_refused(&explain("").await.unwrap_err(), Code::InvalidArgument, &[("model", "MODEL_REQUIRED")]);
    assert_refused(&explain("gim").await.unwrap_err(), Code::NotFound, &[("model", "MODEL_NOT_FOUND")]);
    assert_eq!(explain("gym").await.unwrap().contributions.len(), 2);
}

#[tokio::test]
async fn a_request_full_of_mistakes_lists_twenty() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let names: Vec<String> = (0..5_000).map(|position| format!("stranger-{position}")).collect();
    let features: Vec<_> = names.iter().map(|name| (name.as_str(), Value::Number(1.0))).collect();
    let status = server.predict(request(&features)).await.unwrap_err();
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 20);
    assert!(status.message().contains("and 4999 more"), "{}", status.message());
}

#[tokio::test]
async fn ten_megabytes_of_keys_are_refused_and_the_server_stands() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let one_key = BTreeMap::from([("k".repeat(10_000_000), v1::FeatureValue::default())]);
    let many_keys: BTreeMap<_, _> = (0..500_000).map(|key| (format!("key-{key:016}"), v1::FeatureValue::default())).collect();
    for features in [one_key, many_keys] {
        let request = v1::PredictRequest { features, ..v1::PredictRequest::default() };
        assert_eq!(server.predict(request).await.unwrap_err().code(), Code::OutOfRange);
    }
    // Below the limit of bytes, there is still one of names.
    let features = (0..10_001).map(|key| (format!("key-{key}"), v1::FeatureValue::default())).collect();
    let status = server.predict(v1::PredictRequest { features, ..v1::PredictRequest::default() }).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("features", "TOO_MANY")]);
    assert!(server.predict(request(&usual())).await.is_ok());
}

#[tokio::test]
async fn long_and_wild_texts_are_cut_and_made_printable() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let wild = format!("\u{1b}[2J\r\n{}", "語".repeat(100_000));
    let features = values(&[(wild.as_str(), Value::Number(1.0)), ("tenure", text(&wild))]);
    let status = server.predict(v1::PredictRequest { features, ..v1::PredictRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    for violation in &details.bad_request().unwrap().field_violations {
        for shown in [&violation.field, &violation.description] {
            assert!(shown.len() < 700 && !shown.contains(char::is_control), "{shown:?}");
        }
    }
    assert!(status.message().len() < 900 && !status.message().contains(char::is_control));
}

/// The answer to bytes that `Predict` and `PredictBatch` have to read as texts: their first field.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    customer_id: Vec<u8>,
}

async fn call_with_bytes(server: &TestServer, path: &'static str, customer_id: &[u8]) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Bytes, Bytes>::default();
    let request = tonic::Request::new(Bytes { customer_id: customer_id.to_vec() });
    client.unary(request, PathAndQuery::from_static(path), codec).await.unwrap_err()
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_is_the_callers_mistake_and_names_its_field() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    for (path, field) in [
        ("/retain.v1.PredictionService/Predict", "customer_id"),
        ("/retain.v1.PredictionService/PredictBatch", "customer_ids"),
        ("/retain.v1.ModelService/GetModel", "model"),
    ] {
        let status = call_with_bytes(&server, path, b"\xff\xfe").await;
        assert_refused(&status, Code::InvalidArgument, &[(field, "MALFORMED_MESSAGE")]);
        assert_eq!(reason_of(&status), "MALFORMED_MESSAGE");
    }
}

#[tokio::test]
async fn what_the_transport_refuses_has_details_too() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    for path in
        ["/retain.v1.PredictionService/Predict", "/retain.v1.PredictionService/PredictBatch", "/retain.v1.ModelService/GetModel"]
    {
        let status = call_with_bytes(&server, path, &vec![b'k'; 17 << 20]).await;
        assert_refused(&status, Code::OutOfRange, &[("request", "MESSAGE_TOO_LARGE")]);
        assert!(status.message().contains("the limit is"), "{}", status.message());
    }
    for path in [
        "/retain.v1.PredictionService/Foretell",
        "/retain.v1.PredictionService/PredictBatches",
        "/retain.v2.PredictionService/Predict",
    ] {
        let status = call_with_bytes(&server, path, b"").await;
        assert_refused(&status, Code::Unimplemented, &[]);
        assert_eq!(reason_of(&status), "UNIMPLEMENTED");
    }
}

#[tokio::test]
async fn a_refusal_ends_with_its_headers_where_all_clients_look_for_it() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    for path in
        ["/retain.v1.PredictionService/Predict", "/retain.v1.PredictionService/PredictBatch", "/retain.v1.ModelService/GetModel"]
    {
        let mut channel = server.channel.clone();
        std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        let without_message = http::Request::post(path).header("content-type", "application/grpc").body(Body::empty()).unwrap();
        let answer = channel.call(without_message).await.unwrap();
        assert!(answer.headers().contains_key("grpc-status") && answer.body().is_end_stream(), "{path} {answer:?}");
    }
}
