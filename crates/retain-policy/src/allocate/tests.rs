use good_lp::{Expression, ProblemVariables, Solution, SolverModel, constraint, microlp, variable};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

/// A problem as plain numbers: values and costs by customer and action, NaN where the customer is not eligible.
#[derive(Debug, Clone)]
struct Plain {
    values: Vec<Vec<f64>>,
    costs: Vec<Vec<f64>>,
    limits: Vec<Limit>,
    budget: Option<f64>,
}

fn limit(actions: &[usize], capacity: u64) -> Limit {
    Limit { actions: actions.to_vec(), capacity }
}

impl Plain {
    /// `n × m` values by a function of a uniform number and the action, costs of 0.5 to 1.5.
    fn drawn(seed: u64, n: usize, m: usize, limits: Vec<Limit>, budget: Option<f64>, value: impl Fn(f64, usize) -> f64) -> Self {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut row = |_| (0..m).map(|action| value(generator.random(), action)).collect();
        let values = (0..n).map(&mut row).collect();
        let mut cost_row = |_| (0..m).map(|_| 0.5 + generator.random::<f64>()).collect();
        Self { values, costs: (0..n).map(&mut cost_row).collect(), limits, budget }
    }

    fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.values[0].len(), self.limits.clone(), self.budget).unwrap();
        for (values, costs) in self.values.iter().zip(&self.costs) {
            let offers = values.iter().zip(costs).enumerate().filter(|(_, (value, _))| !value.is_nan());
            let offers: Vec<Offer> = offers.map(|(action, (&value, &cost))| Offer { action, value, cost }).collect();
            problem.push_customer(&offers).unwrap();
        }
        problem
    }

    /// The value of the linear program, in which customers may get fractions of the actions that the budget could pay for once.
    fn exact(&self) -> f64 {
        let mut variables = ProblemVariables::new();
        let mut rows: Vec<Expression> = vec![Expression::default(); self.values.len() + self.limits.len() + 1];
        let mut objective = Expression::default();
        for (customer, (values, costs)) in self.values.iter().zip(&self.costs).enumerate() {
            for (action, (&value, &cost)) in values.iter().zip(costs).enumerate() {
                if value.is_nan() || self.budget.is_some_and(|budget| cost > budget) {
                    continue;
                }
                let share = variables.add(variable().min(0.0).max(1.0));
                objective += value * share;
                rows[customer] += share;
                for (idx, _) in self.limits.iter().enumerate().filter(|(_, limit)| limit.actions.contains(&action)) {
                    rows[self.values.len() + idx] += share;
                }
                rows[self.values.len() + self.limits.len()] += cost * share;
            }
        }
        let most = std::iter::repeat_n(1.0, self.values.len());
        let most = most.chain(self.limits.iter().map(|limit| limit.capacity as f64)).chain([self.budget.unwrap_or(1e12)]);
        let mut model = variables.maximise(objective.clone()).using(microlp);
        for (row, most) in rows.into_iter().zip(most) {
            model.add_constraint(constraint!(row <= most));
        }
        model.solve().unwrap().eval(objective)
    }

    /// Adds up what was given out and holds it against limits and budget; gives the value.
    #[track_caller]
    fn check_feasible(&self, allocation: &Allocation) -> f64 {
        let (mut value, mut spent) = (0.0, 0.0);
        let mut used = vec![0; self.limits.len()];
        assert_eq!(allocation.actions.len(), self.values.len());
        for (customer, action) in allocation.actions.iter().enumerate() {
            let Some(action) = action.map(|action| action as usize) else { continue };
            assert!(self.values[customer][action] > 0.0);
            value += self.values[customer][action];
            spent += self.costs[customer][action];
            let holding = self.limits.iter().enumerate().filter(|(_, limit)| limit.actions.contains(&action));
            holding.for_each(|(idx, _)| used[idx] += 1);
        }
        for ((limit, used), report) in self.limits.iter().zip(used).zip(&allocation.limits) {
            assert!(used <= limit.capacity);
            assert_eq!((report.used, report.unused()), (used, limit.capacity - used));
            assert!(report.price >= 0.0 && report.price.is_finite());
        }
        assert!(self.budget.is_none_or(|budget| spent <= budget), "{spent} of {:?}", self.budget);
        assert_eq!(allocation.budget.map(|budget| budget.available), self.budget);
        assert!((allocation.value - value).abs() <= 1e-9 * value);
        value
    }
}

