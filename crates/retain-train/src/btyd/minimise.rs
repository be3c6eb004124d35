//! Newton's method with damping for the few parameters of these models.
//!
//! Gradients are analytic; the curvature is their central difference. It costs `2 N` gradients per step, and pays by saying at the end how
//! well each parameter is determined.

/// Parameters are logarithms and stay within this distance of zero: e^±18 is past all that data can tell.
pub(super) const LIMIT: f64 = 18.0;
/// A parameter that ends further out is determined by nothing but rounding errors.
const KNOWN_WITHIN: f64 = 10.0;
const MAX_STEPS: usize = 100;
/// A step that changes no parameter by more ends the search.
const SMALLEST_STEP: f64 = 1e-9;
const SMALLEST_GRADIENT: f64 = 1e-10;
/// A step that gains less ends the search: near a minimum the next one gains its square, and in a flat valley there is nothing to find.
const SMALLEST_GAIN: f64 = 1e-10;
const DIFFERENCE: f64 = 1e-4;
const MAX_DAMPING: f64 = 1e12;
/// No parameter moves further in one step.
const LONGEST_STEP: f64 = 1.0;

/// Where a search ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minimum<const N: usize> {
    pub(super) at: [f64; N],
    pub(super) value: f64,
    pub(super) curvature: [[f64; N]; N],
}

/// Looks for the least value of `function`, which returns its value and gradient, from `start` on.
pub(super) fn minimise<const N: usize>(function: impl Fn(&[f64; N]) -> (f64, [f64; N]), start: [f64; N]) -> Minimum<N> {
    let mut at = start;
    let (mut value, mut gradient) = function(&at);
    let mut damping = 1e-3;
    let mut curvature = curvature_at(&function, &at);
    for _ in 0..MAX_STEPS {
        if largest(&gradient) < SMALLEST_GRADIENT || damping > MAX_DAMPING {
            break;
        }
        let Some(step) = newton_step(&curvature, &gradient, damping) else {
            damping *= 10.0;
            continue;
        };
        let next = moved(&at, &step);
        let (next_value, next_gradient) = function(&next);
        if next_value.is_nan() || next_value > value {
            damping *= 10.0;
            continue;
        }
        let length = at.iter().zip(&next).fold(0.0, |most: f64, (before, after)| most.max((before - after).abs()));
        let gain = value - next_value;
        (at, value, gradient) = (next, next_value, next_gradient);
        curvature = curvature_at(&function, &at);
        damping = (damping * 0.1).max(1e-12);
        if length < SMALLEST_STEP || gain < SMALLEST_GAIN {
            break;
        }
    }
    Minimum { at, value, curvature }
}

impl<const N: usize> Minimum<N> {
    /// The standard error of every parameter when `value` is the mean over `n` observations; infinite where nothing determines it.
    pub(super) fn standard_errors(&self, n: f64) -> [f64; N] {
        let mut errors = [f64::INFINITY; N];
        for (idx, error) in errors.iter_mut().enumerate() {
            let mut unit = [0.0; N];
            unit[idx] = 1.0;
            let at_limit = self.at[idx].abs() >= KNOWN_WITHIN;
            if let Some(column) = solve(&self.curvature, &unit).filter(|column| !at_limit && column[idx] > 0.0) {
                *error = libm::sqrt(column[idx] / n);
            }
        }
        errors
    }
}

fn curvature_at<const N: usize>(function: &impl Fn(&[f64; N]) -> (f64, [f64; N]), at: &[f64; N]) -> [[f64; N]; N] {
    let mut raw = [[0.0; N]; N];
    for (idx, row) in raw.iter_mut().enumerate() {
        let shifted = |by: f64| {
            let mut place = *at;
            place[idx] += by;
            function(&place).1
        };
        let (after, before) = (shifted(DIFFERENCE), shifted(-DIFFERENCE));
        for (cell, (after, before)) in row.iter_mut().zip(after.iter().zip(&before)) {
            *cell = (after - before) / (2.0 * DIFFERENCE);
        }
    }
    let mut symmetric = raw;
    for (row_idx, row) in symmetric.iter_mut().enumerate() {
        for (column_idx, cell) in row.iter_mut().enumerate() {
            *cell = 0.5 * (*cell + raw[column_idx][row_idx]);
        }
    }
    symmetric
}

fn newton_step<const N: usize>(curvature: &[[f64; N]; N], gradient: &[f64; N], damping: f64) -> Option<[f64; N]> {
    let mut damped = *curvature;
    for (idx, row) in damped.iter_mut().enumerate() {
        row[idx] += damping;
    }
    solve(&damped, &gradient.map(|slope| -slope))
}

/// Solves `matrix · x = right` by Cholesky's decomposition; none where the matrix is not positive definite.
fn solve<const N: usize>(matrix: &[[f64; N]; N], right: &[f64; N]) -> Option<[f64; N]> {
    let mut lower = [[0.0; N]; N];
    for row in 0..N {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let rest = matrix[row][column] - known;
            if row == column && (rest.is_nan() || rest <= f64::MIN_POSITIVE) {
                return None;
            }
            lower[row][column] = if row == column { libm::sqrt(rest) } else { rest / lower[column][column] };
        }
    }
    let mut x = *right;
    for row in 0..N {
        let known: f64 = (0..row).map(|k| lower[row][k] * x[k]).sum();
        x[row] = (x[row] - known) / lower[row][row];
    }
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|k| lower[k][row] * x[k]).sum();
        x[row] = (x[row] - known) / lower[row][row];
    }
    x.iter().all(|value| value.is_finite()).then_some(x)
}

fn moved<const N: usize>(at: &[f64; N], step: &[f64; N]) -> [f64; N] {
    let scale = (LONGEST_STEP / largest(step)).min(1.0);
    let mut next = *at;
    for (place, by) in next.iter_mut().zip(step) {
        *place = (*place + scale * by).clamp(-LIMIT, LIMIT);
    }
    next
}

fn largest<const N: usize>(values: &[f64; N]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        // Rosenbrock's function, least at (1, 1).
        let valley = |at: &[f64; 2]| {
            let bend = at[1] - at[0] * at[0];
            let value = (1.0 - at[0]).powi(2) + 100.0 * bend * bend;
            (value, [-2.0 * (1.0 - at[0]) - 400.0 * at[0] * bend, 200.0 * bend])
        };
        let found = minimise(valley, [-1.2, 1.0]);
        assert!(found.value < 1e-9, "{found:?}");
        assert!(found.standard_errors(1.0).iter().all(|error| error.is_finite()));
    }

    #[test]
    fn a_direction_without_curvature_has_no_standard_error() {
        let slope = |at: &[f64; 2]| ((at[0] - 1.0).powi(2) + (-at[1]).exp(), [2.0 * (at[0] - 1.0), -(-at[1]).exp()]);
        let errors = minimise(slope, [0.0, 0.0]).standard_errors(100.0);
        assert!(errors[0] < 0.2 && errors[1] > 1.0, "{errors:?}");
    }
}
