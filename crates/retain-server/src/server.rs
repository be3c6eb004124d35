//! A server's life: bind, load, serve, drain.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use retain_proto::FILE_DESCRIPTOR_SET;
use retain_proto::inference::grpc_inference_service_server::{self as inference_server, GrpcInferenceServiceServer};
use retain_proto::v1::model_service_server::{self as model_server, ModelServiceServer};
use retain_proto::v1::prediction_service_server::{self as prediction_server, PredictionServiceServer};
use retain_score::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tonic_health::pb::health_server::{self, HealthServer};

use crate::api_keys::{Access, Scope, check_keys};
use crate::batch::BatchCalls;
use crate::config::{Config, ConfigError};
use crate::counts::Counts;
use crate::health::Health;
use crate::incoming;
use crate::mirror::{Mirror, StoreError, store_url};
use crate::model_service::ModelDirectory;
use crate::models::{LoadReport, Models, ReloadError};
use crate::open_inference::OpenInference;
use crate::prediction_log::PredictionLog;
use crate::routes::{Admission, Routes};
use crate::service::Prediction;
use crate::text::chain;
use crate::tls::{Tls, TlsError};

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
    tls: Option<Arc<Tls>>,
}

/// Acts on a server while it runs, from any task.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    models: Arc<Models>,
    log: Option<Arc<PredictionLog>>,
    tls: Option<Arc<Tls>>,
}

/// A server that runs in the background, as tests and demonstrations want it. Dropping it stops the server too.
#[derive(Debug)]
pub struct RunningServer {
    local_addr: SocketAddr,
    handle: ServerHandle,
    stop: oneshot::Sender<()>,
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
    /// The object store cannot be the models directory.
    #[error("the models cannot be read")]
    Store(#[from] StoreError),
    /// Anybody on the network could call.
    #[error("`{address}` can be reached from elsewhere, and callers are asked for neither an API key nor a certificate")]
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
        let asks_certificate = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_protected = !config.api_keys.is_empty() || asks_certificate;
        if !(config.listen.ip().is_loopback() || is_protected || config.allow_unprotected) {
            return Err(ServerError::Unprotected { address: config.listen });
        }
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let bind = |source| ServerError::Bind { address: config.listen, source };
        let listener = incoming::listen(config.listen).map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        let mirror = store_url(&config.models).map(|url| Mirror::open(url, config.models_cache.as_deref())).transpose()?;
        let registry = Registry::new(mirror.as_ref().map_or(&config.models, |mirror| mirror.root()));
        let models = Arc::new(Models::new(registry, mirror, config.traffic.clone(), Health::new().await));
        let log = config.prediction_log.clone().map(|settings| Arc::new(PredictionLog::new(settings, config.now)));
        Ok(Self { listener, local_addr, config: Arc::new(config), models, log, tls })
    }