#[track_caller]
fn check_near_exact(name: &str, plain: &Plain) {
    let allocation = allocate(&plain.problem());
    let value = plain.check_feasible(&allocation);
    let exact = plain.exact();
    assert!(value >= 0.99 * exact, "{name}: {value} of {exact}, bound {}", allocation.upper_bound);
    assert!(allocation.upper_bound >= exact * (1.0 - 1e-9), "{name}: bound {} below {exact}", allocation.upper_bound);
    assert!(allocation.upper_bound <= 1.01 * exact + 1e-9, "{name}: bound {} of {exact}", allocation.upper_bound);
}

#[test]
fn random_problems_are_within_a_hundredth_of_the_linear_program() {
    for seed in 0..6 {
        for (n, m) in [(30, 3), (200, 5), (300, 8)] {
            let per_action = |capacity: usize| (0..m).map(|action| limit(&[action], (capacity + action) as u64)).collect();
            let tight = per_action(n / (2 * m));
            let value = |uniform: f64, action: usize| uniform * 10.0 + action as f64;
            check_near_exact("capacity", &Plain::drawn(seed, n, m, tight, None, value));
            let mut groups: Vec<Limit> = per_action(n / m);
            groups.push(limit(&[0, 1], n as u64 / 10));
            check_near_exact("groups", &Plain::drawn(seed, n, m, groups, None, value));
        }
        let value = |uniform: f64, _: usize| 20.0 * uniform - 8.0;
        check_near_exact("budget", &Plain::drawn(seed, 300, 5, vec![], Some(60.0), value));
        let both = vec![limit(&[0], 10), limit(&[1, 2], 30), limit(&[3], 50)];
        check_near_exact("capacity and budget", &Plain::drawn(seed, 300, 5, both, Some(70.5), value));
        let heavy = |uniform: f64, _: usize| (1.0 - uniform).powf(-1.2);
        check_near_exact(
            "heavy tails",
            &Plain::drawn(seed, 300, 4, vec![limit(&[0, 1, 2, 3], 100), limit(&[1], 7)], None, heavy),
        );
    }
}

#[test]
fn adversarial_problems_are_within_a_hundredth_too() {
    let caps = |capacities: &[u64]| capacities.iter().enumerate().map(|(action, &cap)| limit(&[action], cap)).collect();
    check_near_exact("all equal", &Plain::drawn(1, 100, 2, caps(&[30, 30]), None, |_, _| 10.0));
    check_near_exact("ties", &Plain::drawn(1, 200, 4, caps(&[20, 30, 5, 40]), None, |uniform, _| (uniform * 3.0).floor() + 1.0));
    check_near_exact("equal by action", &Plain::drawn(1, 100, 3, caps(&[10, 20, 30]), None, |_, action| action as f64 + 1.0));
    check_near_exact("zero capacity", &Plain::drawn(1, 100, 3, caps(&[0, 20, 0]), None, |uniform, _| uniform));
    check_near_exact("one action", &Plain::drawn(1, 100, 1, caps(&[7]), None, |uniform, _| uniform));
    check_near_exact("negative", &Plain::drawn(1, 100, 3, caps(&[10, 10, 10]), None, |uniform, _| uniform - 0.95));
    check_near_exact("no limits", &Plain::drawn(1, 100, 3, vec![], None, |uniform, _| uniform - 0.5));
    check_near_exact("loose limits", &Plain::drawn(1, 100, 3, caps(&[100, 500, 90]), Some(1e9), |uniform, _| uniform));
    let sparse = |uniform: f64, _: usize| if uniform < 0.7 { f64::NAN } else { uniform };
    check_near_exact("few eligible", &Plain::drawn(1, 200, 4, caps(&[10, 10, 10, 100]), None, sparse));
    let nested = vec![limit(&[0], 10), limit(&[0, 1], 25), limit(&[0, 1, 2], 40), limit(&[2, 3], 30)];
    check_near_exact("overlapping groups", &Plain::drawn(1, 200, 4, nested, None, |uniform, _| uniform));
    check_near_exact("huge values", &Plain::drawn(1, 200, 2, caps(&[10, 10]), None, |uniform, _| 1e99 * uniform));
    check_near_exact("small values", &Plain::drawn(1, 200, 2, caps(&[10, 10]), None, |uniform, _| 1e-3 * (uniform + 0.1)));
    let mut costly = Plain::drawn(1, 400, 3, caps(&[60, 60, 60]), Some(2000.0), |uniform, _| uniform);
    costly.costs.iter_mut().flatten().for_each(|cost| *cost = 40.0 * cost.powi(2));
    check_near_exact("dear actions", &costly);
    let mut free = Plain::drawn(1, 400, 3, caps(&[60, 60, 60]), Some(0.0), |uniform, _| uniform);
    free.costs.iter_mut().for_each(|costs| costs[1] = 0.0);
    check_near_exact("no money, one action free", &free);
}

