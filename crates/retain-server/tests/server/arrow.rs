//! `PredictBatch` as Arrow IPC.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Date64Array, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt16Array,
};
use arrow::datatypes::{Float64Type, Int8Type, Int32Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use retain_proto::v1;
use retain_proto::v1::feature_column::Values;
use retain_server::FeatureTable;
use tonic::{Code, Status};

use crate::support::{TestServer, assert_refused, gym, telco, wide};

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn record_batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

async fn ask(server: &TestServer, request: v1::PredictBatchRequest) -> Result<v1::PredictBatchResponse, Status> {
    server.predictions().predict_batch(request).await.map(tonic::Response::into_inner)
}

fn request(arrow_ipc: Vec<u8>) -> v1::PredictBatchRequest {
    v1::PredictBatchRequest { arrow_ipc, ..v1::PredictBatchRequest::default() }
}

/// The only record batch of an answer.
fn answer_of(response: &v1::PredictBatchResponse) -> RecordBatch {
    let batches: Vec<_> = StreamReader::try_new(&response.arrow_ipc[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    batches.into_iter().next().unwrap()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn bits(batch: &RecordBatch, column: &str) -> Vec<Option<u64>> {
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().map(|number| number.map(f64::to_bits)).collect()
}

fn refused(reason: &str, field: &str, status: &Status) {
    assert_refused(status, Code::InvalidArgument, &[(field, reason)]);
}

/// `tenure`, compressed with zstd: what `ipc.new_stream(…, options=ipc.IpcWriteOptions(compression="zstd"))` of pyarrow 26 writes of
/// `{"tenure": [1, 2, 3] * 50}`.
const COMPRESSED: &[u8] = include_bytes!("zstd.arrows");

/// A stream whose second batch adds to the dictionary of the first.
fn growing_dictionary() -> Vec<u8> {
    let values = ["monthly", "one year"];
    let batch = |n_values: usize| {
        let texts = StringArray::from(values[..n_values].to_vec());
        let column: DictionaryArray<Int8Type> = DictionaryArray::try_new(vec![0].into(), Arc::new(texts)).unwrap();
        record_batch(vec![("contract", Arc::new(column))])
    };
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch(1).schema(), options).unwrap();
    writer.write(&batch(1)).unwrap();
    writer.write(&batch(2)).unwrap();
    writer.into_inner().unwrap()
}

fn usual_batch() -> RecordBatch {
    record_batch(vec![
        ("customer_id", Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), Some("d")]))),
        ("tenure", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN), Some(80.0)]))),
        ("contract", Arc::new(StringArray::from(vec![Some("monthly"), Some("weekly"), Some("one year"), None]))),
        ("paperless", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None]))),
    ])
}

