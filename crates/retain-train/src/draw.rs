//! Draws check rows column by column, so that no check row is a customer's.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, Day, FeatureSpec};
use retain_data::Dataset;
use retain_score::{CheckRow, CheckRows, CheckValue, Model, ModelError, Predictor};

use crate::reference::sorted_present;

const N_ROWS: usize = 32;
/// Chance that a value is left out, and that a category is one nobody has seen.
const RARE: f64 = 0.08;
/// Numbers are drawn from these many quantiles.
const N_QUANTILES: usize = 21;

/// Rows with the answers that `model` gives.
///
/// `observed` is the day the rows are dated at when the schema has dates.
pub(crate) fn draw_check_rows(
    dataset: &Dataset,
    model: &Model,
    observed: Option<Day>,
    seed: u64,
) -> Result<CheckRows, ModelError> {
    let predictor = Predictor::new(model, &dataset.schema)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let quantiles: Vec<Vec<f64>> = dataset.columns.iter().map(|column| quantiles(column)).collect();
    let observed = if dataset.schema.has_dates() { Some(observed.unwrap_or(Day::from_days(0.0))) } else { None };
    let rows = (0..N_ROWS).map(|_| {
        let features = dataset.schema.features.iter().zip(&quantiles);
        let features: BTreeMap<String, CheckValue> = features
            .filter_map(|(feature, quantiles)| Some((feature.name.clone(), draw_value(feature, quantiles, observed, &mut rng)?)))
            .collect();
        let mut row = CheckRow {
            features,
            observed: observed.map(Day::days),
            margin: 0.0,
            probability: 0.0,
            expected_value: None,
            effects: Vec::new(),
        };
        let encoded = row.encode(&dataset.schema).unwrap_or_else(|_| vec![f64::NAN; dataset.n_features()]);
        let prediction = predictor.predict(&encoded);
        (row.margin, row.probability, row.expected_value) =
            (prediction.margin, prediction.probability, prediction.expected_value);
        let effects = predictor.effects(&encoded).unwrap_or_default();
        row.effects = effects.iter().map(|effect| effect.effect).collect();
        row
    });
    Ok(CheckRows { rows: rows.collect() })
}

fn quantiles(column: &[f64]) -> Vec<f64> {
    let sorted = sorted_present(column);
    let last = sorted.len().saturating_sub(1);
    (0..N_QUANTILES).filter_map(|step| sorted.get(step * last / (N_QUANTILES - 1)).copied()).collect()
}

/// A value of this feature's kind; none: missing.
fn draw_value(
    feature: &FeatureSpec,
    quantiles: &[f64],
    observed: Option<Day>,
    rng: &mut Xoshiro256PlusPlus,
) -> Option<CheckValue> {
    if quantiles.is_empty() || rng.random_bool(RARE) {
        return None;
    }
    let number = quantiles[rng.random_range(0..quantiles.len())];
    Some(match feature.kind {
        ColumnKind::Number => CheckValue::Number(number),
        ColumnKind::Boolean => CheckValue::Boolean(number != 0.0),
        ColumnKind::Category if rng.random_bool(RARE) => CheckValue::Text("a category never seen".to_owned()),
        ColumnKind::Category => CheckValue::Text(feature.categories[rng.random_range(0..feature.categories.len())].clone()),
        ColumnKind::Date => CheckValue::Text(Day::from_days((observed?.days() - number).floor()).to_string()),
    })
}
