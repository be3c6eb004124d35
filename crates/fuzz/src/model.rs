//! What holds for every model that its check accepts.

use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, Rows};
use retain_score::{EffectPart, MarginModel, Model, Prediction, Predictor, SurvivalCurve};

use super::margin::{self, check_sum, size_of};
use super::rows::probing;

/// Days that a customer may have been there for, sensible or not.
const ELAPSED: [f64; 8] = [0.0, 45.0, 1e-9, 1e300, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
/// Rounding of shares.
const SHARE: f64 = 1e-9;

/// Decodes the bytes of `model.bin` and checks the model against two schemas.
pub(crate) fn check_file(bytes: &[u8]) {
    let Ok((model, n_features)) = Model::decode(bytes) else { return };
    let again = model.encode(n_features);
    // Bits of NaN and old versions aside, what is written is what was read.
    let (decoded, n_decoded) = Model::decode(&again).expect("what is written can be read");
    assert_eq!((decoded.encode(n_decoded), n_decoded), (again, n_features));
    for schema in [numbers(), mixed()] {
        if model.check(&schema).is_ok() {
            check(&model, &schema);
        } else {
            assert!(Predictor::new(&model, &schema).is_err(), "compiled although it was refused");
        }
    }
}

/// Checks everything about a model that the check accepts.
pub(crate) fn check(model: &Model, schema: &FeatureSchema) {
    let predictor = Predictor::new(model, schema).expect("what is accepted can be compiled");
    let margins = margins_of(model);
    if !matches!(model, Model::Hazard(_)) {
        for margin in &margins {
            margin::check(margin, schema).expect("the parts of a model hold together");
        }
    }
    let rows = probing(schema, margins.iter().copied());
    let batch = Rows::from_values(schema.n_features(), rows.concat()).expect("complete rows");
    let mut predictions = Vec::new();
    predictor.predict_rows(batch.values(), &mut predictions);
    assert_eq!(predictions.len(), rows.len());
    for (position, (row, in_batch)) in rows.iter().zip(&predictions).enumerate() {
        let alone = predictor.predict(row);
        check_prediction(&alone, row);
        assert_eq!(bits(&alone), bits(in_batch), "alone and in a batch at {row:?}");
        let explained = predictor.explain(row);
        assert_eq!(explained.contributions.len(), row.len());
        // Of uplift the effect is held within its limit, and what is explained is not.
        if !matches!(model, Model::Hazard(_) | Model::Uplift(_)) {
            let size = margins.iter().map(|margin| size_of(margin, row)).sum::<f64>() + alone.margin.abs();
            check_sum(&explained, alone.margin, size, row);
        }
        check_effects(&predictor, row);
        let elapsed = ELAPSED[position % ELAPSED.len()];
        check_prediction(&predictor.predict_after(row, elapsed), row);
        if let Some(curve) = predictor.survival(row, elapsed) {
            check_curve(&curve, predictor.causes().len());
        }
    }
}

fn check_effects(predictor: &Predictor, row: &[f64]) {
    let Some(effects) = predictor.effects(row) else { return };
    assert_eq!(effects.len(), predictor.treatments().len());
    for effect in &effects {
        assert!(
            effect.effect.is_finite() && effect.low <= effect.effect && effect.effect <= effect.high,
            "{effect:?} at {row:?}"
        );
    }
    let (_, best) = predictor.best_of(&effects).expect("a model has a treatment");
    assert_eq!(bits(&best), bits(&predictor.predict(row)), "of all effects and alone at {row:?}");
}

fn margins_of(model: &Model) -> Vec<&MarginModel> {
    match model {
        Model::Event(head) => vec![&head.margin],
        Model::Hazard(hazard) => hazard.causes.iter().map(|cause| &cause.hazard.margin).collect(),
        Model::Amount(amount) => {
            let margins = [&amount.occurrence.margin, &amount.value.margin];
            margins.into_iter().chain(&amount.value.spread).chain(amount.decline.iter().map(|head| &head.margin)).collect()
        }
        Model::Uplift(uplift) => {
            let parts = uplift.arms.iter().filter_map(|arm| arm.individual.as_ref()).flat_map(|individual| &individual.parts);
            let margins = parts.flat_map(|part| match part {
                EffectPart::Effect(margin) => vec![margin],
                EffectPart::Chances { treated, control, .. } => vec![treated, control],
            });
            margins.collect()
        }
    }
}

fn check_prediction(prediction: &Prediction, row: &[f64]) {
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    let is_amount = |amount: f64| amount >= 0.0 && amount.is_finite();
    assert!(!prediction.margin.is_nan(), "{prediction:?} at {row:?}");
    assert!(is_share(prediction.probability), "{prediction:?} at {row:?}");
    assert!(prediction.expected_value.is_none_or(is_amount), "{prediction:?} at {row:?}");
    // Limits of an effect may lie below 0.
    let are_limits = |(low, high): (f64, f64)| low.is_finite() && high.is_finite() && low <= high;
    assert!(prediction.limits.is_none_or(are_limits), "{prediction:?} at {row:?}");
    assert!(prediction.decline.is_none_or(is_share), "{prediction:?} at {row:?}");
}

fn bits(prediction: &Prediction) -> [Option<u64>; 6] {
    let (low, high) = prediction.limits.unzip();
    let Prediction { margin, probability, expected_value, decline, .. } = *prediction;
    [Some(margin), Some(probability), expected_value, low, high, decline].map(|number| number.map(f64::to_bits))
}

fn check_curve(curve: &SurvivalCurve, n_causes: usize) {
    let is_share = |share: &f64| (-SHARE..=1.0 + SHARE).contains(share);
    assert!(!curve.days.is_empty() && curve.days.len() == curve.survival.len() && curve.left_by_cause.len() == n_causes);
    assert!(curve.days[0] > 0.0 && curve.days.is_sorted() && curve.survival.iter().all(is_share), "{curve:?}");
    assert!(curve.survival.is_sorted_by(|a, b| a >= b), "{curve:?}");
    let last = curve.days[curve.days.len() - 1];
    for day in curve.days.iter().copied().chain([0.0, last / 2.0, last / 3.0, 2.0 * last]) {
        let (stays, left) = (curve.at(day), curve.left_by(day));
        assert!(is_share(&stays) && left.iter().all(is_share), "{stays} and {left:?} at {day}: {curve:?}");
        assert!((stays + left.iter().sum::<f64>() - 1.0).abs() < SHARE, "{stays} and {left:?} at {day}: {curve:?}");
    }
    // The smallest numbers have few digits.
    let until_last = 0.0..=last * (1.0 + SHARE) + f64::MIN_POSITIVE;
    assert!(curve.median_days().is_none_or(|day| until_last.contains(&day)), "{:?} of {curve:?}", curve.median_days());
    assert!(until_last.contains(&curve.restricted_mean_days()), "{} of {curve:?}", curve.restricted_mean_days());
}

/// Three numbers.
fn numbers() -> FeatureSchema {
    schema(vec![number("a"), number("b"), number("c")])
}

/// Every kind of feature.
fn mixed() -> FeatureSchema {
    schema(vec![
        number("tenure"),
        category("plan", 3),
        FeatureSpec::new("autopay", ColumnKind::Boolean),
        category("region", 130),
        FeatureSpec::new("since", ColumnKind::Date),
    ])
}

/// A schema of these features.
pub(crate) fn schema(features: Vec<FeatureSpec>) -> FeatureSchema {
    FeatureSchema::new(features, None, "churned".to_owned(), "yes".to_owned(), None).expect("names are told apart")
}

pub(crate) fn number(name: &str) -> FeatureSpec {
    FeatureSpec::new(name, ColumnKind::Number)
}

pub(crate) fn category(name: &str, n_categories: usize) -> FeatureSpec {
    let mut feature = FeatureSpec::new(name, ColumnKind::Category);
    feature.set_categories((0..n_categories).map(|category| format!("c{category}")).collect());
    feature
}
