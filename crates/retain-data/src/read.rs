//! Reads a table into a [`Dataset`]: [`read_training`] learns the schema from it, [`read_labelled`] follows a known one.

use std::collections::{BTreeMap, BTreeSet};

use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec, TaskKind, TreatmentSpec, nearest};

use crate::cells::Cells;
use crate::dataset::Dataset;
use crate::error::{DataError, Warning};
use crate::infer::infer;
use crate::load::{Loaded, Loader};
use crate::profile::{ColumnProfile, missing_markers};
use crate::table::TableSource;
use crate::target::{TargetCounts, TargetReader};
use crate::task::Task;
use crate::treatment::{TreatmentReader, check_arms, is_treatment_column};

/// Rows of either class below which nothing can be learned or measured.
const MIN_CLASS_ROWS: usize = 100;
/// Positive rows below which estimates are rough.
const COMFORTABLE_POSITIVES: usize = 500;

/// A dataset and what was found while reading it.
#[derive(Debug, Clone)]
pub struct Training {
    /// The rows that have a label.
    pub dataset: Dataset,
    /// What is in the table.
    pub report: TableReport,
}

/// What is in a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableReport {
    /// Rows with a label.
    pub n_rows: usize,
    /// What is worth knowing, in the order it was found.
    pub warnings: Vec<Warning>,
    /// Every column, in the order of the table.
    pub columns: Vec<ColumnSummary>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The one day to which dates were counted, where the rows have no date of observation of their own.
    pub reference: Option<Day>,
    /// First and last date of observation.
    pub observed: Option<(Day, Day)>,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// The part it plays.
    pub role: ColumnRole,
    /// What it holds, where that was asked.
    pub kind: Option<ColumnKind>,
    /// Rows without a value; none where the column was not looked at.
    pub n_missing: Option<usize>,
    /// Distinct values; counting ends at 100,000. None where the column was not looked at.
    pub n_distinct: Option<usize>,
}

/// The part a column plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRole {
    /// Models read it.
    Feature,
    /// Names the customer.
    Entity,
    /// The label.
    Target,
    /// When the row was known.
    ObservedAt,
    /// Keeps rows together.
    Group,
    /// How long the customer was followed.
    Duration,
    /// Which treatment the row had, or with which chance.
    Treatment,
    /// The task leaves it out.
    Excluded,
    /// Inference left it out; a warning says why.
    Dropped,
    /// The model does not ask for it.
    Unused,
}

/// Reads a table to train on: infers the kind of every column, then encodes every row that has a label.
///
/// The table is read twice, and what is kept is the encoded dataset: 8 bytes for each cell of a feature.
///
/// # Errors
/// [`DataError`] when the table lacks a column that the task names, its target is no yes-or-no label with at least 100 rows of
/// each class, or cells do not fit their columns.
pub fn read_training(source: &TableSource, task: &Task) -> Result<Training, DataError> {
    check_named_columns(source, task)?;
    let survey = Survey::of(source, task)?;
    let treatment = survey.treatment.as_ref().map(TreatmentReader::resolved).transpose()?;
    let counts = survey.target.check()?;
    let n_rows = counts.n_positives + counts.n_others;
    let mut warnings = survey.warnings.clone();
    warnings.extend(survey.target.warning());
    warnings.extend(check_sizes(task, counts)?);
    let (specs, columns) = survey.infer_columns(task, n_rows, &mut warnings)?;
    let reference = choose_reference(&specs, &survey, task, &mut warnings);
    let schema = schema_of(specs, task, treatment)?;
    let roles = &task.table;
    let label = TargetReader::new(&roles.target, &roles.positive, missing_markers(task.columns.get(&roles.target)));
    let loaded = Loader::new(source, schema, label, roles.group.as_deref(), reference)?.load(source)?;
    if loaded.dataset.n_rows() != n_rows {
        return Err(DataError::Changed { before: n_rows, after: loaded.dataset.n_rows() });
    }
    check_arms(&loaded.dataset)?;
    let mut training = finish(source, loaded, columns, warnings, reference)?;
    describe_features(&mut training);
    Ok(training)
}

