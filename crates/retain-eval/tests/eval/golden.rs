use std::collections::BTreeMap;

use retain_eval::{BootstrapOptions, Labelled, Metric, OutcomeKind, evaluate};
use serde::Deserialize;

use crate::simulate::row_numbers;

/// Both sides add the same numbers in another order; recalibration and clipped logarithms lose a digit more.
const TOLERANCE: f64 = 1e-12;

/// The numbers that the scripts wrote for one table.
type Expected = BTreeMap<String, Option<f64>>;

#[derive(Deserialize)]
struct Table {
    name: String,
    target: Vec<f64>,
    probability: Vec<f64>,
    metrics: Expected,
}

#[derive(Deserialize)]
struct ValueTable {
    name: String,
    actual: Vec<f64>,
    expected: Vec<f64>,
    interval: Option<(Vec<f64>, Vec<f64>)>,
    metrics: Expected,
}

#[derive(Deserialize)]
struct SurvivalTable {
    name: String,
    times: Vec<f64>,
    events: Vec<bool>,
    grid_days: Vec<f64>,
    survival: Vec<f64>,
    metrics: Expected,
}

#[derive(Deserialize)]
struct UpliftTable {
    name: String,
    actual: Vec<f64>,
    treated: Vec<bool>,
    effect: Vec<f64>,
    metrics: Expected,
}

/// Every table of the four files: its name, its rows and the numbers it should have.
fn tables() -> Vec<(String, Labelled, Expected)> {
    let binary: Vec<Table> = serde_json::from_str(include_str!("../golden/metrics.json")).unwrap();
    let values: Vec<ValueTable> = serde_json::from_str(include_str!("../golden/values.json")).unwrap();
    let survival: Vec<SurvivalTable> = serde_json::from_str(include_str!("../golden/survival.json")).unwrap();
    let binary = binary.into_iter().map(|table| {
        let rows = Labelled::new(&table.target, &table.probability, &row_numbers(table.target.len()));
        (table.name, rows.unwrap(), table.metrics)
    });
    let values = values.into_iter().map(|table| {
        let interval = table.interval.as_ref().map(|(low, high)| (low.as_slice(), high.as_slice()));
        let rows = Labelled::values(&table.actual, &table.expected, interval, &row_numbers(table.actual.len()));
        (table.name, rows.unwrap(), table.metrics)
    });
    let survival = survival.into_iter().map(|table| {
        let group = row_numbers(table.times.len());
        let rows = Labelled::survival(&table.times, &table.events, &table.grid_days, &table.survival, &group);
        (table.name, rows.unwrap(), table.metrics)
    });
    let uplift: Vec<UpliftTable> = serde_json::from_str(include_str!("../golden/uplift.json")).unwrap();
    let uplift = uplift.into_iter().map(|table| {
        let rows = Labelled::uplift(&table.actual, &table.treated, &table.effect, &row_numbers(table.actual.len()));
        (table.name, rows.unwrap(), table.metrics)
    });
    binary.chain(values).chain(survival).chain(uplift).collect()
}

#[test]
fn every_metric_equals_the_packages() {
    let mut kinds = BTreeMap::new();
    for (name, rows, metrics) in tables() {
        *kinds.entry(rows.kind().name()).or_insert(0) += 1;
        assert_eq!(metrics.len(), Metric::of_kind(rows.kind()).len(), "{name}");
        for (metric, expected) in &metrics {
            let found = Metric::parse(metric).unwrap().measure(&rows);
            let equal = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(equal, "{name}: {metric} is {found:?}, the script has {expected:?}");
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [("binary", 14), ("survival", 7), ("uplift", 9), ("value", 11)]);
}

#[test]
fn an_evaluation_has_the_values_of_single_metrics() {
    let options = BootstrapOptions { resamples: 100, ..BootstrapOptions::default() };
    for (name, rows, _) in tables() {
        let evaluation = evaluate(&rows, Metric::of_kind(rows.kind()), &options);
        assert_eq!(evaluation.kind, rows.kind());
        for measured in &evaluation.metrics {
            assert_eq!(Some(measured.value.to_bits()), measured.metric.measure(&rows).map(f64::to_bits));
            assert!(measured.low <= measured.high && measured.standard_error >= 0.0, "{name}: {measured:?}");
        }
    }
}

#[test]
fn metrics_of_another_kind_are_not_defined() {
    let kinds = [OutcomeKind::Binary, OutcomeKind::Value, OutcomeKind::Survival, OutcomeKind::Uplift];
    for (name, rows, _) in tables() {
        for metric in kinds.into_iter().filter(|kind| *kind != rows.kind()).flat_map(Metric::of_kind) {
            assert_eq!(metric.measure(&rows), None, "{name}: {metric}");
        }
    }
}
