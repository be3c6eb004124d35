//! One cell of a table or one value of a request, and how it becomes the number that models read.

use crate::day::Day;
use crate::schema::{ColumnKind, FeatureSpec};

/// What was said about a feature of one customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeatureValue<'a> {
    /// Nothing is known.
    Missing,
    /// A number.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text: a category, an ISO date, or a number or boolean written out, as in CSV.
    Text(&'a str),
    /// A point in time, as Parquet and Arrow have it.
    Day(Day),
}

/// What is worth saying about a value that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueNote {
    /// An ordinary value.
    Usual,
    /// Nothing was given; the model has learned what to do with that.
    Missing,
    /// A category that training never saw.
    Unseen,
    /// A number outside the range that training saw.
    OutOfRange,
}

/// A value that does not fit its feature.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A word, a boolean or a date where a number belongs.
    #[error("should be a number, found `{found}`")]
    NotNumber {
        /// What was found, shortened.
        found: String,
    },
    /// NaN or an infinity.
    #[error("should be a finite number, found `{found}`")]
    NotFinite {
        /// What was found.
        found: f64,
    },
    /// A duration below 0, or none.
    #[error("should be a duration of 0 or more, found {}", quoted(found))]
    NotDuration {
        /// What was found.
        found: String,
    },
    /// No chance of anything that happened.
    #[error("should be a probability above 0 and up to 1, found {}", quoted(found))]
    NotPropensity {
        /// What was found.
        found: String,
    },
    /// Neither yes nor no.
    #[error("should be yes or no (true, false, 1, 0), found `{found}`")]
    NotBoolean {
        /// What was found, shortened.
        found: String,
    },
    /// A number or a boolean where a category belongs.
    #[error("should be a category written as text, found `{found}`")]
    NotCategory {
        /// What was found.
        found: String,
    },
    /// Not an ISO date.
    #[error("should be an ISO date such as `2026-01-31`, found {}", quoted(found))]
    NotDate {
        /// What was found, shortened.
        found: String,
    },
    /// A date, but no observation date to count its days from.
    #[error("is a date, and without the date of observation its age in days is unknown")]
    NoObservation,
}

/// What was found between quotes; an empty cell has none.
fn quoted(found: &str) -> String {
    if found.is_empty() { "nothing".to_owned() } else { format!("`{found}`") }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Reads a decimal number; the words `nan` and `inf`, which Rust would take, are not numbers here.
pub fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let first = text.trim_start_matches(['+', '-']).bytes().next()?;
    if !first.is_ascii_digit() && first != b'.' {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Reads `true/false`, `yes/no`, `t/f`, `y/n`, `1/0`, whatever the case.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "yes", "t", "y"]) || text == "1" {
        Some(true)
    } else if is(["false", "no", "f", "n"]) || text == "0" {
        Some(false)
    } else {
        None
    }
}

impl FeatureSpec {
    /// Turns one value into the number that models read, with a note where it is unusual.
    ///
    /// A text that stands among the feature's missing markers, or is blank, is missing. Texts that hold a number, a boolean
    /// or an ISO date are taken where the feature is of that kind, so that CSV cells and request values go the same way.
    /// `observed` is needed for dates alone: they become the days from the date to the observation.
    ///
    /// # Errors
    /// [`ValueError`] when the value is of another kind than the feature.
    pub fn encode(&self, value: FeatureValue<'_>, observed: Option<Day>) -> Result<(f64, ValueNote), ValueError> {
        let value = match value {
            FeatureValue::Text(text) if self.missing.is_text(text) => FeatureValue::Missing,
            FeatureValue::Number(number) if self.missing.is_number(number) => FeatureValue::Missing,
            other => other,
        };
        if value == FeatureValue::Missing {
            return Ok((f64::NAN, ValueNote::Missing));
        }
        match self.kind {
            ColumnKind::Number => match encode_number(value)? {
                // `-1.0` in a text is the marker `-1` too.
                number if self.missing.is_number(number) => Ok((f64::NAN, ValueNote::Missing)),
                number => Ok(self.with_range_note(number)),
            },
            ColumnKind::Boolean => encode_boolean(value).map(|yes| (f64::from(u8::from(yes)), ValueNote::Usual)),
            ColumnKind::Category => self.encode_category(value),
            ColumnKind::Date => encode_date(value, observed).map(|days| self.with_range_note(days)),
        }
    }

    fn with_range_note(&self, number: f64) -> (f64, ValueNote) {
        let inside = self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max);
        (number, if inside { ValueNote::Usual } else { ValueNote::OutOfRange })
    }

    fn encode_category(&self, value: FeatureValue<'_>) -> Result<(f64, ValueNote), ValueError> {
        match value {
            FeatureValue::Text(text) => match self.category_index(text.trim()) {
                Some(index) => Ok((index as f64, ValueNote::Usual)),
                None => Ok((self.categories.len() as f64, ValueNote::Unseen)),
            },
            FeatureValue::Number(number) => Err(ValueError::NotCategory { found: number.to_string() }),
            FeatureValue::Boolean(yes) => Err(ValueError::NotCategory { found: yes.to_string() }),
            FeatureValue::Day(day) => Err(ValueError::NotCategory { found: day.to_string() }),
            FeatureValue::Missing => Ok((f64::NAN, ValueNote::Missing)),
        }
    }
}

