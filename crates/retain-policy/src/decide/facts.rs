//! What is known of a customer becomes the values that rules read.

use retain_core::{Day, FeatureValue, PastDecision};

use super::past::Past;
use crate::playbook::Playbook;
use crate::rule::{ClockField, Known, Name, PredictionField, Values};

const HOUR_MS: i64 = 3_600_000;

/// What is known of a customer, before health, signals, segments and tier.
pub struct Facts<'a> {
    /// Whom it is about.
    pub customer_id: &'a str,
    /// The clock, in milliseconds since 1970-01-01 UTC.
    pub now_ms: i64,
    /// The day that the features are of; dates are told as days until then.
    pub observed: Day,
    /// The value of a feature.
    pub features: &'a dyn Fn(&str) -> FeatureValue<'a>,
    /// What the models say.
    pub predictions: &'a [Prediction<'a>],
    /// What was decided before, in any order.
    pub history: &'a [PastDecision],
}

/// What one model says of the customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// The playbook's name of the model.
    pub model: &'a str,
    /// The calibrated probability.
    pub probability: Option<f64>,
    /// The expected amount.
    pub expected_value: Option<f64>,
    /// `low`, `medium` or `high`.
    pub band: Option<&'a str>,
}

impl Playbook {
    /// The values that rules read, but for those that `assess` adds.
    pub fn values<'a>(&'a self, facts: &Facts<'a>) -> Values<'a> {
        let mut values = Values::new(self.names());
        let past = Past::new(self, facts.history, facts.now_ms);
        for (slot, name) in self.names().iter() {
            let known = match name {
                Name::Feature(feature) => {
                    Known::of_feature((facts.features)(feature), self.names().value_type(slot), facts.observed)
                }
                Name::Prediction { model, field } => prediction(facts.predictions, model, *field),
                Name::History(query) => past.answer(query),
                Name::Clock(field) => Known::Number(f64::from(clock(*field, facts.now_ms))),
                Name::Customer => Known::Text(facts.customer_id),
                // What health, signals, segments, tier and points say is written here by the assessment.
                _ => continue,
            };
            values.set(slot, known);
        }
        values
    }
}

fn prediction<'a>(predictions: &[Prediction<'a>], model: &str, field: PredictionField) -> Known<'a> {
    let Some(prediction) = predictions.iter().find(|prediction| prediction.model == model) else { return Known::Missing };
    match field {
        PredictionField::Probability => prediction.probability.map_or(Known::Missing, Known::Number),
        PredictionField::ExpectedValue => prediction.expected_value.map_or(Known::Missing, Known::Number),
        PredictionField::Band => prediction.band.map_or(Known::Missing, Known::Text),
    }
}

fn clock(field: ClockField, now_ms: i64) -> u32 {
    let days = now_ms.div_euclid(24 * HOUR_MS);
    let (month, day) = month_and_day(days);
    match field {
        ClockField::Hour => (now_ms.rem_euclid(24 * HOUR_MS) / HOUR_MS) as u32,
        // 1970-01-01 was a Thursday.
        ClockField::Weekday => (days + 3).rem_euclid(7) as u32 + 1,
        ClockField::Day => day,
        ClockField::Month => month,
        ClockField::Quarter => (month - 1) / 3 + 1,
    }
}

/// The month and the day of the month of a day since 1970-01-01, in the Gregorian calendar.
///
/// # Source
/// Years are counted from 1 March, so that the leap day is the last one; months from March on have 153 days in five.
fn month_and_day(days: i64) -> (u32, u32) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    // From 0000-03-01.
    let day_of_era = (days + 719_468).rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_the_calendar() {
        // 2024-02-29 23:59:59.999 UTC, a Thursday; then 2023-01-01 00:00, a Sunday; then the day before 1970.
        for (now_ms, expected) in
            [(1_709_251_199_999, [23, 4, 29, 2, 1]), (1_672_531_200_000, [0, 7, 1, 1, 1]), (-1, [23, 3, 31, 12, 4])]
        {
            let fields = [ClockField::Hour, ClockField::Weekday, ClockField::Day, ClockField::Month, ClockField::Quarter];
            assert_eq!(fields.map(|field| clock(field, now_ms)), expected, "{now_ms}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = month_and_day(-800_000);
        for days in -799_999..800_000 {
            let (month, day) = month_and_day(days);
            let next_day = (month, day) == (last.0, last.1 + 1);
            let next_month = day == 1 && month == last.0 % 12 + 1 && last.1 >= 28;
            assert!(next_day || next_month, "{days}: {last:?} {month} {day}");
            last = (month, day);
        }
    }
}
