//! Customers by id: the table of feature rows.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_server::{FeatureTable, RunningServer, Server};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    TODAY, TestServer, assert_refused, config, gym, publish, reason_of, request, soon, telco, text, usual, values,
};

const HEADER: &str = "id,tenure,contract,paperless,joined,day\n";

/// A folder for the table, and settings that name a file in it.
struct Table {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Table {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join(name), _folder: folder }
    }

    /// A text file that was left alone since yesterday.
    fn with(rows: &str) -> Self {
        let table = Self::new("customers.csv");
        table.write(&format!("{HEADER}{rows}"));
        table
    }

    fn write(&self, text: &str) {
        replace(&self.path, text, TODAY - 1.0);
    }

    fn settings(&self) -> FeatureTable {
        FeatureTable { path: self.path.clone(), entity: None, observed_at: Some("day".to_owned()), check_seconds: 3600 }
    }

    async fn serve(&self, bundles: &[retain_score::Bundle]) -> TestServer {
        TestServer::start_with(bundles, |config| config.features = Some(self.settings())).await
    }
}

/// Puts a file in the place of another one, as if it had been written on that day.
fn replace(path: &Path, content: impl AsRef<[u8]>, modified: f64) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(modified * 86_400.0);
    File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
    fs::rename(&new, path).unwrap();
}

fn by_id(id: &str) -> v1::PredictRequest {
    v1::PredictRequest { customer_id: id.to_owned(), ..v1::PredictRequest::default() }
}

fn sent(id: &str, features: &[(&str, Value)]) -> v1::PredictRequest {
    v1::PredictRequest { features: values(features), ..by_id(id) }
}

async fn reload(server: &TestServer) {
    server.running.handle().reload().await.unwrap();
}

fn probabilities(response: &v1::PredictResponse) -> Vec<u64> {
    response.predictions.iter().map(|prediction| prediction.probability.to_bits()).collect()
}

