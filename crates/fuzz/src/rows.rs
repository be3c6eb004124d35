//! Rows that ask a model what it does at its edges.

use retain_core::{ColumnKind, FeatureSchema};
use retain_score::{MarginModel, NodeKind, Test};

/// Most rows, and fewer where the model has very many features or nodes.
const MAX_ROWS: usize = 70;
const MAX_NUMBERS: usize = 20_000;
const MAX_STEPS: usize = 10_000;
/// Most values of one feature.
const MAX_VALUES: usize = 200;

/// Values that no model should stumble over, NaN among them for a missing one.
const SPECIAL: [f64; 12] =
    [f64::NAN, 0.0, 1.0, -1.0, 0.5, -0.0, 1e-35, -1e-40, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY];

/// Rows of a schema, with the numbers and categories that these margins ask about and those beside them.
pub(crate) fn probing<'a>(schema: &FeatureSchema, margins: impl IntoIterator<Item = &'a MarginModel>) -> Vec<Vec<f64>> {
    let n_special = (10 * MAX_NUMBERS / schema.n_features()).clamp(1, SPECIAL.len());
    let mut values: Vec<Vec<f64>> = schema.features.iter().map(|_| SPECIAL[..n_special].to_vec()).collect();
    for (feature, values) in schema.features.iter().zip(&mut values) {
        if feature.kind == ColumnKind::Category {
            let n_categories = feature.categories.len();
            // An unseen category has the position behind the last.
            let positions = (0..n_categories).take(66).chain([n_categories.saturating_sub(1), n_categories]);
            *values = std::iter::once(f64::NAN).chain(positions.map(|position| position as f64)).collect();
        }
    }
    let mut n_nodes = 1;
    for node in margins.into_iter().flat_map(|margin| &margin.trees).flat_map(|tree| &tree.nodes) {
        n_nodes += 1;
        let NodeKind::Split { feature_idx, test, .. } = &node.kind else { continue };
        // A hazard's margins read one number more.
        let Some(values) = values.get_mut(*feature_idx as usize).filter(|values| values.len() < MAX_VALUES) else { continue };
        match test {
            Test::Below(threshold) if schema.features[*feature_idx as usize].kind != ColumnKind::Category => {
                values.extend([*threshold, threshold.next_down(), threshold.next_up()]);
            }
            Test::Below(_) => {}
            Test::OneOf(set) => values.extend(set.iter().take(8).map(|&category| f64::from(category))),
        }
    }
    let most = values.iter().map(Vec::len).max().unwrap_or(0);
    let n_rows = (MAX_NUMBERS / values.len().max(1)).min(MAX_STEPS / n_nodes).clamp(3, MAX_ROWS).min(2 * most);
    // Features go through their values in different steps, so that rows do not repeat the same pairs.
    let pick = |row: usize, feature: usize| {
        let values = &values[feature];
        values[(row * (2 * feature + 1) + row / values.len()) % values.len()]
    };
    (0..n_rows).map(|row| (0..values.len()).map(|feature| pick(row, feature)).collect()).collect()
}
