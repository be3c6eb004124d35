use proptest::prelude::*;
use retain_score::{
    AmountModel, Calibrator, FormatError, Head, MODEL_FORMAT_VERSION, Model, NodeKind, Predictor, Test, ValueHead,
};

use crate::random::{head, model, random, row, schema};

#[test]
fn a_model_survives_its_bytes() {
    for seed in 0..30 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 8, &mut rng);
        let model = model(&schema, seed as usize % 9, 5, &mut rng);
        let bytes = model.encode(schema.n_features());
        let (back, n_features) = Model::decode(&bytes).unwrap();
        assert_eq!((&back, n_features), (&model, schema.n_features()));
        assert_eq!(back.encode(n_features), bytes);
        back.check(&schema).unwrap();
    }
}

#[test]
fn every_truncation_is_refused() {
    let mut rng = random(5);
    let schema = schema(4, &mut rng);
    let bytes = model(&schema, 3, 4, &mut rng).encode(4);
    for length in 0..bytes.len() {
        assert!(Model::decode(&bytes[..length]).is_err(), "{length} bytes of {}", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(Model::decode(&longer), Err(FormatError::Trailing { left: 1, .. })));
}

#[test]
fn a_newer_version_is_named() {
    let mut rng = random(5);
    let schema = schema(4, &mut rng);
    let mut bytes = model(&schema, 1, 1, &mut rng).encode(4);
    bytes[8] = 9;
    assert_eq!(Model::decode(&bytes).unwrap_err(), FormatError::Newer { found: 9, supported: MODEL_FORMAT_VERSION });
}

/// An amount that is its margin needs the third version; everything else is written as before.
#[test]
fn an_amount_may_be_its_margin() {
    let mut rng = random(6);
    let schema = schema(4, &mut rng);
    let value = ValueHead {
        margin: head(&schema, 5, 3, &mut rng).margin,
        occurrence_weight: 0.0,
        spread: None,
        calibrator: Calibrator::Logarithm,
        interval: None,
    };
    let occurrence = Head { calibrator: Calibrator::Identity, ..head(&schema, 2, 2, &mut rng) };
    let model = Model::Amount(AmountModel { occurrence: occurrence.clone(), value: value.clone(), decline: None });
    let bytes = model.encode(4);
    assert_eq!((bytes[8], Model::decode(&bytes).unwrap().0), (3, model.clone()));
    assert_eq!(Model::Event(occurrence.clone()).encode(4)[8], 2);
    let predictor = Predictor::new(&model, &schema).unwrap();
    let (mut n_above, mut n_below) = (0, 0);
    for _ in 0..100 {
        let prediction = predictor.predict(&row(&schema, &mut rng));
        let (expected, margin) = (prediction.expected_value.unwrap(), prediction.margin);
        if margin > 0.0 {
            n_above += 1;
            assert!((expected - margin).abs() <= 1e-14 * margin.max(1.0), "{expected} for {margin}");
        } else {
            n_below += 1;
            assert!(expected < 1e-40, "{expected} for {margin}");
        }
    }
    assert!(n_above > 10 && n_below > 10, "{n_above} above 0, {n_below} not");
    let chance = Model::Event(Head { calibrator: Calibrator::Logarithm, ..occurrence });
    assert!(chance.check(&schema).unwrap_err().to_string().contains("expected amounts"));
}

#[test]
fn a_count_is_not_believed_beyond_the_bytes_that_are_there() {
    let mut bytes = Vec::from(*b"RETAINMB");
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(0_f64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    for n_trees in [u32::MAX, 99_999, 1_000] {
        let mut hostile = bytes.clone();
        hostile.extend(n_trees.to_le_bytes());
        assert!(matches!(Model::decode(&hostile), Err(FormatError::TooMany { .. } | FormatError::Truncated { .. })));
    }
}

/// Changes one tree of a good model and expects the check to refuse it.
#[track_caller]
fn refused(change: impl Fn(&mut Head)) -> String {
    let mut rng = random(11);
    let schema = schema(6, &mut rng);
    let mut head = head(&schema, 4, 5, &mut rng);
    Model::Event(head.clone()).check(&schema).unwrap();
    change(&mut head);
    Model::Event(head).check(&schema).unwrap_err().to_string()
}

fn first_split(model: &mut Head) -> &mut NodeKind {
    let nodes = model.margin.trees.iter_mut().flat_map(|tree| &mut tree.nodes);
    nodes.map(|node| &mut node.kind).find(|kind| matches!(kind, NodeKind::Split { .. })).unwrap()
}

#[test]
fn trees_that_are_not_trees_are_refused() {
    let message = refused(|model| {
        if let NodeKind::Split { left, .. } = first_split(model) {
            *left = 0;
        }
    });
    assert!(message.contains("a child should stand after its parent"), "{message}");
    let message = refused(|model| {
        if let NodeKind::Split { left, right, .. } = first_split(model) {
            *right = *left;
        }
    });
    assert!(message.contains("two parents"), "{message}");
    let message = refused(|model| {
        if let NodeKind::Split { right, .. } = first_split(model) {
            *right = 4_000_000_000;
        }
    });
    assert!(message.contains("inside the tree"), "{message}");
    refused(|model| model.margin.trees[0].nodes.clear());
    refused(|model| model.margin.trees[0].nodes[0].cover = 0.0);
    refused(|model| model.margin.trees[0].nodes[0].cover *= 1.5);
}

#[test]
fn numbers_that_are_not_numbers_are_refused() {
    refused(|model| model.margin.intercept = f64::NAN);
    refused(|model| model.margin.terms[0].mean = f64::INFINITY);
    refused(|model| {
        if let NodeKind::Split { test, .. } = first_split(model) {
            *test = Test::Below(f64::NAN);
        }
    });
    refused(|model| {
        if let NodeKind::Split { feature_idx, .. } = first_split(model) {
            *feature_idx = 6;
        }
    });
    refused(|model| {
        if let NodeKind::Split { feature_idx, test, .. } = first_split(model) {
            (*feature_idx, *test) = (2, Test::OneOf(vec![3, 1]));
        }
    });
    refused(|model| {
        if let NodeKind::Split { feature_idx, test, .. } = first_split(model) {
            (*feature_idx, *test) = (0, Test::OneOf(vec![1]));
        }
    });
}

#[test]
fn a_path_of_ten_thousand_nodes_is_refused() {
    let message = refused(|model| {
        let tree = &mut model.margin.trees[0];
        let leaf = |cover| retain_score::Node { cover, kind: NodeKind::Leaf { value: 0.0 } };
        tree.nodes.clear();
        for level in 0..10_000_u32 {
            let cover = f64::from(10_001 - level);
            let (left, right) = (2 * level + 1, 2 * level + 2);
            let kind = NodeKind::Split { feature_idx: 0, test: Test::Below(0.0), missing_left: true, left, right };
            tree.nodes.push(retain_score::Node { cover, kind });
            tree.nodes.push(leaf(1.0));
        }
        tree.nodes.push(leaf(1.0));
    });
    assert!(message.contains("longer than 256"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_give_a_model_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = Vec::from(*b"RETAINMB");
        file.extend(2_u32.to_le_bytes());
        file.extend(&bytes);
        let _ = Model::decode(&bytes);
        let _ = Model::decode(&file);
    }

    #[test]
    fn a_changed_byte_never_panics(position in 0_usize..4000, value in any::<u8>(), seed in 0_u64..8) {
        let mut rng = random(seed);
        let schema = schema(5, &mut rng);
        let mut bytes = model(&schema, 4, 4, &mut rng).encode(5);
        let position = position % bytes.len();
        bytes[position] = value;
        if let Ok((model, _)) = Model::decode(&bytes) && model.check(&schema).is_ok() {
            // What the check accepts, the engine evaluates.
            let predictor = Predictor::new(&model, &schema).unwrap();
            let row = crate::random::row(&schema, &mut rng);
            let prediction = predictor.predict(&row);
            prop_assert!((0.0..=1.0).contains(&prediction.probability));
            prop_assert!(prediction.expected_value.is_none_or(|value| value >= 0.0 && value.is_finite()));
            let _ = predictor.explain(&row);
            let _ = predictor.survival(&row, 45.0);
        }
    }
}

#[test]
fn a_model_of_the_first_version_is_still_read() {
    let mut rng = random(3);
    let schema = schema(4, &mut rng);
    let head = head(&schema, 2, 3, &mut rng);
    let mut bytes = Model::Event(head.clone()).encode(4);
    // The first version had no byte for the form behind the number of features.
    bytes[8] = 1;
    bytes.remove(16);
    assert_eq!(Model::decode(&bytes).unwrap(), (Model::Event(head), 4));
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    let mut rng = random(8);
    let schema = schema(3, &mut rng);
    let hazard = |name: &str| {
        let hazard = head(&retain_score::with_period(&schema).unwrap(), 1, 1, &mut random(9));
        let causes = vec![retain_score::Cause { name: name.to_owned(), hazard }];
        Model::Hazard(retain_score::HazardModel { period_ends: vec![30.0], horizon_days: 30.0, causes })
    };
    let mut bytes = hazard("price").encode(3);
    let offset = bytes.windows(5).position(|window| window == b"price").unwrap();
    bytes[offset] = 0xff;
    assert_eq!(Model::decode(&bytes).unwrap_err(), FormatError::Text { offset, what: "a name" });
}

/// Infinity less infinity is no number, and neither is what is made of it.
#[test]
fn parts_whose_sum_is_no_number_are_refused() {
    let large = |model: &mut Head, factor: f64| {
        for node in model.margin.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            if let NodeKind::Leaf { value } = &mut node.kind {
                *value *= factor;
            }
        }
    };
    assert!(refused(|model| large(model, 1e305)).contains("1e305"));
    refused(|model| model.margin.intercept = 2e305);
    refused(|model| model.margin.terms[0].mean = -2e305);
    let number = |low, high, log, scale, linear, quadratic| {
        let missing = 0.0;
        retain_score::Shape::Number { low, high, log, center: 0.0, scale, linear, quadratic, missing }
    };
    for shape in [
        number(0.0, 1e200, false, 1.0, 1.0, 1.0),
        number(-1e200, 0.0, false, 1.0, 1.0, -1.0),
        number(0.0, 1.0, false, 1e-308, 1.0, 0.0),
        number(0.0, 1.0, false, 1e-310, 0.0, 0.0),
        number(f64::MIN, f64::MAX, true, 1.0, 1.0, 0.0),
        number(f64::MIN, f64::MAX, false, 1.0, 1.5, 0.0),
    ] {
        assert!(refused(|model| model.margin.terms[0].shape = shape.clone()).contains("1e305"), "{shape:?}");
    }
    refused(|model| model.calibrator = Calibrator::Isotonic { margins: vec![-1e308, 1e308], log_odds: vec![0.0, 1.0] });
    refused(|model| model.calibrator = Calibrator::Isotonic { margins: vec![0.0, 1.0], log_odds: vec![-1e308, 1e308] });
}

/// A chance of 0 has an infinite logarithm, which a calibrator of amounts would make no number.
#[test]
fn a_chance_of_nothing_is_an_amount_near_nothing() {
    let mut rng = random(10);
    let schema = schema(2, &mut rng);
    let steep = Calibrator::Sigmoid { slope: f64::MAX, intercept: 0.0 };
    let mut occurrence = Head { calibrator: steep, ..head(&schema, 0, 0, &mut rng) };
    occurrence.margin.terms.clear();
    occurrence.margin.intercept = -10.0;
    let mut value = ValueHead {
        margin: occurrence.margin.clone(),
        occurrence_weight: 2.0,
        spread: None,
        calibrator: Calibrator::Beta { rise: 0.0, fall: 1.0, intercept: 0.0 },
        interval: None,
    };
    for calibrator in [value.calibrator.clone(), Calibrator::Beta { rise: 1.0, fall: 0.0, intercept: 0.0 }, Calibrator::Identity]
    {
        value.calibrator = calibrator;
        let model = Model::Amount(AmountModel { occurrence: occurrence.clone(), value: value.clone(), decline: None });
        let predictor = Predictor::new(&model, &schema).unwrap();
        let row = row(&schema, &mut rng);
        let prediction = predictor.predict(&row);
        assert!(prediction.margin.is_finite() && prediction.probability == 0.0, "{prediction:?}");
        assert!(prediction.expected_value.is_some_and(|value| (0.0..=1.0).contains(&value)), "{prediction:?}");
        assert_eq!(predictor.explain(&row).margin.to_bits(), prediction.margin.to_bits());
    }
}