async fn batch(server: &TestServer, ids: &[&str], columns: Vec<v1::FeatureColumn>) -> Result<v1::PredictBatchResponse, Status> {
    let customer_ids = ids.iter().map(|&id| id.to_owned()).collect();
    let request = v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() };
    server.predictions().predict_batch(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn an_id_alone_gives_the_bits_of_its_values_sent() {
    let rows =
        "c-1,12.5,monthly,Yes,2024-01-01,2024-10-04\nc-2,,weekly,f,,2024-10-04\nc-3,NA,,,2024-10-03T12:00:00Z,2024-10-04\n";
    // `tenure` is a number to one of them and a category to the other.
    let server = Table::with(rows).serve(&[telco(-0.4), gym()]).await;
    for (id, row) in [
        ("c-1", ["12.5", "monthly", "Yes", "2024-01-01"]),
        ("c-2", ["", "weekly", "f", ""]),
        ("c-3", ["NA", "", "", "2024-10-03T12:00:00Z"]),
    ] {
        let features: Vec<_> = ["tenure", "contract", "paperless", "joined"].into_iter().zip(row.map(text)).collect();
        let stored = server.predict(by_id(id)).await.unwrap();
        let alone = server.predict(sent("", &features)).await.unwrap();
        assert_eq!(stored.predictions, alone.predictions, "{id}");
        assert!(stored.stored_row.is_some() && alone.stored_row.is_none());
    }
}

#[tokio::test]
async fn what_is_sent_overrides_feature_by_feature() {
    let server = Table::with("c-1,12,monthly,yes,,2024-10-04\n").serve(&[telco(-0.4)]).await;
    let contract = [("contract", text("two year"))];
    let overridden = server.predict(sent("c-1", &contract)).await.unwrap();
    let whole = [("tenure", Value::Number(12.0)), ("paperless", Value::Boolean(true)), contract[0].clone()];
    assert_eq!(overridden.predictions, server.predict(sent("", &whole)).await.unwrap().predictions);

    let mut nothing = by_id("c-1");
    nothing.features.insert("tenure".to_owned(), v1::FeatureValue { value: None });
    let without = server.predict(nothing).await.unwrap();
    let expected = [("paperless", Value::Boolean(true)), ("contract", text("monthly"))];
    assert_eq!(without.predictions, server.predict(sent("", &expected)).await.unwrap().predictions);
}

#[tokio::test]
async fn a_customer_whom_the_table_does_not_have_counts_by_what_was_sent() {
    let server = Table::with("c-1,12,monthly,yes,,2024-10-04\n").serve(&[telco(-0.4)]).await;
    let status = server.predict(by_id("c-9")).await.unwrap_err();
    assert_refused(&status, Code::NotFound, &[("customer_id", "CUSTOMER_NOT_FOUND")]);
    assert_eq!(reason_of(&status), "CUSTOMER_NOT_FOUND");
    let answer = server.predict(sent("c-9", &usual())).await.unwrap();
    assert_eq!(answer.predictions, server.predict(sent("", &usual())).await.unwrap().predictions);
    assert_eq!(answer.stored_row, None);
    // Nobody is named: as without a table.
    assert_eq!(server.predict(by_id("")).await.unwrap().predictions[0].warnings.len(), 3);
}

#[tokio::test]
async fn the_answer_says_how_old_the_row_is_and_counts_dates_to_it() {
    let rows = "dated,,,,2024-09-04,2024-10-02\ntimed,,,,,2024-10-03T18:00:00Z\nundated,,,,,\n";
    let server = Table::with(rows).serve(&[gym()]).await;
    let seconds = |day: f64| (day * 86_400.0) as i64;
    for (id, day) in [("dated", TODAY - 2.0), ("timed", TODAY - 0.25), ("undated", TODAY - 1.0)] {
        let row = server.predict(by_id(id)).await.unwrap().stored_row.unwrap();
        assert_eq!(row.observed_at.unwrap().seconds, seconds(day), "{id}");
        assert!((row.age_seconds - (TODAY - day) * 86_400.0).abs() < 1e-3, "{id}: {}", row.age_seconds);
    }
    let days_ago = |answer: &v1::PredictResponse| answer.predictions[0].margin.to_bits();
    let expected = |observed: f64| {
        let observed_at = Some(prost_types::Timestamp { seconds: seconds(observed), nanos: 0 });
        v1::PredictRequest { observed_at, ..sent("", &[("joined", text("2024-09-04"))]) }
    };
    let stored = server.predict(by_id("dated")).await.unwrap();
    assert_eq!(days_ago(&stored), days_ago(&server.predict(expected(TODAY - 2.0)).await.unwrap()));
    let asked = v1::PredictRequest { observed_at: expected(TODAY + 9.0).observed_at, ..by_id("dated") };
    let asked = server.predict(asked).await.unwrap();
    assert_eq!(days_ago(&asked), days_ago(&server.predict(expected(TODAY + 9.0)).await.unwrap()));
    // A date that is sent counts to now.
    let now = server.predict(sent("dated", &[("joined", text("2024-09-04"))])).await.unwrap();
    assert_eq!(days_ago(&now), days_ago(&server.predict(expected(TODAY)).await.unwrap()));
}

#[tokio::test]
async fn the_newest_row_of_a_customer_counts_and_of_equals_the_last() {
    let rows =
        "a,1,,,,2024-10-02\nb,1,,,,2024-10-01\na,2,,,,2024-10-03\na,3,,,,2024-10-01\nb,2,,,,2024-10-01\n,9,,,,2024-10-04\n";
    let server = Table::with(rows).serve(&[telco(-0.4)]).await;
    for id in ["a", "b"] {
        let expected = server.predict(sent("", &[("tenure", text("2"))])).await.unwrap();
        assert_eq!(server.predict(by_id(id)).await.unwrap().predictions, expected.predictions, "{id}");
    }
    let report = server.running.handle().customers().await.unwrap().unwrap();
    assert_eq!((report.n_rows, report.n_customers, report.n_superseded, report.n_without_id), (6, 2, 3, 1));
}

#[tokio::test]
async fn explain_what_if_and_streams_draw_on_the_table_too() {
    let server = Table::with("c-1,12,monthly,yes,,2024-10-04\n").serve(&[telco(-0.4)]).await;
    let mut client = server.predictions();
    let explain = |customer_id: &str, features| v1::ExplainRequest {
        customer_id: customer_id.to_owned(),
        features,
        ..v1::ExplainRequest::default()
    };
    let stored = client.explain(explain("c-1", values(&[]))).await.unwrap().into_inner();
    let alone = client.explain(explain("", values(&usual()))).await.unwrap().into_inner();
    assert_eq!((stored.margin, &stored.contributions), (alone.margin, &alone.contributions));
    assert_eq!((stored.customer_id.as_str(), stored.stored_row.unwrap().age_seconds), ("c-1", 0.0));
    let status = client.explain(explain("c-9", values(&[]))).await.unwrap_err();
    assert_refused(&status, Code::NotFound, &[("customer_id", "CUSTOMER_NOT_FOUND")]);

    let changes = vec![v1::Change { features: values(&[("contract", text("two year"))]) }];
    let what_if = |customer_id: &str, features| v1::WhatIfRequest {
        customer_id: customer_id.to_owned(),
        features,
        changes: changes.clone(),
        ..v1::WhatIfRequest::default()
    };
    let stored = client.what_if(what_if("c-1", values(&[]))).await.unwrap().into_inner();
    let alone = client.what_if(what_if("", values(&usual()))).await.unwrap().into_inner();
    assert_eq!(stored.comparisons, alone.comparisons);
    assert!(stored.stored_row.is_some());

    let requests = tokio_stream::iter([by_id("c-1"), by_id("c-9"), by_id("c-1")]);
    let mut answers = client.predict_stream(requests).await.unwrap().into_inner();
    let mut outcomes = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        outcomes.push(match answer.outcome.unwrap() {
            v1::predict_stream_response::Outcome::Response(response) => format!("{}", response.stored_row.is_some()),
            v1::predict_stream_response::Outcome::Error(error) => error.reason,
        });
    }
    assert_eq!(outcomes, ["true", "CUSTOMER_NOT_FOUND", "true"]);
}

