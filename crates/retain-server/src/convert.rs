//! Where wire and domain types meet: features become rows, answers become messages. `columns` does the same for whole batches,
//! `describe` for what is told about models.

mod arrow;
mod columns;
mod describe;
mod features;
mod reasons;
mod what_if;

use std::sync::Arc;

use prost_types::Timestamp;
use retain_core::{Day, FeatureSchema, FeatureSpec, FeatureValue, TaskKind, ValueError, ValueNote, nearest};
use retain_proto::v1;
use retain_score::{Band, Effect, Manifest, Prediction, SurvivalCurve};

use crate::customers::{StoredCells, StoredRow};
use crate::models::{Alias, Asked, LiveModel};
use crate::status::{Violation, Violations};
use crate::text::printable;

pub(crate) use arrow::{ArrowRequest, arrow_response, check_alone};
pub(crate) use columns::{Columns, Place, ScoredBatch, StoredRows, score_alone, score_batch};
pub(crate) use describe::{live_model, model_description, model_summaries, reload_response};
pub(crate) use features::Features;
pub(crate) use reasons::{Language, reason};
pub(crate) use what_if::{check_changes, compare, encode_changes};

/// Most letters of a feature's name or value that a message repeats.
const QUOTED_CHARS: usize = 40;
/// Unknown names whose likeness to the known ones is looked at; the look costs time in proportion to the schema.
const MAX_HINTS: usize = 5;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Seconds of the years 1 to 9999, which a `google.protobuf.Timestamp` covers.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What is known of one customer: values that a request has, others in the place of some of them, and the customer's stored row.
pub(crate) struct Given<'r> {
    features: &'r Features<'r>,
    /// The change's position in the request, and its values.
    change: Option<(usize, &'r Features<'r>)>,
    stored: Option<Stored<'r>>,
}

/// What the server's table has of one customer.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'v> {
    pub(crate) row: StoredRow<'v>,
    /// The moment that the row's dates are counted to.
    pub(crate) observed: Option<Day>,
}

/// One customer as one model reads it.
pub(crate) struct EncodedRow {
    /// One number per feature of the model.
    pub(crate) values: Vec<f64>,
    /// What is unusual, in the order of the features.
    pub(crate) warnings: Vec<v1::Warning>,
}

/// The moment of observation, where the request says it.
pub(crate) fn observed_at(timestamp: Option<&Timestamp>, violations: &mut Violations) -> Option<Day> {
    let Timestamp { seconds, nanos } = timestamp?;
    if TIMESTAMP_SECONDS.contains(seconds) && (0..1_000_000_000).contains(nanos) {
        return Some(Day::from_seconds(*seconds as f64 + f64::from(*nanos) * 1e-9));
    }
    violations.push(|| {
        Violation::new("observed_at", "INVALID_TIMESTAMP", "should lie in the years 1 to 9999, nanos from 0 to 999999999")
    });
    None
}

/// Whether features that nobody knows are to be refused.
pub(crate) fn rejects_unknown(policy: i32, violations: &mut Violations) -> bool {
    match v1::UnknownFeaturePolicy::try_from(policy) {
        Ok(v1::UnknownFeaturePolicy::Unspecified | v1::UnknownFeaturePolicy::Reject) => true,
        Ok(v1::UnknownFeaturePolicy::Ignore) => false,
        Err(_) => {
            let description = format!("should be REJECT or IGNORE, found the number {policy}");
            violations.push(|| Violation::new("unknown_feature_policy", "UNKNOWN_ENUM_VALUE", &description));
            true
        }
    }
}

