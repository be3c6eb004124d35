//! Batches, column by column: checks the columns once, then scores block after block with the memory of one block.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use retain_core::{ColumnKind, Day, FeatureSpec, FeatureValue, ValueError, ValueNote};
use retain_proto::v1;
use retain_proto::v1::feature_column::Values;
use retain_score::Prediction;

use super::arrow::{ArrowColumn, ArrowRequest};
use super::{QUOTED_CHARS, age_seconds, band, check_names, model_version, rejects_unknown, value_reason, warning_code};
use crate::arrow_stream::{FIELD, column_path};
use crate::config::Config;
use crate::customers::{StoredCells, StoredRow, unknown_customer};
use crate::models::LiveModel;
use crate::status::{CallError, Violation, Violations, check_count};
use crate::text::printable;

/// Rows that are encoded before they are scored: enough to keep the scorer busy, few enough to stay in the cache.
const BLOCK_ROWS: usize = 256;

/// Where a request has its columns, to name what is wrong with them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// `columns` of a batch.
    Columns,
    /// `arrow_ipc`, by their names.
    Arrow,
    /// `inputs`, one tensor each.
    Inputs,
    /// One tensor of `inputs`, which has the columns row after row.
    Matrix {
        /// Elements of a row.
        n_columns: usize,
    },
}

/// The columns of a request, checked: each has a name that stands once and as many values as there are rows.
pub(crate) struct Columns {
    n_rows: usize,
    place: Place,
    list: Vec<Column>,
}

struct Column {
    name: String,
    values: Option<Source>,
    /// One bit per row, 1 for missing; empty when none is marked.
    missing: Vec<u64>,
}

/// What the values of a column are.
enum Source {
    Wire(Values),
    Arrow(ArrowColumn),
}

/// The rows that the server's table has of a batch's customers.
pub(crate) struct StoredRows<'v> {
    /// Whom the rows are about.
    pub(crate) is_named: Vec<bool>,
    pub(crate) rows: Vec<Option<StoredRow<'v>>>,
    /// The moment that all dates are counted to, where the request says it; each row's own otherwise.
    pub(crate) observed: Option<Day>,
}

/// Which rows are encoded, and by what.
struct Encoding<'e> {
    block: Range<usize>,
    features: &'e [FeatureSpec],
    stored: Option<&'e StoredFeatures<'e>>,
    observed: Option<Day>,
}

/// A feature of a model that has a column or is taken from stored rows, and what was found there.
struct Planned {
    feature_idx: usize,
    /// Position of the column; none: stored rows have it.
    position: Option<usize>,
    notes: Notes,
}

/// Stored rows as one model reads them.
struct StoredFeatures<'s> {
    rows: &'s StoredRows<'s>,
    /// The first of the rows, which says where all have the model's features; none where there is no stored row.
    cells: Option<StoredCells<'s>>,
}

/// What is unusual in one feature: rows by kind of note, rising.
#[derive(Default)]
struct Notes {
    missing: Vec<u32>,
    unseen: Vec<u32>,
    out_of_range: Vec<u32>,
}