fn schema_of(specs: Vec<FeatureSpec>, task: &Task, treatment: Option<TreatmentSpec>) -> Result<FeatureSchema, DataError> {
    let roles = task.table.clone();
    let mut schema = FeatureSchema::new(specs, roles.entity, roles.target, String::new(), roles.observed_at)?;
    (schema.positive, schema.duration, schema.past) = (roles.positive, roles.duration, roles.past);
    schema.treatment = treatment;
    Ok(schema)
}

/// Reads another table with labels by the schema of a model: to evaluate, gate or test it.
///
/// Every feature of the schema has to be a column; other columns are ignored with a warning. `reference` is the day to
/// which dates count where a row has no date of observation.
///
/// # Errors
/// [`DataError`] names all columns that are missing, or says what is wrong with the labels or cells.
pub fn read_labelled(source: &TableSource, schema: &FeatureSchema, reference: Option<Day>) -> Result<Training, DataError> {
    check_schema_columns(source, schema)?;
    let label = TargetReader::new(&schema.target, &schema.positive, missing_markers(None));
    let loaded = Loader::new(source, schema.clone(), label, None, reference)?.load(source)?;
    loaded.target.check()?;
    let columns: Vec<_> = source.columns().iter().map(|name| summary_by_schema(name, schema)).collect();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(loaded.target.warning());
    warnings.extend(unlabelled_warning(&loaded.target, &schema.target));
    warnings.extend(loaded.treatment.iter().flat_map(TreatmentReader::warnings));
    let unused: Vec<_> = columns.iter().filter(|column| column.role == ColumnRole::Unused).map(|c| c.name.as_str()).collect();
    if !unused.is_empty() {
        let shown = unused.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if unused.len() > 5 { ", …" } else { "" };
        let message = format!("{} columns that the model does not know are ignored: {shown}{more}", unused.len());
        warnings.push(Warning::new("extra_columns", message));
    }
    finish(source, loaded, columns, warnings, reference)
}

/// Every column that the schema asks for is there; otherwise all that are not are named at once.
pub(crate) fn check_schema_columns(source: &TableSource, schema: &FeatureSchema) -> Result<(), DataError> {
    let known: BTreeSet<&str> = source.columns().iter().map(String::as_str).collect();
    let wanted = schema.features.iter().map(|feature| &feature.name).chain(&schema.entity);
    let columns: Vec<String> = wanted.filter(|name| !known.contains(name.as_str())).cloned().collect();
    if columns.is_empty() {
        return Ok(());
    }
    let hint = nearest_hint(source, &columns[0]);
    Err(DataError::UnknownColumn { named_in: "the model".to_owned(), columns, hint })
}

pub(crate) fn nearest_hint(source: &TableSource, name: &str) -> String {
    match nearest(name, source.columns().iter().map(String::as_str)) {
        Some(near) => format!("; the nearest to `{name}` is `{near}`"),
        None => String::new(),
    }
}

fn check_named_columns(source: &TableSource, task: &Task) -> Result<(), DataError> {
    let known: BTreeSet<&str> = source.columns().iter().map(String::as_str).collect();
    let roles = &task.table;
    let one = |key: &str, name: &String| (format!("`{key}` of the task"), name.clone());
    let mut named = vec![one("target", &roles.target)];
    let optional = [
        ("entity", &roles.entity),
        ("observed_at", &roles.observed_at),
        ("group", &roles.group),
        ("past", &roles.past),
        ("revenue", &task.value.revenue),
        ("margin", &task.value.margin),
    ];
    named.extend(roles.duration.iter().map(|duration| one("duration", &duration.column)));
    if let Some(treatment) = &roles.treatment {
        named.push(one("treatment", &treatment.column));
        named.extend(treatment.propensity.iter().map(|column| one("propensity", column)));
    }
    named.extend(optional.iter().filter_map(|(key, name)| name.as_ref().map(|name| one(key, name))));
    named.extend(roles.exclude.iter().map(|name| one("exclude", name)));
    named.extend(roles.allow.iter().map(|name| one("allow", name)));
    named.extend(task.columns.keys().map(|name| (format!("`[columns.{name}]` of the task"), name.clone())));
    match named.into_iter().find(|(_, name)| !known.contains(name.as_str())) {
        None => Ok(()),
        Some((named_in, name)) => {
            let hint = nearest_hint(source, &name);
            Err(DataError::UnknownColumn { named_in, columns: vec![name], hint })
        }
    }
}

