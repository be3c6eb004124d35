//! What was predicted is written to Parquet files, and what a shadow would have said.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retain_core::{ColumnKind, FeatureSpec, ModelName};
use retain_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use retain_proto::inference::model_infer_request::InferInputTensor;
use retain_proto::inference::{InferTensorContents, ModelInferRequest};
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_score::Bundle;
use retain_server::{Config, Counts, PredictionLogSettings};

use crate::support::{TODAY, TestServer, number_column, request, soon, telco, text, usual, with_feature};

struct Logged {
    server: TestServer,
    folder: tempfile::TempDir,
}

async fn logged(bundles: &[Bundle], change: impl FnOnce(&mut PredictionLogSettings)) -> Logged {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = PredictionLogSettings::new(folder.path().join("log"));
    change(&mut settings);
    let set = |config: &mut Config| config.prediction_log = Some(settings);
    Logged { server: TestServer::start_with(bundles, set).await, folder }
}

impl Logged {
    fn counts(&self) -> Counts {
        self.server.running.handle().counts()
    }

    /// Stops the server and reads what it has written for a version.
    async fn rows_of(self, model: &str) -> Option<RecordBatch> {
        let Self { server, folder } = self;
        server.running.stop().await.unwrap();
        let files = files(&folder.path().join("log").join(model));
        let batches: Vec<RecordBatch> = files.iter().flat_map(|path| read(path)).collect();
        let schema = batches.first()?.schema();
        Some(arrow::compute::concat_batches(&schema, &batches).unwrap())
    }

    /// Makes a published version the shadow.
    async fn cast_shadow(&self, bundle: &Bundle) -> u32 {
        let version = self.server.registry.publish(bundle).unwrap().version;
        self.server.registry.set_alias(&bundle.manifest.name, "shadow", version).unwrap();
        self.server.running.handle().reload().await.unwrap();
        version
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    rows.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn numbers(rows: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    rows.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().collect()
}

fn some(list: &[&str]) -> Vec<Option<String>> {
    list.iter().map(|text| Some((*text).to_owned())).collect()
}

#[tokio::test]
async fn every_prediction_becomes_a_row_that_can_be_trained_on() {
    let logged = logged(&[telco(-0.4)], |_| ()).await;
    let mut first = tonic::Request::new(request(&usual()));
    first.metadata_mut().insert("x-request-id", "r-1".parse().unwrap());
    let first = logged.server.predictions().predict(first).await.unwrap().into_inner().predictions.remove(0);
    let odd = [("contract", text("we\nekly"))];
    let second = v1::PredictRequest { models: vec!["telco/1".into()], customer_id: String::new(), ..request(&odd) };
    let second = logged.server.predict(second).await.unwrap().predictions.remove(0);

    let rows = logged.rows_of("telco/1").await.unwrap();
    assert_eq!(texts(&rows, "retain_customer_id"), some(&["c-1", ""]));
    assert_eq!(texts(&rows, "retain_request_id"), [Some("r-1".to_owned()), None]);
    assert_eq!(texts(&rows, "retain_model"), some(&["telco", "telco"]));
    assert_eq!(texts(&rows, "retain_alias"), [Some("champion".to_owned()), None]);
    assert_eq!(rows.column_by_name("retain_version").unwrap().as_primitive::<UInt32Type>().values(), &[1, 1]);
    let time = rows.column_by_name("retain_time").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(time, (TODAY * 86_400e6) as i64);
    assert_eq!(numbers(&rows, "retain_probability"), [Some(first.probability), Some(second.probability)]);
    assert_eq!(numbers(&rows, "retain_margin"), [Some(first.margin), Some(second.margin)]);
    assert_eq!(numbers(&rows, "retain_expected_value"), [None, None]);
    assert_eq!(numbers(&rows, "tenure"), [Some(12.0), None]);
    assert_eq!(texts(&rows, "contract"), some(&["monthly", "(unseen)"]));
    let paperless = rows.column_by_name("paperless").unwrap().as_boolean().clone();
    assert!(paperless.value(0) && paperless.is_null(1));
}

#[tokio::test]
async fn streams_batches_and_model_infer_are_logged_and_refused_rows_are_not() {
    let logged = logged(&[telco(-0.4)], |_| ()).await;
    let stream = tokio_stream::iter([request(&usual()), request(&[("tenure", text("many"))]), request(&usual())]);
    let mut answers = logged.server.predictions().predict_stream(stream).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let columns = vec![number_column("tenure", vec![1.0, f64::NAN, 3.0])];
    let customer_ids = ["a", "b", "c"].map(str::to_owned).to_vec();
    let batch = v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() };
    logged.server.predictions().predict_batch(batch).await.unwrap();
    let contents = Some(InferTensorContents { fp64_contents: vec![7.0], ..InferTensorContents::default() });
    let (name, datatype) = ("tenure".to_owned(), "FP64".to_owned());
    let tensor = InferInputTensor { name, datatype, shape: vec![1], contents, ..InferInputTensor::default() };
    let infer = ModelInferRequest { model_name: "telco".into(), inputs: vec![tensor], ..ModelInferRequest::default() };
    GrpcInferenceServiceClient::new(logged.server.channel.clone()).model_infer(infer).await.unwrap();

    let rows = logged.rows_of("telco/1").await.unwrap();
    assert_eq!(texts(&rows, "retain_customer_id"), some(&["c-1", "c-1", "a", "c", ""]));
    assert_eq!(numbers(&rows, "tenure"), [12.0, 12.0, 1.0, 3.0, 7.0].map(Some));
}

#[tokio::test]
async fn nothing_is_logged_unless_a_folder_is_named() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    server.predict_one(&usual()).await;
    assert_eq!(server.running.handle().counts().logged_rows, 0);
}

