//! What is done for customers, and what came of it: the playbook that is live, the log of decisions, and what was learned from it.
//!
//! `settings` is `[decisions]` of the server file, `log` the store while it may be out of reach, `service` the calls.

mod log;
mod record;
mod service;
mod settings;

pub use settings::DecisionSettings;
pub(crate) use service::DecisionCalls;
