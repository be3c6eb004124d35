//! What can go wrong with a call, and the only map from that to gRPC codes and `google.rpc` details.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::text::{DESCRIPTION_CHARS, printable};

/// Most mistakes that one answer lists.
pub(crate) const MAX_VIOLATIONS: usize = 20;
/// Most bytes of them: they travel in a header, and common clients refuse more than 8 KiB of headers.
const MAX_LISTED_BYTES: usize = 4 << 10;
/// Longest message, which travels in a header too.
const MESSAGE_CHARS: usize = 200;
/// The path of a mistake that no field has by itself.
const WHOLE_REQUEST: &str = "request";
/// When to try again after the server was too busy.
const BUSY_RETRY: Duration = Duration::from_millis(100);
/// When to try again after no model was loaded, or while a reload runs.
const LOAD_RETRY: Duration = Duration::from_secs(1);

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path of the field: `features["tenure"]`, `columns[3].values`, `models[0]`.
    pub(crate) field: String,
    /// Kind of mistake, in upper snake case.
    pub(crate) reason: &'static str,
    /// What was found and what was expected.
    pub(crate) description: String,
}

/// The mistakes in a request: the first twenty, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    listed: Vec<Violation>,
    listed_bytes: usize,
    total: usize,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The request does not hold together or does not fit the model's schema.
    #[error("{0}")]
    Invalid(Violations),
    /// A message of more bytes than the server takes; nothing of it was read.
    #[error("{0}")]
    TooLarge(Violation),
    /// No model, version or alias of this name.
    #[error("{0}")]
    UnknownModel(Violation),
    /// No customer of this id.
    #[error("{0}")]
    UnknownCustomer(Violation),
    /// The customer table was not read yet, or not for a model that was asked.
    #[error("{description}")]
    CustomersNotLoaded {
        /// What is not.
        description: String,
    },
    /// There is no such call, or it does not speak so.
    #[error("{description}")]
    Unimplemented {
        /// What there is not.
        description: String,
    },
    /// There is such a model, but it did not pass its checks; or no model is loaded at all.
    #[error("{description}")]
    NotLoaded {
        /// What is not, and why.
        description: String,
    },
    /// As many calls in flight as the server takes.
    #[error("too many calls in flight")]
    TooManyInFlight,
    /// A caller that calls more often than it may.
    #[error("`{caller}` calls more often than it may")]
    RateLimited {
        /// The API key's name, or the token's subject.
        caller: String,
        /// When the next call may come.
        retry_after: Duration,
    },
    /// No API key or token, or one that the server does not know.
    #[error("{description}")]
    Unauthenticated {
        /// Kind of mistake, in upper snake case.
        reason: &'static str,
        /// What to do.
        description: String,
    },
    /// The API key lacks the scope.
    #[error("{description}")]
    Forbidden {
        /// Which key and which scope.
        description: String,
    },
    /// The server has no playbook, or no log of decisions.
    #[error("{description}")]
    NoPlaybook {
        /// What there is not.
        description: String,
    },
    /// No decision of this id.
    #[error("{0}")]
    UnknownDecision(Violation),
    /// The report cannot be beside what was reported before.
    #[error("{0}")]
    Contradicted(Violation),
    /// The report is about another time than the decision's.
    #[error("{0}")]
    OutsideWindow(Violation),
    /// The log of decisions cannot be reached, is full, or did not answer in time.
    #[error("{description}")]
    StoreUnavailable {
        /// What happened.
        description: String,
    },
    /// The server is about to stop.
    #[error("the server is stopping")]
    Stopping,
    /// A version that an alias should point at did not pass its checks; everything stays as it was.
    #[error("{description}")]
    VersionRefused {
        /// Which, and why.
        description: String,
    },
    /// The call took longer than the server lets any.
    #[error("the call took longer than the server allows")]
    DeadlinePassed,
    /// A reload while another one runs.
    #[error("another reload is under way")]
    ReloadRunning,
    /// The registry could not be read; what was live stays so.
    #[error("the models stay as they were: {description}")]
    Registry {
        /// What was tried and why it failed.
        description: String,
    },
    /// An alias is set on disk, and what is live stays as it was.
    #[error("{description}")]
    AliasNotTakenUp {
        /// Why.
        description: String,
    },
    /// A mistake of ours; what happened stands in the log.
    #[error("internal error")]
    Internal,
}

impl Violation {
    /// A mistake; the description is cut and made printable here.
    pub(crate) fn new(field: impl Into<String>, reason: &'static str, description: &str) -> Self {
        Self { field: field.into(), reason, description: printable(description, DESCRIPTION_CHARS) }
    }
}

