//! `PredictBatch`.

use retain_proto::v1;
use retain_proto::v1::feature_column::Values;
use retain_proto::v1::feature_value::Value;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use crate::support::{TestServer, assert_refused, gym, request, soon, telco, text, wide};

fn numbers(name: &str, values: Vec<f64>, missing: &[u32]) -> v1::FeatureColumn {
    let values = Some(Values::Numbers(v1::NumberColumn { values }));
    v1::FeatureColumn { name: name.into(), values, missing: missing.to_vec() }
}

fn texts(name: &str, values: &[&str]) -> v1::FeatureColumn {
    let values = values.iter().map(|&text| text.to_owned()).collect();
    v1::FeatureColumn { name: name.into(), values: Some(Values::Texts(v1::TextColumn { values })), missing: Vec::new() }
}

fn booleans(name: &str, values: Vec<bool>) -> v1::FeatureColumn {
    v1::FeatureColumn { name: name.into(), values: Some(Values::Booleans(v1::BooleanColumn { values })), missing: Vec::new() }
}

fn batch(n_rows: usize, columns: Vec<v1::FeatureColumn>) -> v1::PredictBatchRequest {
    let customer_ids = (0..n_rows).map(|row| format!("c-{row}")).collect();
    v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() }
}

async fn ask(server: &TestServer, request: v1::PredictBatchRequest) -> Result<v1::PredictBatchResponse, tonic::Status> {
    server.predictions().predict_batch(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_batch_gives_the_bits_of_single_calls() {
    // More rows than are encoded at once.
    let n_rows = 600;
    let server = TestServer::start(&[telco(-0.4)]).await;
    let contracts = ["monthly", "one year", "weekly", ""];
    let tenure: Vec<f64> = (0..n_rows).map(|row| f64::from(row) / 7.0).collect();
    let contract: Vec<&str> = (0..n_rows).map(|row| contracts[row as usize % 4]).collect();
    let columns = vec![texts("contract", &contract), numbers("tenure", tenure.clone(), &[5, 300, 5])];
    let answer = ask(&server, batch(n_rows as usize, columns)).await.unwrap();

    assert_eq!(answer.row_statuses, vec![v1::RowStatus::Ok as i32; n_rows as usize]);
    assert!(answer.row_errors.is_empty());
    let model = &answer.predictions[0];
    for row in [0, 1, 2, 3, 5, 6, 255, 256, 257, 300, 599] {
        let mut features = vec![("contract", text(contract[row]))];
        if row != 5 && row != 300 {
            features.push(("tenure", Value::Number(tenure[row])));
        }
        let alone = server.predict_one(&features).await;
        assert_eq!(model.probabilities[row].to_bits(), alone.probability.to_bits(), "row {row}");
        assert_eq!((model.margins[row].to_bits(), model.bands[row]), (alone.margin.to_bits(), alone.band));
    }
    assert_eq!(model.model.as_ref().unwrap().name, "telco");
    let warnings: Vec<_> =
        model.warnings.iter().map(|warning| (warning.feature.as_str(), warning.code(), warning.rows.len())).collect();
    let expected = [
        ("tenure", v1::WarningCode::Missing, 2),
        ("tenure", v1::WarningCode::OutOfRange, 600 - 505),
        ("contract", v1::WarningCode::Missing, 150),
        ("contract", v1::WarningCode::UnseenCategory, 150),
        ("paperless", v1::WarningCode::Missing, 0),
    ];
    assert_eq!(warnings, expected);
    assert_eq!(model.warnings[0].rows, [5, 300]);
}

#[tokio::test]
async fn a_bad_row_does_not_fail_the_good_ones() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let columns = vec![
        numbers("tenure", vec![1.0, f64::NAN, 3.0, f64::NAN], &[3]),
        texts("paperless", &["yes", "no", "perhaps", "no"]),
        texts("contract", &["monthly", "weekly", "monthly", "monthly"]),
    ];
    let answer = ask(&server, batch(4, columns)).await.unwrap();
    let (ok, invalid) = (v1::RowStatus::Ok as i32, v1::RowStatus::Invalid as i32);
    assert_eq!(answer.row_statuses, [ok, invalid, invalid, ok]);
    let errors: Vec<_> = answer.row_errors.iter().map(|error| (error.row, error.field.as_str(), error.reason.as_str())).collect();
    assert_eq!(errors, [(1, "columns[0].values[1]", "NOT_FINITE"), (2, "columns[1].values[2]", "NOT_A_BOOLEAN")]);
    let model = &answer.predictions[0];
    assert!(model.probabilities[1].is_nan() && model.margins[2].is_nan());
    assert_eq!(model.bands[1], v1::Band::Unspecified as i32);
    let first = [("tenure", Value::Number(1.0)), ("paperless", text("yes")), ("contract", text("monthly"))];
    let alone = server.predict_one(&first).await;
    assert_eq!(model.probabilities[0].to_bits(), alone.probability.to_bits());
    // The unseen category stood in a refused row, so there is no warning of it.
    let warnings: Vec<_> = model.warnings.iter().map(|warning| (warning.feature.as_str(), warning.rows.as_slice())).collect();
    assert_eq!(warnings, [("tenure", &[3][..])]);
}

#[tokio::test]
async fn columns_that_do_not_fit_fail_the_call_with_their_paths() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let columns = vec![
        numbers("tenure", vec![1.0], &[]),
        texts("contrakt", &["monthly", "monthly"]),
        booleans("paperless", vec![true, false]),
        numbers("paperless", vec![1.0, 0.0], &[0, 2]),
    ];
    let status = ask(&server, batch(2, columns)).await.unwrap_err();
    let fields = [
        ("columns[1].name", "UNKNOWN_FEATURE"),
        ("columns[3].name", "DUPLICATE_COLUMN"),
        ("columns[0].values", "COLUMN_LENGTH"),
        ("columns[3].missing[1]", "ROW_OUT_OF_RANGE"),
    ];
    assert_refused(&status, Code::InvalidArgument, &fields);
    assert!(status.message().contains("did you mean `contract`?"), "{}", status.message());
}

