//! The pass that fills a [`Dataset`]: a known schema, every row with a label, every cell checked.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use retain_core::{ColumnKind, Day, FeatureSchema, FeatureValue, ValueError};

use crate::cells::{Cells, FeatureEncoder, ShortCuts};
use crate::dataset::Dataset;
use crate::error::{DataError, RejectedCell, Warning};
use crate::profile::missing_markers;
use crate::read::nearest_hint;
use crate::table::TableSource;
use crate::target::{TargetReader, amount};
use crate::treatment::TreatmentReader;

/// Order numbers of the columns that are not features, in which rejected cells of one row are told; features come after 0, the date.
const TARGET_ORDER: usize = usize::MAX - 3;
const DURATION_ORDER: usize = usize::MAX - 2;
const PROPENSITY_ORDER: usize = usize::MAX - 1;
const PAST_ORDER: usize = usize::MAX;

/// Rejected cells that are told in full.
const LISTED_CELLS: usize = 20;

/// Where the columns of a schema stand in the batches read for it.
pub(crate) struct Layout {
    /// Positions in the table, ascending.
    pub(crate) idxs: Vec<usize>,
    /// Positions in a batch.
    pub(crate) features: Vec<usize>,
    pub(crate) entity: Option<usize>,
    pub(crate) observed: Option<usize>,
    target: Option<usize>,
    duration: Option<usize>,
    past: Option<usize>,
    treatment: Option<usize>,
    propensity: Option<usize>,
    pub(crate) group: Option<usize>,
}

impl Layout {
    /// Features and entity are columns of the table; the caller has checked that.
    pub(crate) fn new(source: &TableSource, schema: &FeatureSchema, target: Option<&str>, group: Option<&str>) -> Self {
        let by_name: HashMap<&str, usize> = source.columns().iter().enumerate().map(|(idx, name)| (name.as_str(), idx)).collect();
        let table_idx = |name: &str| by_name.get(name).copied();
        let observed = schema.observed_at.as_deref();
        // Rows without a target are there to be scored: how long they were followed, or what came before, is not asked.
        let duration = target.and(schema.duration.as_ref()).map(|duration| duration.column.as_str());
        let past = target.and(schema.past.as_deref());
        let treated = target.and(schema.treatment.as_ref());
        let treatment = treated.map(|spec| spec.column.as_str());
        let propensity = treated.and_then(|spec| spec.propensity.as_deref());
        let others = [schema.entity.as_deref(), observed, target, duration, past, treatment, propensity, group];
        let names = schema.features.iter().map(|feature| feature.name.as_str()).chain(others.into_iter().flatten());
        let mut idxs: Vec<usize> = names.filter_map(table_idx).collect();
        idxs.sort_unstable();
        idxs.dedup();
        let place = |name: &str| table_idx(name).and_then(|idx| idxs.binary_search(&idx).ok());
        Self {
            features: schema.features.iter().filter_map(|feature| place(&feature.name)).collect(),
            entity: schema.entity.as_deref().and_then(place),
            observed: observed.and_then(place),
            target: target.and_then(place),
            duration: duration.and_then(place),
            past: past.and_then(place),
            treatment: treatment.and_then(place),
            propensity: propensity.and_then(place),
            group: group.and_then(place),
            idxs,
        }
    }

    /// When each row of a batch was known: by its own date, or else by `reference`.
    ///
    /// `reject` is told of every date that cannot be read; a missing one is told where there is no reference.
    pub(crate) fn observed(
        &self,
        batch: &RecordBatch,
        reference: Option<Day>,
        mut reject: impl FnMut(usize, ValueError),
    ) -> Vec<Option<Day>> {
        let Some(position) = self.observed else { return vec![reference; batch.num_rows()] };
        let cells = Cells::of(batch.column(position));
        let mut read = |row: usize| match observation(cells.value(row)) {
            Ok(Some(day)) => Some(day),
            Ok(None) if reference.is_some() => reference,
            Ok(None) => {
                reject(row, ValueError::NotDate { found: String::new() });
                None
            }
            Err(problem) => {
                reject(row, problem);
                None
            }
        };
        (0..batch.num_rows()).map(&mut read).collect()
    }
}

