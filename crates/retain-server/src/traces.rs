//! Traces of calls for OpenTelemetry: the caller's trace goes on here where its headers name one (W3C Trace Context), and spans go to a
//! collector by OTLP. What a customer is like is in none of them.

use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status as SpanStatus, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use serde::Deserialize;
use tonic::Code;
use tonic::codegen::http::HeaderMap;

use crate::config::ConfigError;
use crate::metrics::code_name;

/// Longest that the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The name that the server's spans have.
const SERVICE: &str = "retain";

/// Where spans go, and how many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The collector's OTLP port for gRPC, such as `http://127.0.0.1:4317`.
    pub endpoint: String,
    /// Share of the calls that begin a trace, from 0 to 1; a caller's own trace is gone on with as its headers say. Default 0.01.
    #[serde(default = "one_in_a_hundred")]
    pub sample_share: f64,
}

fn one_in_a_hundred() -> f64 {
    0.01
}

impl Traces {
    /// Checks the settings of a server file.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names what is wrong.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let uri = self.endpoint.parse::<tonic::codegen::http::Uri>();
        if !uri.is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
            let expected = "the address of a collector such as `http://127.0.0.1:4317`; encrypt beyond this machine with a collector beside the server";
            return Err(ConfigError::Value { key: "traces.endpoint", expected, found: self.endpoint.clone() });
        }
        if !(0.0..=1.0).contains(&self.sample_share) {
            let found = self.sample_share.to_string();
            return Err(ConfigError::Value { key: "traces.sample_share", expected: "a number from 0 to 1", found });
        }
        Ok(())
    }
}

/// Makes spans and sends them, in the background and in bundles; when the collector does not keep up they are dropped.
#[derive(Debug)]
pub(crate) struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Tracing {
    /// Sends to this collector, which need not be there yet; within the runtime of the server.
    ///
    /// # Errors
    /// [`ExporterBuildError`] for an address that cannot be called.
    pub(crate) fn new(settings: &Traces) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint).with_timeout(PATIENCE).build()?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_share)));
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource.build());
        let provider = provider.build();
        let tracer = provider.tracer(SERVICE);
        Ok(Self { provider, tracer })
    }

    /// The span of a call to `package.Service/Method`, from now on; none where it is not recorded.
    pub(crate) fn begin(&self, method: &str, headers: &HeaderMap) -> Option<Span> {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        let (service, name) = method.split_once('/').unwrap_or((method, ""));
        let builder = SpanBuilder::from_name(method.to_owned()).with_kind(SpanKind::Server).with_attributes([
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", name.to_owned()),
        ]);
        let span = builder.start_with_context(&self.tracer, &parent);
        span.is_recording().then_some(span)
    }

    /// Sends what is left.
    pub(crate) async fn close(&self) {
        let provider = self.provider.clone();
        let closed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!("the last spans were not taken by their collector");
        }
    }
}

/// Ends a span with the status of its call.
pub(crate) fn end(mut span: Span, code: Code, request_id: Option<&str>) {
    span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
    if let Some(request_id) = request_id {
        span.set_attribute(KeyValue::new("request.id", request_id.to_owned()));
    }
    // The caller's own mistakes are no errors of the server.
    if matches!(
        code,
        Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss
    ) {
        span.set_status(SpanStatus::error(code_name(code)));
    }
    span.end();
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(tonic::codegen::http::HeaderName::as_str).collect()
    }
}