#[tokio::test]
async fn a_file_is_completed_when_it_is_full_or_old() {
    let logged = logged(&[telco(-0.4)], |settings| (settings.rotate_rows, settings.rotate_seconds) = (2, 3)).await;
    for _ in 0..5 {
        logged.server.predict_one(&usual()).await;
    }
    // Two full files; the fifth row's becomes old.
    soon("three files", async {
        while logged.counts().logged_rows < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let folder = logged.folder.path().join("log/telco/1");
    let mut n_rows: Vec<usize> = files(&folder).iter().map(|path| read(path)[0].num_rows()).collect();
    n_rows.sort_unstable();
    assert_eq!(n_rows, [1, 2, 2]);
}

#[tokio::test]
async fn predictions_go_on_without_the_folder_and_the_log_recovers() {
    let logged = logged(&[telco(-0.4)], |settings| settings.rotate_rows = 1).await;
    let place = logged.folder.path().join("log");
    // A file where the folder should be.
    fs::write(&place, "").unwrap();
    logged.server.predict_one(&usual()).await;
    soon("a dropped row", async {
        while logged.counts().log_rows_dropped == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    fs::remove_file(&place).unwrap();
    soon("a written row", async {
        while logged.counts().logged_rows == 0 {
            logged.server.predict_one(&usual()).await;
        }
    })
    .await;
    let is_whole = |path: &PathBuf| path.extension().is_some_and(|end| end == "parquet");
    assert!(files(&place.join("telco/1")).iter().any(is_whole));
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let logged = logged(&[telco(-0.4)], |settings| settings.queue_bytes = 1).await;
    for _ in 0..3 {
        logged.server.predict_one(&usual()).await;
    }
    assert_eq!(logged.counts().log_rows_dropped, 3);
}

#[tokio::test]
async fn a_shadow_reads_the_same_values_by_its_own_schema_and_answers_nobody() {
    let logged = logged(&[telco(-0.4)], |_| ()).await;
    let shadow = with_feature(telco(0.9), FeatureSpec::new("age", ColumnKind::Number));
    let version = logged.cast_shadow(&shadow).await;
    let mut features = usual();
    features.push(("age", Value::Number(40.0)));
    let answers = logged.server.predict(request(&features)).await.unwrap().predictions;
    assert_eq!(answers.iter().map(|answer| answer.model.as_ref().unwrap().version).collect::<Vec<_>>(), [1]);
    let asked = v1::PredictRequest { models: vec!["telco@shadow".into()], ..request(&features) };
    let told = logged.server.predict(asked).await.unwrap().predictions.remove(0);
    let columns = vec![number_column("tenure", vec![1.0, 2.0]), number_column("age", vec![30.0, 31.0])];
    let customer_ids = ["a", "b"].map(str::to_owned).to_vec();
    let batch = v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() };
    logged.server.predictions().predict_batch(batch).await.unwrap();

    let rows = logged.rows_of(&format!("telco/{version}")).await.unwrap();
    // One for the call, one because the shadow was asked for by name, two for the batch: the shadow's thread may be later than the call's.
    let alias = texts(&rows, "retain_alias");
    assert_eq!(alias, some(&["shadow"; 4]));
    let mut ages = numbers(&rows, "age");
    ages.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(ages, [30.0, 31.0, 40.0, 40.0].map(Some));
    assert!(numbers(&rows, "retain_probability").contains(&Some(told.probability)));
}

#[tokio::test]
async fn a_shadow_that_cannot_read_a_value_is_counted_and_delays_nobody() {
    let logged = logged(&[telco(-0.4)], |_| ()).await;
    // The shadow wants a number where customers have a text of their own.
    let shadow = with_feature(telco(0.9), FeatureSpec::new("note", ColumnKind::Number));
    logged.cast_shadow(&shadow).await;
    let mut features = usual();
    features.push(("note", text("not a number")));
    logged.server.predict(request(&features)).await.unwrap();
    soon("the count", async {
        while logged.counts().shadow_rows_dropped == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let name = ModelName::new("telco").unwrap();
    assert_eq!(logged.server.registry.aliases(&name).unwrap().len(), 2);
    assert!(logged.rows_of("telco/2").await.is_none());
}
