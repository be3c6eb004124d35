//! Which periods the time axis is cut into.

use retain_score::limits::MAX_PERIODS;

use super::SurvivalError;

/// A duration counts as a whole number of its unit within this share of one.
const WHOLE: f64 = 1e-6;

/// The time axis of a hazard: period `j` goes from the end of the one before, excluded, to `ends[j]`, included; the first begins at 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Periods {
    /// Days from the start of the duration, rising, above 0.
    pub(crate) ends: Vec<f64>,
    /// The task's horizon, which is the end of a period; in whole units where the durations are.
    pub(crate) horizon_days: f64,
}

/// What was seen of the customers: how long, in days, and whether that ended with leaving.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Followed<'a> {
    pub(crate) days: &'a [f64],
    pub(crate) left: &'a [bool],
}

impl Periods {
    /// At most `most` periods: one per unit where the durations are whole units and few enough, else one per day on which somebody
    /// left where these are few enough, else periods in which about as many leave.
    ///
    /// # Errors
    /// [`SurvivalError`] when nobody was followed for any time, or not as long as the horizon: nothing is known of what happens there.
    pub(crate) fn choose(
        followed: Followed<'_>,
        unit_days: f64,
        task_horizon_days: f64,
        most: usize,
    ) -> Result<Self, SurvivalError> {
        let most = most.clamp(2, MAX_PERIODS);
        let longest = followed.days.iter().copied().fold(0.0, f64::max);
        if longest <= 0.0 {
            return Err(SurvivalError::NoTime { n_rows: followed.days.len() });
        }
        let is_whole = followed.days.iter().all(|&days| is_whole(days, unit_days));
        // Leaving is noted with the unit in which it happened: 30 days of durations in months are one month.
        let whole_horizon = (task_horizon_days / unit_days).round().max(1.0) * unit_days;
        let horizon_days = if is_whole { whole_horizon } else { task_horizon_days };
        if horizon_days > longest {
            return Err(SurvivalError::ShortFollowUp { horizon_days: task_horizon_days, longest_days: longest });
        }
        let mut events: Vec<f64> = followed
            .days
            .iter()
            .zip(followed.left)
            .filter(|(days, left)| **left && **days > 0.0)
            .map(|(days, _)| *days)
            .collect();
        events.sort_unstable_by(f64::total_cmp);
        let last = events.last().copied().unwrap_or(0.0).max(horizon_days);
        let ends = if is_whole && last / unit_days <= most as f64 + WHOLE {
            let n_units = (last / unit_days).round() as usize;
            (1..=n_units).map(|unit| unit as f64 * unit_days).collect()
        } else {
            ends_by_events(&events, horizon_days, most)
        };
        Ok(Self { ends, horizon_days })
    }

    /// Number of periods.
    pub(crate) fn n_periods(&self) -> usize {
        self.ends.len()
    }

    /// Where a period begins.
    pub(crate) fn start(&self, period: usize) -> f64 {
        if period == 0 { 0.0 } else { self.ends[period - 1] }
    }
}

/// Whether a duration is a whole number of units.
pub(crate) fn is_whole(days: f64, unit_days: f64) -> bool {
    let units = days / unit_days;
    (units - units.round()).abs() < WHOLE
}

/// One end at each of the sorted event times where they are few, else at their quantiles; the horizon is always one of the ends.
fn ends_by_events(events: &[f64], horizon_days: f64, most: usize) -> Vec<f64> {
    let mut times = events.to_vec();
    times.dedup();
    let with_horizon = |mut ends: Vec<f64>| {
        ends.push(horizon_days);
        ends.sort_unstable_by(f64::total_cmp);
        ends.dedup();
        ends
    };
    if times.len() < most {
        return with_horizon(times);
    }
    let n_quantiles = most - 1;
    let quantile = |step: usize| events[(step * events.len()).div_ceil(n_quantiles) - 1];
    with_horizon((1..=n_quantiles).map(quantile).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const MONTH: f64 = 365.25 / 12.0;

    fn choose(days: &[f64], left: &[bool], unit_days: f64, horizon: f64) -> Result<Periods, SurvivalError> {
        Periods::choose(Followed { days, left }, unit_days, horizon, MAX_PERIODS)
    }

    #[test]
    fn whole_months_are_periods_and_the_horizon_is_one_of_them() {
        let days: Vec<f64> = (0..=14).map(|month| f64::from(month) * MONTH).collect();
        let left: Vec<bool> = (0..=14).map(|month| month < 11).collect();
        let periods = choose(&days, &left, MONTH, 30.0).unwrap();
        assert_eq!((periods.n_periods(), periods.horizon_days), (10, MONTH));
        assert_eq!(choose(&days, &left, MONTH, 365.0).unwrap().ends.last(), Some(&(12.0 * MONTH)));
    }

    #[test]
    fn many_times_become_quantiles_of_the_times_at_which_somebody_left() {
        let days: Vec<f64> = (1..=1000).map(|row| f64::from(row) * 0.73).collect();
        let left: Vec<bool> = (1..=1000).map(|row| row % 2 == 0).collect();
        let periods = choose(&days, &left, 1.0, 100.0).unwrap();
        assert_eq!(periods.n_periods(), MAX_PERIODS);
        assert!(periods.ends.contains(&100.0) && periods.ends.is_sorted_by(|a, b| a < b));
        assert_eq!(periods.ends.last(), Some(&730.0));
        let few = choose(&[0.0, 2.5, 2.5, 7.1, 9.0], &[true, true, false, true, false], 1.0, 8.0).unwrap();
        assert_eq!(few.ends, [2.5, 7.1, 8.0]);
    }

    #[test]
    fn a_horizon_beyond_the_data_is_refused_with_both_numbers() {
        let error = choose(&[10.0, 60.0], &[true, false], 1.0, 90.0).unwrap_err().to_string();
        assert!(error.contains("90 days") && error.contains("60 days"), "{error}");
        assert!(matches!(choose(&[0.0, 0.0], &[true, false], 1.0, 1.0), Err(SurvivalError::NoTime { n_rows: 2 })));
    }
}
