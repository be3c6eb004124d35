//! Limits within which an amount will lie, from what rows that no fit had seen came to.

use retain_score::Interval;

/// Share of amounts that should lie within the limits.
pub(super) const COVERAGE: f64 = 0.9;
/// Bins of the expected amount, at most.
const MAX_BINS: usize = 20;
/// Rows that a bin has at least: below, the largest of its residuals would be its limit.
const MIN_ROWS: usize = 100;
/// An offset that takes any lower limit to 0.
const TO_ZERO: f64 = -100.0;

/// Split conformal prediction in bins of the expected amount (Mondrian): offsets on the scale `ln(1 + amount)` such that in each bin a
/// further amount lies within them with a chance of [`COVERAGE`], half of the rest on either side.
///
/// An amount of 0 counts as below any lower limit but 0: where more than a twentieth of a bin has nothing, its lower limit is 0, and the
/// rest lies above.
/// None where there are no rows.
pub(super) fn fit_interval(expected: &[f64], amounts: &[f64]) -> Option<Interval> {
    if expected.is_empty() {
        return None;
    }
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_by(|&a, &b| expected[a].total_cmp(&expected[b]).then(a.cmp(&b)));
    let n_bins = (order.len() / MIN_ROWS).clamp(1, MAX_BINS);
    let mut borders: Vec<f64> =
        (1..n_bins).filter_map(|bin| order.get(bin * order.len() / n_bins)).map(|&row| expected[row]).collect();
    borders.dedup();
    let mut bins = vec![Vec::new(); borders.len() + 1];
    for row in order {
        bins[borders.partition_point(|&border| border <= expected[row])].push(row);
    }
    // Nothing is below the border at the least expected amount.
    if bins.first().is_some_and(Vec::is_empty) {
        bins.remove(0);
        borders.remove(0);
    }
    let offset = |row: usize| libm::log1p(amounts[row]) - libm::log1p(expected[row]);
    let (mut low, mut high) = (Vec::with_capacity(bins.len()), Vec::with_capacity(bins.len()));
    let tail = (1.0 - COVERAGE) / 2.0;
    for rows in &bins {
        let down = |&row: &usize| if amounts[row] > 0.0 { offset(row) } else { TO_ZERO };
        let lower = -limit(rows.iter().map(|row| -down(row)).collect(), tail)?;
        // Nothing lies below a limit of 0: all that is not covered lies above.
        let above = if lower <= TO_ZERO { 2.0 * tail } else { tail };
        low.push(lower);
        high.push(limit(rows.iter().map(|&row| offset(row)).collect(), above)?);
    }
    // Where nearly all rows are 0 the offsets of both sides are of different scales.
    low.iter_mut().zip(&high).for_each(|(low, high)| *low = low.min(*high));
    Some(Interval { borders, low, high })
}

/// The offset that a further one exceeds with a chance of `tail` at most; the largest where they are too few to say.
fn limit(mut offsets: Vec<f64>, tail: f64) -> Option<f64> {
    offsets.sort_unstable_by(f64::total_cmp);
    let rank = ((offsets.len() + 1) as f64 * (1.0 - tail)).ceil() as usize;
    offsets.get(rank.min(offsets.len()).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Expected amounts, and amounts that are 0 with a chance of `zeros` and spread the wider the smaller they are.
    fn rows(n_rows: usize, zeros: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut row = |_| {
            let log = random.random_range(0.0..6.0_f64);
            let noise = (random.random::<f64>() + random.random::<f64>() - 1.0) * (8.0 - log);
            let amount = if random.random_bool(zeros) { 0.0 } else { (log + noise).exp() };
            (log.exp(), amount)
        };
        (0..n_rows).map(&mut row).unzip()
    }

    fn covered(interval: &Interval, expected: &[f64], amounts: &[f64], from: f64) -> f64 {
        let inside = |(&expected, &amount): (&f64, &f64)| {
            let bin = interval.borders.partition_point(|&border| border <= expected);
            let limit = |offset: f64| (libm::log1p(expected) + offset).max(0.0).exp_m1();
            limit(interval.low[bin]) <= amount + 1e-9 && amount <= limit(interval.high[bin]) + 1e-9
        };
        let chosen: Vec<bool> = expected.iter().zip(amounts).filter(|(expected, _)| **expected >= from).map(inside).collect();
        chosen.iter().filter(|inside| **inside).count() as f64 / chosen.len() as f64
    }

    #[test]
    fn further_amounts_lie_within_at_every_size_of_the_expectation() {
        for zeros in [0.0, 0.02, 0.3, 0.7] {
            let (expected, amounts) = rows(20_000, zeros, 1);
            let interval = fit_interval(&expected, &amounts).unwrap();
            let (expected, amounts) = rows(20_000, zeros, 2);
            for from in [0.0, 100.0] {
                let share = covered(&interval, &expected, &amounts, from);
                // About four standard errors above and below.
                assert!((0.885..0.915).contains(&share), "{zeros} {from}: {share}");
            }
        }
    }

    #[test]
    fn few_rows_and_equal_expectations_have_one_bin() {
        let interval = fit_interval(&[3.0; 5], &[0.0, 1.0, 2.0, 3.0, 50.0]).unwrap();
        assert!(interval.borders.is_empty() && interval.low == [TO_ZERO]);
        assert!((interval.high[0] - (51.0_f64 / 4.0).ln()).abs() < 1e-12);
        assert!(fit_interval(&[], &[]).is_none());
        let same = fit_interval(&[3.0; 500], &[0.0; 500]).unwrap();
        assert!(same.borders.is_empty() && same.low[0] <= same.high[0]);
    }
}
