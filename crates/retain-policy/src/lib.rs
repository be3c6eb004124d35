//! What to do next for a customer: rules, playbooks, health, effects, allocation and their proof, as pure functions.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a test that unwraps an error should fail"))]

pub mod allocate;
pub mod assess;
pub mod decide;
pub mod evaluate;
pub mod experiment;
pub mod explore;
pub mod learn;
pub mod playbook;
pub mod posterior;
pub mod presets;
pub mod rule;
pub mod simulate;
