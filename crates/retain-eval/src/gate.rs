//! [`run`]: a model held against a [`GateFile`].
//!
//! Bounds of intervals are compared, never points: a check passes where the whole interval is on the good side, fails where it
//! is on the bad side, and is inconclusive where it holds the threshold. Two kinds of evidence never pass: an interval without
//! width, and fewer than 30 positives or 30 negatives (of values 30 above 0, of survival 30 events).

use std::collections::BTreeMap;

use crate::bootstrap::{BootstrapOptions, Difference, Evaluation, Measured, compare, evaluate};
use crate::gate_error::GateError;
use crate::gate_file::{Beats, GateFile, MIN_PER_CLASS, NonInferiority, SliceCheck, SliceLimit};
use crate::gate_report::{CheckKind, CheckLine, GateReport, Verdict};
use crate::labelled::Labelled;
use crate::metrics::Metric;
use crate::normal::{Z_POWER_80, two_sided_z};
use crate::outcome::OutcomeKind;

/// Names of slices too small to judge that a report lists.
const MAX_NAMED_SLICES: usize = 5;

/// Everything a gate looks at.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// Name of the model being gated.
    pub model: &'a str,
    /// Its version.
    pub version: u32,
    /// Metrics for floors and ceilings, at the gate file's confidence: measured on the data, or stored in the bundle.
    pub evaluation: &'a Evaluation,
    /// The model's predictions on the data; needed for champion, baseline and slices.
    pub labelled: Option<&'a Labelled>,
    /// The champion's predictions on the same rows.
    pub champion: Option<Champion<'a>>,
    /// Rate of positives, or mean value, of the training rows.
    pub base_rate: Option<f64>,
    /// Kaplan-Meier curve of the training rows, one probability per grid day: the base rate of a survival model.
    pub base_curve: Option<&'a [f64]>,
    /// Columns that predict by the past, one number per row of `labelled`.
    pub past_columns: &'a [PastColumn],
    /// Values of slice columns, one per row of `labelled`.
    pub slice_columns: &'a [SliceColumn],
    /// What was measured of the model in service.
    pub serving: ServingNumbers,
    /// Whether an inconclusive verdict ends with exit code 0; recorded in the report.
    pub allow_inconclusive: bool,
}

/// The model that is in service now.
#[derive(Debug, Clone, Copy)]
pub struct Champion<'a> {
    /// How reports call it, such as `telco-churn/2`.
    pub name: &'a str,
    /// Its predictions on the rows of [`GateInput::labelled`], laid out as [`Labelled::predictions`].
    pub predictions: &'a [f64],
}

/// One column that predicts by the past.
#[derive(Debug, Clone, PartialEq)]
pub struct PastColumn {
    /// The column's name.
    pub name: String,
    /// One prediction per row, in the unit of the model's.
    pub predictions: Vec<f64>,
}

/// One column of slice labels.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceColumn {
    /// The column's name.
    pub name: String,
    /// One label per row; missing values are a label too.
    pub labels: Vec<String>,
}

/// What was measured of the model in service; absent where nobody measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ServingNumbers {
    /// 99th percentile of answering one customer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Size of the model file.
    pub model_bytes: Option<u64>,
    /// Largest absolute difference between the same row's probability in training and in serving.
    pub parity_max_abs: Option<f64>,
}

/// Runs every check of the file, in the order floors, ceilings, baselines, champion, slices, serving.
///
/// # Errors
/// [`GateError`] when a check is for another model, or something that a check needs is not in `input`.
pub fn run(file: &GateFile, input: &GateInput<'_>) -> Result<GateReport, GateError> {
    check_models(file, input)?;
    let mut lines = bound_lines(file, input)?;
    lines.extend(beats_lines(file, input)?);
    lines.extend(champion_lines(file, input)?);
    for check in &file.slices {
        lines.extend(slice_lines(check, &file.bootstrap, input)?);
    }
    lines.extend(serving_lines(file, input)?);
    Ok(GateReport::new(input, &file.bootstrap, lines))
}

