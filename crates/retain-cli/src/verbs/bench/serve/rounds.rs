//! The measurements of both servers in turn.

use std::time::Duration;

use anyhow::Result;
use retain_core::Rows;
use retain_score::Scorer;

use super::load::{Crowd, Latency, Saturation, Target};
use super::requests::Customers;
use crate::verbs::bench::{measure, quantile};

/// Shares of what both servers can take at which calls come when they are due.
pub(super) const OPEN_LOOP_SHARES: [f64; 2] = [0.5, 0.8];
/// Crowds that are tried; the one of most answers a second saturates. All fit into what the server takes at once.
const CROWDS: [Crowd; 4] = [
    Crowd { connections: 1, in_flight: 64 },
    Crowd { connections: 2, in_flight: 32 },
    Crowd { connections: 4, in_flight: 16 },
    Crowd { connections: 4, in_flight: 64 },
];
/// Part of a measurement that a trial of a crowd takes.
const TRIAL: f64 = 0.3;
/// Connections of the calls that come when they are due: all their streams together are as many calls as the server takes.
const OPEN_LOOP_CONNECTIONS: usize = 4;
/// Batches under way: one is scored while the next is on its way.
const BATCHES: Crowd = Crowd { connections: 1, in_flight: 2 };
/// Decisions under way: a log on a disk takes those that come together at once.
const DECISIONS: Crowd = Crowd { connections: 4, in_flight: 16 };

/// How long, how often, and with what randomness.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) length: Duration,
    pub(super) n_rounds: u16,
    pub(super) seed: u64,
}

/// The same of both servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<T> {
    pub(super) echo: T,
    pub(super) serve: T,
}

/// What is measured.
pub(super) struct Bench<'a> {
    pub(super) predict: Pair<Target>,
    pub(super) batch: Target,
    /// None where the server has no playbook.
    pub(super) recommend: Option<Target>,
    pub(super) customers: &'a Customers,
    pub(super) scorer: &'a Scorer,
    pub(super) plan: Plan,
}

/// What came of it.
pub(super) struct Outcome {
    /// The crowd that saturates each.
    pub(super) crowds: Pair<Crowd>,
    /// Calls a second in the open loop, one for each of [`OPEN_LOOP_SHARES`].
    pub(super) rates: Vec<f64>,
    pub(super) rounds: Vec<Round>,
}

/// What one round measured.
pub(super) struct Round {
    pub(super) one_stream: Pair<Latency>,
    pub(super) saturation: Pair<Saturation>,
    /// One for each rate.
    pub(super) open_loop: Vec<Pair<Latency>>,
    /// One decision at a time, and decisions a second.
    pub(super) recommend: Option<(Latency, f64)>,
    /// Rows a second over the wire.
    pub(super) batch_rows: f64,
    /// Rows a second of one thread in this process.
    pub(super) engine_rows: f64,
}

impl<T> Pair<T> {
    /// Of one round after the other, what `number` picks of each server.
    pub(super) fn map<U>(&self, number: impl Fn(&T) -> U) -> Pair<U> {
        Pair { echo: number(&self.echo), serve: number(&self.serve) }
    }
}

impl Bench<'_> {
    pub(super) async fn run(&self) -> Result<Outcome> {
        let (echo_crowd, echo_rps) = self.saturating(&self.predict.echo).await?;
        let (serve_crowd, serve_rps) = self.saturating(&self.predict.serve).await?;
        let rates: Vec<f64> = OPEN_LOOP_SHARES.iter().map(|share| share * echo_rps.min(serve_rps)).collect();
        let crowds = Pair { echo: echo_crowd, serve: serve_crowd };
        let mut rounds = Vec::new();
        for number in 0..self.plan.n_rounds {
            rounds.push(self.round(number, crowds, &rates).await?);
        }
        Ok(Outcome { crowds, rates, rounds })
    }

    /// The crowd that gets most answers out of a server, and how many a second.
    async fn saturating(&self, target: &Target) -> Result<(Crowd, f64)> {
        let mut best = (CROWDS[0], 0.0);
        for crowd in CROWDS {
            let rps = target.saturate(crowd, self.plan.length.mul_f64(TRIAL)).await?.rps;
            if rps > best.1 {
                best = (crowd, rps);
            }
        }
        Ok(best)
    }

    async fn round(&self, number: u16, crowds: Pair<Crowd>, rates: &[f64]) -> Result<Round> {
        let Self { predict: Pair { echo, serve }, plan, .. } = self;
        let length = plan.length;
        let turn = Turn { serve_first: !number.is_multiple_of(2) };
        let one_stream = turn.take(echo.one_stream(length), serve.one_stream(length)).await?;
        let saturation = turn.take(echo.saturate(crowds.echo, length), serve.saturate(crowds.serve, length)).await?;
        let mut open_loop = Vec::new();
        for &rate in rates {
            let seed = plan.seed.wrapping_add(u64::from(number));
            let of = |target| Target::open_loop(target, rate, OPEN_LOOP_CONNECTIONS, length, seed);
            open_loop.push(turn.take(of(echo), of(serve)).await?);
        }
        let recommend = match &self.recommend {
            Some(target) => Some((target.one_stream(length).await?, target.saturate(DECISIONS, length).await?.rps)),
            None => None,
        };
        let n_rows = self.customers.encoded.n_rows() as f64;
        let batch_rows = self.batch.saturate(BATCHES, length).await?.rps * n_rows;
        Ok(Round {
            one_stream,
            saturation,
            open_loop,
            recommend,
            batch_rows,
            engine_rows: engine_rows(self.scorer, &self.customers.encoded),
        })
    }
}

/// Rows a second of the engine alone.
fn engine_rows(scorer: &Scorer, rows: &Rows) -> f64 {
    let mut predictions = Vec::with_capacity(rows.n_rows());
    let timing = measure(rows.n_rows(), |_| {
        scorer.predict_rows(rows.values(), &mut predictions);
        predictions.len()
    });
    1e9 / timing.median_ns
}

/// Who goes first; it changes from round to round.
#[derive(Clone, Copy)]
struct Turn {
    serve_first: bool,
}

impl Turn {
    async fn take<T>(self, echo: impl Future<Output = Result<T>>, serve: impl Future<Output = Result<T>>) -> Result<Pair<T>> {
        if self.serve_first {
            let serve = serve.await?;
            return Ok(Pair { echo: echo.await?, serve });
        }
        Ok(Pair { echo: echo.await?, serve: serve.await? })
    }
}

/// The middle value; of an even number of them the lower of the two in the middle. NaN where there is none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { quantile(&values, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0, 2.0, 3.0])), (2.0, 2.0));
        assert!(median([]).is_nan());
    }
}