impl Columns {
    /// Takes the columns out of a request; what is wrong with a column as a whole is noted as a violation.
    ///
    /// # Errors
    /// [`CallError::Invalid`] when there are more rows or columns than the server takes.
    pub(crate) fn take(
        request: &mut v1::PredictBatchRequest,
        models: &[&Arc<LiveModel>],
        place: Place,
        config: &Config,
        violations: &mut Violations,
    ) -> Result<Self, CallError> {
        let (n_rows, columns) = (request.customer_ids.len(), std::mem::take(&mut request.columns));
        check_count("customer_ids", n_rows, config.max_batch_rows)?;
        check_count("columns", columns.len(), config.max_features)?;
        if rejects_unknown(request.unknown_feature_policy, violations) {
            let names = columns.iter().enumerate().map(|(position, column)| (column.name.as_str(), position));
            check_names(names, models, |_, position| place.of(position, "name"), violations);
        }
        check_duplicates(&columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), place, violations);
        let check = |(position, column)| Column::check(position, column, n_rows, violations);
        Ok(Self { n_rows, place, list: columns.into_iter().enumerate().map(check).collect() })
    }

    /// Takes the columns of an Arrow stream; what is wrong with a name is noted as a violation.
    pub(crate) fn of_arrow(
        request: &mut ArrowRequest,
        unknown_feature_policy: i32,
        models: &[&Arc<LiveModel>],
        violations: &mut Violations,
    ) -> Self {
        let (n_rows, place) = (request.customer_ids.len(), Place::Arrow);
        let names: Vec<&str> = request.columns.iter().map(|(name, _)| name.as_str()).collect();
        if rejects_unknown(unknown_feature_policy, violations) {
            check_names(names.iter().copied().zip(0..), models, |name, _| column_path(name), violations);
        }
        check_duplicates(&names, place, violations);
        let column = |(name, values)| Column { name, values: Some(Source::Arrow(values)), missing: Vec::new() };
        Self { n_rows, place, list: std::mem::take(&mut request.columns).into_iter().map(column).collect() }
    }

    /// The features of a model that have a column with values, in the model's order; with stored rows also those without any column.
    fn plan(&self, model: &LiveModel, with_stored: bool) -> Vec<Planned> {
        let schema = model.scorer.schema();
        // None: no column; none within: a column without values, which is missing in every row.
        let mut sources: Vec<Option<Option<usize>>> = vec![None; schema.n_features()];
        for (position, column) in self.list.iter().enumerate() {
            if let Some(feature_idx) = schema.feature_idx(&column.name) {
                sources[feature_idx] = Some(column.values.is_some().then_some(position));
            }
        }
        let planned = |(feature_idx, source)| {
            let position = match source {
                Some(Some(position)) => Some(position),
                None if with_stored => None,
                Some(None) | None => return None,
            };
            Some(Planned { feature_idx, position, notes: Notes::default() })
        };
        sources.into_iter().enumerate().filter_map(planned).collect()
    }

    /// Encodes the rows of a block, feature by feature, and tells of each row the first value that does not fit; `rows` has
    /// them row after row, all missing.
    fn encode(&self, encoding: &Encoding<'_>, plan: &mut [Planned], rows: &mut [f64], errors: &mut [Option<Violation>]) {
        let Encoding { block, features, .. } = encoding;
        for Planned { feature_idx, position, notes } in plan {
            let feature = &features[*feature_idx];
            let places = rows[*feature_idx..].iter_mut().step_by(features.len());
            let usual = position.and_then(|position| self.list[position].usual_numbers(feature));
            for ((row_idx, place), error) in block.clone().zip(places).zip(&mut *errors) {
                if let Some((numbers, range)) = &usual
                    && range.contains(&numbers[row_idx])
                {
                    *place = numbers[row_idx];
                    continue;
                }
                match self.encode_value(encoding, row_idx, *feature_idx, *position) {
                    Ok((encoded, note)) => {
                        *place = encoded;
                        notes.add(note, row_idx);
                    }
                    Err(found) => {
                        error.get_or_insert(found);
                    }
                }
            }
        }
    }

    fn encode_value(
        &self,
        Encoding { features, stored, observed, .. }: &Encoding<'_>,
        row_idx: usize,
        feature_idx: usize,
        position: Option<usize>,
    ) -> Result<(f64, ValueNote), Violation> {
        let feature = &features[feature_idx];
        if let Some(position) = position {
            let wrong =
                |error: ValueError| Violation::new(self.path(position, row_idx), value_reason(&error), &error.to_string());
            return feature.encode(self.list[position].value(row_idx), *observed).map_err(wrong);
        }
        let (value, observed) = stored.map_or((FeatureValue::Missing, None), |stored| stored.value(row_idx, feature_idx));
        feature.encode(value, observed).map_err(|error| stored_violation(row_idx, feature, &error))
    }
}