#[tokio::test]
async fn a_stream_gives_the_bits_of_the_columnar_form() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let dates = ["2024-01-01", "2024-09-03T10:20:30.25Z", "", "1969-12-31T23:00:00Z"];
    let columnar = |name: &str, values, missing: &[u32]| v1::FeatureColumn {
        name: name.to_owned(),
        values: Some(values),
        missing: missing.to_vec(),
    };
    let text = |values: &[&str]| Values::Texts(v1::TextColumn { values: values.iter().map(|&text| text.to_owned()).collect() });
    let columns = vec![
        columnar("tenure", text(&["3", "", "71", "2"]), &[]),
        columnar("contract", text(&["monthly", "two year", "weekly", ""]), &[]),
        columnar("paperless", Values::Booleans(v1::BooleanColumn { values: vec![true, false, true, false] }), &[2]),
        columnar("joined", text(&dates), &[]),
    ];
    let customer_ids = ["7", "", "9", "10"].map(str::to_owned).to_vec();
    let expected = ask(&server, v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() });
    let expected = expected.await.unwrap();

    let joined = [Some(1_704_067_200_000_000_i64), Some(1_725_358_830_250_000), None, Some(-3_600_000_000)];
    let contracts: DictionaryArray<Int8Type> =
        vec![Some("monthly"), Some("two year"), Some("weekly"), None].into_iter().collect();
    let texts_of_tenure = vec![Some("3"), None, Some("71"), Some("2")];
    let paperless: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(false)]));
    for (tenure, contract, joined) in [
        (
            Arc::new(StringArray::from(texts_of_tenure.clone())) as ArrayRef,
            Arc::new(contracts) as ArrayRef,
            Arc::new(TimestampMicrosecondArray::from(joined.to_vec())) as ArrayRef,
        ),
        (
            Arc::new(LargeStringArray::from(texts_of_tenure.clone())),
            Arc::new(StringViewArray::from(vec![Some("monthly"), Some("two year"), Some("weekly"), Some(" ")])),
            Arc::new(
                TimestampNanosecondArray::from(joined.map(|micros| micros.map(|micros| micros * 1000)).to_vec())
                    .with_timezone("UTC"),
            ),
        ),
    ] {
        let ids = Arc::new(Int64Array::from(vec![Some(7), None, Some(9), Some(10)])) as ArrayRef;
        let batch = record_batch(vec![
            ("joined", joined),
            ("customer_id", ids),
            ("tenure", tenure),
            ("contract", contract),
            ("paperless", paperless.clone()),
        ]);
        // Where one batch ends and the next begins makes no difference.
        let batches = [batch.slice(0, 1), batch.slice(1, 0), batch.slice(1, 3)];
        let response = ask(&server, request(stream(&batches))).await.unwrap();
        let answer = answer_of(&response);
        assert_eq!(texts(&answer, "customer_id"), [Some("7"), None, Some("9"), Some("10")].map(|id| id.map(str::to_owned)));
        for prediction in &expected.predictions {
            let name = &prediction.model.as_ref().unwrap().name;
            let expected: Vec<_> = prediction.probabilities.iter().map(|number| Some(number.to_bits())).collect();
            assert_eq!(bits(&answer, &format!("{name}.probability")), expected);
            let expected: Vec<_> = prediction.margins.iter().map(|number| Some(number.to_bits())).collect();
            assert_eq!(bits(&answer, &format!("{name}.margin")), expected);
        }
        let warnings =
            |response: &v1::PredictBatchResponse| response.predictions.iter().map(|of| of.warnings.clone()).collect::<Vec<_>>();
        assert_eq!(warnings(&response), warnings(&expected));
        assert!(response.predictions[0].probabilities.is_empty() && response.row_statuses.is_empty());
    }
}

#[tokio::test]
async fn numbers_of_every_width_are_read() {
    let server = TestServer::start(&[wide(6)]).await;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("f0000", Arc::new(Int8Array::from(vec![-3, 4]))),
        ("f0001", Arc::new(Int64Array::from(vec![-3, 4]))),
        ("f0002", Arc::new(UInt16Array::from(vec![3, 4]))),
        ("f0003", Arc::new(Float32Array::from(vec![0.1, 4.0]))),
        ("f0004", Arc::new(Float64Array::from(vec![0.1, 4.0]))),
        ("f0005", Arc::new(NullArray::new(2))),
    ];
    let answer = answer_of(&ask(&server, request(stream(&[record_batch(columns)]))).await.unwrap());
    let numbers = |name: &str, values: [f64; 2]| v1::FeatureColumn {
        name: name.to_owned(),
        values: Some(Values::Numbers(v1::NumberColumn { values: values.to_vec() })),
        missing: Vec::new(),
    };
    let columns = vec![
        numbers("f0000", [-3.0, 4.0]),
        numbers("f0001", [-3.0, 4.0]),
        numbers("f0002", [3.0, 4.0]),
        numbers("f0003", [f64::from(0.1_f32), 4.0]),
        numbers("f0004", [0.1, 4.0]),
    ];
    let customer_ids = vec![String::new(); 2];
    let expected = ask(&server, v1::PredictBatchRequest { customer_ids, columns, ..v1::PredictBatchRequest::default() });
    let expected: Vec<_> =
        expected.await.unwrap().predictions[0].probabilities.iter().map(|number| Some(number.to_bits())).collect();
    assert_eq!(bits(&answer, "wide.probability"), expected);

    let server = TestServer::start(&[gym()]).await;
    let days = record_batch(vec![("joined", Arc::new(Date32Array::from(vec![19_000]))), ("tenure", Arc::new(NullArray::new(1)))]);
    let millis = record_batch(vec![("joined", Arc::new(Date64Array::from(vec![19_000 * 86_400_000])))]);
    let days = answer_of(&ask(&server, request(stream(&[days]))).await.unwrap());
    assert_eq!(
        bits(&days, "gym.margin"),
        bits(&answer_of(&ask(&server, request(stream(&[millis]))).await.unwrap()), "gym.margin")
    );
}

