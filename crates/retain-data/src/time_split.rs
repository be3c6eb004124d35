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
    /// Rows that all belong to one group: there is nobody left to judge by.
    #[error(
        "the rows belong to {found} group: at least 2 are needed, since rows of one customer or `group` stay together; check \
         `entity` and `group` in [table]"
    )]
    TooFewGroups {
        /// Distinct groups.
        found: usize,
    },
    /// A block in which everybody left, or nobody did.
    #[error("{block} has {n_rows} rows with {n_positives} positives: both classes are needed")]
    OneClass {
        /// Which block.
        block: String,
        /// Its rows.
        n_rows: usize,
        /// Of which positive.
        n_positives: usize,
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
/// `observed_days` are days since 1970-01-01 and `target` the labels, 1 or 0, one per row. `gap_days` is lead time plus horizon: a
/// row trains, and an origin validates, only when its whole label window ended before the first date of the block that comes
/// after it: train | gap | validation | gap | test. With few dates there are fewer than `n_origins` folds; where the history is too
/// short for the second gap it is given up with a warning.
///
/// # Errors
/// [`SplitError`] when there are fewer than three dates, or no origin leaves at least 50 rows and both classes on either side.
///
/// # Panics
/// When the two slices differ in length.
pub fn time_folds(observed_days: &[f64], target: &[f64], gap_days: f64, n_origins: usize) -> Result<TimeSplit, SplitError> {
    assert_eq!(observed_days.len(), target.len(), "every row has a date and a label");
    if let Some(row) = observed_days.iter().position(|day| !day.is_finite()) {
        return Err(SplitError::NoDate { row: row + 1 });
    }
    let rows = DatedRows { days: observed_days, target, gap_days };
    let timeline = Timeline::new(observed_days.iter().copied());
    let n_dates = timeline.dates.len();
    if n_dates < 3 {
        return Err(SplitError::TooFewDates { found: n_dates, needed: 3 });
    }
    // One date at least for the first training rows and one for the test.
    let n_origins = n_origins.clamp(1, n_dates - 2);
    let block_rows = observed_days.len() as f64 * BLOCK_SHARE.min(JUDGED_SHARE / (n_origins + 1) as f64);
    let test_start = timeline.block_starts(1, block_rows, 2)[0];
    let test = rows.cut(test_start, f64::INFINITY);
    if let Some(flaw) = rows.flaw(&test) {
        return Err(flaw.into_error("the test block", &rows, &timeline));
    }
    let mut origins = rows.origins(rows.matured_before(test_start), n_origins, block_rows);
    if origins.folds.is_empty() {
        let unmatured = rows.origins(test_start, n_origins, block_rows);
        if !unmatured.folds.is_empty() {
            origins = unmatured;
            let message = format!(
                "the history is too short for {gap_days} days between validation and test as well: settings and calibration were \
                 chosen on labels that reach into the test block, which flatters the model a little"
            );
            origins.warnings.push(Warning::new("no_gap_before_test", message));
        }
    }
    let Origins { folds, mut lines, warnings, last_flaw } = origins;
    if folds.is_empty() {
        return Err(last_flaw.into_error("every validation block, the last among them,", &rows, &timeline));
    }
    lines.push(rows.describe(&test, "test"));
    Ok(TimeSplit { folds, test, description: lines.join("\n"), warnings })
}

/// The folds that can be used, and what is to be said of the others.
struct Origins {
    folds: Vec<Fold>,
    lines: Vec<String>,
    warnings: Vec<Warning>,
    /// What was wrong with the latest origin that was left out.
    last_flaw: Flaw,
}

/// Why a block cannot be used.
struct Flaw {
    /// Whether the rows that train are at fault, or else those that judge.
    of_training: bool,
    n_rows: usize,
    n_positives: usize,
}

impl Flaw {
    fn describe(&self, block: &str) -> String {
        if self.of_training { format!("the training part before {block}") } else { block.to_owned() }
    }

    fn into_error(self, block: &str, rows: &DatedRows<'_>, timeline: &Timeline) -> SplitError {
        let block = self.describe(block);
        if self.n_rows >= MIN_BLOCK_ROWS {
            return SplitError::OneClass { block, n_rows: self.n_rows, n_positives: self.n_positives };
        }
        let text = |day: Option<&f64>| day.map_or_else(String::new, |&day| Day::from_days(day).to_string());
        let (first, last) = (text(timeline.dates.first()), text(timeline.dates.last()));
        SplitError::TooSmall { block, found: self.n_rows, needed: MIN_BLOCK_ROWS, gap_days: rows.gap_days, first, last }
    }
}

/// The rows to split.
struct DatedRows<'a> {
    days: &'a [f64],
    target: &'a [f64],
    gap_days: f64,
}

