//! Real servers over the shipped model, and scripted ones.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retain_client::v1::feature_value::Value;
use retain_client::{Builder, Client, Failure, Health, v1};
use retain_core::Day;
use retain_proto::v1::model_service_server::{ModelService, ModelServiceServer};
use retain_proto::v1::prediction_service_server::{PredictionService, PredictionServiceServer};
use retain_server::{Config, RunningServer, Server};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_types::{ErrorDetails, StatusExt};

/// A server over the models of this repository.
pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> RunningServer {
    let mut config = Config::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), || Day::from_days(20_000.0));
    config.listen = "127.0.0.1:0".parse().unwrap();
    change(&mut config);
    Server::bind(config).await.unwrap().spawn().await
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A client of these servers that repeats itself; a test that hangs should fail.
pub(crate) fn client(addresses: impl IntoIterator<Item = SocketAddr>) -> Builder {
    Client::builder(addresses.into_iter().map(url)).seed(7).deadline(Duration::from_secs(30))
}

pub(crate) fn request() -> v1::PredictRequest {
    let tenure = v1::FeatureValue { value: Some(Value::Number(3.0)) };
    v1::PredictRequest {
        customer_id: "c-1".to_owned(),
        features: [("tenure".to_owned(), tenure)].into(),
        models: vec!["telco-churn".to_owned()],
        ..v1::PredictRequest::default()
    }
}

/// Ends the test when something that should happen does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until the client knows this of the server at a position.
pub(crate) async fn until_seen(client: &Client, position: usize, health: Health) {
    soon("a change of health", async {
        while client.health()[position].health != health {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[track_caller]
pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, retain_client::Error>) -> Failure {
    match result.unwrap_err() {
        retain_client::Error::Call(failure) => *failure,
        other => panic!("no call was made: {other}"),
    }
}

/// A refusal with a time to wait.
pub(crate) fn with_hint(code: Code, hint: Duration) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(hint)).set_error_info("TOO_MANY_IN_FLIGHT", "retain", HashMap::new());
    Status::with_error_details(code, "as told", details)
}

/// A server that says what it was told to say, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) health: HealthReporter,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// Refusals of the next calls; after them it answers.
    refusals: VecDeque<Status>,
    /// Whether calls are never answered.
    hangs: bool,
    /// Headers of the calls that came.
    calls: Vec<MetadataMap>,
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let health = HealthReporter::new();
        health.set_service_status("retain.v1.PredictionService", ServingStatus::Serving).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scripted = Self { address: listener.local_addr().unwrap(), health: health.clone(), script: Arc::default() };
        let health =
            tonic_health::pb::health_server::HealthServer::new(tonic_health::server::HealthService::from_health_reporter(health));
        let services = Services {
            predictions: PredictionServiceServer::new(scripted.clone()),
            models: ModelServiceServer::new(scripted.clone()),
            health,
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(services, incoming));
        scripted
    }

    pub(crate) fn refuse(&self, refusals: impl IntoIterator<Item = Status>) {
        self.script.lock().unwrap().refusals.extend(refusals);
    }

    pub(crate) fn hang(&self) {
        self.script.lock().unwrap().hangs = true;
    }

    pub(crate) fn calls(&self) -> Vec<MetadataMap> {
        self.script.lock().unwrap().calls.clone()
    }

    async fn answer<T: Default>(&self, metadata: &MetadataMap) -> Result<Response<T>, Status> {
        let (refusal, hangs) = {
            let mut script = self.script.lock().unwrap();
            script.calls.push(metadata.clone());
            (script.refusals.pop_front(), script.hangs)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        refusal.map_or_else(|| Ok(Response::new(T::default())), Err)
    }
}

/// The services by their paths.
#[derive(Clone)]
struct Services {
    predictions: PredictionServiceServer<Scripted>,
    models: ModelServiceServer<Scripted>,
    health: tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService>,
}

impl tonic::codegen::Service<tonic::codegen::http::Request<tonic::body::Body>> for Services {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<tonic::body::Body>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with("/retain.v1.PredictionService/") {
            self.predictions.call(request)
        } else if path.starts_with("/retain.v1.ModelService/") {
            self.models.call(request)
        } else {
            self.health.call(request)
        }
    }
}

#[tonic::async_trait]
impl PredictionService for Scripted {
    async fn predict(&self, request: Request<v1::PredictRequest>) -> Result<Response<v1::PredictResponse>, Status> {
        self.answer(request.metadata()).await
    }

    async fn predict_batch(
        &self,
        request: Request<v1::PredictBatchRequest>,
    ) -> Result<Response<v1::PredictBatchResponse>, Status> {
        self.answer(request.metadata()).await
    }

    type PredictStreamStream = std::pin::Pin<Box<dyn Stream<Item = Result<v1::PredictStreamResponse, Status>> + Send>>;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        self.answer::<()>(request.metadata()).await?;
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        self.answer(request.metadata()).await
    }

    async fn what_if(&self, request: Request<v1::WhatIfRequest>) -> Result<Response<v1::WhatIfResponse>, Status> {
        self.answer(request.metadata()).await
    }
}

#[tonic::async_trait]
impl ModelService for Scripted {
    async fn list_models(&self, request: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        self.answer(request.metadata()).await
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        self.answer(request.metadata()).await
    }

    async fn reload(&self, request: Request<v1::ReloadRequest>) -> Result<Response<v1::ReloadResponse>, Status> {
        self.answer(request.metadata()).await
    }

    async fn set_alias(&self, request: Request<v1::SetAliasRequest>) -> Result<Response<v1::SetAliasResponse>, Status> {
        self.answer(request.metadata()).await
    }
}
