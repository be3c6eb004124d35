use rand::RngExt;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_score::{Engine, MarginModel, Node, NodeKind, Test, Tree};

use crate::random::{Random, head, random, row, schema, trees_only};
use crate::tree_shap;

/// The value of a coalition: features inside it follow the row, the others go both ways in proportion to the covers.
fn coalition_value(tree: &Tree, position: usize, row: &[f64], inside: u32) -> f64 {
    match &tree.nodes[position].kind {
        NodeKind::Leaf { value } => *value,
        NodeKind::Split { feature_idx, test, missing_left, left, right } => {
            let (left, right) = (*left as usize, *right as usize);
            if inside >> feature_idx & 1 == 1 {
                let goes_left = test.goes_left(row[*feature_idx as usize], *missing_left);
                return coalition_value(tree, if goes_left { left } else { right }, row, inside);
            }
            let (l, r) = (tree.nodes[left].cover, tree.nodes[right].cover);
            (l * coalition_value(tree, left, row, inside) + r * coalition_value(tree, right, row, inside)) / (l + r)
        }
    }
}

/// Shapley values by their definition: over all coalitions.
fn brute_force(model: &MarginModel, schema: &FeatureSchema, row: &[f64]) -> Vec<f64> {
    let n = schema.n_features() as u32;
    let values: Vec<f64> =
        (0..1_u32 << n).map(|inside| model.trees.iter().map(|tree| coalition_value(tree, 0, row, inside)).sum()).collect();
    let factorial: Vec<f64> = (0..=n)
        .scan(1.0, |f, k| {
            *f *= f64::from(k.max(1));
            Some(*f)
        })
        .collect();
    (0..n)
        .map(|feature| {
            (0..1_u32 << n)
                .filter(|inside| inside >> feature & 1 == 0)
                .map(|inside| {
                    let size = inside.count_ones();
                    let weight = factorial[size as usize] * factorial[(n - size - 1) as usize] / factorial[n as usize];
                    weight * (values[(inside | 1 << feature) as usize] - values[inside as usize])
                })
                .sum()
        })
        .collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (feature, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Written so that NaN fails.
        assert!((found - expected).abs() <= tolerance, "feature {feature}: {found} instead of {expected}");
    }
}

/// What the recursion over paths finds.
fn by_recursion(model: &MarginModel, row: &[f64]) -> Vec<f64> {
    let mut contributions = vec![0.0; row.len()];
    model.trees.iter().for_each(|tree| tree_shap::add_tree(tree, row, &mut contributions));
    contributions
}

#[track_caller]
fn assert_additive(engine: &Engine, row: &[f64]) {
    let explanation = engine.explain(row);
    let sum = explanation.base_margin + explanation.contributions.iter().sum::<f64>();
    assert_eq!(explanation.margin.to_bits(), engine.margin(row).to_bits());
    assert!((sum - explanation.margin).abs() <= 1e-9, "{sum} instead of {}", explanation.margin);
}

fn numbers(n_features: usize) -> FeatureSchema {
    let features = (0..n_features).map(|position| FeatureSpec::new(&format!("f{position}"), ColumnKind::Number)).collect();
    FeatureSchema::new(features, None, "churned".into(), "yes".into(), None).unwrap()
}

/// A tree that is grown leaf by leaf: the deepest leaf until `chain` questions stand below each other, then leaves at random.
fn grown(n_features: usize, n_leaves: usize, chain: usize, rng: &mut Random) -> Tree {
    let leaf = |cover: f64, rng: &mut Random| Node { cover, kind: NodeKind::Leaf { value: rng.random_range(-1.0..1.0) } };
    let mut nodes = vec![leaf(1.0, rng)];
    let mut leaves = vec![0_usize];
    for n_splits in 0..n_leaves - 1 {
        let pick = if n_splits < chain { leaves.len() - 1 } else { rng.random_range(0..leaves.len()) };
        let position = leaves.swap_remove(pick);
        let (cover, share, left) = (nodes[position].cover, rng.random_range(0.05..0.95), nodes.len());
        nodes.push(leaf(cover * share, rng));
        nodes.push(leaf(cover * (1.0 - share), rng));
        nodes[position].kind = NodeKind::Split {
            feature_idx: rng.random_range(0..n_features) as u32,
            test: Test::Below(rng.random_range(-1.0..1.0)),
            missing_left: rng.random_bool(0.5),
            left: left as u32,
            right: left as u32 + 1,
        };
        leaves.extend([left + 1, left]);
    }
    Tree { nodes }
}

fn forest(n_trees: usize, n_features: usize, n_leaves: usize, chain: usize, rng: &mut Random) -> MarginModel {
    let trees = (0..n_trees).map(|_| grown(n_features, n_leaves, chain, rng)).collect();
    MarginModel { trees, ..MarginModel::default() }
}

fn number_row(n_features: usize, rng: &mut Random) -> Vec<f64> {
    (0..n_features).map(|_| if rng.random_bool(0.1) { f64::NAN } else { rng.random_range(-1.0..1.0) }).collect()
}

#[test]
fn contributions_of_trees_are_the_shapley_values() {
    for seed in 0..60 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 12, &mut rng);
        // From constants and stumps to trees that ask for a feature again and again.
        let model = trees_only(&schema, 3, seed as usize % 8, &mut rng);
        let engine = Engine::new(&model, &schema).unwrap();
        for _ in 0..2 {
            let row = row(&schema, &mut rng);
            assert_close(&engine.explain(&row).contributions, &brute_force(&model, &schema, &row), 1e-12);
        }
    }
}

