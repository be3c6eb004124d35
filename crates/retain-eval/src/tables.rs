//! Two tables for people: how far the probabilities can be believed, and what a list of the riskiest customers would hold.

use serde::{Deserialize, Serialize};

use crate::binary::{Bin, N_BINS, equal_mass_bins};
use crate::bootstrap::Interval;
use crate::kaplan_meier::ProductLimit;
use crate::labelled::Labelled;
use crate::normal::{held_confidence, two_sided_z, wilson};
use crate::outcome::{Curves, Effects, Outcome, Values};
use crate::ranking::{Ranking, tenths};

/// Shares of rows that the threshold table looks at.
const PERCENTS: [u64; 6] = [1, 5, 10, 20, 30, 50];

/// One tenth of the rows: what was promised and what came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Rows in the bin.
    pub n_rows: u64,
    /// Of which positive: labelled so, above 0, or with the event by the day.
    pub n_positives: u64,
    /// Lowest prediction in the bin.
    pub lowest: f64,
    /// Highest prediction in the bin.
    pub highest: f64,
    /// Mean prediction.
    pub mean_prediction: f64,
    /// Rate of positives, mean value or risk, with an interval that takes rows for independent; see [`calibration_table`].
    pub observed: Interval,
}

/// What a list of the riskiest customers holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThresholdRow {
    /// The share of rows asked for.
    pub share: f64,
    /// The probability from which on a row is on the list.
    pub threshold: f64,
    /// Rows on the list; more than the share where rows are tied at the threshold.
    pub n_selected: u64,
    /// Share of the list that is positive.
    pub precision: f64,
    /// Share of all positives that is on the list; absent without positives.
    pub recall: Option<f64>,
    /// Precision divided by the rate of positives; absent without positives.
    pub lift: Option<f64>,
}

/// The calibration curve in ten bins of equal shares of rows, from low predictions to high.
///
/// The bins are those of [`crate::Metric::Ece10`]: tied rows stay together, so there may be fewer than ten, of unequal sizes.
/// `confidence` is that of the intervals, held within 0.5 and 0.9999.
///
/// Of values the predictions and what was observed are in the unit of the values, and intervals are those of a mean in large
/// samples; of survival curves they are the risk by the last grid day, see [`survival_calibration_table`]. Of effects the observed is the mean
/// outcome of treated rows less that of controls.
pub fn calibration_table(labelled: &Labelled, confidence: f64) -> Vec<CalibrationBin> {
    match labelled.outcome() {
        Outcome::Binary(events) => {
            binary_bins(&Ranking::new(events, labelled.group_idx()), labelled, held_confidence(confidence))
        }
        Outcome::Value(values) => value_bins(values, held_confidence(confidence)),
        Outcome::Survival(curves) => survival_bins(curves, curves.last_day(), held_confidence(confidence)),
        Outcome::Uplift(effects) => effect_bins(effects, held_confidence(confidence)),
    }
}

/// The calibration of survival curves at one day, in ten bins of equal shares of rows, from low risk to high.
///
/// Predictions are risks, 1 − survival; observed is the Kaplan-Meier risk of the bin, `n_positives` the events by the day. A bin
/// in which nobody was followed to the day is left out. No bins for other kinds of outcome, and for a day that the grid does not
/// reach or that is not above 0. The interval is Wilson's for the number of uncensored rows that would have Greenwood's variance.
///
/// # Source
/// Dorey and Korn (1987), "Effective sample sizes for confidence intervals for survival probabilities".
pub fn survival_calibration_table(labelled: &Labelled, day: f64, confidence: f64) -> Vec<CalibrationBin> {
    match labelled.outcome() {
        Outcome::Survival(curves) if day > 0.0 && day <= curves.last_day() => {
            survival_bins(curves, day, held_confidence(confidence))
        }
        _ => Vec::new(),
    }
}

fn binary_bins(ranking: &Ranking, labelled: &Labelled, confidence: f64) -> Vec<CalibrationBin> {
    let bins = equal_mass_bins(ranking, &ranking.tally(&vec![1; labelled.n_groups()]));
    let row = |bin: &Bin| {
        let (lowest, highest) = bin.range?;
        let value = bin.n_positives as f64 / bin.n_rows as f64;
        let (low, high) = wilson(value, bin.n_rows as f64, confidence);
        Some(CalibrationBin {
            n_rows: bin.n_rows,
            n_positives: bin.n_positives,
            lowest,
            highest,
            mean_prediction: bin.prediction_sum / bin.n_rows as f64,
            observed: Interval { value, low, high },
        })
    };
    bins.iter().filter_map(row).collect()
}

