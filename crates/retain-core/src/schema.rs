//! What a model expects of a row: its features in order, and what the target meant.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::day::Day;
use crate::rows::Rows;
use crate::value::{FeatureValue, ValueError, ValueNote};

/// Texts that mean "nothing known" unless the task file says otherwise; blank cells always do.
pub const DEFAULT_MISSING: [&str; 8] = ["NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A"];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// A decimal number.
    Number,
    /// Yes or no.
    Boolean,
    /// One of some texts.
    Category,
    /// An ISO date or date-time; models read the days from it to the observation.
    Date,
}

impl ColumnKind {
    /// The kind's name as in task files and `schema.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Category => "category",
            Self::Date => "date",
        }
    }
}

impl std::fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The probability of leaving within the horizon.
    Churn,
    /// The time until leaving: a curve of the share that is still there.
    Survival,
    /// What the customer will be worth within the horizon.
    Ltv,
    /// How active the customer will be within the horizon.
    Engagement,
    /// What treatments change within the horizon.
    Uplift,
}

impl TaskKind {
    /// The kind's name as in task files and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Survival => "survival",
            Self::Ltv => "ltv",
            Self::Engagement => "engagement",
            Self::Uplift => "uplift",
        }
    }

    /// Whether what is predicted is an amount from 0 on rather than something that happened or did not. The target of uplift can be
    /// either, see [`FeatureSchema::has_amounts`].
    pub fn is_amount(self) -> bool {
        matches!(self, Self::Ltv | Self::Engagement)
    }
}

impl std::fmt::Display for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A direction the prediction has to keep as a number grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monotone {
    /// The margin never falls as the feature grows.
    Increasing,
    /// The margin never rises as the feature grows.
    Decreasing,
}

/// Values of a column that mean "nothing known": texts such as `NA`, and numbers such as `-1` written as texts. Blank always does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct MissingMarkers {
    texts: Vec<String>,
    /// The markers that are numbers, so that `-1` also catches `-1.0`.
    numbers: Vec<f64>,
}

impl MissingMarkers {
    /// The markers of a column that the task file says nothing about: [`DEFAULT_MISSING`].
    pub fn usual() -> Self {
        Self::from(DEFAULT_MISSING.map(str::to_owned).to_vec())
    }

    /// Whether any marker is a number.
    pub fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// The same markers without this text.
    #[must_use]
    pub fn without(self, text: &str) -> Self {
        Self::from(self.texts.into_iter().filter(|marker| marker != text.trim()).collect::<Vec<_>>())
    }

    /// The markers as they were written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether a text means "nothing known".
    pub fn is_text(&self, text: &str) -> bool {
        let text = text.trim();
        text.is_empty() || self.texts.iter().any(|marker| marker == text)
    }

    /// Whether a number means "nothing known".
    pub fn is_number(&self, number: f64) -> bool {
        self.numbers.contains(&number)
    }
}

impl From<Vec<String>> for MissingMarkers {
    fn from(texts: Vec<String>) -> Self {
        let texts: Vec<String> = texts.iter().map(|marker| marker.trim().to_owned()).collect();
        let numbers = texts.iter().filter_map(|marker| crate::value::parse_number(marker)).collect();
        Self { texts, numbers }
    }
}

impl From<MissingMarkers> for Vec<String> {
    fn from(markers: MissingMarkers) -> Self {
        markers.texts
    }
}

/// One feature: its name, kind and what training saw of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// The column's name.
    pub name: String,
    /// What the column holds.
    pub kind: ColumnKind,
    /// Category: the texts training saw often enough to learn from, in byte order; empty for other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// What means "nothing known", beside blank.
    #[serde(default)]
    pub missing: MissingMarkers,
    /// The direction the prediction keeps as this feature grows, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monotone: Option<Monotone>,
    /// Smallest number that training saw (dates: days until the observation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest number that training saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The usual value in training, encoded: the median of numbers and dates, the most frequent boolean or category; none where
    /// training saw no value at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical: Option<f64>,
    #[serde(skip)]
    index: HashMap<String, usize>,
}

