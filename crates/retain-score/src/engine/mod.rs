//! The hot path: a checked model compiled for evaluation without branches or allocation.
//!
//! Values become ranks ([`views`]), small trees answer side by side ([`parts`]), large ones are walked ([`walk`]), and leaves are
//! added up as whole numbers ([`fixed`]), so that every kernel gives the same bits, for one row and for many. Which instructions do it
//! is chosen in [`kernel`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fixed;
mod kernel;
#[cfg(not(target_arch = "x86_64"))]
mod no_x86;
mod parts;
mod plain;
mod views;
mod walk;

use std::cell::RefCell;
use std::sync::Arc;

use retain_core::FeatureSchema;

use crate::engine::fixed::FixedPoint;
pub(crate) use crate::engine::kernel::Instructions;
pub use crate::engine::kernel::Kernel;
use crate::engine::parts::{Batch, Columns, Part, ROWS, parts_of};
use crate::engine::walk::Walk;
use crate::explain::LateExplainer;
use crate::model::{MarginModel, ModelError, Term};

/// So many rows of [`ROWS`] take as long together as one by one.
const FEW_ROWS: usize = 32;

thread_local! {
    /// Room for the ranks of a batch, at most 64 KiB: kept, so that batches allocate nothing after the first.
    static COLUMNS: RefCell<Columns> = const { RefCell::new(Columns::new()) };
}

/// A margin model ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) n_features: usize,
    pub(crate) intercept: f64,
    pub(crate) terms: Vec<Term>,
    fixed: FixedPoint,
    instructions: Instructions,
    parts: Vec<Part>,
    walked: Walk,
    n_trees: usize,
    /// Shared by clones, which explain alike.
    pub(crate) explainer: Arc<LateExplainer>,
}

impl Engine {
    /// Checks a model against its schema and compiles it for this processor.
    ///
    /// # Errors
    /// [`ModelError`] when the model does not hold together or does not fit the schema.
    pub fn new(model: &MarginModel, schema: &FeatureSchema) -> Result<Self, ModelError> {
        Self::with_kernel(model, schema, Kernel::Best)
    }

    /// Checks a model against its schema and compiles it for a kernel.
    ///
    /// # Errors
    /// [`ModelError`] when the model does not hold together or does not fit the schema.
    pub fn with_kernel(model: &MarginModel, schema: &FeatureSchema, kernel: Kernel) -> Result<Self, ModelError> {
        model.check(schema)?;
        Ok(Self::of_checked(model.clone(), schema, kernel))
    }

    /// Compiles a model that [`MarginModel::check`] has accepted with this schema.
    pub(crate) fn of_checked(model: MarginModel, schema: &FeatureSchema, kernel: Kernel) -> Self {
        let fixed = FixedPoint::of(&model);
        let n_categories = |feature_idx: u32| schema.features[feature_idx as usize].categories.len();
        let (parts, walked) = parts_of(&model.trees, &n_categories, fixed);
        let base_of_terms = model.terms.iter().fold(model.intercept, |sum, term| sum + term.mean);
        Self {
            n_features: schema.n_features(),
            intercept: model.intercept,
            terms: model.terms,
            fixed,
            instructions: Instructions::detect(kernel),
            parts,
            walked: Walk::new(walked.iter().map(|&position| &model.trees[position]), fixed),
            n_trees: model.trees.len(),
            explainer: Arc::new(LateExplainer::new(model.trees, base_of_terms, schema.n_features())),
        }
    }

    /// Numbers in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Mean margin over the training rows: what contributions are told against.
    pub fn base_margin(&self) -> f64 {
        self.explainer.base_margin()
    }

    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.n_trees
    }

    /// The margin of one encoded row, in log-odds before calibration.
    ///
    /// # Panics
    /// When `row` does not have `n_features` numbers.
    #[inline]
    pub fn margin(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.n_features, "a row has one number per feature");
        let units = self.parts.iter().map(|part| self.instructions.sum(part, row)).sum::<i64>() + self.walked.sum(row);
        self.of_terms(row) + self.fixed.decode(units)
    }

    /// Margins of encoded rows that lie one after another, in order, each with the bits that [`Engine::margin`] gives it alone;
    /// `margins` is cleared first.
    ///
    /// # Panics
    /// When the values are not rows of `n_features` numbers.
    pub fn margins(&self, values: &[f64], margins: &mut Vec<f64>) {
        margins.clear();
        assert!(values.len().is_multiple_of(self.n_features), "a row has one number per feature");
        COLUMNS.with_borrow_mut(|columns| {
            for values in values.chunks(ROWS * self.n_features) {
                let batch = Batch { values, n_features: self.n_features };
                if batch.n_rows() < FEW_ROWS {
                    margins.extend(batch.rows().map(|row| self.margin(row)));
                    continue;
                }
                let mut sums = [0; ROWS];
                for part in &self.parts {
                    self.instructions.add_sums(part, batch, columns, &mut sums);
                }
                let rows = batch.rows().zip(sums);
                margins.extend(rows.map(|(row, units)| self.of_terms(row) + self.fixed.decode(units + self.walked.sum(row))));
            }
        });
    }

    /// What evaluates this model.
    pub(crate) fn instructions(&self) -> Instructions {
        self.instructions
    }

    fn of_terms(&self, row: &[f64]) -> f64 {
        self.terms.iter().fold(self.intercept, |sum, term| sum + term.shape.value(row[term.feature_idx as usize]))
    }
}
