//! Writes the rows of the table, a batch at a time.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use retain_core::Day;
use retain_data::{Customer, CustomerTable, Outcome, PurchaseSummary};

use super::forecasts::Forecasts;
use crate::exit::Complaint;
use crate::score_writer::Sink;

/// Customers whose rows are made before they are written.
const BATCH_CUSTOMERS: usize = 8192;
const OBSERVED_AT: &str = "observed_at";
/// What came after, first the one that the task predicts.
const LABELS: [&str; 3] = ["value_next", "purchases_next", "churned_next"];

/// What was written.
pub(super) struct Written {
    pub(super) n_rows: usize,
    pub(super) n_columns: usize,
    pub(super) labels: Vec<String>,
}

struct Row<'l> {
    customer: &'l str,
    origin: i32,
    features: Vec<f64>,
    outcome: Option<Outcome>,
}

/// Writes one row per customer and observation date: dates in order of time, customers in the order of the log.
///
/// Columns: the customer under the log's own name, `observed_at`, features, forecasts, and labels where the rows have them.
pub(super) fn write(
    path: &Path,
    customer_column: &str,
    customers: &CustomerTable<'_>,
    forecasts: Option<&Forecasts>,
    labelled: bool,
) -> Result<Written> {
    let mut features = customers.feature_names();
    features.extend(forecasts.iter().flat_map(|forecasts| forecasts.names()).map(|&name| name.to_owned()));
    let schema = Arc::new(schema(customer_column, &features, labelled)?);
    let mut sink = Sink::create(path, &schema)?;
    let header: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    sink.write_text(&csv_lines(|csv| csv.write_record(&header))?, path)?;
    let mut n_rows = 0;
    for &origin in customers.origins() {
        for batch in customers.log().customers.chunks(BATCH_CUSTOMERS) {
            let row = |customer| make_row(customers, customer, origin, forecasts, labelled);
            let rows: Vec<Row<'_>> = batch.par_iter().filter_map(row).collect();
            if !rows.is_empty() {
                write_rows(&mut sink, path, &schema, &rows)?;
            }
            n_rows += rows.len();
        }
    }
    sink.finish(path)?;
    let labels = if labelled { LABELS.map(str::to_owned).to_vec() } else { Vec::new() };
    Ok(Written { n_rows, n_columns: schema.fields().len(), labels })
}

fn make_row<'l>(
    customers: &CustomerTable<'_>,
    customer: &'l Customer,
    origin: i32,
    forecasts: Option<&Forecasts>,
    labelled: bool,
) -> Option<Row<'l>> {
    let mut features = customers.features(customer, origin)?;
    if let Some(forecasts) = forecasts {
        features.extend(forecasts.values(&PurchaseSummary::of(customer, origin)?));
    }
    let outcome = labelled.then(|| customers.outcome(customer, origin));
    Some(Row { customer: &customer.id, origin, features, outcome })
}

fn schema(customer_column: &str, features: &[String], labelled: bool) -> Result<Schema> {
    let taken = features.iter().map(String::as_str).chain(LABELS).chain([OBSERVED_AT]).any(|name| name == customer_column);
    if taken {
        let message = format!("the customer column is called `{customer_column}`, and so is a column of the table");
        return Err(Complaint::usage(message).hint("rename the column in the log").into());
    }
    let mut fields = vec![Field::new(customer_column, DataType::Utf8, false), Field::new(OBSERVED_AT, DataType::Date32, false)];
    fields.extend(features.iter().map(|name| Field::new(name, DataType::Float64, true)));
    if labelled {
        let kinds = [DataType::Float64, DataType::Float64, DataType::Boolean];
        fields.extend(LABELS.iter().zip(kinds).map(|(name, kind)| Field::new(*name, kind, false)));
    }
    Ok(Schema::new(fields))
}

fn write_rows(sink: &mut Sink, path: &Path, schema: &Arc<Schema>, rows: &[Row<'_>]) -> Result<()> {
    if let Sink::Parquet(writer, _) = sink {
        let batch = record_batch(schema, rows)?;
        return writer.write(&batch).with_context(|| format!("cannot write `{}`", path.display()));
    }
    let lines = csv_lines(|csv| {
        for row in rows {
            let observed_at = Day::from_days(f64::from(row.origin)).to_string();
            csv.write_field(row.customer)?;
            csv.write_field(observed_at)?;
            for value in &row.features {
                csv.write_field(number(*value))?;
            }
            if let Some(outcome) = row.outcome {
                csv.write_field(number(outcome.value))?;
                csv.write_field(outcome.purchases.to_string())?;
                csv.write_field(if outcome.purchases == 0 { "true" } else { "false" })?;
            }
            csv.write_record(None::<&[u8]>)?;
        }
        Ok(())
    })?;
    sink.write_text(&lines, path)
}

/// The shortest text that reads back to the same bits; blank where there is no value.
fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

fn csv_lines(lines: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    lines(&mut csv).context("cannot write CSV")?;
    csv.into_inner().context("cannot write CSV")
}

fn record_batch(schema: &Arc<Schema>, rows: &[Row<'_>]) -> Result<RecordBatch> {
    let n_features = rows.first().map_or(0, |row| row.features.len());
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.customer)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.origin)).collect::<Date32Array>()),
    ];
    for idx in 0..n_features {
        let values = rows.iter().map(|row| Some(row.features[idx]).filter(|value| !value.is_nan()));
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    let outcomes: Vec<Outcome> = rows.iter().filter_map(|row| row.outcome).collect();
    if !outcomes.is_empty() {
        arrays.push(Arc::new(outcomes.iter().map(|outcome| Some(outcome.value)).collect::<Float64Array>()));
        arrays.push(Arc::new(outcomes.iter().map(|outcome| Some(f64::from(outcome.purchases))).collect::<Float64Array>()));
        arrays.push(Arc::new(outcomes.iter().map(|outcome| Some(outcome.purchases == 0)).collect::<BooleanArray>()));
    }
    RecordBatch::try_new(Arc::clone(schema), arrays).context("cannot build the rows of the table")
}
