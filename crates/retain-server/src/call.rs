//! One call from its arrival to its end: counted, logged, and named in its answer.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use opentelemetry_sdk::trace::Span;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::metrics::{Calls, MethodCalls, code_name};
use crate::traces::{self, Tracing};

/// What callers name a call with, to find it again; it comes back with the answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken; longer ones are replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// When the headers of a call arrived; among the extensions of its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival(pub(crate) Instant);

/// A call under way. Dropped before it has ended, it was cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    all: Arc<Calls>,
    calls: Arc<MethodCalls>,
    arrived: Instant,
    request_id: Option<HeaderValue>,
    /// For the log alone; not asked for where nothing is logged.
    caller: Option<String>,
    /// Where the call is part of a trace that is recorded.
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    /// Begins with the headers of a request.
    pub(crate) fn begin(all: &Arc<Calls>, calls: &Arc<MethodCalls>, arrived: Instant, headers: &HeaderMap) -> Self {
        let request_id = headers.get(REQUEST_ID).filter(|id| is_request_id(id)).cloned();
        Self { all: all.clone(), calls: calls.clone(), arrived, request_id, caller: None, span: None, has_ended: false }
    }

    /// Makes the call part of a trace.
    pub(crate) fn trace(&mut self, tracing: &Tracing, headers: &HeaderMap) {
        self.span = tracing.begin(&self.calls.method, headers);
    }

    /// Whether somebody reads who called.
    pub(crate) fn is_logged() -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    pub(crate) fn called_by(&mut self, caller: &str) {
        self.caller = Some(caller.to_owned());
    }

    /// Puts the call's name into the headers of its answer; one that was refused gets a name where it had none.
    pub(crate) fn name(&mut self, status: Code, headers: &mut HeaderMap) {
        if self.request_id.is_none() && status != Code::Ok {
            self.request_id = new_request_id();
        }
        if let Some(request_id) = &self.request_id {
            headers.insert(REQUEST_ID, request_id.clone());
        }
    }

    /// Ends with this status.
    pub(crate) fn end(mut self, status: &Status) {
        self.end_with(status.code(), Some(status));
    }

    /// Ends well.
    pub(crate) fn end_ok(mut self) {
        self.end_with(Code::Ok, None);
    }

    fn end_with(&mut self, code: Code, status: Option<&Status>) {
        self.has_ended = true;
        let taken = self.arrived.elapsed();
        self.calls.ended(code, taken);
        let details = status.filter(|_| code != Code::Ok).map(StatusExt::get_error_details);
        let reason = details.as_ref().and_then(|details| details.error_info()).map(|info| info.reason.as_str());
        if code != Code::Ok && code != Code::Cancelled {
            self.all.refused(reason);
        }
        let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        if let Some(span) = self.span.take() {
            traces::end(span, code, request_id);
        }
        tracing::debug!(
            method = self.calls.method,
            code = code_name(code),
            reason,
            duration_us = taken.as_micros() as u64,
            request_id,
            caller = self.caller,
            "call"
        );
        if code == Code::Internal && reason == Some("INTERNAL") {
            // What happened was logged where it happened; this names the call that it happened to.
            tracing::error!(method = self.calls.method, request_id, "a call had no answer for a mistake of ours");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end_with(Code::Cancelled, None);
        }
    }
}

fn is_request_id(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// A name that no other call of this server has; it need not be hard to guess.
fn new_request_id() -> Option<HeaderValue> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (first, second) = (RandomState::new().hash_one(number), RandomState::new().hash_one(number));
    HeaderValue::from_str(&format!("{first:016x}{second:016x}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_spoil_a_log_are_not_taken() {
        let is = |text: &str| HeaderValue::from_str(text).is_ok_and(|id| is_request_id(&id));
        assert!(is("a") && is("0af7651916cd43dd8448eb211c80319c") && is(&"x".repeat(128)));
        assert!(!is("") && !is("a b") && !is("\t") && !is(&"x".repeat(129)));
        assert!(!is_request_id(&HeaderValue::from_bytes("ñ".as_bytes()).unwrap()));
        assert_ne!(new_request_id(), new_request_id());
    }
}
