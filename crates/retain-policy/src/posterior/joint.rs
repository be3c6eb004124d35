//! Beliefs about several actions that were compared with the same rows.

use super::{EffectEstimate, Posterior, Prior};

/// What is believed of the actions of one group of customers, together: their priors and what rows say, in the same order.
///
/// All estimates share the luck of the rows without any action: where every action seems to bring more than its prior says, those
/// rows were probably unlucky, and each estimate is taken that much lower. What an action's own rows say then counts by their own
/// noise, so actions are told apart long before it is known how they compare with doing nothing. An `ess` counts against the action's own rows.
///
/// # Source
/// A normal model with one common factor, solved exactly. Derivation: with estimates `d = e + c + noise`, effects `e` normal around their
/// priors and `c` normal around 0 with the control rows' variance, `c` has the posterior of a weighted mean of `d − prior mean`, and given
/// `c` the effects are independent.
pub fn joint_posteriors(priors: &[Prior], estimates: &[Option<EffectEstimate>]) -> Vec<Posterior> {
    let pairs = || priors.iter().zip(estimates);
    let (luck, luck_variance) = common_luck(pairs().filter_map(|(prior, estimate)| Some((prior, estimate.as_ref()?))));
    let posterior = |(prior, estimate): (&Prior, &Option<EffectEstimate>)| match estimate {
        None => prior.posterior(None),
        Some(estimate) => of_action(prior, estimate, luck, luck_variance),
    };
    pairs().map(posterior).collect()
}

fn of_action(prior: &Prior, estimate: &EffectEstimate, luck: f64, luck_variance: f64) -> Posterior {
    let own = own_variance(estimate);
    let prior_variance = prior_variance(prior, estimate);
    let share = if own + prior_variance > 0.0 { own / (own + prior_variance) } else { 1.0 };
    let rest = 1.0 - share;
    let own_variance = share * share * prior.belief.sd() * prior.belief.sd() + rest * rest * own;
    Posterior {
        mean: share * prior.belief.mean() + rest * (estimate.mean - luck),
        sd: (own_variance + rest * rest * luck_variance).sqrt(),
        own_sd: own_variance.sqrt(),
        n: estimate.treated_rows,
        effective_rows: estimate.effective_rows,
        prior_share: share,
    }
}

/// By how much the rows without any action made all actions look better, with the variance of that.
fn common_luck<'a>(known: impl Iterator<Item = (&'a Prior, &'a EffectEstimate)>) -> (f64, f64) {
    let (mut weights, mut sum, mut control, mut n) = (0.0, 0.0, 0.0, 0.0);
    for (prior, estimate) in known {
        let variance = own_variance(estimate) + prior_variance(prior, estimate);
        if variance > 0.0 {
            weights += 1.0 / variance;
            sum += (estimate.mean - prior.belief.mean()) / variance;
        }
        control += estimate.control_variance;
        n += 1.0;
    }
    if control <= 0.0 {
        return (0.0, 0.0);
    }
    // Every estimate's own rows without action are nearly the same ones: their variance is the mean of those said.
    let precision = n / control + weights;
    (sum / precision, 1.0 / precision)
}

fn own_variance(estimate: &EffectEstimate) -> f64 {
    (estimate.variance - estimate.control_variance).max(0.0)
}

/// The variance that a prior stands for beside an estimate: its own, or the one that makes it count for its `ess`.
fn prior_variance(prior: &Prior, estimate: &EffectEstimate) -> f64 {
    match prior.ess {
        None => prior.belief.sd() * prior.belief.sd(),
        Some(ess) => own_variance(estimate) * estimate.effective_rows / ess.max(f64::MIN_POSITIVE),
    }
}
