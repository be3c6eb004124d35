//! Scores rows by an imported model: `margins LIBRARY MODEL TEXTS ROWS MARGINS`, for `benches/import/parity.py`.
//!
//! TEXTS is a JSON object with the texts of categories by column; ROWS has little-endian `f64` numbers, row after row, with NaN for missing
//! values and positions in TEXTS for categories (one past the end: unseen); MARGINS gets one `f64` for each row.

use std::collections::HashMap;
use std::error::Error;
use std::fs;

use retain_core::{FeatureSchema, FeatureSpec};
use retain_import::{Library, read};
use retain_score::Engine;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, model, texts, rows, margins] = &arguments[..] else {
        return Err("expected LIBRARY MODEL TEXTS ROWS MARGINS".into());
    };
    let library = match library.as_str() {
        "lightgbm" => Library::LightGbm,
        "xgboost" => Library::XgBoost,
        "catboost" => Library::CatBoost,
        other => return Err(format!("`{other}` is none of `lightgbm`, `xgboost` and `catboost`").into()),
    };
    let texts: HashMap<String, Vec<String>> = serde_json::from_slice(&fs::read(texts)?)?;
    let mut imported = read(library, &fs::read(model)?)?;
    let specs = imported.schema_features(|column| texts.get(column).cloned())?;
    let schema = FeatureSchema::new(specs, None, "target".to_owned(), "1".to_owned(), None)?;
    let engine = Engine::new(&imported.margin, &schema)?;
    let mut found = Vec::new();
    let bytes = fs::read(rows)?;
    for row in bytes.chunks_exact(8 * schema.n_features()) {
        let cells = row.chunks_exact(8).map(|cell| cell.try_into().map(f64::from_le_bytes)).collect::<Result<Vec<_>, _>>()?;
        let encoded: Vec<f64> = schema.features.iter().zip(cells).map(|(spec, cell)| encode(spec, &texts, cell)).collect();
        found.extend(engine.margin(&encoded).to_le_bytes());
    }
    fs::write(margins, found)?;
    Ok(())
}

fn encode(spec: &FeatureSpec, texts: &HashMap<String, Vec<String>>, cell: f64) -> f64 {
    match texts.get(&spec.name) {
        Some(texts) if !cell.is_nan() => {
            let known = texts.get(cell as usize).and_then(|text| spec.category_index(text));
            known.unwrap_or(spec.categories.len()) as f64
        }
        _ => cell,
    }
}
