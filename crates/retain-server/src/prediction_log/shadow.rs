//! What a model's shadow says of the calls that its champion or challenger has answered: scored after the answer was handed over,
//! logged, and told to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use retain_core::Day;
use retain_proto::v1;

use super::queue::Queue;
use super::{ITEM_BYTES, LogCounts, Predicted, PredictedRows, offer};
use crate::convert::{self, Columns, Features, Given, Stored};
use crate::customers::Lookup;
use crate::models::{Alias, LiveModel};
use crate::status::Violations;

/// Bytes that a feature of a single call takes beside its texts, about.
const FEATURE_BYTES: usize = 96;

/// A call that was answered, and the shadows to ask.
pub(super) struct ShadowCall {
    pub(super) models: Vec<Arc<LiveModel>>,
    /// When the call was answered.
    pub(super) day: Day,
    /// When the values were known, where that was asked before.
    pub(super) observed: Option<Day>,
    pub(super) request_id: Option<Arc<str>>,
    pub(super) customers: ShadowCustomers,
}

/// The values of a call as they came: a shadow may read them by another schema than those that answered.
pub(crate) enum ShadowCustomers {
    One {
        customer_id: String,
        features: BTreeMap<String, v1::FeatureValue>,
        elapsed_days: f64,
        /// The customer table that the call was answered from.
        customers: Lookup,
        /// The moment that the call says that dates are counted to.
        given_observed: Option<Day>,
    },
    Many {
        columns: Columns,
        customers: Lookup,
        given_observed: Option<Day>,
    },
}

impl ShadowCall {
    pub(super) fn n_rows(&self) -> usize {
        self.models.len() * self.customers.n_rows()
    }

    pub(super) fn bytes(&self) -> usize {
        ITEM_BYTES
            + match &self.customers {
                ShadowCustomers::One { customer_id, features, .. } => customer_id.len() + features_bytes(features),
                ShadowCustomers::Many { columns, .. } => columns.bytes(),
            }
    }
}

fn features_bytes(features: &BTreeMap<String, v1::FeatureValue>) -> usize {
    use retain_proto::v1::feature_value::Value;
    let text = |value: &Option<Value>| if let Some(Value::Text(text)) = value { text.len() } else { 0 };
    features.iter().map(|(name, value)| FEATURE_BYTES + name.len() + text(&value.value)).sum()
}

/// Scores a call by every shadow.
pub(super) fn score(call: ShadowCall, log: &Queue<Predicted>, counts: &LogCounts) {
    let ShadowCall { models, day, observed, request_id, customers } = call;
    for model in &models {
        let observed = observed.or(model.has_dates.then_some(day));
        let told =
            |rows| Predicted { model: model.clone(), alias: Some(Alias::Shadow), day, request_id: request_id.clone(), rows };
        let n_read = match &customers {
            ShadowCustomers::One { .. } => {
                customers.score_one(model, observed).map(|rows| offer(log, told(rows))).map_or(0, |()| 1)
            }
            ShadowCustomers::Many { columns, customers, given_observed } => {
                match customers.find_all(columns.customer_ids(), *given_observed, [model].into_iter()) {
                    Ok(stored) => convert::score_alone(columns, stored.as_ref(), model, observed, |rows| offer(log, told(rows))),
                    Err(_) => 0,
                }
            }
        };
        counts.unread.add((customers.n_rows() - n_read) as u64);
    }
}

impl ShadowCustomers {
    fn n_rows(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Many { columns, .. } => columns.n_rows(),
        }
    }

    /// One customer by one shadow; none where the shadow cannot read the values.
    fn score_one(&self, model: &Arc<LiveModel>, observed: Option<Day>) -> Option<PredictedRows> {
        let Self::One { customer_id, features, elapsed_days, customers, given_observed } = self else { return None };
        let features = Features::from(features);
        let row = customers.find(customer_id, &features, [model].into_iter()).ok()?;
        let stored = row.map(|row| Stored { row, observed: given_observed.or_else(|| Some(row.observed())) });
        let mut violations = Violations::default();
        let values = convert::encode(&Given::new(&features, stored), model, observed, &mut violations).values;
        violations.check().ok()?;
        let prediction = model.scorer.predict_after(&values, *elapsed_days);
        Some(PredictedRows::One { customer_id: customer_id.clone(), values, prediction })
    }
}
