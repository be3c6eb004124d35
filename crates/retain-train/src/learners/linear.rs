//! Ridge regression: the reference model of amounts, as the logistic regression is that of events.
//!
//! It has the same columns and becomes the same terms. The normal equations are solved by conjugate gradients, so that collinear
//! columns and penalties next to nothing need no care; every penalty starts from the solution of the one before.

use ndarray::{Array1, Array2, Axis};
use retain_data::Dataset;
use retain_score::MarginModel;

use super::design_matrix::DesignMatrix;
use super::rows;
use super::term_columns::TermColumns;
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

/// Cells (rows × columns) that a fit may have; a larger table is thinned to a random sample of its rows.
const MAX_CELLS: usize = 12_000_000;
/// Fewest rows that thinning leaves, however many columns there are.
const MIN_ROWS: usize = 2_000;
/// Up to so many columns their products are taken once; beyond, each step goes through the rows.
const MAX_GRAM_COLUMNS: usize = 1_000;
/// Penalties per row, from strong to weak.
const ALPHAS: [f64; 6] = [0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4];
/// A solution is good when what is left of the right side is this share of it.
const TOLERANCE: f64 = 1e-9;
const MAX_STEPS: usize = 500;

/// L2-penalised linear regression on squared error; configurations are `alpha`, the penalty per row, and `squares`, whether numbers may
/// curve.
///
/// Beyond 12 million cells (rows × columns) the fit sees a random sample of the rows. Rows count by their weights. A feature that has
/// to be monotone gets no square, and no slope either when the slope that fits best has the wrong sign.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linear;

impl Learner for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn supports(&self, loss: Loss) -> bool {
        loss == Loss::Squared
    }

    fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        let of = |squares: f64| ALPHAS.map(|alpha| Configuration::new(&[("alpha", alpha), ("squares", squares)]));
        [0.0, 1.0].into_iter().flat_map(of).collect()
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        let max_rows = (MAX_CELLS / DesignMatrix::most_columns(&dataset.schema)).max(MIN_ROWS);
        let counting = rows::counting_rows(dataset, row_idxs)?;
        let row_idxs = &rows::thinned(dataset, &counting, max_rows, context.seed);
        let terms = TermColumns::new(dataset, row_idxs);
        let target = row_idxs.iter().map(|&row_idx| dataset.target[row_idx]).collect();
        let weight = row_idxs.iter().map(|&row_idx| dataset.weight.as_ref().map_or(1.0, |weight| weight[row_idx])).collect();
        let rows = Rows { terms, target, weight };
        let mut models: Vec<(usize, MarginModel)> = Vec::with_capacity(configurations.len());
        for squares in [false, true] {
            models.extend(rows.path(configurations, squares, context)?);
        }
        models.sort_by_key(|(position, _)| *position);
        Ok(models.into_iter().map(|(_, model)| model).collect())
    }
}

/// What the fits of all configurations share.
struct Rows<'a> {
    terms: TermColumns<'a>,
    target: Array1<f64>,
    weight: Array1<f64>,
}

impl Rows<'_> {
    /// Fits the configurations with or without squares, strongest penalty first; each model comes with its configuration's position.
    fn path(
        &self,
        configurations: &[Configuration],
        squares: bool,
        context: &FitContext,
    ) -> Result<Vec<(usize, MarginModel)>, FitError> {
        let of_path = |(position, configuration): (usize, &Configuration)| {
            ((configuration.get("squares") == Some(1.0)) == squares)
                .then(|| (position, configuration.get("alpha").unwrap_or(0.01).clamp(0.0, 1e9)))
        };
        let mut chosen: Vec<(usize, f64)> = configurations.iter().enumerate().filter_map(of_path).collect();
        chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let (mut columns, matrix) = self.terms.columns(squares);
        let mut problem = Problem::new(matrix, &self.target, &self.weight);
        let mut models = Vec::with_capacity(chosen.len());
        for (position, alpha) in chosen {
            let coefficients = loop {
                let coefficients = problem.solve(alpha, context)?;
                let allowed = self.terms.allowed(&columns, &coefficients);
                if allowed.len() == columns.len() {
                    break coefficients;
                }
                columns = allowed;
                problem = Problem::new(self.terms.design.matrix(&columns), &self.target, &self.weight);
            };
            models.push((position, self.terms.model(&columns, problem.intercept(&coefficients), &coefficients)));
        }
        Ok(models)
    }
}

/// Minimise `Σ weight · (target − intercept − x · b)² + alpha · Σ weight · |b|²` over intercept and `b`.
struct Problem {
    /// Columns less their means, each row times the root of its weight.
    matrix: Array2<f64>,
    means: Array1<f64>,
    target_mean: f64,
    total_weight: f64,
    /// Columns times target.
    right: Array1<f64>,
    /// Columns times columns, where they are few.
    gram: Option<Array2<f64>>,
    /// The solution of the last penalty.
    last: Array1<f64>,
}

