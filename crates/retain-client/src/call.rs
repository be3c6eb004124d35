//! One call: a server, an attempt, and perhaps another one, until the deadline.

use std::error::Error as _;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use retain_proto::v1;
use tokio::time::{Instant, timeout_at};
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::client::{Client, PredictionStream, Shared};
use crate::error::{Error, Failure};
use crate::retry::{Effect, Reached, Verdict, judge, reached, told};
use crate::servers::Place;

/// A method of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) effect: Effect,
}

/// A call from its first attempt to its last.
struct Course<'c> {
    shared: &'c Shared,
    method: Method,
    began: Instant,
    until: Instant,
    request_id: MetadataValue<Ascii>,
    /// The one server to ask, where it may be no other.
    only: Option<usize>,
    /// Positions of the servers that were asked.
    tried: Vec<usize>,
}

impl Client {
    /// Makes a call of one message and one answer at any server.
    pub(crate) async fn unary<A: Message + Default + 'static>(&self, method: Method, request: &impl Message) -> Result<A, Error> {
        self.course(method, None).run(request).await
    }

    /// The same at the server at this position, whatever its health.
    pub(crate) async fn unary_at<A: Message + Default + 'static>(
        &self,
        position: usize,
        method: Method,
        request: &impl Message,
    ) -> Result<A, Error> {
        self.course(method, Some(position)).run(request).await
    }

    /// Opens a stream at one server.
    pub(crate) async fn open_stream(
        &self,
        method: Method,
        requests: impl Stream<Item = v1::PredictRequest> + Send + 'static,
    ) -> Result<PredictionStream, Error> {
        let course = self.course(method, None);
        let place = course.place().await?;
        let messages = requests.map(|request| Bytes::from(request.encode_to_vec()));
        let mut request = Request::new(messages);
        course.write_headers(request.metadata_mut());
        let opened = timeout_at(course.until, async {
            let mut grpc = course.grpc(&place).await?;
            grpc.streaming(request, PathAndQuery::from_static(method.path), Encoded::default()).await
        });
        let opened = opened.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the stream did not open in time")));
        match opened {
            Ok(answers) => Ok(PredictionStream { answers: answers.into_inner(), _place: place }),
            Err(status) => Err(course.failure(status, &place, 1)),
        }
    }

    fn course(&self, method: Method, only: Option<usize>) -> Course<'_> {
        let began = Instant::now();
        let request_id = self.request_id.clone().unwrap_or_else(|| {
            let id = format!("{:016x}", self.shared.random.number());
            // Sixteen letters from 0 to f; the number behind says the same.
            id.parse().unwrap_or_else(|_| MetadataValue::from(self.shared.random.number()))
        });
        // A deadline beyond all time is a year from now.
        let until = began.checked_add(self.deadline).unwrap_or_else(|| began + Duration::from_hours(365 * 24));
        Course { shared: &self.shared, method, began, until, request_id, only, tried: Vec::new() }
    }
}

