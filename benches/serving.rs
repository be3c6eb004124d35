//! The server over a real socket on loopback: one client, one call at a time, and several at once.
//!
//! Requests rotate over all customers of the shipped Telco table; every answer's status is checked. Beside the plain call stands the
//! health check, the emptiest call there is: what is left is the price of the transport.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use retain_core::Day;
use retain_data::{RowReader, TableSource};
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_proto::v1::{FeatureValue, PredictRequest, feature_value};
use retain_score::{Registry, Scorer};
use retain_server::{Config, RunningServer, Server};
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every customer of the table as a request with typed values.
fn requests(top_k_reasons: u32) -> Vec<PredictRequest> {
    let registry = Registry::new(&root().join("models"));
    let scorer = Scorer::open(&registry.resolve(&"telco-churn@champion".parse().unwrap()).unwrap()).unwrap();
    let schema = scorer.schema();
    let table = TableSource::open(&root().join("crates/retain-cli/data/telco_churn.csv")).unwrap();
    let mut requests = Vec::new();
    for batch in RowReader::open(&table, schema, None).unwrap() {
        let batch = batch.unwrap();
        for (customer_id, row) in batch.entity.iter().zip(batch.rows.in_order()) {
            let present = schema.features.iter().zip(row).filter(|(_, value)| !value.is_nan());
            let features = present.map(|(feature, &value)| {
                let value = match feature.kind {
                    retain_core::ColumnKind::Category => feature_value::Value::Text(feature.display(value)),
                    retain_core::ColumnKind::Boolean => feature_value::Value::Boolean(value != 0.0),
                    _ => feature_value::Value::Number(value),
                };
                (feature.name.clone(), FeatureValue { value: Some(value) })
            });
            requests.push(PredictRequest {
                customer_id: customer_id.into_owned(),
                features: features.collect(),
                top_k_reasons,
                ..PredictRequest::default()
            });
        }
    }
    requests
}

async fn start() -> (RunningServer, Channel) {
    let mut config = Config::new(&root().join("models"), || Day::from_days(20_000.0));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(config).await.unwrap().spawn().await;
    let channel =
        Channel::from_shared(format!("http://{}", server.local_addr())).unwrap().tcp_nodelay(true).connect().await.unwrap();
    (server, channel)
}

/// Times `n_calls` calls spread over `n_clients` tasks on one connection each.
async fn timed(channels: &[Channel], requests: &[PredictRequest], n_calls: u64, offset: usize) -> Duration {
    let started = Instant::now();
    let n_clients = channels.len() as u64;
    let mut tasks = Vec::new();
    for (position, channel) in channels.iter().enumerate() {
        let share = n_calls / n_clients + u64::from((position as u64) < n_calls % n_clients);
        let first = offset + position * 977;
        let mine: Vec<PredictRequest> =
            (0..share as usize).map(|call| requests[(first + call) % requests.len()].clone()).collect();
        let mut client = PredictionServiceClient::new(channel.clone());
        tasks.push(async move {
            for request in mine {
                let answer = client.predict(request).await.unwrap();
                assert_eq!(answer.get_ref().predictions.len(), 1);
            }
        });
    }
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

fn predict(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (server, channel) = runtime.block_on(start());
    let mut group = criterion.benchmark_group("server");
    group.throughput(Throughput::Elements(1));
    group.bench_function("health", |bencher| {
        let mut client = HealthClient::new(channel.clone());
        bencher.iter(|| runtime.block_on(client.check(HealthCheckRequest { service: String::new() })).unwrap());
    });
    for (name, top_k_reasons) in [("predict", 0), ("predict_with_5_reasons", 5)] {
        let requests = requests(top_k_reasons);
        let mut offset = 0;
        for n_clients in [1, 16] {
            let address = format!("http://{}", server.local_addr());
            let connect = || async { Channel::from_shared(address.clone()).unwrap().tcp_nodelay(true).connect().await.unwrap() };
            let channels: Vec<Channel> = (0..n_clients).map(|_| runtime.block_on(connect())).collect();
            group.bench_function(BenchmarkId::new(name, format!("clients={n_clients}")), |bencher| {
                bencher.iter_custom(|n_calls| {
                    offset += 1_009;
                    runtime.block_on(timed(&channels, &requests, n_calls, offset))
                });
            });
        }
    }
    group.finish();
    drop(channel);
    runtime.block_on(server.stop()).unwrap();
}

criterion_group!(benches, predict);
criterion_main!(benches);
