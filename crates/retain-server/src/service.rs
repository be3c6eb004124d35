//! `PredictionService`: a request becomes an answer.
//!
//! Single calls run where they arrive: a hop to another thread costs more than the forest. Batches are long enough to keep others
//! waiting, so they go to a thread for blocking work, as many at once as there are processors.

use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use prost_types::Timestamp;
use retain_core::Day;
use retain_proto::v1;
use retain_proto::v1::prediction_service_server::PredictionService;
use tokio::sync::{Semaphore, watch};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::config::Config;
use crate::convert::{self, Columns, Features, Given, Language, Place, ScoredBatch, Wanted};
use crate::models::{Asked, LiveSet, MAX_ADDRESSES, Models};
use crate::prediction_log::{LoggedCall, PredictedRows, PredictionLog, ShadowCustomers};
use crate::status::{CallError, Violation, Violations, check_count, malformed};
use crate::stream::{StreamAnswers, answer_stream};
use crate::text::printable;
use crate::weigh::weigh_batch;

/// Memory that a decoded batch may take for every byte that an encoded one may: 10,000 rows of 200 short texts take seven.
const DECODED_PER_BYTE: usize = 8;
/// The header in which a caller names its request, and how much of the name is logged.
const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_CHARS: usize = 128;

/// Answers `Predict`, `PredictBatch`, `PredictStream`, `Explain` and `WhatIf`.
#[derive(Clone)]
pub(crate) struct Prediction {
    models: Arc<Models>,
    config: Arc<Config>,
    log: Option<Arc<PredictionLog>>,
    batch_workers: Arc<Semaphore>,
    /// Becomes true when the server is told to stop.
    stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl PredictionService for Prediction {
    async fn predict(&self, request: Request<v1::PredictRequest>) -> Result<Response<v1::PredictResponse>, Status> {
        let request_id = self.request_id(request.metadata());
        Ok(Response::new(self.answer(request.into_inner(), request_id)?))
    }

    async fn predict_batch(
        &self,
        request: Request<v1::PredictBatchRequest>,
    ) -> Result<Response<v1::PredictBatchResponse>, Status> {
        // The server's own route goes through `batch`, which does not decode before it has weighed.
        let request_id = self.request_id(request.metadata());
        Ok(Response::new(self.answer_batch(|| Ok(request.into_inner()), request_id).await?))
    }

    type PredictStreamStream = StreamAnswers;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let request_id = self.request_id(request.metadata());
        Ok(Response::new(answer_stream(self.clone(), request.into_inner(), request_id, self.stopping.clone())))
    }

    async fn what_if(&self, request: Request<v1::WhatIfRequest>) -> Result<Response<v1::WhatIfResponse>, Status> {
        let (set, config) = (self.models.live().clone(), self.config.clone());
        let request = request.into_inner();
        // What is only large in memory, as empty changes are, shall not wait for its turn.
        convert::check_changes(&request, set.select(&request.models)?.len(), &config)?;
        Ok(Response::new(self.work(move || what_if_response(&set, &config, request)).await?))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Ok(Response::new(self.explanation(request.into_inner())?))
    }
}

impl Prediction {
    /// Asks these models, within these limits.
    pub(crate) fn new(
        models: Arc<Models>,
        config: Arc<Config>,
        log: Option<Arc<PredictionLog>>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let n_workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { models, config, log, batch_workers: Arc::new(Semaphore::new(n_workers)), stopping }
    }

