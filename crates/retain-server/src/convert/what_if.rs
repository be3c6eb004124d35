//! What models expect of a customer with other values.

use std::sync::Arc;

use retain_proto::v1;

use super::{EncodedRow, Features, Given, Wanted, encode, predict};
use crate::config::Config;
use crate::models::{Asked, LiveModel};
use crate::status::{CallError, Violation, Violations, check_count};

/// Most changes of one request.
const MAX_CHANGES: usize = 100;
/// Most changes times models: each is explained twice.
const MAX_COMPARISONS: usize = 1_000;

/// Refuses lists of changes that are too long, or empty.
///
/// # Errors
/// [`CallError::Invalid`] names the list.
pub(crate) fn check_changes(request: &v1::WhatIfRequest, n_models: usize, config: &Config) -> Result<(), CallError> {
    check_count("changes", request.changes.len(), MAX_CHANGES)?;
    let required = |field: String| Err(Violation::new(field, "REQUIRED", "should have at least one entry").into());
    if request.changes.is_empty() {
        return required("changes".to_owned());
    }
    let n_comparisons = request.changes.len() * n_models;
    if n_comparisons > MAX_COMPARISONS {
        let description = format!("times models makes {n_comparisons} comparisons, at most {MAX_COMPARISONS} are allowed");
        return Err(Violation::new("changes", "TOO_MANY", &description).into());
    }
    for (position, change) in request.changes.iter().enumerate() {
        check_count(&format!("changes[{position}].features"), change.features.len(), config.max_features)?;
        if change.features.is_empty() {
            return required(format!("changes[{position}].features"));
        }
    }
    Ok(())
}

/// One customer as one model reads it, before and after each change; values that do not fit are noted as violations.
pub(crate) fn encode_changes(
    given: &Given<'_>,
    changes: &[v1::Change],
    model: &Arc<LiveModel>,
    observed: Option<retain_core::Day>,
    violations: &mut Violations,
) -> (EncodedRow, Vec<EncodedRow>) {
    let before = encode(given, model, observed, violations);
    let changes = changes.iter().enumerate();
    let after = changes.map(|(position, change)| {
        encode(&given.changed(position, &Features::from(&change.features)), model, observed, violations)
    });
    (before, after.collect())
}

/// One model's answers before and after each change.
pub(crate) fn compare(asked: &Asked<'_>, mut before: EncodedRow, after: Vec<EncodedRow>) -> v1::Comparison {
    let model = asked.model;
    let row_before = before.values.clone();
    let explained_before = model.scorer.explain(&row_before);
    let (told_before, _) = predict(asked, &mut before, Wanted::NOTHING);
    let changed = |mut row: EncodedRow| {
        let (row_after, explained) = (row.values.clone(), model.scorer.explain(&row.values));
        let (prediction, _) = predict(asked, &mut row, Wanted::NOTHING);
        let difference = |feature: usize| explained.contributions[feature] - explained_before.contributions[feature];
        let mut order: Vec<usize> = (0..row_after.len()).filter(|&feature| difference(feature) != 0.0).collect();
        order.sort_by(|&a, &b| difference(b).abs().total_cmp(&difference(a).abs()).then(a.cmp(&b)));
        let contribution = |feature_idx: usize| {
            let feature = &model.scorer.schema().features[feature_idx];
            v1::ContributionChange {
                feature: feature.name.clone(),
                value_before: feature.display(row_before[feature_idx]),
                value_after: feature.display(row_after[feature_idx]),
                before: explained_before.contributions[feature_idx],
                after: explained.contributions[feature_idx],
            }
        };
        v1::ChangedPrediction {
            probability_difference: prediction.probability - told_before.probability,
            expected_value_difference: prediction
                .expected_value
                .zip(told_before.expected_value)
                .map(|(after, before)| after - before),
            contributions: order.into_iter().map(contribution).collect(),
            prediction: Some(prediction),
        }
    };
    let after = after.into_iter().map(changed).collect();
    v1::Comparison { before: Some(told_before), after }
}
