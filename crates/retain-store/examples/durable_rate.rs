//! How many decisions a second the log keeps durably, and how long a call takes, with 1, 16 and 64 callers.
//!
//! ```text
//! cargo run --release -p retain-store --example durable_rate -- /path/to/decisions.sqlite 1000000
//! cargo run --release -p retain-store --example durable_rate -- postgresql://user:password@host/database 1000000
//! ```
//!
//! The second argument is how many decisions the log is filled up to before anything is measured; the default is none.

use std::time::{Duration, Instant};

use retain_core::{Decision, DecisionId};
use retain_store::{Store, StoreConfig, StoreError};

/// When the first decision is made.
const START_MS: i64 = 1_750_000_000_000;
/// Decisions of the filling and of the measuring are of so many customers.
const N_CUSTOMERS: u64 = 200_000;
/// How long each number of callers is measured.
const MEASURED: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().ok_or("usage: durable_rate FILE|ADDRESS [DECISIONS]")?;
    let n_before = arguments.next().map_or(Ok(0), |number| number.parse::<u64>())?;
    let config = if place.contains("://") { StoreConfig::postgres(place.parse()?) } else { StoreConfig::sqlite(place) };
    let store = Store::open(&config)?;
    let mut next = fill(&store, n_before)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for n_callers in [1, 16, 64] {
        next = runtime.block_on(measure_writes(&store, n_callers, next))?;
        runtime.block_on(measure_reads(&store, n_callers, next))?;
    }
    Ok(())
}

/// Fills the log up and gives the number of the next decision.
fn fill(store: &Store, n_wanted: u64) -> Result<u64, StoreError> {
    let n_there = store.counts().wait()?.decisions;
    for first in (n_there..n_wanted).step_by(2_000) {
        store.record_decisions((first..(first + 2_000).min(n_wanted)).map(decision).collect()).wait()?;
    }
    println!("{} decisions in the log", n_wanted.max(n_there));
    Ok(n_wanted.max(n_there))
}

async fn measure_writes(store: &Store, n_callers: u64, first: u64) -> Result<u64, StoreError> {
    let began = Instant::now();
    let callers: Vec<_> = (0..n_callers)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for number in (first + caller..).step_by(n_callers as usize).take_while(|_| began.elapsed() < MEASURED) {
                    let given = decision(number);
                    let asked = Instant::now();
                    store.record_decision(given).await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, StoreError>(took)
            })
        })
        .collect();
    let took = print_rate("record_decision", n_callers, began, callers).await?;
    // No caller was so much faster than the others.
    Ok(first + took * 2 + 1_000)
}

async fn measure_reads(store: &Store, n_callers: u64, n_known: u64) -> Result<(), StoreError> {
    let began = Instant::now();
    let callers: Vec<_> = (0..n_callers)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for number in (caller..).step_by(n_callers as usize).take_while(|_| began.elapsed() < MEASURED / 4) {
                    let customer_id = decision(number.wrapping_mul(7_919) % n_known).customer_id;
                    let asked = Instant::now();
                    store.history(&customer_id, 0).await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, StoreError>(took)
            })
        })
        .collect();
    print_rate("history", n_callers, began, callers).await.map(drop)
}

type Caller = tokio::task::JoinHandle<Result<Vec<Duration>, StoreError>>;

async fn print_rate(call: &str, n_callers: u64, began: Instant, callers: Vec<Caller>) -> Result<u64, StoreError> {
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.map_err(|_| StoreError::Closed)??);
    }
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0, Duration::as_micros);
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("{call:16} {n_callers:3} callers: {rate:8.0}/s, p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs");
    Ok(took.len() as u64)
}

/// About 2 KB, as a decision of some twenty features and five candidates has.
fn decision(number: u64) -> Decision {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let decided_at_ms = START_MS + number as i64;
    let feature = |at: u64| format!(r#""feature_{at}":{}"#, number.wrapping_mul(at) % 1_000);
    let features: Vec<_> = (0..20).map(feature).collect();
    let candidate = r#"{"action":"discount_10","eligible":true,"rules":["tenure > 3","!overdue"],"effect":0.031,"value":12.5,"probability":0.2}"#;
    Decision {
        id: DecisionId::new(decided_at_ms, random),
        customer_id: format!("customer-{}", number.wrapping_mul(2_654_435_761) % N_CUSTOMERS),
        decided_at_ms,
        playbook: "telco".to_owned(),
        playbook_sha256: "0123456789abcdef".repeat(4),
        action: "discount_10".to_owned(),
        channel: Some("email".to_owned()),
        propensity: 0.2,
        holdout: number.is_multiple_of(20),
        expected_value: 12.5,
        cost: 1.5,
        currency: "EUR".to_owned(),
        window_closes_at_ms: decided_at_ms + 30 * 86_400_000,
        context: format!("{{{}}}", features.join(",")),
        candidates: format!("[{}]", [candidate; 10].join(",")),
    }
}
