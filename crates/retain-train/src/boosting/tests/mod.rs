//! Behaviour of whole fits: on small tables made here, and (`quality`) on public churn tables where they are at hand.

mod histograms;
mod losses;
mod quality;
mod symmetric;
mod weights;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, Monotone};
use retain_data::Dataset;
use retain_score::{MarginModel, NodeKind, Test, sigmoid};

use super::bins::BinnedTable;
use super::booster::{Booster, Task};
use super::params::BoostingParams;
use super::rounds::inner_splits;
use super::{Boosting, RoundsPlan};
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

const CONTEXT: FitContext = FitContext { loss: Loss::Logistic, seed: 7, deadline: None, gap_days: None };

fn dataset(features: Vec<FeatureSpec>, columns: Vec<Vec<f64>>, target: Vec<f64>) -> Dataset {
    let n_rows = target.len();
    let schema = FeatureSchema::new(features, None, "churned".into(), "1".into(), None).unwrap();
    let entity = (1..=n_rows).map(|row| row.to_string()).collect();
    Dataset {
        schema,
        columns,
        target,
        weight: None,
        duration: None,
        past: None,
        treatment: None,
        propensity: None,
        entity,
        group: (0..n_rows as u32).collect(),
        observed: None,
    }
}

fn number(name: &str) -> FeatureSpec {
    FeatureSpec::new(name, ColumnKind::Number)
}

fn category(name: &str, n_categories: usize) -> FeatureSpec {
    let mut feature = FeatureSpec::new(name, ColumnKind::Category);
    feature.set_categories((0..n_categories).map(|k| format!("{k:05}")).collect());
    feature
}

fn all_rows(dataset: &Dataset) -> Vec<usize> {
    (0..dataset.n_rows()).collect()
}

/// Two numbers with gaps, a category of 12 and one of 3; the label follows all of them.
fn mixed(n_rows: usize, seed: u64) -> Dataset {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); 4];
    let mut target = Vec::new();
    for _ in 0..n_rows {
        let (a, b): (f64, f64) = (rng.random(), rng.random());
        let (city, plan) = (rng.random_range(0..12u32), rng.random_range(0..3u32));
        let a_missing = rng.random::<f64>() < 0.2;
        let margin = 3.0 * (a - 0.5) * f64::from(u8::from(plan == 1)) - 2.0 * b
            + f64::from(city % 3)
            + 1.5 * f64::from(u8::from(a_missing));
        target.push(f64::from(u8::from(rng.random::<f64>() < sigmoid(margin))));
        columns[0].push(if a_missing { f64::NAN } else { a });
        columns[1].push(b);
        columns[2].push(f64::from(city));
        columns[3].push(f64::from(plan));
    }
    dataset(vec![number("a"), number("b"), category("city", 12), category("plan", 3)], columns, target)
}

