//! One row for every period that a customer came to: what a hazard is learned from.
//!
//! A customer followed for `t` days is at risk in every period that begins before `t`, and in the first. One who left does so in the
//! period of `t`. One who was lost sight of at the end of a period came through it. Of those lost inside a period some came through
//! and some did not: as many of them count as having come through, longest followed first, as make the share that leaves in the period
//! that of Kaplan and Meier (to within half a customer). So without features the fitted curve is theirs.

use retain_data::{Dataset, Fold};
use retain_eval::kaplan_meier;
use retain_score::with_period;

use super::periods::Periods;
use crate::plan::Plan;
use crate::train::TrainError;

/// Customers by periods, as a table for learners.
pub(crate) struct PersonPeriods {
    /// Features and the position of the period; the target is whether the customer left in it, in the way asked for last.
    pub(crate) dataset: Dataset,
    /// The customer of each row, as position in the table of customers, rising.
    pub(crate) person: Vec<usize>,
    /// The way in which the customer left in each row, counted from 1; 0 for those who stayed.
    cause: Vec<f64>,
}

/// What happened to a customer in a period.
struct Step {
    person: usize,
    period: usize,
    cause: f64,
}

impl PersonPeriods {
    /// Rows of these customers, positions in `table` that rise, customer by customer and period by period.
    ///
    /// # Errors
    /// [`TrainError`] when a feature has the name that stands for the period.
    pub(crate) fn new(table: &Dataset, persons: &[usize], periods: &Periods) -> Result<Self, TrainError> {
        let days = table.duration.as_deref().unwrap_or(&[]);
        let counted = count_as_come_through(table, days, persons, periods)?;
        let mut steps = Vec::new();
        for &person in persons {
            steps_of(person, days[person], table.target[person], counted[person], periods, &mut steps);
        }
        let gather = |column: &Vec<f64>| -> Vec<f64> { steps.iter().map(|step| column[step.person]).collect() };
        let mut columns: Vec<Vec<f64>> = table.columns.iter().map(gather).collect();
        columns.push(steps.iter().map(|step| step.period as f64).collect());
        let cause: Vec<f64> = steps.iter().map(|step| step.cause).collect();
        let dataset = Dataset {
            schema: with_period(&table.schema).map_err(super::SurvivalError::from)?,
            columns,
            target: cause.clone(),
            weight: None,
            // Names are of no use to learners, and many.
            entity: Vec::new(),
            group: steps.iter().map(|step| table.group[step.person]).collect(),
            duration: None,
            past: None,
            treatment: None,
            propensity: None,
            observed: table.observed.as_ref().map(gather),
        };
        Ok(Self { dataset, person: steps.iter().map(|step| step.person).collect(), cause })
    }

    /// Makes the target whether the customer left in this way, counted from 1: who left in another one was lost sight of.
    pub(crate) fn ask_for(&mut self, cause: usize) {
        let asked = cause as f64;
        for (target, &cause) in self.dataset.target.iter_mut().zip(&self.cause) {
            *target = f64::from(u8::from(cause == asked));
        }
    }

    /// All rows of these customers, who rise.
    pub(crate) fn rows_of(&self, persons: &[usize]) -> Vec<usize> {
        (0..self.person.len()).filter(|&row_idx| persons.binary_search(&self.person[row_idx]).is_ok()).collect()
    }

    /// The rows of a training part that were known when the rows that judge it began. Where rows are dated, durations begin with
    /// their date, and a period that ended later is in the future of that day.
    pub(crate) fn training_rows(&self, table: &Dataset, fold: &Fold, periods: &Periods) -> Vec<usize> {
        let rows = self.rows_of(&fold.train);
        let (Some(observed), Some(judged)) = (&self.dataset.observed, &table.observed) else { return rows };
        let begins = fold.validate.iter().map(|&person| judged[person]).fold(f64::INFINITY, f64::min);
        let period = &self.dataset.columns[self.dataset.n_features() - 1];
        rows.into_iter().filter(|&row_idx| observed[row_idx] + periods.ends[period[row_idx] as usize] <= begins).collect()
    }

