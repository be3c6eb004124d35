//! Batches, column by column: checks the columns once, then scores block after block with the memory of one block.

use std::sync::Arc;

use retain_core::{Day, FeatureSpec, FeatureValue, ValueNote};
use retain_proto::v1;
use retain_proto::v1::feature_column::Values;
use retain_score::Prediction;

use super::{QUOTED_CHARS, alias, band, check_names, model_version, rejects_unknown, value_reason, warning_code};
use crate::config::Config;
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
    values: Option<Values>,
    /// One bit per row, 1 for missing; empty when none is marked.
    missing: Vec<u64>,
}

/// A feature of a model that has a column, and what was found there.
struct Planned {
    feature_idx: usize,
    /// Position of the column.
    position: usize,
    notes: Notes,
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
        check_duplicates(&columns, place, violations);
        let check = |(position, column)| Column::check(position, column, n_rows, violations);
        let list = columns.into_iter().enumerate().map(check).collect();
        Ok(Self { customer_ids: std::mem::take(&mut request.customer_ids), place, list })
    }

    /// How many customers it is about.
    pub(crate) fn n_rows(&self) -> usize {
        self.customer_ids.len()
    }

    /// Memory that the columns take, about.
    pub(crate) fn bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let column = |column: &Column| {
            let values = match &column.values {
                None => 0,
                Some(Values::Numbers(numbers)) => size_of_val(&numbers.values[..]),
                Some(Values::Texts(list)) => texts(&list.values),
                Some(Values::Booleans(booleans)) => booleans.values.len(),
            };
            size_of::<Column>() + column.name.len() + size_of_val(&column.missing[..]) + values
        };
        texts(&self.customer_ids) + self.list.iter().map(column).sum::<usize>()
    }

    /// The features of a model that have a column, in the model's order.
    fn plan(&self, model: &LiveModel) -> Vec<Planned> {
        let schema = model.scorer.schema();
        let found = self.list.iter().enumerate().filter(|(_, column)| column.values.is_some());
        let planned = |(position, column): (usize, &Column)| {
            Some(Planned { feature_idx: schema.feature_idx(&column.name)?, position, notes: Notes::default() })
        };
        let mut plan: Vec<Planned> = found.filter_map(planned).collect();
        plan.sort_unstable_by_key(|planned| planned.feature_idx);
        plan
    }

    /// Encodes one row, and tells the first value that does not fit.
    fn encode(
        &self,
        row_idx: usize,
        features: &[FeatureSpec],
        observed: Option<Day>,
        plan: &mut [Planned],
        row: &mut [f64],
    ) -> Result<(), Violation> {
        for Planned { feature_idx, position, notes } in plan {
            let value = self.list[*position].value(row_idx);
            let (encoded, note) = features[*feature_idx].encode(value, observed).map_err(|error| {
                Violation::new(self.place.of_value(*position, row_idx), value_reason(&error), &error.to_string())
            })?;
            row[*feature_idx] = encoded;
            notes.add(note, row_idx);
        }
        Ok(())
    }
}

fn check_duplicates(columns: &[v1::FeatureColumn], place: Place, violations: &mut Violations) {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|&a, &b| columns[a].name.cmp(&columns[b].name).then(a.cmp(&b)));
    for pair in order.windows(2) {
        let (first, again) = (pair[0], pair[1]);
        if columns[first].name == columns[again].name {
            violations.push(|| {
                let name = printable(&columns[again].name, QUOTED_CHARS);
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
            Self::Inputs => format!("inputs[{position}]"),
            Self::Matrix { .. } => "inputs[0]".to_owned(),
        }
    }

    fn of(self, position: usize, what: &str) -> String {
        format!("{}.{what}", self.column(position))
    }

    fn of_value(self, position: usize, row: usize) -> String {
        match self {
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
        Self { name: column.name, values: column.values, missing }
    }

    fn value(&self, row: usize) -> FeatureValue<'_> {
        if self.missing.get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1) {
            return FeatureValue::Missing;
        }
        match &self.values {
            None => FeatureValue::Missing,
            Some(Values::Numbers(numbers)) => FeatureValue::Number(numbers.values[row]),
            Some(Values::Texts(texts)) => FeatureValue::Text(&texts.values[row]),
            Some(Values::Booleans(booleans)) => FeatureValue::Boolean(booleans.values[row]),
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

/// Scores every row by every model, by the version that answers its customer. A row that one model cannot read is refused for all, and
/// told once.
pub(crate) fn score_batch(columns: &Columns, models: &[Asked<'_>], observed: Option<Day>, is_logged: bool) -> ScoredBatch {
    let mut errors: Vec<Option<Violation>> = vec![None; columns.n_rows()];
    let score = |asked| score_asked(columns, asked, observed, is_logged, &mut errors);
    let scored: Vec<_> = models.iter().map(score).collect();
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
    model: &Arc<LiveModel>,
    observed: Option<Day>,
    each: impl FnMut(PredictedRows),
) -> usize {
    let mut errors: Vec<Option<Violation>> = vec![None; columns.n_rows()];
    let rows = (0..columns.n_rows() as u32).collect();
    let scored = score_model(columns, (model, None), rows, observed, true, &mut errors);
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
    observed: Option<Day>,
    is_logged: bool,
    errors: &mut [Option<Violation>],
) -> Vec<Scored<'m>> {
    let rows = (0_u32..).zip(&columns.customer_ids);
    let (challenged, rows): (Vec<_>, Vec<_>) = rows.partition(|(_, customer_id)| asked.is_challenged(customer_id));
    let challenger = asked.challenger.map(|model| (model, Some(Alias::Challenger)));
    let mut parts = Vec::new();
    for (version, rows) in [(Some((asked.model, asked.alias)), rows), (challenger, challenged)] {
        if let Some(version) = version
            && !(rows.is_empty() && asked.challenger.is_some())
        {
            let rows = rows.into_iter().map(|(row, _)| row).collect();
            parts.push(score_model(columns, version, rows, observed, is_logged, errors));
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
        Self { row_statuses, row_errors: (0..).zip(errors).filter_map(row_error).collect(), predictions }
    }
}

fn score_model<'m>(
    columns: &Columns,
    (model, alias): (&'m Arc<LiveModel>, Option<Alias>),
    rows: Vec<u32>,
    observed: Option<Day>,
    is_logged: bool,
    errors: &mut [Option<Violation>],
) -> Scored<'m> {
    let features = &model.scorer.schema().features;
    let (plan, predictions) = (columns.plan(model), Vec::with_capacity(rows.len()));
    let mut scored = Scored { model, alias, plan, predictions, rows, values: Vec::new() };
    let (mut encoded, mut block) = (model.scorer.schema().rows(), Vec::new());
    for rows in scored.rows.chunks(BLOCK_ROWS) {
        encoded.clear();
        for &row in rows {
            if let Err(found) = columns.encode(row as usize, features, observed, &mut scored.plan, encoded.push_missing()) {
                errors[row as usize].get_or_insert(found);
            }
        }
        model.scorer.predict_rows(encoded.values(), &mut block);
        scored.predictions.append(&mut block);
        if is_logged {
            scored.values.extend_from_slice(encoded.values());
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
