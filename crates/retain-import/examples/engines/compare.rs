//! All engines that can be called from one process, in turns.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use retain_core::Rows;
use retain_import::Library;
use serde_json::{Value, json};

use crate::clock::processor_time;
use crate::engine::{Retain, ScoringEngine, largest_difference, per_row, quantile, read_rows};
use crate::peers::{Answer, LightGbm, Lleaves, Tl2cgen, XgBoost};

/// Rows that single calls rotate over: more than a branch predictor learns, and few enough to stay in the cache.
const N_SINGLE_ROWS: usize = 1_000;
/// The same for XGBoost, which prepares so much for each call that its rows hardly matter.
const N_SLOW_ROWS: usize = 100;
/// Rows that are explained in each round; the rounds go on where the one before ended.
const N_EXPLAINED_ROWS: usize = 100;
/// Rounds of one batch and of one pass of explanations for so many rounds of single rows: they take longer.
const SINGLE_ROUNDS: usize = 4;
/// Sums in `f64`, in any order; sums in `f32`; contributions, which LightGBM computes in another way.
const EXACT: f64 = 1e-12;
const SINGLE_PRECISION: f64 = 1e-5;
const CONTRIBUTIONS: f64 = 1e-9;

struct Contestant {
    name: &'static str,
    engine: Box<dyn ScoringEngine>,
    /// Most that its answers may differ from those of ours on its forest.
    tolerance: f64,
    /// Rows of a pass of single calls.
    n_single: usize,
    margins: Vec<f64>,
    single: Vec<f64>,
    each: Vec<f64>,
    batch: Vec<f64>,
}

impl Contestant {
    fn new(name: &'static str, engine: impl ScoringEngine + 'static, tolerance: f64) -> Self {
        let (margins, single, each, batch) = Default::default();
        Self { name, engine: Box::new(engine), tolerance, n_single: N_SINGLE_ROWS, margins, single, each, batch }
    }
}

/// The forests of a folder, and the libraries beside ours.
pub(crate) struct Contest<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) n_features: usize,
    pub(crate) n_trees: usize,
    pub(crate) lightgbm: &'a Path,
    pub(crate) xgboost: &'a Path,
    pub(crate) n_rounds: usize,
}

