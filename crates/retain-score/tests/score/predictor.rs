use retain_score::{Model, Predictor, SurvivalCurve};

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
fn many_rows_have_the_bits_of_each_alone() {
    for seed in 0..60 {
        let mut rng: Random = random(seed);
        let schema = schema(7, &mut rng);
        let predictor = Predictor::new(&model(&schema, 70, 4, &mut rng), &schema).unwrap();
        let mut rows = schema.rows();
        (0..300).for_each(|_| rows.push(&row(&schema, &mut rng)));
        let mut predictions = Vec::new();
        predictor.predict_rows(rows.values(), &mut predictions);
        assert_eq!(predictions, rows.in_order().map(|row| predictor.predict(row)).collect::<Vec<_>>());
    }
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
            // Past the last period, of 60 days, its hazard goes on to the horizon of 90 days.
            let (last, beyond) = (whole.survival[2] / whole.survival[1], predictor.survival(row, 500.0).unwrap());
            assert_eq!(beyond.days, [90.0]);
            assert!((beyond.survival[0] - last.powf(1.5)).abs() < 1e-12 || whole.survival[1] == 0.0);
            let asked = predictor.predict_after(row, 500.0).probability;
            assert!((asked - (1.0 - beyond.survival[0])).abs() < 1e-15);
            assert_eq!(predictor.predict_after(row, 0.0), predictor.predict(row));
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

#[test]
fn a_curve_is_read_between_its_days() {
    let half_lives = |days: &[f64]| days.iter().map(|day| 0.5_f64.powf(day / 60.0)).collect::<Vec<_>>();
    let days = vec![30.0, 60.0, 120.0];
    let survival = half_lives(&days);
    let by = |share: f64| survival.iter().map(|stays| share * (1.0 - stays)).collect::<Vec<_>>();
    let left_by_cause = vec![by(0.75), by(0.25)];
    let curve = SurvivalCurve { days, survival, left_by_cause };
    for (day, expected) in [(0.0, 1.0), (15.0, 0.5_f64.powf(0.25)), (60.0, 0.5), (90.0, 0.5_f64.powf(1.5)), (400.0, 0.25)] {
        assert!((curve.at(day) - expected).abs() < 1e-12, "{day}");
        let left = curve.left_by(day);
        assert!((left[0] - 0.75 * (1.0 - expected)).abs() < 1e-12 && (left[1] - 0.25 * (1.0 - expected)).abs() < 1e-12, "{day}");
    }
    assert!((curve.median_days().unwrap() - 60.0).abs() < 1e-9);
    // The integral of exp(−λt) up to 120 days.
    let rate = 2.0_f64.ln() / 60.0;
    assert!((curve.restricted_mean_days() - 0.75 / rate).abs() < 1e-9);
}

#[test]
fn a_curve_that_nobody_leaves_or_all_leave_has_sane_answers() {
    let curve = |survival: &[f64]| SurvivalCurve {
        days: vec![30.0, 60.0],
        survival: survival.to_vec(),
        left_by_cause: vec![survival.iter().map(|stays| 1.0 - stays).collect()],
    };
    let flat = curve(&[1.0, 1.0]);
    assert_eq!((flat.at(45.0), flat.median_days(), flat.restricted_mean_days()), (1.0, None, 60.0));
    let empty = curve(&[0.0, 0.0]);
    assert_eq!((empty.at(0.0), empty.at(31.0), empty.at(99.0), empty.median_days()), (1.0, 0.0, 0.0, Some(0.0)));
    assert!(empty.left_by(45.0)[0] == 1.0 && empty.restricted_mean_days().is_finite());
}
