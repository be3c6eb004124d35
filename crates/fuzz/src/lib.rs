//! What has to hold for every file that calls itself a model: one function for each kind of file.
//!
//! The fuzz targets call them with files that libFuzzer makes, `tests/fuzz_corpora.rs` of the workspace with those that are kept in
//! `corpus/`. They return where a file is refused, and panic where something does not hold.

mod bundle;
mod import;
mod made;
mod margin;
mod memory;
mod model;
mod mutate;
mod rows;

pub use bundle::{join, split};
pub use mutate::{mutate, mutate_bundle, mutate_json, mutate_lines};
use retain_import::Library;

/// A target: its name, which is also that of its corpus, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("model", model),
    ("made_model", made_model),
    ("bundle", bundle),
    ("lightgbm", lightgbm),
    ("xgboost_json", xgboost_json),
    ("xgboost_ubjson", xgboost_ubjson),
    ("catboost", catboost),
];

/// `model.bin`, against two schemas.
pub fn model(bytes: &[u8]) {
    memory::bounded(bytes.len(), || model::check_file(bytes));
}

/// A model that holds together, made as the bytes say.
pub fn made_model(bytes: &[u8]) {
    memory::bounded(bytes.len(), || made::check(bytes));
}

/// The files of a bundle, as [`split`] finds them.
pub fn bundle(bytes: &[u8]) {
    memory::bounded(bytes.len(), || bundle::check(bytes));
}

/// LightGBM's text.
pub fn lightgbm(bytes: &[u8]) {
    memory::bounded(bytes.len(), || import::check(Library::LightGbm, bytes));
}

/// XGBoost's JSON.
pub fn xgboost_json(bytes: &[u8]) {
    memory::bounded(bytes.len(), || import::check(Library::XgBoost, bytes));
}

/// XGBoost's UBJSON: the same reader, which tells the two apart by their bytes.
pub fn xgboost_ubjson(bytes: &[u8]) {
    memory::bounded(bytes.len(), || import::check(Library::XgBoost, bytes));
}

/// CatBoost's JSON.
pub fn catboost(bytes: &[u8]) {
    memory::bounded(bytes.len(), || import::check(Library::CatBoost, bytes));
}
