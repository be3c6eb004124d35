//! Learners, validation, calibration and selection; writes model bundles.
//!
//! [`train`] is the whole story: split, try every learner, choose on rows the fits did not see, judge, fit on all rows, bundle.
//! The learners stand behind the [`Learner`] trait: [`learners`] holds those written against a package, [`boosting`] our own.

mod amount;
mod blend;
pub mod boosting;
pub mod btyd;
mod bundle;
mod calibration;
mod card;
mod draw;
mod event;
mod imported;
mod imported_card;
mod learner;
pub mod learners;
mod metrics_file;
mod outcome;
mod plan;
mod reference;
mod select;
mod survival;
mod train;
mod uplift;

pub use amount::AMOUNT_METRICS;
pub use imported::{ImportParts, MeasuringTable, amount_model, import_bundle};
pub use learner::{Configuration, FitContext, FitError, Learner, Loss};
pub use metrics_file::{HeadMeasurement, Importance, LeaderboardRow, Measurement, MetricsFile};
pub use outcome::{arm_measurement, baseline, labelled, occurrence};
pub use survival::SurvivalError;
pub use train::{LEADERBOARD_METRICS, Preference, Progress, TrainError, TrainOptions, Trained, train};
pub use uplift::{PolicyValue, TreatmentReport, UpliftError, UpliftReport, Verdict};