impl Problem {
    fn new(mut matrix: Array2<f64>, target: &Array1<f64>, weight: &Array1<f64>) -> Self {
        let total_weight = weight.sum();
        let means = weight.dot(&matrix) / total_weight;
        let target_mean = weight.dot(target) / total_weight;
        let roots = weight.mapv(f64::sqrt);
        for (mut column, mean) in matrix.columns_mut().into_iter().zip(&means) {
            column.zip_mut_with(&roots, |value, root| *value = (*value - mean) * root);
        }
        let right = matrix.t().dot(&((target - target_mean) * &roots));
        let gram = (matrix.ncols() <= MAX_GRAM_COLUMNS).then(|| matrix.t().dot(&matrix));
        let last = Array1::zeros(matrix.len_of(Axis(1)));
        Self { matrix, means, target_mean, total_weight, right, gram, last }
    }

    /// Conjugate gradients of Hestenes and Stiefel (1952).
    fn solve(&mut self, alpha: f64, context: &FitContext) -> Result<Vec<f64>, FitError> {
        let penalty = alpha * self.total_weight;
        let mut solution = self.last.clone();
        let mut residual = &self.right - &self.times(&solution, penalty);
        let mut direction = residual.clone();
        let mut size = residual.dot(&residual);
        let enough = TOLERANCE * TOLERANCE * self.right.dot(&self.right);
        for _ in 0..MAX_STEPS {
            context.check_time()?;
            if size <= enough {
                break;
            }
            let bent = self.times(&direction, penalty);
            let step = size / direction.dot(&bent);
            if !step.is_finite() {
                break;
            }
            solution.scaled_add(step, &direction);
            residual.scaled_add(-step, &bent);
            let next = residual.dot(&residual);
            direction = &residual + &(direction * (next / size));
            size = next;
        }
        self.last.clone_from(&solution);
        Ok(solution.to_vec())
    }

    fn times(&self, vector: &Array1<f64>, penalty: f64) -> Array1<f64> {
        let product = match &self.gram {
            Some(gram) => gram.dot(vector),
            None => self.matrix.t().dot(&self.matrix.dot(vector)),
        };
        product + vector * penalty
    }

    fn intercept(&self, coefficients: &[f64]) -> f64 {
        self.target_mean - self.means.iter().zip(coefficients).map(|(mean, coefficient)| mean * coefficient).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use retain_core::Monotone;

    use super::*;
    use crate::learners::rows::tests::example;

    const CONTEXT: FitContext = FitContext { loss: Loss::Squared, seed: 1, deadline: None, gap_days: None };

    /// The example's table with a target that its terms can say exactly.
    fn straight(n_rows: usize) -> Dataset {
        let mut table = example(n_rows, 3);
        table.target = (0..n_rows)
            .map(|row| 2.0 - 0.5 * table.columns[0][row] + [0.0, 1.0, -1.0, 0.5][table.columns[2][row] as usize])
            .collect();
        table
    }

    fn fit(table: &Dataset, alpha: f64) -> MarginModel {
        let rows: Vec<usize> = (0..table.n_rows()).collect();
        Linear.fit(table, &rows, &[Configuration::new(&[("alpha", alpha), ("squares", 0.0)])], &CONTEXT).unwrap().remove(0)
    }

    fn worst_error(table: &Dataset, model: &MarginModel, rows: impl Iterator<Item = usize>) -> f64 {
        let all = table.all_rows();
        let margins: Vec<f64> = all.in_order().map(|row| model.margin(row)).collect();
        rows.map(|row| (margins[row] - table.target[row]).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn a_line_is_found_again_and_a_penalty_shrinks_it() {
        let table = straight(500);
        let model = fit(&table, 0.0);
        assert!(worst_error(&table, &model, 0..500) < 1e-6);
        let shrunk = fit(&table, 1e6);
        let mean = table.target.iter().sum::<f64>() / 500.0;
        assert!(table.all_rows().in_order().all(|row| (shrunk.margin(row) - mean).abs() < 1e-4));
    }

    #[test]
    fn rows_without_weight_teach_nothing() {
        let mut table = straight(600);
        table.target[400..].fill(1e6);
        table.weight = Some((0..600).map(|row| f64::from(u8::from(row < 400))).collect());
        assert!(worst_error(&table, &fit(&table, 0.0), 0..400) < 1e-6);
    }

    #[test]
    fn a_slope_against_the_direction_asked_for_is_left_out() {
        let mut table = straight(500);
        table.schema.features[0].monotone = Some(Monotone::Increasing);
        let model = fit(&table, 0.0);
        assert!(model.terms.iter().all(|term| term.feature_idx != 0));
    }

    #[test]
    fn wide_tables_are_solved_without_the_products_of_columns() {
        let table = straight(300);
        let rows: Vec<usize> = (0..300).collect();
        let (_, matrix) = TermColumns::new(&table, &rows).columns(false);
        let (target, weight) = (Array1::from_vec(table.target.clone()), Array1::ones(300));
        let mut with = Problem::new(matrix.clone(), &target, &weight);
        let mut without = Problem { gram: None, ..Problem::new(matrix, &target, &weight) };
        let [with, without] = [with.solve(0.1, &CONTEXT).unwrap(), without.solve(0.1, &CONTEXT).unwrap()];
        assert!(with.iter().zip(&without).all(|(a, b)| (a - b).abs() < 1e-8));
    }
}