#[tokio::test]
async fn a_batch_takes_what_has_no_column_from_stored_rows() {
    let rows = "a,12,monthly,yes,,2024-10-04\nb,30,two year,no,,2024-10-03\nbad,many,monthly,yes,,2024-10-04\n";
    let server = Table::with(rows).serve(&[telco(-0.4)]).await;
    let (ok, invalid) = (v1::RowStatus::Ok as i32, v1::RowStatus::Invalid as i32);
    let answer = batch(&server, &["b", "c-9", "a", "", "bad"], Vec::new()).await.unwrap();
    assert_eq!(answer.row_statuses, [ok, invalid, ok, ok, invalid]);
    let errors: Vec<_> = answer.row_errors.iter().map(|error| (error.row, error.field.as_str(), error.reason.as_str())).collect();
    assert_eq!(errors, [(1, "customer_ids[1]", "CUSTOMER_NOT_FOUND"), (4, "customer_ids[4]", "NOT_A_NUMBER")]);
    assert_eq!(answer.stored_age_seconds[0], 86_400.0);
    assert!(answer.stored_age_seconds[1].is_nan() && answer.stored_age_seconds[3].is_nan());
    for (row, id) in [(0, "b"), (2, "a"), (3, "")] {
        let alone = server.predict(by_id(id)).await.unwrap();
        assert_eq!(vec![answer.predictions[0].probabilities[row].to_bits()], probabilities(&alone), "{id}");
    }

    let contract = v1::TextColumn { values: ["one year", "one year", ""].map(str::to_owned).to_vec() };
    let contract = v1::FeatureColumn {
        name: "contract".to_owned(),
        values: Some(v1::feature_column::Values::Texts(contract)),
        missing: Vec::new(),
    };
    let answer = batch(&server, &["a", "c-9", "b"], vec![contract]).await.unwrap();
    assert_eq!(answer.row_statuses, [ok, ok, ok]);
    for (row, id, contract) in [(0, "a", "one year"), (1, "c-9", "one year"), (2, "b", "")] {
        let alone = server.predict(sent(id, &[("contract", text(contract))])).await.unwrap();
        assert_eq!(vec![answer.predictions[0].probabilities[row].to_bits()], probabilities(&alone), "{id}");
    }
    let warnings: Vec<_> =
        answer.predictions[0].warnings.iter().map(|warning| (warning.feature.as_str(), warning.rows.as_slice())).collect();
    assert_eq!(warnings, [("tenure", &[1][..]), ("contract", &[2]), ("paperless", &[1])]);
}

