//! From a request to what a playbook reads of a customer: features, predictions, history, and the assessment made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::Timestamp;
use retain_core::{FeatureValue, PastDecision, TaskKind};
use retain_policy::assess::{Assessed, Previous};
use retain_policy::decide::{Facts, Prediction, TreatmentEffect};
use retain_policy::rule::Values;
use retain_proto::v1;
use retain_score::{Band, Effect};
use serde::{Serialize, Serializer};

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
    /// Writes what the decision is made from, to be kept with it.
    pub(super) context: &'s dyn Fn() -> String,
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
        let health = assessed.health.as_ref().map(|health| Health { score: health.score, coverage: health.coverage });
        let (signal_count, segment) = (assessed.signal_count, assessed.segment());
        let segment = segment.and_then(|idx| playbook.assessment().segment_id(idx));
        let context = || {
            let features = self.features_read(asking, row, &models);
            let predictions = scored.iter().map(|scored| (scored.name, scored.kept())).collect();
            Context { features, health, observed_days: day.days(), predictions, segment, signal_count }.to_json()
        };
        let told = scored.iter().map(|scored| (scored.name.to_owned(), scored.answer.clone())).collect();
        let stored_row = row.map(|row| convert::stored_row(row, now));
        Ok(visit(Seen {
            values,
            assessed,
            effects: &effects,
            reasons: &reasons,
            predictions: told,
            stored_row,
            context: &context,
        }))
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

    /// Every feature that models or rules read and that is there, as it was given, by name.
    fn features_read<'v>(
        &'v self,
        asking: &'v Asking<'v>,
        row: Option<StoredRow<'v>>,
        models: &'v [Asked<'v>],
    ) -> BTreeMap<&'v str, Kept<'v>> {
        let by_models = models.iter().flat_map(|asked| model_features(row, asked.model));
        let by_rules = self.live.rule_features.iter().map(|feature| (feature.name.as_str(), stored_feature(row, &feature.name)));
        let given = by_models.chain(by_rules).map(|(name, value)| (name, asking.features.get(name).unwrap_or(value)));
        given.filter(|(_, value)| *value != FeatureValue::Missing).map(|(name, value)| (name, Kept(value))).collect()
    }
}

/// What a decision was made from: every feature that was read, as it was given, and what was made of them.
#[derive(Serialize)]
struct Context<'v> {
    features: BTreeMap<&'v str, Kept<'v>>,
    health: Option<Health>,
    observed_days: f64,
    predictions: BTreeMap<&'v str, KeptPrediction>,
    /// The first of the customer's segments, by which effects are learned.
    segment: Option<&'v str>,
    signal_count: usize,
}

#[derive(Clone, Copy, Serialize)]
struct Health {
    coverage: f64,
    score: Option<f64>,
}

#[derive(Serialize)]
struct KeptPrediction {
    expected_value: Option<f64>,
    /// `NAME/VERSION`.
    model: Option<String>,
    probability: f64,
}

/// A value as JSON has it; days as texts.
struct Kept<'v>(FeatureValue<'v>);

impl Context<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names, texts and numbers can be written as JSON")
    }
}

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            FeatureValue::Missing => serializer.serialize_none(),
            FeatureValue::Number(number) => serializer.serialize_f64(number),
            FeatureValue::Boolean(yes) => serializer.serialize_bool(yes),
            FeatureValue::Text(text) => serializer.serialize_str(text),
            FeatureValue::Day(day) => serializer.collect_str(&day),
        }
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

    fn kept(&self) -> KeptPrediction {
        let model = self.answer.model.as_ref();
        KeptPrediction {
            expected_value: self.prediction.expected_value,
            model: model.map(|model| format!("{}/{}", model.name, model.version)),
            probability: self.prediction.probability,
        }
    }
}
