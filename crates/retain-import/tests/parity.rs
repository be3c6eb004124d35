//! Models of the real libraries, and rows with the raw scores that these give: see `data/make_models.py`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use retain_core::{FeatureSchema, FeatureSpec};
use retain_import::{Imported, Library, Link, category_hash, read};
use retain_score::Engine;
use serde::Deserialize;

/// LightGBM and CatBoost add up in `f64`.
const EXACT: f64 = 1e-12;
/// XGBoost adds up in `f32`.
const SINGLE: f64 = 1e-6;

#[derive(Deserialize)]
struct Case {
    columns: Vec<String>,
    /// The texts of training, by column.
    texts: BTreeMap<String, Vec<String>>,
    rows: Vec<Vec<Option<Cell>>>,
    margins: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Cell {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Hashes {
    texts: Vec<String>,
    hashes: Vec<u32>,
}

fn data(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn expected<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let all: HashMap<String, serde_json::Value> = serde_json::from_slice(&data("expected.json")).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

fn library(name: &str) -> Library {
    match name.split('_').next() {
        Some("lightgbm") => Library::LightGbm,
        Some("xgboost") => Library::XgBoost,
        _ => Library::CatBoost,
    }
}

fn encode(spec: &FeatureSpec, cell: Option<&Cell>) -> f64 {
    match cell {
        None => f64::NAN,
        Some(Cell::Number(number)) => *number,
        Some(Cell::Text(text)) if spec.categories.is_empty() => text.parse().unwrap(),
        Some(Cell::Text(text)) => spec.category_index(text).unwrap_or(spec.categories.len()) as f64,
    }
}

/// Plain and compiled margins of every row are the library's, and contributions add up to them.
#[track_caller]
fn check(name: &str, link: Link, tolerance: f64) -> Imported {
    let case: Case = expected(name);
    let mut model = read(library(name), &data(name)).unwrap();
    assert_eq!(model.link, link);
    let specs = model.schema_features(|column| case.texts.get(column).cloned()).unwrap();
    let schema = FeatureSchema::new(specs, None, "target".into(), "1".into(), None).unwrap();
    let engine = Engine::new(&model.margin, &schema).unwrap();
    assert!(case.rows.len() >= 50);
    for (number, (cells, &margin)) in case.rows.iter().zip(&case.margins).enumerate() {
        let cell =
            |feature: &FeatureSpec| cells[case.columns.iter().position(|column| *column == feature.name).unwrap()].as_ref();
        let row: Vec<f64> = schema.features.iter().map(|feature| encode(feature, cell(feature))).collect();
        let found = model.margin.margin(&row);
        assert!((found - margin).abs() <= tolerance * margin.abs().max(1.0), "{name} row {number} {row:?}: {found} for {margin}");
        // The engine's sum is the more exact one; another leaf would be far off.
        assert!((engine.margin(&row) - found).abs() <= EXACT * found.abs().max(1.0), "{name} row {number}");
        let explained = engine.explain(&row);
        let sum = explained.base_margin + explained.contributions.iter().sum::<f64>();
        assert!(
            (sum - found).abs() < 1e-6 * found.abs().max(1.0),
            "{name} row {number}: contributions sum to {sum}, not {found}"
        );
    }
    model
}

#[test]
fn lightgbm_with_categories_and_missing_values() {
    let model = check("lightgbm_binary.txt", Link::Logistic { slope: 0.7 }, EXACT);
    assert!(model.margin.trees.len() == 4 && model.objective == "binary sigmoid:0.7");
}

#[test]
fn lightgbm_with_zero_as_missing() {
    check("lightgbm_zero_as_missing.txt", Link::Identity, EXACT);
}

#[test]
fn lightgbm_without_missing_values() {
    check("lightgbm_no_missing.txt", Link::Exp, EXACT);
}

#[test]
fn lightgbm_forests_and_dropped_trees() {
    check("lightgbm_forest.txt", Link::Identity, EXACT);
    check("lightgbm_dart.txt", Link::Exp, EXACT);
}

#[test]
fn xgboost_with_categories_in_both_formats() {
    let json = check("xgboost_logistic.json", Link::Logistic { slope: 1.0 }, SINGLE);
    let ubjson = check("xgboost_logistic.ubj", Link::Logistic { slope: 1.0 }, SINGLE);
    assert_eq!(json, ubjson);
}

#[test]
fn xgboost_boosters() {
    check("xgboost_dart.json", Link::Exp, SINGLE);
    check("xgboost_forest.json", Link::Exp, SINGLE);
    check("xgboost_linear.json", Link::Identity, SINGLE);
}

#[test]
fn catboost_of_every_growth() {
    check("catboost_symmetric.json", Link::Logistic { slope: 1.0 }, EXACT);
    check("catboost_depthwise.json", Link::Identity, EXACT);
    check("catboost_nan_max.json", Link::Exp, EXACT);
}

#[test]
fn categories_have_catboosts_hashes() {
    let known: Hashes = expected("catboost_hashes");
    assert!(known.texts.len() > 50);
    for (text, hash) in known.texts.iter().zip(known.hashes) {
        assert_eq!(category_hash(text), hash, "{text:?}");
    }
}

/// A texts' hash is all that CatBoost's JSON has, so without a table the model cannot be imported.
#[test]
fn hashed_categories_need_a_table() {
    let mut model = read(Library::CatBoost, &data("catboost_symmetric.json")).unwrap();
    let error = model.schema_features(|_| None).unwrap_err().to_string();
    assert!(error.contains("a table has to name their texts"), "{error}");
    let error = model.schema_features(|_| Some(vec!["another text".to_owned()])).unwrap_err().to_string();
    assert!(error.contains("has the hash"), "{error}");
}