#[tokio::test]
async fn a_stored_value_that_does_not_fit_is_refused_as_if_it_had_been_sent() {
    let server = Table::with("a,many,monthly,perhaps,,2024-10-04\nb,3,monthly,yes,,2024-10-04\n").serve(&[telco(-0.4)]).await;
    let status = server.predict(by_id("a")).await.unwrap_err();
    let fields = [("features[\"tenure\"]", "NOT_A_NUMBER"), ("features[\"paperless\"]", "NOT_A_BOOLEAN")];
    assert_refused(&status, Code::InvalidArgument, &fields);
    assert!(status.message().contains("of the stored row should be a number, found `many`"), "{}", status.message());
    let better = [("tenure", Value::Number(3.0)), ("paperless", Value::Boolean(true))];
    let better = server.predict(sent("a", &better)).await.unwrap();
    assert_eq!(better.predictions, server.predict(by_id("b")).await.unwrap().predictions);
    let report = server.running.handle().customers().await.unwrap().unwrap();
    assert_eq!(report.bad_cells, [("paperless".to_owned(), 1), ("tenure".to_owned(), 1)]);
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn parquet_gives_the_same_answers_and_its_numbers_are_ids_and_categories_too() {
    let mut bundle = telco(-0.4);
    bundle.schema.features[1].set_categories(vec!["1".into(), "2".into(), "3".into()]);
    let table = Table::new("customers.parquet");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![7, 9_007_199_254_740_993]))),
        ("tenure", Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        ("contract", Arc::new(Int64Array::from(vec![2, 5]))),
        ("paperless", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("day", Arc::new(Date32Array::from(vec![TODAY as i32, TODAY as i32 - 3]))),
    ];
    replace(&table.path, parquet(columns), TODAY);
    let server = table.serve(&[bundle]).await;
    let first = [("tenure", Value::Number(f64::from(0.1_f32))), ("contract", text("2")), ("paperless", Value::Boolean(true))];
    assert_eq!(
        server.predict(by_id("7")).await.unwrap().predictions,
        server.predict(sent("", &first)).await.unwrap().predictions
    );
    let second = server.predict(by_id("9007199254740993")).await.unwrap();
    assert_eq!(second.predictions, server.predict(sent("", &[("contract", text("5"))])).await.unwrap().predictions);
    assert_eq!(second.stored_row.unwrap().age_seconds, 3.0 * 86_400.0);
    assert_refused(&server.predict(by_id("8")).await.unwrap_err(), Code::NotFound, &[("customer_id", "CUSTOMER_NOT_FOUND")]);
}

#[tokio::test]
async fn a_table_that_cannot_be_read_leaves_the_one_before_it() {
    let table = Table::with("c-1,12,monthly,yes,,2024-10-04\n");
    let server = table.serve(&[telco(-0.4)]).await;
    let before = server.predict(by_id("c-1")).await.unwrap();
    let whole = parquet(vec![("id", Arc::new(StringArray::from(vec!["c-1"])) as ArrayRef)]);
    for (content, why) in [
        (&b""[..], "the table is empty"),
        (HEADER.as_bytes(), "no rows"),
        (b"customer,tenure,day\nc-1,1,2024-10-04\n", "no column `id`"),
        (b"id,tenure\nc-1,1\n", "no column `day`"),
        (b"id,colour,day\nc-1,red,2024-10-04\n", "none of the columns"),
        (b"id,tenure,day\nc-1,1,2024-10-04\nc-2\n", "line 3: 1 fields"),
        (b"id,tenure,day\n,1,2024-10-04\n", "no row of the customer table has an id"),
        (b"id,tenure,day\nc-1,\"1,2024-10-04\n", "never closes"),
        (&whole[..whole.len() - 20], "Parquet"),
        (b"\x1f\x8b\x08\x00", "gzip"),
    ] {
        replace(&table.path, content, TODAY - 2.0);
        reload(&server).await;
        let error = server.running.handle().customers().await.unwrap().unwrap_err();
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&*error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        assert!(reason.contains(why), "{reason}");
        assert_eq!(server.predict(by_id("c-1")).await.unwrap(), before, "{why}");
    }
    fs::remove_file(&table.path).unwrap();
    reload(&server).await;
    assert_eq!(server.predict(by_id("c-1")).await.unwrap(), before);
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
    table.write(&format!("{HEADER}c-2,1,monthly,yes,,2024-10-04\n"));
    reload(&server).await;
    assert!(server.predict(by_id("c-1")).await.is_err());
    assert!(server.predict(by_id("c-2")).await.is_ok());
}

#[tokio::test]
async fn a_server_is_ready_when_its_table_has_been_read() {
    let table = Table::with("c-1\n");
    let server = table.serve(&[telco(-0.4)]).await;
    assert!(server.running.handle().customers().await.unwrap().is_err());
    assert_eq!(server.health_of("").await, ServingStatus::NotServing);
    let status = server.predict(by_id("c-1")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unavailable, "CUSTOMERS_NOT_LOADED"));
    let status = batch(&server, &["c-1"], Vec::new()).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unavailable, "CUSTOMERS_NOT_LOADED"));
    assert!(server.predict(sent("", &usual())).await.is_ok());

    table.write(&format!("{HEADER}c-1,12,monthly,yes,,2024-10-04\n"));
    reload(&server).await;
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
    assert!(server.predict(by_id("c-1")).await.is_ok());
}

