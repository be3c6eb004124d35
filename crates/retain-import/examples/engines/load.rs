//! From a file to the first prediction, once: for a process of its own.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use retain_core::Rows;
use retain_score::Scorer;
use serde_json::{Value, json};

use crate::clock::processor_now;
use crate::engine::ScoringEngine;
use crate::peers::{Answer, LightGbm, XgBoost, preload};

/// What is loaded: our bundle, or the model file of a library.
#[derive(Clone, Copy)]
pub(crate) enum Loaded<'a> {
    Bundle,
    LightGbm(&'a Path),
    XgBoost(&'a Path),
}

/// Loads a model and scores the first row.
pub(crate) fn load(kind: Loaded<'_>, model: &Path, rows: &Rows) -> Result<Value, Box<dyn Error>> {
    if let Loaded::LightGbm(library) | Loaded::XgBoost(library) = kind {
        // The dynamic linker does its work once for a process, not once for a model.
        preload(library)?;
    }
    let before = memory("VmRSS:")?;
    let (start, cpu_start) = (Instant::now(), processor_now());
    let margin = match kind {
        Loaded::Bundle => Scorer::open(model)?.predict(rows.row(0)).margin,
        Loaded::LightGbm(library) => LightGbm::open(library, model, rows.n_features(), Answer::Margin)?.one(rows, 0),
        Loaded::XgBoost(library) => XgBoost::open(library, model, rows)?.one(rows, 0),
    };
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), processor_now().saturating_sub(cpu_start).as_secs_f64());
    let peak_bytes = memory("VmHWM:")?.saturating_sub(before);
    Ok(json!({ "margin": margin, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes }))
}

/// A figure of this process, in bytes; 0 where the system does not tell.
fn memory(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).map_or(Ok(0), str::parse::<u64>)?;
    Ok(1024 * kilobytes)
}
