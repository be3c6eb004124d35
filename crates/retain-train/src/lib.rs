//! Learners, validation, calibration and selection; writes model bundles.
//!
//! [`train`] is the whole story: split, try every learner, choose on rows the fits did not see, judge, fit on all rows, bundle.
//! The learners stand behind the [`Learner`] trait: [`learners`] holds those written against a package, [`boosting`] our own.

mod blend;
pub mod boosting;
mod bundle;
mod calibration;
mod card;
mod draw;
mod event;
mod learner;
pub mod learners;
mod metrics_file;
mod plan;
mod reference;
mod select;
mod train;

pub use learner::{Configuration, FitContext, FitError, Learner, Loss};
pub use metrics_file::{Importance, LeaderboardRow, Measurement, MetricsFile};
pub use reference::{Histogram, ReferenceFile};
pub use train::{LEADERBOARD_METRICS, Preference, Progress, TrainError, TrainOptions, Trained, train};