/// What the first pass found.
struct Survey {
    names: Vec<String>,
    profiles: Vec<ColumnProfile>,
    target: TargetReader,
    treatment: Option<TreatmentReader>,
    warnings: Vec<Warning>,
}

impl Survey {
    fn of(source: &TableSource, task: &Task) -> Result<Self, DataError> {
        let roles = &task.table;
        let used = |name: &String| !roles.exclude.contains(name);
        let idxs: Vec<usize> = (0..source.columns().len()).filter(|&idx| used(&source.columns()[idx])).collect();
        let names: Vec<String> = idxs.iter().map(|&idx| source.columns()[idx].clone()).collect();
        let mut profiles: Vec<_> = names.iter().map(|name| ColumnProfile::new(task.columns.get(name))).collect();
        let target = names.iter().position(|name| *name == roles.target);
        let mut reader = TargetReader::new(&roles.target, &roles.positive, missing_markers(task.columns.get(&roles.target)));
        let arm = roles.treatment.as_ref().and_then(|spec| names.iter().position(|name| *name == spec.column));
        let mut treatment = roles.treatment.as_ref().map(TreatmentReader::new);
        let mut batches = source.batches(&idxs)?;
        for batch in batches.by_ref() {
            let batch = batch?;
            let arms = arm.map(|position| Cells::of(batch.column(position)));
            let mut is_of_an_arm = |row: usize| match (arms, &mut treatment) {
                (Some(cells), Some(reader)) => reader.read(cells, row).is_some(),
                _ => true,
            };
            // A row without a label is left out before anything is counted.
            let labels = target.map(|position| Cells::of(batch.column(position)));
            // A cell that is no amount is told in the second pass.
            let mut has_target =
                |row: usize| is_of_an_arm(row) && labels.is_some_and(|cells| reader.read(cells, row) != Ok(None));
            let keep: Vec<bool> = (0..batch.num_rows()).map(&mut has_target).collect();
            for (position, profile) in profiles.iter_mut().enumerate().filter(|(position, _)| Some(*position) != target) {
                profile.add(Cells::of(batch.column(position)), &keep);
            }
        }
        let mut warnings = batches.warnings();
        warnings.extend(unlabelled_warning(&reader, &roles.target));
        warnings.extend(treatment.iter().flat_map(TreatmentReader::warnings));
        Ok(Self { names, profiles, target: reader, treatment, warnings })
    }

    fn profile(&self, name: &str) -> Option<&ColumnProfile> {
        self.names.iter().position(|known| known == name).map(|position| &self.profiles[position])
    }