#[test]
fn contributions_of_trees_are_those_of_the_recursion_over_paths() {
    for seed in 0..40 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize, &mut rng);
        let model = trees_only(&schema, 20, seed as usize % 10, &mut rng);
        let engine = Engine::new(&model, &schema).unwrap();
        for _ in 0..3 {
            let row = row(&schema, &mut rng);
            assert_close(&engine.explain(&row).contributions, &by_recursion(&model, &row), 1e-11);
        }
    }
}

#[test]
fn long_paths_agree_with_the_recursion_over_paths() {
    // On both sides of every change of the rule: 8, 16, 32 and 48 features on a path.
    for chain in [7, 8, 9, 15, 16, 17, 32, 33, 48, 49] {
        let mut rng = random(chain as u64);
        let n_features = 200;
        let model = forest(4, n_features, chain + 20, chain, &mut rng);
        let engine = Engine::new(&model, &numbers(n_features)).unwrap();
        let row = number_row(n_features, &mut rng);
        assert_close(&engine.explain(&row).contributions, &by_recursion(&model, &row), 1e-9);
    }
}

#[test]
fn trees_of_every_size_add_up_to_the_margin() {
    for (n_trees, n_features, n_leaves, chain) in
        [(1, 1, 2, 0), (3, 30, 1_000, 0), (500, 30, 31, 0), (100, 5, 31, 20), (5, 300, 256, 255), (2, 1, 200, 100)]
    {
        let mut rng = random(n_leaves as u64);
        let engine = Engine::new(&forest(n_trees, n_features, n_leaves, chain, &mut rng), &numbers(n_features)).unwrap();
        for _ in 0..3 {
            assert_additive(&engine, &number_row(n_features, &mut rng));
        }
    }
}

#[test]
fn infinite_thresholds_and_numbers_turn_as_they_do_in_the_margin() {
    let mut rng = random(5);
    let mut model = forest(30, 3, 12, 0, &mut rng);
    for node in model.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        if let NodeKind::Split { test, .. } = &mut node.kind
            && rng.random_bool(0.5)
        {
            *test = Test::Below(if rng.random_bool(0.5) { f64::INFINITY } else { f64::NEG_INFINITY });
        }
    }
    let schema = numbers(3);
    let engine = Engine::new(&model, &schema).unwrap();
    let values = [f64::NAN, f64::NEG_INFINITY, -0.5, f64::MAX, f64::INFINITY];
    for row in values.iter().flat_map(|&a| values.iter().map(move |&b| [a, b, 0.25])) {
        assert_close(&engine.explain(&row).contributions, &brute_force(&model, &schema, &row), 1e-12);
        assert_additive(&engine, &row);
    }
}

#[test]
fn shares_of_nothing_make_no_nan() {
    let mut rng = random(6);
    let mut model = forest(20, 3, 12, 6, &mut rng);
    // Almost no rows go left, question after question: products of their shares underflow to 0.
    for tree in &mut model.trees {
        tree.nodes[0].cover = 1e300;
        for position in 0..tree.nodes.len() {
            if let NodeKind::Split { left, right, .. } = tree.nodes[position].kind {
                let cover = tree.nodes[position].cover;
                tree.nodes[left as usize].cover = if cover > 1e-150 { cover * 1e-150 } else { cover / 2.0 };
                tree.nodes[right as usize].cover = cover - tree.nodes[left as usize].cover;
            }
        }
    }
    let schema = numbers(3);
    let engine = Engine::new(&model, &schema).unwrap();
    for _ in 0..20 {
        let row = number_row(3, &mut rng);
        assert_close(&engine.explain(&row).contributions, &brute_force(&model, &schema, &row), 1e-12);
        assert_additive(&engine, &row);
    }
}

#[test]
fn engines_that_explain_at_the_same_time_and_their_clones_explain_alike() {
    let mut rng = random(11);
    let schema = numbers(6);
    let model = forest(20, 6, 12, 0, &mut rng);
    let row = number_row(6, &mut rng);
    let expected = Engine::new(&model, &schema).unwrap().explain(&row);
    let engine = Engine::new(&model, &schema).unwrap();
    let clones: Vec<Engine> = (0..4).map(|_| engine.clone()).collect();
    // The first explanation lays the trees out: whoever comes meanwhile waits for it.
    std::thread::scope(|scope| {
        let explaining: Vec<_> = clones.iter().map(|clone| scope.spawn(|| clone.explain(&row))).collect();
        for thread in explaining {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
    assert_eq!(engine.explain(&row), expected);
    assert_eq!(engine.base_margin().to_bits(), expected.base_margin.to_bits());
}

#[test]
fn contributions_and_base_margin_sum_to_the_margin() {
    for seed in 0..60 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 30, &mut rng);
        let model = head(&schema, seed as usize, 9, &mut rng);
        let engine = Engine::new(&model.margin, &schema).unwrap();
        for _ in 0..20 {
            assert_additive(&engine, &row(&schema, &mut rng));
        }
    }
}

#[test]
fn the_largest_contributions_come_first() {
    let mut rng = random(1);
    let schema = schema(12, &mut rng);
    let engine = Engine::new(&head(&schema, 10, 5, &mut rng).margin, &schema).unwrap();
    let explanation = engine.explain(&row(&schema, &mut rng));
    let top = explanation.top(5);
    assert_eq!(top.len(), 5);
    let sizes: Vec<f64> = top.iter().map(|&feature| explanation.contributions[feature].abs()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b));
    assert!(explanation.contributions.iter().filter(|c| c.abs() > sizes[4]).count() <= 4);
    assert_eq!(explanation.top(99).len(), 12);
}
