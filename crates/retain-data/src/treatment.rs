//! Reads the treatment column: which rows had which treatment, and whether there is something to compare.

use std::collections::BTreeMap;

use retain_core::{FeatureSchema, MissingMarkers, TreatmentSpec, nearest};

use crate::cells::Cells;
use crate::dataset::Dataset;
use crate::error::{DataError, Warning};
use crate::label::LabelKey;
use crate::task::{MAX_TREATMENTS, shorten};

/// Rows of an arm below which no effect can be told from chance.
pub(crate) const MIN_ARM_ROWS: usize = 50;
/// Rows of either outcome that every arm needs.
const MIN_ARM_OUTCOMES: usize = 5;
/// Values that are told apart; a column of more is no treatment.
const MAX_VALUES: usize = 1000;
const SHOWN_VALUES: usize = 6;

/// Turns cells of the treatment column into arms, and counts what it sees.
pub(crate) struct TreatmentReader {
    spec: TreatmentSpec,
    /// Of the control and the treatments, where these are named.
    keys: Vec<LabelKey>,
    markers: MissingMarkers,
    /// Rows by the text that stands there, with its meaning.
    values: BTreeMap<String, (LabelKey, usize)>,
    overflowed: bool,
    n_missing: usize,
}

impl TreatmentReader {
    pub(crate) fn new(spec: &TreatmentSpec) -> Self {
        let names = || std::iter::once(&spec.control).chain(&spec.treatments);
        Self {
            keys: names().map(|name| LabelKey::of(name)).collect(),
            // A name is a name, even when it reads like a marker.
            markers: names().fold(MissingMarkers::usual(), |markers, name| markers.without(name)),
            spec: spec.clone(),
            values: BTreeMap::new(),
            overflowed: false,
            n_missing: 0,
        }
    }

    /// The arm of a row: 0 for the control, else the number of the treatment from 1; none for rows to leave out. Where no treatments are
    /// named, every value but the control counts as the first.
    pub(crate) fn read(&mut self, cells: Cells<'_>, row: usize) -> Option<u32> {
        let text = cells.text(row);
        let text = text.trim();
        if let Some((key, count)) = self.values.get_mut(text) {
            *count += 1;
            let key = key.clone();
            return self.arm_of(&key);
        }
        if self.markers.is_text(text) {
            self.n_missing += 1;
            return None;
        }
        let key = LabelKey::of(text);
        let arm = self.arm_of(&key);
        if self.values.len() < MAX_VALUES {
            self.values.insert(text.to_owned(), (key, 1));
        } else {
            self.overflowed = true;
        }
        arm
    }

    fn arm_of(&self, key: &LabelKey) -> Option<u32> {
        match self.keys.iter().position(|known| known == key) {
            Some(arm) => Some(arm as u32),
            None => self.spec.treatments.is_empty().then_some(1),
        }
    }

    /// The treatments that are compared: those named, or all that stand beside the control, in byte order.
    ///
    /// # Errors
    /// [`DataError`] when the control or a treatment does not occur, there is nothing beside the control, or there are too many treatments.
    pub(crate) fn resolved(&self) -> Result<TreatmentSpec, DataError> {
        let column = self.spec.column.clone();
        let mut names: BTreeMap<&LabelKey, &String> = BTreeMap::new();
        for (text, (key, _)) in &self.values {
            names.entry(key).or_insert(text);
        }
        let wanted = std::iter::once(&self.spec.control).chain(&self.spec.treatments);
        if let Some((absent, _)) = wanted.zip(&self.keys).find(|(_, key)| !names.contains_key(key)) {
            let found = self.describe() + &self.nearest_hint(absent);
            return Err(DataError::ArmNotFound { column, arm: absent.clone(), found });
        }
        let control = &self.keys[0];
        let others: Vec<String> = names.iter().filter(|(key, _)| **key != control).map(|(_, name)| (*name).clone()).collect();
        if others.is_empty() {
            return Err(DataError::OneArm { column, control: self.spec.control.clone() });
        }
        if !self.spec.treatments.is_empty() {
            return Ok(self.spec.clone());
        }
        if self.overflowed || others.len() > MAX_TREATMENTS {
            return Err(DataError::ManyArms { column, found: self.describe(), limit: MAX_TREATMENTS });
        }
        let mut treatments = others;
        treatments.sort();
        Ok(TreatmentSpec { treatments, ..self.spec.clone() })
    }

