#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, TreatmentSpec};
use retain_data::{Dataset, TableReport, Task};
use retain_score::{Predictor, Scorer};

use super::*;
use crate::train::{Preference, TrainOptions, train};

fn task(learners: &str) -> Task {
    Task::parse(&format!(
        "[task]\nname = \"mail\"\nkind = \"uplift\"\ndefinition = \"came back\"\nhorizon_days = 30\n[table]\ntarget = \"back\"\npositive = 1\n\
         treatment = \"sent\"\ncontrol = \"none\"\n[train]\nlearners = {learners}\nbudget_seconds = 600\nseed = 3"
    ))
    .unwrap()
}

fn report(n_rows: usize) -> TableReport {
    TableReport { n_rows, warnings: Vec::new(), columns: Vec::new(), sha256: String::new(), reference: None, observed: None }
}

/// What a treatment adds to the chance of a customer with this `x`, between −1 and 1, by its number from 1.
type Planted = fn(arm: u32, x: f64, plan: f64) -> f64;

/// A randomised table: `x` and `noise` are numbers, `plan` has two categories, a quarter of the controls come back.
fn table(n_rows: usize, treatments: &[&str], planted: Planted, seed: u64) -> Dataset {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut plan = FeatureSpec::new("plan", ColumnKind::Category);
    plan.set_categories(vec!["a".into(), "b".into()]);
    let features = vec![FeatureSpec::new("x", ColumnKind::Number), plan, FeatureSpec::new("noise", ColumnKind::Number)];
    let mut schema = FeatureSchema::new(features, None, "back".into(), "1".into(), None).unwrap();
    schema.treatment = Some(TreatmentSpec {
        column: "sent".into(),
        control: "none".into(),
        treatments: treatments.iter().map(|&name| name.to_owned()).collect(),
        propensity: None,
    });
    let (mut columns, mut target, mut arms) = (vec![Vec::new(); 3], Vec::new(), Vec::new());
    for _ in 0..n_rows {
        let (x, noise): (f64, f64) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
        let plan = f64::from(u8::from(rng.random_bool(0.5)));
        let arm = rng.random_range(0..=treatments.len() as u32);
        let effect = if arm == 0 { 0.0 } else { planted(arm, x, plan) };
        let chance = 0.25 + 0.1 * noise + effect;
        columns.iter_mut().zip([x, plan, noise]).for_each(|(column, value)| column.push(value));
        target.push(f64::from(u8::from(rng.random::<f64>() < chance)));
        arms.push(arm);
    }
    Dataset {
        schema,
        columns,
        target,
        weight: None,
        entity: (0..n_rows).map(|row| row.to_string()).collect(),
        group: (0..n_rows as u32).collect(),
        duration: None,
        past: None,
        treatment: Some(arms),
        propensity: None,
        observed: None,
    }
}

fn trained(task: &Task, dataset: &Dataset) -> Trained {
    trained_within(Duration::from_mins(10), task, dataset)
}

fn trained_within(budget: Duration, task: &Task, dataset: &Dataset) -> Trained {
    let options = TrainOptions { seed: 3, started: Instant::now(), budget, resamples: 300, prefer: Preference::Accurate };
    train(task, dataset, &report(dataset.n_rows()), None, &options, &|_, _, _| ()).unwrap()
}

const ALL: &str = "[\"logistic\", \"boosting\"]";

#[test]
fn a_planted_effect_is_found_with_its_size_and_its_order() {
    let dataset = table(8_000, &["mail"], |_, x, _| 0.1 + 0.15 * x, 1);
    let trained = trained(&task(ALL), &dataset);
    let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
    assert_eq!(report.verdict, Verdict::Conclusive);
    assert!(report.qini.low > 0.0 && report.average.low < 0.1 && report.average.high > 0.1, "{report:?}");
    let predictor = Predictor::new(&trained.bundle.model, &dataset.schema).unwrap();
    let effect = |x: f64| predictor.effects(&[x, 0.0, 0.0]).unwrap()[0];
    for x in [-0.8, 0.0, 0.8] {
        let (found, planted) = (effect(x), 0.1 + 0.15 * x);
        assert!((found.effect - planted).abs() < 0.05 && found.low < found.effect && found.effect < found.high, "{x}: {found:?}");
    }
    assert!(effect(0.9).conclusive && trained.warnings.is_empty(), "{:?}", trained.warnings);
    // Tenths of customers come out as they are promised.
    let bins = &report.measurement.calibration_table;
    let inside = bins.iter().filter(|bin| bin.observed.low <= bin.mean_prediction && bin.mean_prediction <= bin.observed.high);
    assert!(bins.len() == 10 && inside.count() >= 8, "{bins:?}");
}