fn value_bins(values: &Values, confidence: f64) -> Vec<CalibrationBin> {
    let row = |row_idxs: &Vec<usize>| {
        let actual: Vec<f64> = row_idxs.iter().map(|&row_idx| values.actual[row_idx]).collect();
        let n_positives = actual.iter().filter(|&&actual| actual > 0.0).count();
        bin_of(&values.expected, row_idxs, n_positives, mean_interval(&actual, confidence))
    };
    binned(&values.expected).iter().filter_map(row).collect()
}

/// Tenths by predicted effect: what was observed is the mean outcome of treated rows less that of controls; a tenth of one arm only is
/// left out. `n_positives` counts outcomes above 0 of both arms.
fn effect_bins(effects: &Effects, confidence: f64) -> Vec<CalibrationBin> {
    let row = |row_idxs: &Vec<usize>| {
        let arm = |treated: bool| -> Vec<f64> {
            row_idxs.iter().filter(|&&row| effects.treated[row] == treated).map(|&row| effects.actual[row]).collect()
        };
        let (treated, controls) = (arm(true), arm(false));
        if treated.is_empty() || controls.is_empty() {
            return None;
        }
        let n_positives = treated.iter().chain(&controls).filter(|&&actual| actual > 0.0).count();
        let (with, without) = (mean_interval(&treated, confidence), mean_interval(&controls, confidence));
        let reach = (with.high - with.value).hypot(without.high - without.value);
        let value = with.value - without.value;
        bin_of(&effects.effect, row_idxs, n_positives, Interval { value, low: value - reach, high: value + reach })
    };
    binned(&effects.effect).iter().filter_map(row).collect()
}

fn survival_bins(curves: &Curves, day: f64, confidence: f64) -> Vec<CalibrationBin> {
    let risks: Vec<f64> = (0..curves.times.len()).map(|row_idx| 1.0 - curves.survival_at(row_idx, day)).collect();
    let row = |row_idxs: &Vec<usize>| {
        let by_day = |row_idx: &&usize| curves.events[**row_idx] && curves.times[**row_idx] <= day;
        let n_positives = row_idxs.iter().filter(by_day).count();
        bin_of(&risks, row_idxs, n_positives, kaplan_meier_risk(curves, row_idxs, day, confidence)?)
    };
    binned(&risks).iter().filter_map(row).collect()
}

/// Row positions by bin, from low predictions to high.
fn binned(predictions: &[f64]) -> Vec<Vec<usize>> {
    let mut bins = vec![Vec::new(); N_BINS];
    for (row_idx, bin) in tenths(predictions).into_iter().enumerate() {
        bins[bin].push(row_idx);
    }
    bins
}

/// None for a bin without rows.
fn bin_of(predictions: &[f64], row_idxs: &[usize], n_positives: usize, observed: Interval) -> Option<CalibrationBin> {
    let mut sorted: Vec<f64> = row_idxs.iter().map(|&row_idx| predictions[row_idx]).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(CalibrationBin {
        n_rows: row_idxs.len() as u64,
        n_positives: n_positives as u64,
        lowest: *sorted.first()?,
        highest: *sorted.last()?,
        mean_prediction: sorted.iter().sum::<f64>() / sorted.len() as f64,
        observed,
    })
}

/// Mean of independent numbers with the interval of large samples; of one number no more than itself is known.
fn mean_interval(numbers: &[f64], confidence: f64) -> Interval {
    let n = numbers.len() as f64;
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let value = sorted.iter().sum::<f64>() / n;
    let squares: f64 = sorted.iter().map(|number| (number - value) * (number - value)).sum();
    let reach = two_sided_z(confidence) * (squares / (n - 1.0).max(1.0) / n).sqrt();
    Interval { value, low: value - reach, high: value + reach }
}

