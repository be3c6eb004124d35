//! The Kaplan-Meier estimate: of survival, and of staying under observation.

use crate::labelled::{EvalError, check_length};
use crate::outcome::{check_grid, check_times};

/// The product-limit estimate after the rows that were passed so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductLimit {
    at_risk: u64,
    share: f64,
}

impl ProductLimit {
    /// Nobody has left yet.
    pub(crate) fn new(at_risk: u64) -> Self {
        Self { at_risk, share: 1.0 }
    }

    /// Passes `weight` rows, of which the estimate either counts all or, where they only stop being at risk, none.
    ///
    /// Rows that leave together may be passed one after the other: `(n − a)/n · (n − a − b)/(n − a)` is `(n − a − b)/n`.
    pub(crate) fn pass(&mut self, weight: u64, counts: bool) {
        let left = self.at_risk.saturating_sub(weight);
        if counts && weight > 0 {
            self.share *= left as f64 / self.at_risk as f64;
        }
        self.at_risk = left;
    }

    /// The share that has not left.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Whether the estimate is known up to here: somebody is still at risk, or all have left.
    pub(crate) fn is_known(&self) -> bool {
        self.at_risk > 0 || self.share == 0.0
    }
}

/// The Kaplan-Meier survival curve of these rows at `grid_days`: the prediction that needs no features.
///
/// Shapes: `times` (days) and `events` (whether the time ended with the event) have one value per row; the result has one
/// probability per grid day. After the longest time the curve stays where it was.
///
/// # Errors
/// [`EvalError`] when there are no rows, the lengths differ, a time is below 0 or not finite, or the grid is empty or does not
/// rise from above 0.
///
/// # Source
/// Kaplan and Meier (1958); an event comes before a censoring of the same day.
pub fn kaplan_meier(times: &[f64], events: &[bool], grid_days: &[f64]) -> Result<Vec<f64>, EvalError> {
    if times.is_empty() {
        return Err(EvalError::Rows { found: 0 });
    }
    check_length("events", events.len(), times.len())?;
    check_times(times)?;
    check_grid(grid_days)?;
    let mut rows: Vec<(f64, bool)> = times.iter().copied().zip(events.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut estimate = ProductLimit::new(rows.len() as u64);
    let mut rows = rows.into_iter().peekable();
    let at = |&day: &f64| {
        while let Some((_, event)) = rows.next_if(|(time, _)| *time <= day) {
            estimate.pass(1, event);
        }
        estimate.share()
    };
    Ok(grid_days.iter().map(at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_equals_that_of_a_textbook() {
        // Remission of the 21 patients with 6-MP of Freireich et al. (1963), as in Kalbfleisch and Prentice (2002), table 1.2.
        let times = [6., 6., 6., 6., 7., 9., 10., 10., 11., 13., 16., 17., 19., 20., 22., 23., 25., 32., 32., 34., 35.];
        let relapses = [6., 7., 10., 13., 16., 22., 23.];
        let mut events: Vec<bool> = times.iter().map(|time| relapses.contains(time)).collect();
        // Of the patients of weeks 6 and 10 one each was censored.
        (events[3], events[7]) = (false, false);
        let curve = kaplan_meier(&times, &events, &[5.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0, 40.0]).unwrap();
        let expected = [1.0, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448];
        for (found, expected) in curve.iter().zip(expected) {
            assert!((found - expected).abs() < 5e-4, "{curve:?}");
        }
    }

    #[test]
    fn what_has_no_curve_is_refused() {
        let error = |times: &[f64], events: &[bool], grid: &[f64]| kaplan_meier(times, events, grid).unwrap_err();
        assert_eq!(error(&[], &[], &[1.0]), EvalError::Rows { found: 0 });
        assert_eq!(error(&[1.0], &[], &[1.0]), EvalError::Length { column: "events", found: 0, expected: 1 });
        assert_eq!(error(&[-1.0], &[true], &[1.0]), EvalError::Time { row: 1, found: -1.0 });
        assert_eq!(error(&[1.0], &[true], &[2.0, 2.0]), EvalError::Grid { position: 2, found: 2.0, before: 2.0 });
        assert_eq!(error(&[1.0], &[true], &[]), EvalError::Length { column: "grid_days", found: 0, expected: 1 });
    }
}
