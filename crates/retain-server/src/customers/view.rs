//! The customer table as calls see it: a row of a customer, read as a model asks.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use retain_core::{Day, FeatureSpec, FeatureValue};

use super::table::{Place, Plan, Table};
use crate::models::{LiveModel, LiveSet};
use crate::status::{CallError, Violation};

/// A table, and where models find their features in it.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) table: Arc<Table>,
    /// A model is known by its place in memory; none where the table was read without asking for all of its features.
    plans: Vec<(Weak<LiveModel>, Option<Plan>)>,
    /// The same for rules: what they read, and where it is.
    rules: (Arc<Vec<FeatureSpec>>, Option<Plan>),
}

/// The row of one customer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredRow<'v> {
    view: &'v View,
    place: Place,
}

/// The row of one customer as one model reads it.
pub(crate) struct StoredCells<'v> {
    row: StoredRow<'v>,
    plan: Cow<'v, Plan>,
}

impl View {
    /// A table as the models of these sets and rules read it.
    pub(super) fn of<'s>(
        table: Arc<Table>,
        sets: impl IntoIterator<Item = &'s Arc<LiveSet>>,
        rules: Arc<Vec<FeatureSpec>>,
    ) -> Self {
        let mut plans: Vec<(Weak<LiveModel>, Option<Plan>)> = Vec::new();
        for model in sets.into_iter().flat_map(|set| set.models()) {
            if plans.iter().all(|(known, _)| known.as_ptr() != Arc::as_ptr(model)) {
                plans.push((Arc::downgrade(model), table.plan(&model.scorer.schema().features)));
            }
        }
        let rule_plan = table.plan(&rules);
        Self { table, plans, rules: (rules, rule_plan) }
    }

    /// Whether it has a plan for every model of a set.
    pub(super) fn serves(&self, set: &LiveSet) -> bool {
        set.models().all(|model| self.plans.iter().any(|(known, plan)| known.as_ptr() == Arc::as_ptr(model) && plan.is_some()))
    }

    /// Whether the table has what every model of a set reads, planned for or not.
    pub(super) fn can_serve(&self, set: &LiveSet) -> bool {
        set.models().all(|model| self.plan(model).is_some())
    }

    /// Whether it has a plan for these rules.
    pub(super) fn serves_rules(&self, rules: &Arc<Vec<FeatureSpec>>) -> bool {
        self.rules.0 == *rules && self.rules.1.is_some()
    }

    /// The row of a customer.
    pub(crate) fn find(&self, id: &str) -> Option<StoredRow<'_>> {
        self.table.find(id).map(|place| StoredRow { view: self, place })
    }

    /// Makes sure that the table was read for all of these models.
    ///
    /// # Errors
    /// [`CallError::CustomersNotLoaded`] names the first that it was not read for.
    pub(crate) fn check_models<'m>(&self, mut models: impl Iterator<Item = &'m Arc<LiveModel>>) -> Result<(), CallError> {
        let uncovered = models.find(|model| self.plan(model).is_none());
        uncovered.map_or(Ok(()), |model| {
            let address = model.scorer.manifest().address();
            Err(CallError::CustomersNotLoaded { description: format!("the customer table was not read for `{address}` yet") })
        })
    }

    fn plan(&self, model: &Arc<LiveModel>) -> Option<Cow<'_, Plan>> {
        match self.plans.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(model)) {
            Some((_, plan)) => plan.as_ref().map(Cow::Borrowed),
            // A call that began before the models changed.
            None => self.table.plan(&model.scorer.schema().features).map(Cow::Owned),
        }
    }
}

impl<'v> StoredRow<'v> {
    /// When the row was known.
    pub(crate) fn observed(self) -> Day {
        self.view.table.observed(self.place)
    }

    /// The row as a model reads it; none where the table was not read for that model.
    pub(crate) fn read_by(self, model: &Arc<LiveModel>) -> Option<StoredCells<'v>> {
        Some(StoredCells { row: self, plan: self.view.plan(model)? })
    }

    /// The value of a feature that rules read, by its name; missing where the table was not read for it.
    pub(crate) fn rule_value(self, name: &str) -> FeatureValue<'v> {
        let (features, plan) = &self.view.rules;
        let column = plan.as_ref().zip(features.iter().position(|feature| feature.name == name));
        column.map_or(FeatureValue::Missing, |(plan, idx)| self.view.table.value(self.place, plan[idx]))
    }

    /// The value of a feature of the model that `cells` are of; models' features have the same places in every row.
    pub(crate) fn value(self, cells: &StoredCells<'_>, feature_idx: usize) -> FeatureValue<'v> {
        self.view.table.value(self.place, cells.plan[feature_idx])
    }
}

impl<'v> StoredCells<'v> {
    /// The value of a feature, by its place in the model.
    pub(crate) fn value(&self, feature_idx: usize) -> FeatureValue<'v> {
        self.row.value(self, feature_idx)
    }
}

/// What a call with an id that the table does not have is told.
pub(crate) fn unknown_customer(field: impl Into<String>) -> Violation {
    Violation::new(field, "CUSTOMER_NOT_FOUND", "names nobody in the customer table, and no features were sent")
}