/// The risk by a day among these rows; none where nobody was followed to it.
fn kaplan_meier_risk(curves: &Curves, row_idxs: &[usize], day: f64, confidence: f64) -> Option<Interval> {
    let left_by_day = |row_idx: usize| {
        let (time, event) = (curves.times[row_idx], curves.events[row_idx]);
        (time < day || (time == day && event)).then_some((time, event))
    };
    let mut left: Vec<(f64, bool)> = row_idxs.iter().filter_map(|&row_idx| left_by_day(row_idx)).collect();
    left.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let (mut estimate, mut at_risk, mut greenwood) = (ProductLimit::new(row_idxs.len() as u64), row_idxs.len() as f64, 0.0);
    for (_, event) in left {
        if event && at_risk > 1.0 {
            greenwood += 1.0 / (at_risk * (at_risk - 1.0));
        }
        estimate.pass(1, event);
        at_risk -= 1.0;
    }
    let survival = estimate.share();
    // Greenwood's variance is survival² times the sum; without events, or survivors, it says nothing.
    let is_mixed = survival > 0.0 && greenwood > 0.0;
    let effective_rows = if is_mixed { (1.0 - survival) / (survival * greenwood) } else { at_risk.max(1.0) };
    let (low, high) = wilson(1.0 - survival, effective_rows, confidence);
    estimate.is_known().then_some(Interval { value: 1.0 - survival, low, high })
}

/// Lists of the top 1 %, 5 %, 10 %, 20 %, 30 % and 50 % of rows, at least one row each.
///
/// A list is cut by a probability, as a campaign would cut it: rows tied at the threshold are all on it. Outcomes that are not
/// binary have no lists.
pub fn threshold_table(labelled: &Labelled) -> Vec<ThresholdRow> {
    let Outcome::Binary(events) = labelled.outcome() else { return Vec::new() };
    let ranking = Ranking::new(events, labelled.group_idx());
    let tally = ranking.tally(&vec![1; labelled.n_groups()]);
    let (n_rows, n_positives) = (tally.n_rows() as f64, tally.n_positives as f64);
    let row = |&percent: &u64| {
        let (mut hits, mut n_selected, mut threshold) = (0, 0, 1.0);
        for ((positives, negatives), &probability) in tally.blocks().zip(&ranking.probability) {
            hits += positives;
            n_selected += positives + negatives;
            threshold = probability;
            if 100 * n_selected >= percent * tally.n_rows() {
                break;
            }
        }
        let precision = hits as f64 / n_selected as f64;
        let any = tally.n_positives > 0;
        let (recall, lift) = (any.then(|| hits as f64 / n_positives), any.then(|| precision / (n_positives / n_rows)));
        ThresholdRow { share: percent as f64 / 100.0, threshold, n_selected, precision, recall, lift }
    };
    PERCENTS.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Labelled {
        let target: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 4 == 0 || i >= 9 * n / 10))).collect();
        let probability: Vec<f64> = (0..n).map(|i| i as f64 / n as f64).collect();
        Labelled::new(&target, &probability, &(0..n as u32).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn untied_rows_fill_ten_equal_bins() {
        let table = calibration_table(&rows(200), 0.95);
        assert_eq!(table.iter().map(|bin| bin.n_rows).collect::<Vec<_>>(), [20; 10]);
        assert_eq!((table[9].n_positives, table[9].observed.high, table[0].lowest), (20, 1.0, 0.0));
        assert!(table.iter().all(|bin| bin.observed.low <= bin.observed.value && bin.lowest <= bin.mean_prediction));
        assert!((table[3].mean_prediction - 69.5 / 200.0).abs() < 1e-12);
    }

    #[test]
    fn tied_rows_share_a_bin_and_a_list() {
        let tied = rows(200).with_predictions(&[0.3; 200]).unwrap();
        let table = calibration_table(&tied, 0.95);
        assert_eq!((table.len(), table[0].n_rows), (1, 200));
        let lists = threshold_table(&tied);
        assert!(lists.iter().all(|list| list.n_selected == 200 && list.threshold == 0.3 && list.lift == Some(1.0)));
    }

    #[test]
    fn lists_hold_the_riskiest_rows() {
        let lists = threshold_table(&rows(200));
        assert_eq!(lists.iter().map(|list| list.n_selected).collect::<Vec<_>>(), [2, 10, 20, 40, 60, 100]);
        assert_eq!((lists[2].precision, lists[2].recall), (1.0, Some(20.0 / 65.0)));
        let none = Labelled::new(&[0.0, 0.0], &[0.1, 0.2], &[0, 1]).unwrap();
        assert_eq!((threshold_table(&none)[0].recall, threshold_table(&none)[0].precision), (None, 0.0));
    }
}
