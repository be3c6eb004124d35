//! The scoring crate from outside: engine, explanations, format, bundles and the registry.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

/// Bundles on disk: what is refused and how it is named.
mod bundles;
/// One row, many rows and the plain evaluation agree to the last bit.
mod engine;
/// Contributions are exact Shapley values.
mod explain;
/// `model.bin`: round trips, and hostile bytes.
mod format;
/// Random models and rows for all of them.
mod predictor;
mod random;
/// Publishing, aliases and addresses.
mod registry;
/// The plain version of the Shapley values of trees.
mod tree_shap;
/// Effects of treatments: what they are made of, and hostile ones.
mod uplift;
