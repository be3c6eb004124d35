//! Rows of a table as the rules of a playbook read them: features, what its models say, and the assessment made of both.
//!
//! [`RuleTable`] finds the columns, [`RuleTable::each_batch`] streams them, and [`RuleBatch::look`] says all that is known of one row.
//! A column that rules read and that the table lacks is missing for everybody, and told once.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use retain_core::{Day, FeatureValue, PastDecision, nearest};
use retain_data::{Cells, Names, TableSource};
use retain_policy::assess::{Assessed, Previous};
use retain_policy::decide::{Facts, Prediction};
use retain_policy::playbook::Playbook;
use retain_policy::rule::{Name, NameType, Values};

use crate::exit::Complaint;
use crate::input::table_attempt;
use crate::output::Output;
use crate::row_models::{ModelRows, RowModel, Said};
use crate::score_writer::Entity;

/// Columns that are told when there are many.
const TOLD_COLUMNS: usize = 10;

/// What is read besides features.
#[derive(Default)]
pub(crate) struct Columns<'c> {
    /// Who a row is about; absent: as the models have it, or the row's number.
    pub(crate) entity: Option<&'c str>,
    /// The day that a row's features are of; absent: now.
    pub(crate) observed_at: Option<&'c str>,
    /// Columns that the verb itself reads.
    pub(crate) own: Vec<&'c str>,
}

/// A table whose columns were found.
pub(crate) struct RuleTable<'a> {
    playbook: &'a Playbook,
    source: &'a TableSource,
    models: &'a [RowModel],
    now_ms: i64,
    /// Whether to say which features raise the predictions.
    pub(crate) with_reasons: bool,
    /// Positions in the file, ascending; all others are positions in this list.
    idxs: Vec<usize>,
    entity: Option<(String, usize)>,
    observed_at: Option<usize>,
    own: Vec<usize>,
    features: HashMap<String, usize>,
    /// Whether rules read a column as texts, whatever the file has there.
    is_text: Vec<bool>,
}

/// Some rows of a table.
pub(crate) struct RuleBatch<'t> {
    table: &'t RuleTable<'t>,
    /// Position of the first row in the table, from 0.
    pub(crate) first_row: usize,
    /// Who each row is about.
    pub(crate) names: Names,
    ids: Vec<String>,
    columns: Vec<ArrayRef>,
    /// By model, by row.
    said: Vec<Vec<Option<Said>>>,
}

/// All that is known of one row.
pub(crate) struct Seen<'v> {
    pub(crate) customer_id: &'v str,
    pub(crate) values: Values<'v>,
    pub(crate) assessed: Assessed,
    /// Features that speak for leaving, the strongest first.
    pub(crate) reasons: &'v [&'v str],
}

/// What became of the rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) n_rows: usize,
    /// Rows that some model could not score.
    pub(crate) n_rejected: usize,
}

impl<'a> RuleTable<'a> {
    /// Finds the columns that are needed.
    ///
    /// # Errors
    /// A complaint that names a column of `columns` which the table does not have.
    pub(crate) fn open(
        playbook: &'a Playbook,
        source: &'a TableSource,
        models: &'a [RowModel],
        columns: &Columns<'_>,
        now_ms: i64,
        output: Output,
    ) -> Result<Self> {
        let by_models = models.iter().filter_map(|model| model.scorer.schema().entity.as_deref());
        let entity = columns.entity.or_else(|| by_models.into_iter().find(|name| source.column_idx(name).is_some()));
        let entity = entity.map(|name| Ok::<_, anyhow::Error>((name.to_owned(), column(source, name)?))).transpose()?;
        let observed_at = columns.observed_at.map(|name| column(source, name)).transpose()?;
        let own = columns.own.iter().map(|name| column(source, name)).collect::<Result<Vec<_>>>()?;
        let mut read: Vec<(&str, usize, bool)> = Vec::new();
        let mut absent = Vec::new();
        for (slot, name) in playbook.names().iter() {
            let Name::Feature(feature) = name else { continue };
            match source.column_idx(feature) {
                Some(idx) => read.push((feature, idx, playbook.names().value_type(slot) == NameType::Text)),
                None => absent.push(feature.as_str()),
            }
        }
        tell_absent(&absent, source, output);
        let others = entity.iter().map(|(_, idx)| *idx).chain(observed_at).chain(own.iter().copied());
        let mut idxs: Vec<usize> = read.iter().map(|(_, idx, _)| *idx).chain(others).collect();
        idxs.sort_unstable();
        idxs.dedup();
        // A table of which nothing is read still has rows.
        if idxs.is_empty() {
            idxs.push(0);
        }
        let at = |idx: usize| idxs.partition_point(|other| *other < idx);
        let mut is_text = vec![false; idxs.len()];
        read.iter().filter(|(_, _, text)| *text).for_each(|(_, idx, _)| is_text[at(*idx)] = true);
        Ok(Self {
            features: read.iter().map(|(feature, idx, _)| ((*feature).to_owned(), at(*idx))).collect(),
            entity: entity.map(|(name, idx)| (name, at(idx))),
            observed_at: observed_at.map(at),
            own: own.into_iter().map(at).collect(),
            is_text,
            idxs,
            playbook,
            source,
            models,
            now_ms,
            with_reasons: false,
        })
    }

