use retain_core::FeatureSchema;
use retain_score::{Engine, MarginModel, NodeKind, Tree};

use crate::random::{head, random, row, schema, trees_only};

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

#[test]
fn contributions_of_trees_are_the_shapley_values() {
    for seed in 0..40 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 10, &mut rng);
        let model = trees_only(&schema, 3, 1 + seed as usize % 8, &mut rng);
        let engine = Engine::new(&model, &schema).unwrap();
        for _ in 0..5 {
            let row = row(&schema, &mut rng);
            let expected = brute_force(&model, &schema, &row);
            for (found, expected) in engine.explain(&row).contributions.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-10, "seed {seed}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn contributions_and_base_margin_sum_to_the_margin() {
    for seed in 0..60 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 30, &mut rng);
        let model = head(&schema, seed as usize, 9, &mut rng);
        let engine = Engine::new(&model.margin, &schema).unwrap();
        for _ in 0..20 {
            let row = row(&schema, &mut rng);
            let explanation = engine.explain(&row);
            let sum = explanation.base_margin + explanation.contributions.iter().sum::<f64>();
            assert_eq!(explanation.margin.to_bits(), engine.margin(&row).to_bits());
            assert!((sum - explanation.margin).abs() < 1e-9, "seed {seed}: {sum} instead of {}", explanation.margin);
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
