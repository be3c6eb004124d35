//! `check_rows.json`: rows with the answers the model gave when it was made; a loader asks again before it serves.
//!
//! The rows are drawn column by column from what training saw, so that none of them is a customer.

use std::collections::BTreeMap;
use std::fmt;

use retain_core::{Day, FeatureSchema, FeatureValue};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::predictor::Predictor;

/// Rows with their expected outputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRows {
    /// The rows.
    pub rows: Vec<CheckRow>,
}

/// One row as a request would carry it, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRow {
    /// Value by feature; a feature that is not named is missing.
    pub features: BTreeMap<String, CheckValue>,
    /// Day of observation in days since 1970-01-01, where the schema has dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// Margin before calibration, to the last bit.
    pub margin: f64,
    /// Probability, to the last bit.
    pub probability: f64,
    /// Expected amount, to the last bit; only of amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_value: Option<f64>,
    /// Effects of the treatments in their order, to the last bit; only of uplift.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<f64>,
}

/// A JSON value of a feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CheckValue {
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A category or an ISO date.
    Text(String),
}

/// Which check row did not give its answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckRowError {
    /// There is nothing to check.
    #[error("there are no check rows")]
    Empty,
    /// A row names a feature that the schema does not have, or a value that does not fit.
    #[error("check row {row}: feature `{feature}` {what}")]
    Row {
        /// Position of the row.
        row: usize,
        /// The feature.
        feature: String,
        /// What is wrong.
        what: String,
    },
    /// Another answer than when the model was made.
    #[error("check row {row}: the {what} should be {expected}, the model gives {found}")]
    Answer {
        /// Position of the row.
        row: usize,
        /// Margin or probability.
        what: &'static str,
        /// As written.
        expected: f64,
        /// As computed now.
        found: f64,
    },
}

/// By hand: an untagged enum is read by trying one variant after another, and a bundle has a thousand of these.
impl<'de> Deserialize<'de> for CheckValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckValueVisitor)
    }
}

struct CheckValueVisitor;

impl Visitor<'_> for CheckValueVisitor {
    type Value = CheckValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a boolean, a number or a text")
    }

    fn visit_bool<E>(self, yes: bool) -> Result<CheckValue, E> {
        Ok(CheckValue::Boolean(yes))
    }

    fn visit_f64<E>(self, number: f64) -> Result<CheckValue, E> {
        Ok(CheckValue::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<CheckValue, E> {
        Ok(CheckValue::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<CheckValue, E> {
        Ok(CheckValue::Number(number as f64))
    }

    fn visit_str<E>(self, text: &str) -> Result<CheckValue, E> {
        Ok(CheckValue::Text(text.to_owned()))
    }
}

impl CheckValue {
    /// The value as a request's.
    pub fn as_feature_value(&self) -> FeatureValue<'_> {
        match self {
            Self::Boolean(yes) => FeatureValue::Boolean(*yes),
            Self::Number(number) => FeatureValue::Number(*number),
            Self::Text(text) => FeatureValue::Text(text),
        }
    }
}

impl CheckRow {
    /// Encodes the row by the schema.
    ///
    /// # Errors
    /// The feature that is unknown or whose value does not fit, and why.
    pub fn encode(&self, schema: &FeatureSchema) -> Result<Vec<f64>, (String, String)> {
        if let Some(unknown) = self.features.keys().find(|name| schema.feature_idx(name).is_none()) {
            return Err((unknown.clone(), "is not in the schema".to_owned()));
        }
        let value = |name: &str| self.features.get(name).map_or(FeatureValue::Missing, CheckValue::as_feature_value);
        let values = schema.features.iter().map(|feature| value(&feature.name));
        let mut row = vec![f64::NAN; schema.n_features()];
        schema
            .encode_row(values, self.observed.map(Day::from_days), &mut row, |_, _| ())
            .map_err(|(position, error)| (schema.features[position].name.clone(), error.to_string()))?;
        Ok(row)
    }
}

impl CheckRows {
    /// Scores every row again and compares to the last bit.
    ///
    /// # Errors
    /// [`CheckRowError`] names the first row that does not give its answer.
    pub fn verify(&self, schema: &FeatureSchema, predictor: &Predictor) -> Result<(), CheckRowError> {
        if self.rows.is_empty() {
            return Err(CheckRowError::Empty);
        }
        for (position, check_row) in self.rows.iter().enumerate() {
            let row = check_row.encode(schema).map_err(|(feature, what)| CheckRowError::Row { row: position, feature, what })?;
            let found = predictor.predict(&row);
            same_bits(position, "margin", check_row.margin, found.margin)?;
            same_bits(position, "probability", check_row.probability, found.probability)?;
            let expected = |value: Option<f64>| value.unwrap_or(f64::NAN);
            same_bits(position, "expected value", expected(check_row.expected_value), expected(found.expected_value))?;
            let effects = predictor.effects(&row).unwrap_or_default();
            same_bits(position, "number of effects", check_row.effects.len() as f64, effects.len() as f64)?;
            for (expected, found) in check_row.effects.iter().zip(effects) {
                same_bits(position, "effect", *expected, found.effect)?;
            }
        }
        Ok(())
    }
}

fn same_bits(row: usize, what: &'static str, expected: f64, found: f64) -> Result<(), CheckRowError> {
    if expected.to_bits() == found.to_bits() { Ok(()) } else { Err(CheckRowError::Answer { row, what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_booleans_numbers_or_texts() {
        let read = |text: &str| serde_json::from_str::<CheckValue>(text);
        for (text, expected) in [
            ("true", CheckValue::Boolean(true)),
            ("7", CheckValue::Number(7.0)),
            ("-7", CheckValue::Number(-7.0)),
            ("0.1", CheckValue::Number(0.1)),
            ("18446744073709551616", CheckValue::Number(18_446_744_073_709_551_616.0)),
            ("\"a \\\"b\\\"\"", CheckValue::Text("a \"b\"".to_owned())),
        ] {
            let value = read(text).unwrap();
            assert_eq!(value, expected);
            assert_eq!(read(&serde_json::to_string(&value).unwrap()).unwrap(), value);
        }
        for wrong in ["null", "[1]", "{\"a\": 1}"] {
            assert!(read(wrong).unwrap_err().to_string().contains("a boolean, a number or a text"), "{wrong}");
        }
    }
}
