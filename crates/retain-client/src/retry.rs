//! Whether a call that failed is made again, and when.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Longest wait that a server may ask for; a longer one is for the caller to plan.
const MAX_HINT: Duration = Duration::from_mins(1);
/// Retries that may be made before any call was answered, and the most that are saved up.
const RESERVE: u64 = 100;
/// The budget counts thousandths of retries.
const UNIT: u64 = 1_000;

/// Whether a call may be executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Twice is the same as once.
    Repeatable,
    /// It changes something that others may have changed again since.
    Once,
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// No server executed it.
    NoServer,
    /// Perhaps: the connection was lost.
    Unknown,
    /// A server answered.
    Server,
}

/// What to do after an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays failed.
    Final,
    /// Again, not before this time has passed.
    Again(Duration),
}

/// What came of an attempt: transport errors carry their cause, answers of servers do not.
pub(crate) fn reached(status: &Status) -> Reached {
    let mut cause = status.source();
    if cause.is_none() {
        return Reached::Server;
    }
    while let Some(error) = cause {
        let is_canceled = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if error.is::<tonic::ConnectError>() || is_canceled || error.downcast_ref::<h2::Error>().is_some_and(was_not_taken) {
            return Reached::NoServer;
        }
        cause = error.source();
    }
    Reached::Unknown
}

/// A server that goes away names the last stream that it takes; the others learn of it in this way, as do those that it refuses.
fn was_not_taken(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Decides by what came of an attempt. `elsewhere` says whether another server is left to ask: what a server says of when to come
/// back because it is stopping or has no models, it says of itself.
pub(crate) fn judge(status: &Status, effect: Effect, elsewhere: bool) -> Verdict {
    let hint = || status.get_details_retry_info().and_then(|info| info.retry_delay);
    match (reached(status), effect, status.code()) {
        (Reached::NoServer, _, _) | (Reached::Unknown, Effect::Repeatable, _) => Verdict::Again(Duration::ZERO),
        (Reached::Server, Effect::Repeatable, Code::Unavailable) if elsewhere => Verdict::Again(Duration::ZERO),
        (Reached::Server, Effect::Repeatable, Code::Unavailable) => again_after(hint().unwrap_or_default()),
        (Reached::Server, Effect::Repeatable, Code::ResourceExhausted) => hint().map_or(Verdict::Final, again_after),
        // Refused before anything of it was read.
        (Reached::Server, Effect::Once, Code::ResourceExhausted) if is_too_many(status) => {
            hint().map_or(Verdict::Final, again_after)
        }
        _ => Verdict::Final,
    }
}

fn again_after(hint: Duration) -> Verdict {
    if hint > MAX_HINT { Verdict::Final } else { Verdict::Again(hint) }
}

fn is_too_many(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.domain == "retain" && info.reason == "TOO_MANY_IN_FLIGHT")
}

/// A failed attempt as the caller is told of it: a connection that was lost is `UNAVAILABLE`, whatever the transport calls it.
pub(crate) fn told(status: Status) -> Status {
    if reached(&status) == Reached::Server || status.code() == Code::Unavailable {
        return status;
    }
    let mut cause: &dyn StdError = &status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Status::unavailable(format!("the connection was lost: {cause}"))
}

/// How long to wait, and how often to try.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Attempts of one call, the first included.
    pub(crate) max_attempts: u32,
    /// Longest pause before the second attempt; it doubles with each one.
    pub(crate) base: Duration,
    /// Longest pause of all.
    pub(crate) max: Duration,
}

impl Backoff {
    /// A pause before the attempt after this many; at random, from 0 up.
    pub(crate) fn pause(&self, attempts: u32, random: &Random) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        doubled.min(self.max).mul_f64(random.share())
    }
}

/// Chance, from one seed.
#[derive(Debug)]
pub(crate) struct Random(Mutex<Xoshiro256PlusPlus>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }

    /// From 0 up to 1, without it.
    pub(crate) fn share(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Below `n`, which is above 0.
    pub(crate) fn below(&self, n: usize) -> usize {
        ((self.share() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Any number.
    pub(crate) fn number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// Retries that may still be made: each costs one, each answered call brings back a share of one.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    per_answer: u64,
}

impl Budget {
    /// `share` of all calls may be retries, and some more at the beginning.
    pub(crate) fn new(share: f64) -> Self {
        Self { left: AtomicU64::new(RESERVE * UNIT), per_answer: (share * UNIT as f64) as u64 }
    }

    /// A call was answered.
    pub(crate) fn deposit(&self) {
        // Nothing is deposited most of the time: the reserve is full.
        if self.left.load(Ordering::Relaxed) < RESERVE * UNIT {
            let more = |left: u64| Some((left + self.per_answer).min(RESERVE * UNIT));
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    /// Pays for a retry, where there is something left.
    pub(crate) fn withdraw(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(UNIT)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    fn with_hint(code: Code, reason: &str, hint: Duration) -> Status {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(hint)).set_error_info(reason, "retain", std::collections::HashMap::new());
        Status::with_error_details(code, "x", details)
    }

    #[test]
    fn only_the_codes_that_allow_it_are_tried_again() {
        for code in (0..17).map(Code::from_i32).filter(|code| !matches!(code, Code::Unavailable)) {
            assert_eq!(judge(&Status::new(code, "x"), Effect::Repeatable, true), Verdict::Final, "{code:?}");
        }
        assert_eq!(judge(&Status::unavailable("x"), Effect::Repeatable, false), Verdict::Again(Duration::ZERO));
        for status in [Status::unavailable("x"), Status::resource_exhausted("x"), with_hint(Code::Unavailable, "STOPPING", SOON)]
        {
            assert_eq!(judge(&status, Effect::Once, true), Verdict::Final);
        }
    }

    #[test]
    fn the_time_that_a_server_asks_for_is_kept() {
        let full = with_hint(Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT", SOON);
        assert_eq!(judge(&full, Effect::Repeatable, true), Verdict::Again(SOON));
        assert_eq!(judge(&full, Effect::Once, true), Verdict::Again(SOON));
        let stopping = with_hint(Code::Unavailable, "STOPPING", SOON);
        assert_eq!(judge(&stopping, Effect::Repeatable, false), Verdict::Again(SOON));
        assert_eq!(judge(&stopping, Effect::Repeatable, true), Verdict::Again(Duration::ZERO));
        let tomorrow = with_hint(Code::ResourceExhausted, "QUOTA", Duration::from_hours(24));
        assert_eq!(judge(&tomorrow, Effect::Repeatable, true), Verdict::Final);
    }

    #[test]
    fn pauses_grow_and_stay_below_the_longest() {
        let backoff = Backoff { max_attempts: 4, base: Duration::from_millis(20), max: Duration::from_millis(100) };
        let random = Random::new(7);
        let longest = |attempts| (0..2_000).map(|_| backoff.pause(attempts, &random)).max().unwrap().as_secs_f64() * 1e3;
        for (attempts, limit) in [(1, 20.0), (2, 40.0), (3, 80.0), (4, 100.0), (40, 100.0)] {
            assert!((limit * 0.9..=limit).contains(&longest(attempts)), "{attempts}");
        }
        let shortest = (0..2_000).map(|_| backoff.pause(3, &random)).min().unwrap();
        assert!(shortest < Duration::from_millis(4), "{shortest:?}");
    }

    #[test]
    fn the_budget_is_a_share_of_the_answered_calls() {
        let budget = Budget::new(0.2);
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 100);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 10);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 100);
    }
}
