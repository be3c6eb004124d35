//! How a column writes its dates: settled over all rows, so that no row is read in another way than its neighbours.

use retain_core::{Day, FeatureValue};

use super::error::TransactionError;
use crate::cells::Cells;
use crate::task::shorten;

/// A way of writing dates. A time of day may follow; it is dropped, except that an offset from UTC counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateFormat {
    /// `2026-01-31`, and the timestamps and dates of Parquet.
    Iso,
    /// `20260131`.
    Compact,
    /// `2026/01/31`, also with points.
    YearFirst,
    /// `31/01/2026`, also with points or hyphens.
    DayFirst,
    /// `01/31/2026`, also with points or hyphens.
    MonthFirst,
}

impl DateFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Iso, Self::Compact, Self::YearFirst, Self::DayFirst, Self::MonthFirst];

    /// As a person would write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iso => "yyyy-mm-dd",
            Self::Compact => "yyyymmdd",
            Self::YearFirst => "yyyy/mm/dd",
            Self::DayFirst => "dd/mm/yyyy",
            Self::MonthFirst => "mm/dd/yyyy",
        }
    }

    /// The day of a text, as whole days since 1970-01-01; none when it is not written so or does not exist.
    pub fn parse(self, text: &str) -> Option<i32> {
        let text = text.trim();
        if self == Self::Iso {
            return whole_day(Day::parse(text).ok()?);
        }
        // The time of day begins at the first blank or `T`.
        let end = text.find([' ', 'T']).unwrap_or(text.len());
        let (date, time) = text.split_at(end);
        if !is_time_of_day(time) {
            return None;
        }
        let (year, month, day) = match self {
            Self::Compact if date.len() == 8 && date.is_ascii() => (&date[..4], &date[4..6], &date[6..]),
            Self::YearFirst => three_parts(date, "/.")?,
            Self::DayFirst => three_parts(date, "/.-").map(|(day, month, year)| (year, month, day))?,
            Self::MonthFirst => three_parts(date, "/.-").map(|(month, day, year)| (year, month, day))?,
            Self::Iso | Self::Compact => return None,
        };
        day_number(year, month, day)
    }

    /// The day of a cell, whatever the column holds.
    pub(super) fn day_of(self, cells: Cells<'_>, row: usize) -> Option<i32> {
        match cells.value(row) {
            FeatureValue::Day(day) => whole_day(day).filter(|_| self == Self::Iso),
            _ => self.parse(&cells.text(row)),
        }
    }
}

fn whole_day(day: Day) -> Option<i32> {
    let days = day.days().floor();
    (days.abs() < f64::from(i32::MAX)).then_some(days as i32)
}

fn is_time_of_day(text: &str) -> bool {
    text.is_empty() || (text[1..].starts_with(|c: char| c.is_ascii_digit()) && text.len() <= 40 && text.contains(':'))
}

/// The three numbers between two equal separators from this list.
fn three_parts<'t>(date: &'t str, separators: &str) -> Option<(&'t str, &'t str, &'t str)> {
    let separator = date.chars().find(|c| separators.contains(*c))?;
    let mut parts = date.split(separator);
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

/// A year of four digits, a month and a day of one or two.
fn day_number(year: &str, month: &str, day: &str) -> Option<i32> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || month.len() > 2 || day.len() > 2 || ![year, month, day].iter().all(|text| digits(text)) {
        return None;
    }
    whole_day(Day::parse(&format!("{year}-{month:0>2}-{day:0>2}")).ok()?)
}

/// The formats that every cell so far is written in.
#[derive(Debug)]
pub(super) struct DateFormats {
    possible: Vec<DateFormat>,
    /// The row and text that ruled a format out, for all that are.
    refuted: Vec<(DateFormat, usize, String)>,
    first: Option<String>,
}

impl DateFormats {
    pub(super) fn new(stated: Option<DateFormat>) -> Self {
        Self { possible: stated.map_or(DateFormat::ALL.to_vec(), |format| vec![format]), refuted: Vec::new(), first: None }
    }

    /// Looks at one cell that is not blank; false when no format is left.
    pub(super) fn see(&mut self, cells: Cells<'_>, row: usize, row_number: usize) -> bool {
        if self.first.is_none() {
            self.first = Some(shorten(&cells.text(row)));
        }
        let refuted = &mut self.refuted;
        self.possible.retain(|format| {
            let fits = format.day_of(cells, row).is_some();
            if !fits {
                refuted.push((*format, row_number, shorten(&cells.text(row))));
            }
            fits
        });
        !self.possible.is_empty()
    }

    /// The one format of the column.
    pub(super) fn settle(&self, column: &str) -> Result<DateFormat, TransactionError> {
        match self.possible[..] {
            [format] => Ok(format),
            [] => Err(self.contradiction(column)),
            _ if self.possible.contains(&DateFormat::Iso) => Ok(DateFormat::Iso),
            _ => Err(TransactionError::AmbiguousDates {
                column: column.to_owned(),
                example: self.first.clone().unwrap_or_default(),
            }),
        }
    }

    /// The rows that ruled out the formats that held longest.
    fn contradiction(&self, column: &str) -> TransactionError {
        let first = self.first.as_deref().unwrap_or_default();
        let mut examples = vec![format!("the first row has `{first}`")];
        let mut rows: Vec<&(DateFormat, usize, String)> = self.refuted.iter().filter(|(_, _, text)| text != first).collect();
        rows.dedup_by_key(|(_, row, _)| *row);
        examples.extend(rows.iter().map(|(_, row, text)| format!("row {row} has `{text}`")));
        let known = if let [(stated, ..)] = self.refuted[..] {
            vec![format!("`{}`", stated.as_str())]
        } else {
            DateFormat::ALL.iter().map(|format| format!("`{}`", format.as_str())).collect()
        };
        TransactionError::MixedDates { column: column.to_owned(), examples: examples.join(", "), known: known.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: DateFormat, text: &str, iso: Option<&str>) {
        let expected = iso.map(|iso| Day::parse(iso).unwrap().days() as i32);
        assert_eq!(format.parse(text), expected, "{text} as {}", format.as_str());
    }

    #[test]
    fn dates_are_read_in_their_format_and_no_other() {
        check(DateFormat::Iso, "1997-01-31 23:59:00", Some("1997-01-31"));
        check(DateFormat::Compact, "19970131", Some("1997-01-31"));
        check(DateFormat::YearFirst, "1997/1/31", Some("1997-01-31"));
        check(DateFormat::DayFirst, "31/01/1997 8:26", Some("1997-01-31"));
        check(DateFormat::MonthFirst, "1.31.1997", Some("1997-01-31"));
        for format in DateFormat::ALL {
            for text in [
                "",
                "1997",
                "31/01/97",
                "31/13/1997",
                "1997-02-30",
                "0/0/0000",
                "٣١/٠١/1997",
                "31/01/1997 soon",
                "//",
                "1/2-1997",
            ] {
                check(format, text, None);
            }
        }
        check(DateFormat::DayFirst, "02/30/1997", None);
        check(DateFormat::Compact, "1997013", None);
    }
}
