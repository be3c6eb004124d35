//! Calendar time as days since 1970-01-01, with the fraction of the day, so that differences are plain subtraction.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// A point in calendar time: days since 1970-01-01 UTC, with a fraction.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Day(f64);

/// A text that is not an ISO date or date-time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("should be an ISO date such as `2026-01-31` or `2026-01-31T09:30:00Z`, found `{found}`")]
pub struct DayError {
    /// The text that was found.
    pub found: String,
}

impl Day {
    /// Days since 1970-01-01, possibly with a fraction.
    pub fn from_days(days: f64) -> Self {
        Self(days)
    }

    /// Seconds since 1970-01-01 UTC.
    pub fn from_seconds(seconds: f64) -> Self {
        Self(seconds / SECONDS_PER_DAY)
    }

    /// Days since 1970-01-01, with the fraction of the day.
    pub fn days(self) -> f64 {
        self.0
    }

    /// Reads `2026-01-31`, `2026-01-31 09:30[:00[.5]]`, `2026-01-31T09:30:00Z` or with an offset such as `+02:00`.
    ///
    /// A date-time without an offset counts as UTC.
    ///
    /// # Errors
    /// [`DayError`] when the text is none of these, or names a day that does not exist.
    pub fn parse(text: &str) -> Result<Self, DayError> {
        let text = text.trim();
        // A cheap look first: inference asks this of every text cell.
        let bytes = text.as_bytes();
        let shaped = bytes.len() >= 10 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[7] == b'-';
        let found = || DayError { found: text.chars().take(40).collect() };
        if !shaped {
            return Err(found());
        }
        if bytes.len() == 10 {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| found())?;
            return Ok(Self(f64::from(date.to_epoch_days())));
        }
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::from_instant(instant.timestamp(), instant.timestamp_subsec_nanos()));
        }
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .map(|naive| Self::from_instant(naive.and_utc().timestamp(), naive.and_utc().timestamp_subsec_nanos()))
            .ok_or_else(found)
    }

    /// Whole seconds since 1970-01-01 UTC, and the nanoseconds behind them: the same bits as the text of this moment gives.
    pub fn from_instant(seconds: i64, nanos: u32) -> Self {
        Self((seconds as f64 + f64::from(nanos) * 1e-9) / SECONDS_PER_DAY)
    }
}

impl std::fmt::Display for Day {
    /// The calendar date, without the time of day.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match NaiveDate::from_epoch_days(self.0.floor() as i32) {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "day {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, days: f64) {
        assert_eq!(Day::parse(text).unwrap().days(), days, "{text}");
    }

    #[test]
    fn iso_dates_and_date_times_are_read() {
        check("1970-01-01", 0.0);
        check("2024-02-29", 19_782.0);
        check("1970-01-02T12:00:00Z", 1.5);
        check("1970-01-02 12:00:00", 1.5);
        check("1970-01-02 12:00", 1.5);
        check("1970-01-02T12:00:00+12:00", 1.0);
        check(" 1969-12-31 ", -1.0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "2023-02-29", "31/01/2026", "2026-1-5", "20260131", "yesterday", "2026-01-31 morning"] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_prints_as_its_date() {
        assert_eq!(Day::parse("2026-11-20T23:59:00Z").unwrap().to_string(), "2026-11-20");
    }
}
