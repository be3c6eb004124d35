//! Times scoring engines on the same forests and rows, for `benches/engines/compare.py`, which prepares what is compared.
//!
//! - `engines compare FOLDER FEATURES TREES LIGHTGBM XGBOOST ROUNDS`: all engines of this process in turns.
//! - `engines serve LIBRARY MODEL ROWS FEATURES`: ours beside engines of another process; a line of standard input is an order.
//! - `engines load retain|lightgbm|xgboost MODEL ROWS FEATURES [LIBRARY]`: from disk to the first prediction.
//!
//! One thread. Answers are JSON objects, one a line; times are nanoseconds for each row, of processor time but where rows are
//! timed one by one.

mod clock;
mod compare;
mod engine;
mod load;
mod peers;

use std::error::Error;
use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;

use retain_import::Library;
use serde_json::json;

use crate::compare::Contest;
use crate::engine::{Retain, ScoringEngine, per_row, read_rows};
use crate::load::{Loaded, load};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["compare", folder, n_features, n_trees, lightgbm, xgboost, n_rounds] => {
            let contest = Contest {
                folder: Path::new(folder),
                n_features: n_features.parse()?,
                n_trees: n_trees.parse()?,
                lightgbm: Path::new(lightgbm),
                xgboost: Path::new(xgboost),
                n_rounds: n_rounds.parse()?,
            };
            println!("{}", contest.run()?);
            Ok(())
        }
        ["serve", library, model, rows, n_features] => {
            serve(library_of(library)?, Path::new(model), Path::new(rows), n_features.parse()?)
        }
        ["load", kind, model, rows, n_features, ref library @ ..] => {
            let kind = match (kind, library) {
                ("retain", []) => Loaded::Bundle,
                ("lightgbm", [library]) => Loaded::LightGbm(Path::new(library)),
                ("xgboost", [library]) => Loaded::XgBoost(Path::new(library)),
                _ => return Err("expected `retain`, or `lightgbm` or `xgboost` with its library".into()),
            };
            let rows = read_rows(Path::new(rows), n_features.parse()?, 1)?;
            println!("{}", load(kind, Path::new(model), &rows)?);
            Ok(())
        }
        _ => Err("expected `compare`, `serve` or `load` with the arguments that the source names".into()),
    }
}

fn library_of(name: &str) -> Result<Library, String> {
    match name {
        "lightgbm" => Ok(Library::LightGbm),
        "xgboost" => Ok(Library::XgBoost),
        "catboost" => Ok(Library::CatBoost),
        other => Err(format!("`{other}` is none of `lightgbm`, `xgboost` and `catboost`")),
    }
}

/// Orders: `batch` and `single` time one pass, `margins FILE` writes the margins of all rows as `f64`.
fn serve(library: Library, model: &Path, rows: &Path, n_features: usize) -> Result<(), Box<dyn Error>> {
    let mut engine = Retain::open(library, model)?;
    let rows = read_rows(rows, n_features, usize::MAX)?;
    let mut margins = Vec::new();
    for order in stdin().lock().lines() {
        let order = order?;
        let duration = match order.split_once(' ') {
            None if order == "batch" => engine.time_batch(&rows, &mut margins),
            None if order == "single" => engine.time_singles(&rows, rows.n_rows()),
            Some(("margins", file)) => {
                let duration = engine.time_batch(&rows, &mut margins);
                fs::write(file, margins.iter().flat_map(|margin| margin.to_le_bytes()).collect::<Vec<u8>>())?;
                duration
            }
            _ => return Err(format!("the order `{order}` is none of `batch`, `single` and `margins FILE`").into()),
        };
        println!("{}", json!({ "ns": per_row(duration, rows.n_rows()) }));
        stdout().flush()?;
    }
    Ok(())
}
