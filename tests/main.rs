//! Integration tests across crates: what no crate can show alone.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests stop where they cannot go on")]

/// The whole story on simulated customers: a table becomes a bundle, a bundle a server, and the answers agree with batch scoring.
mod train_to_serve;
/// What a training run promises: beats the baseline, knows the truth nearly, splits by time, keeps directions, repeats itself.
mod training;
