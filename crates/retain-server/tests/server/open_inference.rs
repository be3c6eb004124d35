//! The Open Inference Protocol.

use retain_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use retain_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use retain_proto::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelReadyRequest, ServerLiveRequest,
    ServerMetadataRequest, ServerReadyRequest,
};
use retain_proto::v1::feature_value::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{TestServer, assert_refused, gym, telco, text, wide};

fn client(server: &TestServer) -> GrpcInferenceServiceClient<Channel> {
    GrpcInferenceServiceClient::new(server.channel.clone())
}

async fn infer(server: &TestServer, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
    client(server).model_infer(request).await.map(tonic::Response::into_inner)
}

fn tensor(name: &str, datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents: Some(contents),
        ..InferInputTensor::default()
    }
}

fn numbers(values: &[f64]) -> InferTensorContents {
    InferTensorContents { fp64_contents: values.to_vec(), ..InferTensorContents::default() }
}

fn texts(values: &[&str]) -> InferTensorContents {
    let bytes_contents = values.iter().map(|text| text.as_bytes().to_vec()).collect();
    InferTensorContents { bytes_contents, ..InferTensorContents::default() }
}

fn of(model: &str, inputs: Vec<InferInputTensor>) -> ModelInferRequest {
    ModelInferRequest { model_name: model.to_owned(), id: "42".to_owned(), inputs, ..ModelInferRequest::default() }
}

fn customers() -> Vec<InferInputTensor> {
    let paperless = InferTensorContents { bool_contents: vec![true, false, true], ..InferTensorContents::default() };
    vec![
        tensor("tenure", "FP64", &[3], numbers(&[1.0, f64::NAN, 50.0])),
        tensor("contract", "BYTES", &[3, 1], texts(&["monthly", "two year", ""])),
        tensor("paperless", "BOOL", &[3], paperless),
    ]
}

/// The probability of each of [`customers`], by the typed service.
async fn expected(server: &TestServer) -> Vec<f64> {
    let rows: [Vec<(&str, Value)>; 3] = [
        vec![("tenure", Value::Number(1.0)), ("contract", text("monthly")), ("paperless", Value::Boolean(true))],
        vec![("contract", text("two year")), ("paperless", Value::Boolean(false))],
        vec![("tenure", Value::Number(50.0)), ("paperless", Value::Boolean(true))],
    ];
    let mut probabilities = Vec::new();
    for row in &rows {
        probabilities.push(server.predict_one(row).await.probability);
    }
    probabilities
}

fn raw_texts(values: &[&str]) -> Vec<u8> {
    values.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).collect()
}

#[tokio::test]
async fn tensors_of_features_give_the_bits_of_predict() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let answer = infer(&server, of("telco", customers())).await.unwrap();
    assert_eq!((answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()), ("telco", "1", "42"));
    let names: Vec<_> = answer.outputs.iter().map(|output| (output.name.as_str(), output.shape.as_slice())).collect();
    assert_eq!(names, [("probability", &[3_i64][..]), ("margin", &[3]), ("band", &[3])]);
    let expected = expected(&server).await;
    assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp64_contents, expected);
    let bands = &answer.outputs[2].contents.as_ref().unwrap().bytes_contents;
    assert!(bands.iter().all(|band| ["low", "medium", "high"].contains(&std::str::from_utf8(band).unwrap())));
}

#[tokio::test]
async fn raw_contents_are_answered_raw() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let mut inputs = customers();
    for input in &mut inputs {
        input.contents = None;
    }
    inputs[0].datatype = "FP32".to_owned();
    let tenure = [1.0_f32, f32::NAN, 50.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let raw_input_contents = vec![tenure, raw_texts(&["monthly", "two year", ""]), vec![1, 0, 1]];
    let answer = infer(&server, ModelInferRequest { raw_input_contents, ..of("telco", inputs) }).await.unwrap();
    assert!(answer.outputs.iter().all(|output| output.contents.is_none()));
    let (probabilities, rest) = answer.raw_output_contents[0].as_chunks::<8>();
    assert_eq!((rest.len(), answer.raw_output_contents.len()), (0, 3));
    let probabilities: Vec<f64> = probabilities.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    assert_eq!(probabilities, expected(&server).await);
}

#[tokio::test]
async fn one_tensor_may_hold_all_features_and_many_rows() {
    let server = TestServer::start(&[wide(3)]).await;
    let n_rows = 1_000;
    let values: Vec<f64> = (0..n_rows * 3).map(|place| f64::from(place % 17)).collect();
    let matrix = tensor("anything", "FP64", &[i64::from(n_rows), 3], numbers(&values));
    let answer = infer(&server, of("wide", vec![matrix])).await.unwrap();
    let probabilities = &answer.outputs[0].contents.as_ref().unwrap().fp64_contents;
    assert_eq!(probabilities.len(), n_rows as usize);
    for row in [0, 1, 999] {
        let features =
            [("f0000", 0), ("f0001", 1), ("f0002", 2)].map(|(name, column)| (name, Value::Number(values[row * 3 + column])));
        assert_eq!(probabilities[row], server.predict_one(&features).await.probability);
    }
}

#[tokio::test]
async fn only_the_outputs_asked_for_are_told() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let ask = |name: &str| {
        let outputs = vec![InferRequestedOutputTensor { name: name.to_owned(), ..InferRequestedOutputTensor::default() }];
        ModelInferRequest { outputs, ..of("telco", customers()) }
    };
    let answer = infer(&server, ask("margin")).await.unwrap();
    assert_eq!((answer.outputs.len(), answer.outputs[0].name.as_str()), (1, "margin"));
    let refused = infer(&server, ask("expected_value")).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, &[("outputs[0].name", "UNKNOWN_OUTPUT")]);
}

