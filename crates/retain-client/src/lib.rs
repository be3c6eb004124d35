//! Calls `retain` servers.
//!
//! [`Client`] knows one or several servers by address. It watches the health of each, so that one that stops or has no models is left
//! alone before a call fails on it; every call has a deadline; a call that failed is made again where that is safe.
//!
//! ```no_run
//! use std::time::Duration;
//! use retain_client::{Client, Error};
//! use retain_client::v1::{FeatureValue, PredictRequest, feature_value::Value};
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::builder(["http://10.0.0.1:50051", "http://10.0.0.2:50051"])
//!     .api_key("the key of this service")
//!     .deadline(Duration::from_millis(300))
//!     .connect()
//!     .await?;
//! let tenure = FeatureValue { value: Some(Value::Number(3.0)) };
//! let request = PredictRequest {
//!     customer_id: "c-17".to_owned(),
//!     features: [("tenure".to_owned(), tenure)].into(),
//!     models: vec!["telco-churn".to_owned()],
//!     ..PredictRequest::default()
//! };
//! match client.predict(&request).await {
//!     Ok(answer) => println!("{:?}", answer.predictions),
//!     Err(Error::Call(failure)) => println!("{} after {} attempts", failure.code(), failure.attempts),
//!     Err(other) => return Err(other),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When a call is made again
//!
//! | what happened | again? |
//! |---|---|
//! | the server surely did not execute it: no connection, or a connection that closed before it took the call | yes, at once the first time |
//! | the connection was lost meanwhile, or the server says `UNAVAILABLE` | yes, but not `SetAlias` |
//! | `RESOURCE_EXHAUSTED` with a time to wait (`RetryInfo`) | yes, not before that time |
//! | any other code | no |
//!
//! Pauses grow exponentially and are drawn at random from 0 up ("full jitter"), so that clients do not come back all at once. Attempts
//! end with the deadline, with [`Builder::max_attempts`], or when the [`Builder::retry_share`] of all calls has been spent: a server in
//! trouble should not get more calls for it. An attempt that no server saw is free. A stream is never repeated.
//!
//! # Which server is asked
//!
//! Of two servers drawn at random among those that say `SERVING` the one with fewer calls in flight, for another attempt one that was
//! not asked yet. A call waits for a server that is ready until its deadline, unless [`Builder::fail_fast`]. Each server needs an
//! address of its own: a name that stands for several is one server here, whichever of them the connection reaches.
//!
//! `builder` holds the settings, `servers` picks one, `health` watches them, `retry` decides, `call` brings these together.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

mod builder;
mod call;
mod client;
mod error;
mod health;
mod retry;
mod servers;
mod tls;

pub use builder::Builder;
pub use client::{Client, PredictionStream};
pub use error::{Error, Failure};
pub use retain_proto::v1;
pub use servers::{Health, ServerHealth};
pub use tls::TlsOptions;
