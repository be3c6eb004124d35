//! What is told about models.

use retain_core::{ColumnKind, FeatureSpec};
use retain_proto::v1;
use retain_score::Manifest;

use super::model_version;
use crate::models::{LiveModel, LiveSet, LiveVersions};

/// Every published version, and those that are live although the registry has them no more.
pub(crate) fn model_summaries(set: &LiveSet) -> Vec<v1::ModelSummary> {
    let mut summaries = Vec::new();
    for (name, model) in &set.by_name {
        let mut versions: Vec<u32> = model.published.iter().chain(model.versions.keys()).copied().collect();
        versions.extend(model.refused.iter().filter_map(|refusal| refusal.version));
        versions.sort_unstable();
        versions.dedup();
        for version in versions {
            let refusal = model.refusal_of(version);
            let state = if model.versions.contains_key(&version) {
                v1::ModelState::Live
            } else if refusal.is_some() {
                v1::ModelState::Refused
            } else {
                v1::ModelState::NotLive
            };
            summaries.push(v1::ModelSummary {
                name: name.to_string(),
                version,
                aliases: model.aliases_of(version),
                state: state.into(),
                refusal: refusal.map(|refusal| refusal.reason.clone()).unwrap_or_default(),
            });
        }
    }
    summaries
}

/// What is live and what was refused.
pub(crate) fn reload_response(set: &LiveSet) -> v1::ReloadResponse {
    let live = set.by_name.values().flat_map(|model| model.versions.values().map(|live| live_model(model, live)));
    let refused = set.report().refused.into_iter().map(|refusal| v1::RefusedModel {
        name: refusal.name,
        version: refusal.version,
        reason: refusal.reason,
    });
    v1::ReloadResponse { live: live.collect(), refused: refused.collect() }
}

/// A version that answers.
pub(crate) fn live_model(versions: &LiveVersions, live: &LiveModel) -> v1::LiveModel {
    let manifest = live.scorer.manifest();
    v1::LiveModel { model: Some(model_version(manifest)), aliases: versions.aliases_of(manifest.version) }
}

/// All about one live version.
pub(crate) fn model_description(set: &LiveSet, model: &LiveModel) -> v1::GetModelResponse {
    let manifest = model.scorer.manifest();
    let aliases = set.by_name.get(&manifest.name).map(|versions| versions.aliases_of(manifest.version)).unwrap_or_default();
    v1::GetModelResponse {
        model: Some(model_version(manifest)),
        aliases,
        facts: Some(facts(model, manifest)),
        features: model.scorer.schema().features.iter().map(feature_description).collect(),
        medium_from: manifest.bands.medium,
        high_from: manifest.bands.high,
        metrics_json: model.metrics_json.clone(),
        model_card: model.card.clone(),
    }
}

fn facts(model: &LiveModel, manifest: &Manifest) -> v1::ModelFacts {
    let schema = model.scorer.schema();
    v1::ModelFacts {
        definition: manifest.definition.clone(),
        learner: manifest.learner.clone(),
        configuration: manifest.configuration.clone(),
        calibrator: manifest.calibrator.clone(),
        validation: manifest.validation.clone(),
        training_rows: manifest.n_rows,
        training_positives: manifest.n_positives,
        training_customers: manifest.n_customers,
        observed_from: manifest.observed.as_ref().map(|observed| observed.from.clone()),
        observed_to: manifest.observed.as_ref().map(|observed| observed.to.clone()),
        seed: manifest.seed,
        data_sha256: manifest.data_sha256.clone(),
        schema_sha256: manifest.schema_sha256.clone(),
        tool_version: manifest.tool_version.clone(),
        warnings: manifest.warnings.clone(),
        target: schema.target.clone(),
        positive: schema.positive.join(", "),
        entity: schema.entity.clone(),
    }
}

fn feature_description(feature: &FeatureSpec) -> v1::FeatureDescription {
    let kind = match feature.kind {
        ColumnKind::Number => v1::FeatureKind::Number,
        ColumnKind::Boolean => v1::FeatureKind::Boolean,
        ColumnKind::Category => v1::FeatureKind::Category,
        ColumnKind::Date => v1::FeatureKind::Date,
    };
    v1::FeatureDescription {
        name: feature.name.clone(),
        kind: kind.into(),
        categories: feature.categories.clone(),
        min: feature.min,
        max: feature.max,
        typical_value: feature.typical.map(|typical| feature.display(typical)),
        missing_markers: feature.missing.texts().to_vec(),
    }
}