/// Notes every name that no model knows, with the nearest known one.
pub(crate) fn check_names<'n>(
    names: impl Iterator<Item = (&'n str, usize)>,
    models: &[Asked<'_>],
    field: impl Fn(&str, usize) -> String,
    violations: &mut Violations,
) {
    let mut n_hints = 0;
    for (name, position) in names {
        if models.iter().any(|asked| asked.knows(name)) {
            continue;
        }
        violations.push(|| {
            n_hints += 1;
            let known = models.iter().flat_map(|asked| &asked.model.scorer.schema().features);
            let near = (n_hints <= MAX_HINTS).then(|| nearest(name, known.map(|feature| feature.name.as_str()))).flatten();
            let hint = near.map(|near| format!("; did you mean `{}`?", printable(near, QUOTED_CHARS))).unwrap_or_default();
            let name_shown = printable(name, QUOTED_CHARS);
            let description = format!("`{name_shown}` is not a feature of the models asked{hint}");
            Violation::new(field(name, position), "UNKNOWN_FEATURE", &description)
        });
    }
}

impl<'r> Given<'r> {
    /// The customer as the request and the table have it.
    pub(crate) fn new(features: &'r Features<'r>, stored: Option<Stored<'r>>) -> Self {
        Self { features, change: None, stored }
    }

    /// The customer after the change at this position of the request.
    pub(crate) fn changed(&self, position: usize, change: &'r Features<'r>) -> Self {
        Self { change: Some((position, change)), ..*self }
    }

    /// The values that the request has for the features of a schema, in its order.
    fn in_order_of(&self, schema: &FeatureSchema) -> Vec<Option<FeatureValue<'r>>> {
        let mut values = self.features.in_order_of(schema);
        if let Some((_, change)) = self.change {
            for (value, changed) in values.iter_mut().zip(change.in_order_of(schema)) {
                *value = changed.or(*value);
            }
        }
        values
    }

    fn path(&self, name: &str) -> String {
        match self.change {
            Some((position, change)) if change.contains(name) => changed_path(position, name),
            _ => feature_path(name),
        }
    }
}

/// The path of a feature of a change: `changes[0].features["tenure"]`.
pub(crate) fn changed_path(position: usize, name: &str) -> String {
    format!("changes[{position}].{}", feature_path(name))
}

/// The path of a feature of a single request: `features["tenure"]`.
pub(crate) fn feature_path(name: &str) -> String {
    format!("features[\"{}\"]", printable(name, QUOTED_CHARS))
}

/// Encodes one customer for one model; values that do not fit are noted as violations, all of them.
pub(crate) fn encode(
    given: &Given<'_>,
    model: &Arc<LiveModel>,
    observed: Option<Day>,
    violations: &mut Violations,
) -> EncodedRow {
    let schema = model.scorer.schema();
    let mut row = EncodedRow { values: vec![f64::NAN; schema.n_features()], warnings: Vec::new() };
    let stored: Option<(StoredCells<'_>, Option<Day>)> =
        given.stored.and_then(|stored| Some((stored.row.read_by(model)?, stored.observed)));
    let all_sent = given.in_order_of(schema);
    for (feature_idx, ((place, feature), sent)) in row.values.iter_mut().zip(&schema.features).zip(all_sent).enumerate() {
        let (value, observed) = match (sent, &stored) {
            (Some(value), _) => (value, observed),
            (None, Some((cells, observed))) => (cells.value(feature_idx), *observed),
            (None, None) => (FeatureValue::Missing, observed),
        };
        match feature.encode(value, observed) {
            Ok((encoded, ValueNote::Usual)) => *place = encoded,
            Ok((encoded, note)) => {
                *place = encoded;
                row.warnings.extend(warning(feature, note, value, encoded));
            }
            Err(error) => {
                let description = if sent.is_some() { error.to_string() } else { format!("of the stored row {error}") };
                violations.push(|| Violation::new(given.path(&feature.name), value_reason(&error), &description));
            }
        }
    }
    row
}

/// How old a customer's row is; `now` is the server's clock.
pub(crate) fn stored_row(row: StoredRow<'_>, now: Day) -> v1::StoredRow {
    let observed = row.observed();
    let seconds = observed.days() * SECONDS_PER_DAY;
    let nanos = ((seconds - seconds.floor()) * 1e9) as i32;
    let timestamp = Timestamp { seconds: seconds.floor() as i64, nanos: nanos.clamp(0, 999_999_999) };
    v1::StoredRow { observed_at: Some(timestamp), age_seconds: age_seconds(observed, now) }
}

fn age_seconds(observed: Day, now: Day) -> f64 {
    (now.days() - observed.days()) * SECONDS_PER_DAY
}

fn value_reason(error: &ValueError) -> &'static str {
    match error {
        ValueError::NotNumber { .. } => "NOT_A_NUMBER",
        ValueError::NotFinite { .. } => "NOT_FINITE",
        ValueError::NotBoolean { .. } => "NOT_A_BOOLEAN",
        ValueError::NotCategory { .. } => "NOT_A_CATEGORY",
        ValueError::NotDate { .. } => "NOT_A_DATE",
        ValueError::NoObservation => "NO_OBSERVATION",
        // The enum may grow; a new kind of mistake is still one of the value.
        _ => "INVALID_VALUE",
    }
}

