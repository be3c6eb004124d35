//! `PredictionService`: a request becomes an answer.
//!
//! Single calls run where they arrive: a hop to another thread costs more than the forest. Batches are long enough to keep others
//! waiting, so they go to a thread for blocking work, as many at once as there are processors.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use prost::bytes::Bytes;
use prost_types::Timestamp;
use retain_core::Day;
use retain_proto::inference::grpc_inference_service_server as inference_server;
use retain_proto::v1;
use retain_proto::v1::prediction_service_server::{self as prediction_server, PredictionService};
use tokio::sync::{Semaphore, watch};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::arrow_stream;
use crate::call::Arrival;
use crate::config::Config;
use crate::convert::{self, ArrowRequest, Columns, Features, Given, Language, Place, ScoredBatch, Stored, Wanted};
use crate::customers::{Lookup, StoredRow};
use crate::metrics::{Calls, MethodCalls, Stage, Stopwatch};
use crate::models::{Asked, LiveModel, LiveSet, MAX_ADDRESSES, Models};
use crate::predict_request;
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
    methods: Arc<Methods>,
    calls: Arc<Calls>,
}

/// Where the calls of each method are counted.
struct Methods {
    predict: Arc<MethodCalls>,
    predict_batch: Arc<MethodCalls>,
    predict_stream: Arc<MethodCalls>,
    explain: Arc<MethodCalls>,
    what_if: Arc<MethodCalls>,
    model_infer: Arc<MethodCalls>,
}

impl Methods {
    fn new(calls: &Calls) -> Self {
        let ours = |method| calls.of(&format!("{}/{method}", prediction_server::SERVICE_NAME)).clone();
        Self {
            predict: ours("Predict"),
            predict_batch: ours("PredictBatch"),
            predict_stream: ours("PredictStream"),
            explain: ours("Explain"),
            what_if: ours("WhatIf"),
            model_infer: calls.of(&format!("{}/ModelInfer", inference_server::SERVICE_NAME)).clone(),
        }
    }
}

/// When the headers of a request arrived; now, where nobody has noted it.
pub(crate) fn arrival<T>(request: &Request<T>) -> Instant {
    request.extensions().get::<Arrival>().map_or_else(Instant::now, |Arrival(arrived)| *arrived)
}

#[tonic::async_trait]
impl PredictionService for Prediction {
    async fn predict(&self, request: Request<v1::PredictRequest>) -> Result<Response<v1::PredictResponse>, Status> {
        // The server's own route goes through `undecoded`.
        let mut stopwatch = self.methods.predict.stopwatch(arrival(&request));
        stopwatch.done(Stage::Queue);
        let request_id = self.request_id(request.metadata());
        Ok(Response::new(self.answer(request.get_ref(), request_id, stopwatch)?))
    }

    async fn predict_batch(
        &self,
        request: Request<v1::PredictBatchRequest>,
    ) -> Result<Response<v1::PredictBatchResponse>, Status> {
        // As above: a batch is weighed before it is decoded.
        let (arrived, request_id) = (arrival(&request), self.request_id(request.metadata()));
        Ok(Response::new(self.answer_batch(arrived, || Ok(request.into_inner()), request_id).await?))
    }

    type PredictStreamStream = StreamAnswers;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let request_id = self.request_id(request.metadata());
        Ok(Response::new(answer_stream(self.clone(), request, request_id, self.stopping.clone())))
    }

    async fn what_if(&self, request: Request<v1::WhatIfRequest>) -> Result<Response<v1::WhatIfResponse>, Status> {
        let (set, config, methods) = (self.models.live().clone(), self.config.clone(), self.methods.clone());
        let (arrived, models) = (arrival(&request), self.models.clone());
        let request = request.into_inner();
        // What is only large in memory, as empty changes are, shall not wait for its turn.
        convert::check_changes(&request, set.select(&request.models)?.len(), &config)?;
        let answer = move || what_if_response(&set, &Lookup::new(&models), &config, request, methods.what_if.stopwatch(arrived));
        Ok(Response::new(self.work(answer).await?))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let stopwatch = self.methods.explain.stopwatch(arrival(&request));
        Ok(Response::new(self.explanation(request.into_inner(), stopwatch)?))
    }
}

impl Prediction {
    /// Asks these models, within these limits.
    pub(crate) fn new(
        models: Arc<Models>,
        config: Arc<Config>,
        log: Option<Arc<PredictionLog>>,
        stopping: watch::Receiver<bool>,
        calls: &Arc<Calls>,
    ) -> Self {
        let n_workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            models,
            config,
            log,
            batch_workers: Arc::new(Semaphore::new(n_workers)),
            stopping,
            methods: Arc::new(Methods::new(calls)),
            calls: calls.clone(),
        }
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