impl Columns {
    fn path(&self, position: usize, row: usize) -> String {
        self.place.of_value(&self.list[position].name, position, row)
    }
}

fn stored_violation(row_idx: usize, feature: &FeatureSpec, error: &ValueError) -> Violation {
    let name = printable(&feature.name, QUOTED_CHARS);
    Violation::new(format!("customer_ids[{row_idx}]"), value_reason(error), &format!("has a stored row whose `{name}` {error}"))
}

impl StoredRows<'_> {
    /// How old each row is, in seconds; NaN where there is none.
    pub(crate) fn ages(&self, now: Day) -> Vec<f64> {
        self.rows.iter().map(|row| row.map_or(f64::NAN, |row| age_seconds(row.observed(), now))).collect()
    }

    fn read_by<'s>(&'s self, model: &Arc<LiveModel>) -> StoredFeatures<'s> {
        let first = self.rows.iter().copied().flatten().next();
        StoredFeatures { rows: self, cells: first.and_then(|row| row.read_by(model)) }
    }

    /// Rows of customers whom the table does not have, where nothing else says anything of them.
    fn unknown(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).filter(|&row| self.is_named[row] && self.rows[row].is_none())
    }
}

impl StoredFeatures<'_> {
    fn value(&self, row_idx: usize, feature_idx: usize) -> (FeatureValue<'_>, Option<Day>) {
        let Some((row, cells)) = self.rows.rows[row_idx].zip(self.cells.as_ref()) else { return (FeatureValue::Missing, None) };
        (row.value(cells, feature_idx), self.rows.observed.or_else(|| Some(row.observed())))
    }
}

fn check_duplicates(names: &[&str], place: Place, violations: &mut Violations) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| names[a].cmp(names[b]).then(a.cmp(&b)));
    for pair in order.windows(2) {
        let (first, again) = (pair[0], pair[1]);
        if names[first] == names[again] {
            violations.push(|| {
                let name = printable(names[again], QUOTED_CHARS);
                Violation::new(
                    place.of(again, "name"),
                    "DUPLICATE_COLUMN",
                    &format!("`{name}` is the name of {} too", place.column(first)),
                )
            });
        }
    }
}

impl Place {
    fn column(self, position: usize) -> String {
        match self {
            Self::Columns => format!("columns[{position}]"),
            Self::Arrow => format!("{FIELD}.columns[{position}]"),
            Self::Inputs => format!("inputs[{position}]"),
            Self::Matrix { .. } => "inputs[0]".to_owned(),
        }
    }

    fn of(self, position: usize, what: &str) -> String {
        format!("{}.{what}", self.column(position))
    }

    fn of_value(self, name: &str, position: usize, row: usize) -> String {
        match self {
            Self::Arrow => format!("{}[{row}]", column_path(name)),
            Self::Columns => self.of(position, &format!("values[{row}]")),
            Self::Inputs => self.of(position, &format!("contents[{row}]")),
            Self::Matrix { n_columns } => self.of(position, &format!("contents[{}]", row * n_columns + position)),
        }
    }
}

impl Column {
    fn check(position: usize, column: v1::FeatureColumn, n_rows: usize, violations: &mut Violations) -> Self {
        let found = match &column.values {
            None => n_rows,
            Some(Values::Numbers(numbers)) => numbers.values.len(),
            Some(Values::Texts(texts)) => texts.values.len(),
            Some(Values::Booleans(booleans)) => booleans.values.len(),
        };
        if found != n_rows {
            let description = format!("should have one value for each of the {n_rows} customer_ids, found {found}");
            violations.push(|| Violation::new(format!("columns[{position}].values"), "COLUMN_LENGTH", &description));
        }
        let mut missing = if column.missing.is_empty() { Vec::new() } else { vec![0_u64; n_rows.div_ceil(64)] };
        for (entry, &row) in column.missing.iter().enumerate() {
            if (row as usize) < n_rows {
                missing[row as usize / 64] |= 1 << (row % 64);
            } else {
                let description = format!("is row {row}, and there are {n_rows} rows counted from 0");
                violations
                    .push(|| Violation::new(format!("columns[{position}].missing[{entry}]"), "ROW_OUT_OF_RANGE", &description));
            }
        }
        Self { name: column.name, values: column.values.map(Source::Wire), missing }
    }

