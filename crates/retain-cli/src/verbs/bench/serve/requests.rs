//! The requests of the bench, made before anything is measured, and what the model says to them in this process.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_types::Timestamp;
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec, FeatureValue, Rows};
use retain_proto::v1;
use retain_score::{CheckValue, Prediction, Scorer};

use crate::exit::{Complaint, Exit};

/// Letters of a customer's id, which is the row's number: the echo finds it at a fixed place.
const ID_LETTERS: usize = 8;
/// Where the id begins in an encoded request: after the field's tag and the id's length.
const ID_AT: usize = 2;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Customers as requests carry them, and what the model says of each.
pub(super) struct Customers {
    model: String,
    /// Row by row, in schema order.
    values: Vec<Vec<Option<CheckValue>>>,
    observed_at: Option<Timestamp>,
    /// The same as the model reads them.
    pub(super) encoded: Rows,
    /// What the model says, row by row.
    pub(super) predictions: Vec<Prediction>,
}

impl Customers {
    /// Rows of values in schema order. `observed` is sent where the model counts days to it.
    pub(super) fn new(scorer: &Scorer, values: Vec<Vec<Option<CheckValue>>>, observed: Option<Day>) -> Result<Self> {
        let schema = scorer.schema();
        let observed_at = observed.filter(|_| schema.has_dates()).map(|day| whole_seconds(day.days()));
        let observed = observed_at.as_ref().map(|at| Day::from_seconds(at.seconds as f64));
        let mut encoded = schema.rows();
        for row in &values {
            let row = row.iter().map(|value| value.as_ref().map_or(FeatureValue::Missing, CheckValue::as_feature_value));
            schema.encode_row(row, observed, encoded.push_missing(), |_, _| ()).map_err(|(position, error)| {
                let name = &schema.features[position].name;
                Complaint::new(Exit::DATA, format!("a value of the feature `{name}` {error}"))
            })?;
        }
        let mut predictions = Vec::new();
        scorer.predict_rows(encoded.values(), &mut predictions);
        Ok(Self { model: scorer.manifest().name.to_string(), values, observed_at, encoded, predictions })
    }

    /// One encoded `Predict` request for each row.
    pub(super) fn single_requests(&self, schema: &FeatureSchema) -> Vec<Vec<u8>> {
        let requests = self.values.iter().enumerate().map(|(row, values)| {
            let request = v1::PredictRequest {
                customer_id: id_of_row(row),
                features: wire_features(schema, values),
                observed_at: self.observed_at,
                models: vec![self.model.clone()],
                ..v1::PredictRequest::default()
            };
            request.encode_to_vec()
        });
        requests.collect()
    }

    /// One encoded `Recommend` request for each row.
    pub(super) fn decision_requests(&self, schema: &FeatureSchema) -> Vec<Vec<u8>> {
        let requests = self.values.iter().enumerate().map(|(row, values)| {
            let (customer_id, observed_at, features) = (id_of_row(row), self.observed_at, wire_features(schema, values));
            v1::RecommendRequest { customer_id, features, observed_at, ..v1::RecommendRequest::default() }
        });
        requests.map(|request| request.encode_to_vec()).collect()
    }

    /// Whether a decision is about the customer that was asked about, is kept, and was made from what the model says in this process.
    pub(super) fn check_decision(&self, row: usize, answer: &[u8]) -> Result<()> {
        let answer = v1::RecommendResponse::decode(answer).context("an answer of `Recommend` cannot be read")?;
        let id = id_of_row(row);
        if answer.customer_id != id || answer.decision_id.is_empty() || answer.chosen.is_none() {
            bail!("the answer to the request for `{id}` is no decision about it");
        }
        for prediction in answer.predictions.values() {
            check_number(row, "probability", self.predictions[row].probability, prediction.probability)?;
        }
        Ok(())
    }