impl Course<'_> {
    async fn run<A: Message + Default + 'static>(mut self, request: &impl Message) -> Result<A, Error> {
        // Encoded once, whatever the number of attempts.
        let message = Bytes::from(request.encode_to_vec());
        let mut last: Option<Error> = None;
        for attempt in 1.. {
            let place = match self.place().await {
                Ok(place) => place,
                // What the attempt before came to says more.
                Err(error) => return Err(last.unwrap_or(error)),
            };
            if attempt > 1 {
                self.shared.n_retries.fetch_add(1, Ordering::Relaxed);
            }
            self.tried.push(place.position);
            let status = match self.attempt(&place, message.clone()).await {
                Ok(answer) => {
                    self.shared.budget.deposit();
                    return Ok(answer);
                }
                Err(status) => status,
            };
            let pause = self.pause(&status, attempt);
            tracing::debug!(method = self.method.path, server = place.server.address, code = ?status.code(), attempt, ?pause, "an attempt failed");
            let failure = self.failure(status, &place, attempt);
            drop(place);
            let Some(pause) = pause else { return Err(failure) };
            tokio::time::sleep(pause).await;
            last = Some(failure);
        }
        Err(last.unwrap_or_else(|| self.not_ready()))
    }

    /// A place at a server that is ready, before the deadline.
    async fn place(&self) -> Result<Place, Error> {
        let Shared { servers, random, fail_fast, .. } = self.shared;
        if let Some(position) = self.only {
            return Ok(Place::take(&servers.list[position], position));
        }
        if let Some(place) = servers.pick(&self.tried, random) {
            return Ok(place);
        }
        if *fail_fast {
            return Err(self.not_ready());
        }
        timeout_at(self.until, servers.ready(&self.tried, random)).await.map_err(|_| self.not_ready())
    }

    async fn attempt<A: Message + Default + 'static>(&self, place: &Place, message: Bytes) -> Result<A, Status> {
        let mut request = Request::new(message);
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        self.write_headers(request.metadata_mut());
        let answer = timeout_at(self.until, async {
            let mut grpc = self.grpc(place).await?;
            grpc.unary(request, PathAndQuery::from_static(self.method.path), Encoded::default()).await
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // The transport keeps the deadline too, and calls it a cancelled call.
            Ok(Err(status)) if !is_timeout(&status) => Err(status),
            Ok(Err(_)) | Err(_) => Err(Status::deadline_exceeded("no answer came before the deadline")),
        }
    }

    async fn grpc(&self, place: &Place) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(place.server.channel.clone())
            .max_decoding_message_size(self.shared.max_answer_bytes)
            .max_encoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    fn write_headers(&self, metadata: &mut tonic::metadata::MetadataMap) {
        metadata.insert("x-request-id", self.request_id.clone());
        if let Some(authorization) = &self.shared.authorization {
            metadata.insert("authorization", authorization.clone());
        }
    }

    /// How long to wait before another attempt; none where there is to be none.
    fn pause(&self, status: &Status, attempts: u32) -> Option<Duration> {
        let Shared { servers, backoff, budget, random, .. } = self.shared;
        let elsewhere = self.only.is_none() && servers.has_other(&self.tried);
        let Verdict::Again(at_least) = judge(status, self.method.effect, elsewhere) else { return None };
        if attempts >= backoff.max_attempts {
            return None;
        }
        let unseen = reached(status) == Reached::NoServer;
        // A call that no server saw may go to the next one at once, and burdens nobody.
        let pause =
            if unseen && attempts == 1 && elsewhere { Duration::ZERO } else { at_least + backoff.pause(attempts, random) };
        let in_time = Instant::now() + pause < self.until;
        (in_time && (unseen || budget.withdraw())).then_some(pause)
    }

    fn failure(&self, status: Status, place: &Place, attempts: u32) -> Error {
        let request_id = self.request_id.to_str().unwrap_or_default().to_owned();
        Error::Call(Box::new(Failure { status: told(status), address: place.server.address.clone(), request_id, attempts }))
    }

    fn not_ready(&self) -> Error {
        Error::NotReady { waited: self.began.elapsed(), servers: self.shared.servers.in_words() }
    }
}

fn is_timeout(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sends messages that are encoded already, and decodes answers.
struct Encoded<A>(PhantomData<fn() -> A>);

impl<A> Default for Encoded<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A: Message + Default + 'static> Codec for Encoded<A> {
    type Encode = Bytes;
    type Decode = A;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<A> Encoder for Encoded<A> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, place: &mut EncodeBuf<'_>) -> Result<(), Status> {
        place.put(message);
        Ok(())
    }
}

impl<A: Message + Default> Decoder for Encoded<A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        let bytes = message.copy_to_bytes(message.remaining());
        A::decode(bytes).map(Some).map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}
