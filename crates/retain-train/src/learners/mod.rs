//! The three learners that stand on a package each, compiled into the scorer's own parts so that the packages end at training.
//!
//! | name | package | what it becomes |
//! |---|---|---|
//! | `logistic` | linfa-logistic | one [`Term`](retain_score::Term) per feature |
//! | `tree` | linfa-trees, as a split finder | one tree that a person can read |
//! | `forest` | smartcore | a hundred trees |
//!
//! Of amounts `logistic` becomes `linear`, a ridge regression of our own on the same columns.
//!
//! What each package cannot do, and what is done instead, stands at the top of its file. Boosting is our own and lives in
//! [`crate::boosting`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop"))]

mod design_matrix;
mod forest;
mod linear;
mod logistic;
pub(crate) mod rows;
mod split_columns;
mod term_columns;
mod tree;

pub use forest::Forest;
pub use linear::Linear;
pub use logistic::Logistic;
pub use tree::ReadableTree;

use std::sync::Arc;

use retain_core::FeatureSchema;

use crate::learner::Learner;

/// The names of the learners of this module, simplest first.
pub const NAMES: [&str; 3] = ["logistic", "tree", "forest"];

/// The learner of this name: `logistic`, `tree` or `forest`.
pub fn by_name(name: &str) -> Option<Arc<dyn Learner + Send>> {
    match name {
        "logistic" => Some(Arc::new(Logistic)),
        "tree" => Some(Arc::new(ReadableTree)),
        "forest" => Some(Arc::new(Forest)),
        _ => None,
    }
}

/// Whether a learner of this module keeps the directions asked for in [`FeatureSpec::monotone`](retain_core::FeatureSpec).
///
/// The logistic regression does. Neither linfa-trees nor smartcore can be told of a direction, so `tree` and `forest` should
/// not be offered for a table that asks for one.
pub fn supports_monotone(name: &str) -> bool {
    name == "logistic"
}

/// Columns that the linear learners make of a schema, at most; their work on a row grows with the square.
pub(crate) fn most_columns(schema: &FeatureSchema) -> usize {
    design_matrix::DesignMatrix::most_columns(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::{FitContext, FitError, Loss};

    #[test]
    fn every_name_finds_a_learner_of_that_name() {
        for name in NAMES {
            assert_eq!(by_name(name).unwrap().name(), name);
        }
        assert!(by_name("oracle").is_none());
    }

    #[test]
    fn every_model_passes_the_scorers_gate_and_answers_odd_rows() {
        let table = rows::tests::example(600, 40);
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        for learner in NAMES.map(|name| by_name(name).unwrap()) {
            let configurations = learner.configurations(&table, Loss::Logistic);
            let models = learner.fit(&table, &(0..600).collect::<Vec<_>>(), &configurations, &context).unwrap();
            assert_eq!(models.len(), configurations.len());
            for model in models {
                model.check(&table.schema).unwrap();
                for row in [[f64::NAN; 4], [1e308, -1e308, 3.0, 1.0], [-1e308, 1e308, 0.0, 0.0]] {
                    assert!(model.margin(&row).is_finite());
                }
            }
        }
    }

    #[test]
    fn no_time_weights_and_one_class_are_errors() {
        let mut table = rows::tests::example(200, 41);
        let row_idxs: Vec<usize> = (0..200).collect();
        for learner in NAMES.map(|name| by_name(name).unwrap()) {
            let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: Some(std::time::Instant::now()), gap_days: None };
            let late = learner.fit(&table, &row_idxs, &learner.configurations(&table, Loss::Logistic), &context);
            assert!(matches!(late, Err(FitError::OutOfTime)), "{}", learner.name());
        }
        table.weight = Some(vec![1.0; 200]);
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        for learner in NAMES.map(|name| by_name(name).unwrap()) {
            let fitted = learner.fit(&table, &row_idxs, &learner.configurations(&table, Loss::Logistic), &context);
            assert!(matches!(fitted, Err(FitError::WeightsUnsupported { learner: name }) if name == learner.name()));
            assert!(!learner.supports_weights());
        }
        table.weight = None;
        table.target.fill(0.0);
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        for learner in NAMES.map(|name| by_name(name).unwrap()) {
            let fitted = learner.fit(&table, &row_idxs, &learner.configurations(&table, Loss::Logistic), &context);
            assert!(matches!(fitted, Err(FitError::OneClass { n_rows: 200, n_positives: 0 })));
        }
    }
}
