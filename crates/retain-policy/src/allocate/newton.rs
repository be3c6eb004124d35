//! The least value of the smoothed dual over prices of at least 0.

use super::dual::{Dual, Local};

const MAX_STEPS: usize = 60;
/// A step that promises less than this share of the value ends the search.
const TOLERANCE: f64 = 1e-8;
const FIRST_DAMPING: f64 = 1e-5;
const LAST_DAMPING: f64 = 1e10;
/// What damping becomes at least where a step was too long.
const FIRM_DAMPING: f64 = 0.3;
const DAMPING_FACTOR: f64 = 10.0;
/// Beyond this many temperatures the curvature is another one, so no price should move further at once.
const REACH: f64 = 8.0;

/// Moves the prices to the minimum at a temperature.
///
/// Projected Newton steps: prices at 0 that want to fall stay, the others move together. Marquardt's damping grows with the
/// curvature of each price, so that money and calls need no common unit, until a step makes the value smaller. Where nobody
/// wavers between actions there is no curvature; there the gradient alone bounds the step.
pub(super) fn minimise(dual: &Dual<'_>, temperature: f64, prices: &mut Vec<f64>) {
    let mut here = dual.local(prices, temperature);
    let mut damping = FIRST_DAMPING;
    for _ in 0..MAX_STEPS {
        let free = free_prices(dual, &here, prices);
        let step = damped_step(dual, &here, &free, damping, temperature);
        let moved: Vec<f64> = prices.iter().zip(&step).map(|(price, step)| (price + step).max(0.0)).collect();
        let promised: f64 = prices.iter().zip(&moved).zip(&here.gradient).map(|((from, to), slope)| (from - to) * slope).sum();
        if promised <= TOLERANCE * here.value.abs() {
            return;
        }
        let there = dual.local(&moved, temperature);
        if there.value < here.value {
            (here, *prices) = (there, moved);
            damping = (damping / DAMPING_FACTOR).max(FIRST_DAMPING);
        } else {
            damping = (damping * DAMPING_FACTOR).max(FIRM_DAMPING);
            if damping > LAST_DAMPING {
                return;
            }
        }
    }
}

/// The prices that are not held at 0.
fn free_prices(dual: &Dual<'_>, here: &Local, prices: &[f64]) -> Vec<usize> {
    let is_free = |&price: &usize| dual.can_bind(price) && (prices[price] > 0.0 || here.gradient[price] < 0.0);
    (0..prices.len()).filter(is_free).collect()
}

/// Solves `(H + R + damping × diagonal) step = −gradient` over the free prices; 0 for the others.
///
/// `R` is diagonal and as large as keeps the step of each price within [`REACH`]; it vanishes with the gradient.
fn damped_step(dual: &Dual<'_>, here: &Local, free: &[usize], damping: f64, temperature: f64) -> Vec<f64> {
    let n = here.gradient.len();
    let k = free.len();
    let mut matrix = vec![0.0; k * k];
    for (row, &price) in free.iter().enumerate() {
        for (column, &other) in free.iter().enumerate() {
            matrix[row * k + column] = here.hessian[price * n + other];
        }
        let reach = REACH * temperature / dual.unit(price);
        let diagonal = &mut matrix[row * k + row];
        let bounding = here.gradient[price].abs() / reach;
        *diagonal += bounding + damping * (*diagonal + bounding);
    }
    let mut solution: Vec<f64> = free.iter().map(|&price| -here.gradient[price]).collect();
    solve(&mut matrix, &mut solution, k);
    let mut step = vec![0.0; n];
    free.iter().zip(solution).for_each(|(&price, solved)| step[price] = if solved.is_finite() { solved } else { 0.0 });
    step
}

/// Solves a symmetric positive system in place by Cholesky's decomposition; a pivot lost to rounding leaves its price alone.
fn solve(matrix: &mut [f64], right: &mut [f64], n: usize) {
    for column in 0..n {
        let before: f64 = (0..column).map(|k| matrix[column * n + k] * matrix[column * n + k]).sum();
        let pivot = matrix[column * n + column] - before;
        let root = if pivot > 1e-14 * matrix[column * n + column] { pivot.sqrt() } else { f64::INFINITY };
        matrix[column * n + column] = root;
        for row in column + 1..n {
            let known: f64 = (0..column).map(|k| matrix[row * n + k] * matrix[column * n + k]).sum();
            matrix[row * n + column] = (matrix[row * n + column] - known) / root;
        }
    }
    for row in 0..n {
        let known: f64 = (0..row).map(|k| matrix[row * n + k] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row * n + row];
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| matrix[k * n + row] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row * n + row];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symmetric_system_is_solved() {
        let matrix = [4.0, 2.0, -1.0, 2.0, 5.0, 0.5, -1.0, 0.5, 3.0];
        let mut right = [1.0, -2.0, 0.5];
        solve(&mut matrix.clone(), &mut right, 3);
        for (row, expected) in matrix.chunks(3).zip([1.0, -2.0, 0.5]) {
            let found: f64 = row.iter().zip(right).map(|(a, x)| a * x).sum();
            assert!((found - expected).abs() < 1e-14, "{found}");
        }
    }

    #[test]
    fn a_singular_system_is_survived() {
        let mut right = [1.0, 1.0];
        solve(&mut [1.0, 1.0, 1.0, 1.0], &mut right, 2);
        assert_eq!(right, [1.0, 0.0]);
    }
}
