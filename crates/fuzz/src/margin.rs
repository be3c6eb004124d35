//! What holds for every margin that its check accepts.

use retain_core::FeatureSchema;
use retain_score::{Engine, Explanation, Kernel, MarginModel, ModelError, NodeKind, Tree};

use super::rows::probing;

/// Rounding, as a share of the size of what is added up.
const TOLERANCE: f64 = 1e-9;
/// Leaves that are far smaller are 0 to the engine, whose unit has its limits.
const SMALLEST: f64 = 1e-280;
/// Sums beyond lose too much to be compared.
const MODERATE: f64 = 1e100;
/// Rows of a batch: more than are scored together.
const N_BATCH: usize = 260;
/// Numbers of a batch: a file may have very many features.
const MAX_NUMBERS: usize = 200_000;

/// Compiles a margin for every kernel and compares what they say of the same rows.
///
/// # Errors
/// Why the margin is refused, by every kernel alike.
pub(crate) fn check(margin: &MarginModel, schema: &FeatureSchema) -> Result<(), ModelError> {
    let compiled = Engine::with_kernel(margin, schema, Kernel::Best);
    let portable = Engine::with_kernel(margin, schema, Kernel::Portable);
    let (best, portable) = match (compiled, portable) {
        (Ok(best), Ok(portable)) => (best, portable),
        (best, portable) => {
            let errors = [best, portable].map(|engine| engine.err().map(|error| error.to_string()));
            assert_eq!(errors[0], errors[1], "a kernel refuses what another takes");
            return margin.check(schema);
        }
    };
    let rows = probing(schema, [margin]);
    let alone: Vec<f64> = rows.iter().map(|row| best.margin(row)).collect();
    for (row, &found) in rows.iter().zip(&alone) {
        assert!(!found.is_nan(), "the margin of {row:?} is no number");
        assert_eq!(found.to_bits(), portable.margin(row).to_bits(), "kernels differ at {row:?}");
        let size = size_of(margin, row);
        let plain = margin.margin(row);
        assert!(is_near(found, plain, size), "{found} compiled, {plain} plain at {row:?}");
        let explained = best.explain(row);
        check_sum(&explained, found, size, row);
        same_explanation(&explained, &portable.explain(row), row);
    }
    let n_batch = N_BATCH.min(MAX_NUMBERS / schema.n_features()).max(rows.len());
    let values: Vec<f64> = rows.iter().cycle().take(n_batch).flatten().copied().collect();
    for engine in [&best, &portable] {
        let mut batch = Vec::new();
        engine.margins(&values, &mut batch);
        assert_eq!(batch.len(), n_batch);
        for (position, (found, alone)) in batch.iter().zip(alone.iter().cycle()).enumerate() {
            assert_eq!(found.to_bits(), alone.to_bits(), "row {position} of a batch is not what it is alone");
        }
    }
    Ok(())
}

/// Contributions and base add up to the margin.
pub(crate) fn check_sum(explained: &Explanation, margin: f64, size: f64, row: &[f64]) {
    assert_eq!(explained.margin.to_bits(), margin.to_bits(), "another margin when explained");
    let sizes: f64 = explained.contributions.iter().map(|contribution| contribution.abs()).sum();
    let sum = explained.base_margin + explained.contributions.iter().sum::<f64>();
    let size = size + sizes + explained.base_margin.abs();
    assert!(is_near(sum, margin, size), "contributions add up to {sum}, not to {margin} at {row:?}: {explained:?}");
}

/// Sums that are not moderate are near each other by definition.
pub(crate) fn is_near(a: f64, b: f64, size: f64) -> bool {
    size.is_nan() || size >= MODERATE || (a - b).abs() <= TOLERANCE * size
}

/// The size of what a row's margin is added up from.
pub(crate) fn size_of(margin: &MarginModel, row: &[f64]) -> f64 {
    let terms = margin.terms.iter().map(|term| term.shape.value(row[term.feature_idx as usize]).abs() + term.mean.abs());
    SMALLEST + margin.intercept.abs() + terms.sum::<f64>() + margin.trees.iter().map(largest_leaf).sum::<f64>()
}

fn largest_leaf(tree: &Tree) -> f64 {
    let value = |kind: &NodeKind| if let NodeKind::Leaf { value } = kind { value.abs() } else { 0.0 };
    tree.nodes.iter().map(|node| value(&node.kind)).fold(0.0, f64::max)
}

fn same_explanation(a: &Explanation, b: &Explanation, row: &[f64]) {
    let bits = |explained: &Explanation| -> Vec<u64> {
        let all = explained.contributions.iter().chain([&explained.margin, &explained.base_margin]);
        // Every NaN is one: which of them an operation gives is not defined.
        all.map(|number| if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() }).collect()
    };
    assert_eq!(bits(a), bits(b), "kernels explain {row:?} differently: {a:?} and {b:?}");
}
