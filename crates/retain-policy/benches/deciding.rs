//! What deciding costs: exploration probabilities for one customer, and the allocation of a month to all of them.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_policy::allocate::{Limit, Offer, Problem, allocate};
use retain_policy::explore::{Normal, draw, inverse_gap, thompson};

fn explore(criterion: &mut Criterion) {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut group = criterion.benchmark_group("explore");
    for n_actions in [3, 20] {
        // 256 customers, so that the processor cannot learn one answer by heart.
        let belief = |generator: &mut Xoshiro256PlusPlus| {
            Normal::new(10.0 * generator.random::<f64>(), 0.1 + 3.0 * generator.random::<f64>()).unwrap()
        };
        let customers: Vec<Vec<Normal>> = (0..256).map(|_| (0..n_actions).map(|_| belief(&mut generator)).collect()).collect();
        let means: Vec<Vec<f64>> = customers.iter().map(|values| values.iter().map(Normal::mean).collect()).collect();
        let mut next = (0..customers.len()).cycle();
        group.bench_function(BenchmarkId::new("thompson", n_actions), |bencher| {
            bencher.iter(|| draw(&thompson(black_box(&customers[next.next().unwrap()]), 0.01), 0.7));
        });
        group.bench_function(BenchmarkId::new("inverse_gap", n_actions), |bencher| {
            bencher.iter(|| draw(&inverse_gap(black_box(&means[next.next().unwrap()]), 10.0, 0.01), 0.7));
        });
    }
}

/// Values of one hundred customers' kinds with noise; 8 channels with room for a tenth of the customers, and a budget.
fn problem(n_customers: usize, n_actions: usize, budget: bool) -> Problem {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(11);
    let per_action = (0..n_actions).map(|action| Limit { actions: vec![action], capacity: (n_customers / 100) as u64 });
    let channel = |channel: usize| Limit {
        actions: (0..n_actions).filter(|action| action % 4 == channel).collect(),
        capacity: (n_customers / 25) as u64,
    };
    let limits = per_action.chain((0..4).map(channel)).collect();
    let mut problem = Problem::new(n_actions, limits, budget.then_some(n_customers as f64 / 10.0)).unwrap();
    for _ in 0..n_customers {
        let level = 20.0 * generator.random::<f64>();
        let offer =
            |action| Offer { action, value: level + 30.0 * generator.random::<f64>() - 15.0, cost: 0.2 + action as f64 / 10.0 };
        problem.push_customer(&(0..n_actions).map(offer).collect::<Vec<_>>()).unwrap();
    }
    problem
}

fn allocation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocate");
    group.sample_size(10);
    for n_customers in [1_000, 10_000, 100_000] {
        for (name, budget) in [("capacity", false), ("capacity_and_budget", true)] {
            let problem = problem(n_customers, 20, budget);
            assert!(allocate(&problem).gap() < 0.01);
            group.throughput(Throughput::Elements(n_customers as u64));
            group.bench_function(BenchmarkId::new(name, format!("{n_customers}x20")), |bencher| {
                bencher.iter(|| allocate(black_box(&problem)));
            });
        }
    }
}

criterion_group!(benches, explore, allocation);
criterion_main!(benches);
