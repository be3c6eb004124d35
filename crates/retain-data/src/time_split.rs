//! Folds for tables with dates: learn from the past, judge by what came later, and leave a gap for the labels to mature.

use retain_core::Day;

use crate::error::Warning;
use crate::split::Fold;

/// Fewer rows on either side of a fold say nothing.
const MIN_BLOCK_ROWS: usize = 50;
/// Share of the rows in the test block and in each validation block, as long as enough is left to learn from.
const BLOCK_SHARE: f64 = 0.2;
/// Share of the rows in all these blocks together, at most.
const JUDGED_SHARE: f64 = 0.6;

/// Rolling origins in time order, and the last block of time kept for the test.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSplit {
    /// From the earliest origin to the latest; each trains on what was known `gap` days before its validation block.
    pub folds: Vec<Fold>,
    /// The last block as `validate`; `train` holds every row known `gap` days before it.
    pub test: Fold,
    /// The blocks with their dates and sizes, a line for each.
    pub description: String,
    /// Origins that were left out, and why.
    pub warnings: Vec<Warning>,
}

/// Why rows cannot be split by time.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Too few dates of observation.
    #[error("the rows have {found} different dates of observation; training, validation and test need at least {needed}")]
    TooFewDates {
        /// Distinct dates.
        found: usize,
        /// Dates needed.
        needed: usize,
    },
    /// A row without a finite date.
    #[error("row {row} has no date of observation")]
    NoDate {
        /// Position of the row, from 1.
        row: usize,
    },
    /// A block with too few rows to learn from or to judge by.
    #[error(
        "{block} has {found} rows, at least {needed} are needed; with {gap_days} days between training and validation the dates \
         from {first} to {last} are too short: use a longer history, a shorter horizon, or remove `observed_at`"
    )]
    TooSmall {
        /// Which block.
        block: String,
        /// Its rows.
        found: usize,
        /// Rows needed.
        needed: usize,
        /// Lead time plus horizon.
        gap_days: f64,
        /// First date of observation, as text.
        first: String,
        /// Last date of observation, as text.
        last: String,
    },
}

