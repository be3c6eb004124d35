//! A model's answers beside what came true, as the metrics of its kind read them.

use rayon::prelude::*;
use retain_data::Dataset;
use retain_eval::{BootstrapOptions, EvalError, Horizon, Labelled, Metric, kaplan_meier};
use retain_score::{Model, Predictor};

use crate::metrics_file::Measurement;
use crate::survival::is_whole;
use crate::train::TrainError;

/// Days of a month where durations are whole months, so that 30, 90 and 180 days are one, three and six of them.
const DAYS_OF_MONTH: f64 = 30.0;
/// The same in durations.
const DAYS_OF_CALENDAR_MONTH: f64 = 365.25 / 12.0;

/// Rows that one thread predicts at a time.
const ROWS_AT_A_TIME: usize = 1024;

/// The predictions of a model for all rows of a table, beside what came true.
///
/// Events: probabilities beside labels. Amounts: expected amounts, with their limits where the model has them. Hazards: survival curves
/// beside how long each row was followed, at the days that the metrics read. Effects: those of the leading treatment, on its rows and the
/// control's. The days are those of `days_of`: the model itself, or
/// another that it is to be compared with.
///
/// # Errors
/// [`TrainError`] when the model does not fit the table, or the table has no row.
pub fn labelled(model: &Model, dataset: &Dataset, days_of: &Model) -> Result<Labelled, TrainError> {
    let predictor = Predictor::new(model, &dataset.schema)?;
    let group = &dataset.group;
    match days_of {
        Model::Event(_) => {
            let probabilities = of_rows(dataset, |row| predictor.predict(row).probability);
            Ok(Labelled::new(&dataset.target, &probabilities, group)?)
        }
        Model::Hazard(hazard) => {
            let days = CurveDays::new(&hazard.period_ends, dataset);
            let curves = of_rows(dataset, |row| days.survival(&predictor, row)).concat();
            Ok(days.labelled(dataset, &curves)?)
        }
        // Rows of other treatments are none of these.
        Model::Uplift(uplift) => labelled_arm(model, dataset, uplift.leading()),
        Model::Amount(_) => {
            let predictions = of_rows(dataset, |row| predictor.predict(row));
            let expected: Vec<f64> = predictions.iter().map(|prediction| prediction.expected_value.unwrap_or(0.0)).collect();
            let limits: Option<(Vec<f64>, Vec<f64>)> = predictions.iter().map(|prediction| prediction.limits).collect();
            let limits = limits.as_ref().map(|(low, high)| (&low[..], &high[..]));
            Ok(Labelled::values(&dataset.target, &expected, limits, group)?)
        }
    }
}

/// Outcomes of the rows of one treatment and of the control, beside the effects that a model of effects says; `arm` counts from 0.
fn labelled_arm(model: &Model, dataset: &Dataset, arm: usize) -> Result<Labelled, TrainError> {
    let arms = dataset.treatment.as_deref().ok_or(crate::uplift::UpliftError::NoTreatment)?;
    let rows: Vec<usize> = (0..arms.len()).filter(|&row| arms[row] == 0 || arms[row] as usize == arm + 1).collect();
    let pair = dataset.subset(&rows);
    let predictor = Predictor::new(model, &dataset.schema)?;
    let effect = |row: &[f64]| predictor.effects(row).and_then(|effects| effects.get(arm).map(|one| one.effect)).unwrap_or(0.0);
    let effects = of_rows(&pair, effect);
    let treated: Vec<bool> = rows.iter().map(|&row| arms[row] > 0).collect();
    Ok(Labelled::uplift(&pair.target, &treated, &effects, &pair.group)?)
}

/// Measures what a model of effects says of one of its treatments, counted from 0, beside the same effect for everybody.
///
/// # Errors
/// [`TrainError`] when the model does not fit the table, or the table lacks the treatment or the control.
pub fn arm_measurement(
    measured_on: &str,
    model: &Model,
    dataset: &Dataset,
    arm: usize,
    options: &BootstrapOptions,
) -> Result<Measurement, TrainError> {
    let labelled = labelled_arm(model, dataset, arm)?;
    let average = Metric::AverageEffect.measure(&labelled).unwrap_or(0.0);
    let of_all = labelled.with_constant(&[average])?;
    Ok(Measurement::beside(measured_on, &labelled, ("the average for all", &of_all), options))
}

/// The chance of any amount beside whether there was one; none for other models, and where all rows are alike.
///
/// # Errors
/// [`TrainError`] when the model does not fit the table.
pub fn occurrence(model: &Model, dataset: &Dataset) -> Result<Option<Labelled>, TrainError> {
    let n_positives = dataset.n_positives();
    if !matches!(model, Model::Amount(_)) || n_positives == 0 || n_positives == dataset.n_rows() {
        return Ok(None);
    }
    let predictor = Predictor::new(model, &dataset.schema)?;
    let probabilities = of_rows(dataset, |row| predictor.predict(row).probability);
    let happened: Vec<f64> = dataset.target.iter().map(|&amount| f64::from(u8::from(amount > 0.0))).collect();
    Ok(Some(Labelled::new(&happened, &probabilities, &dataset.group)?))
}

/// The answers for all rows in order, computed by all threads.
fn of_rows<T: Send>(dataset: &Dataset, answer: impl Fn(&[f64]) -> T + Send + Sync) -> Vec<T> {
    let rows = dataset.all_rows();
    // A schema has at least one feature, so no chunk is empty.
    let values = rows.values().par_chunks(rows.n_features().max(1));
    values.with_min_len(ROWS_AT_A_TIME).map(answer).collect()
}

