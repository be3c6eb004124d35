//! What the server tells of itself: metrics, probes, and the names of calls.

use std::fmt::Write;

use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::*;

async fn start() -> TestServer {
    let metrics = "127.0.0.1:0".parse().unwrap();
    TestServer::start_with(&[telco(-1.0)], |config| config.metrics_listen = Some(metrics)).await
}

/// The status line and the body of an HTTP answer.
async fn get(server: &TestServer, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.running.handle().metrics_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The value of a metric with these labels.
fn value(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let with_labels = |line: &str| {
        labels.iter().all(|(key, value)| {
            let mut label = String::new();
            write!(label, "{key}=\"{value}\"").unwrap();
            line.contains(&label)
        })
    };
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")) && with_labels(line))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_with_their_stages() {
    let server = start().await;
    for _ in 0..3 {
        server.predict(request(&[("tenure", Value::Number(3.0))])).await.unwrap();
    }
    let error = server.predict(request(&[("tenure", Value::Text("x".into()))])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let (status, metrics) = get(&server, "/metrics").await;
    assert!(status.contains("200"), "{status}");
    let predict = ("method", "retain.v1.PredictionService/Predict");
    assert_eq!(value(&metrics, "retain_requests_total", &[predict, ("code", "OK")]), Some(3.0));
    assert_eq!(value(&metrics, "retain_requests_total", &[predict, ("code", "INVALID_ARGUMENT")]), Some(1.0));
    assert_eq!(value(&metrics, "retain_request_duration_seconds_count", &[predict]), Some(4.0));
    for stage in ["queue", "convert", "score"] {
        let count = value(&metrics, "retain_stage_duration_seconds_count", &[predict, ("stage", stage)]);
        assert_eq!(count, Some(3.0), "{stage}");
    }
    assert_eq!(value(&metrics, "retain_refused_total", &[("reason", "NOT_A_NUMBER")]), Some(1.0));
    assert_eq!(value(&metrics, "retain_in_flight", &[("kind", "call")]), Some(0.0));
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn predictions_are_counted_by_model_and_rows_by_what_is_unusual() {
    let server = start().await;
    server.predict(request(&[("tenure", Value::Number(3.0))])).await.unwrap();
    server.predict(request(&[("tenure", Value::Number(-1e9))])).await.unwrap();
    server.predict(request(&[])).await.unwrap();
    let (_, metrics) = get(&server, "/metrics").await;
    let model = [("model", "telco"), ("version", "1")];
    assert_eq!(value(&metrics, "retain_predictions_total", &model), Some(3.0));
    assert_eq!(value(&metrics, "retain_probability_count", &model), Some(3.0));
    assert_eq!(value(&metrics, "retain_model_live", &[("model", "telco"), ("alias", "champion")]), Some(1.0));
    assert_eq!(value(&metrics, "retain_rows_observed_total", &model), Some(3.0));
    assert_eq!(value(&metrics, "retain_feature_missing_total", &[("feature", "tenure")]), Some(1.0));
    assert_eq!(value(&metrics, "retain_feature_out_of_range_total", &[("feature", "tenure")]), Some(1.0));
}

#[tokio::test]
async fn batches_end_when_they_were_sent_and_cancelled_calls_are_told_apart() {
    let server = start().await;
    let batch = v1::PredictBatchRequest { customer_ids: vec!["a".into(); 700], ..v1::PredictBatchRequest::default() };
    server.predictions().predict_batch(batch).await.unwrap();
    let (_, metrics) = get(&server, "/metrics").await;
    let method = ("method", "retain.v1.PredictionService/PredictBatch");
    assert_eq!(value(&metrics, "retain_requests_total", &[method, ("code", "OK")]), Some(1.0));
    assert_eq!(value(&metrics, "retain_predictions_total", &[("model", "telco")]), Some(700.0));
    // Every second row is looked at.
    assert_eq!(value(&metrics, "retain_rows_observed_total", &[("model", "telco")]), Some(350.0));
}

#[tokio::test]
async fn methods_that_callers_make_up_share_one_count() {
    let server = start().await;
    for path in ["/no.Such/Call", "/retain.v1.PredictionService/NoSuch", "/retain.v1.PredictionService/NoSuch2"] {
        let mut client = tonic::client::Grpc::new(server.channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<v1::ReloadRequest, v1::ReloadResponse>::default();
        let error = client.unary(tonic::Request::new(v1::ReloadRequest {}), path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    }
    let (_, metrics) = get(&server, "/metrics").await;
    assert_eq!(value(&metrics, "retain_requests_total", &[("method", "unknown"), ("code", "UNIMPLEMENTED")]), Some(3.0));
    assert!(!metrics.contains("NoSuch"));
}

#[tokio::test]
async fn probes_say_whether_the_server_lives_and_is_ready() {
    let server = start().await;
    for (path, expected) in [("/livez", "200"), ("/readyz", "200"), ("/", "404")] {
        let (status, _) = get(&server, path).await;
        assert!(status.contains(expected), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_request_id_comes_back_and_refusals_have_one_of_their_own() {
    let server = start().await;
    let named = |name: &str| {
        let mut named = tonic::Request::new(request(&[("tenure", Value::Number(3.0))]));
        named.metadata_mut().insert("x-request-id", name.parse().unwrap());
        named
    };
    let answer = server.predictions().predict(named("order-17")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "order-17");
    let answer = server.predictions().predict(named(&"x".repeat(200))).await.unwrap();
    assert!(answer.metadata().get("x-request-id").is_none());
    let refused = |error: tonic::Status| error.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let mut wrong = named("order-18");
    wrong.get_mut().models = vec!["none".into()];
    assert_eq!(refused(server.predictions().predict(wrong).await.unwrap_err()), "order-18");
    let wrong = request(&[("tenure", Value::Text("x".into()))]);
    assert_eq!(refused(server.predict(wrong).await.unwrap_err()).len(), 32);
}
