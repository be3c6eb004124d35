//! The thread that writes the log: gathers predictions by version, and begins the next file when one is full or old.
//!
//! What cannot be written is dropped and counted, and told once; the next try waits a little longer each time. A disk that has room
//! again is found by the next try.

use std::io::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::part::{Part, remove_abandoned};
use super::rows::Row;
use super::{LogCounts, Predicted, Settings};
use crate::models::LiveModel;

/// Files that grow at once, one for each version that answers; beyond that the oldest is completed.
const MAX_PARTS: usize = 32;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Writer {
    settings: Settings,
    counts: Arc<LogCounts>,
    parts: Vec<Part>,
    trouble: Option<Trouble>,
}

struct Trouble {
    wait: Duration,
    next_try: Instant,
}

impl Writer {
    pub(super) fn new(settings: Settings, counts: Arc<LogCounts>) -> Self {
        Self { settings, counts, parts: Vec::new(), trouble: None }
    }

    /// Tidies the folder up.
    pub(super) fn begin_folder(&self) {
        remove_abandoned(&self.settings.folder);
    }

    /// Writes predictions of one version.
    pub(super) fn write(&mut self, predicted: Predicted) {
        let Predicted { model, alias, day, request_id, rows } = predicted;
        let time = (day.days() * 86_400e6).round() as i64;
        let request_id = request_id.as_deref();
        rows.each(|customer_id, values, prediction| {
            self.push(&model, &Row { time, request_id, customer_id, alias, prediction, values });
        });
    }

    fn push(&mut self, model: &Arc<LiveModel>, row: &Row<'_>) {
        if self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.next_try) {
            return self.counts.dropped.add(1);
        }
        let mut part = match self.parts.iter().position(|part| part.is_of(model)) {
            Some(position) => self.parts.swap_remove(position),
            None => match self.begin(model, row.time) {
                Ok(part) => part,
                Err(error) => return self.fail(1, &error),
            },
        };
        match part.push(row, self.parts.len() + 1) {
            Err(error) => self.fail(part.n_rows(), &error),
            Ok(()) if part.is_due(&self.settings) => self.finish(part),
            Ok(()) => self.parts.push(part),
        }
    }

    fn begin(&mut self, model: &Arc<LiveModel>, time: i64) -> Result<Part, Error> {
        if self.parts.len() >= MAX_PARTS
            && let Some((oldest, _)) = self.parts.iter().enumerate().min_by_key(|(_, part)| part.began())
        {
            let oldest = self.parts.swap_remove(oldest);
            self.finish(oldest);
        }
        Part::begin(&self.settings.folder, model, time)
    }

    /// Completes files that have become old.
    pub(super) fn finish_due(&mut self) {
        let settings = &self.settings;
        let due: Vec<Part> = self.parts.extract_if(.., |part| part.is_due(settings)).collect();
        for part in due {
            self.finish(part);
        }
    }

    /// Completes all files.
    pub(super) fn finish_all(&mut self) {
        for part in std::mem::take(&mut self.parts) {
            self.finish(part);
        }
    }

    fn finish(&mut self, part: Part) {
        let n_rows = part.n_rows();
        match part.finish() {
            Ok(()) => {
                self.counts.written.add(n_rows);
                if self.trouble.take().is_some() {
                    tracing::info!("the prediction log is written again");
                }
            }
            Err(error) => self.fail(n_rows, &error),
        }
    }

    fn fail(&mut self, n_lost: u64, error: &Error) {
        self.counts.dropped.add(n_lost);
        if self.trouble.is_none() {
            let folder = self.settings.folder.display();
            tracing::error!(%folder, reason = %error, "the prediction log cannot be written; predictions go on");
        }
        let wait = self.trouble.as_ref().map_or(FIRST_WAIT, |trouble| (trouble.wait * 2).min(LONGEST_WAIT));
        self.trouble = Some(Trouble { wait, next_try: Instant::now() + wait });
    }
}
