//! The scoring path in process: one row, many rows, explanations, and encoding from raw values.
//!
//! Every measurement walks through all customers of the shipped Telco table: one row again and again would teach the branch
//! predictor the answer. The model is the published champion.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, FeatureValue, Rows};
use retain_data::{RowReader, TableSource};
use retain_score::{Engine, Kernel, MarginModel, Node, NodeKind, Registry, Scorer, Test, Tree};

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
                scorer.predict_rows(black_box(parts[next.next().unwrap()].values()), &mut predictions);
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

/// Features of the random forests.
const N_FEATURES: usize = 30;

/// A tree whose next split is that of the leaf with the largest random share of rows, as leaf-wise boosting grows; where `depth` is
/// given, so many questions stand below each other first, and no path is longer.
fn random_tree(n_leaves: usize, depth: Option<usize>, rng: &mut Xoshiro256PlusPlus) -> Tree {
    let leaf =
        |cover: f64, rng: &mut Xoshiro256PlusPlus| Node { cover, kind: NodeKind::Leaf { value: rng.random_range(-0.1..0.1) } };
    let mut nodes = vec![leaf(1.0, rng)];
    // Position and depth of each leaf.
    let mut leaves = vec![(0, 0)];
    for n_splits in 0..n_leaves - 1 {
        let gain = |&(position, level): &(usize, usize), rng: &mut Xoshiro256PlusPlus| match depth {
            Some(depth) if level >= depth => 0.0,
            Some(depth) if n_splits < depth => level as f64,
            _ => nodes[position].cover * rng.random_range(0.1..1.0),
        };
        let gains: Vec<f64> = leaves.iter().map(|leaf| gain(leaf, rng)).collect();
        let best = (0..leaves.len()).max_by(|&a, &b| gains[a].total_cmp(&gains[b])).unwrap();
        let (position, level) = leaves.swap_remove(best);
        let (cover, share, left) = (nodes[position].cover, rng.random_range(0.1..0.9), nodes.len());
        nodes.extend([leaf(cover * share, rng), leaf(cover * (1.0 - share), rng)]);
        nodes[position].kind = NodeKind::Split {
            feature_idx: rng.random_range(0..N_FEATURES) as u32,
            test: Test::Below(rng.random_range(0.0..1.0)),
            missing_left: rng.random_bool(0.5),
            left: left as u32,
            right: left as u32 + 1,
        };
        leaves.extend([(left, level + 1), (left + 1, level + 1)]);
    }
    Tree { nodes }
}

fn random_schema() -> FeatureSchema {
    let features = (0..N_FEATURES).map(|position| FeatureSpec::new(&format!("f{position}"), ColumnKind::Number)).collect();
    FeatureSchema::new(features, None, "churned".to_owned(), "yes".to_owned(), None).unwrap()
}

/// Rows one after another; one value in fifty is missing.
fn random_rows(n_rows: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    (0..n_rows * N_FEATURES).map(|_| if rng.random_bool(0.02) { f64::NAN } else { rng.random_range(0.0..1.0) }).collect()
}

fn random_forest(n_trees: usize, depth: Option<usize>, rng: &mut Xoshiro256PlusPlus) -> MarginModel {
    MarginModel { trees: (0..n_trees).map(|_| random_tree(31, depth, rng)).collect(), ..MarginModel::default() }
}

/// Every kernel, which all give the same bits.
fn kernels(criterion: &mut Criterion) {
    let schema = random_schema();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let values = random_rows(10_000, &mut rng);
    for n_trees in [100, 500] {
        let forest = random_forest(n_trees, None, &mut rng);
        let mut expected = Vec::new();
        for (name, kernel) in [("portable", Kernel::Portable), ("avx2", Kernel::Avx2), ("best", Kernel::Best)] {
            let engine = Engine::with_kernel(&forest, &schema, kernel).unwrap();
            let mut margins = Vec::new();
            engine.margins(&values, &mut margins);
            expected = if expected.is_empty() { margins.clone() } else { expected };
            assert_eq!(margins, expected);
            let mut group = criterion.benchmark_group(format!("score/forest/{n_trees}x31/{name}"));
            let mut next = values.chunks_exact(N_FEATURES).cycle();
            group.throughput(Throughput::Elements(1));
            group.bench_function("single", |bencher| bencher.iter(|| engine.margin(black_box(next.next().unwrap()))));
            group.throughput(Throughput::Elements(expected.len() as u64));
            group.bench_function("batch/10000", |bencher| {
                bencher.iter(|| {
                    engine.margins(black_box(&values), &mut margins);
                    margins.last().copied()
                });
            });
        }
    }
}

fn explain_forests(criterion: &mut Criterion) {
    let schema = random_schema();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let values = random_rows(1_000, &mut rng);
    let mut group = criterion.benchmark_group("explain/forest");
    for (name, n_trees, depth) in [("100x31", 100, None), ("500x31", 500, None), ("100x31,depth=20", 100, Some(20))] {
        let engine = Engine::new(&random_forest(n_trees, depth, &mut rng), &schema).unwrap();
        let mut next = values.chunks_exact(N_FEATURES).cycle();
        group.bench_function(name, |bencher| bencher.iter(|| engine.explain(black_box(next.next().unwrap()))));
    }
}

criterion_group!(benches, single, encode, batch, explain, kernels, explain_forests);
criterion_main!(benches);