    /// One encoded `PredictBatch` request of all rows.
    pub(super) fn batch_request(&self, schema: &FeatureSchema) -> Vec<u8> {
        let columns = schema.features.iter().enumerate();
        let columns = columns.map(|(position, feature)| {
            let values: Vec<_> = self.values.iter().map(|row| row[position].as_ref()).collect();
            column(&feature.name, &values)
        });
        let request = v1::PredictBatchRequest {
            customer_ids: (0..self.values.len()).map(id_of_row).collect(),
            columns: columns.collect(),
            observed_at: self.observed_at,
            models: vec![self.model.clone()],
            ..v1::PredictBatchRequest::default()
        };
        request.encode_to_vec()
    }

    /// Whether the server's answer to a request is what the model says in this process, to the last bit.
    pub(super) fn check_single(&self, row: usize, answer: &[u8]) -> Result<()> {
        let answer = v1::PredictResponse::decode(answer).context("an answer of `Predict` cannot be read")?;
        let id = id_of_row(row);
        if answer.customer_id != id {
            bail!("the answer to the request for `{id}` is about `{}`", answer.customer_id);
        }
        let [prediction] = answer.predictions.as_slice() else {
            bail!("an answer should hold 1 prediction, found {}", answer.predictions.len());
        };
        let expected = &self.predictions[row];
        check_number(row, "probability", expected.probability, prediction.probability)?;
        check_number(row, "margin", expected.margin, prediction.margin)
    }

    /// The same for all rows at once.
    pub(super) fn check_batch(&self, answer: &[u8]) -> Result<()> {
        let answer = v1::PredictBatchResponse::decode(answer).context("an answer of `PredictBatch` cannot be read")?;
        let [prediction] = answer.predictions.as_slice() else {
            bail!("an answer should hold the predictions of 1 model, found {}", answer.predictions.len());
        };
        let (found, expected) = (prediction.probabilities.len(), self.predictions.len());
        if found != expected {
            bail!("an answer should hold {expected} probabilities, found {found}");
        }
        let mut pairs = self.predictions.iter().zip(&prediction.probabilities).enumerate();
        pairs.try_for_each(|(row, (expected, &found))| check_number(row, "probability", expected.probability, found))
    }
}

/// The row that an encoded request is about.
pub(super) fn row_of_request(message: &[u8]) -> Option<usize> {
    std::str::from_utf8(message.get(ID_AT..ID_AT + ID_LETTERS)?).ok()?.parse().ok()
}

fn id_of_row(row: usize) -> String {
    format!("{row:0ID_LETTERS$}")
}

fn check_number(row: usize, what: &str, expected: f64, found: f64) -> Result<()> {
    if expected.to_bits() == found.to_bits() {
        return Ok(());
    }
    bail!("row {row}: the server says the {what} {found}, the model says {expected} in this process")
}

/// A `Timestamp` of whole seconds: every server reads the same number from it.
fn whole_seconds(days: f64) -> Timestamp {
    Timestamp { seconds: (days * SECONDS_PER_DAY).round() as i64, nanos: 0 }
}

/// A row's values by name, without those that are missing.
fn wire_features(schema: &FeatureSchema, values: &[Option<CheckValue>]) -> BTreeMap<String, v1::FeatureValue> {
    let named = schema.features.iter().zip(values);
    named.filter_map(|(feature, value)| Some((feature.name.clone(), wire_value(value.as_ref()?)))).collect()
}

fn wire_value(value: &CheckValue) -> v1::FeatureValue {
    use v1::feature_value::Value;
    let value = match value {
        CheckValue::Boolean(yes) => Value::Boolean(*yes),
        CheckValue::Number(number) => Value::Number(*number),
        CheckValue::Text(text) => Value::Text(text.clone()),
    };
    v1::FeatureValue { value: Some(value) }
}

