//! Which columns of the design matrix a linear fit may use, and its coefficients as a model.

use ndarray::Array2;
use retain_core::Monotone;
use retain_data::Dataset;
use retain_score::MarginModel;

use super::design_matrix::{DesignMatrix, Role};

/// The rows of a fit as columns, with the dataset that they came from.
pub(super) struct TermColumns<'a> {
    dataset: &'a Dataset,
    row_idxs: &'a [usize],
    pub(super) design: DesignMatrix,
}

impl<'a> TermColumns<'a> {
    pub(super) fn new(dataset: &'a Dataset, row_idxs: &'a [usize]) -> Self {
        Self { dataset, row_idxs, design: DesignMatrix::new(dataset, row_idxs) }
    }

    /// The columns to begin with, with squares or without, and their matrix. A number that has to be monotone gets no square.
    pub(super) fn columns(&self, squares: bool) -> (Vec<usize>, Array2<f64>) {
        let features = &self.dataset.schema.features;
        let wanted = |column: usize| {
            let column = &self.design.columns[column];
            !matches!(column.role, Role::Square { .. }) || (squares && features[column.feature_idx].monotone.is_none())
        };
        let columns: Vec<usize> = (0..self.design.columns.len()).filter(|&column| wanted(column)).collect();
        let matrix = self.design.matrix(&columns);
        (columns, matrix)
    }

    /// The columns but those whose slope goes against the direction asked for.
    pub(super) fn allowed(&self, columns: &[usize], coefficients: &[f64]) -> Vec<usize> {
        let keeps = |column: usize, coefficient: f64| {
            let column = &self.design.columns[column];
            match self.dataset.schema.features[column.feature_idx].monotone {
                Some(Monotone::Increasing) => column.role != Role::Linear || coefficient >= 0.0,
                Some(Monotone::Decreasing) => column.role != Role::Linear || coefficient <= 0.0,
                None => true,
            }
        };
        columns
            .iter()
            .zip(coefficients)
            .filter(|&(&column, &coefficient)| keeps(column, coefficient))
            .map(|(&column, _)| column)
            .collect()
    }

    /// The model of these coefficients, one per column.
    pub(super) fn model(&self, columns: &[usize], intercept: f64, coefficients: &[f64]) -> MarginModel {
        let (shift, terms) = self.design.terms(columns, coefficients, self.dataset, self.row_idxs);
        MarginModel { intercept: intercept + shift, terms, trees: Vec::new() }
    }
}