    /// The features, and a summary of every column; warnings are added to the list.
    fn infer_columns(
        &self,
        task: &Task,
        n_rows: usize,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Vec<FeatureSpec>, Vec<ColumnSummary>), DataError> {
        let (mut specs, mut columns, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for (name, profile) in self.names.iter().zip(&self.profiles) {
            let n_missing = Some(n_rows - profile.n_present().min(n_rows));
            let mut summary = ColumnSummary {
                name: name.clone(),
                role: role_of(name, task),
                kind: None,
                n_missing,
                n_distinct: Some(profile.n_distinct()),
            };
            if summary.role == ColumnRole::Target {
                (summary.n_missing, summary.n_distinct) = (Some(self.target.n_missing()), Some(self.target.n_distinct()));
            }
            if summary.role == ColumnRole::Feature {
                let inferred = infer(name, profile, task.columns.get(name), n_rows)?;
                summary.kind = inferred.kind;
                if inferred.spec.is_none() {
                    summary.role = ColumnRole::Dropped;
                    dropped.extend(inferred.warnings.first().map(|warning| warning.message.clone()));
                }
                specs.extend(inferred.spec);
                warnings.extend(inferred.warnings);
            }
            columns.push(summary);
        }
        if specs.is_empty() {
            let dropped =
                if dropped.is_empty() { "the table has none beside those in [table]".into() } else { dropped.join("; ") };
            return Err(DataError::NoFeatures { dropped });
        }
        Ok((specs, columns))
    }
}

fn role_of(name: &str, task: &Task) -> ColumnRole {
    let roles = &task.table;
    let is = |role: &Option<String>| role.as_deref() == Some(name);
    match () {
        () if roles.target == name => ColumnRole::Target,
        () if is(&roles.entity) => ColumnRole::Entity,
        () if is(&roles.observed_at) => ColumnRole::ObservedAt,
        () if is(&roles.group) => ColumnRole::Group,
        () if roles.duration.as_ref().is_some_and(|duration| duration.column == name) => ColumnRole::Duration,
        () if roles.treatment.iter().any(|spec| spec.column == name || spec.propensity.as_deref() == Some(name)) => {
            ColumnRole::Treatment
        }
        () => ColumnRole::Feature,
    }
}

fn summary_by_schema(name: &str, schema: &FeatureSchema) -> ColumnSummary {
    let feature = schema.feature_idx(name).map(|idx| &schema.features[idx]);
    let role = match feature {
        Some(_) => ColumnRole::Feature,
        None if schema.target == name => ColumnRole::Target,
        None if schema.entity.as_deref() == Some(name) => ColumnRole::Entity,
        None if schema.observed_at.as_deref() == Some(name) => ColumnRole::ObservedAt,
        None if schema.duration.as_ref().is_some_and(|duration| duration.column == name) => ColumnRole::Duration,
        None if is_treatment_column(schema, name) => ColumnRole::Treatment,
        None => ColumnRole::Unused,
    };
    ColumnSummary { name: name.to_owned(), role, kind: feature.map(|spec| spec.kind), n_missing: None, n_distinct: None }
}

fn unlabelled_warning(reader: &TargetReader, target: &str) -> Option<Warning> {
    let n_missing = reader.n_missing();
    (n_missing > 0)
        .then(|| Warning::new("unlabelled_rows", format!("{n_missing} rows have no value in target `{target}` and are left out")))
}

/// Refuses tables that are too small to learn from, and warns of those that are small.
fn check_sizes(task: &Task, counts: TargetCounts) -> Result<Option<Warning>, DataError> {
    let TargetCounts { n_positives, n_others } = counts;
    // Effects are checked arm by arm.
    if task.kind == TaskKind::Uplift {
        return Ok(None);
    }
    if task.kind == TaskKind::Churn {
        return check_class_sizes(n_positives, n_others);
    }
    if n_positives < MIN_CLASS_ROWS {
        let (column, n_rows) = (task.table.target.clone(), n_positives + n_others);
        let counted = if task.kind.is_amount() { "above 0" } else { "that ended" };
        return Err(DataError::TooFewAmounts { column, n_rows, n_positives, counted, needed: MIN_CLASS_ROWS });
    }
    Ok((n_positives < COMFORTABLE_POSITIVES).then(|| {
        let what = if task.kind.is_amount() { "have an amount above 0" } else { "ended" };
        Warning::new("few_positives", format!("only {n_positives} rows {what}: what is learned from them is rough"))
    }))
}

fn check_class_sizes(n_positives: usize, n_negatives: usize) -> Result<Option<Warning>, DataError> {
    let half_width = auc_half_width(n_positives, n_negatives);
    if n_positives.min(n_negatives) < MIN_CLASS_ROWS {
        return Err(DataError::TooFewLabels { n_positives, n_negatives, needed: MIN_CLASS_ROWS, half_width });
    }
    Ok((n_positives < COMFORTABLE_POSITIVES).then(|| {
        let message =
            format!("only {n_positives} positive rows: an AUC of 0.80 is uncertain by about ±{half_width:.3} (95 % interval)");
        Warning::new("few_positives", message)
    }))
}

/// Half the 95 % interval of an AUC of 0.8, after Hanley and `McNeil` (1982), equation 1.
fn auc_half_width(n_positives: usize, n_negatives: usize) -> f64 {
    let (auc, n_pos, n_neg) = (0.8_f64, n_positives.max(1) as f64, n_negatives.max(1) as f64);
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let variance = auc * (1.0 - auc) + (n_pos - 1.0) * (q1 - auc * auc) + (n_neg - 1.0) * (q2 - auc * auc);
    (1.96 * (variance / (n_pos * n_neg)).sqrt()).min(0.5)
}

/// The day to which dates are counted when rows have none of their own: the latest in any date feature.
fn choose_reference(specs: &[FeatureSpec], survey: &Survey, task: &Task, warnings: &mut Vec<Warning>) -> Option<Day> {
    if task.table.observed_at.is_some() {
        return None;
    }
    let mut dates = specs.iter().filter(|spec| spec.kind == ColumnKind::Date).peekable();
    dates.peek()?;
    let latest = dates.filter_map(|spec| survey.profile(&spec.name)?.latest()).max_by(|a, b| a.days().total_cmp(&b.days()));
    // Columns said to be dates without a date in them: any day will do, and the cells are rejected one by one.
    let Some(latest) = latest else { return Some(Day::from_days(0.0)) };
    let message = format!(
        "the table has dates and no `observed_at`: days are counted to {latest}, the latest date found; \
         name the column with the date of observation if there is one"
    );
    warnings.push(Warning::new("no_observation_date", message));
    Some(latest)
}

fn finish(
    source: &TableSource,
    loaded: Loaded,
    columns: Vec<ColumnSummary>,
    warnings: Vec<Warning>,
    reference: Option<Day>,
) -> Result<Training, DataError> {
    let dataset = loaded.dataset;
    let mut summaries: BTreeMap<String, ColumnSummary> =
        columns.into_iter().map(|column| (column.name.clone(), column)).collect();
    let columns = source.columns().iter().map(|name| summaries.remove(name).unwrap_or_else(|| excluded(name))).collect();
    let observed = dataset.observed.as_ref().and_then(|days| {
        let first = days.iter().copied().min_by(f64::total_cmp)?;
        let last = days.iter().copied().max_by(f64::total_cmp)?;
        Some((Day::from_days(first), Day::from_days(last)))
    });
    let report = TableReport { n_rows: dataset.n_rows(), warnings, columns, sha256: source.sha256()?, reference, observed };
    Ok(Training { dataset, report })
}

fn excluded(name: &str) -> ColumnSummary {
    ColumnSummary { name: name.to_owned(), role: ColumnRole::Excluded, kind: None, n_missing: None, n_distinct: None }
}

/// Writes into the schema what the encoded columns show: range and typical value.
pub fn describe_features(training: &mut Training) {
    let dataset = &mut training.dataset;
    for (spec, column) in dataset.schema.features.iter_mut().zip(&dataset.columns) {
        let mut present: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
        present.sort_by(f64::total_cmp);
        if matches!(spec.kind, ColumnKind::Number | ColumnKind::Date) {
            (spec.min, spec.max) = (present.first().copied(), present.last().copied());
            spec.typical = median(&present);
        } else {
            spec.typical = most_frequent(&present, spec);
        }
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        // Halved first: the sum of two large numbers may not be finite.
        _ => Some(sorted[middle - 1] / 2.0 + sorted[middle] / 2.0),
    }
}

/// The most frequent value of a category or boolean that has a name; of equals, the first.
fn most_frequent(sorted: &[f64], spec: &FeatureSpec) -> Option<f64> {
    let n_named = if spec.kind == ColumnKind::Category { spec.categories.len() } else { 2 };
    let mut counts = vec![0_usize; n_named];
    for &value in sorted.iter().filter(|&&value| (value as usize) < n_named) {
        counts[value as usize] += 1;
    }
    let best = (0..n_named).rev().max_by_key(|&position| counts[position])?;
    (counts[best] > 0).then_some(best as f64)
}
