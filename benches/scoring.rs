//! The scoring path in process: one row, many rows, explanations, and encoding from raw values.
//!
//! Every measurement walks through all customers of the shipped Telco table: one row again and again would teach the branch
//! predictor the answer. The model is the published champion.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use retain_core::{FeatureValue, Rows};
use retain_data::{RowReader, TableSource};
use retain_score::{Registry, Scorer};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn champion() -> Scorer {
    let registry = Registry::new(&root().join("models"));
    Scorer::open(&registry.resolve(&"telco-churn@champion".parse().unwrap()).unwrap()).unwrap()
}

fn telco(scorer: &Scorer) -> Rows {
    let table = TableSource::open(&root().join("crates/retain-cli/data/telco_churn.csv")).unwrap();
    let mut rows = scorer.schema().rows();
    for batch in RowReader::open(&table, scorer.schema(), None).unwrap() {
        batch.unwrap().rows.in_order().for_each(|row| rows.push(row));
    }
    rows
}

fn single(criterion: &mut Criterion) {
    let scorer = champion();
    let rows = telco(&scorer);
    let mut group = criterion.benchmark_group("score");
    group.throughput(Throughput::Elements(1));
    let mut next = (0..rows.n_rows()).cycle();
    group.bench_function("single", |bencher| {
        bencher.iter(|| scorer.predict(black_box(rows.row(next.next().unwrap()))));
    });
}

fn encode(criterion: &mut Criterion) {
    let scorer = champion();
    let schema = scorer.schema();
    let rows = telco(&scorer);
    let texts: Vec<Vec<String>> = rows
        .in_order()
        .map(|row| schema.features.iter().zip(row).map(|(feature, &value)| text_of(feature, value)).collect())
        .collect();
    let mut encoded = vec![0.0; schema.n_features()];
    let mut next = (0..texts.len()).cycle();
    criterion.bench_function("score/single_from_text", |bencher| {
        bencher.iter(|| {
            let values = texts[next.next().unwrap()].iter().map(|text| FeatureValue::Text(text));
            schema.encode_row(values, None, &mut encoded, |_, _| ()).unwrap();
            scorer.predict(black_box(&encoded))
        });
    });
}

fn text_of(feature: &retain_core::FeatureSpec, value: f64) -> String {
    if value.is_nan() { String::new() } else { feature.display(value) }
}

fn batch(criterion: &mut Criterion) {
    let scorer = champion();
    let rows = telco(&scorer);
    let mut group = criterion.benchmark_group("score/batch");
    for size in [64, 1_000, 7_000] {
        let n_features = rows.n_features();
        let parts: Vec<Rows> = rows
            .values()
            .chunks_exact(size * n_features)
            .map(|part| Rows::from_values(n_features, part.to_vec()).unwrap())
            .collect();
        let mut predictions = Vec::new();
        let mut next = (0..parts.len()).cycle();
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                scorer.predict_rows(black_box(&parts[next.next().unwrap()]), &mut predictions);
                predictions.last().copied()
            });
        });
    }
}

fn explain(criterion: &mut Criterion) {
    let scorer = champion();
    let rows = telco(&scorer);
    let mut next = (0..rows.n_rows()).cycle();
    criterion.bench_function("explain/single", |bencher| {
        bencher.iter(|| scorer.explain(black_box(rows.row(next.next().unwrap()))));
    });
}

criterion_group!(benches, single, encode, batch, explain);
criterion_main!(benches);
