//! A real server on a free port of the loopback address, asked with the generated client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod api_keys; // who may call what
mod arrow; // PredictBatch as Arrow IPC
mod batch; // PredictBatch
mod customers; // the table of feature rows
mod decisions; // Recommend, RecommendBatch, RecordOutcome, RecordOverride and Assess
mod deploy; // the files that bring a server into service
mod errors; // every refusal, with its code and its field
mod jwt; // tokens in the place of keys, and limits of calls a second
mod lifecycle; // health, reload, overload, shutdown
mod metrics; // what the server tells of itself
mod models; // ModelService and reflection
#[cfg(feature = "object-store")]
mod object_store; // models from an object store
mod open_inference; // the Open Inference Protocol
mod predict; // Predict and Explain
mod prediction_log; // the log of predictions, and shadows
mod stream; // PredictStream
mod support; // bundles made in code, and a server over them
mod tls; // encrypted connections
mod traces; // spans that go to a collector
mod traffic; // champion and challenger
mod watching; // the models directory, as it changes under a running server
mod what_if; // WhatIf, and reasons in words