/// The model of these settings, which the scorer has to accept.
fn fit(dataset: &Dataset, configuration: &[(&'static str, f64)]) -> MarginModel {
    let model = Boosting.fit(dataset, &all_rows(dataset), &[Configuration::new(configuration)], &CONTEXT).unwrap().remove(0);
    model.check(&dataset.schema).unwrap();
    model
}

fn mean_loss(dataset: &Dataset, model: &MarginModel) -> f64 {
    let rows = dataset.all_rows();
    let total: f64 = rows.in_order().zip(&dataset.target).map(|(row, &y)| Loss::Logistic.value(model.margin(row), y)).sum();
    total / dataset.n_rows() as f64
}

#[test]
fn one_tree_on_a_tiny_table_is_the_one_worked_by_hand() {
    // Base rate 1/2: margin 0, gradients ∓1/2, hessians 1/4. Cutting between 2 and 3 leaves two pure leaves of three rows each.
    let table = dataset(vec![number("x")], vec![vec![1.0, 2.0, 1.0, 3.0, 5.0, 4.0]], vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let settings =
        [("rounds", 1.0), ("learning_rate", 1.0), ("leaves", 2.0), ("l2", 0.25), ("min_leaf_rows", 1.0), ("rows", 1.0)];
    let model = fit(&table, &settings);
    assert_eq!((model.intercept, model.trees.len()), (0.0, 1));
    let nodes = &model.trees[0].nodes;
    let covers: Vec<f64> = nodes.iter().map(|node| node.cover).collect();
    assert_eq!(covers, [6.0, 3.0, 3.0]);
    assert!(matches!(&nodes[0].kind, NodeKind::Split { test: Test::Below(t), missing_left: true, .. } if *t == 2.5));
    // −(3 · ½) / (3 · ¼ + ¼) and its mirror image.
    assert_eq!(nodes[1].kind, NodeKind::Leaf { value: -1.5 });
    assert_eq!(nodes[2].kind, NodeKind::Leaf { value: 1.5 });
}

#[test]
fn the_model_scores_training_rows_as_the_booster_did() {
    let data = mixed(1500, 3);
    let params = BoostingParams::new(&Configuration::new(&[("learning_rate", 0.1)]));
    let table = BinnedTable::new(&data, &all_rows(&data));
    let task = Task { table: &table, targets: &data.target, weights: None, params: &params, loss: Loss::Logistic };
    let start = (MarginModel { intercept: 0.3, ..MarginModel::default() }, vec![0.3; 1500]);
    let mut booster = Booster::new(task, start, Vec::new(), (0..1000).collect(), (1000..1500).collect(), 5);
    (0..60).for_each(|_| booster.step());
    let running = booster.margins().to_vec();
    let model = booster.into_model(60);
    assert_eq!(model.trees.len(), 60);
    for (row, expected) in data.all_rows().in_order().zip(running) {
        assert!((model.margin(row) - expected).abs() < 1e-9);
    }
}

#[test]
fn covers_count_every_training_row_and_add_up() {
    let data = mixed(800, 4);
    let model = fit(&data, &[("rounds", 20.0), ("learning_rate", 0.3)]);
    for tree in &model.trees {
        assert_eq!(tree.nodes[0].cover, 800.0);
        for (position, node) in tree.nodes.iter().enumerate() {
            if let NodeKind::Split { left, right, .. } = node.kind {
                assert!(position < left as usize && position < right as usize);
                assert_eq!(node.cover, tree.nodes[left as usize].cover + tree.nodes[right as usize].cover);
            }
        }
    }
}

#[test]
fn leaves_keep_their_fewest_rows_and_trees_their_size() {
    let data = mixed(600, 5);
    let model = fit(&data, &[("rounds", 30.0), ("min_leaf_rows", 25.0), ("leaves", 6.0), ("rows", 1.0)]);
    assert!(!model.trees.is_empty());
    for tree in &model.trees {
        assert!(tree.n_leaves() <= 6);
        assert!(tree.nodes.iter().all(|node| node.cover >= 25.0));
    }
    let shallow = fit(&data, &[("rounds", 10.0), ("leaves", 64.0), ("depth", 2.0), ("min_leaf_rows", 1.0)]);
    assert!(shallow.trees.iter().all(|tree| tree.n_leaves() <= 4));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let data = mixed(3000, 6);
    let with_threads = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        // Large leaves and all rows, so that the parallel paths are taken too.
        pool.install(|| {
            [fit(&data, &[("learning_rate", 0.2), ("rows", 1.0)]), fit(&mixed(20_000, 1), &[("rounds", 3.0), ("columns", 1.0)])]
        })
    };
    let one = with_threads(1);
    assert!(one[0].trees.len() > 5);
    assert_eq!(one, with_threads(2));
}

#[test]
fn another_seed_gives_another_model() {
    let data = mixed(500, 6);
    let settings = [Configuration::new(&[("rounds", 5.0)])];
    let with_seed =
        |seed| Boosting.fit(&data, &all_rows(&data), &settings, &FitContext { loss: Loss::Logistic, seed, ..CONTEXT }).unwrap();
    assert_eq!(with_seed(1), with_seed(1));
    assert_ne!(with_seed(1), with_seed(2));
    assert!(!with_seed(u64::MAX).is_empty());
}

#[test]
fn boosting_ends_when_held_out_rows_stop_improving() {
    let data = mixed(2000, 8);
    let model = fit(&data, &[("learning_rate", 0.3)]);
    let n_trees = model.trees.len();
    assert!((3..500).contains(&n_trees), "{n_trees}");
    let fresh = mixed(4000, 9);
    let overfitted = fit(&data, &[("learning_rate", 0.3), ("rounds", 20.0 * n_trees as f64)]);
    assert!(mean_loss(&fresh, &model) < mean_loss(&fresh, &overfitted));
    let base = fit(&data, &[("rounds", 0.0)]);
    assert!(mean_loss(&fresh, &model) < mean_loss(&fresh, &base) - 0.05);
}

#[test]
fn a_linear_base_leaves_little_for_the_trees_of_a_linear_truth() {
    let mut data = mixed(3000, 21);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(22);
    data.target = data.columns[1].iter().map(|b| f64::from(u8::from(rng.random::<f64>() < sigmoid(8.0 * b - 4.0)))).collect();
    let plain = fit(&data, &[("learning_rate", 0.1)]);
    let on_base = fit(&data, &[("learning_rate", 0.1), ("base_alpha", 1.0)]);
    assert!(plain.terms.is_empty() && !on_base.terms.is_empty());
    assert!(on_base.trees.len() < plain.trees.len() / 2, "{} {}", on_base.trees.len(), plain.trees.len());
    let settled = Boosting.settle(&Configuration::new(&[("base_alpha", 1.0)]), std::slice::from_ref(&on_base));
    assert_eq!(settled.get("rounds"), Some(on_base.trees.len() as f64));
}

#[test]
fn noise_gets_next_to_no_trees() {
    let mut data = mixed(2000, 10);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    data.target.iter_mut().for_each(|label| *label = f64::from(u8::from(rng.random::<f64>() < 0.3)));
    let model = fit(&data, &[("learning_rate", 0.1)]);
    assert!(model.trees.len() < 20, "{}", model.trees.len());
}

#[test]
fn settling_fixes_the_mean_number_of_rounds() {
    let data = mixed(400, 11);
    let chosen = Configuration::new(&[("learning_rate", 0.2)]);
    let folds: Vec<MarginModel> = [10.0, 13.0].iter().map(|&rounds| fit(&data, &[("rounds", rounds)])).collect();
    let settled = Boosting.settle(&chosen, &folds);
    assert_eq!(settled.get("rounds"), Some(12.0));
    let model = Boosting.fit(&data, &all_rows(&data), &[settled], &CONTEXT).unwrap().remove(0);
    assert_eq!((model.trees.len(), model.trees[0].nodes[0].cover), (12, 400.0));
    assert_eq!(Boosting.settle(&chosen, &[]), chosen);
}

#[test]
fn inner_folds_keep_groups_together_and_positives_even() {
    let mut data = mixed(1200, 12);
    data.group = (0..1200).map(|row| row % 400).collect();
    let rows: Vec<usize> = (0..1200).filter(|row| row % 5 != 0).collect();
    let splits = inner_splits(&data, &rows, RoundsPlan { n_folds: 4, refit: true }, &CONTEXT);
    assert_eq!(splits.len(), 4);
    let groups = |held: &[u32]| held.iter().map(|&row| data.group[rows[row as usize]]).collect::<std::collections::BTreeSet<_>>();
    for split in &splits {
        assert_eq!(split.train.len() + split.held_out.len(), rows.len());
        assert!(groups(&split.train).is_disjoint(&groups(&split.held_out)));
        let rate = |part: &[u32]| part.iter().map(|&row| data.target[rows[row as usize]]).sum::<f64>() / part.len() as f64;
        assert!((rate(&split.train) - rate(&split.held_out)).abs() < 0.06);
    }
}

#[test]
fn dated_rows_are_judged_on_the_latest_after_a_gap() {
    let mut data = mixed(1000, 13);
    data.observed = Some((0..1000).map(f64::from).collect());
    let plan = RoundsPlan { n_folds: 4, refit: true };
    let context = FitContext { gap_days: Some(100.0), ..CONTEXT };
    let splits = inner_splits(&data, &all_rows(&data), plan, &context);
    assert_eq!(splits.len(), 1);
    assert_eq!((splits[0].held_out.first(), splits[0].held_out.len()), (Some(&800), 200));
    assert_eq!(splits[0].train.last(), Some(&700));
    // A gap that eats the table, or one single date: folds after all.
    let wide = FitContext { gap_days: Some(900.0), ..CONTEXT };
    assert_eq!(inner_splits(&data, &all_rows(&data), plan, &wide).len(), 4);
    data.observed = Some(vec![5.0; 1000]);
    assert_eq!(inner_splits(&data, &all_rows(&data), plan, &CONTEXT).len(), 4);
}

#[test]
fn one_class_is_an_error_and_few_rows_are_not() {
    let mut data = mixed(300, 14);
    data.target = vec![1.0; 300];
    let settings = Boosting.configurations(&data, Loss::Logistic);
    let error = Boosting.fit(&data, &all_rows(&data), &settings, &CONTEXT).unwrap_err();
    assert!(matches!(error, FitError::OneClass { n_rows: 300, n_positives: 300 }));
    assert!(matches!(Boosting.fit(&data, &[], &settings, &CONTEXT), Err(FitError::NoRows { n_rows: 0 })));
    data.target[0] = 0.0;
    for model in Boosting.fit(&data, &all_rows(&data), &settings, &CONTEXT).unwrap() {
        assert!(model.margin(data.all_rows().row(0)).is_finite());
    }
    assert_eq!(Boosting.fit(&data, &[0, 1], &settings, &CONTEXT).unwrap().len(), settings.len());
}

#[test]
fn a_passed_deadline_ends_the_fit() {
    let data = mixed(300, 15);
    let context = FitContext { deadline: Some(std::time::Instant::now()), ..CONTEXT };
    let settings = Boosting.configurations(&data, Loss::Logistic);
    assert!(matches!(Boosting.fit(&data, &all_rows(&data), &settings, &context), Err(FitError::OutOfTime)));
}

#[test]
fn constant_and_empty_columns_are_never_asked() {
    let mut data = mixed(500, 16);
    data.columns[0] = vec![4.0; 500];
    data.columns[2] = vec![f64::NAN; 500];
    let model = fit(&data, &[("rounds", 20.0), ("columns", 1.0)]);
    let asked = |tree: &retain_score::Tree| {
        let feature = |kind: &NodeKind| if let NodeKind::Split { feature_idx, .. } = kind { Some(*feature_idx) } else { None };
        tree.nodes.iter().filter_map(|node| feature(&node.kind)).collect::<Vec<_>>()
    };
    let features: Vec<u32> = model.trees.iter().flat_map(asked).collect();
    assert!(!features.is_empty() && features.iter().all(|&feature| feature == 1 || feature == 3));
    data.columns.iter_mut().for_each(|column| column.fill(1.0));
    assert!(fit(&data, &[]).trees.is_empty(), "nothing to ask: the base rate is the model");
}

#[test]
fn huge_and_tiny_numbers_are_split_like_any_other() {
    let sizes = [-f64::MAX, -1e300, -1.0, -f64::from_bits(1), 0.0, f64::from_bits(1), f64::from_bits(2), 1e300, f64::MAX];
    for cut in 1..sizes.len() {
        let column: Vec<f64> = (0..900).map(|row| sizes[row % 9]).collect();
        let target: Vec<f64> = (0..900).map(|row| f64::from(u8::from(row % 9 >= cut))).collect();
        let data = dataset(vec![number("x")], vec![column], target);
        let model = fit(&data, &[("rounds", 1.0), ("learning_rate", 1.0), ("leaves", 2.0)]);
        for (row, label) in data.all_rows().in_order().zip(&data.target) {
            assert_eq!(model.margin(row) > model.intercept, *label == 1.0, "{row:?}");
        }
    }
}

#[test]
fn unseen_and_too_many_categories_are_harmless() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    let cities: Vec<f64> = (0..4000).map(|_| f64::from(rng.random_range(0..=1000u32))).collect();
    let target = cities.iter().map(|city| f64::from(u8::from(rng.random::<f64>() < 0.2 + 0.6 * (city % 2.0)))).collect();
    let data = dataset(vec![category("city", 1000)], vec![cities], target);
    let model = fit(&data, &[("rounds", 50.0), ("learning_rate", 0.1)]);
    for city in [0.0, 999.0, 1000.0, f64::NAN] {
        assert!(model.margin(&[city]).is_finite());
    }
    for tree in &model.trees {
        for node in &tree.nodes {
            if let NodeKind::Split { test: Test::OneOf(named), .. } = &node.kind {
                assert!(named.windows(2).all(|pair| pair[0] < pair[1]) && named.iter().all(|&city| city < 1000));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn margins_keep_the_order_asked_for(seed in 0u64..10_000, leaves in 2u32..40, decreasing in proptest::bool::ANY) {
        let mut data = mixed(400, seed);
        let order = if decreasing { Monotone::Decreasing } else { Monotone::Increasing };
        data.schema.features[0].monotone = Some(order);
        data.schema.features[1].monotone = Some(Monotone::Increasing);
        let settings = [("rounds", 30.0), ("learning_rate", 0.5), ("leaves", f64::from(leaves)), ("min_leaf_rows", 2.0), ("columns", 1.0), ("base_alpha", 1.0)];
        let model = fit(&data, &settings);
        for row in data.all_rows().in_order().take(40) {
            for (feature_idx, sign) in [(0, if decreasing { -1.0 } else { 1.0 }), (1, 1.0)] {
                let mut row = row.to_vec();
                let mut margin_at = |step: u32| {
                    row[feature_idx] = f64::from(step) / 50.0 - 0.2;
                    sign * model.margin(&row)
                };
                let margins: Vec<f64> = (0..70).map(&mut margin_at).collect();
                prop_assert!(margins.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            }
        }
    }
}