fn observation(value: FeatureValue<'_>) -> Result<Option<Day>, ValueError> {
    let not_date = |found: String| ValueError::NotDate { found: crate::task::shorten(&found) };
    match value {
        FeatureValue::Missing => Ok(None),
        FeatureValue::Text(text) if text.trim().is_empty() => Ok(None),
        FeatureValue::Text(text) => Day::parse(text).map(Some).map_err(|_| not_date(text.to_owned())),
        FeatureValue::Day(day) => Ok(Some(day)),
        FeatureValue::Number(number) => Err(not_date(number.to_string())),
        FeatureValue::Boolean(yes) => Err(not_date(yes.to_string())),
    }
}

/// A dataset, and what was seen on the way.
pub(crate) struct Loaded {
    pub(crate) dataset: Dataset,
    pub(crate) target: TargetReader,
    pub(crate) treatment: Option<TreatmentReader>,
    pub(crate) warnings: Vec<Warning>,
}

/// Fills a dataset batch by batch.
pub(crate) struct Loader {
    layout: Layout,
    label: TargetReader,
    treatment: Option<TreatmentReader>,
    reference: Option<Day>,
    dataset: Dataset,
    groups: HashMap<String, u32>,
    n_groups: u32,
    /// Rows of the table so far, with or without a label.
    n_read: usize,
    rejected: Vec<RejectedCell>,
    n_rejected_cells: usize,
    n_rejected_rows: usize,
}

impl Loader {
    pub(crate) fn new(
        source: &TableSource,
        schema: FeatureSchema,
        label: TargetReader,
        group: Option<&str>,
        reference: Option<Day>,
    ) -> Result<Self, DataError> {
        let layout = Layout::new(source, &schema, Some(&schema.target), group);
        if layout.target.is_none() {
            let columns = vec![schema.target.clone()];
            let hint = nearest_hint(source, &schema.target);
            return Err(DataError::UnknownColumn { named_in: "`target` of the model".to_owned(), columns, hint });
        }
        check_treatment(source, &schema, &layout)?;
        check_observation(&schema, &layout, reference)?;
        let treatment = schema.treatment.as_ref().map(TreatmentReader::new);
        let dataset = Dataset {
            columns: vec![Vec::new(); schema.n_features()],
            target: Vec::new(),
            weight: None,
            duration: schema.duration.as_ref().map(|_| Vec::new()),
            past: layout.past.map(|_| Vec::new()),
            treatment: layout.treatment.map(|_| Vec::new()),
            propensity: layout.propensity.map(|_| Vec::new()),
            entity: Vec::new(),
            group: Vec::new(),
            observed: layout.observed.map(|_| Vec::new()),
            schema,
        };
        Ok(Self {
            layout,
            label,
            treatment,
            reference,
            dataset,
            groups: HashMap::new(),
            n_groups: 0,
            n_read: 0,
            rejected: Vec::new(),
            n_rejected_cells: 0,
            n_rejected_rows: 0,
        })
    }

    pub(crate) fn load(mut self, source: &TableSource) -> Result<Loaded, DataError> {
        let mut batches = source.batches(&self.layout.idxs)?;
        for batch in batches.by_ref() {
            self.add(&batch?);
        }
        if self.n_rejected_cells > 0 {
            let (n_cells, n_rows) = (self.n_rejected_cells, self.n_rejected_rows);
            return Err(DataError::RejectedCells { first: self.rejected, n_cells, n_rows });
        }
        Ok(Loaded { dataset: self.dataset, target: self.label, treatment: self.treatment, warnings: batches.warnings() })
    }

    fn add(&mut self, batch: &RecordBatch) {
        let mut rejected = BatchRejects::new(self.n_read, batch.num_rows());
        let chosen = self.add_targets(batch, &mut rejected);
        self.add_durations(batch, &chosen, &mut rejected);
        self.add_past(batch, &chosen, &mut rejected);
        self.add_propensities(batch, &chosen, &mut rejected);
        let kept = kept_rows(&chosen, batch.num_rows());
        let observed_at = self.dataset.schema.observed_at.clone().unwrap_or_default();
        let observed = self.layout.observed(batch, self.reference, |row, problem| {
            if kept[row] {
                rejected.add(row, &observed_at, 0, problem);
            }
        });
        if let Some(days) = &mut self.dataset.observed {
            days.extend(chosen.iter().map(|&row| observed[row].map_or(f64::NAN, Day::days)));
        }
        let features = self.dataset.schema.features.iter().zip(&self.layout.features);
        for (order, ((spec, &position), column)) in features.zip(&mut self.dataset.columns).enumerate() {
            let short_cuts = ShortCuts::of(spec);
            let (cells, mut encoder) = (Cells::of(batch.column(position)), FeatureEncoder::new(spec, &short_cuts));
            column.extend(chosen.iter().map(|&row| match encoder.encode(cells, row, observed[row]) {
                Ok((number, _)) => number,
                // The date of observation was rejected already, and is the thing to correct.
                Err(ValueError::NoObservation) if rejected.rows[row] => f64::NAN,
                Err(problem) => {
                    rejected.add(row, &spec.name, order + 1, problem);
                    f64::NAN
                }
            }));
        }
        self.add_names(batch, &chosen);
        self.n_read += batch.num_rows();
        self.keep_first(rejected);
    }

