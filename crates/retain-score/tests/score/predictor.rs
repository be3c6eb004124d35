use retain_score::{Model, Predictor};

use crate::random::{Random, model, random, row, schema};

/// Models of one form, each with a row.
fn each(wanted: fn(&Model) -> bool, check: impl Fn(&Model, &Predictor, &[f64])) {
    let mut n_seen = 0;
    for seed in 0..60 {
        let mut rng: Random = random(seed);
        let schema = schema(5, &mut rng);
        let model = model(&schema, 4, 3, &mut rng);
        if wanted(&model) {
            let predictor = Predictor::new(&model, &schema).unwrap();
            check(&model, &predictor, &row(&schema, &mut rng));
            n_seen += 1;
        }
    }
    assert!(n_seen >= 10, "{n_seen} models of this form");
}

#[test]
fn contributions_of_every_form_add_up_to_its_margin() {
    each(
        |_| true,
        |_, predictor, row| {
            let explanation = predictor.explain(row);
            let sum = explanation.base_margin + explanation.contributions.iter().sum::<f64>();
            assert!((sum - explanation.margin).abs() < 1e-9, "{sum} instead of {}", explanation.margin);
        },
    );
    // Of an amount the explained margin is the one that is predicted.
    each(
        |model| matches!(model, Model::Amount(_)),
        |_, predictor, row| {
            assert!((predictor.explain(row).margin - predictor.predict(row).margin).abs() < 1e-9);
        },
    );
}

#[test]
fn curves_fall_and_leave_nobody_out() {
    each(
        |model| matches!(model, Model::Hazard(_)),
        |model, predictor, row| {
            let Model::Hazard(hazard) = model else { return };
            let curve = predictor.survival(row, 0.0).unwrap();
            assert_eq!(curve.days, hazard.period_ends);
            assert!(curve.survival.is_sorted_by(|a, b| a >= b));
            for (position, survival) in curve.survival.iter().enumerate() {
                let left: f64 = curve.left_by_cause.iter().map(|shares| shares[position]).sum();
                assert!((survival + left - 1.0).abs() < 1e-12);
            }
            // 90 days end in the middle of the third period, whose hazard is constant.
            let at_horizon = 1.0 - predictor.predict(row).probability;
            let expected = curve.survival[1] * (curve.survival[2] / curve.survival[1]).sqrt();
            assert!((at_horizon - expected).abs() < 1e-12 || curve.survival[1] == 0.0, "{at_horizon} instead of {expected}");
        },
    );
}

#[test]
fn a_customer_who_came_that_far_has_the_rest_of_the_curve() {
    each(
        |model| matches!(model, Model::Hazard(_)),
        |_, predictor, row| {
            let (whole, rest) = (predictor.survival(row, 0.0).unwrap(), predictor.survival(row, 30.0).unwrap());
            assert_eq!(rest.days, [30.0, 90.0]);
            for (rest, whole_then) in rest.survival.iter().zip(&whole.survival[1..]) {
                assert!((rest * whole.survival[0] - whole_then).abs() < 1e-12);
            }
            assert!(predictor.survival(row, 500.0).unwrap().days.is_empty());
        },
    );
}

#[test]
fn the_expected_amount_lies_within_its_limits_and_is_told_only_of_amounts() {
    each(
        |model| matches!(model, Model::Amount(_)),
        |_, predictor, row| {
            let prediction = predictor.predict(row);
            let (expected, (low, high)) = (prediction.expected_value.unwrap(), prediction.limits.unwrap());
            assert!(0.0 <= low && low <= expected && expected <= high, "{low} {expected} {high}");
            assert!(prediction.decline.is_some());
        },
    );
    each(
        |model| !matches!(model, Model::Amount(_)),
        |_, predictor, row| {
            assert_eq!(predictor.predict(row).expected_value, None);
        },
    );
}
