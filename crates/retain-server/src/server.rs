//! A server's life: bind, load, serve, drain.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prost::Message;
use prost_types::FileDescriptorSet;
use retain_proto::FILE_DESCRIPTOR_SET;
use retain_proto::inference::grpc_inference_service_server::{self as inference_server, GrpcInferenceServiceServer};
use retain_proto::v1::decision_service_server::{self as decision_server, DecisionServiceServer};
use retain_proto::v1::model_service_server::{self as model_server, ModelServiceServer};
use retain_proto::v1::prediction_service_server::{self as prediction_server, PredictionServiceServer};
use retain_score::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tonic_health::pb::health_server::{self, HealthServer};

use crate::api_keys::{Scope, check_keys};
use crate::config::{Config, ConfigError};
use crate::counts::Counts;
use crate::customers::{Customers, CustomersError, CustomersReport, Patience};
use crate::decisions::{DecisionCalls, Decisions, PlaybookError};
use crate::gate::{Access, Gate};
use crate::health::Health;
use crate::incoming;
use crate::jwt::JwtError;
use crate::metrics::{self, Calls, Endpoint, Places, serve_metrics};
use crate::mirror::{Mirror, StoreError, store_url};
use crate::model_service::ModelDirectory;
use crate::models::{LoadReport, Models, ReloadError};
use crate::open_inference::OpenInference;
use crate::prediction_log::PredictionLog;
use crate::routes::{Admission, Routes};
use crate::service::Prediction;
use crate::text::chain;
use crate::tls::{Tls, TlsError};
use crate::traces::Tracing;
use crate::undecoded::{Predict, PredictBatch, Undecoded};

/// Streams that one connection may have open; more calls wait their turn at the client.
const MAX_STREAMS: u32 = 256;
/// Bytes that a client may send ahead on one stream and on one connection: a batch should not wait for a round trip every 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Longest headers of one request.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Calls to `ModelService` in flight: a model's description may be long.
const MAX_MODEL_CALLS: usize = 64;
/// Largest request of the services that ask for a name at most.
const SMALL_MESSAGE_BYTES: usize = 64 << 10;
/// Connections that stay silent are asked whether they live, and closed when they do not answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that has its place on the network and waits to be started.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    config: Arc<Config>,
    models: Arc<Models>,
    log: Option<Arc<PredictionLog>>,
    decisions: Option<Arc<Decisions>>,
    tls: Option<Arc<Tls>>,
    gate: Arc<Gate>,
    metrics: Option<TcpListener>,
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Health says so first, and calls are taken for [`Config::grace_seconds`] more: a machine is taken out of service.
    Gracefully,
    /// No more calls are taken: somebody at a terminal waits.
    Now,
}

/// Acts on a server while it runs, from any task.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    models: Arc<Models>,
    log: Option<Arc<PredictionLog>>,
    decisions: Option<Arc<Decisions>>,
    tls: Option<Arc<Tls>>,
    gate: Arc<Gate>,
    metrics_addr: Option<SocketAddr>,
}

