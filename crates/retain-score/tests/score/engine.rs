use proptest::prelude::*;
use rand::RngExt;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_score::{Engine, Kernel, MarginModel, Node, NodeKind, Test, Tree};

use crate::random::{Random, head, random, row, schema};

const KERNELS: [Kernel; 3] = [Kernel::Portable, Kernel::Avx2, Kernel::Best];

/// Every kernel, alone and in a batch, against the plain evaluation: other kernels to the bit, the plain one up to the rounding of its
/// own sum.
fn check(model: &MarginModel, schema: &FeatureSchema, rows: &[Vec<f64>]) {
    let engines = KERNELS.map(|kernel| Engine::with_kernel(model, schema, kernel).unwrap());
    let values: Vec<f64> = rows.concat();
    let size: f64 = 1.0 + model.trees.iter().map(largest_leaf).sum::<f64>();
    for engine in &engines {
        let mut batch = Vec::new();
        engine.margins(&values, &mut batch);
        assert_eq!(batch.len(), rows.len());
        for (row, in_batch) in rows.iter().zip(&batch) {
            let alone = engine.margin(row);
            assert_eq!(alone.to_bits(), in_batch.to_bits(), "{row:?}");
            assert_eq!(alone.to_bits(), engines[0].margin(row).to_bits(), "{row:?}");
            assert!((alone - model.margin(row)).abs() < 1e-14 * size, "{alone} {} {row:?}", model.margin(row));
        }
    }
}

fn largest_leaf(tree: &Tree) -> f64 {
    let value = |node: &Node| if let NodeKind::Leaf { value } = node.kind { value.abs() } else { 0.0 };
    tree.nodes.iter().map(value).fold(0.0, f64::max)
}

/// A tree that splits a random leaf until it has enough of them.
fn leafwise(schema: &FeatureSchema, n_leaves: usize, thresholds: &[f64], rng: &mut Random) -> Tree {
    let mut nodes = vec![leaf(1024.0, rng)];
    let mut leaves = vec![0];
    while leaves.len() < n_leaves {
        let parent: usize = leaves.swap_remove(rng.random_range(0..leaves.len()));
        let (left, right) = (nodes.len(), nodes.len() + 1);
        let cover = nodes[parent].cover / 2.0;
        nodes.extend([leaf(cover, rng), leaf(cover, rng)]);
        nodes[parent].kind = split(schema, thresholds, left, right, rng);
        leaves.extend([left, right]);
    }
    Tree { nodes }
}

fn symmetric(schema: &FeatureSchema, depth: u32, thresholds: &[f64], rng: &mut Random) -> Tree {
    let levels: Vec<NodeKind> = (0..depth).map(|_| split(schema, thresholds, 0, 0, rng)).collect();
    let nodes = (0..(2_u32 << depth) - 1).map(|position| {
        let level = (position + 1).ilog2();
        let mut node = leaf(f64::from(1 << depth) / f64::from(1 << level), rng);
        if level < depth {
            node.kind = levels[level as usize].clone();
            let NodeKind::Split { left, right, .. } = &mut node.kind else { unreachable!() };
            (*left, *right) = (2 * position + 1, 2 * position + 2);
        }
        node
    });
    Tree { nodes: nodes.collect() }
}

fn leaf(cover: f64, rng: &mut Random) -> Node {
    Node { cover, kind: NodeKind::Leaf { value: rng.random_range(-1.0..1.0) } }
}

fn split(schema: &FeatureSchema, thresholds: &[f64], left: usize, right: usize, rng: &mut Random) -> NodeKind {
    let feature_idx = rng.random_range(0..schema.n_features());
    let feature = &schema.features[feature_idx];
    let test = if feature.kind == ColumnKind::Category {
        // Sets inside one another, as ordered statistics make them, and sets across.
        let all = 0..=feature.categories.len() as u32;
        let border = rng.random_range(0..=feature.categories.len() as u32);
        if rng.random_bool(0.5) {
            Test::OneOf(all.filter(|&category| category < border).collect())
        } else {
            Test::OneOf(all.filter(|_| rng.random_bool(0.5)).collect())
        }
    } else {
        Test::Below(thresholds[rng.random_range(0..thresholds.len())])
    };
    NodeKind::Split {
        feature_idx: feature_idx as u32,
        test,
        missing_left: rng.random_bool(0.5),
        left: left as u32,
        right: right as u32,
    }
}

fn numbers(n_features: usize) -> FeatureSchema {
    let features = (0..n_features).map(|position| FeatureSpec::new(&format!("f{position}"), ColumnKind::Number)).collect();
    FeatureSchema::new(features, None, "churned".into(), "yes".into(), None).unwrap()
}

