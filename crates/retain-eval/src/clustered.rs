//! Means of numbers that come in groups, with intervals that count groups.

use crate::bootstrap::Interval;
use crate::labelled::{EvalError, check_length};
use crate::normal::{held_confidence, two_sided_z};

/// The mean of numbers, with the interval of large samples that takes groups, usually customers, for independent and not rows.
///
/// The difference of two policies is the mean of the differences of what each earns with a row: so its interval is a paired one.
///
/// # Errors
/// [`EvalError`] when there are no numbers, one is not finite, or `group` has another length.
///
/// # Source
/// The sandwich of a ratio of sums over clusters: Liang and Zeger (1986).
pub fn clustered_mean(values: &[f64], group: &[u32], confidence: f64) -> Result<Interval, EvalError> {
    if values.is_empty() {
        return Err(EvalError::Rows { found: 0 });
    }
    check_length("group", group.len(), values.len())?;
    if let Some((row, &found)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(EvalError::Amount { row: row + 1, column: "value", found });
    }
    let n_rows = values.len() as f64;
    let value = values.iter().sum::<f64>() / n_rows;
    let mut rows: Vec<(u32, usize)> = group.iter().copied().zip(0..).collect();
    rows.sort_unstable();
    let (mut squares, mut n_groups) = (0.0, 0.0);
    for members in rows.chunk_by(|a, b| a.0 == b.0) {
        let apart: f64 = members.iter().map(|&(_, row)| values[row] - value).sum();
        squares += apart * apart;
        n_groups += 1.0;
    }
    // Of one group nothing is known of how groups differ.
    let few = if n_groups > 1.0 { n_groups / (n_groups - 1.0) } else { f64::MAX.sqrt() };
    let reach = two_sided_z(held_confidence(confidence)) * (squares * few).sqrt() / n_rows;
    Ok(Interval { value, low: value - reach, high: value + reach })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_rows_make_an_interval_no_narrower() {
        let values: Vec<f64> = (0..40).map(|row| f64::from(row % 5)).collect();
        let single = clustered_mean(&values, &(0..40).collect::<Vec<_>>(), 0.95).unwrap();
        let twice: Vec<f64> = values.iter().chain(&values).copied().collect();
        let group: Vec<u32> = (0..40).chain(0..40).collect();
        let copied = clustered_mean(&twice, &group, 0.95).unwrap();
        assert!((single.low - copied.low).abs() < 1e-12 && (single.value - 2.0).abs() < 1e-12);
        // The textbook's interval of a mean: 1.96 · s / √n.
        let s = (values.iter().map(|v| (v - 2.0) * (v - 2.0)).sum::<f64>() / 39.0).sqrt();
        assert!((single.high - 2.0 - 1.959_963_984_540_054 * s / 40.0_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_what_is_no_number_are_refused() {
        assert!(clustered_mean(&[], &[], 0.95).is_err());
        assert!(clustered_mean(&[1.0, f64::NAN], &[0, 1], 0.95).is_err());
        assert!(clustered_mean(&[1.0], &[0, 1], 0.95).is_err());
    }
}