    /// Measures one message of a stream, from now on.
    pub(crate) fn stream_stopwatch(&self) -> Stopwatch<'_> {
        self.methods.predict_stream.stopwatch(Instant::now())
    }

    /// A message of a stream was refused for this reason.
    pub(crate) fn refused(&self, reason: &str) {
        self.calls.refused(Some(reason));
    }

    /// Measures a call of the Open Inference Protocol.
    pub(crate) fn infer_calls(&self) -> Arc<MethodCalls> {
        self.methods.model_infer.clone()
    }

    /// Answers one request of a stream.
    pub(crate) fn answer(
        &self,
        request: &v1::PredictRequest,
        request_id: Option<Arc<str>>,
        stopwatch: Stopwatch<'_>,
    ) -> Result<v1::PredictResponse, CallError> {
        self.predictions(&request.customer_id, &Features::from(&request.features), request, request_id, stopwatch)
    }

    /// Answers one request that is still encoded.
    pub(crate) fn answer_undecoded(
        &self,
        message: &[u8],
        request_id: Option<Arc<str>>,
        arrived: Instant,
    ) -> Result<v1::PredictResponse, CallError> {
        let mut stopwatch = self.methods.predict.stopwatch(arrived);
        stopwatch.done(Stage::Queue);
        match predict_request::read(message) {
            Some(request) => self.predictions(request.customer_id, &request.features, &request.rest, request_id, stopwatch),
            None => match v1::PredictRequest::decode(message) {
                Ok(request) => self.answer(&request, request_id, stopwatch),
                Err(error) => Err(malformed(&error.to_string()).into()),
            },
        }
    }

    /// Answers for one customer with these features; whatever else was asked stands in `request`.
    fn predictions(
        &self,
        customer_id: &str,
        features: &Features<'_>,
        request: &v1::PredictRequest,
        request_id: Option<Arc<str>>,
        mut stopwatch: Stopwatch<'_>,
    ) -> Result<v1::PredictResponse, CallError> {
        let set = self.models.live();
        let models = set.select_for(&request.models, customer_id)?;
        let mut violations = Violations::default();
        let observed = observed(&self.config, request.observed_at.as_ref(), &models, &mut violations);
        let wanted = Wanted::of(request, &mut violations);
        check_features(features, request.unknown_feature_policy, &models, &self.config, &mut violations)?;
        let customers = Lookup::new(&self.models);
        let row = customers.find(customer_id, features, versions(&models))?;
        let given = Given::new(features, stored(row, request.observed_at.as_ref(), observed));
        let rows: Vec<_> = models.iter().map(|asked| convert::encode(&given, asked.model, observed, &mut violations)).collect();
        violations.check()?;
        stopwatch.done(Stage::Convert);
        let mut call = self.log.as_ref().map(|log| log.call(request_id));
        let mut predictions = Vec::with_capacity(models.len());
        for (asked, mut row) in models.iter().zip(rows) {
            let (answer, prediction) = convert::predict(asked, &mut row, wanted);
            predictions.push(answer);
            if let Some(call) = &mut call {
                let (customer_id, values) = (customer_id.to_owned(), row.values);
                call.add(asked.model, asked.alias, PredictedRows::One { customer_id, values, prediction });
                call.add_shadow(asked);
            }
        }
        stopwatch.finish(Stage::Score);
        if let Some(call) = call {
            let given_observed = request.observed_at.as_ref().and(observed);
            call.end(observed, || ShadowCustomers::One {
                customer_id: customer_id.to_owned(),
                features: features.to_owned(),
                elapsed_days: wanted.elapsed_days,
                customers: customers.kept(),
                given_observed,
            });
        }
        let stored_row = row.map(|row| convert::stored_row(row, (self.config.now)()));
        Ok(v1::PredictResponse { predictions, customer_id: customer_id.to_owned(), stored_row })
    }

    fn explanation(&self, request: v1::ExplainRequest, mut stopwatch: Stopwatch<'_>) -> Result<v1::ExplainResponse, CallError> {
        stopwatch.done(Stage::Queue);
        let set = self.models.live();
        let asked = set.select_one(&request.model, &request.customer_id)?;
        let mut violations = Violations::default();
        let observed = observed(&self.config, request.observed_at.as_ref(), &[asked], &mut violations);
        let language = Language::of(request.language, &mut violations);
        let features = Features::from(&request.features);
        check_features(&features, request.unknown_feature_policy, &[asked], &self.config, &mut violations)?;
        let customers = Lookup::new(&self.models);
        let row = customers.find(&request.customer_id, &features, versions(&[asked]))?;
        let given = Given::new(&features, stored(row, request.observed_at.as_ref(), observed));
        let encoded = convert::encode(&given, asked.model, observed, &mut violations);
        violations.check()?;
        stopwatch.done(Stage::Convert);
        let stored_row = row.map(|row| convert::stored_row(row, (self.config.now)()));
        let explanation = convert::explain(&asked, encoded, language);
        stopwatch.finish(Stage::Score);
        Ok(v1::ExplainResponse { customer_id: request.customer_id, stored_row, ..explanation })
    }

    /// Answers a batch that is still encoded; it is weighed and decoded where and when it is worked on.
    pub(crate) async fn answer_undecoded_batch(
        &self,
        message: Bytes,
        request_id: Option<Arc<str>>,
        arrived: Instant,
    ) -> Result<v1::PredictBatchResponse, CallError> {
        let config = self.config.clone();
        self.answer_batch(arrived, move || decode_batch(message, &config), request_id).await
    }

    async fn answer_batch(
        &self,
        arrived: Instant,
        read: impl FnOnce() -> Result<v1::PredictBatchRequest, CallError> + Send + 'static,
        request_id: Option<Arc<str>>,
    ) -> Result<v1::PredictBatchResponse, CallError> {
        let (config, models, methods) = (self.config.clone(), self.models.clone(), self.methods.clone());
        let log = self.log.clone();
        self.work(move || {
            let mut stopwatch = methods.predict_batch.stopwatch(arrived);
            stopwatch.done(Stage::Queue);
            let call = log.as_ref().map(|log| log.call(request_id));
            batch_response(&models.live(), &Lookup::new(&models), &config, read()?, call, stopwatch)
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
    features: &Features<'_>,
    policy: i32,
    models: &[Asked<'_>],
    config: &Config,
    violations: &mut Violations,
) -> Result<(), CallError> {
    check_count("features", features.len(), config.max_features)?;
    let rejects = convert::rejects_unknown(policy, violations);
    // Most often one model knows them all.
    if rejects && !models.iter().any(|asked| features.are_known_to(asked.model.scorer.schema())) {
        let names = features.names().map(|name| (name, 0));
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

fn what_if_response(
    set: &LiveSet,
    customers: &Lookup,
    config: &Config,
    request: v1::WhatIfRequest,
    mut stopwatch: Stopwatch<'_>,
) -> Result<v1::WhatIfResponse, CallError> {
    stopwatch.done(Stage::Queue);
    let models = set.select_for(&request.models, &request.customer_id)?;
    let mut violations = Violations::default();
    let observed = observed(config, request.observed_at.as_ref(), &models, &mut violations);
    let language = Language::of(request.language, &mut violations);
    let features = Features::from(&request.features);
    check_features(&features, request.unknown_feature_policy, &models, config, &mut violations)?;
    if convert::rejects_unknown(request.unknown_feature_policy, &mut violations) {
        let changes = request.changes.iter().enumerate();
        let names = changes.flat_map(|(position, change)| change.features.keys().map(move |name| (name.as_str(), position)));
        convert::check_names(names, &models, |name, position| convert::changed_path(position, name), &mut violations);
    }
    let row = customers.find(&request.customer_id, &features, versions(&models))?;
    let given = Given::new(&features, stored(row, request.observed_at.as_ref(), observed));
    let rows =
        models.iter().map(|asked| convert::encode_changes(&given, &request.changes, asked.model, observed, &mut violations));
    let rows: Vec<_> = rows.collect();
    violations.check()?;
    stopwatch.done(Stage::Convert);
    let comparisons = models.iter().zip(rows).map(|(asked, (before, after))| convert::compare(asked, before, after));
    let (comparisons, note) = (comparisons.collect(), language.association_note().to_owned());
    stopwatch.finish(Stage::Score);
    let stored_row = row.map(|row| convert::stored_row(row, (config.now)()));
    Ok(v1::WhatIfResponse { customer_id: request.customer_id, comparisons, note, stored_row })
}

fn batch_response(
    set: &LiveSet,
    customers: &Lookup,
    config: &Config,
    mut request: v1::PredictBatchRequest,
    call: Option<LoggedCall<'_>>,
    mut stopwatch: Stopwatch<'_>,
) -> Result<v1::PredictBatchResponse, CallError> {
    if !request.arrow_ipc.is_empty() {
        return arrow_batch_response(set, customers, config, request, call, stopwatch);
    }
    let models = set.select(&request.models)?;
    let mut violations = Violations::default();
    let observed = observed(config, request.observed_at.as_ref(), &models, &mut violations);
    let columns = Columns::take(&mut request, &models, Place::Columns, config, &mut violations)?;
    violations.check()?;
    let given_observed = request.observed_at.as_ref().and(observed);
    let batch = Batch { columns, models, customers, observed, given_observed };
    let (mut scored, ages) = batch.score(config, &mut stopwatch, call.is_some())?;
    if let Some(call) = call {
        batch.log(call, &mut scored);
    }
    let mut response = v1::PredictBatchResponse::from(scored);
    response.stored_age_seconds = ages;
    stopwatch.finish(Stage::Convert);
    Ok(response)
}

fn arrow_batch_response(
    set: &LiveSet,
    customers: &Lookup,
    config: &Config,
    mut request: v1::PredictBatchRequest,
    call: Option<LoggedCall<'_>>,
    mut stopwatch: Stopwatch<'_>,
) -> Result<v1::PredictBatchResponse, CallError> {
    let models = set.select(&request.models)?;
    convert::check_alone(&request)?;
    let decoded = arrow_stream::decode(std::mem::take(&mut request.arrow_ipc), config)?;
    let mut arrow = ArrowRequest::of(&decoded, &request.arrow_id_column, config)?;
    let mut violations = Violations::default();
    let observed = observed(config, request.observed_at.as_ref(), &models, &mut violations);
    let columns = Columns::of_arrow(&mut arrow, request.unknown_feature_policy, &models, &mut violations);
    violations.check()?;
    let given_observed = request.observed_at.as_ref().and(observed);
    let batch = Batch { columns, models, customers, observed, given_observed };
    let (mut scored, ages) = batch.score(config, &mut stopwatch, call.is_some())?;
    let customer_ids = batch.columns.customer_ids().to_vec();
    if let Some(call) = call {
        batch.log(call, &mut scored);
    }
    let response = convert::arrow_response(&customer_ids, &ages, scored)?;
    stopwatch.finish(Stage::Convert);
    Ok(response)
}

/// The rows of a batch, and all that they are scored by.
struct Batch<'b> {
    columns: Columns,
    models: Vec<Asked<'b>>,
    customers: &'b Lookup,
    /// The moment that dates are counted to.
    observed: Option<Day>,
    /// The same where the request says it; stored rows have moments of their own otherwise.
    given_observed: Option<Day>,
}

impl Batch<'_> {
    /// The answers, and how old the stored rows are that they draw on.
    fn score(
        &self,
        config: &Config,
        stopwatch: &mut Stopwatch<'_>,
        is_logged: bool,
    ) -> Result<(ScoredBatch, Vec<f64>), CallError> {
        let stored = self.customers.find_all(self.columns.customer_ids(), self.given_observed, versions(&self.models))?;
        let ages = stored.as_ref().map(|stored| stored.ages((config.now)())).unwrap_or_default();
        stopwatch.done(Stage::Convert);
        let scored = convert::score_batch(&self.columns, stored.as_ref(), &self.models, self.observed, is_logged);
        stopwatch.done(Stage::Score);
        Ok((scored, ages))
    }

    /// Hands the answers to the log, and the columns to the shadows.
    fn log(self, call: LoggedCall<'_>, scored: &mut ScoredBatch) {
        let Self { columns, models, customers, observed, given_observed } = self;
        log_batch(call, scored, &models, (columns, customers.kept(), given_observed), observed);
    }
}

/// Every version that may answer.
fn versions<'m>(models: &'m [Asked<'_>]) -> impl Iterator<Item = &'m Arc<LiveModel>> {
    models.iter().flat_map(|asked| [Some(asked.model), asked.challenger]).flatten()
}

/// The moment that a row's dates are counted to: what the request says, or else the row's own.
pub(crate) fn stored<'v>(row: Option<StoredRow<'v>>, given: Option<&Timestamp>, observed: Option<Day>) -> Option<Stored<'v>> {
    row.map(|row| Stored { row, observed: given.and(observed).or_else(|| Some(row.observed())) })
}

/// Hands a batch to the log, and its columns to the shadows, with the customer table and the day that the request counts dates to.
pub(crate) fn log_batch(
    mut call: LoggedCall<'_>,
    scored: &mut ScoredBatch,
    models: &[Asked<'_>],
    (columns, customers, given_observed): (Columns, Lookup, Option<Day>),
    observed: Option<Day>,
) {
    for (model, alias, rows) in std::mem::take(&mut scored.predicted) {
        call.add(&model, alias, rows);
    }
    for asked in models {
        call.add_shadow(asked);
    }
    call.end(observed, || ShadowCustomers::Many { columns, customers, given_observed });
}
