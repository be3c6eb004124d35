//! Symmetric trees and target statistics in whole fits.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::Monotone;
use retain_data::Dataset;
use retain_score::{MarginModel, NodeKind, Test, sigmoid};

use super::{CONTEXT, all_rows, category, dataset, fit, mean_loss, mixed, number};
use crate::boosting::Boosting;
use crate::learner::{FitContext, Learner, Loss};

const SYMMETRIC: (&str, f64) = ("symmetric", 1.0);
const STATISTICS: (&str, f64) = ("prior_rows", 1.0);

/// A number, and a category of so many values whose effects have this standard deviation (of a uniform draw).
fn with_categories(n_rows: usize, n_categories: usize, effect: f64, seed: u64) -> Dataset {
    let mut effects = Xoshiro256PlusPlus::seed_from_u64(99);
    let effects: Vec<f64> = (0..n_categories).map(|_| effect * 12.0_f64.sqrt() * (effects.random::<f64>() - 0.5)).collect();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut x, mut city, mut target) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n_rows {
        x.push(rng.random::<f64>());
        let chosen = rng.random_range(0..n_categories);
        city.push(chosen as f64);
        let margin = 2.0 * x[x.len() - 1] - 2.0 + effects[chosen];
        target.push(f64::from(u8::from(rng.random::<f64>() < sigmoid(margin))));
    }
    dataset(vec![number("x"), category("city", n_categories)], vec![x, city], target)
}

fn without_city(mut data: Dataset) -> Dataset {
    data.columns[1].fill(0.0);
    data
}

#[test]
fn all_leaves_of_a_level_ask_the_same_question() {
    let data = mixed(1500, 3);
    let model = fit(&data, &[SYMMETRIC, ("depth", 4.0), ("rounds", 30.0)]);
    assert_eq!(model.trees.len(), 30);
    for tree in &model.trees {
        let question = |kind: &NodeKind| match kind {
            NodeKind::Split { feature_idx, test, missing_left, .. } => Some(format!("{feature_idx} {test:?} {missing_left}")),
            NodeKind::Leaf { .. } => None,
        };
        let questions: BTreeSet<String> = tree.nodes.iter().filter_map(|node| question(&node.kind)).collect();
        assert!(questions.len() <= 4 && tree.n_leaves() <= 16 && tree.n_leaves() > 4);
        assert_eq!(tree.nodes[0].cover, 1500.0);
    }
}

#[test]
fn a_symmetric_tree_is_the_one_worked_by_hand() {
    // Two questions tell four groups apart. The base rate is 1/2, so gradients are ∓1/2 and hessians 1/4.
    let x = vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
    let y = vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    let data = dataset(vec![number("x"), number("y")], vec![x, y], vec![0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
    let exact = [SYMMETRIC, ("depth", 2.0), ("rounds", 1.0), ("learning_rate", 1.0), ("l2", 1.0), ("noise", 0.0), ("rows", 1.0)];
    let model = fit(&data, &[&exact[..], &[("columns", 1.0)]].concat());
    let asked = |position: usize| match &model.trees[0].nodes[position].kind {
        NodeKind::Split { feature_idx, .. } => *feature_idx,
        NodeKind::Leaf { .. } => panic!("node {position} is a leaf"),
    };
    assert_eq!(model.trees[0].n_leaves(), 4);
    // y separates 1 + 3 positives, x none.
    assert_eq!(asked(0), 1);
    // One row of penalty is 1/4: a leaf of two positives has 1 / (1/2 + 1/4).
    assert!((model.margin(&[0.0, 1.0]) - 4.0 / 3.0).abs() < 1e-12);
    assert!((model.margin(&[0.0, 0.0]) + 4.0 / 3.0).abs() < 1e-12);
    assert!(model.margin(&[1.0, 0.0]).abs() < 1e-12);
}

#[test]
fn symmetric_trees_learn_and_stop() {
    let data = mixed(2000, 8);
    let fresh = mixed(4000, 9);
    let base = fit(&data, &[("rounds", 0.0)]);
    for settings in [&[SYMMETRIC][..], &[SYMMETRIC, STATISTICS], &[STATISTICS]] {
        let model = fit(&data, &[settings, &[("learning_rate", 0.2)]].concat());
        assert!((3..500).contains(&model.trees.len()), "{}", model.trees.len());
        assert!(mean_loss(&fresh, &model) < mean_loss(&fresh, &base) - 0.05);
    }
}

#[test]
fn threads_do_not_change_a_bit_of_a_symmetric_model() {
    let data = mixed(20_000, 6);
    let with_threads = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| fit(&data, &[SYMMETRIC, STATISTICS, ("rounds", 4.0), ("columns", 1.0)]))
    };
    assert_eq!(with_threads(1), with_threads(2));
}