impl Contest<'_> {
    pub(crate) fn run(&self) -> Result<Value, Box<dyn Error>> {
        let rows = read_rows(&self.folder.join("rows.bin"), self.n_features, usize::MAX)?;
        let explanations = self.explanations(&rows)?;
        let mut forests = [self.on_lightgbm()?, self.on_xgboost(&rows)?];
        let mut differences = Vec::new();
        for contestants in &mut forests {
            differences.extend(differences_from_first(contestants, &rows)?);
        }
        let mut contestants: Vec<Contestant> = forests.into_iter().flatten().collect();
        assert!(rows.n_rows() >= N_SINGLE_ROWS, "rows to rotate over");
        let mut clock = Vec::new();
        for round in 0..self.n_rounds {
            for contestant in &mut contestants {
                contestant.single.push(per_row(contestant.engine.time_singles(&rows, contestant.n_single), contestant.n_single));
            }
            for contestant in &mut contestants {
                contestant.engine.time_each(&rows, contestant.n_single, &mut contestant.each);
            }
            clock.extend((0..N_SINGLE_ROWS).map(|_| Instant::now().elapsed().as_nanos() as f64));
            if round % SINGLE_ROUNDS == 0 {
                for contestant in &mut contestants {
                    let duration = contestant.engine.time_batch(&rows, &mut contestant.margins);
                    contestant.batch.push(per_row(duration, rows.n_rows()));
                }
            }
        }
        let clock_ns = quantile(&mut clock, 0.5);
        let engines: Vec<Value> = contestants
            .iter_mut()
            .zip(differences)
            .map(|(contestant, difference)| contestant.report(difference, clock_ns))
            .collect();
        Ok(json!({ "clock_ns": clock_ns, "engines": engines, "explanations": explanations }))
    }

    fn file(&self, library: &str, ending: &str) -> std::path::PathBuf {
        self.folder.join(format!("{library}-{}.{ending}", self.n_trees))
    }

    /// Engines with LightGBM's forest; the first is ours.
    fn on_lightgbm(&self) -> Result<Vec<Contestant>, Box<dyn Error>> {
        let model = self.file("lightgbm", "txt");
        let compiled = |name: &str| self.file(name, "so");
        Ok(vec![
            Contestant::new("retain", Retain::open(Library::LightGbm, &model)?, 0.0),
            Contestant::new("LightGBM", LightGbm::open(self.lightgbm, &model, self.n_features, Answer::Margin)?, EXACT),
            Contestant::new("lleaves", Lleaves::open(&compiled("lleaves"))?, EXACT),
            Contestant::new("lleaves, for single rows", Lleaves::open(&compiled("lleaves-single"))?, EXACT),
            Contestant::new("tl2cgen", Tl2cgen::open(&compiled("tl2cgen"), self.n_features)?, EXACT),
            Contestant::new("tl2cgen, quantized", Tl2cgen::open(&compiled("tl2cgen-quantized"), self.n_features)?, EXACT),
        ])
    }

    /// Engines with XGBoost's forest; the first is ours.
    fn on_xgboost(&self, rows: &Rows) -> Result<Vec<Contestant>, Box<dyn Error>> {
        let model = self.file("xgboost", "json");
        let theirs = Contestant::new("XGBoost", XgBoost::open(self.xgboost, &model, rows)?, SINGLE_PRECISION);
        Ok(vec![
            Contestant::new("retain, XGBoost's forest", Retain::open(Library::XgBoost, &model)?, 0.0),
            Contestant { n_single: N_SLOW_ROWS, ..theirs },
        ])
    }

    /// Explanations by ours and by LightGBM, one row a call and many.
    fn explanations(&self, rows: &Rows) -> Result<Value, Box<dyn Error>> {
        let model = self.file("lightgbm", "txt");
        let ours = Retain::open(Library::LightGbm, &model)?.engine;
        let mut lightgbm = LightGbm::open(self.lightgbm, &model, self.n_features, Answer::Contributions)?;
        let n_rows = N_EXPLAINED_ROWS.min(rows.n_rows());
        let mut largest: f64 = 0.0;
        for row in rows.in_order().take(n_rows) {
            let explained = ours.explain(row);
            let found = [&explained.contributions[..], &[explained.base_margin]].concat();
            largest = largest.max(largest_difference(&found, lightgbm.contributions(row)));
        }
        within("LightGBM's contributions", largest, CONTRIBUTIONS)?;
        let (mut retain_ns, mut single_ns, mut batch_ns) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.n_rounds.div_ceil(SINGLE_ROUNDS) {
            let first = round * n_rows % (rows.n_rows() - n_rows + 1);
            let took = processor_time(|| {
                for row_idx in first..first + n_rows {
                    black_box(ours.explain(rows.row(row_idx)));
                }
            });
            retain_ns.push(per_row(took, n_rows));
            let took = processor_time(|| {
                for row_idx in first..first + n_rows {
                    black_box(lightgbm.contributions(rows.row(row_idx)));
                }
            });
            single_ns.push(per_row(took, n_rows));
            let values = &rows.values()[first * self.n_features..(first + n_rows) * self.n_features];
            let took = processor_time(|| {
                black_box(lightgbm.batch_of_contributions(values, self.n_features));
            });
            batch_ns.push(per_row(took, n_rows));
        }
        Ok(json!({
            "difference": largest,
            "retain_ns": quantile(&mut retain_ns, 0.5),
            "lightgbm_ns": quantile(&mut single_ns, 0.5),
            "lightgbm_batch_ns": quantile(&mut batch_ns, 0.5),
        }))
    }
}

/// How far the engines' answers are from those of the first, one row a call and all in one.
fn differences_from_first(contestants: &mut [Contestant], rows: &Rows) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut expected = Vec::new();
    let mut differences = Vec::new();
    for contestant in contestants {
        let engine = &mut contestant.engine;
        let single: Vec<f64> = (0..rows.n_rows()).map(|row_idx| engine.one(rows, row_idx)).collect();
        engine.batch(rows, &mut contestant.margins);
        if expected.is_empty() {
            expected.clone_from(&single);
        }
        let difference = largest_difference(&single, &expected).max(largest_difference(&contestant.margins, &expected));
        within(contestant.name, difference, contestant.tolerance)?;
        differences.push(difference);
    }
    Ok(differences)
}

fn within(name: &str, difference: f64, tolerance: f64) -> Result<(), String> {
    if difference <= tolerance {
        return Ok(());
    }
    Err(format!("{name} differs from our answers by {difference:e}, more than {tolerance:e}: nothing to compare"))
}

impl Contestant {
    fn report(&mut self, difference: f64, clock_ns: f64) -> Value {
        let each = [0.5, 0.99, 0.999].map(|share| quantile(&mut self.each, share) - clock_ns);
        json!({
            "name": self.name,
            "difference": difference,
            "single_ns": quantile(&mut self.single, 0.5),
            "batch_ns": quantile(&mut self.batch, 0.5),
            "p50_ns": each[0],
            "p99_ns": each[1],
            "p999_ns": each[2],
        })
    }
}