#[test]
fn the_same_effect_for_all_is_said_to_be_that() {
    let dataset = table(6_000, &["mail"], |_, _, _| 0.1, 12);
    let trained = trained(&task(ALL), &dataset);
    let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let Model::Uplift(model) = &trained.bundle.model else { panic!("no model of effects") };
    let arm = &model.arms[0];
    let naive = report.measurement.evaluation.get(retain_eval::Metric::AverageEffect).unwrap();
    assert!(arm.individual.is_none() && (arm.average - 0.1).abs() < arm.half_width && arm.half_width < 0.04, "{arm:?} {naive:?}");
    assert_eq!((report.shipped_average.value, arm.average), (report.average.value, report.average.value));
}

#[test]
fn shuffled_treatments_are_inconclusive_and_drawn_to_nothing() {
    let mut held = 0;
    for seed in 0..12 {
        let mut dataset = table(1_500, &["mail"], |_, x, _| 0.1 + 0.15 * x, 40 + seed);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let arms = dataset.treatment.as_mut().unwrap();
        rand::seq::SliceRandom::shuffle(&mut arms[..], &mut rng);
        let trained = trained(&task("[\"logistic\"]"), &dataset);
        let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
        held += usize::from(report.qini.low <= 0.0 && report.qini.high >= 0.0);
        assert!(!report.is_predictable && trained.warnings.is_empty(), "{:?}", trained.warnings);
        if report.average.low <= 0.0 && report.average.high >= 0.0 && report.verdict == Verdict::Inconclusive {
            assert!(report.shipped_average.value.abs() < 0.75 * report.average.value.abs(), "{report:?}");
        }
    }
    assert!(held >= 10, "{held} of 12");
}

#[test]
fn each_of_several_treatments_goes_to_whom_it_helps() {
    let planted: Planted = |arm, _, plan| if (arm == 1) == (plan == 0.0) { 0.2 } else { 0.0 };
    let dataset = table(9_000, &["call", "mail"], planted, 5);
    let trained = trained(&task(ALL), &dataset);
    let scorer = Scorer::new(trained.bundle.manifest.clone(), dataset.schema.clone(), &trained.bundle.model).unwrap();
    let best = |plan: f64| {
        let effects = scorer.effects(&[0.0, plan, 0.0]).unwrap();
        effects.into_iter().max_by(|a, b| a.effect.total_cmp(&b.effect)).unwrap()
    };
    assert_eq!((best(0.0).treatment, best(1.0).treatment), ("call", "mail"));
    let uplift = trained.metrics.uplift.as_ref().unwrap();
    assert!(uplift.policies.iter().skip(2).all(|policy| policy.gain_of_choosing.low > 0.05), "{:?}", uplift.policies);
    let chosen = &uplift.policies[0];
    assert!((chosen.value.value - 0.45).abs() < 0.03 && (chosen.doubly_robust.value - 0.45).abs() < 0.03, "{chosen:?}");
}

#[test]
fn the_same_table_gives_the_same_bytes_with_one_thread_and_with_two() {
    let dataset = table(1_200, &["mail"], |_, x, _| 0.15 + 0.15 * x, 6);
    let bytes = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let trained = pool.install(|| trained(&task(ALL), &dataset));
        (trained.bundle.model.encode(3), trained.bundle.metrics, trained.bundle.card)
    };
    assert_eq!(bytes(1), bytes(2));
}