#[test]
fn statistics_of_many_categories_beat_sets_of_them() {
    let (data, fresh) = (with_categories(6000, 400, 1.0, 1), with_categories(6000, 400, 1.0, 2));
    let loss = |settings: &[(&'static str, f64)]| mean_loss(&fresh, &fit(&data, &[settings, &[("columns", 1.0)]].concat()));
    let (sets, statistics, symmetric) = (loss(&[]), loss(&[STATISTICS]), loss(&[SYMMETRIC, STATISTICS]));
    assert!(statistics < sets - 0.01 && symmetric < sets - 0.01, "{sets} {statistics} {symmetric}");
}

#[test]
fn a_random_category_of_a_few_rows_does_no_harm() {
    // Three rows a value, and no effect: each label stands in the category's own mean.
    let (data, fresh) = (with_categories(3000, 1000, 0.0, 3), with_categories(6000, 1000, 0.0, 4));
    for settings in [&[STATISTICS][..], &[SYMMETRIC, STATISTICS]] {
        let settings = [settings, &[("columns", 1.0), ("rounds", 100.0)]].concat();
        let with = mean_loss(&fresh, &fit(&data, &settings));
        let without = mean_loss(&fresh, &fit(&without_city(data.clone()), &settings));
        assert!(with < without + 0.005, "{with} {without}");
    }
}

#[test]
fn rows_of_one_group_do_not_tell_each_other_their_label() {
    // A category for each customer, and a label that only the customer explains: no other customer can learn from it.
    let mut data = with_categories(3000, 600, 0.0, 5);
    data.group = (0..3000).map(|row| row / 5).collect();
    data.columns[1] = data.group.iter().map(|&group| f64::from(group)).collect();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
    let label: Vec<f64> = (0..600).map(|_| f64::from(u8::from(rng.random::<f64>() < 0.4))).collect();
    data.target = data.group.iter().map(|&group| label[group as usize]).collect();
    let model = fit(&data, &[STATISTICS, ("columns", 1.0), ("rounds", 20.0)]);
    let asks_city = |model: &MarginModel| {
        let asks = |kind: &NodeKind| matches!(kind, NodeKind::Split { feature_idx: 1, .. });
        model.trees.iter().any(|tree| tree.nodes.iter().any(|node| asks(&node.kind)))
    };
    assert!(!asks_city(&model));
    data.group = (0..3000).collect();
    assert!(asks_city(&fit(&data, &[STATISTICS, ("columns", 1.0), ("rounds", 20.0)])));
}

#[test]
fn an_unseen_category_counts_as_the_mean_of_all() {
    let data = with_categories(4000, 50, 1.5, 7);
    let model = fit(&data, &[STATISTICS, SYMMETRIC, ("columns", 1.0), ("rounds", 60.0)]);
    let named: Vec<&Vec<u32>> = model
        .trees
        .iter()
        .flat_map(|tree| &tree.nodes)
        .filter_map(|node| if let NodeKind::Split { test: Test::OneOf(set), .. } = &node.kind { Some(set) } else { None })
        .collect();
    assert!(named.iter().any(|set| set.contains(&50)) && named.iter().any(|set| !set.contains(&50)));
    let margins: Vec<f64> = (0..=50).map(|city| model.margin(&[0.5, f64::from(city)])).collect();
    let (low, high) = margins[..50].iter().fold((f64::MAX, f64::MIN), |(low, high), &m| (low.min(m), high.max(m)));
    assert!(low + 0.5 < margins[50] && margins[50] < high - 0.5, "{low} {} {high}", margins[50]);
    assert!(model.margin(&[0.5, f64::NAN]).is_finite());
}

#[test]
fn symmetric_trees_keep_the_order_asked_for() {
    let mut data = mixed(600, 31);
    data.schema.features[1].monotone = Some(Monotone::Increasing);
    let model = fit(&data, &[SYMMETRIC, ("rounds", 40.0), ("learning_rate", 0.3)]);
    for row in all_rows(&data).into_iter().take(40) {
        let mut row = data.all_rows().row(row).to_vec();
        let margins: Vec<f64> = (0..50)
            .map(|step| {
                row[1] = f64::from(step) / 50.0;
                model.margin(&row)
            })
            .collect();
        assert!(margins.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
    }
}

#[test]
fn every_loss_has_its_configurations_and_learns_from_them() {
    let mut data = mixed(1500, 41);
    let mean = |columns: &[Vec<f64>], row: usize| 0.5 + columns[1][row] + f64::from(u8::from(columns[2][row] % 3.0 == 0.0));
    data.target = (0..1500).map(|row| mean(&data.columns, row)).collect();
    let losses = [Loss::Squared, Loss::Poisson, Loss::Tweedie { power: 1.5 }, Loss::Gamma, Loss::Quantile { level: 0.5 }];
    for loss in losses {
        let context = FitContext { loss, ..CONTEXT };
        let settings = Boosting.configurations(&data, loss);
        assert!(settings.len() > 1 && settings.iter().all(|setting| setting.get("base_alpha").is_none()));
        for model in Boosting.fit(&data, &all_rows(&data), &settings, &context).unwrap() {
            let total = |margin: &dyn Fn(&[f64]) -> f64| -> f64 {
                data.all_rows().in_order().zip(&data.target).map(|(row, &y)| loss.value(margin(row), y)).sum()
            };
            let (constant, fitted) = (total(&|_| model.intercept), total(&|row| model.margin(row)));
            let best = total(&|row| mean_margin(loss, 0.5 + row[1] + f64::from(u8::from(row[2] % 3.0 == 0.0))));
            assert!(fitted - best < 0.2 * (constant - best), "{loss:?}: {constant} {fitted} {best}");
        }
    }
}

/// The margin that predicts this mean.
fn mean_margin(loss: Loss, mean: f64) -> f64 {
    if matches!(loss, Loss::Squared | Loss::Quantile { .. }) { mean } else { mean.ln() }
}
