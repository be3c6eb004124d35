//! Large answers, kept no longer than a caller may take to read them.
//!
//! A caller that asks and does not read would otherwise fill the memory with answers, each call being over once its answer begins. So a
//! large answer keeps the place of its call until it has been sent, or is thrown away when its time has passed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body as _, Frame};
use prost::bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

use crate::call::Call;
use crate::status::CallError;

/// Bytes that are handed to the connection at once: what it has taken cannot be taken back.
const SLICE_BYTES: usize = 16 << 10;

/// A call's place among those that are taken at once; given back when the last copy is gone.
#[derive(Debug, Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl From<OwnedSemaphorePermit> for Place {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// What an answer holds until it has been sent.
pub(crate) struct Keep {
    pub(crate) place: Place,
    pub(crate) call: Call,
    /// How long at most, where there is such a limit.
    pub(crate) longest: Option<Duration>,
}

/// Lets an answer keep its place until it has been sent; its call ends then, too.
pub(crate) fn keep_until_sent(answer: http::Response<Body>, Keep { place, call, longest }: Keep) -> http::Response<Body> {
    answer.map(|body| {
        let unsent = Unsent { body, rest: Bytes::new(), held: Some((place, call)) };
        let unsent = Arc::new(Mutex::new(Some(unsent)));
        let expiring = unsent.clone();
        let expiry = longest.map(|longest| {
            let expiry = tokio::spawn(async move {
                tokio::time::sleep(longest).await;
                if let Some(unsent) = lock(&expiring).take() {
                    unsent.end(&CallError::DeadlinePassed.into());
                }
            });
            expiry.abort_handle()
        });
        Body::new(KeptBody { unsent, expiry })
    })
}

struct KeptBody {
    /// None when its time has passed.
    unsent: Arc<Mutex<Option<Unsent>>>,
    expiry: Option<AbortHandle>,
}

struct Unsent {
    body: Body,
    /// What the body gave and the connection has not taken yet.
    rest: Bytes,
    held: Option<(Place, Call)>,
}

impl http_body::Body for KeptBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match lock(&self.unsent).as_mut() {
            Some(unsent) => unsent.poll_slice(context),
            None => Poll::Ready(Some(Err(CallError::DeadlinePassed.into()))),
        }
    }
}

impl Unsent {
    /// Ends the call without the rest of its answer.
    fn end(self, status: &Status) {
        if let Some((_, call)) = self.held {
            call.end(status);
        }
    }

    fn poll_slice(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => {
                    // Given back before the caller can know that the answer is complete and ask again.
                    if let (Some((_, call)), Some(trailers)) = (self.held.take(), trailers.trailers_ref()) {
                        call.end(&Status::from_header_map(trailers).unwrap_or_else(|| Status::ok("")));
                    }
                    return Poll::Ready(Some(Ok(trailers)));
                }
                Some(Err(status)) => {
                    if let Some((_, call)) = self.held.take() {
                        call.end(&status);
                    }
                    return Poll::Ready(Some(Err(status)));
                }
                None => return Poll::Ready(None),
            }
        }
        let slice = self.rest.split_to(self.rest.len().min(SLICE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        if let Some(expiry) = &self.expiry {
            expiry.abort();
        }
        // The aborted task is dropped when the runtime comes to it; the place is free now.
        *lock(&self.unsent) = None;
    }
}

/// Nothing that holds the lock leaves a half-done change behind, so a panic there spoils nothing.
fn lock(unsent: &Mutex<Option<Unsent>>) -> MutexGuard<'_, Option<Unsent>> {
    unsent.lock().unwrap_or_else(PoisonError::into_inner)
}