    /// The address it listens on, with the port that was given for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What acts on the server once it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { models: self.models.clone(), log: self.log.clone(), tls: self.tls.clone() }
    }

    /// Answers until `shutdown` completes and calls in flight are done, at most `drain_seconds` later.
    ///
    /// Connections are taken at once and told `NOT_SERVING`; the models are read meanwhile, and the first set that has a champion
    /// makes it `SERVING`. At the end health says `NOT_SERVING` first, then no new calls are taken.
    ///
    /// # Errors
    /// [`ServerError`] when the transport breaks off. Models that cannot be loaded are no error here: they are logged, and the
    /// server says `NOT_SERVING`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { listener, local_addr, config, models, log, tls } = self;
        let stop = watch::Sender::new(false);
        let routes = routes(&config, &models, log.as_ref(), &stop)?;
        if let Some(log) = &log {
            log.start();
        }
        tracing::info!(address = %local_addr, models = %config.models.display(), tls = tls.is_some(), "listening");
        if tls.is_none() && !local_addr.ip().is_loopback() {
            tracing::warn!("connections are not encrypted: keys and customers' values can be read on their way");
        }

        let stopped = || {
            let mut stop = stop.subscribe();
            // An error is a sender that is gone, which says the same.
            async move { drop(stop.wait_for(|stop| *stop).await) }
        };
        let connections = incoming::connections(listener, config.max_connections, tls.clone(), stopped());
        let _watching = tls.map(|tls| Watching(tokio::spawn(tls.watch()).abort_handle()));
        let serving = transport().serve_with_incoming_shutdown(routes, connections, stopped());
        let loading = models.clone();
        let watch = Duration::from_secs(config.models_check_seconds);
        let _watching_models = (!watch.is_zero()).then(|| Watching(tokio::spawn(models.clone().watch(watch)).abort_handle()));
        // A failure is logged where it happens; here there is nobody to tell.
        tokio::spawn(async move { loading.reload().await.map(drop) });
        let (drain, stopped_at) = (Duration::from_secs(config.drain_seconds), OnceLock::new());
        let stopping = async {
            shutdown.await;
            stopped_at.get_or_init(Instant::now);
            tracing::info!("stopping");
            models.health().close().await;
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
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves in the background and waits until the models have been read.
    pub async fn spawn(self) -> RunningServer {
        let (local_addr, handle) = (self.local_addr, self.handle());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(self.serve(async move {
            let _ = stopped.await;
        }));
        handle.models.loaded().await;
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
struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

fn routes(
    config: &Arc<Config>,
    models: &Arc<Models>,
    log: Option<&Arc<PredictionLog>>,
    stop: &watch::Sender<bool>,
) -> Result<Routes, ServerError> {
    let places = |n_calls| Arc::new(Semaphore::new(n_calls));
    let calls = places(config.max_in_flight);
    let batches = places(config.max_batches_in_flight);
    let streams = Admission::WhileOpen(places(config.max_streams));
    let descriptions = Admission::UntilSent(places(MAX_MODEL_CALLS));
    let prediction = Arc::new(Prediction::new(models.clone(), config.clone(), log.cloned(), stop.subscribe()));
    // Batches may be larger than single requests, and wait for a room of their own.
    let batch = BatchCalls::new(prediction.clone(), config.max_batch_bytes);
    let inference = GrpcInferenceServiceServer::new(OpenInference::new(prediction.clone(), batches.clone()));
    let inference = inference.max_decoding_message_size(config.max_message_bytes);
    let single = PredictionServiceServer::from_arc(prediction).max_decoding_message_size(config.max_message_bytes);
    let directory = ModelServiceServer::new(ModelDirectory::new(models.clone())).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let health = HealthServer::new(models.health().service()).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let (predict, admin) = (Access::Scope(Scope::Predict), Access::Scope(Scope::Admin));
    let method = |service: &str, name: &str| format!("/{service}/{name}");
    let routes = Routes::new(Duration::from_secs(config.request_seconds), config.clone())
        .add(method(prediction_server::SERVICE_NAME, "PredictBatch"), predict, Admission::UntilSent(batches.clone()), batch)
        .add(method(prediction_server::SERVICE_NAME, "WhatIf"), predict, Admission::UntilSent(batches), single.clone())
        .add(method(prediction_server::SERVICE_NAME, "PredictStream"), predict, streams, single.clone())
        .add(method(prediction_server::SERVICE_NAME, ""), predict, Admission::UntilAnswered(calls.clone()), single)
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

    /// Reads the certificate and its key again, for connections that come from now on; true where they have changed.
    ///
    /// # Errors
    /// [`TlsError`] names the file that is wrong; the certificate before it stays.
    pub fn reload_certificate(&self) -> Result<bool, TlsError> {
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload())
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

    /// Reads the registry again and swaps in what passes its checks; waits while another reload runs.
    ///
    /// # Errors
    /// [`ReloadError`] when nothing could be read; what was live stays so.
    pub async fn reload(&self) -> Result<LoadReport, ReloadError> {
        self.models.reload().await.map(|set| set.report())
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

    /// Begins the shutdown and waits for its end.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn stop(self) -> Result<(), ServerError> {
        // A server that has ended by itself hears nothing; its result says why.
        let _ = self.stop.send(());
        self.serving.await?
    }
}
