//! Answers gRPC: convert, call, convert back.
//!
//! [`Server::bind`] takes a [`Config`] and a place on the network, [`Server::serve`] answers until it is told to stop. Between
//! them a request goes `routes` (`gate`, admission) → `service` or `model_service` (one call) → `convert` (wire to domain and back) →
//! [`retain_score::Scorer`]; `Predict` and `PredictBatch` are read from their bytes (`undecoded`, `predict_request`, `weigh`), Arrow by `arrow_stream`; `PredictStream` goes through `stream`; `open_inference` and `tensors` say the same in the Open Inference Protocol; `models` holds the live set and swaps it, `traffic` divides customers between champion and challenger, `mirror` brings models from an object store, `customers` holds the table of feature rows, `decisions` makes and keeps decisions, `prediction_log` keeps what was predicted; `metrics`, `observed` and `traces` tell what happens; `status` is the only map from errors to gRPC codes.
//!
//! The clock enters through [`Config::now`]; signals are the binary's, which may hand them over with
//! [`ServerHandle::reload_on_hangup`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

mod answers;
mod api_keys;
mod arrow_stream;
mod call;
mod config;
mod convert;
mod counts;
mod customers;
mod decisions;
mod gate;
mod health;
mod incoming;
mod jwt;
mod metrics;
mod mirror;
mod model_service;
mod models;
mod observed;
mod open_inference;
mod predict_request;
mod prediction_log;
mod routes;
mod server;
mod service;
mod status;
mod stream;
mod tensors;
mod text;
mod tls;
mod traces;
mod traffic;
mod undecoded;
mod weigh;

pub use api_keys::{ApiKey, Scope};
pub use config::{Config, ConfigError};
pub use counts::Counts;
pub use customers::{CustomersError, CustomersReport, FeatureTable};
pub use decisions::{DecisionSettings, PlaybookError};
pub use jwt::{Jwt, JwtAlgorithm, JwtError, JwtKey};
pub use mirror::StoreError;
pub use models::{LoadReport, LoadedModel, Refusal, ReloadError};
pub use prediction_log::PredictionLogSettings;
pub use server::{RunningServer, Server, ServerError, ServerHandle, Stop, transport};
pub use tls::{TlsError, TlsFiles};
pub use traces::Traces;
pub use traffic::Traffic;
