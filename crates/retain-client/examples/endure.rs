//! Does a server answer every call while models are swapped under it, or while servers stop and start? What does it do when it is asked
//! for three times what it can?
//!
//! `endure swaps RETAIN MODELS NAME N` points NAME's champion N times at its versions 1 and 2 in turn, under load, and says how latencies
//! compare with those before. `endure stops RETAIN MODELS NAME N` runs two servers, and stops (SIGTERM) and starts one after the other, N
//! times. RETAIN is the binary, MODELS a folder of published models that it may change. Every answer is checked: a version gives a
//! request the same margin each time. The last line says how many calls failed; one is too many.
//!
//! `endure overload RETAIN MODELS NAME SECONDS` measures how many batches a second the server answers at most, sends three times as many
//! for so long, without trying again, and says how many were answered, how soon the others were refused, what memory the server took,
//! and how soon it answered as before.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot go on should stop")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retain_client::v1::feature_column::Values;
use retain_client::v1::feature_value::Value;
use retain_client::v1::{FeatureColumn, NumberColumn, PredictBatchRequest, TextColumn};
use retain_client::v1::{FeatureKind, FeatureValue, GetModelResponse, PredictRequest, SetAliasRequest};
use retain_client::{Client, Health};
use tonic::Code;

const N_CALLERS: usize = 16;
const N_REQUESTS: usize = 256;
const QUIET: Duration = Duration::from_secs(10);
/// Rows of a batch: enough that answering takes much longer than refusing.
const BATCH_ROWS: usize = 2_000;
/// What is asked for, in parts of what can be answered.
const OVERLOAD: f64 = 3.0;

/// A server of its own process, on a port that stays the same.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(retain: &PathBuf, models: &PathBuf, address: &str) -> Self {
        let mut command = Command::new(retain);
        command.args(["--format", "json", "--quiet", "serve", "--listen", address, "--models"]).arg(models);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        // What it says when it listens.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("\"listen\":\"").unwrap_or_else(|| panic!("no server: {line}"));
        let address = rest.split('"').next().unwrap().to_owned();
        Self { child, address }
    }

    /// Memory that the process has, in MiB.
    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "the server did not end well");
    }
}

/// Calls all the time, and notes what came.
struct Load {
    client: Client,
    requests: Vec<PredictRequest>,
    /// The margin that a version gives a request.
    margins: Mutex<HashMap<(usize, u32), u64>>,
    latencies: Mutex<Vec<Duration>>,
    n_failed: AtomicU64,
    ends: AtomicBool,
}

impl Load {
    fn begin(client: &Client, requests: Vec<PredictRequest>) -> Arc<Self> {
        let load = Arc::new(Self {
            client: client.clone(),
            requests,
            margins: Mutex::default(),
            latencies: Mutex::default(),
            n_failed: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        });
        for caller in 0..N_CALLERS {
            tokio::spawn(load.clone().call_on(caller));
        }
        load
    }

