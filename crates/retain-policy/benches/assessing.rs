//! What assessing one customer costs: a health score, signals, segments, a tier, points, badges and alerts.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use retain_policy::assess::{Assessment, Source};
use retain_policy::presets;
use retain_policy::rule::{Known, Name, Names, Values};

/// What a subscription business would use together.
const PRESETS: [&str; 7] = ["saas-health-a", "early-warning", "segments", "loyalty-l2", "points-p2", "badges", "alerts"];

fn assess(criterion: &mut Criterion) {
    let sources = PRESETS.map(|name| Source { name, text: presets::text(name).unwrap(), is_preset: true });
    let mut names = Names::default();
    let assessment = Assessment::parse(&sources, &mut names).unwrap().assessment;
    // 256 customers, so that the processor cannot learn one answer by heart.
    let customer = |customer: usize| {
        let mut values = Values::new(&names);
        for (position, (slot, name)) in names.iter().enumerate() {
            if let Name::Feature(feature) = name {
                let is_flag =
                    ["payment_failed", "payment_delay_any", "cancelled", "pilot", "needs_support"].contains(&feature.as_str());
                let is_text = ["segment", "product", "plan"].contains(&feature.as_str());
                let known = match (is_flag, is_text) {
                    (true, _) => Known::Boolean((customer + position).is_multiple_of(3)),
                    (_, true) => Known::Text("starter"),
                    _ => Known::Number(((customer * 31 + position * 17) % 100) as f64),
                };
                values.set(slot, known);
            }
        }
        values
    };
    let mut customers: Vec<Values<'_>> = (0..256).map(customer).collect();
    let mut next = (0..customers.len()).cycle();
    criterion.bench_function("assess/saas", |bencher| {
        bencher.iter(|| black_box(assessment.assess(&mut customers[next.next().unwrap()], None, 0)));
    });
}

criterion_group!(benches, assess);
criterion_main!(benches);
