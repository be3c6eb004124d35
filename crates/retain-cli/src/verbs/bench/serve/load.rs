//! Three ways to call a server: one call after another, as many as it can take, and when they are due.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child::{Running, own_cpu_time};
use super::client::{Caller, Exchange};
use super::requests::arrivals;
use crate::verbs::bench::quantile;

/// Part of a measurement that comes before it and is not counted.
const WARM_UP: f64 = 0.2;
/// Nothing that is measured takes as much longer; a server that hangs should not hang the bench.
const PATIENCE: Duration = Duration::from_mins(1);
/// The clock of the runtime counts milliseconds: closer moments are waited for awake.
const AWAKE: Duration = Duration::from_millis(3);

/// A server, and what is asked of it.
pub(super) struct Target {
    server: Arc<Running>,
    exchange: Arc<Exchange>,
}

/// How long answers took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What a server can take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saturation {
    /// Answers a second.
    pub(super) rps: f64,
    /// Processor time of the server per answer, in microseconds.
    pub(super) cpu_us: Option<f64>,
    /// Processors that the server kept busy.
    pub(super) busy: Option<f64>,
    /// Processors that the client kept busy meanwhile.
    pub(super) client_busy: Option<f64>,
}

/// Connections, and calls in flight over each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
}

impl Latency {
    fn of(mut micros: Vec<f64>) -> Self {
        micros.sort_unstable_by(f64::total_cmp);
        Self { p50_us: quantile(&micros, 0.5), p99_us: quantile(&micros, 0.99) }
    }
}

impl Target {
    pub(super) fn new(server: Arc<Running>, exchange: Exchange) -> Self {
        Self { server, exchange: Arc::new(exchange) }
    }

    async fn connect(&self, n_connections: usize) -> Result<Vec<Caller>> {
        let mut callers = Vec::with_capacity(n_connections);
        for _ in 0..n_connections {
            callers.push(Caller::connect(self.server.address, &self.exchange).await?);
        }
        Ok(callers)
    }

    /// One call at a time over one connection.
    pub(super) async fn one_stream(&self, length: Duration) -> Result<Latency> {
        within(length, async {
            let caller = Caller::connect(self.server.address, &self.exchange).await?;
            let start = Instant::now();
            let (counted_from, end) = (start + length.mul_f64(WARM_UP), start + length.mul_f64(1.0 + WARM_UP));
            let mut micros = Vec::new();
            for number in 0.. {
                let sent = Instant::now();
                if sent >= end && !micros.is_empty() {
                    break;
                }
                caller.call(&self.exchange, number).await?;
                if sent >= counted_from {
                    micros.push(sent.elapsed().as_nanos() as f64 / 1e3);
                }
            }
            Ok(Latency::of(micros))
        })
        .await
    }

    /// Everybody in the crowd calls again as soon as there is an answer.
    pub(super) async fn saturate(&self, crowd: Crowd, length: Duration) -> Result<Saturation> {
        within(length, async {
            let counts = Arc::new(Counts::default());
            let mut calls = JoinSet::new();
            for caller in self.connect(crowd.connections).await? {
                for _ in 0..crowd.in_flight {
                    calls.spawn(call_until_stopped(caller.clone(), self.exchange.clone(), counts.clone()));
                }
            }
            let measured = tokio::select! {
                measured = self.count(&counts, length) => measured,
                // Calls end before they are told to only by an error.
                Some(ended) = calls.join_next() => ended?.and_then(|()| bail!("a caller stopped before its time")),
            }?;
            counts.stop.store(true, Ordering::Relaxed);
            while let Some(ended) = calls.join_next().await {
                ended??;
            }
            Ok(measured)
        })
        .await
    }

    async fn count(&self, counts: &Counts, length: Duration) -> Result<Saturation> {
        tokio::time::sleep(length.mul_f64(WARM_UP)).await;
        let look = || {
            let cpu = self.server.cpu_time().zip(own_cpu_time());
            (Instant::now(), counts.answered.load(Ordering::Relaxed), cpu)
        };
        let (start, before, cpu_before) = look();
        let (end, after, cpu_after) = loop {
            tokio::time::sleep(length).await;
            let seen = look();
            // A batch may take longer than a short measurement.
            if seen.1 > before {
                break seen;
            }
        };
        let (seconds, n_answers) = ((end - start).as_secs_f64(), (after - before) as f64);
        let spent = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64();
        let cpu = cpu_after.zip(cpu_before);
        let cpu = cpu.map(|((server, own), (server_before, own_before))| (spent(server, server_before), spent(own, own_before)));
        Ok(Saturation {
            rps: n_answers / seconds,
            cpu_us: cpu.map(|(server, _)| server * 1e6 / n_answers.max(1.0)),
            busy: cpu.map(|(server, _)| server / seconds),
            client_busy: cpu.map(|(_, own)| own / seconds),
        })
    }

    /// Calls when they are due, whether or not others have been answered; each takes from the moment it was due to its answer.
    pub(super) async fn open_loop(&self, rate: f64, n_connections: usize, length: Duration, seed: u64) -> Result<Latency> {
        within(length, async {
            let callers = self.connect(n_connections).await?;
            let moments = arrivals(rate, length.as_secs_f64() * (1.0 + WARM_UP), seed);
            let micros = Arc::new(Mutex::new(Vec::with_capacity(moments.len())));
            let warm_up = length.mul_f64(WARM_UP);
            let mut calls = JoinSet::new();
            let start = Instant::now();
            for (number, moment) in moments.into_iter().enumerate() {
                let after = Duration::from_secs_f64(moment);
                wait_until(start + after).await;
                let (caller, exchange, micros) = (callers[number % n_connections].clone(), self.exchange.clone(), micros.clone());
                calls.spawn(async move {
                    caller.call(&exchange, number).await?;
                    if after >= warm_up {
                        let took = start.elapsed().saturating_sub(after).as_nanos() as f64 / 1e3;
                        micros.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    }
                    anyhow::Ok(())
                });
                while let Some(ended) = calls.try_join_next() {
                    ended??;
                }
            }
            while let Some(ended) = calls.join_next().await {
                ended??;
            }
            let micros = std::mem::take(&mut *micros.lock().unwrap_or_else(PoisonError::into_inner));
            if micros.is_empty() {
                bail!("no call came due; measure longer with `--duration`")
            }
            Ok(Latency::of(micros))
        })
        .await
    }
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicUsize,
    answered: AtomicU64,
}

async fn call_until_stopped(caller: Caller, exchange: Arc<Exchange>, counts: Arc<Counts>) -> Result<()> {
    while !counts.stop.load(Ordering::Relaxed) {
        caller.call(&exchange, counts.sent.fetch_add(1, Ordering::Relaxed)).await?;
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits for a moment to some microseconds.
async fn wait_until(moment: Instant) {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(AWAKE) {
            Some(asleep) => tokio::time::sleep(asleep).await,
            None => tokio::task::yield_now().await,
        }
    }
}

async fn within<T>(length: Duration, measurement: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(length * 2 + PATIENCE, measurement).await.context("the server does not answer any more")?
}