    pub(crate) fn models(&self) -> &Arc<Models> {
        &self.models
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(crate) fn log(&self) -> Option<&Arc<PredictionLog>> {
        self.log.as_ref()
    }

    /// What the caller calls the request, where that is logged.
    pub(crate) fn request_id(&self, metadata: &MetadataMap) -> Option<Arc<str>> {
        let id = metadata.get(REQUEST_ID).filter(|_| self.log.is_some())?;
        Some(printable(id.to_str().ok()?, REQUEST_ID_CHARS).into())
    }

    /// Answers one request.
    pub(crate) fn answer(
        &self,
        request: v1::PredictRequest,
        request_id: Option<Arc<str>>,
    ) -> Result<v1::PredictResponse, CallError> {
        let set = self.models.live();
        let models = set.select_for(&request.models, &request.customer_id)?;
        let mut violations = Violations::default();
        let observed = observed(&self.config, request.observed_at.as_ref(), &models, &mut violations);
        let wanted = Wanted::of(&request, &mut violations);
        check_features(&request.features, request.unknown_feature_policy, &models, &self.config, &mut violations)?;
        let given = Given::new(&request.features);
        let rows: Vec<_> = models.iter().map(|asked| convert::encode(&given, asked.model, observed, &mut violations)).collect();
        violations.check()?;
        let mut call = self.log.as_ref().map(|log| log.call(request_id));
        let mut predictions = Vec::with_capacity(models.len());
        for (asked, mut row) in models.iter().zip(rows) {
            let (answer, prediction) = convert::predict(asked, &mut row, wanted);
            predictions.push(answer);
            if let Some(call) = &mut call {
                let (customer_id, values) = (request.customer_id.clone(), row.values);
                call.add(asked.model, asked.alias, PredictedRows::One { customer_id, values, prediction });
                call.add_shadow(asked);
            }
        }
        if let Some(call) = call {
            let (customer_id, features) = (&request.customer_id, request.features);
            let elapsed_days = wanted.elapsed_days;
            call.end(observed, || ShadowCustomers::One { customer_id: customer_id.clone(), features, elapsed_days });
        }
        Ok(v1::PredictResponse { predictions, customer_id: request.customer_id })
    }

    fn explanation(&self, request: v1::ExplainRequest) -> Result<v1::ExplainResponse, CallError> {
        let set = self.models.live();
        let asked = set.select_one(&request.model, &request.customer_id)?;
        let mut violations = Violations::default();
        let observed = observed(&self.config, request.observed_at.as_ref(), &[asked], &mut violations);
        let language = Language::of(request.language, &mut violations);
        check_features(&request.features, request.unknown_feature_policy, &[asked], &self.config, &mut violations)?;
        let row = convert::encode(&Given::new(&request.features), asked.model, observed, &mut violations);
        violations.check()?;
        Ok(convert::explain(&asked, row, request.customer_id, language))
    }

    /// Answers a batch that is still encoded; it is weighed and decoded where and when it is worked on.
    pub(crate) async fn answer_undecoded_batch(
        &self,
        message: Bytes,
        request_id: Option<Arc<str>>,
    ) -> Result<v1::PredictBatchResponse, CallError> {
        let config = self.config.clone();
        self.answer_batch(move || decode_batch(message, &config), request_id).await
    }

    async fn answer_batch(
        &self,
        read: impl FnOnce() -> Result<v1::PredictBatchRequest, CallError> + Send + 'static,
        request_id: Option<Arc<str>>,
    ) -> Result<v1::PredictBatchResponse, CallError> {
        let (config, models, log) = (self.config.clone(), self.models.clone(), self.log.clone());
        self.work(move || {
            let call = log.as_ref().map(|log| log.call(request_id));
            batch_response(&models.live(), &config, read()?, call)
        })
        .await
    }

    /// Does long work on a thread of its own, when one is free.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        // The semaphore is never closed.
        let worker = self.batch_workers.clone().acquire_owned().await.map_err(|_| CallError::Internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even when the caller has gone.
            let _worker = worker;
            work()
        });
        done.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a call broke off");
            Err(CallError::Internal)
        })
    }
}

