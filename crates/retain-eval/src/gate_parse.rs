//! Reading `gate.toml`: text to a checked [`GateFile`], before anything is measured.
//!
//! Keys are compared with the known ones first, so that a slip of the pen is answered with the nearest key and its line; a
//! misspelt check that is silently skipped is a gate that is open.

use retain_core::nearest;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bootstrap::BootstrapOptions;
use crate::gate_file::{
    Baseline, Beats, Ceiling, Floor, GateFile, GateFileError, MIN_PER_CLASS, NonInferiority, Serving, SliceCheck, SliceLimit,
};
use crate::metrics::Metric;

/// The tables of a gate file with their keys.
const TABLES: [(&str, &[&str]); 7] = [
    ("gate", &["confidence", "resamples", "seed"]),
    ("floor", &["model", "metric", "min"]),
    ("ceiling", &["model", "metric", "max"]),
    ("non_inferiority", &["model", "metric", "margin"]),
    ("beats", &["model", "metric", "baseline", "column"]),
    ("slice", &["model", "by", "metric", "max_abs", "min", "max", "min_positives"]),
    ("serving", &["model", "p99_ms", "model_mb", "parity_max_abs"]),
];

#[derive(Deserialize)]
struct RawFile {
    gate: Option<Spanned<RawGate>>,
    #[serde(default)]
    floor: Vec<Spanned<Floor>>,
    #[serde(default)]
    ceiling: Vec<Spanned<Ceiling>>,
    #[serde(default)]
    non_inferiority: Vec<Spanned<NonInferiority>>,
    #[serde(default)]
    beats: Vec<Spanned<Beats>>,
    #[serde(default)]
    slice: Vec<Spanned<RawSlice>>,
    #[serde(default)]
    serving: Vec<Spanned<Serving>>,
}

#[derive(Deserialize)]
struct RawGate {
    confidence: Option<f64>,
    resamples: Option<i64>,
    seed: Option<u64>,
}

#[derive(Deserialize)]
struct RawSlice {
    model: Option<String>,
    by: Vec<String>,
    metric: Metric,
    max_abs: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    min_positives: Option<i64>,
}

/// Finds the line of a byte position in the file.
struct Lines {
    /// Positions of the line breaks.
    breaks: Vec<usize>,
}

impl GateFile {
    /// Reads and checks the text of a gate file.
    ///
    /// # Errors
    /// [`GateFileError`] with the line, and the nearest known key for one that is not known.
    pub fn parse(text: &str) -> Result<Self, GateFileError> {
        let lines = Lines::of(text);
        check_keys(text, &lines)?;
        let raw: RawFile = toml::from_str(text).map_err(|error| lines.syntax(&error))?;
        let file = Self {
            bootstrap: raw.gate.map_or(Ok(BootstrapOptions::default()), |gate| lines.bootstrap(&gate))?,
            floors: lines.checked(raw.floor, |line, floor| finite(line, "min", floor.min))?,
            ceilings: lines.checked(raw.ceiling, |line, ceiling| finite(line, "max", ceiling.max))?,
            non_inferiority: lines.checked(raw.non_inferiority, |line, check| not_negative(line, "margin", check.margin))?,
            beats: lines.checked(raw.beats, past_has_a_column)?,
            slices: raw.slice.into_iter().map(|slice| lines.slice(slice)).collect::<Result<_, _>>()?,
            serving: lines.checked(raw.serving, serving_has_limits)?,
        };
        if file.n_checks() == 0 { Err(GateFileError::NoChecks) } else { Ok(file) }
    }
}

/// Refuses tables and keys that are not in [`TABLES`]; values are left to the typed reading after it.
fn check_keys(text: &str, lines: &Lines) -> Result<(), GateFileError> {
    let document = DeTable::parse(text).map_err(|error| lines.syntax(&error))?;
    for (name, value) in document.get_ref() {
        let known = TABLES.iter().find(|(table, _)| *table == name.get_ref().as_ref());
        let Some((table, keys)) = known else {
            return Err(lines.unknown(name.get_ref(), name.span().start, String::new(), &TABLES.map(|(table, _)| table)));
        };
        let entries: Vec<_> = match value.get_ref() {
            DeValue::Array(entries) => entries.iter().map(Spanned::get_ref).collect(),
            DeValue::Table(_) if *table != "gate" => {
                let message = format!("`[{table}]` should be `[[{table}]]`: there may be several");
                return Err(GateFileError::Syntax { line: lines.line(name.span().start), message });
            }
            other => vec![other],
        };
        for (key, value) in entries.into_iter().filter_map(DeValue::as_table).flat_map(DeTable::iter) {
            let Some(known) = keys.iter().find(|known| **known == key.get_ref().as_ref()) else {
                return Err(lines.unknown(key.get_ref(), key.span().start, format!(" in `{table}`"), keys));
            };
            check_type(known, value.get_ref(), lines.line(key.span().start))?;
        }
    }
    Ok(())
}

