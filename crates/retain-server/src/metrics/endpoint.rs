//! The port that Prometheus and HTTP probes ask: `/metrics`, `/livez`, `/readyz`. It tells nothing of any customer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::models::Models;

/// Scrapers and probes that are answered at once; more wait.
const MAX_CONNECTIONS: usize = 16;
/// Longest that one of them may hold its connection.
const PATIENCE: Duration = Duration::from_secs(10);
const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the port tells.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) registry: Registry,
    pub(crate) models: Arc<Models>,
}

/// Answers until it is dropped.
pub(crate) async fn serve_metrics(listener: TcpListener, endpoint: Arc<Endpoint>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let endpoint = endpoint.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let answer = endpoint.answer(request.method(), request.uri().path());
            async { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let _place = place;
            let mut server = http1::Builder::new();
            let server = server.timer(TokioTimer::new()).keep_alive(false);
            let connection = server.serve_connection(TokioIo::new(stream), answer);
            // A scraper that breaks off, or holds on, is no concern of the server.
            let _ = timeout(PATIENCE, connection).await;
        });
    }
}

impl Endpoint {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(method) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match path {
            "/metrics" => self.metrics(),
            "/livez" => answer(StatusCode::OK, "live\n"),
            "/readyz" if self.models.is_ready() => answer(StatusCode::OK, "ready\n"),
            "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => answer(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            return answer(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n");
        }
        let mut response = answer(StatusCode::OK, text);
        response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
        response
    }
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}