/// A server that runs in the background, as tests and demonstrations want it. Dropping it stops the server too.
#[derive(Debug)]
pub struct RunningServer {
    local_addr: SocketAddr,
    handle: ServerHandle,
    stop: oneshot::Sender<Stop>,
    serving: JoinHandle<Result<(), ServerError>>,
}

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A setting that cannot be.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// The certificate cannot be used.
    #[error("connections cannot be encrypted")]
    Tls(#[from] TlsError),
    /// Tokens cannot be checked.
    #[error("tokens cannot be checked")]
    Jwt(#[from] JwtError),
    /// Traces cannot be sent.
    #[error("traces cannot be sent")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The object store cannot be the models directory.
    #[error("the models cannot be read")]
    Store(#[from] StoreError),
    /// The playbook cannot be used.
    #[error("decisions cannot be made")]
    Playbook(#[from] PlaybookError),
    /// Anybody on the network could call.
    #[error("`{address}` can be reached from elsewhere, and callers are asked for neither an API key, a token nor a certificate")]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// The API does not describe itself; a mistake of ours.
    #[error("cannot set up reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport gave up.
    #[error("the server broke off")]
    Transport(#[from] tonic::transport::Error),
    /// The task of a background server was ended from outside or panicked.
    #[error("the server's task broke off")]
    Task(#[from] tokio::task::JoinError),
}

impl Server {
    /// Takes the address that `config` names. Models are read later, by [`Server::serve`].
    ///
    /// # Errors
    /// [`ServerError::Bind`] when the address is taken or not ours, [`ServerError::Unprotected`] when it is not loopback and callers
    /// need neither a key nor a certificate, [`ServerError::Tls`] when the certificate cannot be used.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        check_keys(&config.api_keys)?;
        let gate = Arc::new(Gate::new(&config)?);
        let asks_certificate = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_protected = gate.is_guarded() || asks_certificate;
        if !(config.listen.ip().is_loopback() || is_protected || config.allow_unprotected) {
            return Err(ServerError::Unprotected { address: config.listen });
        }
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let listen = |address| incoming::listen(address).map_err(|source| ServerError::Bind { address, source });
        let listener = listen(config.listen)?;
        let metrics = config.metrics_listen.map(listen).transpose()?;
        let local_addr = listener.local_addr().map_err(|source| ServerError::Bind { address: config.listen, source })?;
        let mirror = store_url(&config.models).map(|url| Mirror::open(url, config.models_cache.as_deref())).transpose()?;
        let registry = Registry::new(mirror.as_ref().map_or(&config.models, |mirror| mirror.root()));
        let customers = config.features.clone().map(|features| Customers::new(features, config.now));
        let models = Arc::new(Models::new(registry, mirror, config.traffic.clone(), Health::new().await, customers));
        let log = config.prediction_log.clone().map(|settings| Arc::new(PredictionLog::new(settings, config.now)));
        let decisions = config.decisions.clone().map(|settings| Decisions::new(settings, config.now)).transpose()?.map(Arc::new);
        if let (Some(customers), Some(decisions)) = (models.customers(), &decisions) {
            customers.set_rule_features(decisions.rule_features());
        }
        Ok(Self { listener, local_addr, config: Arc::new(config), models, log, decisions, tls, gate, metrics })
    }

    /// The address it listens on, with the port that was given for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What acts on the server once it runs.
    pub fn handle(&self) -> ServerHandle {
        let metrics_addr = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let (models, log, decisions) = (self.models.clone(), self.log.clone(), self.decisions.clone());
        ServerHandle { models, log, decisions, tls: self.tls.clone(), gate: self.gate.clone(), metrics_addr }
    }

    /// Answers until `shutdown` completes and calls in flight are done, at most `drain_seconds` later.
    ///
    /// Connections are taken at once and told `NOT_SERVING`; the models are read meanwhile, and the first set that has a champion
    /// makes it `SERVING`, when the customer table has been read too where there is one. At the end health says `NOT_SERVING` first;
    /// after a grace period, where `shutdown` allows one, no new calls are taken.
    ///
    /// # Errors
    /// [`ServerError`] when the transport breaks off. Models that cannot be loaded are no error here: they are logged, and the
    /// server says `NOT_SERVING`.
    pub async fn serve(self, shutdown: impl Future<Output = Stop>) -> Result<(), ServerError> {
        let handle = self.handle();
        let Self { listener, local_addr, config, models, log, decisions, tls, gate, metrics } = self;
        let stop = watch::Sender::new(false);
        let rooms = Rooms::new(&config);
        let calls = Arc::new(Calls::new(methods()));
        let tracing = config.traces.as_ref().map(Tracing::new).transpose()?.map(Arc::new);
        let door = Routes::new(Duration::from_secs(config.request_seconds), gate, calls.clone(), tracing.clone());
        let prediction = Prediction::new(models.clone(), config.clone(), log.clone(), stop.subscribe(), &calls);
        let routes = routes(door, &config, &models, &rooms, (prediction, decisions.clone()))?;
        if let Some(log) = &log {
            log.start();
        }
        tracing::info!(address = %local_addr, models = %config.models.display(), tls = tls.is_some(), "listening");
        let _telling = metrics.map(|listener| {
            let registry = metrics::registry(calls, models.clone(), handle, rooms.places(&config));
            let endpoint = Arc::new(Endpoint { registry, models: models.clone() });
            Running(tokio::spawn(serve_metrics(listener, endpoint)).abort_handle())
        });
        if tls.is_none() && !local_addr.ip().is_loopback() {
            tracing::warn!("connections are not encrypted: keys and customers' values can be read on their way");
        }

        let stopped = || {
            let mut stop = stop.subscribe();
            // An error is a sender that is gone, which says the same.
            async move { drop(stop.wait_for(|stop| *stop).await) }
        };
        let connections = incoming::connections(listener, rooms.connections.clone(), tls.clone(), stopped());
        let _watching = tls.map(|tls| Running(tokio::spawn(tls.watch()).abort_handle()));
        let serving = transport().serve_with_incoming_shutdown(routes, connections, stopped());
        let loading = models.clone();
        let watch = Duration::from_secs(config.models_check_seconds);
        let _watching_models = (!watch.is_zero()).then(|| Running(tokio::spawn(models.clone().watch(watch)).abort_handle()));
        // A failure is logged where it happens; here there is nobody to tell.
        let loading = async move {
            let _ = loading.reload().await;
            loading.watch_customers().await;
        };
        let _loading = Running(tokio::spawn(loading).abort_handle());
        let _deciding =
            decisions.clone().map(|decisions| Running(tokio::spawn(async move { decisions.run().await }).abort_handle()));
        let (drain, stopped_at) = (Duration::from_secs(config.drain_seconds), OnceLock::new());
        let stopping = async {
            let how = shutdown.await;
            let grace_seconds = if how == Stop::Gracefully { config.grace_seconds } else { 0 };
            tracing::info!(grace_seconds, "stopping");
            models.health().close().await;
            tokio::time::sleep(Duration::from_secs(grace_seconds)).await;
            stopped_at.get_or_init(Instant::now);
            stop.send_replace(true);
            models.health().end_watches().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            result = serving => result?,
            () = stopping => tracing::warn!(drain_seconds = config.drain_seconds, "stopped before all calls were done"),
        }
        if let Some(log) = log {
            close_log(log, drain.saturating_sub(stopped_at.get().map_or(Duration::ZERO, Instant::elapsed))).await;
        }
        if let Some(decisions) = decisions {
            decisions.close();
        }
        if let Some(tracing) = tracing {
            tracing.close().await;
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves in the background and waits until the models have been read, and the customer table where there is one.
    pub async fn spawn(self) -> RunningServer {
        let (local_addr, handle) = (self.local_addr, self.handle());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(self.serve(async move { stopped.await.unwrap_or(Stop::Now) }));
        handle.loaded().await;
        handle.customers().await;
        if let Some(decisions) = &handle.decisions {
            decisions.tried().await;
        }
        RunningServer { local_addr, handle, stop, serving }
    }
}

/// Waits until what was predicted is written, for what is left of the time that calls have to end, and a second at least.
async fn close_log(log: Arc<PredictionLog>, longest: Duration) {
    let closing = tokio::task::spawn_blocking(move || log.close());
    if tokio::time::timeout(longest.max(Duration::from_secs(1)), closing).await.is_err() {
        tracing::warn!("stopped before the prediction log was written");
    }
}

/// A task that ends with what it was begun for.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The HTTP/2 settings of every server, for a bench that holds another service against it.
pub fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// How many calls of each kind there is room for.
struct Rooms {
    calls: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    descriptions: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Rooms {
    fn new(config: &Config) -> Self {
        let places = |n_calls| Arc::new(Semaphore::new(n_calls));
        Self {
            calls: places(config.max_in_flight),
            batches: places(config.max_batches_in_flight),
            streams: places(config.max_streams),
            descriptions: places(MAX_MODEL_CALLS),
            connections: places(config.max_connections),
        }
    }

    fn places(&self, config: &Config) -> Vec<Places> {
        let places = |kind, free: &Arc<Semaphore>, total| Places { kind, free: free.clone(), total };
        vec![
            places("call", &self.calls, config.max_in_flight),
            places("batch", &self.batches, config.max_batches_in_flight),
            places("stream", &self.streams, config.max_streams),
            places("description", &self.descriptions, MAX_MODEL_CALLS),
            places(metrics::CONNECTION, &self.connections, config.max_connections),
        ]
    }
}

/// All methods of all services, `package.Service/Method`, as the API describes itself.
fn methods() -> impl Iterator<Item = String> {
    let described = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET]
        .into_iter()
        .chain([tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET]);
    // Generated beside the services: what cannot be read is not there, and its calls are counted as unknown ones.
    let files = described.flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let name = format!("{package}.{}", service.name());
            service.method.into_iter().map(move |method| format!("{name}/{}", method.name()))
        })
    })
}

fn routes(
    door: Routes,
    config: &Arc<Config>,
    models: &Arc<Models>,
    rooms: &Rooms,
    (prediction, decisions): (Prediction, Option<Arc<Decisions>>),
) -> Result<Routes, ServerError> {
    let (calls, batches) = (rooms.calls.clone(), rooms.batches.clone());
    let streams = Admission::WhileOpen(rooms.streams.clone());
    let descriptions = Admission::UntilSent(rooms.descriptions.clone());
    let prediction = Arc::new(prediction);
    // Batches may be larger than single requests, and wait for a room of their own.
    let batch = Undecoded::<PredictBatch>::new(prediction.clone(), config.max_batch_bytes);
    let predict_one = Undecoded::<Predict>::new(prediction.clone(), config.max_message_bytes);
    let deciding = DecisionServiceServer::new(DecisionCalls::new(prediction.clone(), decisions));
    let (deciding, deciding_batch) = (
        deciding.clone().max_decoding_message_size(config.max_message_bytes),
        deciding.max_decoding_message_size(config.max_batch_bytes),
    );
    let decide = Access::Scope(Scope::Decide);
    let inference = GrpcInferenceServiceServer::new(OpenInference::new(prediction.clone(), batches.clone()));
    let inference = inference.max_decoding_message_size(config.max_message_bytes);
    let single = PredictionServiceServer::from_arc(prediction).max_decoding_message_size(config.max_message_bytes);
    let directory = ModelServiceServer::new(ModelDirectory::new(models.clone())).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let health = HealthServer::new(models.health().service()).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let (predict, admin) = (Access::Scope(Scope::Predict), Access::Scope(Scope::Admin));
    let method = |service: &str, name: &str| format!("/{service}/{name}");
    let routes = door
        .add_undecoded(
            method(prediction_server::SERVICE_NAME, "Predict"),
            predict,
            Admission::UntilAnswered(calls.clone()),
            predict_one,
        )
        .add_undecoded(
            method(prediction_server::SERVICE_NAME, "PredictBatch"),
            predict,
            Admission::UntilSent(batches.clone()),
            batch,
        )
        .add(method(prediction_server::SERVICE_NAME, "WhatIf"), predict, Admission::UntilSent(batches.clone()), single.clone())
        .add(method(prediction_server::SERVICE_NAME, "PredictStream"), predict, streams, single.clone())
        .add(method(prediction_server::SERVICE_NAME, ""), predict, Admission::UntilAnswered(calls.clone()), single)
        .add(
            method(decision_server::SERVICE_NAME, "RecommendBatch"),
            decide,
            Admission::UntilSent(batches.clone()),
            deciding_batch,
        )
        .add(method(decision_server::SERVICE_NAME, ""), decide, Admission::UntilAnswered(calls.clone()), deciding)
        .add(method(inference_server::SERVICE_NAME, "ModelMetadata"), predict, descriptions.clone(), inference.clone())
        .add(method(inference_server::SERVICE_NAME, ""), predict, Admission::UntilAnswered(calls), inference)
        .add(method(model_server::SERVICE_NAME, "Reload"), admin, descriptions.clone(), directory.clone())
        .add(method(model_server::SERVICE_NAME, "SetAlias"), admin, descriptions.clone(), directory.clone())
        .add(method(model_server::SERVICE_NAME, ""), predict, descriptions, directory)
        .add(method(health_server::SERVICE_NAME, ""), Access::Open, Admission::Free, health);
    if config.reflection { with_reflection(routes) } else { Ok(routes) }
}

fn with_reflection(routes: Routes) -> Result<Routes, ServerError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let routes = routes.add("/grpc.reflection.v1.ServerReflection/".to_owned(), Access::AnyKey, Admission::Free, v1);
    Ok(routes.add("/grpc.reflection.v1alpha.ServerReflection/".to_owned(), Access::AnyKey, Admission::Free, v1alpha))
}

impl ServerHandle {
    /// Waits until the registry has been read once, and tells what came of it.
    pub async fn loaded(&self) -> LoadReport {
        self.models.loaded().await;
        self.models.live().report()
    }

    /// Waits until the customer table has been read or refused once, and tells what came of the last time; none where there is none.
    pub async fn customers(&self) -> Option<Result<CustomersReport, Arc<CustomersError>>> {
        Some(self.models.customers()?.looked().await)
    }

    /// Reads the customer table where it has changed, even if it may still be being written; none where there is none.
    pub async fn read_customers(&self) -> Option<Result<CustomersReport, Arc<CustomersError>>> {
        let live = self.models.live().clone();
        Some(self.models.customers()?.look(&live, Patience::None).await)
    }

    /// Reads the certificate and its key again, for connections that come from now on; true where they have changed.
    ///
    /// # Errors
    /// [`TlsError`] names the file that is wrong; the certificate before it stays.
    pub fn reload_certificate(&self) -> Result<bool, TlsError> {
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload())
    }

    /// Reads the keys of tokens again; true where they have changed.
    ///
    /// # Errors
    /// [`JwtError`] names the file that is wrong; the keys before it stay.
    pub fn reload_token_keys(&self) -> Result<bool, JwtError> {
        self.gate.reload()
    }

    /// The address of the metrics, where there is one.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// What answers now and what was refused when the registry was last read.
    pub fn report(&self) -> LoadReport {
        self.models.live().report()
    }

    /// What happened since the server began.
    pub fn counts(&self) -> Counts {
        let mut counts = self.models.counts();
        if let Some(log) = &self.log {
            log.count(&mut counts);
        }
        counts
    }

    /// Reads the registry again and swaps in what passes its checks, and the customer table where it has changed; waits while another
    /// reload runs.
    ///
    /// # Errors
    /// [`ReloadError`] when nothing could be read; what was live stays so.
    pub async fn reload(&self) -> Result<LoadReport, ReloadError> {
        self.reload_playbook();
        let read = self.models.reload().await;
        self.models.look_at_customers(Patience::Retry).await;
        read.map(|set| set.report())
    }

    /// The name of the playbook, where there is one, after looking whether all of its models answer; else what does not.
    ///
    /// # Errors
    /// Which model does not answer, and why.
    pub fn check_playbook(&self) -> Result<Option<String>, String> {
        let Some(decisions) = &self.decisions else { return Ok(None) };
        decisions.check_models(&self.models.live()).map(Some).map_err(|error| error.to_string())
    }

    /// Reads the playbook again; one that cannot be used is logged, and the one before it stays.
    fn reload_playbook(&self) {
        let Some(decisions) = &self.decisions else { return };
        if let Err(error) = decisions.reload() {
            tracing::error!(reason = chain(&error), "the playbook stays as it was");
        }
        if let Some(customers) = self.models.customers() {
            customers.set_rule_features(decisions.rule_features());
        }
    }

    /// From now on a hang-up signal means [`ServerHandle::reload`], as long as the returned future is polled.
    ///
    /// # Errors
    /// When the system does not let the signal be caught.
    #[cfg(unix)]
    pub fn reload_on_hangup(&self) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        let handle = self.clone();
        Ok(async move {
            while hangups.recv().await.is_some() {
                // Logged where it happens.
                let _ = handle.reload().await;
                if let Err(error) = handle.reload_certificate() {
                    tracing::error!(reason = chain(&error), "the certificate stays as it was");
                }
                if let Err(error) = handle.reload_token_keys() {
                    tracing::error!(reason = chain(&error), "the keys of tokens stay as they were");
                }
            }
        })
    }
}

impl RunningServer {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What acts on it.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Begins the shutdown, without a grace period, and waits for its end.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn stop(self) -> Result<(), ServerError> {
        self.stop_as(Stop::Now).await
    }

    /// Begins the shutdown and waits for its end.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn stop_as(self, how: Stop) -> Result<(), ServerError> {
        // A server that has ended by itself hears nothing; its result says why.
        let _ = self.stop.send(how);
        self.serving.await?
    }
}
