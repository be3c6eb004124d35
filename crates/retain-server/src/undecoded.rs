//! Calls whose requests stay the bytes that came until they are worked on.
//!
//! A batch of 16 MiB would hold up its neighbours while it is decoded, and may grow forty times in that; so it waits for a worker as it came.
//! A single prediction is read from its bytes without a copy of every name and text.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use prost::Message;
use prost::bytes::{Buf, Bytes};
use retain_proto::v1;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::service::Prediction;
use crate::status::CallError;

/// A method that reads its request itself.
pub(crate) trait Method: Clone + Send + Sync + 'static {
    /// What it answers with.
    type Answer: Message + Default + 'static;

    /// Answers a request whose headers arrived at `arrived`.
    fn answer(
        prediction: Arc<Prediction>,
        message: Bytes,
        request_id: Option<Arc<str>>,
        arrived: Instant,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// `Predict`.
#[derive(Debug, Clone)]
pub(crate) struct Predict;

impl Method for Predict {
    type Answer = v1::PredictResponse;

    async fn answer(
        prediction: Arc<Prediction>,
        message: Bytes,
        request_id: Option<Arc<str>>,
        arrived: Instant,
    ) -> Result<Self::Answer, CallError> {
        prediction.answer_undecoded(&message, request_id, arrived)
    }
}

/// `PredictBatch`.
#[derive(Debug, Clone)]
pub(crate) struct PredictBatch;

impl Method for PredictBatch {
    type Answer = v1::PredictBatchResponse;

    async fn answer(
        prediction: Arc<Prediction>,
        message: Bytes,
        request_id: Option<Arc<str>>,
        arrived: Instant,
    ) -> Result<Self::Answer, CallError> {
        prediction.answer_undecoded_batch(message, request_id, arrived).await
    }
}

/// The calls of one method.
#[derive(Clone)]
pub(crate) struct Undecoded<M> {
    prediction: Arc<Prediction>,
    max_bytes: usize,
    method: PhantomData<M>,
}

impl<M: Method> Undecoded<M> {
    /// Takes messages of at most `max_bytes`.
    pub(crate) fn new(prediction: Arc<Prediction>, max_bytes: usize) -> Self {
        Self { prediction, max_bytes, method: PhantomData }
    }
}

impl<M: Method> Service<http::Request<Body>> for Undecoded<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc =
            Grpc::new(BytesIn(ProstCodec::<M::Answer, M::Answer>::default())).max_decoding_message_size(self.max_bytes);
        let call = Calling { prediction: self.prediction.clone(), arrived: Instant::now(), method: self.method };
        Box::pin(async move { Ok(grpc.unary(call, request).await) })
    }
}

struct Calling<M> {
    prediction: Arc<Prediction>,
    arrived: Instant,
    method: PhantomData<M>,
}

impl<M: Method> UnaryService<Bytes> for Calling<M> {
    type Response = M::Answer;
    type Future = BoxFuture<Response<M::Answer>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let request_id = self.prediction.request_id(request.metadata());
        let answer = M::answer(self.prediction.clone(), request.into_inner(), request_id, self.arrived);
        Box::pin(async move { Ok(Response::new(answer.await?)) })
    }
}

/// Leaves requests as they came and encodes answers.
struct BytesIn<A>(ProstCodec<A, A>);

impl<A: Message + Default + 'static> Codec for BytesIn<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = <ProstCodec<A, A> as Codec>::Encoder;
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
