//! What to do next for a customer.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail"))]

pub mod allocate;
pub mod evaluate;
pub mod experiment;
pub mod explore;
pub mod posterior;
pub mod simulate;
