//! `grpc.health.v1.Health`: `SERVING` once models are loaded and warm, `NOT_SERVING` before and from the first sign of a shutdown.

use std::sync::atomic::{AtomicBool, Ordering};

use retain_proto::inference::grpc_inference_service_server as inference;
use retain_proto::v1::{model_service_server as model, prediction_service_server as prediction};
use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

/// The name that stands for the whole server.
const WHOLE_SERVER: &str = "";
const SERVICES: [&str; 4] = [WHOLE_SERVER, prediction::SERVICE_NAME, inference::SERVICE_NAME, model::SERVICE_NAME];

/// What the server says of its health.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    /// Held while statuses change, so that a reload that ends late cannot undo a shutdown.
    changing: Mutex<()>,
    closed: AtomicBool,
}

impl Health {
    /// Not serving yet.
    pub(crate) async fn new() -> Self {
        let health = Self { reporter: HealthReporter::new(), changing: Mutex::new(()), closed: AtomicBool::new(false) };
        health.set_all(ServingStatus::NotServing).await;
        health
    }

    /// The service that answers for this health.
    pub(crate) fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.clone())
    }

    /// Says whether predictions are to be had, which is asked when it is this one's turn; the models' service answers either way. Nothing
    /// changes once closed.
    pub(crate) async fn set_predicting(&self, predicting: impl Fn() -> bool) {
        let _changing = self.changing.lock().await;
        if self.is_closed() {
            return;
        }
        let status = if predicting() { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(model::SERVICE_NAME, ServingStatus::Serving).await;
        self.reporter.set_service_status(prediction::SERVICE_NAME, status).await;
        self.reporter.set_service_status(inference::SERVICE_NAME, status).await;
        self.reporter.set_service_status(WHOLE_SERVER, status).await;
    }

    /// Says that no service answers any more, whatever a reload may find.
    pub(crate) async fn close(&self) {
        let _changing = self.changing.lock().await;
        self.closed.store(true, Ordering::SeqCst);
        self.set_all(ServingStatus::NotServing).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends the streams of those who watch, after they have been told: an open stream would hold up the shutdown.
    pub(crate) async fn end_watches(&self) {
        // A clone speaks for the same statuses; clearing asks for a mutable one.
        let mut reporter = self.reporter.clone();
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
    }

    async fn set_all(&self, status: ServingStatus) {
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
