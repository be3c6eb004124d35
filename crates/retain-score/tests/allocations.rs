//! A prediction from raw values allocates nothing once it has been made before.

#![allow(
    unsafe_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "an allocator that counts is unsafe by its trait; a test may stop"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec, FeatureValue};
use retain_score::{
    AmountModel, Arm, Calibrator, Cause, EffectPart, Engine, HazardModel, Head, Individual, Interval, Kernel, MarginModel, Model,
    Node, NodeKind, Predictor, Shape, Term, Test, Tree, UpliftModel, ValueHead, with_period,
};

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        N_ALLOCATIONS.set(N_ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the trait's conditions.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn schema() -> FeatureSchema {
    let mut plan = FeatureSpec::new("plan", ColumnKind::Category);
    plan.set_categories((0..200).map(|plan| format!("plan {plan:03}")).collect());
    let features = vec![
        FeatureSpec::new("tenure", ColumnKind::Number),
        plan,
        FeatureSpec::new("autopay", ColumnKind::Boolean),
        FeatureSpec::new("since", ColumnKind::Date),
    ];
    FeatureSchema::new(features, None, "churned".into(), "yes".into(), None).unwrap()
}

fn head(schema: &FeatureSchema) -> Head {
    let stump = |feature_idx: u32, test: Test| {
        let leaf = |value: f64| Node { cover: 1.0, kind: NodeKind::Leaf { value } };
        let kind = NodeKind::Split { feature_idx, test, missing_left: feature_idx.is_multiple_of(2), left: 1, right: 2 };
        Tree { nodes: vec![Node { cover: 2.0, kind }, leaf(-0.1), leaf(0.2)] }
    };
    let mut trees: Vec<Tree> = (0..150)
        .map(|i| match i % 4 {
            1 => stump(1, Test::OneOf(vec![i / 2, 100])),
            feature_idx => stump(feature_idx, Test::Below(f64::from(i) / 10.0)),
        })
        .collect();
    if schema.n_features() > 4 {
        trees.push(stump(4, Test::Below(1.0)));
    }
    let shape =
        Shape::Number { low: 0.0, high: 90.0, log: true, center: 2.0, scale: 1.5, linear: 0.3, quadratic: 0.1, missing: 0.2 };
    let terms = vec![Term { feature_idx: 0, shape, mean: 0.1 }];
    let calibrator = Calibrator::Isotonic { margins: vec![-1.0, 0.0, 2.0], log_odds: vec![-2.0, 0.1, 1.0] };
    Head { margin: MarginModel { intercept: -1.0, terms, trees }, calibrator }
}

fn models(schema: &FeatureSchema) -> Vec<Model> {
    let extended = with_period(schema).unwrap();
    let cause = |name: &str| Cause { name: name.to_owned(), hazard: head(&extended) };
    let value = ValueHead {
        margin: head(schema).margin,
        occurrence_weight: 1.0,
        spread: Some(head(schema).margin),
        calibrator: Calibrator::Identity,
        interval: Some(Interval { borders: vec![2.0], low: vec![-1.0, -0.5], high: vec![0.5, 0.7] }),
    };
    vec![
        Model::Event(head(schema)),
        Model::Hazard(HazardModel {
            period_ends: vec![30.0, 60.0, 90.0, 120.0],
            horizon_days: 100.0,
            causes: vec![cause("price"), cause("service")],
        }),
        Model::Amount(AmountModel { occurrence: head(schema), value, decline: Some(head(schema)) }),
        Model::Uplift(UpliftModel {
            arms: vec![Arm {
                name: "mail".to_owned(),
                average: 0.1,
                half_width: 0.05,
                individual: Some(Individual {
                    parts: vec![
                        EffectPart::Effect(head(schema).margin),
                        EffectPart::Chances { weight: 1.0, treated: head(schema).margin, control: head(schema).margin },
                    ],
                    center: 0.0,
                    slope: 0.5,
                    slope_half_width: 0.1,
                }),
            }],
            limit: 1.0,
            chooses: true,
        }),
    ]
}

#[test]
fn a_prediction_from_raw_values_allocates_nothing_after_the_first() {
    let schema = schema();
    let today = Some(Day::parse("2026-03-01").unwrap());
    let customers: [[FeatureValue<'_>; 4]; 3] = [
        [FeatureValue::Number(12.0), FeatureValue::Text("plan 007"), FeatureValue::Text("yes"), FeatureValue::Text("2024-02-29")],
        [FeatureValue::Missing, FeatureValue::Text("no such plan"), FeatureValue::Missing, FeatureValue::Missing],
        [FeatureValue::Text("3.5"), FeatureValue::Missing, FeatureValue::Text("no"), FeatureValue::Text("2025-12-31")],
    ];
    for model in models(&schema) {
        let predictor = Predictor::new(&model, &schema).unwrap();
        let mut row = vec![0.0; schema.n_features()];
        let mut predict = |values: &[FeatureValue<'_>; 4]| {
            schema.encode_row(values.iter().copied(), today, &mut row, |_, _| ()).unwrap();
            predictor.predict(&row).probability
        };
        let first: Vec<f64> = customers.iter().map(&mut predict).collect();
        let before = N_ALLOCATIONS.get();
        let again = customers.each_ref().map(&mut predict);
        let n_allocations = N_ALLOCATIONS.get() - before;
        assert_eq!(n_allocations, 0);
        assert_eq!(first, again);
    }
}

#[test]
fn no_kernel_allocates_after_the_first_rows() {
    let schema = schema();
    let values: Vec<f64> = (0..300 * schema.n_features()).map(|i| (i % 17) as f64).collect();
    for kernel in [Kernel::Best, Kernel::Avx2, Kernel::Portable] {
        let engine = Engine::with_kernel(&head(&schema).margin, &schema, kernel).unwrap();
        let mut margins = Vec::new();
        let mut score = || {
            engine.margins(&values, &mut margins);
            engine.margin(&values[..schema.n_features()])
        };
        let first = score();
        let before = N_ALLOCATIONS.get();
        let again = score();
        let n_allocations = N_ALLOCATIONS.get() - before;
        assert_eq!(n_allocations, 0, "{kernel:?}");
        assert_eq!(first.to_bits(), again.to_bits());
    }
}
