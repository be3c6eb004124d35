//! Logistic regression with linfa-logistic: the reference model of every task.
//!
//! What the package leaves to us: it needs standardised columns (`design_matrix.rs`); its probabilities are of the majority class,
//! so the sign is read from `labels()`; its stopping rule is absolute on a summed gradient, so the tolerance grows with the
//! rows; its line search can fail beside the optimum, then the fit is repeated from zero with a wider tolerance.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use rayon::prelude::*;
use retain_data::Dataset;
use retain_score::MarginModel;

use super::design_matrix::DesignMatrix;
use super::rows;
use super::term_columns::TermColumns;
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

/// Cells (rows × columns) that a fit may have; a larger table is thinned to a stratified sample of its rows. The six
/// configurations of a large table took 0.6 CPU seconds per million cells, and a cell takes 8 bytes twice.
const MAX_CELLS: usize = 12_000_000;

/// Fewest rows that thinning leaves, however many columns there are.
const MIN_ROWS: usize = 2_000;

/// Above this many cells fewer penalties are tried: with so many rows they hardly differ.
const MANY_CELLS: usize = 1_000_000;

/// Stop when the summed gradient is below this share of the number of rows.
const GRADIENT_PER_ROW: f64 = 1e-6;

const MAX_ITERATIONS: u64 = 300;

/// L2-penalised logistic regression; configurations are `alpha`, the penalty on the summed loss, and `squares`, whether numbers
/// may curve.
///
/// Beyond 12 million cells (rows × columns) the fit sees a random sample of the rows, stratified by label. A feature that has to be monotone gets no
/// square, and no slope either when the slope that fits best has the wrong sign.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logistic;

impl Learner for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn configurations(&self, dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        let many = dataset.n_rows().saturating_mul(DesignMatrix::most_columns(&dataset.schema)) > MANY_CELLS;
        let alphas: &[f64] = if many { &[1.0, 10.0, 100.0] } else { &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0] };
        let of =
            |squares: f64| alphas.iter().rev().map(move |&alpha| Configuration::new(&[("alpha", alpha), ("squares", squares)]));
        [0.0, 1.0].into_iter().flat_map(of).collect()
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        rows::refuse_weights(dataset, self.name())?;
        rows::require_both_classes(dataset, row_idxs)?;
        let max_rows = (MAX_CELLS / DesignMatrix::most_columns(&dataset.schema)).max(MIN_ROWS);
        let row_idxs = rows::thinned(dataset, row_idxs, max_rows, context.seed);
        let problem = Problem::new(dataset, &row_idxs);
        let paths = [false, true]
            .into_par_iter()
            .map(|squares| problem.path(configurations, squares, context))
            .collect::<Result<Vec<_>, FitError>>()?;
        let mut models: Vec<(usize, MarginModel)> = paths.into_iter().flatten().collect();
        models.sort_by_key(|(position, _)| *position);
        Ok(models.into_iter().map(|(_, model)| model).collect())
    }
}

struct Problem<'a> {
    columns: TermColumns<'a>,
    target: Array1<bool>,
}

impl<'a> Problem<'a> {
    fn new(dataset: &'a Dataset, row_idxs: &'a [usize]) -> Self {
        let target = row_idxs.iter().map(|&row_idx| rows::is_positive(dataset, row_idx)).collect();
        Self { columns: TermColumns::new(dataset, row_idxs), target }
    }

    /// Fits the configurations with or without squares, strongest penalty first, each from the one before; each model comes
    /// with its configuration's position.
    fn path(
        &self,
        configurations: &[Configuration],
        squares: bool,
        context: &FitContext,
    ) -> Result<Vec<(usize, MarginModel)>, FitError> {
        let mut chosen: Vec<(usize, f64)> = configurations
            .iter()
            .enumerate()
            .filter(|(_, configuration)| (configuration.get("squares") == Some(1.0)) == squares)
            .map(|(position, configuration)| (position, configuration.get("alpha").unwrap_or(1.0)))
            .collect();
        chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut columns, mut matrix) = self.columns.columns(squares);
        let mut start = None;
        let mut models = Vec::with_capacity(chosen.len());
        for (position, alpha) in chosen {
            let solution = loop {
                context.check_time()?;
                let solution = solve(&matrix, &self.target, alpha, start.take())?;
                let allowed = self.columns.allowed(&columns, &solution.coefficients);
                if allowed.len() == columns.len() {
                    break solution;
                }
                // A penalty that shrinks less frees no sign that the rows speak against: the columns stay out on this path.
                columns = allowed;
                matrix = self.columns.design.matrix(&columns);
            };
            models.push((position, self.columns.model(&columns, solution.intercept, &solution.coefficients)));
            start = Some(solution.package);
        }
        Ok(models)
    }
}

/// A fitted logistic regression, in log-odds of the positive class.
pub(super) struct Solution {
    pub(super) intercept: f64,
    pub(super) coefficients: Vec<f64>,
    /// Coefficients and intercept with the package's sign, to start the next fit from.
    package: Array1<f64>,
}

