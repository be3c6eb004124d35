//! The clock, as rules read it: what `--now` says, or what this machine says.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use retain_core::Day;

use crate::exit::Complaint;

const DAY_MS: f64 = 86_400_000.0;

/// When it is.
#[derive(Debug, Args)]
pub(crate) struct ClockArguments {
    /// The moment that rules, dates and windows are counted to, such as 2026-01-31T09:00:00Z [default: the clock]
    #[arg(long, value_name = "RFC3339")]
    now: Option<String>,
}

impl ClockArguments {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn now_ms(&self) -> Result<i64> {
        let Some(text) = &self.now else { return Ok(clock_ms()) };
        let complaint = || Complaint::usage("`--now` is not a moment").hint("write it as `2026-01-31T09:00:00Z`");
        let day = Day::parse(text).map_err(|error| complaint().because(error))?;
        Ok((day.days() * DAY_MS).round() as i64)
    }
}

/// The clock of this machine.
pub(crate) fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