impl FeatureSpec {
    /// A feature with the default missing markers and nothing known of its values.
    pub fn new(name: &str, kind: ColumnKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            categories: Vec::new(),
            missing: MissingMarkers::usual(),
            monotone: None,
            min: None,
            max: None,
            typical: None,
            index: HashMap::new(),
        }
    }

    /// Replaces the known categories.
    pub fn set_categories(&mut self, categories: Vec<String>) {
        self.index = categories.iter().enumerate().map(|(position, text)| (text.clone(), position)).collect();
        self.categories = categories;
    }

    /// The position of a category, or none when training never saw it.
    pub fn category_index(&self, text: &str) -> Option<usize> {
        self.index.get(text).copied()
    }

    /// An encoded value as a person would write it: `missing`, the category's text, `yes`, `12.5`, `40 days`.
    pub fn display(&self, encoded: f64) -> String {
        if encoded.is_nan() {
            return "missing".to_owned();
        }
        match self.kind {
            ColumnKind::Number => format!("{encoded}"),
            ColumnKind::Boolean => if encoded == 0.0 { "no" } else { "yes" }.to_owned(),
            ColumnKind::Category => self.categories.get(encoded as usize).cloned().unwrap_or_else(|| "unseen".to_owned()),
            ColumnKind::Date => format!("{encoded} days"),
        }
    }
}

/// What is wrong with a schema read from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A model without features.
    #[error("the schema has no features")]
    Empty,
    /// Two features of one name.
    #[error("feature `{name}` stands in the schema twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A category stands in its list twice.
    #[error("feature `{name}` lists the category `{category}` twice")]
    DuplicateCategory {
        /// The feature.
        name: String,
        /// The category.
        category: String,
    },
    /// A category feature without categories, or categories where none belong.
    #[error("feature `{name}` is a {kind} with {n_categories} categories")]
    Categories {
        /// The feature.
        name: String,
        /// Its kind.
        kind: ColumnKind,
        /// How many categories it lists.
        n_categories: usize,
    },
}

/// The column that says how long a customer was followed, and its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DurationSpec {
    /// The column.
    pub column: String,
    /// Days in one of its units; positive.
    pub unit_days: f64,
}

/// The column that says which action was taken, and the actions that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreatmentSpec {
    /// The column.
    pub column: String,
    /// What stands there where nothing was done, or what is usual.
    pub control: String,
    /// The treatments, in the order in which models tell them. Rows with anything else are left out.
    pub treatments: Vec<String>,
    /// The column with the chance that the row had of what was done with it; none: it did not depend on the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propensity: Option<String>,
}

/// A list that is written as its one element where it has just one.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(values: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        if let [one] = values { serializer.serialize_str(one) } else { values.serialize(serializer) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}

/// The features of a model in the order its rows have them, and the table columns they came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSchema {
    /// The features, in row order.
    pub features: Vec<FeatureSpec>,
    /// The column that names the customer; none: rows are named by their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The label column.
    pub target: String,
    /// The values of the target that mean it happened, one for each way it can happen; empty where the target is an amount.
    #[serde(with = "one_or_many", default)]
    pub positive: Vec<String>,
    /// Survival: how long each customer was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationSpec>,
    /// Amounts: the column with the same amount over the window before the observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<String>,
    /// Uplift: which action was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treatment: Option<TreatmentSpec>,
    /// The column that says when the row was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    #[serde(skip)]
    index: HashMap<String, usize>,
    /// Positions of the features, by name.
    #[serde(skip)]
    by_name: Vec<usize>,
}

impl FeatureSchema {
    /// Joins features with the columns that are not features; the target is one that happened (`positive`) or did not.
    ///
    /// # Errors
    /// [`SchemaError`] when there are no features, or two of one name.
    pub fn new(
        features: Vec<FeatureSpec>,
        entity: Option<String>,
        target: String,
        positive: String,
        observed_at: Option<String>,
    ) -> Result<Self, SchemaError> {
        let positive = vec![positive];
        let schema = Self {
            features,
            entity,
            target,
            positive,
            duration: None,
            past: None,
            treatment: None,
            observed_at,
            index: HashMap::new(),
            by_name: Vec::new(),
        };
        schema.indexed()
    }

