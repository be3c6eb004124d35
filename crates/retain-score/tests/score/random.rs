//! Random schemas, models and rows from one seed.

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_score::{
    AmountModel, Arm, Calibrator, Cause, EffectPart, HazardModel, Head, Individual, Interval, MarginModel, Model, Node, NodeKind,
    Shape, Term, Test, Tree, UpliftModel, ValueHead, with_period,
};

pub type Random = Xoshiro256PlusPlus;

pub fn random(seed: u64) -> Random {
    Random::seed_from_u64(seed)
}

/// Numbers and categories in turn; every third feature has categories, between 1 and 130 of them.
pub fn schema(n_features: usize, rng: &mut Random) -> FeatureSchema {
    let features = (0..n_features)
        .map(|position| {
            let kind = if position % 3 == 2 { ColumnKind::Category } else { ColumnKind::Number };
            let mut feature = FeatureSpec::new(&format!("f{position}"), kind);
            if kind == ColumnKind::Category {
                feature.set_categories((0..rng.random_range(1..130)).map(|c| format!("c{c:03}")).collect());
            }
            feature
        })
        .collect();
    FeatureSchema::new(features, None, "churned".into(), "yes".into(), None).unwrap()
}

/// A row with missing values, unseen categories and numbers that hit thresholds exactly.
pub fn row(schema: &FeatureSchema, rng: &mut Random) -> Vec<f64> {
    schema
        .features
        .iter()
        .map(|feature| match feature.kind {
            _ if rng.random_bool(0.15) => f64::NAN,
            ColumnKind::Category => rng.random_range(0..=feature.categories.len()) as f64,
            _ => number(rng),
        })
        .collect()
}

fn number(rng: &mut Random) -> f64 {
    f64::from(rng.random_range(-4_i32..=4)) / 2.0
}

/// A model of any form.
pub fn model(schema: &FeatureSchema, n_trees: usize, depth: usize, rng: &mut Random) -> Model {
    match rng.next_u32() % 4 {
        0 => Model::Event(head(schema, n_trees, depth, rng)),
        1 => {
            let extended = with_period(schema).unwrap();
            let mut cause = |name: &str| Cause { name: name.to_owned(), hazard: head(&extended, n_trees, depth, rng) };
            let causes = vec![cause("price"), cause("service")];
            Model::Hazard(HazardModel { period_ends: vec![30.0, 60.0, 120.0], horizon_days: 90.0, causes })
        }
        2 => Model::Uplift(uplift(schema, n_trees, depth, rng)),
        _ => {
            let interval = Interval { borders: vec![1.0, 5.0], low: vec![-1.0, -0.8, -0.5], high: vec![0.5, 0.6, 0.7] };
            let value = ValueHead {
                margin: head(schema, n_trees, depth, rng).margin,
                occurrence_weight: 0.5,
                spread: Some(head(schema, n_trees, depth, rng).margin),
                calibrator: Calibrator::Sigmoid { slope: 1.1, intercept: 0.2 },
                interval: Some(interval),
            };
            let occurrence = head(schema, n_trees, depth, rng);
            Model::Amount(AmountModel { occurrence, value, decline: Some(head(schema, n_trees, depth, rng)) })
        }
    }
}

/// A treatment whose effect differs from customer to customer, and one that does the same for all.
pub fn uplift(schema: &FeatureSchema, n_trees: usize, depth: usize, rng: &mut Random) -> UpliftModel {
    let mut margin = || head(schema, n_trees, depth, rng).margin;
    let chances = EffectPart::Chances { weight: 0.5, treated: margin(), control: margin() };
    let parts = vec![EffectPart::Effect(margin()), chances];
    let individual = Individual { parts, center: 0.3, slope: 0.4, slope_half_width: 0.2 };
    let arm = |name: &str, individual| Arm { name: name.to_owned(), average: 0.05, half_width: 0.02, individual };
    UpliftModel { arms: vec![arm("mail", Some(individual)), arm("call", None)], limit: 1.0, chooses: true }
}

pub fn head(schema: &FeatureSchema, n_trees: usize, depth: usize, rng: &mut Random) -> Head {
    let terms = schema.features.iter().enumerate().map(|(position, feature)| term(position as u32, feature, rng)).collect();
    let trees = (0..n_trees).map(|_| tree(schema, depth, rng)).collect();
    let margin = MarginModel { intercept: rng.random_range(-1.0..1.0), terms, trees };
    let calibrator = match rng.next_u32() % 4 {
        0 => Calibrator::Identity,
        1 => Calibrator::Sigmoid { slope: 0.9, intercept: -0.1 },
        2 => Calibrator::Beta { rise: 0.7, fall: 1.2, intercept: 0.3 },
        _ => Calibrator::Isotonic { margins: vec![-2.0, 0.0, 3.0], log_odds: vec![-3.0, -0.5, 2.0] },
    };
    Head { margin, calibrator }
}

pub fn trees_only(schema: &FeatureSchema, n_trees: usize, depth: usize, rng: &mut Random) -> MarginModel {
    MarginModel { terms: Vec::new(), ..head(schema, n_trees, depth, rng).margin }
}

fn term(feature_idx: u32, feature: &FeatureSpec, rng: &mut Random) -> Term {
    let mut weight = || rng.random_range(-1.0..1.0);
    let shape = if feature.kind == ColumnKind::Category {
        Shape::Category { values: (0..=feature.categories.len()).map(|_| weight()).collect(), missing: weight() }
    } else {
        let (linear, quadratic, missing) = (weight(), weight(), weight());
        Shape::Number {
            low: -1.5,
            high: 1.5,
            log: feature_idx.is_multiple_of(2),
            center: 0.3,
            scale: 0.7,
            linear,
            quadratic,
            missing,
        }
    };
    Term { feature_idx, shape, mean: weight() }
}

fn tree(schema: &FeatureSchema, depth: usize, rng: &mut Random) -> Tree {
    let mut nodes = Vec::new();
    grow(schema, depth, rng.random_range(50.0..500.0), &mut nodes, rng);
    Tree { nodes }
}

fn grow(schema: &FeatureSchema, depth: usize, cover: f64, nodes: &mut Vec<Node>, rng: &mut Random) -> u32 {
    let position = nodes.len();
    nodes.push(Node { cover, kind: NodeKind::Leaf { value: rng.random_range(-1.0..1.0) } });
    if depth == 0 || rng.random_bool(0.1) {
        return position as u32;
    }
    let feature_idx = rng.random_range(0..schema.n_features());
    let feature = &schema.features[feature_idx];
    let test = match feature.kind {
        ColumnKind::Category => {
            let all = 0..=feature.categories.len() as u32;
            Test::OneOf(all.filter(|_| rng.random_bool(0.4)).collect())
        }
        _ if rng.random_bool(0.1) => Test::Below(f64::INFINITY),
        _ => Test::Below(number(rng)),
    };
    let share = rng.random_range(0.1..0.9);
    let left = grow(schema, depth - 1, cover * share, nodes, rng);
    let right = grow(schema, depth - 1, cover * (1.0 - share), nodes, rng);
    nodes[position].kind =
        NodeKind::Split { feature_idx: feature_idx as u32, test, missing_left: rng.random_bool(0.5), left, right };
    position as u32
}
