//! Predictions as rows of a table: nine columns of ours, then the model's features.
//!
//! A feature's column has the value that the model read: numbers, booleans and categories as they are, dates as days until the
//! observation. What is missing is null, and a category that training did not see is `(unseen)`. So the columns of features can be
//! trained on and compared with a bundle's `reference.json`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use retain_core::{ColumnKind, FeatureSpec};
use retain_score::Prediction;

use crate::models::{Alias, LiveModel};

/// What a category is called that training did not see: its text is not kept.
const UNSEEN: &str = "(unseen)";
const UTC: &str = "UTC";

/// One prediction.
pub(super) struct Row<'r> {
    /// Microseconds since 1970-01-01.
    pub(super) time: i64,
    pub(super) request_id: Option<&'r str>,
    pub(super) customer_id: &'r str,
    pub(super) alias: Option<Alias>,
    pub(super) prediction: &'r Prediction,
    /// One number per feature of the model.
    pub(super) values: &'r [f64],
}

/// Rows of one version that have not been written yet.
pub(super) struct Rows {
    schema: SchemaRef,
    model: Arc<LiveModel>,
    n_waiting: usize,
    time: TimestampMicrosecondBuilder,
    request_id: StringBuilder,
    customer_id: StringBuilder,
    name: StringBuilder,
    version: UInt32Builder,
    alias: StringBuilder,
    probability: Float64Builder,
    margin: Float64Builder,
    expected_value: Float64Builder,
    features: Vec<FeatureColumn>,
}

enum FeatureColumn {
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Category(StringBuilder),
}

impl Rows {
    /// No rows yet.
    pub(super) fn new(model: &Arc<LiveModel>) -> Self {
        let features = &model.scorer.schema().features;
        Self {
            schema: Arc::new(schema(features)),
            model: model.clone(),
            n_waiting: 0,
            time: TimestampMicrosecondBuilder::new().with_timezone(UTC),
            request_id: StringBuilder::new(),
            customer_id: StringBuilder::new(),
            name: StringBuilder::new(),
            version: UInt32Builder::new(),
            alias: StringBuilder::new(),
            probability: Float64Builder::new(),
            margin: Float64Builder::new(),
            expected_value: Float64Builder::new(),
            features: features.iter().map(FeatureColumn::of).collect(),
        }
    }

    pub(super) fn model(&self) -> &Arc<LiveModel> {
        &self.model
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Cells that wait to be written.
    pub(super) fn n_cells(&self) -> usize {
        self.n_waiting * self.schema.fields().len()
    }

    pub(super) fn push(&mut self, row: &Row<'_>) {
        let manifest = self.model.scorer.manifest();
        self.time.append_value(row.time);
        self.request_id.append_option(row.request_id);
        self.customer_id.append_value(row.customer_id);
        self.name.append_value(manifest.name.as_str());
        self.version.append_value(manifest.version);
        self.alias.append_option(row.alias.map(Alias::as_str));
        self.probability.append_value(row.prediction.probability);
        self.margin.append_value(row.prediction.margin);
        self.expected_value.append_option(row.prediction.expected_value);
        let specs = &self.model.scorer.schema().features;
        for ((column, spec), value) in self.features.iter_mut().zip(specs).zip(row.values) {
            column.push(spec, *value);
        }
        self.n_waiting += 1;
    }

    /// All rows so far; there are none afterwards.
    ///
    /// # Errors
    /// When the columns do not hold together, a mistake of ours.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.n_waiting = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.request_id.finish()),
            Arc::new(self.customer_id.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.alias.finish()),
            Arc::new(self.probability.finish()),
            Arc::new(self.margin.finish()),
            Arc::new(self.expected_value.finish()),
        ];
        columns.extend(self.features.iter_mut().map(FeatureColumn::finish));
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

fn schema(features: &[FeatureSpec]) -> Schema {
    let field = |name: &str, kind, nullable| Field::new(name, kind, nullable);
    let mut fields = vec![
        field("retain_time", DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())), false),
        field("retain_request_id", DataType::Utf8, true),
        field("retain_customer_id", DataType::Utf8, false),
        field("retain_model", DataType::Utf8, false),
        field("retain_version", DataType::UInt32, false),
        field("retain_alias", DataType::Utf8, true),
        field("retain_probability", DataType::Float64, false),
        field("retain_margin", DataType::Float64, false),
        field("retain_expected_value", DataType::Float64, true),
    ];
    for feature in features {
        let kind = match feature.kind {
            ColumnKind::Number | ColumnKind::Date => DataType::Float64,
            ColumnKind::Boolean => DataType::Boolean,
            ColumnKind::Category => DataType::Utf8,
        };
        let mut name = feature.name.clone();
        // A feature may have the name of one of our columns, or of one that had to give way.
        while fields.iter().any(|field| *field.name() == name) {
            name.insert_str(0, "feature_");
        }
        fields.push(Field::new(name, kind, true));
    }
    Schema::new(fields)
}

impl FeatureColumn {
    fn of(feature: &FeatureSpec) -> Self {
        match feature.kind {
            ColumnKind::Number | ColumnKind::Date => Self::Number(Float64Builder::new()),
            ColumnKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnKind::Category => Self::Category(StringBuilder::new()),
        }
    }

    fn push(&mut self, spec: &FeatureSpec, value: f64) {
        let known = (!value.is_nan()).then_some(value);
        match self {
            Self::Number(column) => column.append_option(known),
            Self::Boolean(column) => column.append_option(known.map(|value| value != 0.0)),
            Self::Category(column) => {
                let text = |value: f64| spec.categories.get(value as usize).map_or(UNSEEN, String::as_str);
                column.append_option(known.map(text));
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Number(column) => Arc::new(column.finish()),
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::Category(column) => Arc::new(column.finish()),
        }
    }
}