#[tokio::test]
async fn a_bad_row_has_its_error_in_its_place() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let answer = answer_of(&ask(&server, request(stream(&[usual_batch()]))).await.unwrap());
    assert_eq!(texts(&answer, "status").iter().flatten().collect::<Vec<_>>(), ["OK", "OK", "INVALID", "OK"]);
    assert_eq!(texts(&answer, "error_field")[2].as_deref(), Some("arrow_ipc[\"tenure\"][2]"));
    assert_eq!(texts(&answer, "error_reason"), [None, None, Some("NOT_FINITE".to_owned()), None]);
    assert!(texts(&answer, "error_description")[2].as_ref().unwrap().contains("finite"));
    assert_eq!(bits(&answer, "telco.probability").iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(texts(&answer, "telco.band")[2], None);
    assert!(answer.column_by_name("stored_age_seconds").is_none());
}

#[tokio::test]
async fn two_versions_of_a_model_have_columns_of_their_own() {
    let server = TestServer::start(&[telco(-0.4), telco(0.4)]).await;
    server.registry.set_alias(&telco(0.0).manifest.name, "challenger", 1).unwrap();
    server.running.handle().reload().await.unwrap();
    let models = vec!["telco".to_owned(), "telco@challenger".to_owned()];
    let asked = v1::PredictBatchRequest { models, ..request(stream(&[usual_batch()])) };
    let answer = answer_of(&ask(&server, asked).await.unwrap());
    assert_ne!(bits(&answer, "telco/1.margin"), bits(&answer, "telco/2.margin"));
}

#[tokio::test]
async fn ids_of_a_stream_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("customers.parquet");
    let table = record_batch(vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("tenure", Arc::new(Float64Array::from(vec![3.0, 60.0]))),
        ("contract", Arc::new(StringArray::from(vec!["monthly", "two year"]))),
        ("paperless", Arc::new(BooleanArray::from(vec![true, false]))),
    ]);
    let mut writer = parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), table.schema(), None).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    let server = TestServer::start_with(&[telco(-0.4)], |config| {
        config.features = Some(FeatureTable { path, entity: None, observed_at: None, check_seconds: 3600 });
    })
    .await;
    let ids: DictionaryArray<Int32Type> = vec![Some("b"), Some("x"), None].into_iter().collect();
    let alone = v1::PredictBatchRequest {
        arrow_id_column: "who".to_owned(),
        ..request(stream(&[record_batch(vec![("who", Arc::new(ids))])]))
    };
    let answer = answer_of(&ask(&server, alone).await.unwrap());
    assert_eq!(texts(&answer, "status").iter().flatten().collect::<Vec<_>>(), ["OK", "INVALID", "OK"]);
    assert_eq!(texts(&answer, "error_reason")[1].as_deref(), Some("CUSTOMER_NOT_FOUND"));
    let stored =
        server.predict(v1::PredictRequest { customer_id: "b".to_owned(), ..v1::PredictRequest::default() }).await.unwrap();
    assert_eq!(bits(&answer, "telco.probability")[0], Some(stored.predictions[0].probability.to_bits()));
    let ages = answer.column_by_name("stored_age_seconds").unwrap();
    assert_eq!((0..3).map(|row| ages.is_valid(row)).collect::<Vec<_>>(), [true, false, false]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| {
        config.max_batch_rows = 10;
        config.max_features = 5;
    })
    .await;
    let one = |name: &str, array: ArrayRef| stream(&[record_batch(vec![(name, array)])]);
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]));
    let numbers: DictionaryArray<Int32Type> =
        DictionaryArray::try_new(vec![0].into(), Arc::new(Int64Array::from(vec![7]))).unwrap();
    for (bytes, field, reason) in [
        (one("tenure", list), "arrow_ipc[\"tenure\"]", "ARROW_TYPE"),
        (one("tenure", Arc::new(numbers)), "arrow_ipc[\"tenure\"]", "ARROW_TYPE"),
        (one("tenur", Arc::new(Int64Array::from(vec![1]))), "arrow_ipc[\"tenur\"]", "UNKNOWN_FEATURE"),
        (one("customer_id", Arc::new(Float64Array::from(vec![1.0]))), "arrow_ipc[\"customer_id\"]", "ARROW_TYPE"),
        (one("tenure", Arc::new(Int64Array::from(vec![1; 11]))), "arrow_ipc", "TOO_MANY"),
        (COMPRESSED.to_vec(), "arrow_ipc", "UNSUPPORTED_ARROW"),
        (growing_dictionary(), "arrow_ipc", "UNSUPPORTED_ARROW"),
        (b"ARROW1".to_vec(), "arrow_ipc", "MALFORMED_ARROW"),
        (stream(&[usual_batch()])[..300].to_vec(), "arrow_ipc", "MALFORMED_ARROW"),
    ] {
        let status = ask(&server, request(bytes)).await.unwrap_err();
        refused(reason, field, &status);
    }
    let twice = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let schema = Schema::new(
        [("tenure", 0), ("tenure", 1)]
            .map(|(name, _)| arrow::datatypes::Field::new(name, twice.data_type().clone(), true))
            .to_vec(),
    );
    let twice = RecordBatch::try_new(Arc::new(schema), vec![twice.clone(), twice]).unwrap();
    refused("DUPLICATE_COLUMN", "arrow_ipc.columns[1].name", &ask(&server, request(stream(&[twice]))).await.unwrap_err());
    let six: Vec<(&str, ArrayRef)> =
        ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, Arc::new(Int64Array::from(vec![1])) as ArrayRef)).to_vec();
    refused("TOO_MANY", "arrow_ipc", &ask(&server, request(stream(&[record_batch(six)]))).await.unwrap_err());

    let good = stream(&[usual_batch()]);
    let beside = v1::PredictBatchRequest { customer_ids: vec!["a".to_owned()], ..request(good.clone()) };
    refused("EXCLUSIVE", "customer_ids", &ask(&server, beside).await.unwrap_err());
    let beside = v1::PredictBatchRequest { columns: vec![v1::FeatureColumn::default()], ..request(good.clone()) };
    refused("EXCLUSIVE", "columns", &ask(&server, beside).await.unwrap_err());
    let elsewhere = v1::PredictBatchRequest { arrow_id_column: "who".to_owned(), ..request(good.clone()) };
    refused("NO_SUCH_COLUMN", "arrow_id_column", &ask(&server, elsewhere).await.unwrap_err());
    assert!(ask(&server, request(good)).await.is_ok());
}

