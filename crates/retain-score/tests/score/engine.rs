use retain_score::Engine;

use crate::random::{head, random, row, schema};

#[test]
fn the_flat_engine_gives_the_bits_of_the_plain_evaluation() {
    for seed in 0..60 {
        let mut rng = random(seed);
        let schema = schema(1 + seed as usize % 9, &mut rng);
        let model = head(&schema, seed as usize % 21, 1 + seed as usize % 7, &mut rng);
        let engine = Engine::new(&model.margin, &schema).unwrap();
        for _ in 0..200 {
            let row = row(&schema, &mut rng);
            assert_eq!(engine.margin(&row).to_bits(), model.margin.margin(&row).to_bits(), "seed {seed}: {row:?}");
        }
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