#[test]
fn who_was_chosen_by_features_is_told_loudly_and_weighed() {
    let mut dataset = table(6_000, &["mail"], |_, _, _| 0.0, 7);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    // Who has much of `noise` comes back more often, and is written to more often.
    let (noise, arms) = (dataset.columns[2].clone(), dataset.treatment.as_mut().unwrap());
    for (arm, noise) in arms.iter_mut().zip(noise) {
        *arm = u32::from(rng.random::<f64>() < 0.5 + 0.4 * noise);
    }
    let trained = trained(&task("[\"logistic\"]"), &dataset);
    assert!(trained.warnings.iter().any(|warning| warning.contains("WAS NOT GIVEN AT RANDOM")), "{:?}", trained.warnings);
    let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
    let naive = report.measurement.evaluation.get(retain_eval::Metric::AverageEffect).unwrap();
    assert!(report.is_predictable && naive.low > 0.0 && report.average.low < 0.0 && report.average.high > 0.0, "{report:?}");
}

#[test]
fn without_any_time_there_are_segments() {
    let planted: Planted = |_, _, plan| if plan == 0.0 { 0.25 } else { 0.0 };
    let dataset = table(4_000, &["mail"], planted, 14);
    let trained = trained_within(Duration::ZERO, &task(ALL), &dataset);
    let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
    assert_eq!((report.learner.as_str(), report.verdict), ("segments", Verdict::Conclusive));
    assert!(trained.warnings.iter().any(|warning| warning.contains("no time for the T-learner")), "{:?}", trained.warnings);
}

#[test]
fn what_random_folds_judge_is_wider_by_the_root_of_two_and_what_later_rows_judge_is_not() {
    let mut dataset = table(2_000, &["mail"], |_, x, _| 0.1 + 0.15 * x, 15);
    dataset.observed = Some((0..2_000).map(|row| 20_000.0 + 40.0 * f64::from(row % 10)).collect());
    let plan = experiment::plan(&dataset, 30.0, 3).unwrap();
    assert_eq!(Experiment::new(&dataset, &plan, 3).unwrap().widening(), 1.0);
    dataset.observed = None;
    let plan = experiment::plan(&dataset, 30.0, 3).unwrap();
    assert_eq!(Experiment::new(&dataset, &plan, 3).unwrap().widening(), std::f64::consts::SQRT_2);
}

#[test]
fn a_table_without_treatments_is_refused() {
    let mut dataset = table(400, &["mail"], |_, _, _| 0.1, 8);
    (dataset.schema.treatment, dataset.treatment) = (None, None);
    let options = TrainOptions {
        seed: 3,
        started: Instant::now(),
        budget: Duration::from_mins(1),
        resamples: 100,
        prefer: Preference::Accurate,
    };
    let error = train(&task(ALL), &dataset, &report(400), None, &options, &|_, _, _| ()).unwrap_err();
    assert!(matches!(error, TrainError::Uplift(UpliftError::NoTreatment)), "{error}");
}

#[test]
fn amounts_have_effects_in_their_own_unit() {
    let mut dataset = table(6_000, &["mail"], |_, _, _| 0.0, 9);
    dataset.schema.positive = Vec::new();
    let arms = dataset.treatment.clone().unwrap();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    for (row, target) in dataset.target.iter_mut().enumerate() {
        let effect = if arms[row] == 1 { 20.0 + 20.0 * dataset.columns[0][row] } else { 0.0 };
        *target = 50.0 + 30.0 * rng.random::<f64>() + effect;
    }
    let mut task = task(ALL);
    task.table.positive = Vec::new();
    let trained = trained(&task, &dataset);
    let predictor = Predictor::new(&trained.bundle.model, &dataset.schema).unwrap();
    let found = predictor.effects(&[0.5, 0.0, 0.0]).unwrap()[0];
    assert!((found.effect - 30.0).abs() < 4.0 && found.conclusive, "{found:?}");
    let report = &trained.metrics.uplift.as_ref().unwrap().treatments[0];
    assert!(report.measurement.evaluation.get(retain_eval::Metric::Auuc).is_none());
}