#[test]
fn nothing_to_give_gives_nothing() {
    let allocation = allocate(&Problem::new(3, vec![limit(&[0], 5)], Some(10.0)).unwrap());
    assert_eq!((allocation.value, allocation.upper_bound, allocation.gap()), (0.0, 0.0, 0.0));
    let negative = Plain::drawn(1, 50, 2, vec![limit(&[0], 5)], None, |uniform, _| -uniform);
    let allocation = allocate(&negative.problem());
    assert!(allocation.actions.iter().all(Option::is_none));
    assert_eq!(allocation.limits[0].price, 0.0);
}

#[test]
fn a_price_is_what_one_more_would_bring() {
    let plain = |capacity, budget| {
        let limits = vec![limit(&[0], capacity), limit(&[1], 40), limit(&[2], 100_000)];
        Plain::drawn(5, 400, 3, limits, Some(budget), |uniform, action| 50.0 * uniform + [30.0, 10.0, 0.0][action])
    };
    let allocation = allocate(&plain(30, 90.0).problem());
    let (fewer, more) = (plain(28, 90.0).exact(), plain(32, 90.0).exact());
    assert!((allocation.limits[0].price - (more - fewer) / 4.0).abs() < 0.5, "{:?} {}", allocation.limits, (more - fewer) / 4.0);
    let (fewer, more) = (plain(30, 88.0).exact(), plain(30, 92.0).exact());
    let budget = allocation.budget.unwrap();
    assert!((budget.price - (more - fewer) / 4.0).abs() < 0.5, "{budget:?} {}", (more - fewer) / 4.0);
    assert_eq!(allocation.limits[2].price, 0.0);
    assert!(budget.price > 1.0 && allocation.limits[0].price > 1.0);
}

#[test]
fn a_closed_channel_is_priced_by_its_best_offer() {
    let mut problem = Problem::new(2, vec![limit(&[0], 0), limit(&[1], 5)], None).unwrap();
    for value in [3.0, 45.0, 7.0] {
        let offers = [Offer { action: 0, value, cost: 0.0 }, Offer { action: 1, value: 7.0, cost: 0.0 }];
        problem.push_customer(&offers).unwrap();
    }
    let allocation = allocate(&problem);
    assert_eq!(allocation.actions, [Some(1); 3]);
    assert!((allocation.limits[0].price - 38.0).abs() < 1e-6, "{:?}", allocation.limits);
}

#[test]
fn scarce_capacity_is_used_up() {
    let limits: Vec<Limit> = (0..6).map(|action| limit(&[action], 400 + 10 * action as u64)).collect();
    let plain = Plain::drawn(9, 20_000, 6, limits, None, |uniform, action| uniform + action as f64 / 10.0);
    let allocation = allocate(&plain.problem());
    plain.check_feasible(&allocation);
    assert!(allocation.limits.iter().all(|limit| limit.used as f64 >= 0.98 * limit.capacity as f64), "{:?}", allocation.limits);
    assert!(allocation.gap() < 0.001, "{}", allocation.gap());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let limits = vec![limit(&[0], 700), limit(&[1, 2], 900), limit(&[3], 11)];
    let problem = Plain::drawn(2, 30_000, 4, limits, Some(1500.0), |uniform, _| uniform).problem();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| allocate(&problem))
    };
    let (one, three) = (with(1), with(3));
    assert_eq!(one, three);
    assert!(one.gap() < 0.01);
}