    /// The column that says who a row is about.
    pub(crate) fn entity(&self) -> Option<&str> {
        self.entity.as_ref().map(|(name, _)| name.as_str())
    }

    /// The first column of a result: who was looked at, as the table has it.
    pub(crate) fn result_entity(&self) -> Entity<'_> {
        let Some((name, position)) = &self.entity else { return Entity { name: "row", is_integer: true } };
        // A batch that cannot be read is told of when the rows are looked at.
        let first = self.source.batches(&[self.idxs[*position]]).ok().and_then(|mut batches| batches.next()?.ok());
        let is_integer = first.is_some_and(|batch| *batch.schema().field(0).data_type() == DataType::Int64);
        Entity { name, is_integer }
    }

    /// Hands over the rows in their order, some thousands at a time.
    ///
    /// # Errors
    /// Whatever is wrong with the table, and what `visit` refuses.
    pub(crate) fn each_batch(&self, output: Output, mut visit: impl FnMut(&RuleBatch<'_>) -> Result<()>) -> Result<RowCounts> {
        let attempt = || table_attempt(self.source.name());
        let now = Day::from_seconds(self.now_ms as f64 / 1000.0);
        let open = |model| ModelRows::open(model, self.source, now, self.with_reasons).with_context(attempt);
        let mut models: Vec<ModelRows<'_>> = self.models.iter().map(open).collect::<Result<_>>()?;
        let mut batches = self.source.batches(&self.idxs).with_context(attempt)?;
        let mut counts = RowCounts::default();
        while let Some(batch) = batches.next().transpose().with_context(attempt)? {
            let n_rows = batch.num_rows();
            let said: Vec<_> =
                models.iter_mut().map(|model| model.next_rows(n_rows).with_context(attempt)).collect::<Result<_>>()?;
            counts.n_rejected += (0..n_rows).filter(|&row| said.iter().any(|said| said[row].is_none())).count();
            visit(&RuleBatch::new(self, counts.n_rows, batch.columns(), said))?;
            counts.n_rows += n_rows;
        }
        for warning in batches.warnings() {
            output.warn(warning.code, &warning.message);
        }
        for model in &models {
            model.tell(output);
        }
        Ok(counts)
    }
}

/// The position of a column that was named on the command line.
fn column(source: &TableSource, name: &str) -> Result<usize> {
    source.column_idx(name).ok_or_else(|| {
        let complaint = Complaint::usage(format!("the table `{}` has no column `{name}`", source.name()));
        let hint = match nearest(name, source.columns().iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "compare the name with the table's header; upper and lower case differ".to_owned(),
        };
        complaint.hint(hint).into()
    })
}