fn check_features(
    features: &Features,
    policy: i32,
    models: &[Asked<'_>],
    config: &Config,
    violations: &mut Violations,
) -> Result<(), CallError> {
    check_count("features", features.len(), config.max_features)?;
    if convert::rejects_unknown(policy, violations) {
        let names = features.keys().map(|name| (name.as_str(), 0));
        convert::check_names(names, models, |name, _| convert::feature_path(name), violations);
    }
    Ok(())
}

/// The moment that dates are counted to; the clock is asked only where a model has dates.
pub(crate) fn observed(
    config: &Config,
    given: Option<&Timestamp>,
    models: &[Asked<'_>],
    violations: &mut Violations,
) -> Option<Day> {
    let now = || models.iter().any(Asked::has_dates).then(|| (config.now)());
    if given.is_some() { convert::observed_at(given, violations).or_else(now) } else { now() }
}

fn decode_batch(message: Bytes, config: &Config) -> Result<v1::PredictBatchRequest, CallError> {
    let malformed = |text: &str| CallError::from(malformed(text));
    let weight = weigh_batch(&message).ok_or_else(|| malformed("keys and lengths do not hold together"))?;
    for (field, found, limit) in [
        ("customer_ids", weight.n_customer_ids, config.max_batch_rows),
        ("columns", weight.n_columns, config.max_features),
        ("models", weight.n_models, MAX_ADDRESSES),
    ] {
        check_count(field, found, limit)?;
    }
    let (found, limit) = (weight.decoded_bytes, config.max_batch_bytes.saturating_mul(DECODED_PER_BYTE));
    if found > limit {
        let description = format!("would take {found} bytes of memory, at most {limit} are allowed; send fewer rows at once");
        return Err(Violation::new("columns", "TOO_LARGE", &description).into());
    }
    v1::PredictBatchRequest::decode(message).map_err(|error| malformed(&error.to_string()))
}

fn what_if_response(set: &LiveSet, config: &Config, request: v1::WhatIfRequest) -> Result<v1::WhatIfResponse, CallError> {
    let models = set.select_for(&request.models, &request.customer_id)?;
    let mut violations = Violations::default();
    let observed = observed(config, request.observed_at.as_ref(), &models, &mut violations);
    let language = Language::of(request.language, &mut violations);
    check_features(&request.features, request.unknown_feature_policy, &models, config, &mut violations)?;
    if convert::rejects_unknown(request.unknown_feature_policy, &mut violations) {
        let changes = request.changes.iter().enumerate();
        let names = changes.flat_map(|(position, change)| change.features.keys().map(move |name| (name.as_str(), position)));
        convert::check_names(names, &models, |name, position| convert::changed_path(position, name), &mut violations);
    }
    let rows = models.iter().map(|asked| convert::encode_changes(&request, asked.model, observed, &mut violations));
    let rows: Vec<_> = rows.collect();
    violations.check()?;
    let comparisons = models.iter().zip(rows).map(|(asked, (before, after))| convert::compare(asked, before, after));
    let (comparisons, note) = (comparisons.collect(), language.association_note().to_owned());
    Ok(v1::WhatIfResponse { customer_id: request.customer_id, comparisons, note })
}

fn batch_response(
    set: &LiveSet,
    config: &Config,
    mut request: v1::PredictBatchRequest,
    call: Option<LoggedCall<'_>>,
) -> Result<v1::PredictBatchResponse, CallError> {
    let models = set.select(&request.models)?;
    let mut violations = Violations::default();
    let observed = observed(config, request.observed_at.as_ref(), &models, &mut violations);
    let columns = Columns::take(&mut request, &models, Place::Columns, config, &mut violations)?;
    violations.check()?;
    let mut scored = convert::score_batch(&columns, &models, observed, call.is_some());
    if let Some(call) = call {
        log_batch(call, &mut scored, &models, columns, observed);
    }
    Ok(scored.into())
}

/// Hands a batch to the log, and its columns to the shadows.
pub(crate) fn log_batch(
    mut call: LoggedCall<'_>,
    scored: &mut ScoredBatch,
    models: &[Asked<'_>],
    columns: Columns,
    observed: Option<Day>,
) {
    for (model, alias, rows) in std::mem::take(&mut scored.predicted) {
        call.add(&model, alias, rows);
    }
    for asked in models {
        call.add_shadow(asked);
    }
    call.end(observed, || ShadowCustomers::Many(columns));
}