/// Refuses checks for another model, and metrics that this model's outcomes do not have.
fn check_models(file: &GateFile, input: &GateInput<'_>) -> Result<(), GateError> {
    let floors = file.floors.iter().map(|check| ("floor", Some(check.metric), &check.model));
    let ceilings = file.ceilings.iter().map(|check| ("ceiling", Some(check.metric), &check.model));
    let champions = file.non_inferiority.iter().map(|check| ("non_inferiority", Some(check.metric), &check.model));
    let beats = file.beats.iter().map(|check| ("beats", Some(check.metric), &check.model));
    let slices = file.slices.iter().map(|check| ("slice", Some(check.metric), &check.model));
    let serving = file.serving.iter().map(|check| ("serving", None, &check.model));
    let kind = input.evaluation.kind;
    for (table, metric, model) in floors.chain(ceilings).chain(champions).chain(beats).chain(slices).chain(serving) {
        let check = || format!("{table} {}", metric.map_or("limits", Metric::name));
        if let Some(asked) = model.as_ref().filter(|asked| asked.as_str() != input.model) {
            return Err(GateError::OtherModel { check: check(), asked: asked.clone(), gated: input.model.to_owned() });
        }
        if metric.is_some_and(|metric| metric.kind() != kind) {
            let known = Metric::of_kind(kind).iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
            return Err(GateError::OtherKind { check: check(), kind, known });
        }
    }
    Ok(())
}

/// The evidence of one check: an interval and how many rows it stands on.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    value: f64,
    low: f64,
    high: f64,
    standard_error: f64,
    n_positives: usize,
    n_negatives: usize,
    confidence: f64,
    kind: OutcomeKind,
}

impl Evidence {
    fn measured(measured: &Measured, evaluation: &Evaluation) -> Self {
        let Measured { value, low, high, standard_error, .. } = *measured;
        let (n_positives, n_negatives) = (evaluation.n_positives, evaluation.n_negatives());
        let Evaluation { confidence, kind, .. } = *evaluation;
        Self { value, low, high, standard_error, n_positives, n_negatives, confidence, kind }
    }

    fn compared(difference: &Difference, rows: &Labelled, options: &BootstrapOptions) -> Self {
        let Difference { value, low, high, standard_error, .. } = *difference;
        let (n_positives, n_negatives, confidence) = (rows.n_positives(), rows.n_negatives(), options.confidence);
        Self { value, low, high, standard_error, n_positives, n_negatives, confidence, kind: rows.kind() }
    }

    /// Where an interval that lies wholly on one side, `good` or `bad`, puts the verdict.
    fn verdict(&self, good: bool, bad: bool) -> (Verdict, String) {
        if let Some(note) = self.too_thin() {
            return (Verdict::Inconclusive, note);
        }
        match (good, bad) {
            (true, _) if self.low >= self.high => (Verdict::Inconclusive, "the interval has no width".to_owned()),
            (true, _) => (Verdict::Pass, String::new()),
            (_, true) => (Verdict::Fail, String::new()),
            _ => (Verdict::Inconclusive, "the interval holds the threshold".to_owned()),
        }
    }

    /// Why there are too few rows for a verdict, if there are.
    fn too_thin(&self) -> Option<String> {
        let Self { n_positives, n_negatives, .. } = self;
        let (enough, note) = match self.kind {
            OutcomeKind::Binary => (
                *n_positives.min(n_negatives) >= MIN_PER_CLASS,
                format!("{n_positives} positives and {n_negatives} negatives; a verdict needs {MIN_PER_CLASS} of each"),
            ),
            OutcomeKind::Value => {
                (*n_positives >= MIN_PER_CLASS, format!("{n_positives} values above 0; a verdict needs {MIN_PER_CLASS}"))
            }
            OutcomeKind::Uplift => {
                (*n_positives >= MIN_PER_CLASS, format!("{n_positives} outcomes above 0; a verdict needs {MIN_PER_CLASS}"))
            }
            OutcomeKind::Survival => {
                (*n_positives >= MIN_PER_CLASS, format!("{n_positives} events; a verdict needs {MIN_PER_CLASS}"))
            }
        };
        (!enough).then_some(note)
    }

    fn line(&self, line: CheckLine, good: bool, bad: bool) -> CheckLine {
        let (verdict, note) = self.verdict(good, bad);
        let detectable = (two_sided_z(self.confidence) + Z_POWER_80) * self.standard_error;
        CheckLine {
            verdict,
            note,
            value: Some(self.value),
            low: Some(self.low),
            high: Some(self.high),
            n_positives: Some(self.n_positives),
            n_negatives: Some(self.n_negatives),
            minimum_detectable_regression: Some(detectable),
            ..line
        }
    }
}

fn bound_lines(file: &GateFile, input: &GateInput<'_>) -> Result<Vec<CheckLine>, GateError> {
    let (found, expected) = (input.evaluation.confidence, file.bootstrap.confidence);
    if found != expected && !(file.floors.is_empty() && file.ceilings.is_empty()) {
        return Err(GateError::Confidence { found, expected });
    }
    let evidence = |metric| input.evaluation.get(metric).map(|measured| Evidence::measured(measured, input.evaluation));
    let floors = file.floors.iter().map(|floor| {
        let line = CheckLine::new(CheckKind::Floor, floor.metric.name(), "≥", floor.min);
        limited(line, evidence(floor.metric), SliceLimit::Min(floor.min))
    });
    let ceilings = file.ceilings.iter().map(|ceiling| {
        let line = CheckLine::new(CheckKind::Ceiling, ceiling.metric.name(), "≤", ceiling.max);
        limited(line, evidence(ceiling.metric), SliceLimit::Max(ceiling.max))
    });
    Ok(floors.chain(ceilings).collect())
}

