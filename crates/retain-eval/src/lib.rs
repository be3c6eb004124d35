//! Metrics, their confidence intervals and the quality gate, as pure functions.
