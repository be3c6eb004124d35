//! From a request to what a playbook reads of a customer: features, predictions, history, and the assessment made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::Timestamp;
use retain_core::{Day, FeatureValue, PastDecision, TaskKind};
use retain_policy::assess::{Assessed, Previous};
use retain_policy::decide::{Facts, Prediction, TreatmentEffect};
use retain_policy::rule::Values;
use retain_proto::v1;
use retain_score::{Band, Effect};
use serde_json::{Map, Value, json};

use super::live::Live;
use crate::config::Config;
use crate::convert::{self, EncodedRow, Features, Given, Wanted};
use crate::customers::{Lookup, StoredRow};
use crate::models::{Asked, LiveModel, LiveSet};
use crate::service::{observed, stored};
use crate::status::{CallError, Violations, check_count};

/// Reasons for leaving that actions may answer: the features that raise the prediction most.
const TOP_REASONS: usize = 5;

/// One customer, as a request names it.
pub(super) struct Asking<'r> {
    pub(super) customer_id: &'r str,
    pub(super) features: Features<'r>,
    pub(super) observed_at: Option<&'r Timestamp>,
    pub(super) unknown_feature_policy: i32,
}

/// Where to look.
pub(super) struct Sources<'s> {
    pub(super) set: &'s LiveSet,
    pub(super) customers: &'s Lookup,
    pub(super) config: &'s Config,
    pub(super) live: &'s Live,
    pub(super) now_ms: i64,
}

/// All that is known of one customer.
pub(super) struct Seen<'s> {
    pub(super) values: Values<'s>,
    pub(super) assessed: Assessed,
    pub(super) effects: &'s [TreatmentEffect<'s>],
    /// Features that speak for leaving, the strongest first.
    pub(super) reasons: &'s [&'s str],
    /// By the playbook's name of the model.
    pub(super) predictions: BTreeMap<String, v1::Prediction>,
    pub(super) stored_row: Option<v1::StoredRow>,
    /// What the decision is made from, to be kept with it.
    pub(super) context: String,
}

/// One model's answer.
struct Scored<'s> {
    name: &'s str,
    answer: v1::Prediction,
    prediction: retain_score::Prediction,
    band: &'static str,
    effects: Vec<TreatmentEffect<'s>>,
    reasons: Vec<&'s str>,
}

impl Sources<'_> {
    /// Looks at a customer and hands what is known to `visit`; everything in it lives as long as that takes.
    pub(super) fn look<T>(
        &self,
        asking: &Asking<'_>,
        history: &[PastDecision],
        previous: Option<&Previous>,
        visit: impl FnOnce(Seen<'_>) -> T,
    ) -> Result<T, CallError> {
        let set = self.set;
        let playbook = &self.live.playbook;
        let mut asked = Vec::with_capacity(playbook.models.len());
        for (model, address) in playbook.models.iter().zip(&self.live.addresses) {
            asked.push((model.name.as_str(), set.select_one(address, asking.customer_id)?));
        }
        let models: Vec<Asked<'_>> = asked.iter().map(|(_, asked)| *asked).collect();
        let mut violations = Violations::default();
        let observed = observed(self.config, asking.observed_at, &models, &mut violations);
        self.check_features(asking, &models, &mut violations)?;
        let row = self.customers.find(asking.customer_id, &asking.features, models.iter().map(|asked| asked.model))?;
        let given = Given::new(&asking.features, stored(row, asking.observed_at, observed));
        let encoded =
            models.iter().map(|asked| convert::encode(&given, asked.model, observed, &mut violations)).collect::<Vec<_>>();
        violations.check()?;
        let scored: Vec<Scored<'_>> =
            asked.iter().zip(encoded).map(|((name, asked), row)| score(name, asked, row, self.live.answers_reasons)).collect();
        let predictions: Vec<Prediction<'_>> = scored.iter().map(Scored::as_read).collect();
        let now = (self.config.now)();
        let day = asking.observed_at.and(observed).or(row.map(StoredRow::observed)).unwrap_or(now);
        let feature = |name: &str| asking.features.get(name).unwrap_or_else(|| stored_feature(row, name));
        let facts = Facts {
            customer_id: asking.customer_id,
            now_ms: self.now_ms,
            observed: day,
            features: &feature,
            predictions: &predictions,
            history,
        };
        let mut values = playbook.values(&facts);
        let assessed = playbook.assessment().assess(&mut values, previous, self.now_ms);
        let effects: Vec<TreatmentEffect<'_>> = scored.iter().flat_map(|scored| scored.effects.iter().copied()).collect();
        let reasons: Vec<&str> = scored.iter().flat_map(|scored| scored.reasons.iter().copied()).collect();
        let context = self.context(asking, row, &models, &scored, &assessed, day);
        let told = scored.iter().map(|scored| (scored.name.to_owned(), scored.answer.clone())).collect();
        let stored_row = row.map(|row| convert::stored_row(row, now));
        Ok(visit(Seen { values, assessed, effects: &effects, reasons: &reasons, predictions: told, stored_row, context }))
    }

    /// Refuses features that neither models nor rules know.
    fn check_features(&self, asking: &Asking<'_>, models: &[Asked<'_>], violations: &mut Violations) -> Result<(), CallError> {
        check_count("features", asking.features.len(), self.config.max_features)?;
        if convert::rejects_unknown(asking.unknown_feature_policy, violations) {
            let unread = asking.features.names().filter(|name| !self.live.reads(name)).map(|name| (name, 0));
            convert::check_names(unread, models, |name, _| convert::feature_path(name), violations);
        }
        Ok(())
    }

    /// What the decision was made from: every feature that was read, as it was given, and what was made of them.
    fn context(
        &self,
        asking: &Asking<'_>,
        row: Option<StoredRow<'_>>,
        models: &[Asked<'_>],
        scored: &[Scored<'_>],
        assessed: &Assessed,
        day: Day,
    ) -> String {
        let mut features = Map::new();
        let by_models = models.iter().flat_map(|asked| model_features(row, asked.model));
        let by_rules = self.live.rule_features.iter().map(|feature| (feature.name.as_str(), stored_feature(row, &feature.name)));
        for (name, value) in by_models.chain(by_rules) {
            let value = asking.features.get(name).unwrap_or(value);
            if value != FeatureValue::Missing {
                features.entry(name).or_insert_with(|| feature_json(value));
            }
        }
        let predictions: Map<String, Value> = scored.iter().map(|scored| (scored.name.to_owned(), scored.to_json())).collect();
        let segment = assessed.segment().and_then(|idx| self.live.playbook.assessment().segment_id(idx));
        let health = assessed.health.as_ref().map(|health| json!({ "score": health.score, "coverage": health.coverage }));
        json!({
            "observed_days": day.days(),
            "features": features,
            "predictions": predictions,
            "health": health,
            "segment": segment,
            "signal_count": assessed.signal_count,
        })
        .to_string()
    }
}

/// The stored values of a model's features.
fn model_features<'v>(row: Option<StoredRow<'v>>, model: &'v Arc<LiveModel>) -> Vec<(&'v str, FeatureValue<'v>)> {
    let cells = row.and_then(|row| row.read_by(model));
    let value = |idx: usize| cells.as_ref().map_or(FeatureValue::Missing, |cells| cells.value(idx));
    model.scorer.schema().features.iter().enumerate().map(|(idx, feature)| (feature.name.as_str(), value(idx))).collect()
}