    async fn call_on(self: Arc<Self>, caller: usize) {
        let mut position = caller * 17;
        while !self.ends.load(Ordering::Relaxed) {
            position = (position + 1) % self.requests.len();
            let began = Instant::now();
            match self.client.predict(&self.requests[position]).await {
                Ok(answer) => {
                    let prediction = &answer.predictions[0];
                    let key = (position, prediction.model.as_ref().unwrap().version);
                    let margin = *self.margins.lock().unwrap().entry(key).or_insert(prediction.margin.to_bits());
                    assert_eq!(margin, prediction.margin.to_bits(), "version {} answered with another's margin", key.1);
                    self.latencies.lock().unwrap().push(began.elapsed());
                }
                Err(error) => {
                    eprintln!("{error}: {:?}", error.failure().map(retain_client::Failure::code));
                    self.n_failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// What was measured since the last time: calls, median, 99.9th percentile.
    fn told(&self, what: &str) -> f64 {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap());
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        println!("{what}: {} calls, p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs", latencies.len(), at(0.5), at(0.99), at(0.999));
        at(0.999)
    }
}

/// Requests with other values each, of the kinds and within the ranges that the model names.
fn requests(name: &str, model: &GetModelResponse) -> Vec<PredictRequest> {
    let request = |position: usize| {
        let features = model.features.iter().enumerate().filter_map(|(at, feature)| {
            let draw = (position * 31 + at * 17) % 97;
            let value = match feature.kind() {
                FeatureKind::Number => {
                    let (min, max) = (feature.min.unwrap_or(0.0), feature.max.unwrap_or(1.0));
                    Value::Number(min + (max - min) * draw as f64 / 96.0)
                }
                FeatureKind::Boolean => Value::Boolean(draw.is_multiple_of(2)),
                FeatureKind::Category => Value::Text(feature.categories[draw % feature.categories.len()].clone()),
                FeatureKind::Date | FeatureKind::Unspecified => return None,
            };
            Some((feature.name.clone(), FeatureValue { value: Some(value) }))
        });
        let (customer_id, models) = (format!("c-{position}"), vec![name.to_owned()]);
        PredictRequest { customer_id, features: features.collect(), models, ..PredictRequest::default() }
    };
    (0..N_REQUESTS).map(request).collect()
}

async fn client(addresses: &[&str]) -> Client {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    Client::builder(addresses).deadline(Duration::from_secs(10)).connect().await.unwrap()
}

async fn swaps(retain: &PathBuf, models: &PathBuf, name: &str, n: usize) -> u64 {
    let mut server = Server::start(retain, models, "127.0.0.1:0");
    let client = client(&[&server.address]).await;
    let load = Load::begin(&client, requests(name, &client.get_model(name).await.unwrap()));
    tokio::time::sleep(QUIET).await;
    let before = load.told("without swaps");
    for swap in 0..n {
        let version = swap as u32 % 2 + 1;
        let request = SetAliasRequest { name: name.to_owned(), alias: "champion".to_owned(), version };
        client.set_alias(&request).await.unwrap();
    }
    let after = load.told(&format!("{n} swaps"));
    println!("p99.9 with swaps ÷ without: {:.2}", after / before);
    load.ends.store(true, Ordering::Relaxed);
    let versions: std::collections::BTreeSet<u32> = load.margins.lock().unwrap().keys().map(|(_, version)| *version).collect();
    println!("versions that answered: {versions:?}");
    server.stop();
    load.n_failed.load(Ordering::Relaxed)
}

async fn stops(retain: &PathBuf, models: &PathBuf, name: &str, n: usize) -> u64 {
    let mut servers = [Server::start(retain, models, "127.0.0.1:0"), Server::start(retain, models, "127.0.0.1:0")];
    let client = client(&[&servers[0].address, &servers[1].address]).await;
    let load = Load::begin(&client, requests(name, &client.get_model(name).await.unwrap()));
    tokio::time::sleep(QUIET).await;
    load.told("without stops");
    for stop in 0..n {
        let server = &mut servers[stop % 2];
        let address = server.address.clone();
        // Waiting for a process would hold up the callers of this thread.
        tokio::task::block_in_place(|| {
            server.stop();
            *server = Server::start(retain, models, &address);
        });
        while client.health().iter().any(|server| server.health != Health::Serving) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    load.told(&format!("{n} stops"));
    load.ends.store(true, Ordering::Relaxed);
    println!("attempts made again: {}", client.n_retries());
    servers.iter_mut().for_each(Server::stop);
    load.n_failed.load(Ordering::Relaxed)
}

/// A batch of the requests' values, column by column.
fn batch(name: &str, requests: &[PredictRequest]) -> PredictBatchRequest {
    let of_row = |row: usize| &requests[row % requests.len()].features;
    let column = |feature: &String| {
        let value = |row| of_row(row)[feature].value.clone().unwrap();
        let text = |row| if let Value::Text(text) = value(row) { text } else { String::new() };
        let number = |row| if let Value::Number(number) = value(row) { number } else { f64::NAN };
        let values = if matches!(value(0), Value::Text(_)) {
            Values::Texts(TextColumn { values: (0..BATCH_ROWS).map(text).collect() })
        } else {
            Values::Numbers(NumberColumn { values: (0..BATCH_ROWS).map(number).collect() })
        };
        FeatureColumn { name: feature.clone(), values: Some(values), ..FeatureColumn::default() }
    };
    PredictBatchRequest {
        customer_ids: (0..BATCH_ROWS).map(|row| format!("c-{row}")).collect(),
        columns: of_row(0).keys().map(column).collect(),
        models: vec![name.to_owned()],
        ..PredictBatchRequest::default()
    }
}

/// What came of calls.
#[derive(Default)]
struct Outcomes {
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    n_failed: u64,
}

impl Outcomes {
    fn add(&mut self, taken: Duration, code: Option<Code>) {
        match code {
            None => self.answered.push(taken),
            Some(Code::ResourceExhausted) => self.refused.push(taken),
            Some(code) => {
                eprintln!("{code:?}");
                self.n_failed += 1;
            }
        }
    }
}

fn at(share: f64, sorted: &[Duration]) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3)
}

async fn timed(client: &Client, batch: &PredictBatchRequest) -> (Duration, Option<Code>) {
    let began = Instant::now();
    let code =
        client.predict_batch(batch).await.err().map(|error| error.failure().map_or(Code::Unknown, retain_client::Failure::code));
    (began.elapsed(), code)
}

/// Batches a second with four callers, as many as the server works on or keeps waiting.
async fn most(client: &Client, batch: &Arc<PredictBatchRequest>) -> f64 {
    let until = Instant::now() + QUIET;
    let callers = (0..4).map(|_| {
        let (client, batch) = (client.clone(), batch.clone());
        tokio::spawn(async move {
            let mut n = 0_u32;
            while Instant::now() < until {
                n += u32::from(timed(&client, &batch).await.1.is_none());
            }
            n
        })
    });
    let mut n = 0;
    for caller in callers.collect::<Vec<_>>() {
        n += caller.await.unwrap();
    }
    f64::from(n) / QUIET.as_secs_f64()
}

async fn overload(retain: &PathBuf, models: &PathBuf, name: &str, seconds: usize) -> u64 {
    let mut server = Server::start(retain, models, "127.0.0.1:0");
    let address = [format!("http://{}", server.address)];
    let client = Client::builder(address).deadline(Duration::from_secs(10)).max_attempts(1).connect().await.unwrap();
    let batch = Arc::new(batch(name, &requests(name, &client.get_model(name).await.unwrap())));
    let most = most(&client, &batch).await;
    let before_mib = server.resident_mib();
    println!("at most {most:.0} batches/s of {BATCH_ROWS} rows; memory {before_mib:.0} MiB");
    let outcomes = Arc::new(Mutex::new(Outcomes::default()));
    let (began, mut most_mib) = (Instant::now(), before_mib);
    let mut calls = Vec::new();
    for call in 0..(most * OVERLOAD * seconds as f64) as u64 {
        tokio::time::sleep_until((began + Duration::from_secs_f64(call as f64 / (most * OVERLOAD))).into()).await;
        let (client, batch, outcomes) = (client.clone(), batch.clone(), outcomes.clone());
        calls.push(tokio::spawn(async move {
            let (taken, code) = timed(&client, &batch).await;
            outcomes.lock().unwrap().add(taken, code);
        }));
        if call % 500 == 0 {
            most_mib = most_mib.max(server.resident_mib());
        }
    }
    let lasted = began.elapsed().as_secs_f64();
    let ended = Instant::now();
    let recovered = loop {
        if timed(&client, &batch).await.1.is_none() {
            break ended.elapsed();
        }
    };
    for call in calls {
        call.await.unwrap();
    }
    let again = self::most(&client, &batch).await;
    let mut outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    outcomes.answered.sort_unstable();
    outcomes.refused.sort_unstable();
    let goodput = outcomes.answered.len() as f64 / lasted;
    println!("asked for {:.0}/s over {lasted:.0} s: answered {goodput:.0}/s, {:.2} of the most", most * OVERLOAD, goodput / most);
    println!("answered in p50 {:.1} ms, p99 {:.1} ms", at(0.5, &outcomes.answered), at(0.99, &outcomes.answered));
    println!(
        "refused {}: p50 {:.2} ms, p99 {:.2} ms",
        outcomes.refused.len(),
        at(0.5, &outcomes.refused),
        at(0.99, &outcomes.refused)
    );
    println!("memory at most {most_mib:.0} MiB, {:.0} at the end", server.resident_mib());
    println!("answered again after {:.0} ms; {again:.0} batches/s afterwards", recovered.as_secs_f64() * 1e3);
    server.stop();
    outcomes.n_failed
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, retain, models, name, n] = &arguments[..] else { panic!("endure swaps|stops|overload RETAIN MODELS NAME N") };
    let (retain, models, n) = (PathBuf::from(retain), PathBuf::from(models), n.parse().unwrap());
    let n_failed = match mode.as_str() {
        "swaps" => swaps(&retain, &models, name, n).await,
        "stops" => stops(&retain, &models, name, n).await,
        "overload" => overload(&retain, &models, name, n).await,
        other => panic!("there is no `{other}`"),
    };
    println!("failed calls: {n_failed}");
    assert_eq!(n_failed, 0);
}
