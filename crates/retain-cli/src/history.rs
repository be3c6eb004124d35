//! What was decided for customers before, from the Parquet file that the log of decisions exports.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use arrow::array::{Array, AsArray, BooleanArray, ListArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::TimestampMillisecondType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retain_core::{DecisionId, PastDecision};

use crate::exit::{Complaint, Exit};

/// What is read of an export.
const COLUMNS: [&str; 9] =
    ["id", "customer_id", "decided_at", "playbook", "action", "channel", "holdout", "overridden_by", "outcomes"];
const DAY_MS: f64 = 86_400_000.0;

/// Earlier decisions by customer.
#[derive(Debug, Default)]
pub(crate) struct History(HashMap<String, Vec<PastDecision>>);

impl History {
    /// Reads the decisions of the last `days` before `now_ms`.
    ///
    /// # Errors
    /// A complaint for a file that is no export, or that has a cell which cannot be.
    pub(crate) fn read(path: &Path, now_ms: i64, days: f64) -> Result<Self> {
        let attempt = || format!("cannot read the earlier decisions `{}`", path.display());
        let since_ms = now_ms.saturating_sub((days.max(0.0) * DAY_MS).ceil() as i64);
        let file = File::open(path).with_context(attempt)?;
        let refused = |why: anyhow::Error| {
            let complaint = Complaint::new(Exit::DATA, attempt()).because(why);
            complaint.hint("name the Parquet file that the log of decisions exports")
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| refused(error.into()))?;
        let schema = builder.schema();
        if let Some(absent) = COLUMNS.iter().find(|name| schema.column_with_name(name).is_none()) {
            return Err(refused(anyhow!("there is no column `{absent}`")).into());
        }
        let roots: Vec<usize> = COLUMNS.iter().filter_map(|name| Some(schema.column_with_name(name)?.0)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder.with_projection(mask).build().map_err(|error| refused(error.into()))?;
        let mut history = Self::default();
        let mut n_read = 0;
        for batch in reader {
            let batch = batch.map_err(|error| refused(error.into()))?;
            history.add(&batch, n_read, since_ms).map_err(refused)?;
            n_read += batch.num_rows();
        }
        Ok(history)
    }

    /// What was decided for a customer, in no order.
    pub(crate) fn of(&self, customer_id: &str) -> &[PastDecision] {
        self.0.get(customer_id).map_or(&[], Vec::as_slice)
    }

    /// All decisions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PastDecision> {
        self.0.values().flatten()
    }

    fn add(&mut self, batch: &RecordBatch, n_read: usize, since_ms: i64) -> Result<()> {
        let (ids, customers, playbooks) = (text(batch, "id")?, text(batch, "customer_id")?, text(batch, "playbook")?);
        let (actions, channels, overrides) = (text(batch, "action")?, text(batch, "channel")?, text(batch, "overridden_by")?);
        let decided: &TimestampMillisecondArray = column(batch, "decided_at", |column| column.as_primitive_opt())?;
        let holdouts: &BooleanArray = column(batch, "holdout", |column| column.as_boolean_opt())?;
        let outcomes = Outcomes::of(batch)?;
        for row in 0..batch.num_rows() {
            if decided.value(row) < since_ms {
                continue;
            }
            let place = |what: &str, found: &str| anyhow!("row {}: {what}, found `{found}`", n_read + row + 1);
            let id: DecisionId = ids.value(row).parse().map_err(|error| place(&format!("{error}"), ids.value(row)))?;
            let decision = PastDecision {
                id,
                playbook: playbooks.value(row).to_owned(),
                action: actions.value(row).to_owned(),
                channel: channels.is_valid(row).then(|| channels.value(row).to_owned()),
                decided_at_ms: decided.value(row),
                holdout: holdouts.value(row),
                outcomes: outcomes.row(row).map_err(|kind| place("`kind` should be an outcome", &kind))?,
                overridden: overrides.is_valid(row).then(|| overrides.value(row).to_owned()),
            };
            self.0.entry(customers.value(row).trim().to_owned()).or_default().push(decision);
        }
        Ok(())
    }
}

/// The reports of some decisions.
struct Outcomes {
    lists: ListArray,
    kinds: StringArray,
    at: TimestampMillisecondArray,
}

impl Outcomes {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let lists: &ListArray = column(batch, "outcomes", |column| column.as_list_opt())?;
        let wrong = || anyhow!("the column `outcomes` should be lists of `kind` and `occurred_at`");
        let records = lists.values().as_struct_opt().ok_or_else(wrong)?;
        let kinds = records.column_by_name("kind").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(wrong)?;
        let at = records.column_by_name("occurred_at");
        let at = at.and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>()).ok_or_else(wrong)?;
        Ok(Self { lists: lists.clone(), kinds: kinds.clone(), at: at.clone() })
    }

    /// What was reported of one decision, or a kind that is none.
    fn row(&self, row: usize) -> Result<Vec<(retain_core::OutcomeEvent, i64)>, String> {
        let offsets = self.lists.value_offsets();
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        let one = |idx: usize| {
            let kind = self.kinds.value(idx);
            Ok((kind.parse().map_err(|_| kind.chars().take(40).collect::<String>())?, self.at.value(idx)))
        };
        (from..to).map(one).collect()
    }
}

fn text<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b StringArray> {
    column(batch, name, |column| column.as_string_opt())
}

fn column<'b, A>(batch: &'b RecordBatch, name: &str, cast: impl Fn(&'b dyn Array) -> Option<&'b A>) -> Result<&'b A> {
    let column = batch.column_by_name(name).ok_or_else(|| anyhow!("there is no column `{name}`"))?;
    cast(column.as_ref()).ok_or_else(|| anyhow!("the column `{name}` should not be of type {}", column.data_type()))
}