/// Refuses a value of another type than its key's, in words that say what to write.
fn check_type(key: &'static str, value: &DeValue<'_>, line: usize) -> Result<(), GateFileError> {
    let is_text = |value: &DeValue<'_>| matches!(value, DeValue::String(_));
    let (fits, expected) = match key {
        "model" | "metric" | "baseline" | "column" => (is_text(value), "a text in quotes"),
        "by" => {
            let is_list = value.as_array().is_some_and(|columns| columns.iter().all(|column| is_text(column.get_ref())));
            (is_list, "a list of columns such as `[\"plan\"]`")
        }
        "resamples" | "seed" | "min_positives" => (matches!(value, DeValue::Integer(_)), "a whole number"),
        _ => (matches!(value, DeValue::Integer(_) | DeValue::Float(_)), "a number"),
    };
    if fits { Ok(()) } else { Err(GateFileError::Value { line, key, expected, found: written(value) }) }
}

/// A value as it was written, or what it is.
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { breaks: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(position, _)| position).collect() }
    }

    /// The line of a byte position, counted from 1.
    fn line(&self, byte: usize) -> usize {
        self.breaks.partition_point(|&position| position < byte) + 1
    }

    fn syntax(&self, error: &toml::de::Error) -> GateFileError {
        let line = self.line(error.span().map_or(0, |span| span.start));
        GateFileError::Syntax { line, message: error.message().to_owned() }
    }

    fn unknown(&self, key: &str, byte: usize, place: String, known: &[&str]) -> GateFileError {
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of {}", known.join(", ")),
        };
        GateFileError::UnknownKey { line: self.line(byte), key: key.chars().take(40).collect(), place, hint }
    }

    fn checked<T>(
        &self,
        entries: Vec<Spanned<T>>,
        check: impl Fn(usize, &T) -> Result<(), GateFileError>,
    ) -> Result<Vec<T>, GateFileError> {
        let entry = |entry: Spanned<T>| {
            check(self.line(entry.span().start), entry.get_ref())?;
            Ok(entry.into_inner())
        };
        entries.into_iter().map(entry).collect()
    }

    fn bootstrap(&self, gate: &Spanned<RawGate>) -> Result<BootstrapOptions, GateFileError> {
        let (line, raw) = (self.line(gate.span().start), gate.get_ref());
        let default = BootstrapOptions::default();
        let value = |key, expected, found: String| GateFileError::Value { line, key, expected, found };
        let confidence = raw.confidence.unwrap_or(default.confidence);
        if !(0.5..=0.9999).contains(&confidence) {
            return Err(value("confidence", "a number within 0.5 and 0.9999", confidence.to_string()));
        }
        let resamples = raw.resamples.unwrap_or(default.resamples as i64);
        if !(100..=100_000).contains(&resamples) {
            return Err(value("resamples", "a number within 100 and 100000", resamples.to_string()));
        }
        Ok(BootstrapOptions { resamples: resamples as usize, confidence, seed: raw.seed.unwrap_or(default.seed) })
    }

    fn slice(&self, slice: Spanned<RawSlice>) -> Result<SliceCheck, GateFileError> {
        let line = self.line(slice.span().start);
        let RawSlice { model, by, metric, max_abs, min, max, min_positives } = slice.into_inner();
        if by.is_empty() {
            return Err(GateFileError::Limits { line, expected: "`by` of a slice should name at least one column" });
        }
        let limit = match (max_abs, min, max) {
            (Some(limit), None, None) => {
                not_negative(line, "max_abs", limit)?;
                SliceLimit::MaxAbs(limit)
            }
            (None, Some(limit), None) => SliceLimit::Min(limit),
            (None, None, Some(limit)) => SliceLimit::Max(limit),
            _ => return Err(GateFileError::Limits { line, expected: "a slice should have one of `max_abs`, `min` and `max`" }),
        };
        let (SliceLimit::MaxAbs(number) | SliceLimit::Min(number) | SliceLimit::Max(number)) = limit;
        finite(line, "min or max", number)?;
        let least = min_positives.unwrap_or(MIN_PER_CLASS as i64);
        if least < MIN_PER_CLASS as i64 {
            let expected = "at least 30: fewer never pass";
            return Err(GateFileError::Value { line, key: "min_positives", expected, found: least.to_string() });
        }
        Ok(SliceCheck { model, by, metric, limit, min_positives: least as usize })
    }
}