    /// Adds the targets, with their treatments where there are any, and returns the rows that have both.
    fn add_targets(&mut self, batch: &RecordBatch, rejected: &mut BatchRejects) -> Vec<usize> {
        let Some(target) = self.layout.target.map(|position| Cells::of(batch.column(position))) else { return Vec::new() };
        let mut chosen = Vec::with_capacity(batch.num_rows());
        let treatments = self.layout.treatment.map(|position| Cells::of(batch.column(position)));
        for row in 0..batch.num_rows() {
            let arm = match (treatments, &mut self.treatment) {
                (Some(cells), Some(reader)) => match reader.read(cells, row) {
                    Some(arm) => Some(arm),
                    // A row of no arm says nothing of any effect.
                    None => continue,
                },
                _ => None,
            };
            let value = self.label.read(target, row).unwrap_or_else(|problem| {
                rejected.add(row, &self.dataset.schema.target, TARGET_ORDER, problem);
                None
            });
            if let Some(value) = value {
                self.dataset.target.push(value);
                if let Some(arms) = &mut self.dataset.treatment {
                    arms.extend(arm);
                }
                chosen.push(row);
            }
        }
        chosen
    }

    fn add_durations(&mut self, batch: &RecordBatch, chosen: &[usize], rejected: &mut BatchRejects) {
        let (Some(spec), Some(durations)) = (&self.dataset.schema.duration, &mut self.dataset.duration) else { return };
        let Some(cells) = self.layout.duration.map(|position| Cells::of(batch.column(position))) else { return };
        let markers = missing_markers(None);
        durations.extend(chosen.iter().map(|&row| match amount(cells.value(row), &markers) {
            Ok(Some(units)) if units >= 0.0 => units * spec.unit_days,
            Ok(units) => {
                let found = units.map_or_else(String::new, |units| units.to_string());
                rejected.add(row, &spec.column, DURATION_ORDER, ValueError::NotDuration { found });
                f64::NAN
            }
            Err(problem) => {
                rejected.add(row, &spec.column, DURATION_ORDER, problem);
                f64::NAN
            }
        }));
    }

    /// What cannot be read here is told where the same column is read as a feature, if it is one of numbers.
    fn add_past(&mut self, batch: &RecordBatch, chosen: &[usize], rejected: &mut BatchRejects) {
        let (Some(name), Some(past)) = (&self.dataset.schema.past, &mut self.dataset.past) else { return };
        let Some(cells) = self.layout.past.map(|position| Cells::of(batch.column(position))) else { return };
        let is_told = self.dataset.schema.features.iter().any(|spec| spec.name == *name && spec.kind == ColumnKind::Number);
        let markers = missing_markers(None);
        past.extend(chosen.iter().map(|&row| match amount(cells.value(row), &markers) {
            Ok(amount) => amount.unwrap_or(f64::NAN),
            Err(problem) => {
                if !is_told {
                    rejected.add(row, name, PAST_ORDER, problem);
                }
                f64::NAN
            }
        }));
    }

    fn add_propensities(&mut self, batch: &RecordBatch, chosen: &[usize], rejected: &mut BatchRejects) {
        let Some(name) = self.dataset.schema.treatment.as_ref().and_then(|spec| spec.propensity.as_ref()) else { return };
        let Some(cells) = self.layout.propensity.map(|position| Cells::of(batch.column(position))) else { return };
        let Some(propensity) = &mut self.dataset.propensity else { return };
        let markers = missing_markers(None);
        propensity.extend(chosen.iter().map(|&row| {
            let found = match amount(cells.value(row), &markers) {
                Ok(Some(chance)) if chance > 0.0 && chance <= 1.0 => return chance,
                Ok(chance) => chance.map_or_else(String::new, |chance| chance.to_string()),
                Err(_) => cells.text(row).chars().take(40).collect(),
            };
            rejected.add(row, name, PROPENSITY_ORDER, ValueError::NotPropensity { found });
            f64::NAN
        }));
    }