/// What the trivial baseline of a table says of everybody: the rate of events, the mean amount, the Kaplan-Meier curve at the days of
/// the model's metrics, or the average effect of the leading treatment.
///
/// # Errors
/// [`TrainError`] when the table has no row.
pub fn baseline(model: &Model, dataset: &Dataset) -> Result<Vec<f64>, TrainError> {
    match model {
        Model::Hazard(hazard) => Ok(CurveDays::new(&hazard.period_ends, dataset).kaplan_meier(dataset)?),
        Model::Uplift(uplift) => {
            let labelled = labelled_arm(model, dataset, uplift.leading())?;
            Ok(vec![Metric::AverageEffect.measure(&labelled).unwrap_or(0.0)])
        }
        Model::Event(_) | Model::Amount(_) => Ok(vec![dataset.target.iter().sum::<f64>() / dataset.n_rows().max(1) as f64]),
    }
}

/// The days at which curves are measured, and how durations are counted for that.
///
/// Durations in whole units say in which unit a customer left, not when in it: a curve is read at the end of the last unit that is over
/// by a day. Whole months count as 30 days and whole years as twelve of these.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CurveDays {
    /// For metrics, rising.
    pub(crate) days: Vec<f64>,
    /// Where the model's curve is read for them.
    read_at: Vec<f64>,
    /// Days of a unit in durations and for metrics.
    unit_days: f64,
    metric_unit_days: f64,
}

impl CurveDays {
    pub(crate) fn new(period_ends: &[f64], dataset: &Dataset) -> Self {
        let unit_days = dataset.schema.duration.as_ref().map_or(1.0, |duration| duration.unit_days);
        let is_coarse = unit_days > 1.0 && period_ends.iter().all(|&end| is_whole(end, unit_days));
        let months = unit_days / DAYS_OF_CALENDAR_MONTH;
        let is_of_months = is_coarse && is_whole(months, 1.0) && months > 0.5;
        let metric_unit_days = if is_of_months { months.round() * DAYS_OF_MONTH } else { unit_days };
        let mut this = Self { days: Vec::new(), read_at: Vec::new(), unit_days, metric_unit_days };
        let ends: Vec<f64> = period_ends.iter().map(|&end| this.metric_days(end)).collect();
        let last = ends.last().copied().unwrap_or(0.0);
        let asked = Horizon::ALL.into_iter().map(Horizon::days).filter(|&day| day <= last);
        let mut days: Vec<f64> = ends.iter().copied().chain(asked).collect();
        days.sort_unstable_by(f64::total_cmp);
        days.dedup();
        let unit = |day: f64| (day / metric_unit_days + 1e-6).floor() * unit_days;
        this.read_at = days.iter().map(|&day| if is_coarse { unit(day) } else { day }).collect();
        this.days = days;
        this
    }

    /// A duration in the days of the metrics.
    pub(crate) fn metric_days(&self, days: f64) -> f64 {
        if self.metric_unit_days == self.unit_days {
            return days;
        }
        let units = days / self.unit_days;
        // What is whole stays whole to the last bit: an event on a grid day comes on that day.
        (if is_whole(units, 1.0) { units.round() } else { units }) * self.metric_unit_days
    }

    /// The curve of a row at the days.
    pub(crate) fn survival(&self, predictor: &Predictor, row: &[f64]) -> Vec<f64> {
        let curve = predictor.survival(row, 0.0);
        self.read_at.iter().map(|&day| curve.as_ref().map_or(1.0, |curve| curve.at(day))).collect()
    }

    /// Curves, row by row, beside what was seen of the rows of a table.
    pub(crate) fn labelled(&self, dataset: &Dataset, curves: &[f64]) -> Result<Labelled, EvalError> {
        let (times, events) = self.seen(dataset);
        Labelled::survival(&times, &events, &self.days, curves, &dataset.group)
    }

    fn kaplan_meier(&self, dataset: &Dataset) -> Result<Vec<f64>, EvalError> {
        let (times, events) = self.seen(dataset);
        kaplan_meier(&times, &events, &self.days)
    }

    fn seen(&self, dataset: &Dataset) -> (Vec<f64>, Vec<bool>) {
        let times = dataset.duration.iter().flatten().map(|&days| self.metric_days(days)).collect();
        (times, dataset.target.iter().map(|&cause| cause > 0.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use retain_core::DurationSpec;

    use super::*;
    use crate::learners::rows::tests::example;

    fn days(unit_days: f64, units: &[f64]) -> CurveDays {
        let mut table = example(10, 1);
        table.schema.duration = Some(DurationSpec { column: "months".to_owned(), unit_days });
        CurveDays::new(&units.iter().map(|units| units * unit_days).collect::<Vec<_>>(), &table)
    }

    #[test]
    fn whole_months_count_as_thirty_days() {
        let of_months = days(DAYS_OF_CALENDAR_MONTH, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(of_months.days, [30.0, 60.0, 90.0, 120.0]);
        assert_eq!(of_months.read_at[2], 3.0 * DAYS_OF_CALENDAR_MONTH);
        assert_eq!(of_months.metric_days(2.5 * DAYS_OF_CALENDAR_MONTH), 75.0);
    }

    #[test]
    fn weeks_are_read_at_the_last_that_is_over_and_days_as_they_are() {
        let of_weeks = days(7.0, &[2.0, 4.0, 6.0]);
        assert_eq!((of_weeks.days, of_weeks.read_at), (vec![14.0, 28.0, 30.0, 42.0], vec![14.0, 28.0, 28.0, 42.0]));
        let of_days = days(1.0, &[20.5, 45.0]);
        assert_eq!((of_days.days.clone(), of_days.read_at), (vec![20.5, 30.0, 45.0], of_days.days));
    }
}
