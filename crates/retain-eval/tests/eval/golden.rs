use std::collections::BTreeMap;

use retain_eval::{BootstrapOptions, Labelled, Metric, evaluate};
use serde::Deserialize;

use crate::simulate::row_numbers;

/// Both sides add the same numbers in another order; recalibration and clipped logarithms lose a digit more.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Table {
    name: String,
    target: Vec<f64>,
    probability: Vec<f64>,
    metrics: BTreeMap<String, Option<f64>>,
}

fn tables() -> Vec<Table> {
    serde_json::from_str(include_str!("../golden/metrics.json")).unwrap()
}

impl Table {
    fn labelled(&self) -> Labelled {
        Labelled::new(&self.target, &self.probability, &row_numbers(self.target.len())).unwrap()
    }
}

#[test]
fn every_metric_equals_scikit_learn() {
    for table in tables() {
        assert_eq!(table.metrics.len(), Metric::ALL.len(), "{}", table.name);
        for (name, expected) in &table.metrics {
            let found = Metric::parse(name).unwrap().measure(&table.labelled());
            let equal = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(equal, "{}: {name} is {found:?}, scikit-learn has {expected:?}", table.name);
        }
    }
}

#[test]
fn an_evaluation_has_the_values_of_single_metrics() {
    let options = BootstrapOptions { resamples: 100, ..BootstrapOptions::default() };
    for table in tables() {
        let evaluation = evaluate(&table.labelled(), &Metric::ALL, &options);
        for measured in &evaluation.metrics {
            assert_eq!(Some(measured.value.to_bits()), measured.metric.measure(&table.labelled()).map(f64::to_bits));
            assert!(measured.low <= measured.high && measured.standard_error >= 0.0, "{}: {measured:?}", table.name);
        }
    }
}