/// A column of numbers or booleans where all its values are such, else of texts.
fn column(name: &str, values: &[Option<&CheckValue>]) -> v1::FeatureColumn {
    use v1::feature_column::Values;
    let known = || values.iter().copied().flatten();
    let each = || values.iter().copied();
    let column = if known().all(|value| matches!(value, CheckValue::Number(_))) {
        let number = |value: Option<&CheckValue>| if let Some(CheckValue::Number(number)) = value { *number } else { 0.0 };
        Values::Numbers(v1::NumberColumn { values: each().map(number).collect() })
    } else if known().all(|value| matches!(value, CheckValue::Boolean(_))) {
        let boolean = |value: Option<&CheckValue>| matches!(value, Some(CheckValue::Boolean(true)));
        Values::Booleans(v1::BooleanColumn { values: each().map(boolean).collect() })
    } else {
        let text = |value: Option<&CheckValue>| value.map(written_out).unwrap_or_default();
        Values::Texts(v1::TextColumn { values: each().map(text).collect() })
    };
    let missing = each().zip(0..).filter_map(|(value, row)| value.is_none().then_some(row));
    v1::FeatureColumn { name: name.to_owned(), values: Some(column), missing: missing.collect() }
}

fn written_out(value: &CheckValue) -> String {
    match value {
        CheckValue::Boolean(yes) => yes.to_string(),
        CheckValue::Number(number) => number.to_string(),
        CheckValue::Text(text) => text.clone(),
    }
}

/// Encoded rows as requests would carry them; `observed` is the day that dates were counted to.
pub(super) fn values_of(rows: &Rows, schema: &FeatureSchema, observed: Option<Day>) -> Vec<Vec<Option<CheckValue>>> {
    let value = |feature: &FeatureSpec, encoded: f64| {
        if encoded.is_nan() {
            return None;
        }
        Some(match feature.kind {
            ColumnKind::Number => CheckValue::Number(encoded),
            ColumnKind::Boolean => CheckValue::Boolean(encoded != 0.0),
            ColumnKind::Category => CheckValue::Text(feature.display(encoded)),
            ColumnKind::Date => CheckValue::Text(Day::from_days(observed?.days() - encoded).to_string()),
        })
    };
    let row = |row: &[f64]| schema.features.iter().zip(row).map(|(feature, &encoded)| value(feature, encoded)).collect();
    rows.in_order().map(row).collect()
}

/// Moments at which calls are due, in seconds from the beginning: as many a second as `rate` on average, at random, until `seconds`.
pub(super) fn arrivals(rate: f64, seconds: f64, seed: u64) -> Vec<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut moments = Vec::with_capacity((rate * seconds * 1.1) as usize);
    let mut moment = 0.0;
    loop {
        // The gaps of a Poisson process. `1 - u` is never 0.
        moment -= (1.0 - rng.random::<f64>()).ln() / rate;
        if moment >= seconds {
            return moments;
        }
        moments.push(moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_finds_the_row_of_a_request() {
        let request = v1::PredictRequest { customer_id: id_of_row(9_071), ..v1::PredictRequest::default() };
        assert_eq!(row_of_request(&request.encode_to_vec()), Some(9_071));
        assert_eq!(row_of_request(b"\x0a\x08abcdefgh"), None);
        assert_eq!(row_of_request(b"\x0a\x08123"), None);
    }

    #[test]
    fn arrivals_keep_their_rate_and_their_seed() {
        let moments = arrivals(1_000.0, 20.0, 7);
        assert!((19_000..21_000).contains(&moments.len()), "{}", moments.len());
        assert!(moments.is_sorted() && moments.iter().all(|moment| (0.0..20.0).contains(moment)));
        assert_eq!(moments, arrivals(1_000.0, 20.0, 7));
        assert_ne!(moments, arrivals(1_000.0, 20.0, 8));
    }

    #[test]
    fn a_column_holds_what_all_its_values_are() {
        use v1::feature_column::Values;
        let (number, yes, text) = (CheckValue::Number(1.5), CheckValue::Boolean(true), CheckValue::Text("gold".into()));
        let numbers = column("a", &[Some(&number), None]);
        assert_eq!(numbers.values, Some(Values::Numbers(v1::NumberColumn { values: vec![1.5, 0.0] })));
        assert_eq!(numbers.missing, [1]);
        let booleans = column("a", &[Some(&yes)]);
        assert_eq!(booleans.values, Some(Values::Booleans(v1::BooleanColumn { values: vec![true] })));
        let texts = column("a", &[Some(&number), Some(&text)]);
        assert_eq!(texts.values, Some(Values::Texts(v1::TextColumn { values: vec!["1.5".into(), "gold".into()] })));
    }
}