#[tokio::test]
async fn unknown_columns_may_be_ignored() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let mut request = batch(2, vec![texts("colour", &["red", "blue"]), numbers("tenure", vec![1.0, 2.0], &[])]);
    request.unknown_feature_policy = v1::UnknownFeaturePolicy::Ignore.into();
    assert_eq!(ask(&server, request).await.unwrap().predictions[0].probabilities.len(), 2);
}

#[tokio::test]
async fn a_row_that_one_model_cannot_read_is_refused_for_all() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    // A number for `telco`, a category for `gym`; texts fit both.
    let answer = ask(&server, batch(2, vec![texts("tenure", &["3", "long"])])).await.unwrap();
    assert_eq!(answer.row_statuses, [v1::RowStatus::Ok as i32, v1::RowStatus::Invalid as i32]);
    assert!(answer.predictions.iter().all(|model| model.probabilities[1].is_nan() && !model.probabilities[0].is_nan()));
    assert_eq!(answer.row_errors.len(), 1);
}

#[tokio::test]
async fn a_full_batch_fits_and_one_row_more_is_refused() {
    let server = TestServer::start(&[wide(100)]).await;
    let columns = |n_rows| (0..100).map(|position| texts(&format!("f{position:04}"), &vec!["1.5"; n_rows])).collect();
    let answer = ask(&server, batch(10_000, columns(10_000))).await.unwrap();
    assert_eq!(answer.predictions[0].probabilities.len(), 10_000);
    let status = ask(&server, batch(10_001, columns(10_001))).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("customer_ids", "TOO_MANY")]);
}

#[tokio::test]
async fn no_rows_give_an_empty_answer() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let answer = ask(&server, batch(0, vec![numbers("tenure", Vec::new(), &[])])).await.unwrap();
    assert!(answer.row_statuses.is_empty() && answer.predictions[0].probabilities.is_empty());
    assert!(answer.predictions[0].warnings.is_empty());
}

#[tokio::test]
async fn a_batch_larger_than_the_limit_leaves_the_server_standing() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let ids = vec!["x".repeat(1 << 20); 20];
    let request_of_20_mib = v1::PredictBatchRequest { customer_ids: ids, ..v1::PredictBatchRequest::default() };
    assert_eq!(ask(&server, request_of_20_mib).await.unwrap_err().code(), Code::OutOfRange);
    assert!(server.predict(request(&[])).await.is_ok());
}

#[tokio::test]
async fn a_small_message_that_is_large_in_memory_is_refused_before_it_is_decoded() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.max_batch_bytes = 1 << 20).await;
    let columns = vec![v1::FeatureColumn::default(); 500_000];
    assert_refused(&ask(&server, batch(0, columns)).await.unwrap_err(), Code::InvalidArgument, &[("columns", "TOO_MANY")]);
    // Not too many of anything, but 56 bytes in memory for 3 in the message.
    let columns = (0..30).map(|position| texts(&format!("f{position}"), &vec!["x"; 10_000])).collect();
    let status = ask(&server, batch(1, columns)).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("columns", "TOO_LARGE")]);
    let models = vec![String::new(); 101];
    let status = ask(&server, v1::PredictBatchRequest { models, ..batch(1, Vec::new()) }).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("models", "TOO_MANY")]);
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_their_places_until_their_time_is_over() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| {
        (config.max_batches_in_flight, config.request_seconds) = (2, 1);
    })
    .await;
    // Every row is refused, with some hundred bytes of reasons: far more than a window of one byte lets through.
    let bad_rows = || batch(5_000, vec![texts("tenure", &["long"; 5_000])]);
    let narrow = Endpoint::from_shared(format!("http://{}", server.running.local_addr())).unwrap().initial_stream_window_size(1);
    let codec = tonic_prost::ProstCodec::<v1::PredictBatchRequest, v1::PredictBatchResponse>::default;
    let path = || PathAndQuery::from_static("/retain.v1.PredictionService/PredictBatch");
    let mut deaf = tonic::client::Grpc::new(narrow.connect().await.unwrap());
    let mut unread = Vec::new();
    for _ in 0..2 {
        deaf.ready().await.unwrap();
        let question = tonic::Request::new(tokio_stream::once(bad_rows()));
        unread.push(deaf.streaming(question, path(), codec()).await.unwrap());
    }
    let status = ask(&server, bad_rows()).await.unwrap_err();
    assert_refused(&status, Code::ResourceExhausted, &[]);
    soon("a free place", async { while ask(&server, bad_rows()).await.is_err() {} }).await;
}