    /// The splits of the customers, as splits of their rows.
    pub(crate) fn plan(&self, table: &Dataset, of_persons: &Plan, periods: &Periods) -> Plan {
        let fold = |fold: &Fold| Fold { train: self.training_rows(table, fold, periods), validate: self.rows_of(&fold.validate) };
        Plan {
            folds: of_persons.folds.iter().map(fold).collect(),
            // Whole customers are judged on the last block, not their rows.
            test: None,
            strata: self.dataset.target.clone(),
            description: of_persons.description.clone(),
            gap_days: of_persons.gap_days,
            warnings: Vec::new(),
        }
    }
}

fn steps_of(person: usize, days: f64, cause: f64, counted: bool, periods: &Periods, steps: &mut Vec<Step>) {
    for (period, &end) in periods.ends.iter().enumerate() {
        if period > 0 && days <= periods.start(period) {
            return;
        }
        let leaves = cause > 0.0 && days <= end;
        // Lost inside the period.
        if !leaves && days < end && !counted {
            return;
        }
        steps.push(Step { person, period, cause: if leaves { cause } else { 0.0 } });
    }
}

/// Rows that [`PersonPeriods::new`] would make, before it is done: those lost inside a period all counted.
pub(crate) fn count_rows(days: &[f64], periods: &Periods) -> usize {
    days.iter().map(|&days| 1 + periods.ends[..periods.n_periods() - 1].partition_point(|&end| end < days)).sum()
}

/// For each customer lost inside a period, whether it counts as having come through.
fn count_as_come_through(table: &Dataset, days: &[f64], persons: &[usize], periods: &Periods) -> Result<Vec<bool>, TrainError> {
    let of_persons = |values: &[f64]| -> Vec<f64> { persons.iter().map(|&person| values[person]).collect() };
    let (followed, left) = (of_persons(days), of_persons(&table.target).iter().map(|&cause| cause > 0.0).collect::<Vec<_>>());
    let curve = kaplan_meier(&followed, &left, &periods.ends)?;
    let mut counted = vec![false; table.n_rows()];
    for (period, &end) in periods.ends.iter().enumerate() {
        let start = periods.start(period);
        let inside = |idx: &usize| followed[*idx] < end && (followed[*idx] > start || period == 0);
        let (mut n_left, mut n_through, mut lost) = (0, 0, Vec::new());
        for idx in 0..persons.len() {
            if followed[idx] >= end && !(left[idx] && followed[idx] == end) {
                n_through += 1;
            } else if left[idx] && (inside(&idx) || followed[idx] == end) {
                n_left += 1;
            } else if inside(&idx) {
                lost.push(idx);
            }
        }
        let before = if period == 0 { 1.0 } else { curve[period - 1] };
        let n_counted = counted_of_lost(n_left, n_through, lost.len(), if before > 0.0 { curve[period] / before } else { 0.0 });
        // Longest followed first; of equals the first in the table.
        lost.sort_by(|&a, &b| followed[b].total_cmp(&followed[a]).then(a.cmp(&b)));
        lost.iter().take(n_counted).for_each(|&idx| counted[persons[idx]] = true);
    }
    Ok(counted)
}