/// Rows at thresholds, next to them, and at the ends of all numbers.
fn rows_around(schema: &FeatureSchema, thresholds: &[f64], n_rows: usize, rng: &mut Random) -> Vec<Vec<f64>> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, 5e-324, -5e-324];
    let number = |rng: &mut Random| {
        let threshold = thresholds[rng.random_range(0..thresholds.len())];
        match rng.random_range(0..5) {
            0 => threshold,
            1 => threshold.next_down(),
            2 => threshold.next_up(),
            3 => special[rng.random_range(0..special.len())],
            _ => rng.random_range(-3.0..3.0),
        }
    };
    let value = |feature: &FeatureSpec, rng: &mut Random| match feature.kind {
        ColumnKind::Category if rng.random_bool(0.1) => f64::NAN,
        ColumnKind::Category => rng.random_range(0..=feature.categories.len()) as f64,
        _ => number(rng),
    };
    (0..n_rows).map(|_| schema.features.iter().map(|feature| value(feature, rng)).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn kernels_agree_on_any_model(
        seed in 0_u64..u64::MAX, n_features in 1_usize..40, n_thresholds in 1_usize..600, n_trees in 0_usize..150, most_leaves in 2_usize..90,
        n_rows in 0_usize..150,
    ) {
        let mut rng = random(seed);
        let schema = schema(n_features, &mut rng);
        let thresholds: Vec<f64> = (0..n_thresholds).map(|_| rng.random_range(-3.0..3.0)).collect();
        let trees = (0..n_trees).map(|_| match rng.random_range(0..3) {
            0 => symmetric(&schema, rng.random_range(1..10), &thresholds, &mut rng),
            _ => leafwise(&schema, rng.random_range(1..=most_leaves), &thresholds, &mut rng),
        });
        let model = MarginModel { intercept: 0.25, terms: Vec::new(), trees: trees.collect() };
        let rows = rows_around(&schema, &thresholds, n_rows, &mut rng);
        check(&model, &schema, &rows);
    }
}

#[test]
fn models_with_terms_agree() {
    for seed in 0..60 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 9, &mut rng);
        let model = head(&schema, seed as usize % 21, 1 + seed as usize % 7, &mut rng);
        let rows: Vec<Vec<f64>> = (0..200).map(|_| row(&schema, &mut rng)).collect();
        check(&model.margin, &schema, &rows);
    }
}

/// Batches that end just before, at and after the sizes in which rows go through the kernels.
#[test]
fn batches_of_any_length_agree_with_single_rows() {
    let mut rng = random(8);
    let schema = schema(12, &mut rng);
    let thresholds = [-1.0, -0.5, 0.0, 0.5, 1.0];
    let trees = (0..90).map(|position| match position % 3 {
        0 => symmetric(&schema, 4, &thresholds, &mut rng),
        1 => leafwise(&schema, 25, &thresholds, &mut rng),
        _ => leafwise(&schema, 80, &thresholds, &mut rng),
    });
    let model = MarginModel { intercept: 0.0, terms: Vec::new(), trees: trees.collect() };
    let rows = rows_around(&schema, &thresholds, 1_100, &mut rng);
    let values = rows.concat();
    for engine in KERNELS.map(|kernel| Engine::with_kernel(&model, &schema, kernel).unwrap()) {
        let alone: Vec<f64> = rows.iter().map(|row| engine.margin(row)).collect();
        let mut batch = vec![0.0];
        for length in (0..=70).chain([127, 128, 129, 191, 192, 193]).chain(250..=262).chain([383, 384, 385, 511, 512, 513, 1_100])
        {
            engine.margins(&values[..length * schema.n_features()], &mut batch);
            assert_eq!(batch, alone[..length]);
        }
    }
}

/// As many views as fill the tables of ranks, one fewer and one more: every feature is seen in one way, and all of them are asked.
#[test]
fn models_of_any_number_of_views_agree() {
    let mut rng = random(9);
    for n_features in [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257] {
        let schema = numbers(n_features);
        let thresholds = [-1.0, 0.0, 1.0];
        let trees = (0..2 * n_features).map(|position| {
            let mut tree = leafwise(&schema, 2 + position % 13, &thresholds, &mut rng);
            for (number, node) in tree.nodes.iter_mut().enumerate() {
                if let NodeKind::Split { feature_idx, missing_left, .. } = &mut node.kind {
                    *feature_idx = ((position + 7 * number) % n_features) as u32;
                    *missing_left = feature_idx.is_multiple_of(2);
                }
            }
            tree
        });
        let model = MarginModel { intercept: 0.0, terms: Vec::new(), trees: trees.collect() };
        check(&model, &schema, &rows_around(&schema, &thresholds, 140, &mut rng));
    }
}