#[tokio::test]
async fn a_stream_without_rows_is_answered_without_rows() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let response = ask(&server, request(stream(&[usual_batch().slice(0, 0)]))).await.unwrap();
    assert_eq!(answer_of(&response).num_rows(), 0);
}

/// What is done to a message: a byte set, bytes taken out, or bytes put in.
#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Word(prop::sample::Index, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (index(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        (index(), 1..64_u8).prop_map(|(at, n_bytes)| Damage::Cut(at, n_bytes)),
        (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (index(), prop_oneof![Just(u32::MAX), Just(0x7fff_ffff), Just(0x8000_0000), any::<u32>()])
            .prop_map(|(at, word)| Damage::Word(at, word)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let n_bytes_before = bytes.len();
        if n_bytes_before == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => bytes[at.index(n_bytes_before)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(n_bytes_before)] ^= bit,
            Self::Cut(at, n_bytes) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + *n_bytes as usize).min(bytes.len()));
            }
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Word(at, word) => {
                let at = at.index(bytes.len()) & !3;
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_streams_are_answered_and_the_server_goes_on() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let contracts: DictionaryArray<Int8Type> = vec![Some("monthly"), None, Some("weekly"), Some("monthly")].into_iter().collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("customer_id", Arc::new(StringViewArray::from(vec!["a", "a text that is too long to be held in place", "c", "d"]))),
        ("tenure", Arc::new(LargeStringArray::from(vec!["1", "2", "3", "4"]))),
        ("contract", Arc::new(contracts)),
    ];
    let first = stream(&[record_batch(columns.clone()).slice(0, 2), record_batch(columns.clone())]);
    columns[1].1 = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0), Some(4.0)]));
    columns.push(("joined", Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, 0, 1, i64::MAX]))));
    columns.push(("paperless", Arc::new(BooleanArray::from(vec![Some(true), None, None, Some(false)]))));
    let valid = [first, stream(&[record_batch(columns)])];
    let before = ask(&server, request(valid[0].clone())).await.unwrap();
    let good = request(valid[0].clone());

    let runtime = tokio::runtime::Handle::current();
    let client = server.predictions();
    let check = move || {
        // PROPTEST_CASES says how many.
        let cases = Cases { failure_persistence: None, ..Cases::default() };
        let strategy = (0..2_usize, prop::collection::vec(damage(), 1..4));
        TestRunner::new(cases).run(&strategy, |(which, damages)| {
            let mut bytes = valid[which].clone();
            for damage in &damages {
                damage.apply(&mut bytes);
            }
            let answer = runtime.block_on(client.clone().predict_batch(request(bytes)));
            let code = answer.err().map_or(Code::Ok, |status| status.code());
            prop_assert!(matches!(code, Code::Ok | Code::InvalidArgument), "{code:?}");
            Ok(())
        })
    };
    tokio::task::spawn_blocking(check).await.unwrap().unwrap();
    assert_eq!(ask(&server, good).await.unwrap(), before);
}