fn stored_feature<'v>(row: Option<StoredRow<'v>>, name: &str) -> FeatureValue<'v> {
    row.map_or(FeatureValue::Missing, |row| row.rule_value(name))
}

fn feature_json(value: FeatureValue<'_>) -> Value {
    match value {
        FeatureValue::Missing => Value::Null,
        FeatureValue::Number(number) => json!(number),
        FeatureValue::Boolean(yes) => json!(yes),
        FeatureValue::Text(text) => json!(text),
        FeatureValue::Day(day) => json!(day.to_string()),
    }
}

fn score<'s>(name: &'s str, asked: &Asked<'s>, mut row: EncodedRow, with_reasons: bool) -> Scored<'s> {
    let (answer, prediction) = convert::predict(asked, &mut row, Wanted { is_counted: true, ..Wanted::NOTHING });
    let scorer = &asked.model.scorer;
    let reasons = if with_reasons && matches!(scorer.manifest().kind, TaskKind::Churn | TaskKind::Survival) {
        let explanation = scorer.explain(&row.values);
        let raises = |idx: &usize| explanation.contributions[*idx] > 0.0;
        let top = explanation.top(explanation.contributions.len()).into_iter().filter(raises).take(TOP_REASONS);
        top.map(|idx| scorer.schema().features[idx].name.as_str()).collect()
    } else {
        Vec::new()
    };
    let effects = scorer.effects(&row.values).unwrap_or_default();
    let effects = effects.into_iter().map(|effect| {
        let Effect { treatment, effect, low, high, conclusive } = effect;
        TreatmentEffect { treatment, effect, low, high, conclusive }
    });
    let band = match scorer.band(&prediction) {
        Band::Low => "low",
        Band::Medium => "medium",
        Band::High => "high",
    };
    Scored { name, answer, prediction, band, effects: effects.collect(), reasons }
}

impl Scored<'_> {
    fn as_read(&self) -> Prediction<'_> {
        Prediction {
            model: self.name,
            probability: Some(self.prediction.probability),
            expected_value: self.prediction.expected_value,
            band: Some(self.band),
        }
    }

    fn to_json(&self) -> Value {
        let model = self.answer.model.as_ref();
        json!({
            "model": model.map(|model| format!("{}/{}", model.name, model.version)),
            "probability": self.prediction.probability,
            "expected_value": self.prediction.expected_value,
        })
    }
}