fn tell_absent(absent: &[&str], source: &TableSource, output: Output) {
    if absent.is_empty() {
        return;
    }
    let told: Vec<String> = absent.iter().take(TOLD_COLUMNS).map(|feature| format!("`{feature}`")).collect();
    let more = if absent.len() > TOLD_COLUMNS { format!(" and {} more", absent.len() - TOLD_COLUMNS) } else { String::new() };
    let near = absent.iter().find_map(|feature| nearest(feature, source.columns().iter().map(String::as_str)));
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let message = format!("rules read {}{more}, and the table has no such columns: missing for everybody{near}", told.join(", "));
    output.warn("absent_columns", &message);
}

impl<'t> RuleBatch<'t> {
    fn new(table: &'t RuleTable<'t>, first_row: usize, columns: &[ArrayRef], said: Vec<Vec<Option<Said>>>) -> Self {
        let n_rows = columns.first().map_or(0, |column| column.len());
        let numbered = || Names::numbered(first_row, n_rows);
        let names = table.entity.as_ref().map_or_else(numbered, |(_, position)| Names::of_column(&columns[*position]));
        let ids = names.iter().map(|name| name.trim().to_owned()).collect();
        let columns =
            columns.iter().zip(&table.is_text).map(|(column, &text)| if text { as_text(column) } else { Arc::clone(column) });
        Self { table, first_row, names, ids, columns: columns.collect(), said }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.ids.len()
    }

    /// Who a row is about, blank where the table does not say.
    pub(crate) fn id(&self, row: usize) -> &str {
        &self.ids[row]
    }

    /// A column that the verb asked for.
    pub(crate) fn own(&self, position: usize) -> Cells<'_> {
        Cells::of(&self.columns[self.table.own[position]])
    }

    /// What a model says of a row, by the model's position; none where the row could not be scored.
    pub(crate) fn said(&self, model: usize, row: usize) -> Option<&Said> {
        self.said[model][row].as_ref()
    }

    /// The day that a row's features are of.
    pub(crate) fn observed(&self, row: usize) -> Option<Day> {
        day_of(Cells::of(&self.columns[self.table.observed_at?]).value(row))
    }

    /// Looks at a row and hands what is known to `visit`; everything in it lives as long as that takes.
    pub(crate) fn look<T>(
        &self,
        row: usize,
        history: &[PastDecision],
        previous: Option<&Previous>,
        visit: impl FnOnce(Seen<'_>) -> T,
    ) -> T {
        let table = self.table;
        let said = || table.models.iter().zip(&self.said).filter_map(|(model, said)| Some((model, said[row].as_ref()?)));
        let predictions: Vec<Prediction<'_>> = said().map(|(model, said)| said.as_read(&model.name)).collect();
        let feature = |name: &str| {
            let position = table.features.get(name).copied();
            position.map_or(FeatureValue::Missing, |position| Cells::of(&self.columns[position]).value(row))
        };
        let now = Day::from_seconds(table.now_ms as f64 / 1000.0);
        let facts = Facts {
            customer_id: &self.ids[row],
            now_ms: table.now_ms,
            observed: self.observed(row).unwrap_or(now),
            features: &feature,
            predictions: &predictions,
            history,
        };
        let mut values = table.playbook.values(&facts);
        let assessed = table.playbook.assessment().assess(&mut values, previous, table.now_ms);
        let features = |model: &'t RowModel, idx: usize| model.scorer.schema().features[idx].name.as_str();
        let reasons: Vec<&str> =
            said().flat_map(|(model, said)| said.reasons.iter().map(move |idx| features(model, *idx))).collect();
        visit(Seen { customer_id: &self.ids[row], values, assessed, reasons: &reasons })
    }
}

/// The point in time that a cell names, if it does.
pub(crate) fn day_of(value: FeatureValue<'_>) -> Option<Day> {
    match value {
        FeatureValue::Day(day) => Some(day),
        FeatureValue::Text(text) => Day::parse(text).ok(),
        _ => None,
    }
}

/// A file that holds categories as numbers means their texts: CSV would have them so.
fn as_text(column: &ArrayRef) -> ArrayRef {
    if *column.data_type() == DataType::Utf8 {
        return Arc::clone(column);
    }
    let cells = Cells::of(column);
    let text = |row| Some(cells.text(row)).filter(|text| !text.is_empty());
    Arc::new((0..column.len()).map(text).collect::<StringArray>())
}