    fn add_names(&mut self, batch: &RecordBatch, chosen: &[usize]) {
        let entity = self.layout.entity.map(|position| Cells::of(batch.column(position)));
        let group = self.layout.group.map(|position| Cells::of(batch.column(position))).or(entity);
        for &row in chosen {
            let name = entity.map_or_else(|| (self.n_read + row + 1).to_string(), |cells| cells.text(row).into_owned());
            self.dataset.entity.push(name);
            let key = group.map(|cells| cells.text(row)).filter(|key| !key.trim().is_empty());
            // A row of nobody known is a group of its own.
            let number = match key {
                Some(key) => self.group_of(&key),
                None => self.next_group(),
            };
            self.dataset.group.push(number);
        }
    }

    fn group_of(&mut self, key: &str) -> u32 {
        if let Some(&known) = self.groups.get(key) {
            return known;
        }
        let number = self.next_group();
        self.groups.insert(key.to_owned(), number);
        number
    }

    fn next_group(&mut self) -> u32 {
        self.n_groups += 1;
        self.n_groups - 1
    }

    fn keep_first(&mut self, rejected: BatchRejects) {
        self.n_rejected_cells += rejected.n_cells;
        self.n_rejected_rows += rejected.rows.iter().filter(|&&has| has).count();
        let mut cells = rejected.cells;
        cells.sort_by_key(|(order, cell)| (cell.row, *order));
        let room = LISTED_CELLS - self.rejected.len();
        self.rejected.extend(cells.into_iter().take(room).map(|(_, cell)| cell));
    }
}

/// Rejected cells of one batch; of each column only as many as could be listed.
struct BatchRejects {
    first_row: usize,
    rows: Vec<bool>,
    cells: Vec<(usize, RejectedCell)>,
    n_cells: usize,
    of_column: (usize, usize),
}

impl BatchRejects {
    fn new(first_row: usize, n_rows: usize) -> Self {
        Self { first_row, rows: vec![false; n_rows], cells: Vec::new(), n_cells: 0, of_column: (0, 0) }
    }

    fn add(&mut self, row: usize, column: &str, order: usize, problem: ValueError) {
        self.rows[row] = true;
        self.n_cells += 1;
        if self.of_column.0 != order {
            self.of_column = (order, 0);
        }
        self.of_column.1 += 1;
        if self.of_column.1 <= LISTED_CELLS {
            let is_feature = (1..TARGET_ORDER).contains(&order);
            let row = self.first_row + row + 1;
            self.cells.push((order, RejectedCell { row, column: column.to_owned(), is_feature, problem }));
        }
    }
}

fn kept_rows(chosen: &[usize], n_rows: usize) -> Vec<bool> {
    let mut kept = vec![false; n_rows];
    for &row in chosen {
        kept[row] = true;
    }
    kept
}

/// A model of effects is judged by rows of which is known what was done with them.
fn check_treatment(source: &TableSource, schema: &FeatureSchema, layout: &Layout) -> Result<(), DataError> {
    let Some(spec) = &schema.treatment else { return Ok(()) };
    let propensity = spec.propensity.as_ref().filter(|_| layout.propensity.is_none()).map(|column| ("propensity", column));
    let treatment = layout.treatment.is_none().then_some(("treatment", &spec.column));
    match treatment.or(propensity) {
        None => Ok(()),
        Some((role, column)) => {
            let hint = nearest_hint(source, column);
            Err(DataError::UnknownColumn { named_in: format!("`{role}` of the model"), columns: vec![column.clone()], hint })
        }
    }
}

/// Dates need a day to count to.
pub(crate) fn check_observation(schema: &FeatureSchema, layout: &Layout, reference: Option<Day>) -> Result<(), DataError> {
    if !schema.has_dates() || layout.observed.is_some() || reference.is_some() {
        return Ok(());
    }
    let column = schema.observed_at.as_ref().map_or_else(|| "(the model names none)".to_owned(), |name| format!("`{name}`"));
    Err(DataError::NoObservation { column })
}
