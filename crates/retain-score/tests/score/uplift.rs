use retain_score::{EffectPart, FormatError, MODEL_FORMAT_VERSION, Model, ModelError, Predictor, UpliftModel, limits, sigmoid};

use crate::random::{random, row, schema, uplift};

#[test]
fn an_effect_is_the_average_and_what_sets_the_customer_apart() {
    for seed in 0..20 {
        let mut rng = random(seed);
        let schema = schema(5, &mut rng);
        let model = uplift(&schema, 4, 3, &mut rng);
        let individual = model.arms[0].individual.clone().unwrap();
        let predictor = Predictor::new(&Model::Uplift(model), &schema).unwrap();
        for _ in 0..20 {
            let row = row(&schema, &mut rng);
            let part = |part: &EffectPart| match part {
                EffectPart::Effect(margin) => margin.margin(&row),
                EffectPart::Chances { weight, treated, control } => {
                    weight * (sigmoid(treated.margin(&row)) - sigmoid(control.margin(&row)))
                }
            };
            let apart = individual.parts.iter().map(part).sum::<f64>() - individual.center;
            let expected = (0.05 + 0.4 * apart).clamp(-1.0, 1.0);
            let half_width = 0.02_f64.hypot(0.2 * apart);
            let effects = predictor.effects(&row).unwrap();
            let [mail, call] = effects[..] else { panic!("two treatments") };
            assert!((mail.effect - expected).abs() < 1e-9 && mail.conclusive, "{mail:?}");
            assert!((mail.low - (0.05 + 0.4 * apart - half_width).clamp(-1.0, 1.0)).abs() < 1e-9, "{mail:?}");
            assert_eq!((call.treatment, call.effect, call.conclusive), ("call", 0.05, false));
            let (best, prediction) = (if mail.effect >= 0.05 { mail } else { call }, predictor.predict(&row));
            assert_eq!((prediction.margin, prediction.limits), (best.effect, Some((best.low, best.high))));
            assert_eq!(predictor.best_of(&effects).unwrap().1, prediction);
            assert!((prediction.probability > 0.5) == (best.effect > 0.0) && prediction.expected_value.is_none());
            let explained = predictor.explain(&row).margin;
            assert!((explained.clamp(-1.0, 1.0) - best.effect).abs() < 1e-9, "{explained} {best:?}");
        }
    }
}

#[test]
fn where_nothing_is_chosen_the_largest_average_stands_for_all() {
    let mut rng = random(9);
    let schema = schema(5, &mut rng);
    let mut model = uplift(&schema, 4, 3, &mut rng);
    model.chooses = false;
    for (average, best) in [(0.04, "call"), (0.06, "mail"), (0.05, "mail")] {
        model.arms[0].average = average;
        let predictor = Predictor::new(&Model::Uplift(model.clone()), &schema).unwrap();
        for _ in 0..20 {
            let row = row(&schema, &mut rng);
            let effects = predictor.effects(&row).unwrap();
            let (position, prediction) = predictor.best_of(&effects).unwrap();
            assert_eq!((effects[position].treatment, prediction), (best, predictor.predict(&row)));
        }
    }
}

#[test]
fn bytes_come_back_as_they_were_and_in_a_version_of_their_own() {
    let mut rng = random(3);
    let schema = schema(4, &mut rng);
    let model = Model::Uplift(uplift(&schema, 3, 3, &mut rng));
    let bytes = model.encode(4);
    assert_eq!((u32::from(bytes[8]), Model::decode(&bytes).unwrap()), (MODEL_FORMAT_VERSION, (model, 4)));
    for length in 0..bytes.len() {
        assert!(Model::decode(&bytes[..length]).is_err(), "{length} bytes of {}", bytes.len());
    }
    // Behind the magic, two counts, the form, the limit and a flag stands the number of treatments.
    for n_arms in [21_u32, u32::MAX] {
        let mut hostile = bytes.clone();
        hostile[26..30].copy_from_slice(&n_arms.to_le_bytes());
        assert!(matches!(Model::decode(&hostile), Err(FormatError::TooMany { what: "treatments", .. })));
    }
}

#[track_caller]
fn refused(change: impl Fn(&mut UpliftModel), expected: &str) {
    let mut rng = random(4);
    let schema = schema(5, &mut rng);
    let mut model = uplift(&schema, 2, 2, &mut rng);
    Model::Uplift(model.clone()).check(&schema).unwrap();
    change(&mut model);
    let error: ModelError = Model::Uplift(model).check(&schema).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn effects_that_do_not_hold_together_are_refused() {
    refused(|model| model.arms.clear(), "at least one treatment");
    refused(|model| model.arms[1].name = "mail".to_owned(), "once");
    refused(
        |model| {
            let arm = model.arms[1].clone();
            model.arms.extend((0..limits::MAX_ARMS).map(|number| retain_score::Arm { name: number.to_string(), ..arm.clone() }));
        },
        "treatments, more than",
    );
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(|model| model.limit = limit, "limit of effects");
    }
    refused(|model| model.arms[0].average = f64::NAN, "`average` should be a finite number");
    refused(|model| model.arms[0].average = 1e200, "beyond 1e100");
    refused(|model| model.arms[1].half_width = -0.1, "half a width");
    let individual = |change: fn(&mut retain_score::Individual)| {
        move |model: &mut UpliftModel| change(model.arms[0].individual.as_mut().unwrap())
    };
    refused(individual(|one| one.parts.clear()), "at least one part");
    refused(individual(|one| one.slope = 101.0), "slope");
    refused(individual(|one| one.slope = f64::NAN), "slope");
    refused(individual(|one| one.center = f64::NEG_INFINITY), "`center`");
    refused(individual(|one| one.slope_half_width = f64::NAN), "`slope_half_width`");
    refused(individual(|one| one.parts = vec![one.parts[0].clone(); limits::MAX_PARTS + 1]), "parts of a score");
    refused(
        individual(|one| {
            if let EffectPart::Effect(margin) = &mut one.parts[0] {
                margin.intercept = 1e200;
            }
        }),
        "more than 1e100",
    );
    refused(
        individual(|one| {
            if let EffectPart::Chances { control, .. } = &mut one.parts[1] {
                control.terms[0].feature_idx = 99;
            }
        }),
        "feature 99",
    );
}