impl DatedRows<'_> {
    /// The first moment whose label window reaches past `start`, or `start` itself where there is no gap.
    fn matured_before(&self, start: f64) -> f64 {
        (start - self.gap_days).next_up().min(start)
    }

    /// Rolling origins over the rows before `end`.
    fn origins(&self, end: f64, n_origins: usize, block_rows: f64) -> Origins {
        let last_flaw = Flaw { of_training: true, n_rows: 0, n_positives: 0 };
        let mut origins = Origins { folds: Vec::new(), lines: Vec::new(), warnings: Vec::new(), last_flaw };
        let timeline = Timeline::new(self.days.iter().copied().filter(|&day| day < end));
        if timeline.dates.len() < 2 {
            return origins;
        }
        let starts = timeline.block_starts(n_origins.min(timeline.dates.len() - 1), block_rows, 1);
        for (idx, &start) in starts.iter().enumerate() {
            let fold = self.cut(start, starts.get(idx + 1).copied().unwrap_or(end));
            let Some(flaw) = self.flaw(&fold) else {
                origins.lines.push(self.describe(&fold, &format!("fold {}", origins.folds.len() + 1)));
                origins.folds.push(fold);
                continue;
            };
            let block = flaw.describe(&format!("validation block {}", idx + 1));
            let (n_rows, n_positives) = (flaw.n_rows, flaw.n_positives);
            let message = format!(
                "{block} has {n_rows} rows with {n_positives} positives; {MIN_BLOCK_ROWS} rows and both classes are needed: \
                 this origin is left out"
            );
            origins.warnings.push(Warning::new("small_block", message));
            origins.last_flaw = flaw;
        }
        origins
    }

    fn cut(&self, start: f64, end: f64) -> Fold {
        let rows = |wanted: &dyn Fn(f64) -> bool| (0..self.days.len()).filter(|&row| wanted(self.days[row])).collect();
        let matured = self.matured_before(start);
        Fold { train: rows(&|day| day < matured), validate: rows(&|day| day >= start && day < end) }
    }

    /// What is wrong with the fold: too few rows, or one class only.
    fn flaw(&self, fold: &Fold) -> Option<Flaw> {
        [(false, &fold.validate), (true, &fold.train)].into_iter().find_map(|(of_training, rows)| {
            let (n_rows, n_positives) = (rows.len(), rows.iter().filter(|&&row| self.target[row] == 1.0).count());
            let usable = n_rows >= MIN_BLOCK_ROWS && n_positives > 0 && n_positives < n_rows;
            (!usable).then_some(Flaw { of_training, n_rows, n_positives })
        })
    }

    fn describe(&self, fold: &Fold, name: &str) -> String {
        let side = |rows: &[usize]| {
            let first = rows.iter().map(|&row| self.days[row]).min_by(f64::total_cmp);
            let last = rows.iter().map(|&row| self.days[row]).max_by(f64::total_cmp);
            let text = |day: Option<f64>| day.map_or_else(|| "–".to_owned(), |day| Day::from_days(day).to_string());
            format!("{} to {} ({} rows)", text(first), text(last), rows.len())
        };
        format!("{name}: train {}, validate {}", side(&fold.train), side(&fold.validate))
    }
}

/// The different dates in order, and how many rows there are up to each.
struct Timeline {
    dates: Vec<f64>,
    rows_through: Vec<usize>,
}

impl Timeline {
    fn new(days: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = days.collect();
        sorted.sort_by(f64::total_cmp);
        let (mut dates, mut rows_through, mut n_rows) = (Vec::new(), Vec::new(), 0);
        for same_date in sorted.chunk_by(|a, b| a == b) {
            n_rows += same_date.len();
            dates.push(same_date[0]);
            rows_through.push(n_rows);
        }
        Self { dates, rows_through }
    }