/// Splits rows by their date: blocks in time order, cut only between different dates.
///
/// `observed_days` are days since 1970-01-01, one per row. `gap_days` is lead time plus horizon: a row trains only when its whole
/// label window ended before the first date of the block it is judged by. With few dates there are fewer than `n_origins` folds.
///
/// # Errors
/// [`SplitError`] when there are fewer than three dates, or no origin leaves at least 50 rows on either side.
pub fn time_folds(observed_days: &[f64], gap_days: f64, n_origins: usize) -> Result<TimeSplit, SplitError> {
    if let Some(row) = observed_days.iter().position(|day| !day.is_finite()) {
        return Err(SplitError::NoDate { row: row + 1 });
    }
    let timeline = Timeline::new(observed_days);
    let n_dates = timeline.dates.len();
    if n_dates < 3 {
        return Err(SplitError::TooFewDates { found: n_dates, needed: 3 });
    }
    // One date at least for the first training rows and one for the test.
    let n_origins = n_origins.clamp(1, n_dates - 2);
    let starts = timeline.block_starts(n_origins + 1);
    let block = |idx: usize| (starts[idx], starts.get(idx + 1).copied().unwrap_or(f64::INFINITY));
    let (mut folds, mut lines, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for idx in 0..n_origins {
        let fold = cut(observed_days, block(idx), gap_days);
        let what = format!("validation block {}", idx + 1);
        match too_small(&fold, &what) {
            None => {
                lines.push(describe(&fold, observed_days, &format!("fold {}", folds.len() + 1)));
                folds.push(fold);
            }
            Some((side, found)) => {
                let message = format!("{side} has {found} rows, fewer than {MIN_BLOCK_ROWS}: this origin is left out");
                warnings.push(Warning::new("small_block", message));
            }
        }
    }
    let test = cut(observed_days, block(n_origins), gap_days);
    lines.push(describe(&test, observed_days, "test"));
    let small =
        too_small(&test, "the test block").or_else(|| folds.is_empty().then(|| smallest(observed_days, block(0), gap_days)));
    match small {
        None => Ok(TimeSplit { folds, test, description: lines.join("\n"), warnings }),
        Some((block, found)) => Err(timeline.too_small(block, found, gap_days)),
    }
}

/// The different dates in order, and how many rows there are up to each.
struct Timeline {
    dates: Vec<f64>,
    rows_through: Vec<usize>,
}

impl Timeline {
    fn new(observed_days: &[f64]) -> Self {
        let mut sorted = observed_days.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (mut dates, mut rows_through, mut n_rows) = (Vec::new(), Vec::new(), 0);
        for same_date in sorted.chunk_by(|a, b| a == b) {
            n_rows += same_date.len();
            dates.push(same_date[0]);
            rows_through.push(n_rows);
        }
        Self { dates, rows_through }
    }

    /// The first dates of the last `n_blocks` blocks, of about equal numbers of rows; the first date of all is left for training.
    fn block_starts(&self, n_blocks: usize) -> Vec<f64> {
        let n_rows = self.rows_through.last().copied().unwrap_or(0) as f64;
        let share = BLOCK_SHARE.min(JUDGED_SHARE / n_blocks as f64);
        let mut starts = Vec::with_capacity(n_blocks);
        let mut earliest = 1;
        for idx in 0..n_blocks {
            let rows_before = n_rows * (1.0 - share * (n_blocks - idx) as f64);
            // Of all cuts between two dates the one nearest to the wanted size, with a date left for every later block.
            let latest = self.dates.len() - (n_blocks - idx);
            let distance = |date: &usize| (self.rows_through[date - 1] as f64 - rows_before).abs();
            let nearest = (earliest..=latest).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(latest);
            starts.push(self.dates[nearest]);
            earliest = nearest + 1;
        }
        starts
    }

    fn too_small(&self, block: String, found: usize, gap_days: f64) -> SplitError {
        let text = |day: Option<&f64>| day.map_or_else(String::new, |&day| Day::from_days(day).to_string());
        let (first, last) = (text(self.dates.first()), text(self.dates.last()));
        SplitError::TooSmall { block, found, needed: MIN_BLOCK_ROWS, gap_days, first, last }
    }
}

fn cut(observed_days: &[f64], (start, end): (f64, f64), gap_days: f64) -> Fold {
    let rows = |wanted: &dyn Fn(f64) -> bool| (0..observed_days.len()).filter(|&row| wanted(observed_days[row])).collect();
    Fold {
        // Also before the start: a gap of zero must not let the block train itself.
        train: rows(&|day| day <= start - gap_days && day < start),
        validate: rows(&|day| day >= start && day < end),
    }
}

fn too_small(fold: &Fold, block: &str) -> Option<(String, usize)> {
    if fold.validate.len() < MIN_BLOCK_ROWS {
        Some((block.to_owned(), fold.validate.len()))
    } else if fold.train.len() < MIN_BLOCK_ROWS {
        Some((format!("the training part before {block}"), fold.train.len()))
    } else {
        None
    }
}

fn smallest(observed_days: &[f64], block: (f64, f64), gap_days: f64) -> (String, usize) {
    let fold = cut(observed_days, block, gap_days);
    too_small(&fold, "every validation block, the first among them,")
        .unwrap_or(("the validation block".to_owned(), fold.validate.len()))
}

fn describe(fold: &Fold, observed_days: &[f64], name: &str) -> String {
    let side = |rows: &[usize]| {
        let days = rows.iter().map(|&row| observed_days[row]);
        let (first, last) = (days.clone().min_by(f64::total_cmp), days.max_by(f64::total_cmp));
        let text = |day: Option<f64>| day.map_or_else(|| "–".to_owned(), |day| Day::from_days(day).to_string());
        format!("{} to {} ({} rows)", text(first), text(last), rows.len())
    };
    format!("{name}: train {}, validate {}", side(&fold.train), side(&fold.validate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn monthly(n_months: usize, rows_per_month: usize) -> Vec<f64> {
        (0..n_months).flat_map(|month| std::iter::repeat_n(19_000.0 + 30.0 * month as f64, rows_per_month)).collect()
    }

    proptest! {
        #[test]
        fn no_label_window_reaches_into_validation(
            days in prop::collection::vec(0_u32..200, 300..600), gap in 0_u32..60, n_origins in 1_usize..5,
        ) {
            let days: Vec<f64> = days.into_iter().map(f64::from).collect();
            let Ok(split) = time_folds(&days, f64::from(gap), n_origins) else { return Ok(()) };
            for fold in split.folds.iter().chain([&split.test]) {
                let origin = fold.validate.iter().map(|&row| days[row]).fold(f64::INFINITY, f64::min);
                prop_assert!(fold.train.iter().all(|&row| days[row] + f64::from(gap) <= origin && days[row] < origin));
                prop_assert!(fold.train.len() >= MIN_BLOCK_ROWS && fold.validate.len() >= MIN_BLOCK_ROWS);
            }
            let first_test = split.test.validate.iter().map(|&row| days[row]).fold(f64::INFINITY, f64::min);
            for pair in split.folds.windows(2) {
                prop_assert!(pair[0].validate.iter().all(|&a| pair[1].validate.iter().all(|&b| days[a] < days[b])));
            }
            prop_assert!(split.folds.iter().all(|fold| fold.validate.iter().all(|&row| days[row] < first_test)));
        }
    }

    #[test]
    fn a_year_of_snapshots_gives_three_origins_and_a_test() {
        let split = time_folds(&monthly(12, 100), 30.0, 3).unwrap();
        assert_eq!(split.folds.len(), 3);
        assert_eq!(split.test.validate.len(), 200);
        assert_eq!(
            split.description.lines().last().unwrap(),
            "test: train 2022-01-08 to 2022-10-05 (1000 rows), validate 2022-11-04 to 2022-12-04 (200 rows)"
        );
        assert!(split.warnings.is_empty());
    }

    #[test]
    fn few_dates_give_fewer_origins_or_an_error() {
        assert_eq!(time_folds(&monthly(3, 100), 30.0, 3).unwrap().folds.len(), 1);
        assert_eq!(time_folds(&monthly(2, 100), 30.0, 3), Err(SplitError::TooFewDates { found: 2, needed: 3 }));
        assert_eq!(time_folds(&[1.0, f64::NAN], 30.0, 3), Err(SplitError::NoDate { row: 2 }));
    }

    #[test]
    fn an_origin_without_training_rows_is_left_out_by_name() {
        let split = time_folds(&monthly(6, 100), 90.0, 3).unwrap();
        assert!(!split.warnings.is_empty() && split.folds.len() < 3);
        assert!(split.warnings[0].message.contains("has 0 rows"), "{:?}", split.warnings);
        let error = time_folds(&monthly(4, 100), 365.0, 3).unwrap_err().to_string();
        assert!(error.contains("the training part before the test block has 0 rows"), "{error}");
    }
}