/// Minimises the summed log loss plus `alpha / 2 · Σ coefficient²`; the intercept is not penalised.
pub(super) fn solve(
    matrix: &Array2<f64>,
    target: &Array1<bool>,
    alpha: f64,
    start: Option<Array1<f64>>,
) -> Result<Solution, FitError> {
    if matrix.ncols() == 0 {
        return Ok(base_rate(target));
    }
    let records = DatasetBase::new(matrix.view(), target.view());
    let tolerance = GRADIENT_PER_ROW * matrix.nrows() as f64;
    let params =
        |tolerance: f64| LogisticRegression::default().alpha(alpha).max_iterations(MAX_ITERATIONS).gradient_tolerance(tolerance);
    let first = match start {
        Some(start) => params(tolerance).initial_params(start).fit(&records),
        None => params(tolerance).fit(&records),
    };
    let fitted = first
        .or_else(|_| params(tolerance * 100.0).fit(&records))
        .map_err(|error| FitError::Package { package: "linfa-logistic", message: error.to_string() })?;
    // The package calls the more frequent class positive.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    let mut package = fitted.params().to_vec();
    let coefficients = package.iter().map(|coefficient| sign * coefficient).collect();
    package.push(fitted.intercept());
    Ok(Solution { intercept: sign * fitted.intercept(), coefficients, package: Array1::from_vec(package) })
}

/// The fit without columns: the log-odds of the base rate.
fn base_rate(target: &Array1<bool>) -> Solution {
    let n_positives = target.iter().filter(|&&positive| positive).count() as f64;
    let intercept = libm::log(n_positives / (target.len() as f64 - n_positives));
    Solution { intercept, coefficients: Vec::new(), package: Array1::from_vec(vec![intercept]) }
}

#[cfg(test)]
mod tests {
    use retain_core::Monotone;

    use super::*;
    use crate::learners::rows::tests::example;

    const CONTEXT: FitContext = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };

    fn slopes(table: &Dataset, alpha: f64) -> MarginModel {
        let rows: Vec<usize> = (0..table.n_rows()).collect();
        Logistic.fit(table, &rows, &[Configuration::new(&[("alpha", alpha), ("squares", 1.0)])], &CONTEXT).unwrap().remove(0)
    }

    #[test]
    fn coefficients_equal_scikit_learns() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/logistic.json")).unwrap();
        let numbers =
            |value: &serde_json::Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let rows: Vec<Vec<f64>> = golden["x"].as_array().unwrap().iter().map(numbers).collect();
        let matrix = Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column]);
        let target = Array1::from_vec(numbers(&golden["y"])).mapv(|label| label == 1.0);
        for fit in golden["fits"].as_array().unwrap() {
            let solution = solve(&matrix, &target, fit["alpha"].as_f64().unwrap(), None).unwrap();
            let expected = numbers(&fit["coefficients"]);
            assert!((solution.intercept / fit["intercept"].as_f64().unwrap() - 1.0).abs() < 1e-3);
            for (found, expected) in solution.coefficients.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
            }
        }
    }

    #[test]
    fn flipping_the_labels_flips_the_margin() {
        let mut table = example(600, 7);
        let model = slopes(&table, 1.0);
        table.target.iter_mut().for_each(|label| *label = 1.0 - *label);
        let flipped = slopes(&table, 1.0);
        for row in table.all_rows().in_order() {
            assert!((model.margin(row) + flipped.margin(row)).abs() < 1e-3);
        }
    }

    #[test]
    fn a_warm_start_ends_where_a_cold_one_does() {
        let table = example(800, 8);
        let rows: Vec<usize> = (0..800).collect();
        let models = Logistic.fit(&table, &rows, &Logistic.configurations(&table, Loss::Logistic), &CONTEXT).unwrap();
        for (model, configuration) in models.iter().zip(Logistic.configurations(&table, Loss::Logistic)) {
            let alone = Logistic.fit(&table, &rows, std::slice::from_ref(&configuration), &CONTEXT).unwrap().remove(0);
            let apart = table.all_rows().in_order().map(|row| (model.margin(row) - alone.margin(row)).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-3, "{configuration}: {apart}");
        }
    }

    #[test]
    fn a_direction_asked_for_is_kept() {
        let mut table = example(800, 9);
        let rising = |model: &MarginModel| {
            let at = |debt: f64| model.margin(&[3.0, debt, 0.0, 0.0]);
            at(2000.0) - at(2.0)
        };
        assert!(rising(&slopes(&table, 1.0)) > 0.1);
        table.schema.features[1].monotone = Some(Monotone::Decreasing);
        assert_eq!(rising(&slopes(&table, 1.0)), 0.0);
        table.schema.features[1].monotone = Some(Monotone::Increasing);
        assert!(rising(&slopes(&table, 1.0)) > 0.1);
    }

    #[test]
    fn a_table_of_constants_gives_the_base_rate() {
        let mut table = example(100, 10);
        table.columns.iter_mut().for_each(|column| column.fill(1.0));
        let rate = table.n_positives() as f64 / 100.0;
        let model = slopes(&table, 1.0);
        assert!((model.intercept - (rate / (1.0 - rate)).ln()).abs() < 1e-12 && model.terms.is_empty());
    }
}