#[test]
fn hostile_numbers_are_refused_with_their_place() {
    let offer = |value, cost| Offer { action: 1, value, cost };
    let mut problem = Problem::new(2, vec![], None).unwrap();
    problem.push_customer(&[]).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
        let error = problem.push_customer(&[offer(value, 0.0)]).unwrap_err();
        assert!(matches!(error, ProblemError::Value { customer: 1, action: 1, .. }), "{error}");
    }
    for cost in [f64::NAN, f64::INFINITY, -1e-9, 1e200] {
        let error = problem.push_customer(&[offer(1.0, cost)]).unwrap_err();
        assert!(matches!(error, ProblemError::Cost { customer: 1, action: 1, .. }), "{error}");
    }
    let twice = problem.push_customer(&[offer(1.0, 0.0), offer(2.0, 0.0)]).unwrap_err();
    assert_eq!(twice.to_string(), "customer 1: action 1 is offered twice");
    let unknown = problem.push_customer(&[Offer { action: 2, value: 1.0, cost: 0.0 }]).unwrap_err();
    assert_eq!(unknown.to_string(), "customer 1: should offer actions below 2, found 2");
    assert_eq!(problem.n_customers(), 1);
    for budget in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(matches!(Problem::new(2, vec![], Some(budget)), Err(ProblemError::Budget { .. })));
    }
    for actions in [&[2][..], &[0, 0]] {
        assert!(matches!(Problem::new(2, vec![limit(actions, 1)], None), Err(ProblemError::LimitAction { limit: 0, .. })));
    }
    assert!(matches!(Problem::new(2, vec![limit(&[0], 1); 257], None), Err(ProblemError::TooMany { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn limits_and_budget_are_never_exceeded(
        values in prop::collection::vec(prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(1.0), Just(f64::NAN), Just(1e9)], 4), 1..40),
        capacities in prop::collection::vec(0..12_u64, 5),
        budget in prop::option::of(prop_oneof![0.0..30.0_f64, Just(0.0)]),
        cost in prop_oneof![Just(0.1_f64), Just(0.0), 0.0..3.0_f64],
    ) {
        let mut limits: Vec<Limit> = (0..4).map(|action| limit(&[action], capacities[action])).collect();
        limits.push(limit(&[0, 2, 3], capacities[4]));
        let costs = values.iter().map(|row| row.iter().enumerate().map(|(idx, _)| cost * idx as f64).collect()).collect();
        let plain = Plain { values, costs, limits, budget };
        let allocation = allocate(&plain.problem());
        let value = plain.check_feasible(&allocation);
        prop_assert!(value <= allocation.upper_bound);
        prop_assert!(allocation.upper_bound >= plain.exact() - 1e-6 * allocation.upper_bound);
    }
}

#[test]
fn a_paced_limit_lasts_and_is_used_up() {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(4);
    // The price begins at 0 and far too high; the values jump up when half of the period is over.
    for first_price in [0.0, 50.0] {
        let mut pacer = Pacer::new(first_price, 300.0).unwrap();
        let mut used_by_quarter = [0.0; 4];
        let mut value = 0.0;
        for idx in 0..10_000 {
            let worth = 10.0 * generator.random::<f64>() + if idx < 5000 { 0.0 } else { 4.0 };
            let used = if worth > pacer.price() && pacer.allows(1.0) { 1.0 } else { 0.0 };
            used_by_quarter[idx / 2500] += used;
            value += worth * used;
            pacer.observe(worth, used, (idx + 1) as f64 / 10_000.0).unwrap();
        }
        assert!(pacer.left() <= 6.0, "{:?}", pacer.left());
        assert!(used_by_quarter.iter().all(|used| (25.0..=150.0).contains(used)), "{used_by_quarter:?}");
        // Serving the best of each half would bring 150 × 9.85 + 150 × 13.85.
        assert!(value > 0.9 * 3555.0, "{value}");
    }
}

#[test]
fn a_pacer_refuses_what_it_cannot_count() {
    for number in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(Pacer::new(number, 1.0).is_err() && Pacer::new(1.0, number).is_err());
    }
    let mut pacer = Pacer::new(1.0, 1.0).unwrap();
    for (worth, used, elapsed) in
        [(-1.0, 0.0, 0.5), (f64::NAN, 0.0, 0.5), (1.0, -1.0, 0.5), (1.0, 1.0, f64::NAN), (1.0, 1.0, 1.1)]
    {
        assert!(pacer.observe(worth, used, elapsed).is_err());
    }
    assert_eq!(pacer, Pacer::new(1.0, 1.0).unwrap());
    assert!(pacer.allows(1.0) && !pacer.allows(1.5));
    assert_eq!(pacer.observe(5.0, 1.0, 0.0), Ok(1.0));
    assert!(!pacer.allows(0.5) && pacer.left() == 0.0);
}