    /// The column's numbers, and those among them that are what they are encoded as, without a note: most, most often.
    fn usual_numbers(&self, feature: &FeatureSpec) -> Option<(&[f64], RangeInclusive<f64>)> {
        let Some(Source::Wire(Values::Numbers(numbers))) = &self.values else { return None };
        let is_plain = feature.kind == ColumnKind::Number && !feature.missing.has_numbers() && self.missing.is_empty();
        // No infinity, whatever the feature's own limits.
        let range = feature.min.unwrap_or(f64::MIN).max(f64::MIN)..=feature.max.unwrap_or(f64::MAX).min(f64::MAX);
        is_plain.then_some((&numbers.values, range))
    }

    fn value(&self, row: usize) -> FeatureValue<'_> {
        if self.missing.get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1) {
            return FeatureValue::Missing;
        }
        match &self.values {
            None => FeatureValue::Missing,
            Some(Source::Arrow(column)) => column.value(row),
            Some(Source::Wire(Values::Numbers(numbers))) => FeatureValue::Number(numbers.values[row]),
            Some(Source::Wire(Values::Texts(texts))) => FeatureValue::Text(&texts.values[row]),
            Some(Source::Wire(Values::Booleans(booleans))) => FeatureValue::Boolean(booleans.values[row]),
        }
    }
}

impl Notes {
    fn add(&mut self, note: ValueNote, row: usize) {
        match note {
            ValueNote::Usual => {}
            ValueNote::Missing => self.missing.push(row as u32),
            ValueNote::Unseen => self.unseen.push(row as u32),
            ValueNote::OutOfRange => self.out_of_range.push(row as u32),
        }
    }
}

/// The answers for a batch.
pub(crate) struct ScoredBatch {
    /// What is wrong with each row, the first thing found; none where it was scored.
    pub(crate) errors: Vec<Option<Violation>>,
    /// One per model.
    pub(crate) predictions: Vec<v1::BatchPrediction>,
}

/// Scores every row by every model. A row that one model cannot read is refused for all, and told once.
pub(crate) fn score_batch(
    columns: &Columns,
    stored: Option<&StoredRows<'_>>,
    models: &[&Arc<LiveModel>],
    observed: Option<Day>,
) -> ScoredBatch {
    let mut errors: Vec<Option<Violation>> = vec![None; columns.n_rows];
    if let Some(stored) = stored.filter(|_| columns.list.is_empty()) {
        stored.unknown().for_each(|row| errors[row] = Some(unknown_customer(format!("customer_ids[{row}]"))));
    }
    let scored: Vec<_> = models.iter().map(|model| score_model(columns, stored, model, observed, &mut errors)).collect();
    let answers = models.iter().zip(scored);
    let predictions = answers.map(|(model, (predictions, plan))| batch_prediction(model, &predictions, plan, &errors)).collect();
    ScoredBatch { errors, predictions }
}

impl From<ScoredBatch> for v1::PredictBatchResponse {
    fn from(ScoredBatch { errors, predictions }: ScoredBatch) -> Self {
        let status = |error: &Option<Violation>| if error.is_some() { v1::RowStatus::Invalid } else { v1::RowStatus::Ok };
        let row_statuses = errors.iter().map(|error| status(error).into()).collect();
        let row_error = |(row, error): (u32, Option<Violation>)| {
            let Violation { field, reason, description } = error?;
            Some(v1::RowError { row, field, reason: reason.to_owned(), description })
        };
        let row_errors = (0..).zip(errors).filter_map(row_error).collect();
        Self { row_statuses, row_errors, predictions, ..Self::default() }
    }
}

