//! Batches, column by column: checks the columns once, then scores block after block with the memory of one block.

use std::sync::Arc;

use retain_core::{ColumnKind, Day, FeatureSpec, FeatureValue, ValueError, ValueNote};
use retain_proto::v1;
use retain_proto::v1::feature_column::Values;
use retain_score::Prediction;

use super::arrow::{ArrowColumn, ArrowRequest};
use super::{QUOTED_CHARS, age_seconds, alias, band, check_names, model_version, rejects_unknown, value_reason, warning_code};
use crate::arrow_stream::{FIELD, column_path};
use crate::config::Config;
use crate::customers::{StoredCells, StoredRow, unknown_customer};
use crate::models::{Alias, Asked, LiveModel};
use crate::prediction_log::PredictedRows;
use crate::status::{CallError, Violation, Violations, check_count};
use crate::text::printable;

/// Rows that are encoded before they are scored: enough to keep the scorer busy, few enough to stay in the cache.
const BLOCK_ROWS: usize = 256;
/// Rows that are handed to the log at once.
const LOGGED_ROWS: usize = 1_024;

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
    /// Whom each row is about.
    customer_ids: Vec<String>,
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
    rows: &'e [u32],
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
        models: &[Asked<'_>],
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
        let list = columns.into_iter().enumerate().map(check).collect();
        Ok(Self { customer_ids: std::mem::take(&mut request.customer_ids), place, list })
    }

    /// How many customers it is about.
    pub(crate) fn n_rows(&self) -> usize {
        self.customer_ids.len()
    }

    /// Whom each row is about.
    pub(crate) fn customer_ids(&self) -> &[String] {
        &self.customer_ids
    }

    /// Memory that the columns take, about.
    pub(crate) fn bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let column = |column: &Column| {
            let values = match &column.values {
                None => 0,
                Some(Source::Wire(Values::Numbers(numbers))) => size_of_val(&numbers.values[..]),
                Some(Source::Wire(Values::Texts(list))) => texts(&list.values),
                Some(Source::Wire(Values::Booleans(booleans))) => booleans.values.len(),
                Some(Source::Arrow(column)) => column.bytes(),
            };
            size_of::<Column>() + column.name.len() + size_of_val(&column.missing[..]) + values
        };
        texts(&self.customer_ids) + self.list.iter().map(column).sum::<usize>()
    }

    /// Takes the columns of an Arrow stream; what is wrong with a name is noted as a violation.
    pub(crate) fn of_arrow(
        request: &mut ArrowRequest,
        unknown_feature_policy: i32,
        models: &[Asked<'_>],
        violations: &mut Violations,
    ) -> Self {
        let place = Place::Arrow;
        let names: Vec<&str> = request.columns.iter().map(|(name, _)| name.as_str()).collect();
        if rejects_unknown(unknown_feature_policy, violations) {
            check_names(names.iter().copied().zip(0..), models, |name, _| column_path(name), violations);
        }
        check_duplicates(&names, place, violations);
        let column = |(name, values)| Column { name, values: Some(Source::Arrow(values)), missing: Vec::new() };
        let list = std::mem::take(&mut request.columns).into_iter().map(column).collect();
        Self { customer_ids: std::mem::take(&mut request.customer_ids), place, list }
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

    /// Encodes some rows, feature by feature, and tells of each row the first value that does not fit; `encoded` has them row after
    /// row, all missing, and `errors` is of all rows.
    fn encode(&self, encoding: &Encoding<'_>, plan: &mut [Planned], encoded: &mut [f64], errors: &mut [Option<Violation>]) {
        let Encoding { rows, features, .. } = encoding;
        for Planned { feature_idx, position, notes } in plan {
            let feature = &features[*feature_idx];
            let places = encoded[*feature_idx..].iter_mut().step_by(features.len());
            let usual = position.and_then(|position| self.list[position].usual_numbers(feature));
            for (row_idx, place) in rows.iter().map(|&row| row as usize).zip(places) {
                if let Some(number) = usual.as_ref().and_then(|usual| usual.number(row_idx)) {
                    *place = number;
                    continue;
                }
                match self.encode_value(encoding, row_idx, *feature_idx, *position) {
                    Ok((encoded, note)) => {
                        *place = encoded;
                        notes.add(note, row_idx);
                    }
                    Err(found) => {
                        errors[row_idx].get_or_insert(found);
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

    /// The column's numbers where the feature takes them as they are.
    fn usual_numbers(&self, feature: &FeatureSpec) -> Option<UsualNumbers<'_>> {
        let Some(Source::Wire(Values::Numbers(numbers))) = &self.values else { return None };
        if feature.kind != ColumnKind::Number || feature.missing.has_numbers() {
            return None;
        }
        // No infinity, whatever the feature's own limits.
        let (min, max) = (feature.min.unwrap_or(f64::MIN).max(f64::MIN), feature.max.unwrap_or(f64::MAX).min(f64::MAX));
        Some(UsualNumbers { numbers: &numbers.values, missing: &self.missing, min, max })
    }

    fn value(&self, row: usize) -> FeatureValue<'_> {
        if is_marked(&self.missing, row) {
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

/// Numbers that are what they are encoded as, without a note: most, most often.
struct UsualNumbers<'c> {
    numbers: &'c [f64],
    missing: &'c [u64],
    min: f64,
    max: f64,
}

impl UsualNumbers<'_> {
    #[inline]
    fn number(&self, row: usize) -> Option<f64> {
        let number = self.numbers[row];
        let is_usual = number >= self.min && number <= self.max && !is_marked(self.missing, row);
        is_usual.then_some(number)
    }
}

#[inline]
fn is_marked(missing: &[u64], row: usize) -> bool {
    missing.get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
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
    /// What is to be logged of it.
    pub(crate) predicted: Vec<(Arc<LiveModel>, Option<Alias>, PredictedRows)>,
    /// What is wrong with each row, the first thing found; none where it was scored.
    pub(crate) errors: Vec<Option<Violation>>,
    /// One per model.
    pub(crate) predictions: Vec<v1::BatchPrediction>,
}

/// What one version says of some of the rows.
struct Scored<'m> {
    model: &'m Arc<LiveModel>,
    alias: Option<Alias>,
    /// The rows, rising.
    rows: Vec<u32>,
    /// The rows' values, one after another, where they are to be logged.
    values: Vec<f64>,
    /// One for each of the rows.
    predictions: Vec<Prediction>,
    plan: Vec<Planned>,
}

/// Where values come from beside the columns, and whether they are kept.
#[derive(Clone, Copy)]
struct Scoring<'s> {
    stored: Option<&'s StoredRows<'s>>,
    observed: Option<Day>,
    is_logged: bool,
    /// Whether the predictions are given to somebody: a shadow's are not.
    is_answered: bool,
}

/// Scores every row by every model, by the version that answers its customer. A row that one model cannot read is refused for all, and
/// told once.
pub(crate) fn score_batch(
    columns: &Columns,
    stored: Option<&StoredRows<'_>>,
    models: &[Asked<'_>],
    observed: Option<Day>,
    is_logged: bool,
) -> ScoredBatch {
    let mut errors: Vec<Option<Violation>> = vec![None; columns.n_rows()];
    if let Some(stored) = stored.filter(|_| columns.list.is_empty()) {
        stored.unknown().for_each(|row| errors[row] = Some(unknown_customer(format!("customer_ids[{row}]"))));
    }
    let scoring = Scoring { stored, observed, is_logged, is_answered: true };
    let scored: Vec<_> = models.iter().map(|asked| score_asked(columns, asked, scoring, &mut errors)).collect();
    let mut predicted = Vec::new();
    for part in scored.iter().flatten().filter(|_| is_logged) {
        part.each_logged(columns, &errors, |rows| predicted.push((part.model.clone(), part.alias, rows)));
    }
    let answers = models.iter().zip(scored);
    let predictions = answers.map(|(asked, parts)| batch_prediction(asked, parts, &errors)).collect();
    ScoredBatch { predicted, errors, predictions }
}

/// Scores every row that one model can read, for the log alone; returns how many these are.
pub(crate) fn score_alone(
    columns: &Columns,
    stored: Option<&StoredRows<'_>>,
    model: &Arc<LiveModel>,
    observed: Option<Day>,
    each: impl FnMut(PredictedRows),
) -> usize {
    let mut errors: Vec<Option<Violation>> = vec![None; columns.n_rows()];
    let rows = (0..columns.n_rows() as u32).collect();
    let scoring = Scoring { stored, observed, is_logged: true, is_answered: false };
    let scored = score_model(columns, (model, None), rows, scoring, &mut errors);
    scored.each_logged(columns, &errors, each);
    errors.iter().filter(|error| error.is_none()).count()
}

impl Scored<'_> {
    /// The rows that were scored, some thousand at a time.
    fn each_logged(&self, columns: &Columns, errors: &[Option<Violation>], mut each: impl FnMut(PredictedRows)) {
        let n_features = self.model.scorer.schema().n_features();
        for (block, rows) in self.rows.chunks(LOGGED_ROWS).enumerate() {
            let (mut customer_ids, mut values, mut predictions) = (Vec::new(), Vec::new(), Vec::new());
            for (&row, at) in rows.iter().zip(block * LOGGED_ROWS..) {
                if errors[row as usize].is_none() {
                    customer_ids.push(columns.customer_ids[row as usize].clone());
                    values.extend_from_slice(&self.values[at * n_features..(at + 1) * n_features]);
                    predictions.push(self.predictions[at]);
                }
            }
            if !predictions.is_empty() {
                each(PredictedRows::Many { customer_ids, values, predictions });
            }
        }
    }
}

/// One part for the champion, or whatever version was named, and one for the challenger where it has rows.
fn score_asked<'m>(
    columns: &Columns,
    asked: &Asked<'m>,
    scoring: Scoring<'_>,
    errors: &mut [Option<Violation>],
) -> Vec<Scored<'m>> {
    if asked.challenger.is_none() {
        let rows = (0..columns.n_rows() as u32).collect();
        return vec![score_model(columns, (asked.model, asked.alias), rows, scoring, errors)];
    }
    let rows = (0_u32..).zip(&columns.customer_ids);
    let (challenged, rows): (Vec<_>, Vec<_>) = rows.partition(|(_, customer_id)| asked.is_challenged(customer_id));
    let challenger = asked.challenger.map(|model| (model, Some(Alias::Challenger)));
    let mut parts = Vec::new();
    for (version, rows) in [(Some((asked.model, asked.alias)), rows), (challenger, challenged)] {
        if let Some(version) = version.filter(|_| !rows.is_empty()) {
            let rows = rows.into_iter().map(|(row, _)| row).collect();
            parts.push(score_model(columns, version, rows, scoring, errors));
        }
    }
    parts
}

impl From<ScoredBatch> for v1::PredictBatchResponse {
    fn from(ScoredBatch { errors, predictions, .. }: ScoredBatch) -> Self {
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

fn score_model<'m>(
    columns: &Columns,
    (model, alias): (&'m Arc<LiveModel>, Option<Alias>),
    rows: Vec<u32>,
    scoring: Scoring<'_>,
    errors: &mut [Option<Violation>],
) -> Scored<'m> {
    let features = &model.scorer.schema().features;
    let plan = columns.plan(model, scoring.stored.is_some());
    let stored = scoring.stored.map(|stored| stored.read_by(model));
    let mut scored = Scored { model, alias, plan, predictions: Vec::with_capacity(rows.len()), rows, values: Vec::new() };
    let (mut encoded, mut block) = (Vec::new(), Vec::new());
    for rows in scored.rows.chunks(BLOCK_ROWS) {
        encoded.clear();
        encoded.resize(rows.len() * features.len(), f64::NAN);
        let encoding = Encoding { rows, features, stored: stored.as_ref(), observed: scoring.observed };
        columns.encode(&encoding, &mut scored.plan, &mut encoded, errors);
        model.scorer.predict_rows(&encoded, &mut block);
        if scoring.is_answered {
            let answered = rows.iter().zip(encoded.chunks_exact(features.len())).zip(&block);
            let answered = answered.filter(|((row, _), _)| errors[**row as usize].is_none());
            let answered = answered.map(|((&row, values), prediction)| (row as usize, values, prediction));
            model.observed.rows(columns.n_rows(), answered);
        }
        scored.predictions.append(&mut block);
        if scoring.is_logged {
            scored.values.extend_from_slice(&encoded);
        }
    }
    scored
}

fn batch_prediction(asked: &Asked<'_>, parts: Vec<Scored<'_>>, errors: &[Option<Violation>]) -> v1::BatchPrediction {
    let (n_rows, is_whole) = (errors.len(), asked.challenger.is_none());
    let mut answer = v1::BatchPrediction {
        model: Some(model_version(asked.model.scorer.manifest())),
        alias: alias(asked.alias).into(),
        probabilities: vec![f64::NAN; n_rows],
        bands: vec![v1::Band::Unspecified.into(); n_rows],
        margins: vec![f64::NAN; n_rows],
        ..v1::BatchPrediction::default()
    };
    for part in parts {
        for (&row, prediction) in part.rows.iter().zip(&part.predictions) {
            let row = row as usize;
            if prediction.expected_value.is_some() && answer.expected_values.is_empty() {
                answer.expected_values = vec![f64::NAN; n_rows];
            }
            if errors[row].is_none() {
                answer.probabilities[row] = prediction.probability;
                answer.margins[row] = prediction.margin;
                answer.bands[row] = band(part.model.scorer.band(prediction)).into();
                prediction.expected_value.into_iter().for_each(|value| answer.expected_values[row] = value);
            }
        }
        let is_challenger = !Arc::ptr_eq(part.model, asked.model);
        answer.warnings.extend(batch_warnings(&part, errors, is_whole));
        if is_challenger {
            answer.challenger = Some(model_version(part.model.scorer.manifest()));
            answer.challenger_rows = part.rows;
        }
    }
    answer
}

/// What is unusual in the rows of one version; `is_whole` where those are all rows.
fn batch_warnings(part: &Scored<'_>, errors: &[Option<Violation>], is_whole: bool) -> Vec<v1::BatchWarning> {
    let is_scored = |row: &u32| errors[*row as usize].is_none();
    let n_scored = part.rows.iter().copied().filter(is_scored).count();
    let mut warnings = Vec::new();
    if n_scored == 0 {
        return warnings;
    }
    let mut plan = part.plan.iter().peekable();
    for (feature_idx, feature) in part.model.scorer.schema().features.iter().enumerate() {
        let planned = plan.next_if(|planned| planned.feature_idx == feature_idx);
        let notes = match planned {
            // No column: missing in every row.
            None => [(ValueNote::Missing, part.rows.as_slice()), (ValueNote::Unseen, &[]), (ValueNote::OutOfRange, &[])],
            Some(Planned { notes, .. }) => [
                (ValueNote::Missing, notes.missing.as_slice()),
                (ValueNote::Unseen, &notes.unseen),
                (ValueNote::OutOfRange, &notes.out_of_range),
            ],
        };
        for (note, rows) in notes {
            let mut rows: Vec<u32> = rows.iter().copied().filter(is_scored).collect();
            if rows.is_empty() {
                continue;
            }
            if is_whole && rows.len() == n_scored {
                rows.clear();
            }
            let warning = |code: v1::WarningCode| v1::BatchWarning { code: code.into(), feature: feature.name.clone(), rows };
            warnings.extend(warning_code(note).map(warning));
        }
    }
    warnings
}
