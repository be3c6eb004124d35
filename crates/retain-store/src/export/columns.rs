//! Logged decisions as columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields, Schema};
use arrow::error::ArrowError;
use retain_core::{Decision, Money, Outcome, Override};

use crate::records::LoggedDecision;

/// A column, its name, and whether it has nulls.
type Column = (&'static str, ArrayRef, bool);

/// The rows of some decisions; of none for the schema.
pub(super) fn batch(logged: &[LoggedDecision]) -> Result<RecordBatch, ArrowError> {
    let decisions: Vec<_> = logged.iter().map(|logged| &logged.decision).collect();
    let mut columns = decision_columns(&decisions);
    columns.push(("overridden_by", optional(logged, |logged| logged.overrides.last().map(|last| last.action.as_str())), true));
    columns.push(("outcomes", lists(logged, |logged| &logged.outcomes, outcome_columns)?, false));
    columns.push(("overrides", lists(logged, |logged| &logged.overrides, override_columns)?, false));
    let (fields, arrays) = split(columns);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn decision_columns(decisions: &[&Decision]) -> Vec<Column> {
    vec![
        ("id", text(decisions, |decision| decision.id.to_string()), false),
        ("customer_id", text(decisions, |decision| &decision.customer_id), false),
        ("decided_at", time(decisions, |decision| decision.decided_at_ms), false),
        ("playbook", text(decisions, |decision| &decision.playbook), false),
        ("playbook_sha256", text(decisions, |decision| &decision.playbook_sha256), false),
        ("action", text(decisions, |decision| &decision.action), false),
        ("channel", optional(decisions, |decision| decision.channel.as_deref()), true),
        ("propensity", number(decisions, |decision| decision.propensity), false),
        ("holdout", Arc::new(decisions.iter().map(|decision| Some(decision.holdout)).collect::<BooleanArray>()), false),
        ("expected_value", number(decisions, |decision| decision.expected_value), false),
        ("cost", number(decisions, |decision| decision.cost), false),
        ("currency", text(decisions, |decision| &decision.currency), false),
        ("window_closes_at", time(decisions, |decision| decision.window_closes_at_ms), false),
        ("context", text(decisions, |decision| &decision.context), false),
        ("candidates", text(decisions, |decision| &decision.candidates), false),
    ]
}

fn outcome_columns(outcomes: &[&Outcome]) -> Vec<Column> {
    let values = || outcomes.iter().map(|outcome| outcome.value.as_ref());
    let amounts: Float64Array = values().map(|value| value.map(Money::amount)).collect();
    let units: Int64Array = values().map(|value| value.map(Money::minor_units)).collect();
    vec![
        ("key", text(outcomes, |outcome| &outcome.key), false),
        ("kind", text(outcomes, |outcome| outcome.kind.as_str()), false),
        ("occurred_at", time(outcomes, |outcome| outcome.occurred_at_ms), false),
        ("value", Arc::new(amounts), true),
        ("value_minor_units", Arc::new(units), true),
        ("currency", optional(outcomes, |outcome| outcome.value.as_ref().map(Money::currency)), true),
    ]
}

fn override_columns(overrides: &[&Override]) -> Vec<Column> {
    vec![
        ("key", text(overrides, |overriding| &overriding.key), false),
        ("action", text(overrides, |overriding| &overriding.action), false),
        ("who", text(overrides, |overriding| &overriding.who), false),
        ("why", text(overrides, |overriding| &overriding.why), false),
        ("occurred_at", time(overrides, |overriding| overriding.occurred_at_ms), false),
    ]
}

/// One list of records for each decision.
fn lists<'l, R: 'l>(
    logged: &'l [LoggedDecision],
    reports: impl Fn(&'l LoggedDecision) -> &'l Vec<R>,
    columns: impl Fn(&[&'l R]) -> Vec<Column>,
) -> Result<ArrayRef, ArrowError> {
    let all: Vec<_> = logged.iter().flat_map(&reports).collect();
    let (fields, arrays) = split(columns(&all));
    let records = StructArray::try_new(fields, arrays, None)?;
    let offsets = OffsetBuffer::from_lengths(logged.iter().map(|logged| reports(logged).len()));
    let item = Arc::new(Field::new("item", records.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(records), None)?))
}

fn split(columns: Vec<Column>) -> (Fields, Vec<ArrayRef>) {
    let field = |(name, array, has_nulls): Column| (Field::new(name, array.data_type().clone(), has_nulls), array);
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().map(field).unzip();
    (fields.into(), arrays)
}

fn text<'r, R, T: AsRef<str>>(records: &'r [R], read: impl Fn(&'r R) -> T) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(records.iter().map(read)))
}

fn optional<'r, R>(records: &'r [R], read: impl Fn(&'r R) -> Option<&'r str>) -> ArrayRef {
    Arc::new(records.iter().map(read).collect::<StringArray>())
}

fn number<R>(records: &[R], read: impl Fn(&R) -> f64) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(records.iter().map(read)))
}

fn time<R>(records: &[R], read: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(records.iter().map(read)).with_timezone("UTC"))
}