fn finite(line: usize, key: &'static str, number: f64) -> Result<(), GateFileError> {
    let error = || GateFileError::Value { line, key, expected: "a finite number", found: number.to_string() };
    if number.is_finite() { Ok(()) } else { Err(error()) }
}

fn not_negative(line: usize, key: &'static str, number: f64) -> Result<(), GateFileError> {
    let error = || GateFileError::Value { line, key, expected: "a number from 0", found: number.to_string() };
    if number >= 0.0 && number.is_finite() { Ok(()) } else { Err(error()) }
}

fn past_has_a_column(line: usize, beats: &Beats) -> Result<(), GateFileError> {
    match (beats.baseline, &beats.column) {
        (Baseline::Past, None) => {
            let expected = "[[beats]] with `baseline = \"past\"` should name the `column` that predicts by the past";
            Err(GateFileError::Limits { line, expected })
        }
        (Baseline::BaseRate, Some(_)) => {
            Err(GateFileError::Limits { line, expected: "`column` of [[beats]] needs `baseline = \"past\"`" })
        }
        _ => Ok(()),
    }
}

fn serving_has_limits(line: usize, serving: &Serving) -> Result<(), GateFileError> {
    let limits = [("p99_ms", serving.p99_ms), ("model_mb", serving.model_mb), ("parity_max_abs", serving.parity_max_abs)];
    if limits.iter().all(|(_, limit)| limit.is_none()) {
        let expected = "[[serving]] should have at least one of `p99_ms`, `model_mb` and `parity_max_abs`";
        return Err(GateFileError::Limits { line, expected });
    }
    limits.into_iter().try_for_each(|(key, limit)| limit.map_or(Ok(()), |limit| not_negative(line, key, limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate_file::GateNeeds;

    const WHOLE: &str = r#"
[gate]
confidence = 0.9
resamples = 500
seed = 11
[[floor]]
model = "churn"
metric = "roc_auc"
min = 0.83
[[ceiling]]
metric = "ece_10"
max = 0.03
[[non_inferiority]]
metric = "log_loss"
margin = 0.002
[[beats]]
metric = "brier_score"
[[slice]]
by = ["plan", "country"]
metric = "calibration_in_the_large"
max_abs = 0.02
min_positives = 50
[[serving]]
p99_ms = 1
parity_max_abs = 1e-9
"#;

    #[test]
    fn a_whole_file_is_read() {
        let file = GateFile::parse(WHOLE).unwrap();
        assert_eq!(file.bootstrap, BootstrapOptions { resamples: 500, confidence: 0.9, seed: 11 });
        assert_eq!((file.n_checks(), file.slices[0].limit, file.slices[0].min_positives), (6, SliceLimit::MaxAbs(0.02), 50));
        assert_eq!(file.floors[0], Floor { model: Some("churn".into()), metric: Metric::RocAuc, min: 0.83 });
        assert_eq!((file.serving[0].p99_ms, file.beats[0].baseline), (Some(1.0), Baseline::BaseRate));
        let needs = file.needs();
        assert_eq!(
            (needs.metrics, needs.slice_columns),
            (vec![Metric::RocAuc, Metric::Ece10], vec!["country".into(), "plan".into()])
        );
        assert!(needs.data && needs.champion && needs.base_rate && needs.p99 && needs.parity && !needs.model_size);
    }

    #[test]
    fn a_file_of_floors_needs_no_data() {
        let needs = GateFile::parse("floor = [{ metric = 'roc_auc', min = 0.8 }]").unwrap().needs();
        assert_eq!(needs, GateNeeds { metrics: vec![Metric::RocAuc], ..GateNeeds::default() });
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(GateFile::parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn slips_are_answered_with_line_and_nearest_key() {
        refused("[gate]\n\n[[flor]]\nmetric='roc_auc'", "line 3: unknown key `flor`, did you mean `floor`?");
        refused("[[floor]]\nmetric='roc_auc'\nmim=0.8", "line 3: unknown key `mim` in `floor`, did you mean `min`?");
        refused(
            "[[floor]]\nmetric='roc_auc'\nmin=1\n[gate]\nmultiplicity='holm'",
            "line 5: unknown key `multiplicity` in `gate`, expected one of confidence, resamples, seed",
        );
        refused("[[floor]]\nmetric='rocauc'\nmin=0.8", "line 2: unknown metric `rocauc`, did you mean `roc_auc`?");
        let coin = "line 3: unknown variant `coin`, expected one of `base_rate`, `constant`, `kaplan_meier`, `past`";
        refused("[[beats]]\nmetric='roc_auc'\nbaseline='coin'", coin);
    }

    #[test]
    fn values_of_another_type_are_answered_in_words() {
        refused("[[floor]]\nmetric='roc_auc'\nmin='0.7'", "line 3: `min` should be a number, found `\"0.7\"`");
        refused("[floor]\nmetric='roc_auc'\nmin=0.7", "line 1: `[floor]` should be `[[floor]]`: there may be several");
        refused(
            "[[slice]]\nby='plan'\nmetric='ece_10'\nmax=1",
            "line 2: `by` should be a list of columns such as `[\"plan\"]`, found `\"plan\"`",
        );
        refused("[[floor]]\nmetric=1\nmin=0.7", "line 2: `metric` should be a text in quotes, found `1`");
    }

    #[test]
    fn the_past_is_a_column() {
        let file =
            GateFile::parse("[[beats]]\nmetric='mae'\nbaseline='past'\ncolumn='spend_90d'\n[[beats]]\nmetric='mae'").unwrap();
        assert_eq!((file.beats[0].baseline, file.beats[1].baseline), (Baseline::Past, Baseline::BaseRate));
        let needs = file.needs();
        assert_eq!((needs.data, needs.base_rate, needs.past_columns), (true, true, vec!["spend_90d".to_owned()]));
        assert!(!GateFile::parse("[[beats]]\nmetric='mae'\nbaseline='past'\ncolumn='spend_90d'").unwrap().needs().base_rate);
        refused(
            "[[beats]]\nmetric='mae'\nbaseline='past'",
            "line 1: [[beats]] with `baseline = \"past\"` should name the `column` that predicts by the past",
        );
        refused(
            "[[beats]]\nmetric='mae'\nbaseline='constant'\ncolumn='a'",
            "line 1: `column` of [[beats]] needs `baseline = \"past\"`",
        );
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        refused("[gate]\nconfidence=95", "line 1: `confidence` should be a number within 0.5 and 0.9999, found `95`");
        refused("[gate]\nresamples=-1", "line 1: `resamples` should be a number within 100 and 100000, found `-1`");
        refused("\n[[floor]]\nmetric='roc_auc'\nmin=nan", "line 2: `min` should be a finite number, found `NaN`");
        refused("[[ceiling]]\nmetric='ece_10'\nmax=inf", "line 1: `max` should be a finite number, found `inf`");
        refused("[[non_inferiority]]\nmetric='ece_10'\nmargin=-0.1", "line 1: `margin` should be a number from 0, found `-0.1`");
        refused(
            "[[serving]]\nmodel='a'",
            "line 1: [[serving]] should have at least one of `p99_ms`, `model_mb` and `parity_max_abs`",
        );
        let slice = "[[slice]]\nby=['a']\nmetric='ece_10'\n";
        refused(slice, "line 1: a slice should have one of `max_abs`, `min` and `max`");
        refused(&format!("{slice}max=1\nmin=0"), "line 1: a slice should have one of `max_abs`, `min` and `max`");
        refused(
            &format!("{slice}max=1\nmin_positives=5"),
            "line 1: `min_positives` should be at least 30: fewer never pass, found `5`",
        );
        refused("[[slice]]\nby=[]\nmetric='ece_10'\nmax=1", "line 1: `by` of a slice should name at least one column");
    }

    #[test]
    fn a_file_without_checks_is_an_open_gate_and_refused() {
        for text in ["", "[gate]\nseed=1", "floor=[]"] {
            assert_eq!(GateFile::parse(text).unwrap_err(), GateFileError::NoChecks);
        }
    }

    #[test]
    fn broken_and_hostile_texts_are_errors() {
        let deep = format!("floor={}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["[[floor", "floor=1", "[floor]\nmetric='roc_auc'\nmin=1", "gate=1", "floor=['x']", "\u{0}", &deep] {
            assert!(
                matches!(GateFile::parse(text).unwrap_err(), GateFileError::Syntax { .. }),
                "{}",
                &text[..text.len().min(20)]
            );
        }
    }
}