    /// Checks a schema that came from a file and prepares its look-up tables; call it after deserialising.
    ///
    /// # Errors
    /// [`SchemaError`] says what is wrong.
    pub fn indexed(mut self) -> Result<Self, SchemaError> {
        if self.features.is_empty() {
            return Err(SchemaError::Empty);
        }
        self.index.clear();
        for (position, feature) in self.features.iter_mut().enumerate() {
            if self.index.insert(feature.name.clone(), position).is_some() {
                return Err(SchemaError::Duplicate { name: feature.name.clone() });
            }
            let n_categories = feature.categories.len();
            if (feature.kind == ColumnKind::Category) != (n_categories > 0) {
                return Err(SchemaError::Categories { name: feature.name.clone(), kind: feature.kind, n_categories });
            }
            let categories = std::mem::take(&mut feature.categories);
            feature.set_categories(categories);
            if feature.index.len() < n_categories {
                let mut sorted = feature.categories.clone();
                sorted.sort();
                let category = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).unwrap_or_default();
                return Err(SchemaError::DuplicateCategory { name: feature.name.clone(), category });
            }
        }
        self.by_name = (0..self.features.len()).collect();
        self.by_name.sort_by(|&a, &b| self.features[a].name.cmp(&self.features[b].name));
        Ok(self)
    }

    /// Whether the target is an amount rather than something that happened or did not.
    pub fn has_amounts(&self) -> bool {
        self.positive.is_empty()
    }

    /// Numbers in an encoded row.
    pub fn n_features(&self) -> usize {
        self.features.len()
    }

    /// The position of a feature by name.
    pub fn feature_idx(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The features in the byte order of their names, each with its position.
    pub fn by_name(&self) -> impl Iterator<Item = (usize, &FeatureSpec)> {
        self.by_name.iter().map(|&position| (position, &self.features[position]))
    }

    /// Whether any feature is a date, so that rows need a date of observation.
    pub fn has_dates(&self) -> bool {
        self.features.iter().any(|feature| feature.kind == ColumnKind::Date)
    }

    /// An empty table of rows of this schema.
    pub fn rows(&self) -> Rows {
        Rows::new(self.n_features())
    }

    /// Encodes one row of values in schema order into `row`, telling `note` of every unusual value.
    ///
    /// # Errors
    /// The position of the first feature whose value does not fit, with what is wrong.
    ///
    /// # Panics
    /// When `row` does not have one place per feature.
    pub fn encode_row<'a>(
        &self,
        values: impl IntoIterator<Item = FeatureValue<'a>>,
        observed: Option<Day>,
        row: &mut [f64],
        mut note: impl FnMut(usize, ValueNote),
    ) -> Result<(), (usize, ValueError)> {
        assert_eq!(row.len(), self.n_features(), "a row has one number per feature");
        for (position, (feature, value)) in self.features.iter().zip(values).enumerate() {
            let (encoded, what) = feature.encode(value, observed).map_err(|error| (position, error))?;
            row[position] = encoded;
            if what != ValueNote::Usual {
                note(position, what);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_names_and_missing_categories_are_refused() {
        let schema = |features| FeatureSchema::new(features, None, "churned".into(), "yes".into(), None);
        let number = FeatureSpec::new("a", ColumnKind::Number);
        assert_eq!(schema(vec![]).unwrap_err(), SchemaError::Empty);
        assert!(matches!(schema(vec![number.clone(), number.clone()]).unwrap_err(), SchemaError::Duplicate { .. }));
        let category = FeatureSpec::new("b", ColumnKind::Category);
        assert!(matches!(schema(vec![category]).unwrap_err(), SchemaError::Categories { .. }));
        assert!(schema(vec![number]).is_ok());
    }

    #[test]
    fn a_schema_survives_json() {
        let mut plan = FeatureSpec::new("plan", ColumnKind::Category);
        plan.set_categories(vec!["gold".into(), "silver".into()]);
        let schema = FeatureSchema::new(vec![plan], Some("id".into()), "churned".into(), "yes".into(), None).unwrap();
        let text = serde_json::to_string(&schema).unwrap();
        let back = serde_json::from_str::<FeatureSchema>(&text).unwrap().indexed().unwrap();
        assert_eq!(back, schema);
        assert_eq!(back.features[0].category_index("silver"), Some(1));
    }
}