/// The verdict on an interval that has to keep a limit.
fn limited(line: CheckLine, evidence: Option<Evidence>, limit: SliceLimit) -> CheckLine {
    let Some(evidence) = evidence else {
        return line.inconclusive("not measured, or not defined on these rows");
    };
    let Evidence { low, high, .. } = evidence;
    let (good, bad) = match limit {
        SliceLimit::Min(min) => (low >= min, high < min),
        SliceLimit::Max(max) => (high <= max, low > max),
        SliceLimit::MaxAbs(max) => (low >= -max && high <= max, low > max || high < -max),
    };
    evidence.line(line, good, bad)
}

fn rows<'a>(input: &GateInput<'a>) -> Result<&'a Labelled, GateError> {
    input.labelled.ok_or(GateError::NoData)
}

fn beats_lines(file: &GateFile, input: &GateInput<'_>) -> Result<Vec<CheckLine>, GateError> {
    if file.beats.is_empty() {
        return Ok(Vec::new());
    }
    let rows = rows(input)?;
    // One comparison per baseline serves all of its metrics.
    let mut asked: BTreeMap<Option<&str>, Vec<Metric>> = BTreeMap::new();
    for check in &file.beats {
        asked.entry(check.column.as_deref()).or_default().push(check.metric);
    }
    let mut differences = BTreeMap::new();
    for (column, metrics) in &asked {
        differences.insert(*column, compare(rows, &baseline(rows, *column, input)?, metrics, &file.bootstrap)?);
    }
    let line = |check: &Beats| {
        let line = CheckLine::new(CheckKind::Beats, check.metric.name(), ">", 0.0);
        let found = differences.get(&check.column.as_deref()).and_then(|all| all.iter().find(|d| d.metric == check.metric));
        let judged = match found {
            Some(difference) => {
                let evidence = Evidence::compared(difference, rows, &file.bootstrap);
                evidence.line(line, difference.low > 0.0, difference.high <= 0.0)
            }
            None => line.inconclusive("not defined for the model or for the baseline on these rows"),
        };
        let against = check.column.as_ref().map(|column| format!("against the column `{column}`"));
        CheckLine { note: against.map_or(judged.note.clone(), |against| joined(&judged.note, &against)), ..judged }
    };
    Ok(file.beats.iter().map(line).collect())
}

/// The rows with the predictions of a column of the past, or of the training rows for everybody.
fn baseline(rows: &Labelled, column: Option<&str>, input: &GateInput<'_>) -> Result<Labelled, GateError> {
    let Some(name) = column else {
        let base_rate = input.base_rate.as_slice();
        let constant = if rows.kind() == OutcomeKind::Survival { input.base_curve.unwrap_or_default() } else { base_rate };
        if constant.is_empty() {
            return Err(GateError::NoBaseRate);
        }
        return rows.with_constant(constant).map_err(GateError::BaseRate);
    };
    let known = input.past_columns.iter().find(|column| column.name == name);
    let column = known.ok_or_else(|| GateError::NoPastColumn { column: name.to_owned() })?;
    rows.with_predictions(&column.predictions).map_err(|source| GateError::Past { column: name.to_owned(), source })
}

fn champion_lines(file: &GateFile, input: &GateInput<'_>) -> Result<Vec<CheckLine>, GateError> {
    if file.non_inferiority.is_empty() {
        return Ok(Vec::new());
    }
    let champion = input.champion.ok_or(GateError::NoChampion)?;
    let rows = rows(input)?;
    let champion = rows.with_predictions(champion.predictions).map_err(GateError::Champion)?;
    let metrics: Vec<Metric> = file.non_inferiority.iter().map(|check| check.metric).collect();
    let differences = compare(rows, &champion, &metrics, &file.bootstrap)?;
    let same_predictions = rows.predictions() == champion.predictions();
    let same_order = same_predictions || rows.ranks_as(&champion);
    let line = |check: &NonInferiority| {
        let line = CheckLine::new(CheckKind::NonInferiority, check.metric.name(), ">", -check.margin);
        let found = differences.iter().find(|difference| difference.metric == check.metric);
        let judged = match found {
            Some(difference) => {
                let good = difference.low > -check.margin;
                Evidence::compared(difference, rows, &file.bootstrap).line(line, good, difference.high < -check.margin)
            }
            None => line.inconclusive("not defined for one of the models on these rows"),
        };
        // What cannot differ needs no evidence.
        match (same_predictions, same_order && check.metric.depends_on_order_only()) {
            (true, _) => judged.passed("the predictions are identical on every row"),
            (_, true) => judged.passed("both models put the rows in the same order, and this metric depends on nothing else"),
            _ => judged,
        }
    };
    Ok(file.non_inferiority.iter().map(line).collect())
}