fn encode_number(value: FeatureValue<'_>) -> Result<f64, ValueError> {
    match value {
        FeatureValue::Number(number) if number.is_finite() => Ok(number),
        FeatureValue::Number(number) => Err(ValueError::NotFinite { found: number }),
        FeatureValue::Text(text) => parse_number(text).ok_or_else(|| ValueError::NotNumber { found: shortened(text) }),
        FeatureValue::Boolean(yes) => Err(ValueError::NotNumber { found: yes.to_string() }),
        FeatureValue::Day(day) => Err(ValueError::NotNumber { found: day.to_string() }),
        FeatureValue::Missing => Ok(f64::NAN),
    }
}

fn encode_boolean(value: FeatureValue<'_>) -> Result<bool, ValueError> {
    match value {
        FeatureValue::Boolean(yes) => Ok(yes),
        FeatureValue::Number(number) if number == 0.0 || number == 1.0 => Ok(number == 1.0),
        FeatureValue::Number(number) => Err(ValueError::NotBoolean { found: number.to_string() }),
        FeatureValue::Text(text) => parse_boolean(text).ok_or_else(|| ValueError::NotBoolean { found: shortened(text) }),
        FeatureValue::Day(day) => Err(ValueError::NotBoolean { found: day.to_string() }),
        FeatureValue::Missing => Err(ValueError::NotBoolean { found: String::new() }),
    }
}

fn encode_date(value: FeatureValue<'_>, observed: Option<Day>) -> Result<f64, ValueError> {
    let day = match value {
        FeatureValue::Day(day) => day,
        FeatureValue::Text(text) => Day::parse(text).map_err(|_| ValueError::NotDate { found: shortened(text) })?,
        FeatureValue::Number(number) => return Err(ValueError::NotDate { found: number.to_string() }),
        FeatureValue::Boolean(yes) => return Err(ValueError::NotDate { found: yes.to_string() }),
        FeatureValue::Missing => return Ok(f64::NAN),
    };
    let observed = observed.ok_or(ValueError::NoObservation)?;
    Ok(observed.days() - day.days())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: ColumnKind) -> FeatureSpec {
        let mut spec = FeatureSpec::new("x", kind);
        if kind == ColumnKind::Category {
            spec.set_categories(vec!["gold".into(), "silver".into()]);
        }
        (spec.min, spec.max) = (Some(0.0), Some(10.0));
        spec
    }

    #[test]
    fn numbers_in_words_are_read_and_words_are_not() {
        let number = spec(ColumnKind::Number);
        for (text, expected) in [("3.5", 3.5), (" -2 ", -2.0), ("1e1", 10.0), (".5", 0.5), ("+4", 4.0)] {
            assert_eq!(number.encode(FeatureValue::Text(text), None).unwrap().0, expected, "{text}");
        }
        for text in ["abc", "inf", "infinity", "-inf", "1,5", "0x10", "--", "1e999", "12 EUR"] {
            assert!(number.encode(FeatureValue::Text(text), None).is_err(), "{text}");
        }
        assert!(number.encode(FeatureValue::Number(f64::NAN), None).is_err());
        assert!(number.encode(FeatureValue::Number(f64::INFINITY), None).is_err());
    }

    #[test]
    fn blanks_and_markers_are_missing() {
        let number = spec(ColumnKind::Number);
        for text in ["", " ", "NA", "null", "NaN"] {
            let (value, note) = number.encode(FeatureValue::Text(text), None).unwrap();
            assert!(value.is_nan() && note == ValueNote::Missing, "{text:?}");
        }
    }

    #[test]
    fn a_number_may_mean_missing_however_it_is_written() {
        let mut number = spec(ColumnKind::Number);
        number.missing = vec!["-1".to_owned()].into();
        for value in [FeatureValue::Text("-1"), FeatureValue::Text("-1.0"), FeatureValue::Number(-1.0)] {
            assert_eq!(number.encode(value, None).unwrap().1, ValueNote::Missing, "{value:?}");
        }
        assert!(number.encode(FeatureValue::Text("NA"), None).is_err(), "the task's markers replace the usual ones");
    }

    #[test]
    fn unusual_values_carry_a_note() {
        assert_eq!(spec(ColumnKind::Number).encode(FeatureValue::Number(11.0), None).unwrap().1, ValueNote::OutOfRange);
        let category = spec(ColumnKind::Category);
        assert_eq!(category.encode(FeatureValue::Text("bronze"), None).unwrap(), (2.0, ValueNote::Unseen));
        assert_eq!(category.encode(FeatureValue::Text("silver"), None).unwrap(), (1.0, ValueNote::Usual));
        assert!(category.encode(FeatureValue::Number(1.0), None).is_err());
    }

    #[test]
    fn a_date_becomes_the_days_until_the_observation() {
        let date = spec(ColumnKind::Date);
        let observed = Some(Day::parse("2026-01-31").unwrap());
        assert_eq!(date.encode(FeatureValue::Text("2026-01-21"), observed).unwrap().0, 10.0);
        assert_eq!(date.encode(FeatureValue::Text("2026-01-21"), None), Err(ValueError::NoObservation));
    }

    #[test]
    fn booleans_come_in_many_spellings() {
        let boolean = spec(ColumnKind::Boolean);
        for (value, expected) in [
            (FeatureValue::Text("Yes"), 1.0),
            (FeatureValue::Text("f"), 0.0),
            (FeatureValue::Boolean(true), 1.0),
            (FeatureValue::Number(0.0), 0.0),
        ] {
            assert_eq!(boolean.encode(value, None).unwrap().0, expected);
        }
        assert!(boolean.encode(FeatureValue::Number(2.0), None).is_err());
        assert!(boolean.encode(FeatureValue::Text("maybe"), None).is_err());
    }
}
