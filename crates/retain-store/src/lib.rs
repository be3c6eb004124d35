//! The log of decisions and outcomes.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail"))]
