//! Spans that go to a collector.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use retain_proto::v1::feature_value::Value;
use retain_server::Traces;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::*;

struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        for span in resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans) {
            self.0.send(span).unwrap();
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<Span>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(Collector(sender));
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener)));
    (address, receiver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_of_the_caller_goes_on_and_others_are_sampled() {
    let (address, mut spans) = collector().await;
    let traces = Traces { endpoint: format!("http://{address}"), sample_share: 0.0 };
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.traces = Some(traces)).await;
    let mut traced = Request::new(request(&[("tenure", Value::Number(3.0))]));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.metadata_mut().insert("traceparent", parent.parse().unwrap());
    traced.metadata_mut().insert("x-request-id", "order-17".parse().unwrap());
    server.predictions().predict(traced).await.unwrap();
    // No trace of its own, and none of ours by chance.
    server.predict(request(&[("tenure", Value::Number(3.0))])).await.unwrap();
    let mut wrong = Request::new(request(&[("tenure", Value::Text("x".into()))]));
    wrong.metadata_mut().insert("traceparent", "00-nonsense-01".parse().unwrap());
    server.predictions().predict(wrong).await.unwrap_err();

    soon("the stop", server.running.stop()).await.unwrap();
    let span = soon("the span", spans.recv()).await.unwrap();
    assert_eq!(span.name, "retain.v1.PredictionService/Predict");
    assert_eq!(span.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    let keys: Vec<&str> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "request.id"]);
    assert!(spans.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_gone_holds_up_nothing() {
    let traces = Traces { endpoint: "http://127.0.0.1:9".into(), sample_share: 1.0 };
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.traces = Some(traces)).await;
    for _ in 0..100 {
        server.predict(request(&[("tenure", Value::Number(3.0))])).await.unwrap();
    }
    soon("the stop", server.running.stop()).await.unwrap();
}
