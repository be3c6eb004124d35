//! What can go wrong, with what is needed to look for it in the server's log.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A client of no server.
    #[error("a client needs the address of at least one server")]
    NoAddress,
    /// A client made where nothing can run in the background.
    #[error("a client has to be made within a tokio runtime")]
    NoRuntime,
    /// An address that is none.
    #[error("`{address}` should be an address such as `http://127.0.0.1:50051`")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it, where the transport says so.
        source: Option<tonic::transport::Error>,
    },
    /// A setting that cannot be.
    #[error("the {setting} should be {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// No server was ready in time.
    #[error("no server was ready within {} ms: {servers}", .waited.as_millis())]
    NotReady {
        /// How long the call or the connecting waited.
        waited: Duration,
        /// Each server, and what is known of it.
        servers: String,
    },
    /// A server refused the call, or the connection or the time ran out.
    #[error(transparent)]
    Call(Box<Failure>),
}

/// A call that failed, after all its attempts.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {} ({}, request {request_id}, attempts: {attempts})", .status.message(), code_name(.status.code()))]
pub struct Failure {
    /// What the last attempt came to.
    pub status: Status,
    /// The server that was asked last.
    pub address: String,
    /// The `x-request-id` of all attempts.
    pub request_id: String,
    /// How often the call was made.
    pub attempts: u32,
}

impl Failure {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// What kind of mistake, in upper snake case, where the server said so: the reason of `google.rpc.ErrorInfo`.
    pub fn reason(&self) -> Option<String> {
        self.status.get_details_error_info().map(|info| info.reason)
    }

    /// The fields of the request that are wrong, where the server named some.
    pub fn fields(&self) -> Vec<FieldViolation> {
        self.status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default()
    }
}

impl Error {
    /// The failure of a call that was made; none where no call came about.
    pub fn failure(&self) -> Option<&Failure> {
        if let Self::Call(failure) = self { Some(failure) } else { None }
    }
}

/// `UNAVAILABLE` rather than the sentence that tonic has for it.
pub(crate) fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_alone() {
        let failure = Failure {
            status: Status::resource_exhausted("too many calls in flight"),
            address: "http://10.0.0.1:50051".to_owned(),
            request_id: "r-1".to_owned(),
            attempts: 3,
        };
        let text = Error::Call(Box::new(failure)).to_string();
        assert_eq!(text, "http://10.0.0.1:50051: too many calls in flight (RESOURCE_EXHAUSTED, request r-1, attempts: 3)");
    }
}
