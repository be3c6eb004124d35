//! Two tables for people: how far the probabilities can be believed, and what a list of the riskiest customers would hold.

use serde::{Deserialize, Serialize};

use crate::bootstrap::Interval;
use crate::labelled::Labelled;
use crate::metrics::{Bin, equal_mass_bins};
use crate::normal::{held_confidence, wilson};
use crate::ranking::Ranking;

/// Shares of rows that the threshold table looks at.
const PERCENTS: [u64; 6] = [1, 5, 10, 20, 30, 50];

/// One tenth of the rows: what was promised and what came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Rows in the bin.
    pub n_rows: u64,
    /// Of which positive.
    pub n_positives: u64,
    /// Lowest prediction in the bin.
    pub lowest: f64,
    /// Highest prediction in the bin.
    pub highest: f64,
    /// Mean prediction.
    pub mean_prediction: f64,
    /// Rate of positives with Wilson's interval, which takes rows for independent.
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
pub fn calibration_table(labelled: &Labelled, confidence: f64) -> Vec<CalibrationBin> {
    let confidence = held_confidence(confidence);
    let ranking = Ranking::new(labelled);
    let bins = equal_mass_bins(&ranking, &ranking.tally(labelled.n_groups()));
    let row = |bin: &Bin| {
        let (lowest, highest) = bin.range?;
        let (low, high) = wilson(bin.n_positives, bin.n_rows, confidence);
        Some(CalibrationBin {
            n_rows: bin.n_rows,
            n_positives: bin.n_positives,
            lowest,
            highest,
            mean_prediction: bin.prediction_sum / bin.n_rows as f64,
            observed: Interval { value: bin.n_positives as f64 / bin.n_rows as f64, low, high },
        })
    };
    bins.iter().filter_map(row).collect()
}

/// Lists of the top 1 %, 5 %, 10 %, 20 %, 30 % and 50 % of rows, at least one row each.
///
/// A list is cut by a probability, as a campaign would cut it: rows tied at the threshold are all on it.
pub fn threshold_table(labelled: &Labelled) -> Vec<ThresholdRow> {
    let ranking = Ranking::new(labelled);
    let tally = ranking.tally(labelled.n_groups());
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
        let tied = rows(200).with_probability(&[0.3; 200]).unwrap();
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
