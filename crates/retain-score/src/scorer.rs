//! A loaded model: from an encoded row to a probability and its reasons.

use std::path::Path;

use retain_core::{FeatureSchema, TaskKind};

use crate::bundle::{Bundle, BundleError};
use crate::effects::Effect;
use crate::explain::Explanation;
use crate::manifest::{Band, Manifest};
use crate::model::{Model, ModelError};
use crate::predictor::{Prediction, Predictor, SurvivalCurve};

/// A model ready to answer. Cheap to share behind an `Arc`; holds no buffer, and a lock only for the first explanation.
#[derive(Debug, Clone)]
pub struct Scorer {
    manifest: Manifest,
    schema: FeatureSchema,
    predictor: Predictor,
}

impl Scorer {
    /// Reads, verifies and prepares a bundle.
    ///
    /// # Errors
    /// [`BundleError`] says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let (manifest, schema, predictor) = Bundle::open_to_score(path)?;
        Ok(Self::of(manifest, schema, predictor))
    }

    /// Prepares a model that is already in memory.
    ///
    /// # Errors
    /// [`ModelError`] when the model does not hold together or does not fit the schema.
    pub fn new(manifest: Manifest, schema: FeatureSchema, model: &Model) -> Result<Self, ModelError> {
        let predictor = Predictor::new(model, &schema)?;
        Ok(Self::of(manifest, schema, predictor))
    }

    /// Takes what [`Bundle::open`] has read and compiled.
    pub fn of(manifest: Manifest, schema: FeatureSchema, predictor: Predictor) -> Self {
        Self { manifest, schema, predictor }
    }

    /// What the model is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the model expects of a row.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Trees in the model.
    pub fn n_trees(&self) -> usize {
        self.predictor.n_trees()
    }

    /// Scores one encoded row.
    ///
    /// The probability is what the task's kind asks for: leaving within the horizon (churn, survival), any value (ltv), no activity
    /// (engagement), or an effect above 0 (uplift).
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn predict(&self, row: &[f64]) -> Prediction {
        self.of_kind(self.predictor.predict(row))
    }

    /// The same for a customer who has been there for `elapsed_days` already, see [`Predictor::predict_after`].
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn predict_after(&self, row: &[f64], elapsed_days: f64) -> Prediction {
        self.of_kind(self.predictor.predict_after(row, elapsed_days))
    }

    /// The one place where a model's probability becomes that of its task.
    fn of_kind(&self, prediction: Prediction) -> Prediction {
        match self.manifest.kind {
            TaskKind::Engagement => Prediction { probability: 1.0 - prediction.probability, ..prediction },
            TaskKind::Churn | TaskKind::Survival | TaskKind::Ltv | TaskKind::Uplift => prediction,
        }
    }

    /// Scores encoded rows that lie one after another, in order, each with the same bits as [`Scorer::predict`] alone; `predictions` is
    /// cleared first.
    ///
    /// # Panics
    /// When the values are not rows of one number per feature of the schema.
    pub fn predict_rows(&self, values: &[f64], predictions: &mut Vec<Prediction>) {
        self.predictor.predict_rows(values, predictions);
        for prediction in predictions {
            *prediction = self.of_kind(*prediction);
        }
    }

    /// Explains one encoded row, see [`Predictor::explain`].
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn explain(&self, row: &[f64]) -> Explanation {
        self.predictor.explain(row)
    }

    /// The curve of one encoded row, see [`Predictor::survival`].
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn survival(&self, row: &[f64], elapsed_days: f64) -> Option<SurvivalCurve> {
        self.predictor.survival(row, elapsed_days)
    }

    /// What each treatment changes for one encoded row, see [`Predictor::effects`].
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn effects(&self, row: &[f64]) -> Option<Vec<Effect<'_>>> {
        self.predictor.effects(row)
    }

    /// The model without its manifest.
    pub fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// The band of a prediction: by its probability, by the expected amount where there is one, or by the effect of uplift.
    pub fn band(&self, prediction: &Prediction) -> Band {
        let measure = match self.manifest.kind {
            TaskKind::Uplift => prediction.margin,
            _ => prediction.expected_value.unwrap_or(prediction.probability),
        };
        self.manifest.bands.of(measure)
    }
}