#[tokio::test]
async fn a_text_file_is_taken_when_it_has_been_left_alone() {
    let table = Table::with("c-1,12,monthly,yes,,2024-10-04\n");
    let server = table.serve(&[telco(-0.4)]).await;
    replace(&table.path, format!("{HEADER}c-2,1,monthly,yes,,2024-10-04\n"), TODAY);
    for _ in 0..2 {
        reload(&server).await;
        assert!(server.predict(by_id("c-2")).await.is_err(), "it may still be being written");
    }
    // What was seen to be the same for so long is whole too, whatever the clocks say.
    let impatient = FeatureTable { check_seconds: 1, ..table.settings() };
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.features = Some(impatient)).await;
    assert!(server.predict(by_id("c-2")).await.is_ok());
}

#[tokio::test]
async fn a_change_is_noticed_without_being_told() {
    let table = Table::with("c-1,12,monthly,yes,,2024-10-04\n");
    let server = TestServer::start_with(&[telco(-0.4)], |config| {
        config.features = Some(FeatureTable { check_seconds: 1, ..table.settings() });
    })
    .await;
    table.write(&format!("{HEADER}c-2,12,monthly,yes,,2024-10-04\n"));
    soon("the new table", async { while server.predict(by_id("c-2")).await.is_err() {} }).await;
    // The call asks for a look, and does not wait for it.
    let slow = TestServer::start_with(&[telco(-0.4)], |config| config.features = Some(table.settings())).await;
    table.write(&format!("{HEADER}c-3,12,monthly,yes,,2024-10-04\n"));
    slow.models().reload(v1::ReloadRequest {}).await.unwrap();
    soon("the new table", async { while slow.predict(by_id("c-3")).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_model_that_wants_another_column_finds_it_read() {
    let table = Table::with("c-1,12,monthly,yes,2024-09-01,2024-10-04\n");
    let server = table.serve(&[telco(-0.4)]).await;
    publish(&server.registry, &gym());
    reload(&server).await;
    let answer = server.predict(by_id("c-1")).await.unwrap();
    assert_eq!(answer.predictions.len(), 2);
    let features =
        [("joined", text("2024-09-01")), ("tenure", text("12")), ("contract", text("monthly")), ("paperless", text("yes"))];
    assert_eq!(answer.predictions, server.predict(sent("", &features)).await.unwrap().predictions);
    let second = publish(&server.registry, &telco(0.9));
    reload(&server).await;
    let answer = server.predict(by_id("c-1")).await.unwrap();
    assert_eq!(answer.predictions[1].model.as_ref().unwrap().version, second);
    assert!(answer.predictions[1].warnings.is_empty());
}

#[tokio::test]
async fn a_model_that_the_table_cannot_be_read_for_does_not_replace_one_that_answers() {
    let table = Table::with("c-1,12,monthly,yes,2024-09-01,2024-10-04\n");
    let server = table.serve(&[telco(-0.4)]).await;
    let before = server.predict(by_id("c-1")).await.unwrap();
    replace(&table.path, "id,tenure\n\"", TODAY - 2.0);
    publish(&server.registry, &gym());
    assert!(server.running.handle().reload().await.is_err());
    assert_eq!(server.predict(by_id("c-1")).await.unwrap(), before);
    // What reads no other columns is taken up all the same.
    fs::remove_dir_all(server.registry.root().join("gym")).unwrap();
    let second = publish(&server.registry, &telco(0.9));
    server.running.handle().reload().await.unwrap();
    let answer = server.predict(by_id("c-1")).await.unwrap();
    assert_eq!(answer.predictions[0].model.as_ref().unwrap().version, second);
    table.write(&format!("{HEADER}c-1,12,monthly,yes,2024-09-01,2024-10-04\n"));
    publish(&server.registry, &gym());
    reload(&server).await;
    assert_eq!(server.predict(by_id("c-1")).await.unwrap().predictions.len(), 2);
}

#[tokio::test]
async fn a_column_that_the_files_do_not_have_is_missing_for_everybody() {
    let table = Table::new("customers.csv");
    table.write("id,tenure,day\nc-1,12,2024-10-04\n");
    let server = table.serve(&[telco(-0.4)]).await;
    let answer = server.predict(by_id("c-1")).await.unwrap();
    assert_eq!(answer.predictions, server.predict(sent("", &[("tenure", text("12"))])).await.unwrap().predictions);
    let report = server.running.handle().customers().await.unwrap().unwrap();
    assert_eq!(report.absent, ["contract", "paperless"]);
}

#[tokio::test]
async fn a_folder_is_one_table_when_its_files_have_the_same_columns() {
    let table = Table::new("customers");
    fs::create_dir(&table.path).unwrap();
    let file = |name: &str, text: &str| replace(&table.path.join(name), text, TODAY - 1.0);
    file("part-1.csv", "id,tenure,day\nc-1,1,2024-10-01\nc-2,1,2024-10-03\n");
    file("part-2.csv", "day,id,tenure\n2024-10-02,c-1,2\n2024-10-02,c-2,2\n");
    file("_SUCCESS", "");
    let server = table.serve(&[telco(-0.4)]).await;
    for (id, tenure) in [("c-1", "2"), ("c-2", "1")] {
        let expected = server.predict(sent("", &[("tenure", text(tenure))])).await.unwrap();
        assert_eq!(server.predict(by_id(id)).await.unwrap().predictions, expected.predictions, "{id}");
    }
    file("part-3.csv", "id,tenur,day\nc-3,1,2024-10-01\n");
    reload(&server).await;
    let error = server.running.handle().customers().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("differ in column `tenur"), "{error}");
    assert!(server.predict(by_id("c-3")).await.is_err());
}

#[tokio::test]
async fn no_answer_mixes_two_tables() {
    const CUSTOMERS: usize = 500;
    let table = Table::new("customers.csv");
    let write = |tenure: &str, day: &str| {
        let row = |customer| format!("c-{customer},{tenure},monthly,yes,,{day}\n");
        table.write(&format!("{HEADER}{}", (0..CUSTOMERS).map(row).collect::<String>()));
    };
    write("1", "2024-10-03");
    let server = Arc::new(table.serve(&[telco(-0.4), gym()]).await);
    let ids: Vec<String> = (0..CUSTOMERS).map(|customer| format!("c-{customer}")).collect();
    let calls = (0..3).map(|_| {
        let (server, ids) = (server.clone(), ids.clone());
        tokio::spawn(async move {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let mut kinds = std::collections::BTreeSet::new();
            for _ in 0..60 {
                let answer = batch(&server, &ids, Vec::new()).await.unwrap();
                let telco = &answer.predictions[1];
                let first = (answer.stored_age_seconds[0].to_bits(), telco.probabilities[0].to_bits());
                let rows = answer.stored_age_seconds.iter().zip(&telco.probabilities);
                assert!(rows.map(|(age, probability)| (age.to_bits(), probability.to_bits())).all(|row| row == first));
                kinds.insert(first);
            }
            kinds
        })
    });
    let calls: Vec<_> = calls.collect();
    while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
        for (tenure, day) in [("60", "2024-10-02"), ("1", "2024-10-03")] {
            write(tenure, day);
            reload(&server).await;
        }
    }
    let mut kinds = std::collections::BTreeSet::new();
    for call in calls {
        kinds.extend(call.await.unwrap());
    }
    assert_eq!(kinds.len(), 2, "each age has its own probability");
}

#[tokio::test]
async fn without_a_table_ids_are_sent_back_and_no_more() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    assert_eq!(server.running.handle().customers().await.map(|look| look.is_ok()), None);
    let answer = server.predict(request(&[])).await.unwrap();
    assert_eq!((answer.customer_id.as_str(), answer.stored_row), ("c-1", None));
    assert!(batch(&server, &["c-1"], Vec::new()).await.unwrap().stored_age_seconds.is_empty());
}

#[tokio::test]
async fn the_column_of_ids_has_to_be_known() {
    let table = Table::with("c-1,12,monthly,yes,,2024-10-04\n");
    let mut bundle = gym();
    bundle.schema.entity = Some("member".to_owned());
    let server = table.serve(&[telco(-0.4), bundle]).await;
    let error = server.running.handle().customers().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("`id`, `member`"), "{error}");

    let mut config = config(server.registry.root());
    config.features = Some(FeatureTable { entity: Some("id".to_owned()), ..table.settings() });
    let named: RunningServer = Server::bind(config).await.unwrap().spawn().await;
    assert_eq!(named.handle().customers().await.unwrap().unwrap().n_customers, 1);
}
