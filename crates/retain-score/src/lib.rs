//! The scoring engine: loads a model bundle, encodes rows, predicts and explains.
//!
//! A row becomes a probability in three steps: [`retain_core::FeatureSchema::encode_row`] turns values into numbers,
//! [`Scorer::predict`] adds up the model's parts to a margin in log-odds, and the calibrator turns the margin into a
//! probability. `train`, `evaluate`, `score`, `explain` and the server all come through here, so they agree to the last bit.
//!
//! Knows nothing of training, tables, tokio or gRPC.

mod bundle;
mod calibrate;
mod check;
mod check_rows;
mod effects;
mod engine;
mod explain;
mod format;
mod manifest;
mod model;
mod predictor;
mod reference;
mod registry;
mod scorer;
mod stamp;

pub use bundle::{Bundle, BundleError, FILES, MANIFEST, sha256};
pub use calibrate::{Calibrator, sigmoid, softplus};
pub use check::with_period;
pub use check_rows::{CheckRow, CheckRowError, CheckRows, CheckValue};
pub use effects::Effect;
pub use engine::{Engine, Kernel};
pub use explain::Explanation;
pub use format::{FormatError, MODEL_FORMAT_VERSION};
pub use manifest::{BUNDLE_FORMAT_VERSION, Band, Bands, DateRange, Manifest};
pub use model::{
    AmountModel, Arm, Cause, EffectPart, HazardModel, Head, Individual, Interval, MarginModel, Model, ModelError, Node, NodeKind,
    Shape, Term, Test, Tree, UpliftModel, ValueHead, limits,
};
pub use predictor::{Prediction, Predictor, SurvivalCurve};
pub use reference::{Histogram, REFERENCE_FORMAT_VERSION, Reference, ReferenceError};
pub use registry::{Aliases, Published, Registry, RegistryError, VersionInfo};
pub use scorer::Scorer;
pub use stamp::BundleStamp;
