//! The one thread that writes. What waits in its queue becomes one transaction (group commit): one sync of the disk for all,
//! and only then their answers. While the disk syncs, the next group gathers, so nobody waits for a timer.
//!
//! A group that fails for a reason that may be one record's is done again record by record. A connection that is lost before the
//! commit leaves nothing behind; one that is lost during the commit leaves a doubt, so the group is done again over a new one: what had
//! been kept is then known by its id or key and not doubled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Connection;
use crate::error::StoreError;
use crate::link::Link;
use crate::pending::no_answer;
use crate::queue::Queue;
use crate::rules::{Done, Known, Named, Request};

/// Bytes after which a group is large enough, about.
const GROUP_BYTES: usize = 8 << 20;
/// How often a group is begun that other writers get in the way of.
const MOST_ATTEMPTS: u32 = 5;

/// Between attempts to settle a doubt, also where connecting works and the rest does not.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A request and who waits for it.
pub(crate) struct Write {
    pub(crate) request: Request,
    pub(crate) reply: Box<dyn FnOnce(Result<Done, StoreError>) + Send>,
    /// When nobody waits any more.
    pub(crate) deadline: Instant,
}

pub(crate) struct Writer {
    pub(crate) link: Link,
    pub(crate) queue: Arc<Queue<Write>>,
    pub(crate) group_len: usize,
    pub(crate) late_ms: i64,
    pub(crate) timeout: Duration,
}

type Answers = Vec<Result<Done, StoreError>>;

/// Why a group was not done.
struct Failure {
    error: StoreError,
    /// Whether it may have been done nevertheless.
    is_in_doubt: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { error, is_in_doubt: false }
    }
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(taken) = self.queue.take(self.group_len, GROUP_BYTES) {
            let now = Instant::now();
            let (awaited, expired): (Vec<_>, Vec<_>) = taken.into_iter().partition(|write| write.deadline > now);
            reply_all(expired, &no_answer(self.timeout));
            // A removal would pull decisions away from under the reports beside it.
            let (removals, records): (Vec<_>, Vec<_>) =
                awaited.into_iter().partition(|write| matches!(write.request, Request::Remove { .. }));
            if !records.is_empty() {
                self.process(records);
            }
            removals.into_iter().for_each(|removal| self.process(vec![removal]));
        }
    }

    fn process(&mut self, group: Vec<Write>) {
        match self.attempt(&group) {
            Ok(answers) => reply_each(group, answers),
            Err(Failure { is_in_doubt: true, .. }) => self.resolve(group),
            Err(Failure { error, .. }) if error.may_be_one_records() && group.len() > 1 => {
                group.into_iter().for_each(|write| self.process(vec![write]));
            }
            Err(Failure { error, .. }) => reply_all(group, &error),
        }
    }

    /// Does a group whose commit is in doubt again as soon as there is a connection. Others are refused meanwhile.
    fn resolve(&mut self, group: Vec<Write>) {
        let until = group.iter().map(|write| write.deadline).max().unwrap_or_else(Instant::now);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return reply_all(group, &no_answer(self.timeout));
            }
            std::thread::sleep(self.link.pause().max(SHORTEST_PAUSE).min(left));
            match self.attempt(&group) {
                Ok(answers) => return reply_each(group, answers),
                Err(Failure { error, .. }) if error.is_unavailable() => reply_all(self.queue.drain(), &error),
                // Looking again found that it had not been kept, so this is the answer.
                Err(_) => return self.process(group),
            }
        }
    }

    /// Does a group; again at once where the connection turns out to be lost or other writers get in the way.
    fn attempt(&mut self, group: &[Write]) -> Result<Answers, Failure> {
        let deadline = group.iter().map(|write| write.deadline).min();
        let (mut n_attempts, mut is_in_doubt) = (0, false);
        loop {
            let was_connected = self.link.is_connected();
            let late_ms = self.late_ms;
            let failure =
                match self.link.connection().map_err(Failure::from).and_then(|connection| run(connection, group, late_ms)) {
                    Ok(answers) => return Ok(answers),
                    Err(failure) => failure,
                };
            self.link.note(&failure.error);
            is_in_doubt |= failure.is_in_doubt;
            n_attempts += 1;
            let may_help = match failure.error {
                StoreError::Unavailable { .. } => was_connected,
                StoreError::Locked { .. } => deadline.is_none_or(|deadline| Instant::now() < deadline),
                _ => false,
            };
            if !may_help || n_attempts >= MOST_ATTEMPTS {
                return Err(Failure { is_in_doubt: is_in_doubt && failure.error.is_unavailable(), ..failure });
            }
        }
    }
}

/// Does a group in one transaction.
fn run(connection: &mut dyn Connection, group: &[Write], late_ms: i64) -> Result<Answers, Failure> {
    connection.begin()?;
    let answers = match write(connection, group, late_ms) {
        Ok(answers) => answers,
        Err(error) => {
            connection.rollback();
            return Err(error.into());
        }
    };
    connection.commit().map_err(|error| {
        connection.rollback();
        Failure { is_in_doubt: error.is_unavailable(), error }
    })?;
    Ok(answers)
}

fn write(connection: &mut dyn Connection, group: &[Write], late_ms: i64) -> Result<Answers, StoreError> {
    if let [Write { request: Request::Remove { closed_before_ms, limit }, .. }] = group {
        return Ok(vec![connection.remove(*closed_before_ms, *limit).map(Done::Removed)]);
    }
    let named = Named::by(group.iter().map(|write| &write.request));
    let mut known = load(connection, &named, late_ms)?;
    let answers = group.iter().map(|write| known.apply(&write.request)).collect();
    connection.insert(&known.into_new())?;
    Ok(answers)
}

fn load(connection: &mut dyn Connection, named: &Named, late_ms: i64) -> Result<Known, StoreError> {
    let mut known = Known::new(late_ms);
    if !named.recorded.is_empty() {
        connection.decisions(&named.recorded)?.into_iter().for_each(|decision| known.add_decision(Arc::new(decision)));
    }
    if !named.reported.is_empty() {
        connection.lock_windows(&named.reported)?.into_iter().for_each(|window| known.add_window(window));
        connection.outcomes(&named.reported)?.into_iter().for_each(|outcome| known.add_outcome(Arc::new(outcome)));
        connection.overrides(&named.reported)?.into_iter().for_each(|overriding| known.add_override(Arc::new(overriding)));
    }
    Ok(known)
}

fn reply_each(group: Vec<Write>, answers: Answers) {
    group.into_iter().zip(answers).for_each(|(write, answer)| (write.reply)(answer));
}

fn reply_all(group: Vec<Write>, error: &StoreError) {
    group.into_iter().for_each(|write| (write.reply)(Err(error.clone())));
}
