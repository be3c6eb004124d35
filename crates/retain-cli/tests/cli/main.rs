//! The `retain` process as its users meet it: what it prints, what it leaves behind, and the code it ends with.
//!
//! `tables` has the tables that training refuses, `bundles` the damaged models, `scoring` scores and explanations, `gate` the
//! verdicts, `kinds` models of other kinds than churn, `leakage` columns and rows that know the answer, `training` reproducibility and places to write to, `registry` publishing
//! and serving, `import` models of other libraries, `transactions` tables made of logs, `uplift` effects of treatments, `playbooks` what is
//! told of playbooks, `assessment` health and signals, `recommending` next best actions, `policies` off-policy evaluation and simulation,
//! `experiments` plans and readings of experiments. `support` trains one small model that all of them share.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets an error should fail")]

mod assessment;
mod bundles;
mod experiments;
mod gate;
mod import;
mod kinds;
mod leakage;
mod playbooks;
mod policies;
mod recommending;
mod registry;
mod scoring;
mod support;
mod tables;
mod training;
mod transactions;
mod uplift;