    /// The first dates of the last `n_blocks` blocks of about `block_rows` rows each; `n_before` dates at least come before them.
    /// There have to be that many dates and blocks.
    fn block_starts(&self, n_blocks: usize, block_rows: f64, n_before: usize) -> Vec<f64> {
        let n_rows = self.rows_through.last().copied().unwrap_or(0) as f64;
        let mut starts = Vec::with_capacity(n_blocks);
        let mut earliest = n_before;
        for idx in 0..n_blocks {
            let rows_before = n_rows - block_rows * (n_blocks - idx) as f64;
            // Of all cuts between two dates the one nearest to the wanted size, with a date left for every later block.
            let latest = self.dates.len() - (n_blocks - idx);
            let distance = |date: &usize| (self.rows_through[date - 1] as f64 - rows_before).abs();
            let nearest = (earliest..=latest).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(latest);
            starts.push(self.dates[nearest]);
            earliest = nearest + 1;
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn monthly(n_months: usize, rows_per_month: usize) -> Vec<f64> {
        (0..n_months).flat_map(|month| std::iter::repeat_n(19_000.0 + 30.0 * month as f64, rows_per_month)).collect()
    }

    /// Every third row is positive.
    fn labels(n_rows: usize) -> Vec<f64> {
        (0..n_rows).map(|row| f64::from(u8::from(row % 3 == 0))).collect()
    }

    fn split(days: &[f64], gap_days: f64) -> Result<TimeSplit, SplitError> {
        time_folds(days, &labels(days.len()), gap_days, 3)
    }

    proptest! {
        #[test]
        fn no_label_window_reaches_into_validation(
            days in prop::collection::vec(0_u32..200, 300..600), gap in 0_u32..60, n_origins in 1_usize..5,
        ) {
            let days: Vec<f64> = days.into_iter().map(f64::from).collect();
            let Ok(split) = time_folds(&days, &labels(days.len()), f64::from(gap), n_origins) else { return Ok(()) };
            for fold in split.folds.iter().chain([&split.test]) {
                let origin = fold.validate.iter().map(|&row| days[row]).fold(f64::INFINITY, f64::min);
                prop_assert!(fold.train.iter().all(|&row| days[row] + f64::from(gap) <= origin && days[row] < origin));
                prop_assert!(fold.train.len() >= MIN_BLOCK_ROWS && fold.validate.len() >= MIN_BLOCK_ROWS);
            }
            let first_test = split.test.validate.iter().map(|&row| days[row]).fold(f64::INFINITY, f64::min);
            for pair in split.folds.windows(2) {
                prop_assert!(pair[0].validate.iter().all(|&a| pair[1].validate.iter().all(|&b| days[a] < days[b])));
            }
            let given_up = split.warnings.iter().any(|warning| warning.code == "no_gap_before_test");
            let matured = first_test - if given_up { 0.0 } else { f64::from(gap) };
            let before = |day: f64| day <= matured && day < first_test;
            prop_assert!(split.folds.iter().all(|fold| fold.validate.iter().all(|&row| before(days[row]))));
        }
    }

    #[test]
    fn a_year_of_snapshots_gives_three_origins_and_a_test() {
        let split = split(&monthly(12, 100), 30.0).unwrap();
        assert_eq!(split.folds.len(), 3);
        assert_eq!(split.test.validate.len(), 200);
        assert_eq!(
            split.description.lines().last().unwrap(),
            "test: train 2022-01-08 to 2022-10-05 (1000 rows), validate 2022-11-04 to 2022-12-04 (200 rows)"
        );
        assert!(split.warnings.is_empty());
    }

    #[test]
    fn labels_of_validation_rows_do_not_reach_into_the_test_block() {
        let days = monthly(12, 100);
        let split = split(&days, 90.0).unwrap();
        let first_test = days[split.test.validate[0]];
        let last_validated = split.folds.iter().flat_map(|fold| &fold.validate).map(|&row| days[row]).fold(0.0, f64::max);
        assert!(last_validated + 90.0 <= first_test, "{}", split.description);
        assert!(split.warnings.iter().all(|warning| warning.code != "no_gap_before_test"));
    }

    #[test]
    fn a_short_history_gives_up_the_second_gap_and_says_so() {
        let split = split(&monthly(6, 100), 90.0).unwrap();
        assert!(split.warnings.iter().any(|warning| warning.code == "no_gap_before_test"), "{:?}", split.warnings);
        assert!(!split.folds.is_empty());
    }

    #[test]
    fn few_dates_give_fewer_origins_or_an_error() {
        assert_eq!(split(&monthly(3, 100), 30.0).unwrap().folds.len(), 1);
        assert_eq!(split(&monthly(2, 100), 30.0), Err(SplitError::TooFewDates { found: 2, needed: 3 }));
        assert_eq!(split(&[1.0, f64::NAN], 30.0), Err(SplitError::NoDate { row: 2 }));
    }

    #[test]
    fn an_origin_without_training_rows_is_left_out_by_name() {
        let few = split(&monthly(9, 100), 90.0).unwrap();
        assert!(!few.warnings.is_empty() && few.folds.len() < 3);
        assert!(few.warnings[0].message.contains("has 0 rows"), "{:?}", few.warnings);
        let error = split(&monthly(4, 100), 365.0).unwrap_err().to_string();
        assert!(error.contains("the training part before the test block has 0 rows"), "{error}");
    }

    #[test]
    fn a_block_of_one_class_is_left_out_and_a_test_block_of_one_class_refused() {
        let days = monthly(12, 100);
        let mut early = labels(days.len());
        early[..500].fill(0.0);
        let found = time_folds(&days, &early, 30.0, 3).unwrap();
        assert!(found.folds.len() < 3 && found.warnings[0].message.contains("0 positives"), "{:?}", found.warnings);
        let mut late = labels(days.len());
        late[1000..].fill(0.0);
        let error = time_folds(&days, &late, 30.0, 3).unwrap_err();
        assert_eq!(error.to_string(), "the test block has 200 rows with 0 positives: both classes are needed");
    }
}
