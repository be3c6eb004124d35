//! `PredictBatch` on a route of its own.
//!
//! Other calls are decoded where they arrive. A batch of 16 MiB would hold up its neighbours for that, and may grow forty times in
//! decoding; so it stays the bytes that came until a worker is free, is weighed there, and only then decoded.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::bytes::{Buf, Bytes};
use retain_proto::v1;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::service::Prediction;

/// Answers `PredictBatch`, and nothing else.
#[derive(Clone)]
pub(crate) struct BatchCalls {
    prediction: Arc<Prediction>,
    max_bytes: usize,
}

impl BatchCalls {
    /// Takes messages of at most `max_bytes`.
    pub(crate) fn new(prediction: Arc<Prediction>, max_bytes: usize) -> Self {
        Self { prediction, max_bytes }
    }
}

impl Service<http::Request<Body>> for BatchCalls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(Undecoded::default()).max_decoding_message_size(self.max_bytes);
        let method = BatchMethod(self.prediction.clone());
        Box::pin(async move { Ok(grpc.unary(method, request).await) })
    }
}

struct BatchMethod(Arc<Prediction>);

impl UnaryService<Bytes> for BatchMethod {
    type Response = v1::PredictBatchResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let prediction = self.0.clone();
        let request_id = prediction.request_id(request.metadata());
        Box::pin(async move { Ok(Response::new(prediction.answer_undecoded_batch(request.into_inner(), request_id).await?)) })
    }
}

type Answers = ProstCodec<v1::PredictBatchResponse, v1::PredictBatchRequest>;

/// Leaves requests as they came and encodes answers.
#[derive(Default)]
struct Undecoded(Answers);

impl Codec for Undecoded {
    type Encode = v1::PredictBatchResponse;
    type Decode = Bytes;
    type Encoder = <Answers as Codec>::Encoder;
    type Decoder = WholeMessage;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> WholeMessage {
        WholeMessage
    }
}

struct WholeMessage;

impl Decoder for WholeMessage {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
