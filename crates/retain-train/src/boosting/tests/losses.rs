//! Losses other than the logistic one, on customers whose truth is known.

use super::*;

/// Customers with a known mean, and their targets: counts, amounts with many zeros, or positive amounts.
fn amounts(n_rows: usize, seed: u64, loss: Loss) -> (Dataset, Vec<f64>) {
    let mut data = mixed(n_rows, seed);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0xabc);
    let (x, plan) = (&data.columns[1], &data.columns[3]);
    let means: Vec<f64> = x.iter().zip(plan).map(|(x, plan)| (1.5 * x + 0.5 * f64::from(u8::from(*plan == 1.0))).exp()).collect();
    let mut gamma = |mean: f64| -mean * (1.0 - rng.random::<f64>()).ln();
    data.target = means.iter().map(|&mean| draw(mean, loss, &mut gamma)).collect();
    (data, means)
}

/// One target: exponential (gamma of shape 1), a Poisson count, or as many exponentials as a Poisson count says.
fn draw(mean: f64, loss: Loss, exponential: &mut impl FnMut(f64) -> f64) -> f64 {
    let count = |exponential: &mut dyn FnMut(f64) -> f64| {
        let mut passed = exponential(1.0);
        let mut count = 0.0;
        while passed < mean {
            passed += exponential(1.0);
            count += 1.0;
        }
        count
    };
    match loss {
        Loss::Gamma => exponential(mean).max(1e-9),
        Loss::Tweedie { .. } => (0..count(exponential) as u32).map(|_| exponential(1.0)).sum(),
        Loss::Squared | Loss::Quantile { .. } => mean + exponential(1.0) - 1.0,
        _ => count(exponential),
    }
}

fn fit_with(data: &Dataset, loss: Loss, settings: &[(&'static str, f64)]) -> MarginModel {
    let model =
        Boosting.fit(data, &all_rows(data), &[Configuration::new(settings)], &FitContext { loss, ..CONTEXT }).unwrap().remove(0);
    model.check(&data.schema).unwrap();
    model
}

fn total_loss(data: &Dataset, loss: Loss, margin: impl Fn(&[f64], usize) -> f64) -> f64 {
    let rows = data.all_rows();
    rows.in_order().zip(&data.target).enumerate().map(|(at, (row, &target))| loss.value(margin(row, at), target)).sum()
}

#[test]
fn every_loss_comes_near_the_truth_on_fresh_customers() {
    for loss in [Loss::Squared, Loss::Poisson, Loss::Tweedie { power: 1.5 }, Loss::Gamma] {
        assert!(Boosting.supports(loss));
        let (train, _) = amounts(4000, 50, loss);
        let (fresh, means) = amounts(4000, 51, loss);
        let model = fit_with(&train, loss, &[("learning_rate", 0.1)]);
        let found = total_loss(&fresh, loss, |row, _| model.margin(row));
        let truth = total_loss(&fresh, loss, |_, at| if loss == Loss::Squared { means[at] } else { means[at].ln() });
        let constant = total_loss(&fresh, loss, |_, _| model.intercept);
        assert!(found - truth < 0.1 * (constant - truth), "{loss:?}: {found} between {truth} and {constant}");
    }
}

#[test]
fn a_quantile_has_its_share_below_it() {
    for level in [0.1, 0.5, 0.9] {
        let loss = Loss::Quantile { level };
        let (train, _) = amounts(4000, 52, loss);
        let (fresh, means) = amounts(4000, 53, loss);
        let model = fit_with(&train, loss, &[("learning_rate", 0.1), ("leaves", 8.0)]);
        let below = fresh.all_rows().in_order().zip(&fresh.target).filter(|(row, target)| **target <= model.margin(row)).count();
        assert!((below as f64 / 4000.0 - level).abs() < 0.03, "{level}: {below}");
        // Noise is an exponential less 1, whose quantiles are known.
        let truth = total_loss(&fresh, loss, |_, at| means[at] - (1.0 - level).ln() - 1.0);
        let constant = total_loss(&fresh, loss, |_, _| model.intercept);
        let found = total_loss(&fresh, loss, |row, _| model.margin(row));
        assert!(found - truth < 0.25 * (constant - truth), "{level}: {found} between {truth} and {constant}");
    }
}

#[test]
fn quantiles_keep_the_order_asked_for_in_any_unit() {
    for unit in [1e-6, 1.0, 1e6] {
        let loss = Loss::Quantile { level: 0.8 };
        let (mut data, _) = amounts(1500, 54, loss);
        data.schema.features[1].monotone = Some(Monotone::Increasing);
        data.target.iter_mut().for_each(|target| *target *= unit);
        let model = fit_with(&data, loss, &[("rounds", 60.0), ("columns", 1.0), ("learning_rate", 0.3)]);
        let at = |x: u32| model.margin(&[0.5, f64::from(x) / 40.0, 3.0, 1.0]) / unit;
        assert!((0..40).all(|x| at(x) <= at(x + 1) + 1e-9), "{unit}");
        assert!(at(40) - at(0) > 1.0, "{unit}: the quantile rises by 3.5 · e^0.5");
    }
}

#[test]
fn squared_errors_do_not_depend_on_the_unit() {
    let (mut data, _) = amounts(1000, 55, Loss::Squared);
    let settings = [("rounds", 30.0), ("l2", 0.0)];
    let model = fit_with(&data, Loss::Squared, &settings);
    let scale = 1.0 / f64::from(1 << 30);
    data.target.iter_mut().for_each(|target| *target *= scale);
    let small = fit_with(&data, Loss::Squared, &settings);
    for row in data.all_rows().in_order() {
        assert!((small.margin(row) / scale - model.margin(row)).abs() < 1e-6);
    }
}

#[test]
fn hostile_amounts_give_finite_margins_or_a_reason() {
    let (mut data, _) = amounts(600, 56, Loss::Poisson);
    let losses = [Loss::Squared, Loss::Poisson, Loss::Tweedie { power: 1.9 }, Loss::Gamma, Loss::Quantile { level: 0.01 }];
    for pattern in [[1e30, 1e-30, 1.0], [1e-300, 1e-300, 1e-300], [5.0, 5.0, 1e9]] {
        data.target = (0..600).map(|row| pattern[row % 3]).collect();
        for loss in losses {
            let model = fit_with(&data, loss, &[("l2", 0.0), ("min_hessian", 0.0), ("rounds", 40.0), ("min_leaf_rows", 1.0)]);
            assert!(data.all_rows().in_order().all(|row| model.margin(row).is_finite()), "{loss:?} {pattern:?}");
        }
    }
    data.target = vec![0.0; 600];
    let refused = |loss| Boosting.fit(&data, &all_rows(&data), &[Configuration::new(&[])], &FitContext { loss, ..CONTEXT });
    assert!(matches!(refused(Loss::Gamma), Err(FitError::Target { row: 0, .. })));
    assert!(refused(Loss::Poisson).unwrap()[0].trees.is_empty(), "nobody does anything: a constant");
}