fn score_model(
    columns: &Columns,
    stored: Option<&StoredRows<'_>>,
    model: &Arc<LiveModel>,
    observed: Option<Day>,
    errors: &mut [Option<Violation>],
) -> (Vec<Prediction>, Vec<Planned>) {
    let features = &model.scorer.schema().features;
    let mut plan = columns.plan(model, stored.is_some());
    let stored = stored.map(|stored| stored.read_by(model));
    let mut predictions = Vec::with_capacity(columns.n_rows);
    let (mut rows, mut block) = (Vec::new(), Vec::new());
    for (block_idx, errors) in errors.chunks_mut(BLOCK_ROWS).enumerate() {
        let first = block_idx * BLOCK_ROWS;
        rows.clear();
        rows.resize(errors.len() * features.len(), f64::NAN);
        let encoding = Encoding { block: first..first + errors.len(), features, stored: stored.as_ref(), observed };
        columns.encode(&encoding, &mut plan, &mut rows, errors);
        model.scorer.predict_rows(&rows, &mut block);
        let scored = (first..).zip(rows.chunks_exact(features.len())).zip(&block).zip(&*errors);
        let scored =
            scored.filter(|(_, error)| error.is_none()).map(|(((position, row), prediction), _)| (position, row, prediction));
        model.observed.rows(columns.n_rows, scored);
        predictions.append(&mut block);
    }
    (predictions, plan)
}

fn batch_prediction(
    model: &LiveModel,
    predictions: &[Prediction],
    plan: Vec<Planned>,
    errors: &[Option<Violation>],
) -> v1::BatchPrediction {
    let mut answer = v1::BatchPrediction {
        model: Some(model_version(model.scorer.manifest())),
        probabilities: Vec::with_capacity(predictions.len()),
        bands: Vec::with_capacity(predictions.len()),
        margins: Vec::with_capacity(predictions.len()),
        warnings: batch_warnings(&model.scorer.schema().features, plan, errors),
        expected_values: Vec::new(),
    };
    for (prediction, error) in predictions.iter().zip(errors) {
        let (probability, margin, of) = match error {
            None => (prediction.probability, prediction.margin, band(model.scorer.band(prediction))),
            Some(_) => (f64::NAN, f64::NAN, v1::Band::Unspecified),
        };
        answer.probabilities.push(probability);
        answer.margins.push(margin);
        answer.bands.push(of.into());
        if let Some(expected_value) = prediction.expected_value {
            answer.expected_values.push(if error.is_some() { f64::NAN } else { expected_value });
        }
    }
    answer
}

fn batch_warnings(features: &[FeatureSpec], plan: Vec<Planned>, errors: &[Option<Violation>]) -> Vec<v1::BatchWarning> {
    let n_scored = errors.iter().filter(|error| error.is_none()).count();
    let mut warnings = Vec::new();
    if n_scored == 0 {
        return warnings;
    }
    let mut plan = plan.into_iter().peekable();
    for (feature_idx, feature) in features.iter().enumerate() {
        let mut warn = |note, rows| {
            let warning = |code: v1::WarningCode| v1::BatchWarning { code: code.into(), feature: feature.name.clone(), rows };
            warnings.extend(warning_code(note).map(warning));
        };
        let Some(Planned { notes, .. }) = plan.next_if(|planned| planned.feature_idx == feature_idx) else {
            // No column: missing in every row.
            warn(ValueNote::Missing, Vec::new());
            continue;
        };
        for (note, mut rows) in
            [(ValueNote::Missing, notes.missing), (ValueNote::Unseen, notes.unseen), (ValueNote::OutOfRange, notes.out_of_range)]
        {
            rows.retain(|&row| errors[row as usize].is_none());
            if rows.len() == n_scored {
                rows.clear();
                warn(note, rows);
            } else if !rows.is_empty() {
                warn(note, rows);
            }
        }
    }
    warnings
}
