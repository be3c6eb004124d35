//! D-calibration: whether the predicted survival at the time of the event is spread evenly, as it is for the true curves.

use crate::binary::N_BINS;
use crate::outcome::Curves;

/// What a curve says about its own row: the survival at the time when the row had its event or was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSurvival {
    survival: f64,
    /// Of an event on a grid day the survival one grid day before: where time is told in months, say, it came somewhere in between.
    before: f64,
    /// False where the row was lost, or outlived the grid.
    event: bool,
}

impl OwnSurvival {
    pub(crate) fn new(curves: &Curves, row_idx: usize) -> Self {
        let time = curves.times[row_idx];
        let event = curves.events[row_idx] && time <= curves.last_day();
        let survival = curves.survival_at(row_idx, time);
        let grid_day = if event { curves.grid_days.iter().position(|&day| day == time) } else { None };
        let before = match grid_day {
            None => survival,
            Some(0) => 1.0,
            Some(position) => curves.curve(row_idx)[position - 1],
        };
        Self { survival, before, event }
    }

    /// Adds an event that came somewhere between two shares of survival.
    fn spread_event(&self, weight: f64, counts: &mut [f64; N_BINS]) {
        for (bin, count) in counts.iter_mut().enumerate() {
            let (low, high) = (bin as f64 / N_BINS as f64, (bin + 1) as f64 / N_BINS as f64);
            let common = (self.before.min(high) - self.survival.max(low)).max(0.0);
            *count += weight * common / (self.before - self.survival);
        }
    }

    /// The chance of shares at least this uneven when the curves are right; `weights` counts each row so often.
    ///
    /// # Source
    /// Haider, Hoehn, Davis and Greiner (2020), JMLR 21(85), section 3.5.
    pub(crate) fn p_value(rows: &[Self], weights: &[u32]) -> f64 {
        let (mut counts, mut spread_below, mut n_rows) = ([0.0; N_BINS], [0.0; N_BINS], 0.0);
        for (row, &weight) in rows.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            let weight = f64::from(weight);
            n_rows += weight;
            if row.before > row.survival {
                row.spread_event(weight, &mut counts);
                continue;
            }
            // Survival 1 belongs to the last bin.
            let bin = ((row.survival * N_BINS as f64) as usize).min(N_BINS - 1);
            if row.event || row.survival == 0.0 {
                counts[bin] += weight;
                continue;
            }
            // The event will come at a survival that is uniform on [0, the present one].
            counts[bin] += weight * (1.0 - bin as f64 / (N_BINS as f64 * row.survival));
            spread_below[bin] += weight / (N_BINS as f64 * row.survival);
        }
        let mut from_above = 0.0;
        for (count, below) in counts.iter_mut().zip(spread_below).rev() {
            *count += from_above;
            from_above += below;
        }
        let expected = n_rows / N_BINS as f64;
        let statistic: f64 = counts.iter().map(|count| (count - expected) * (count - expected) / expected).sum();
        chi_squared_tail(statistic)
    }
}

/// The chance that a chi-squared variable of nine degrees of freedom exceeds `x`.
fn chi_squared_tail(x: f64) -> f64 {
    let root = x.sqrt();
    let density = libm::exp(-x / 2.0) * (2.0 / std::f64::consts::PI).sqrt();
    let series = root * (1.0 + x / 3.0 * (1.0 + x / 5.0 * (1.0 + x / 7.0)));
    (libm::erfc((x / 2.0).sqrt()) + density * series).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_told_in_months_are_no_fault_of_curves_that_are_right() {
        // A twelfth leaves every month, and the curves say so: at the ends of months survival takes eleven values only.
        let rows: Vec<OwnSurvival> = (0..1_200)
            .map(|row| {
                let month = f64::from(row % 12);
                OwnSurvival { survival: (11.0 - month) / 12.0, before: (12.0 - month) / 12.0, event: true }
            })
            .collect();
        assert!(OwnSurvival::p_value(&rows, &[1; 1_200]) > 0.999);
        let exact: Vec<OwnSurvival> = rows.iter().map(|row| OwnSurvival { before: row.survival, ..*row }).collect();
        assert!(OwnSurvival::p_value(&exact, &[1; 1_200]) < 0.001);
    }

    #[test]
    fn the_tail_equals_the_tables() {
        // scipy.stats.chi2.sf(x, 9).
        for (x, tail) in
            [(0.0, 1.0), (2.0, 0.991_467_606_628_813_5), (9.0, 0.437_274_188_913_866_9), (30.0, 0.000_438_721_770_979_479_4)]
        {
            assert!((chi_squared_tail(x) - tail).abs() < 1e-14, "{x}: {}", chi_squared_tail(x));
        }
    }
}
