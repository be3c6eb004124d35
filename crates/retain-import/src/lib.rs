//! Reads models that were trained elsewhere: LightGBM's text, XGBoost's JSON and UBJSON, CatBoost's JSON.
//!
//! [`read`] turns the bytes of such a file into an [`Imported`] model: a [`MarginModel`] that sends every row to the leaf that the
//! original sends it to, its features, and the [`Link`] from margin to prediction. What cannot be expressed is refused by name.
//! [`Imported::schema_features`] then settles the categories and gives the features of a schema.
//!
//! Each library compares numbers in its own way, and each reader moves thresholds to where that comparison flips, so that the
//! engine's one question `x < threshold` gives the same answers: see `lightgbm.rs` and `float32.rs`. A file is never believed: counts are
//! held against what is there, nothing recurses on what a file says but `serde_json`, which stops at 128 levels, and the trees pass
//! through `tree.rs`, which accepts nothing but trees.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

mod catboost;
mod city_hash;
mod error;
mod features;
mod float32;
mod lightgbm;
mod lightgbm_text;
mod tree;
mod ubjson;
mod xgboost;
mod xgboost_categories;

use retain_score::MarginModel;

pub use city_hash::category_hash;
pub use error::ImportError;
pub use features::{Categories, ImportedFeature, ImportedKind};

/// The library that wrote a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// LightGBM: `Booster.save_model`.
    LightGbm,
    /// XGBoost: `Booster.save_model` as JSON or UBJSON.
    XgBoost,
    /// CatBoost: `save_model(…, format="json")`.
    CatBoost,
}

/// From a margin to what the library predicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// A probability: `1 / (1 + exp(−slope · margin))`.
    Logistic {
        /// LightGBM's `sigmoid`, 1 elsewhere; positive.
        slope: f64,
    },
    /// An amount: the margin itself.
    Identity,
    /// An amount: `exp(margin)`.
    Exp,
}

/// A model that was trained elsewhere.
///
/// Its trees ask categories by their positions in the list that [`Imported::schema_features`] settles.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Which library wrote it.
    pub library: Library,
    /// The loss it was trained on, in the library's words.
    pub objective: String,
    /// From margin to prediction.
    pub link: Link,
    /// What the library calls the raw score.
    pub margin: MarginModel,
    /// The features in the order of the model's rows.
    pub features: Vec<ImportedFeature>,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// Reads a model of any of the libraries.
///
/// # Errors
/// [`ImportError`] says where the file stops being a model, or which of its properties cannot be expressed.
pub fn read(library: Library, bytes: &[u8]) -> Result<Imported, ImportError> {
    match library {
        Library::LightGbm => lightgbm::parse(bytes),
        Library::XgBoost => xgboost::parse(bytes),
        Library::CatBoost => catboost::parse(bytes),
    }
}

/// Reads LightGBM's text format, versions 3 and 4.
///
/// # Errors
/// As [`read`].
pub fn read_lightgbm(bytes: &[u8]) -> Result<Imported, ImportError> {
    lightgbm::parse(bytes)
}

/// Reads XGBoost's JSON or UBJSON, told apart by the second byte.
///
/// # Errors
/// As [`read`].
pub fn read_xgboost(bytes: &[u8]) -> Result<Imported, ImportError> {
    xgboost::parse(bytes)
}

/// Reads CatBoost's JSON.
///
/// # Errors
/// As [`read`].
pub fn read_catboost(bytes: &[u8]) -> Result<Imported, ImportError> {
    catboost::parse(bytes)
}

impl Library {
    /// The library's name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LightGbm => "LightGBM",
            Self::XgBoost => "XGBoost",
            Self::CatBoost => "CatBoost",
        }
    }
}

impl Link {
    /// Whether the prediction is an amount rather than a probability.
    pub fn is_amount(self) -> bool {
        !matches!(self, Self::Logistic { .. })
    }
}