/// Refuses a list that is too long.
///
/// # Errors
/// [`CallError::Invalid`] with the field.
pub(crate) fn check_count(field: &str, found: usize, limit: usize) -> Result<(), CallError> {
    if found <= limit {
        return Ok(());
    }
    Err(Violation::new(field, "TOO_MANY", &format!("has {found} entries, at most {limit} are allowed")).into())
}

/// What is wrong with a message that cannot be decoded, in the decoder's words: these name the message and the field, as in
/// `PredictRequest.features: invalid string value`.
pub(crate) fn malformed(text: &str) -> Violation {
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let field = text.split(": ").filter_map(|part| part.split_once('.')).map(|(_, field)| field).find(is_name);
    Violation::new(field.unwrap_or(WHOLE_REQUEST), "MALFORMED_MESSAGE", &format!("cannot be read: {text}"))
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

impl Violations {
    /// Notes a mistake. The same field is noted once, although several models may complain of it.
    pub(crate) fn push(&mut self, violation: impl FnOnce() -> Violation) {
        if self.is_full() {
            // Beyond the list mistakes are counted and not described: a hostile request may hold millions.
            self.total += 1;
            return;
        }
        let violation = violation();
        if self.listed.iter().all(|known| known.field != violation.field) {
            self.total += 1;
            self.listed_bytes += violation.field.len() + violation.reason.len() + violation.description.len();
            self.listed.push(violation);
        }
    }

    /// Whether the list is full, so that looking for a better description is in vain.
    pub(crate) fn is_full(&self) -> bool {
        self.listed.len() >= MAX_VIOLATIONS || self.listed_bytes >= MAX_LISTED_BYTES
    }

    /// Goes on when there are none.
    ///
    /// # Errors
    /// [`CallError::Invalid`] when there are some.
    pub(crate) fn check(self) -> Result<(), CallError> {
        if self.total == 0 { Ok(()) } else { Err(CallError::Invalid(self)) }
    }

    /// The first mistake.
    pub(crate) fn into_first(self) -> Option<Violation> {
        self.listed.into_iter().next()
    }

    /// The kind of mistake, where all are of one kind.
    fn reason(&self) -> &'static str {
        let first = self.listed.first().map_or("INVALID_REQUEST", |violation| violation.reason);
        if self.listed.iter().all(|violation| violation.reason == first) { first } else { "INVALID_REQUEST" }
    }
}

impl From<Violation> for CallError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(Violations { listed_bytes: 0, listed: vec![violation], total: 1 })
    }
}

impl std::fmt::Display for Violations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(first) = self.listed.first() else { return Ok(()) };
        write!(f, "{first}")?;
        if self.total > 1 {
            write!(f, "; and {} more", self.total - 1)?;
        }
        Ok(())
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let message = printable(&error.to_string(), MESSAGE_CHARS);
        let mut details = ErrorDetails::new();
        let (code, reason) = match error {
            CallError::Invalid(violations) => {
                let reason = violations.reason();
                details.set_bad_request(violations.listed.into_iter().map(field_violation).collect::<Vec<_>>());
                (Code::InvalidArgument, reason)
            }
            CallError::TooLarge(violation) => {
                let reason = violation.reason;
                details.set_bad_request(vec![field_violation(violation)]);
                (Code::OutOfRange, reason)
            }
            CallError::NoPlaybook { .. } => (Code::Unimplemented, "NO_PLAYBOOK"),
            CallError::Contradicted(violation) => {
                let reason = violation.reason;
                details.set_bad_request(vec![field_violation(violation)]);
                (Code::AlreadyExists, reason)
            }
            CallError::OutsideWindow(violation) => {
                let reason = violation.reason;
                details.set_bad_request(vec![field_violation(violation)]);
                (Code::FailedPrecondition, reason)
            }
            CallError::StoreUnavailable { .. } => {
                details.set_retry_info(Some(LOAD_RETRY));
                (Code::Unavailable, "STORE_UNAVAILABLE")
            }
            CallError::UnknownModel(violation)
            | CallError::UnknownCustomer(violation)
            | CallError::UnknownDecision(violation) => {
                let reason = violation.reason;
                details.set_bad_request(vec![field_violation(violation)]);
                (Code::NotFound, reason)
            }
            CallError::NotLoaded { .. } => {
                details.set_retry_info(Some(LOAD_RETRY));
                (Code::Unavailable, "MODEL_NOT_LOADED")
            }
            CallError::CustomersNotLoaded { .. } => {
                details.set_retry_info(Some(LOAD_RETRY));
                (Code::Unavailable, "CUSTOMERS_NOT_LOADED")
            }
            CallError::TooManyInFlight => {
                details.set_retry_info(Some(BUSY_RETRY));
                (Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT")
            }
            CallError::RateLimited { retry_after, .. } => {
                details.set_retry_info(Some(retry_after));
                (Code::ResourceExhausted, "RATE_LIMITED")
            }
            CallError::Unauthenticated { reason, .. } => (Code::Unauthenticated, reason),
            CallError::Forbidden { .. } => (Code::PermissionDenied, "SCOPE_REQUIRED"),
            CallError::Stopping => {
                details.set_retry_info(Some(LOAD_RETRY));
                (Code::Unavailable, "STOPPING")
            }
            CallError::VersionRefused { .. } => (Code::FailedPrecondition, "VERSION_REFUSED"),
            CallError::DeadlinePassed => (Code::DeadlineExceeded, "DEADLINE_PASSED"),
            CallError::Unimplemented { .. } => (Code::Unimplemented, "UNIMPLEMENTED"),
            CallError::ReloadRunning => {
                details.set_retry_info(Some(LOAD_RETRY));
                (Code::Aborted, "RELOAD_RUNNING")
            }
            CallError::Registry { .. } => (Code::Internal, "REGISTRY_UNREADABLE"),
            CallError::AliasNotTakenUp { .. } => (Code::Internal, "ALIAS_NOT_TAKEN_UP"),
            CallError::Internal => (Code::Internal, "INTERNAL"),
        };
        details.set_error_info(reason, "retain", HashMap::new());
        Status::with_error_details(code, message, details)
    }
}