fn slice_lines(check: &SliceCheck, options: &BootstrapOptions, input: &GateInput<'_>) -> Result<Vec<CheckLine>, GateError> {
    let rows = rows(input)?;
    let (sign, threshold) = match check.limit {
        SliceLimit::MaxAbs(limit) => ("within ±", limit),
        SliceLimit::Min(limit) => ("≥", limit),
        SliceLimit::Max(limit) => ("≤", limit),
    };
    let mut lines = Vec::new();
    let mut too_small = Vec::new();
    for (name, row_idxs) in slices(check, rows, input)? {
        let line =
            CheckLine { slice: Some(name.clone()), ..CheckLine::new(CheckKind::Slice, check.metric.name(), sign, threshold) };
        let slice = rows.subset(&row_idxs)?;
        if slice.n_positives() < check.min_positives {
            too_small.push(name);
            continue;
        }
        let evaluation = evaluate(&slice, &[check.metric], options);
        let evidence = evaluation.get(check.metric).map(|measured| Evidence::measured(measured, &evaluation));
        lines.push(limited(line, evidence, check.limit));
    }
    let by = check.by.join(", ");
    if lines.is_empty() {
        let line = CheckLine::new(CheckKind::Slice, check.metric.name(), sign, threshold);
        let note = format!("no slice has {} positives", check.min_positives);
        lines.push(CheckLine { slice: Some(format!("by {by}")), ..line.inconclusive(&note) });
    } else if let (Some(last), false) = (lines.last_mut(), too_small.is_empty()) {
        last.note = joined(&last.note, &not_judged(&by, &too_small, check.min_positives));
    }
    Ok(lines)
}

/// Row positions by the combined labels of the columns `by`, in order of the labels.
fn slices(check: &SliceCheck, rows: &Labelled, input: &GateInput<'_>) -> Result<BTreeMap<String, Vec<usize>>, GateError> {
    let mut columns = Vec::with_capacity(check.by.len());
    for name in &check.by {
        let known = input.slice_columns.iter().find(|column| column.name == *name);
        let column = known.ok_or_else(|| GateError::NoSliceColumn { column: name.clone() })?;
        let (found, expected) = (column.labels.len(), rows.n_rows());
        if found != expected {
            return Err(GateError::SliceLength { column: name.clone(), found, expected });
        }
        columns.push(column);
    }
    let mut slices: BTreeMap<Vec<&str>, Vec<usize>> = BTreeMap::new();
    for row_idx in 0..rows.n_rows() {
        let labels = columns.iter().map(|column| column.labels[row_idx].as_str()).collect();
        slices.entry(labels).or_default().push(row_idx);
    }
    let named = |(labels, row_idxs): (Vec<&str>, Vec<usize>)| {
        let parts: Vec<String> = columns.iter().zip(labels).map(|(column, label)| format!("{}={label}", column.name)).collect();
        (parts.join(", "), row_idxs)
    };
    Ok(slices.into_iter().map(named).collect())
}

fn not_judged(by: &str, too_small: &[String], min_positives: usize) -> String {
    let named = too_small.iter().take(MAX_NAMED_SLICES).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = if too_small.len() > MAX_NAMED_SLICES { "; …" } else { "" };
    format!("not judged, fewer than {min_positives} positives: {} by {by} ({named}{more})", too_small.len())
}

fn joined(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first}; {second}") }
}

fn serving_lines(file: &GateFile, input: &GateInput<'_>) -> Result<Vec<CheckLine>, GateError> {
    let measured = input.serving;
    let model_mb = measured.model_bytes.map(|bytes| bytes as f64 / 1e6);
    let mut lines = Vec::new();
    for check in &file.serving {
        let limits = [
            ("p99_ms", check.p99_ms, measured.p99_ms),
            ("model_mb", check.model_mb, model_mb),
            ("parity_max_abs", check.parity_max_abs, measured.parity_max_abs),
        ];
        for (what, limit, value) in limits {
            let Some(limit) = limit else { continue };
            let value = value.ok_or(GateError::NotMeasured { what })?;
            let line = CheckLine::new(CheckKind::Serving, what, "≤", limit);
            // NaN is not within any limit.
            let verdict = if value <= limit { Verdict::Pass } else { Verdict::Fail };
            lines.push(CheckLine { verdict, value: Some(value), ..line });
        }
    }
    Ok(lines)
}