fn warning_code(note: ValueNote) -> Option<v1::WarningCode> {
    match note {
        ValueNote::Usual => None,
        ValueNote::Missing => Some(v1::WarningCode::Missing),
        ValueNote::Unseen => Some(v1::WarningCode::UnseenCategory),
        ValueNote::OutOfRange => Some(v1::WarningCode::OutOfRange),
    }
}

fn warning(feature: &FeatureSpec, note: ValueNote, value: FeatureValue<'_>, encoded: f64) -> Option<v1::Warning> {
    let code = warning_code(note)?;
    let text = match (note, value) {
        (ValueNote::Unseen, FeatureValue::Text(text)) => {
            format!("training did not see the category `{}`", printable(text, QUOTED_CHARS))
        }
        (ValueNote::OutOfRange, _) => {
            let bound = |bound: Option<f64>| bound.map_or_else(|| "…".to_owned(), |bound| feature.display(bound));
            format!("{} is outside what training saw, {} to {}", feature.display(encoded), bound(feature.min), bound(feature.max))
        }
        _ => "no value was given".to_owned(),
    };
    Some(v1::Warning { code: code.into(), feature: feature.name.clone(), text })
}

/// Which model gave an answer.
pub(crate) fn model_version(manifest: &Manifest) -> v1::ModelVersion {
    let kind = match manifest.kind {
        TaskKind::Churn => v1::ModelKind::Churn,
        TaskKind::Survival => v1::ModelKind::Survival,
        TaskKind::Ltv => v1::ModelKind::Ltv,
        TaskKind::Engagement => v1::ModelKind::Engagement,
        TaskKind::Uplift => v1::ModelKind::Uplift,
    };
    v1::ModelVersion {
        name: manifest.name.to_string(),
        version: manifest.version,
        kind: kind.into(),
        horizon_days: manifest.horizon_days,
        lead_days: manifest.lead_days,
    }
}

fn alias(alias: Option<Alias>) -> v1::ModelAlias {
    match alias {
        None => v1::ModelAlias::Unspecified,
        Some(Alias::Champion) => v1::ModelAlias::Champion,
        Some(Alias::Challenger) => v1::ModelAlias::Challenger,
        Some(Alias::Shadow) => v1::ModelAlias::Shadow,
    }
}

fn band(band: Band) -> v1::Band {
    match band {
        Band::Low => v1::Band::Low,
        Band::Medium => v1::Band::Medium,
        Band::High => v1::Band::High,
    }
}

/// What a prediction shall tell beside itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) top_k_reasons: u32,
    pub(crate) language: Language,
    pub(crate) elapsed_days: f64,
    pub(crate) with_curve: bool,
    /// Whether it counts among the predictions that the model gave.
    pub(crate) is_counted: bool,
}

impl Wanted {
    /// The prediction alone.
    pub(crate) const NOTHING: Self =
        Self { top_k_reasons: 0, language: Language::English, elapsed_days: 0.0, with_curve: false, is_counted: false };

    pub(crate) fn of(request: &v1::PredictRequest, violations: &mut Violations) -> Self {
        let elapsed_days = request.elapsed_days.unwrap_or(0.0);
        if !(elapsed_days.is_finite() && elapsed_days >= 0.0) {
            let description = format!("should be a number of days from 0 on, found {elapsed_days}");
            violations.push(|| Violation::new("elapsed_days", "NOT_A_DURATION", &description));
        }
        let (top_k_reasons, with_curve) = (request.top_k_reasons, request.with_curve);
        Self { top_k_reasons, language: Language::of(request.language, violations), elapsed_days, with_curve, is_counted: true }
    }
}