/// How many of those lost make the share that leaves 1 less `stays`.
fn counted_of_lost(n_left: usize, n_through: usize, n_lost: usize, stays: f64) -> usize {
    if n_left == 0 {
        return n_lost;
    }
    let at_risk = n_left as f64 / (1.0 - stays);
    ((at_risk - (n_left + n_through) as f64).round().max(0.0) as usize).min(n_lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::super::periods::Followed;
    use super::*;
    use crate::learners::rows::tests::example;

    /// Customers with these durations and causes.
    fn table(days: &[f64], cause: &[f64]) -> Dataset {
        Dataset { target: cause.to_vec(), duration: Some(days.to_vec()), ..example(days.len(), 3) }
    }

    /// Share that leaves in each period, of the rows.
    fn hazards(rows: &PersonPeriods, n_periods: usize) -> Vec<f64> {
        let period = rows.dataset.columns.last().unwrap();
        let share = |wanted: usize| {
            let of: Vec<usize> = (0..period.len()).filter(|&row| period[row] as usize == wanted).collect();
            of.iter().filter(|&&row| rows.dataset.target[row] > 0.0).count() as f64 / of.len() as f64
        };
        (0..n_periods).map(share).collect()
    }

    fn simulated(n_rows: usize, unit: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut draw = |mean: f64| {
            let days = -mean * (1.0 - rng.random::<f64>()).ln();
            if unit > 0.0 { (days / unit).ceil() * unit } else { days }
        };
        let pairs: Vec<(f64, f64)> = (0..n_rows).map(|_| (draw(60.0), draw(80.0))).collect();
        pairs.iter().map(|&(leaves, lost)| (leaves.min(lost), f64::from(u8::from(leaves <= lost)))).unzip()
    }

    #[test]
    fn without_features_the_curve_is_kaplan_and_meiers() {
        for (unit, tolerance) in [(30.0, 1e-12), (1.0, 5e-4), (0.0, 5e-4)] {
            let (days, cause) = simulated(2_000, unit, 5);
            let left: Vec<bool> = cause.iter().map(|&cause| cause > 0.0).collect();
            let periods =
                Periods::choose(Followed { days: &days, left: &left }, if unit > 0.0 { unit } else { 1.0 }, 60.0, 20).unwrap();
            let table = table(&days, &cause);
            let rows = PersonPeriods::new(&table, &(0..2_000).collect::<Vec<_>>(), &periods).unwrap();
            let mut survival = 1.0;
            let truth = kaplan_meier(&days, &left, &periods.ends).unwrap();
            for (hazard, truth) in hazards(&rows, periods.n_periods()).iter().zip(&truth).take(periods.n_periods() - 3) {
                survival *= 1.0 - hazard;
                assert!((survival - truth).abs() < tolerance, "unit {unit}: {survival} instead of {truth}");
            }
            assert!(rows.dataset.n_rows() <= count_rows(&days, &periods));
        }
    }

    #[test]
    fn a_customer_has_a_row_for_every_period_it_came_to() {
        let periods = Periods { ends: vec![30.0, 60.0, 90.0], horizon_days: 60.0 };
        let days = [60.0, 60.0, 61.0, 0.0, 90.0];
        let cause = [2.0, 0.0, 1.0, 1.0, 0.0];
        let mut rows = PersonPeriods::new(&table(&days, &cause), &[0, 1, 2, 3, 4], &periods).unwrap();
        assert_eq!(rows.person, [0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4]);
        assert_eq!(rows.dataset.columns.last().unwrap(), &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0]);
        rows.ask_for(2);
        assert_eq!(rows.dataset.target, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        rows.ask_for(1);
        assert_eq!(rows.dataset.target, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(rows.rows_of(&[1, 3]), [2, 3, 7]);
    }

    #[test]
    fn periods_that_end_after_the_judged_rows_began_are_not_known_yet() {
        let periods = Periods { ends: vec![30.0, 60.0], horizon_days: 30.0 };
        let mut table = table(&[60.0, 60.0, 60.0], &[0.0, 1.0, 0.0]);
        table.observed = Some(vec![0.0, 40.0, 75.0]);
        let rows = PersonPeriods::new(&table, &[0, 1, 2], &periods).unwrap();
        let fold = Fold { train: vec![0, 1], validate: vec![2] };
        assert_eq!(rows.training_rows(&table, &fold, &periods), [0, 1, 2]);
    }
}