#[tokio::test]
async fn models_are_described() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let mut client = client(&server);
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    assert_eq!(client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner().name, "retain");
    for (version, is_ready) in [("", true), ("1", true), ("champion", true), ("2", false), ("shadow", false)] {
        let request = ModelReadyRequest { name: "telco".to_owned(), version: version.to_owned() };
        assert_eq!(client.model_ready(request).await.unwrap().into_inner().ready, is_ready, "{version}");
    }
    let request = ModelMetadataRequest { name: "telco".to_owned(), version: String::new() };
    let metadata = client.model_metadata(request).await.unwrap().into_inner();
    let inputs: Vec<_> = metadata.inputs.iter().map(|input| (input.name.as_str(), input.datatype.as_str())).collect();
    assert_eq!(inputs, [("tenure", "FP64"), ("contract", "BYTES"), ("paperless", "BOOL")]);
    assert_eq!((metadata.versions, metadata.outputs.len()), (vec!["1".to_owned()], 3));
    let unknown = ModelMetadataRequest { name: "telko".to_owned(), version: String::new() };
    let refused = client.model_metadata(unknown).await.unwrap_err();
    assert_refused(&refused, Code::NotFound, &[("model", "MODEL_NOT_FOUND")]);
}

#[tokio::test]
async fn tensors_that_do_not_hold_together_are_refused_by_name() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.max_batch_rows = 100).await;
    let check = async |request, field: &str, reason: &str| {
        assert_refused(&infer(&server, request).await.unwrap_err(), Code::InvalidArgument, &[(field, reason)]);
    };
    let with = |change: &dyn Fn(&mut Vec<InferInputTensor>)| {
        let mut inputs = customers();
        change(&mut inputs);
        of("telco", inputs)
    };
    check(of("telco", Vec::new()), "inputs", "REQUIRED").await;
    check(with(&|inputs| inputs[1].datatype = "FP16".to_owned()), "inputs[1].datatype", "UNKNOWN_DATATYPE").await;
    check(with(&|inputs| inputs[1].shape = vec![2]), "inputs[1].shape", "TENSOR_SHAPE").await;
    check(with(&|inputs| inputs[0].shape = vec![-1]), "inputs[0].shape", "TENSOR_SHAPE").await;
    check(with(&|inputs| inputs[0].shape = vec![1, 3]), "inputs[0].shape", "TENSOR_SHAPE").await;
    check(with(&|inputs| inputs[0].shape = vec![i64::MAX]), "inputs[0].shape", "TOO_MANY").await;
    check(with(&|inputs| inputs[0].contents = Some(numbers(&[1.0]))), "inputs[0].contents", "TENSOR_CONTENTS").await;
    check(with(&|inputs| inputs[0].contents = None), "inputs[0].contents", "TENSOR_CONTENTS").await;
    check(with(&|inputs| inputs[1].name = "contrakt".to_owned()), "inputs[1].name", "UNKNOWN_FEATURE").await;
    check(with(&|inputs| inputs[1].name = "tenure".to_owned()), "inputs[1].name", "DUPLICATE_COLUMN").await;
    let not_utf8 = InferTensorContents { bytes_contents: vec![vec![0xff]; 3], ..InferTensorContents::default() };
    check(with(&|inputs| inputs[1].contents = Some(not_utf8.clone())), "inputs[1].contents", "TENSOR_CONTENTS").await;
    let word = texts(&["1", "long", "2"]);
    let tenure_of_words = |inputs: &mut Vec<InferInputTensor>| inputs[0] = tensor("tenure", "BYTES", &[3], word.clone());
    check(with(&tenure_of_words), "inputs[0].contents[1]", "NOT_A_NUMBER").await;
    let raw = |raw: Vec<Vec<u8>>| ModelInferRequest { raw_input_contents: raw, ..of("telco", customers()) };
    check(raw(vec![Vec::new()]), "raw_input_contents", "TENSOR_COUNT").await;
    check(raw(vec![Vec::new(); 3]), "inputs[0].contents", "TENSOR_CONTENTS").await;
    let mut cut = of("telco", vec![tensor("contract", "BYTES", &[1], InferTensorContents::default())]);
    cut.inputs[0].contents = None;
    for bytes in [vec![9, 0, 0, 0, b'm'], vec![1, 0], u32::MAX.to_le_bytes().to_vec()] {
        check(ModelInferRequest { raw_input_contents: vec![bytes], ..cut.clone() }, "inputs[0].contents", "TENSOR_CONTENTS")
            .await;
    }
    server.predict_one(&[("tenure", Value::Number(3.0))]).await;
}

#[tokio::test]
async fn many_rows_take_a_place_among_the_batches_and_empty_tensors_none() {
    let server = TestServer::start_with(&[wide(2)], |config| config.max_batches_in_flight = 1).await;
    let matrix = |n_rows: i32| tensor("all", "FP64", &[i64::from(n_rows), 2], numbers(&vec![1.0; 2 * n_rows as usize]));
    for _ in 0..20 {
        // Given back each time, when the answer has been read.
        infer(&server, of("wide", vec![matrix(1_000)])).await.unwrap();
    }
    let empty = of("wide", vec![InferInputTensor::default(); 200_000]);
    assert_refused(&infer(&server, empty).await.unwrap_err(), Code::InvalidArgument, &[("inputs", "TOO_MANY")]);
    infer(&server, of("wide", vec![matrix(3)])).await.unwrap();
}
