//! Learners, validation, calibration and selection; writes model bundles.

mod learner;

pub use learner::{Configuration, FitContext, FitError, Learner};
