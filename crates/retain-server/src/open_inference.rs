//! The Open Inference Protocol, beside our own: the same models, for clients of other servers.

use std::sync::Arc;

use retain_core::ColumnKind;
use retain_proto::inference::grpc_inference_service_server::GrpcInferenceService;
use retain_proto::inference::model_infer_response::InferOutputTensor;
use retain_proto::inference::model_metadata_response::TensorMetadata;
use retain_proto::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse,
};
use retain_proto::v1;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::answers::Place;
use crate::config::Config;
use crate::convert::{Columns, score_batch};
use crate::customers::Lookup;
use crate::metrics::{Stage, Stopwatch};
use crate::models::{LiveModel, LiveSet};
use crate::prediction_log::PredictionLog;
use crate::service::{Prediction, arrival, log_batch, observed};
use crate::status::{CallError, Violation, Violations, check_count};
use crate::tensors::Inputs;

/// What the protocol calls the thing that runs a model.
const PLATFORM: &str = "retain";
/// Rows that are scored where they arrive; more go to a thread of their own.
const MAX_INLINE_ROWS: usize = 256;
/// Most outputs that one request may ask for.
const MAX_OUTPUTS: usize = 100;
const TEXTS: &str = "BYTES";
const NUMBERS: &str = "FP64";

/// Answers the protocol's calls.
pub(crate) struct OpenInference {
    prediction: Arc<Prediction>,
    /// Places of calls of many rows, which are shared with batches.
    large: Arc<Semaphore>,
}

impl OpenInference {
    /// Answers with the models, and within the limits, of `prediction`; calls of many rows take a place of `large`.
    pub(crate) fn new(prediction: Arc<Prediction>, large: Arc<Semaphore>) -> Self {
        Self { prediction, large }
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenInference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.prediction.models().live().select(&[]).is_ok();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = self.prediction.models().live().select_one(&address(&name, &version), "").is_ok();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(ServerMetadataResponse { name: PLATFORM.to_owned(), version, extensions: Vec::new() }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let set = self.prediction.models().live();
        let model = set.select_one(&address(&name, &version), "")?.model;
        Ok(Response::new(metadata(&set, model)))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let (arrived, calls) = (arrival(&request), self.prediction.infer_calls());
        let (log, request_id) = (self.prediction.log().cloned(), self.prediction.request_id(request.metadata()));
        let request = request.into_inner();
        let (set, config) = (self.prediction.models().live().clone(), self.prediction.config().clone());
        // What is only large in memory, as empty tensors are, shall not wait for its turn.
        check_count("inputs", request.inputs.len(), config.max_features)?;
        check_count("outputs", request.outputs.len(), MAX_OUTPUTS)?;
        let n_rows = request.inputs.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
        if usize::try_from(n_rows).is_ok_and(|n_rows| n_rows <= MAX_INLINE_ROWS) {
            let stopwatch = calls.stopwatch(arrived);
            return Ok(Response::new(infer(&set, &config, request, log.as_deref(), request_id, stopwatch)?));
        }
        let place = self.large.clone().try_acquire_owned().map_err(|_| CallError::TooManyInFlight)?;
        let work = move || infer(&set, &config, request, log.as_deref(), request_id, calls.stopwatch(arrived));
        let mut response = Response::new(self.prediction.work(work).await?);
        response.extensions_mut().insert(Place::from(place));
        Ok(response)
    }
}

/// `name/3` and `name@alias` from the protocol's name and version.
fn address(name: &str, version: &str) -> String {
    match version {
        "" => name.to_owned(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{name}/{number}"),
        alias => format!("{name}@{alias}"),
    }
}

fn metadata(set: &LiveSet, model: &LiveModel) -> ModelMetadataResponse {
    let tensor =
        |name: &str, datatype: &str| TensorMetadata { name: name.to_owned(), datatype: datatype.to_owned(), shape: vec![-1] };
    let features = model.scorer.schema().features.iter().map(|feature| {
        let datatype = match feature.kind {
            ColumnKind::Number => NUMBERS,
            ColumnKind::Boolean => "BOOL",
            ColumnKind::Category | ColumnKind::Date => TEXTS,
        };
        tensor(&feature.name, datatype)
    });
    let name = &model.scorer.manifest().name;
    let versions = set.by_name.get(name).into_iter().flat_map(|versions| versions.versions.keys());
    let outputs =
        Output::ALL.iter().filter(|output| **output != Output::ExpectedValue || model.scorer.manifest().kind.is_amount());
    ModelMetadataResponse {
        name: name.to_string(),
        versions: versions.map(u32::to_string).collect(),
        platform: PLATFORM.to_owned(),
        inputs: features.collect(),
        outputs: outputs.map(|output| tensor(output.name(), output.datatype())).collect(),
    }
}

fn infer(
    set: &LiveSet,
    config: &Config,
    mut request: ModelInferRequest,
    log: Option<&PredictionLog>,
    request_id: Option<Arc<str>>,
    mut stopwatch: Stopwatch<'_>,
) -> Result<ModelInferResponse, CallError> {
    stopwatch.done(Stage::Queue);
    // The protocol knows no customers: without a version it is the champion that answers.
    let asked = set.select_one(&address(&request.model_name, &request.model_version), "")?;
    let model = asked.model;
    let is_raw = !request.raw_input_contents.is_empty();
    let requested = std::mem::take(&mut request.outputs);
    let id = std::mem::take(&mut request.id);
    let Inputs { n_rows, columns, place } = Inputs::read(request, model, config)?;
    let mut batch =
        v1::PredictBatchRequest { customer_ids: vec![String::new(); n_rows], columns, ..v1::PredictBatchRequest::default() };
    let mut violations = Violations::default();
    let observed = observed(config, None, &[asked], &mut violations);
    let columns = Columns::take(&mut batch, &[asked], place, config, &mut violations)?;
    let wanted = wanted_outputs(&requested, model, &mut violations);
    violations.check()?;
    stopwatch.done(Stage::Convert);
    let mut scored = score_batch(&columns, None, &[asked], observed, log.is_some());
    stopwatch.done(Stage::Score);
    let mut refused = Violations::default();
    std::mem::take(&mut scored.errors).into_iter().flatten().for_each(|error| refused.push(|| error));
    refused.check()?;
    if let Some(log) = log {
        log_batch(log.call(request_id), &mut scored, &[asked], (columns, Lookup::None, None), observed);
    }
    let prediction = scored.predictions.into_iter().next().ok_or(CallError::Internal)?;
    let mut response = ModelInferResponse {
        model_name: model.scorer.manifest().name.to_string(),
        model_version: model.scorer.manifest().version.to_string(),
        id,
        ..ModelInferResponse::default()
    };
    for output in wanted {
        let contents = output.contents(&prediction);
        if is_raw {
            response.raw_output_contents.push(raw_contents(&contents));
        }
        response.outputs.push(InferOutputTensor {
            name: output.name().to_owned(),
            datatype: output.datatype().to_owned(),
            shape: vec![n_rows as i64],
            contents: (!is_raw).then_some(contents),
            ..InferOutputTensor::default()
        });
    }
    stopwatch.finish(Stage::Convert);
    Ok(response)
}

/// What a model tells of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Probability,
    Margin,
    Band,
    ExpectedValue,
}

impl Output {
    const ALL: [Self; 4] = [Self::Probability, Self::Margin, Self::Band, Self::ExpectedValue];

    fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Margin => "margin",
            Self::Band => "band",
            Self::ExpectedValue => "expected_value",
        }
    }

    fn datatype(self) -> &'static str {
        if self == Self::Band { TEXTS } else { NUMBERS }
    }

    fn contents(self, prediction: &v1::BatchPrediction) -> InferTensorContents {
        let numbers = |values: &[f64]| InferTensorContents { fp64_contents: values.to_vec(), ..InferTensorContents::default() };
        match self {
            Self::Probability => numbers(&prediction.probabilities),
            Self::Margin => numbers(&prediction.margins),
            Self::ExpectedValue => numbers(&prediction.expected_values),
            Self::Band => {
                let text = |band: v1::Band| match band {
                    v1::Band::Unspecified => "",
                    v1::Band::Low => "low",
                    v1::Band::Medium => "medium",
                    v1::Band::High => "high",
                };
                let texts = prediction.bands().map(|band| text(band).as_bytes().to_vec()).collect();
                InferTensorContents { bytes_contents: texts, ..InferTensorContents::default() }
            }
        }
    }
}

fn wanted_outputs(
    requested: &[retain_proto::inference::model_infer_request::InferRequestedOutputTensor],
    model: &LiveModel,
    violations: &mut Violations,
) -> Vec<Output> {
    let has = |output: &Output| *output != Output::ExpectedValue || model.scorer.manifest().kind.is_amount();
    let known: Vec<Output> = Output::ALL.into_iter().filter(has).collect();
    if requested.is_empty() {
        return known;
    }
    let mut wanted = Vec::new();
    for (position, request) in requested.iter().enumerate() {
        match known.iter().find(|output| output.name() == request.name) {
            Some(output) if !wanted.contains(output) => wanted.push(*output),
            Some(_) => {}
            None => violations.push(|| {
                let names: Vec<&str> = known.iter().map(|output| output.name()).collect();
                let description = format!("should be one of {}, found `{}`", names.join(", "), request.name);
                Violation::new(format!("outputs[{position}].name"), "UNKNOWN_OUTPUT", &description)
            }),
        }
    }
    wanted
}

/// Elements as the protocol writes them in bytes.
fn raw_contents(contents: &InferTensorContents) -> Vec<u8> {
    let numbers = contents.fp64_contents.iter().flat_map(|value| value.to_le_bytes());
    let texts =
        contents.bytes_contents.iter().flat_map(|text| (text.len() as u32).to_le_bytes().into_iter().chain(text.iter().copied()));
    numbers.chain(texts).collect()
}