/// What the transport refuses by itself, it refuses without details; here they are added. None for what has them, and for answers of
/// services that are not ours to change.
pub(crate) fn explain_refusal(status: &Status) -> Option<Status> {
    if !status.details().is_empty() {
        return None;
    }
    let message = status.message();
    let error = match status.code() {
        Code::OutOfRange => {
            let sizes = message.split_once(": ").map_or(message, |(_, sizes)| sizes);
            CallError::TooLarge(Violation::new(WHOLE_REQUEST, "MESSAGE_TOO_LARGE", &format!("is too large: {sizes}")))
        }
        // Our own mistakes carry details: an internal error without is a message that could not be decoded, which is the caller's.
        Code::Internal => malformed(message).into(),
        Code::Unimplemented if message.is_empty() => CallError::Unimplemented { description: "there is no such call".to_owned() },
        Code::Unimplemented => CallError::Unimplemented { description: message.to_owned() },
        _ => return None,
    };
    Some(error.into())
}

fn field_violation(violation: Violation) -> FieldViolation {
    let mut wire = FieldViolation::new(violation.field, violation.description);
    violation.reason.clone_into(&mut wire.reason);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_mistakes_are_listed_and_all_are_counted() {
        let mut violations = Violations::default();
        for position in 0..50 {
            violations.push(|| Violation::new(format!("features[\"f{position}\"]"), "NOT_A_NUMBER", "is wrong"));
        }
        violations.push(|| Violation::new("features[\"f0\"]", "NOT_A_NUMBER", "is wrong"));
        let status = Status::from(violations.check().unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("and 50 more"), "{}", status.message());
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations.len(), MAX_VIOLATIONS);
        assert_eq!(details.error_info().unwrap().reason, "NOT_A_NUMBER");
    }

    #[test]
    fn a_field_is_named_once_and_mixed_mistakes_have_a_common_reason() {
        let mut violations = Violations::default();
        violations.push(|| Violation::new("a", "NOT_A_NUMBER", "x"));
        violations.push(|| Violation::new("a", "NOT_A_CATEGORY", "y"));
        violations.push(|| Violation::new("b", "NOT_A_CATEGORY", "z"));
        let details = Status::from(violations.check().unwrap_err()).get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 2);
        assert_eq!(details.error_info().unwrap().reason, "INVALID_REQUEST");
    }

    #[test]
    fn details_of_the_longest_answer_stay_below_common_header_limits() {
        let mut violations = Violations::default();
        for position in 0..30 {
            violations
                .push(|| Violation::new(format!("features[\"{position}{}\"]", "ñ".repeat(40)), "UNKNOWN", &"語".repeat(500)));
        }
        let status = Status::from(violations.check().unwrap_err());
        // Base64 makes four letters of three bytes.
        assert!(status.details().len() * 4 / 3 < 8 << 10, "{}", status.details().len());
    }
}