/// Thresholds of one feature beyond what a byte can count, more views than a byte can name, more sets that lie across one another
/// than there are chains for: all of them forms that the byte-wise kernels have to pass on.
#[test]
fn models_too_rich_for_bytes_agree() {
    let mut rng = random(5);
    for (n_features, n_thresholds, n_trees) in [(1, 5_000, 300), (700, 40, 900), (3, 20_000, 700), (200, 3, 3)] {
        let schema = numbers(n_features);
        let thresholds: Vec<f64> = (0..n_thresholds).map(|_| rng.random_range(-3.0..3.0)).collect();
        let trees = (0..n_trees).map(|_| leafwise(&schema, 31, &thresholds, &mut rng)).collect();
        let rows = rows_around(&schema, &thresholds, 130, &mut rng);
        check(&MarginModel { intercept: 0.0, terms: Vec::new(), trees }, &schema, &rows);
    }
    let mut cities = FeatureSpec::new("city", ColumnKind::Category);
    cities.set_categories((0..500).map(|c| format!("c{c:03}")).collect());
    let schema = FeatureSchema::new(vec![cities], None, "churned".into(), "yes".into(), None).unwrap();
    let trees = (0..200).map(|_| leafwise(&schema, 20, &[0.0], &mut rng)).collect();
    let rows = rows_around(&schema, &[0.0], 130, &mut rng);
    check(&MarginModel { intercept: 0.0, terms: Vec::new(), trees }, &schema, &rows);
}

/// Categories by the hundred thousand: sets of few of them are lists, and ranks of so many would not be worth their room.
#[test]
fn models_of_very_many_categories_agree() {
    let mut rng = random(7);
    let mut codes = FeatureSpec::new("code", ColumnKind::Category);
    codes.set_categories((0..300_000).map(|c| format!("{c:06}")).collect());
    let schema = FeatureSchema::new(vec![codes], None, "churned".into(), "yes".into(), None).unwrap();
    let categories: Vec<u32> = (0..40).map(|_| rng.random_range(0..=300_000)).collect();
    let stump = |set: Vec<u32>, rng: &mut Random| Tree {
        nodes: vec![
            Node {
                cover: 2.0,
                kind: NodeKind::Split { feature_idx: 0, test: Test::OneOf(set), missing_left: true, left: 1, right: 2 },
            },
            leaf(1.0, rng),
            leaf(1.0, rng),
        ],
    };
    let trees = (0..120).map(|_| {
        let mut set: Vec<u32> = categories.iter().copied().filter(|_| rng.random_bool(0.2)).collect();
        set.sort_unstable();
        set.dedup();
        stump(set, &mut rng)
    });
    let model = MarginModel { intercept: 0.0, terms: Vec::new(), trees: trees.collect() };
    let mut rows: Vec<Vec<f64>> = categories.iter().map(|&category| vec![f64::from(category)]).collect();
    rows.extend([vec![f64::NAN], vec![0.0], vec![299_999.0]]);
    check(&model, &schema, &rows);
}

#[test]
fn leaves_of_any_size_add_up() {
    let mut rng = random(6);
    let schema = numbers(3);
    for size in [1e-300, 1e-12, 1e6, 1e300] {
        let mut trees: Vec<Tree> = (0..70).map(|_| leafwise(&schema, 9, &[-1.0, 0.0, 1.0], &mut rng)).collect();
        for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            if let NodeKind::Leaf { value } = &mut node.kind {
                *value *= size;
            }
        }
        let rows = rows_around(&schema, &[-1.0, 0.0, 1.0], 100, &mut rng);
        check(&MarginModel { intercept: 0.0, terms: Vec::new(), trees }, &schema, &rows);
    }
}

#[test]
fn probabilities_stay_within_bounds_for_any_margin() {
    for seed in 0..9 {
        let mut rng = random(seed);
        let schema = schema(3, &mut rng);
        let model = head(&schema, 1, 1, &mut rng);
        for margin in [-1e308, -745.2, -30.0, -0.0, 0.0, 1e-300, 30.0, 745.2, 1e308] {
            let probability = model.calibrator.probability(margin);
            assert!((0.0..=1.0).contains(&probability), "{margin}: {probability}");
        }
    }
}

#[test]
fn infinite_inputs_do_not_break_the_walk() {
    let mut rng = random(3);
    let schema = schema(6, &mut rng);
    let model = head(&schema, 17, 6, &mut rng);
    let engine = Engine::new(&model.margin, &schema).unwrap();
    for value in [f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        assert!(engine.margin(&[value; 6]).is_finite());
    }
}