    /// What is said of rows that are left out.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let column = &self.spec.column;
        let mut warnings = Vec::new();
        if self.n_missing > 0 {
            let message = format!("{} rows have no value in the treatment column `{column}` and are left out", self.n_missing);
            warnings.push(Warning::new("untreated_rows", message));
        }
        let is_other = |(_, (key, _)): &(&String, &(LabelKey, usize))| !self.keys.contains(key);
        let others: usize = self.values.iter().filter(is_other).map(|(_, (_, count))| count).sum();
        if others > 0 && !self.spec.treatments.is_empty() {
            let message = format!("{others} rows of `{column}` had another treatment than those compared, and are left out");
            warnings.push(Warning::new("other_treatments", message));
        }
        warnings
    }

    /// Names of one or two letters are all near to one another.
    fn nearest_hint(&self, name: &str) -> String {
        let near = if name.chars().count() > 2 { nearest(name, self.values.keys().map(String::as_str)) } else { None };
        near.map_or_else(String::new, |near| format!("; the nearest to `{}` is `{}`", shorten(name), shorten(near)))
    }

    fn describe(&self) -> String {
        let mut values: Vec<_> = self.values.iter().map(|(text, (_, count))| (text, *count)).collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let shown = values.iter().take(SHOWN_VALUES).map(|(text, count)| format!("`{}` ({count} rows)", shorten(text)));
        let text = shown.collect::<Vec<_>>().join(", ");
        match values.len().saturating_sub(SHOWN_VALUES) {
            _ if values.is_empty() => "no value in any row".to_owned(),
            0 => text,
            n_others => format!("{text} and {n_others} others"),
        }
    }
}

/// Refuses arms that are too small, or whose rows all came out alike.
///
/// # Errors
/// [`DataError::SmallArm`] or [`DataError::UniformArm`] for the first such arm, the control before the treatments.
pub(crate) fn check_arms(dataset: &Dataset) -> Result<(), DataError> {
    let (Some(spec), Some(arms)) = (&dataset.schema.treatment, &dataset.treatment) else { return Ok(()) };
    for (position, arm) in std::iter::once(&spec.control).chain(&spec.treatments).enumerate() {
        let outcomes = || dataset.target.iter().zip(arms).filter(|(_, arm)| **arm as usize == position).map(|(value, _)| *value);
        let (column, arm, n_rows) = (spec.column.clone(), arm.clone(), outcomes().count());
        if n_rows < MIN_ARM_ROWS {
            return Err(DataError::SmallArm { column, arm, n_rows, needed: MIN_ARM_ROWS });
        }
        let n_positives = outcomes().filter(|&value| value > 0.0).count();
        let n_others = if dataset.schema.has_amounts() { MIN_ARM_OUTCOMES } else { n_rows - n_positives };
        if n_positives.min(n_others) < MIN_ARM_OUTCOMES {
            let target = dataset.schema.target.clone();
            return Err(DataError::UniformArm { column, arm, target, n_rows, n_positives, needed: MIN_ARM_OUTCOMES });
        }
    }
    Ok(())
}

/// Whether a column says which treatment a row had, or with which chance.
pub(crate) fn is_treatment_column(schema: &FeatureSchema, name: &str) -> bool {
    schema.treatment.as_ref().is_some_and(|spec| spec.column == name || spec.propensity.as_deref() == Some(name))
}