/// Scores one encoded customer, whose warnings are told; the answer, and what the scorer said.
pub(crate) fn predict(asked: &Asked<'_>, row: &mut EncodedRow, wanted: Wanted) -> (v1::Prediction, Prediction) {
    let model = asked.model;
    let Wanted { top_k_reasons, language, elapsed_days, with_curve, is_counted } = wanted;
    let is_uplift = model.scorer.manifest().kind == TaskKind::Uplift;
    let effects = if is_uplift { model.scorer.effects(&row.values).unwrap_or_default() } else { Vec::new() };
    // Their best is the prediction: no margin is added up twice.
    let of_effects = model.scorer.predictor().best_of(&effects).map(|(_, prediction)| prediction);
    let prediction = of_effects.unwrap_or_else(|| model.scorer.predict_after(&row.values, elapsed_days));
    if is_counted {
        model.observed.row(&row.values, &prediction);
    }
    let curve = if with_curve { model.scorer.survival(&row.values, elapsed_days) } else { None };
    let Prediction { margin, probability, expected_value, limits, decline } = prediction;
    let explanation = (top_k_reasons > 0).then(|| model.scorer.explain(&row.values));
    let reasons = explanation.as_ref().map(|explanation| {
        let adds_something = |&feature_idx: &usize| explanation.contributions[feature_idx] != 0.0;
        let top = explanation.top(top_k_reasons as usize);
        let told = |feature_idx| reason(model, &row.values, explanation, feature_idx, language);
        top.into_iter().filter(adds_something).map(told).collect()
    });
    let answer = v1::Prediction {
        model: Some(model_version(model.scorer.manifest())),
        probability,
        band: band(model.scorer.band(&prediction)).into(),
        margin,
        base_margin: explanation.as_ref().map(|explanation| explanation.base_margin),
        reasons: reasons.unwrap_or_default(),
        warnings: std::mem::take(&mut row.warnings),
        expected_value,
        low: limits.map(|(low, _)| low),
        high: limits.map(|(_, high)| high),
        decline_probability: decline,
        curve: curve.map(|curve| survival_curve(model, &curve)),
        alias: alias(asked.alias).into(),
        effects: effects.iter().map(treatment_effect).collect(),
    };
    (answer, prediction)
}

fn treatment_effect(effect: &Effect<'_>) -> v1::TreatmentEffect {
    let Effect { treatment, effect, low, high, conclusive } = *effect;
    v1::TreatmentEffect { treatment: treatment.to_owned(), effect, low, high, conclusive }
}

fn survival_curve(model: &LiveModel, curve: &SurvivalCurve) -> v1::SurvivalCurve {
    let shares = curve.left_by(f64::from(model.scorer.manifest().horizon_days));
    let causes = model.scorer.predictor().causes().iter().zip(shares);
    v1::SurvivalCurve {
        days: curve.days.clone(),
        survival: curve.survival.clone(),
        median_days: curve.median_days(),
        restricted_mean_days: curve.restricted_mean_days(),
        causes: causes.map(|(cause, share)| v1::CauseShare { cause: cause.clone(), share }).collect(),
    }
}

/// Explains one encoded customer in full.
pub(crate) fn explain(asked: &Asked<'_>, row: EncodedRow, language: Language) -> v1::ExplainResponse {
    let model = asked.model;
    let prediction = model.scorer.predict(&row.values);
    let explanation = model.scorer.explain(&row.values);
    let order = explanation.top(explanation.contributions.len());
    v1::ExplainResponse {
        // Whose it is, the caller knows.
        customer_id: String::new(),
        stored_row: None,
        model: Some(model_version(model.scorer.manifest())),
        probability: prediction.probability,
        band: band(model.scorer.band(&prediction)).into(),
        // Of a hazard the contributions add up to another margin than the prediction's.
        margin: explanation.margin,
        base_margin: explanation.base_margin,
        contributions: order
            .into_iter()
            .map(|feature_idx| reason(model, &row.values, &explanation, feature_idx, language))
            .collect(),
        warnings: row.warnings,
        alias: alias(asked.alias).into(),
    }
}
