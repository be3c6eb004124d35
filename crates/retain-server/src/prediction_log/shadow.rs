//! What a model's shadow says of the calls that its champion or challenger has answered: scored after the answer was handed over,
//! logged, and told to nobody.

use std::sync::Arc;

use retain_core::Day;

use super::queue::Queue;
use super::{ITEM_BYTES, LogCounts, Predicted, PredictedRows, offer};
use crate::convert::{self, Columns, Features, Given};
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
    One { customer_id: String, features: Features, elapsed_days: f64 },
    Many(Columns),
}

impl ShadowCall {
    pub(super) fn n_rows(&self) -> usize {
        let n_customers = match &self.customers {
            ShadowCustomers::One { .. } => 1,
            ShadowCustomers::Many(columns) => columns.n_rows(),
        };
        self.models.len() * n_customers
    }

    pub(super) fn bytes(&self) -> usize {
        ITEM_BYTES
            + match &self.customers {
                ShadowCustomers::One { customer_id, features, .. } => customer_id.len() + features_bytes(features),
                ShadowCustomers::Many(columns) => columns.bytes(),
            }
    }
}

fn features_bytes(features: &Features) -> usize {
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
        match &customers {
            ShadowCustomers::One { customer_id, features, elapsed_days } => {
                let mut violations = Violations::default();
                let values = convert::encode(&Given::new(features), model, observed, &mut violations).values;
                if violations.check().is_err() {
                    counts.unread.add(1);
                    continue;
                }
                let prediction = model.scorer.predict_after(&values, *elapsed_days);
                offer(log, told(PredictedRows::One { customer_id: customer_id.clone(), values, prediction }));
            }
            ShadowCustomers::Many(columns) => {
                let n_read = convert::score_alone(columns, model, observed, |rows| offer(log, told(rows)));
                counts.unread.add((columns.n_rows() - n_read) as u64);
            }
        }
    }
}
