//! What each action is expected to bring beyond doing nothing.
//!
//! The effect is the playbook's prior until decisions have been learned from, then what was learned (which holds the prior with its share);
//! where the uplift model says something conclusive of this customer, both are joined as normal numbers, each by its precision.

use super::Situation;
use super::past::Past;
use super::trace::{Asked, Check, CheckResult, Effect, EffectSource, RuleOf, Valuation};
use crate::playbook::{Action, Amount, Mode, Playbook};
use crate::posterior::Posterior;
use crate::rule::{NumberAnswer, Values};

/// Standard deviations from the middle of a normal number to the end of its 95 % interval.
const SDS_OF_95_PERCENT: f64 = 1.959_963_984_540_054;

/// A spread below this counts as this: an effect is never certain.
const LEAST_SD: f64 = 1e-9;

/// What is worth more, or costs more, is no worth that could be compared or summed.
const LARGEST_WORTH: f64 = 1e18;

/// What the uplift model says of an action for this customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreatmentEffect<'a> {
    /// The model's name of the action.
    pub treatment: &'a str,
    /// Change of the probability of success; positive is good.
    pub effect: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Whether the model was shown to tell customers apart; what is not conclusive is not used.
    pub conclusive: bool,
}

/// What was learned of an action's effect, the prior with its share included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learned {
    /// Expected change of the probability of success.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// The same without the luck of the customers that nothing was done for, which all actions were compared with alike.
    pub own_sd: f64,
    /// Decisions that it was learned from.
    pub n: f64,
    /// What part of it is the prior, from 0 to 1.
    pub prior_share: f64,
    /// Whether it is probably harmful, and known well enough to be kept from customers.
    pub blocked: bool,
}

impl From<&Posterior> for Learned {
    /// The belief about a change of success, where rewards are 1 for success and 0 for failure.
    fn from(posterior: &Posterior) -> Self {
        let &Posterior { mean, sd, own_sd, n, prior_share, .. } = posterior;
        Self { mean, sd, own_sd, n: n as f64, prior_share, blocked: posterior.is_sleeping_dog() }
    }
}

/// What was learned from earlier decisions.
pub trait Posteriors {
    /// What was learned of an action for this customer; absent where nothing was, and the prior stands.
    fn effect(&self, action_idx: usize, action: &Action) -> Option<Learned>;

    /// How unsure it is what doing nothing comes to, beside [`Learned::own_sd`]: the luck that all actions share.
    fn control_sd(&self) -> f64 {
        0.0
    }

    /// How often the action is accepted, for `mode = "pcvl"`; absent where nobody knows.
    fn acceptance(&self, _action_idx: usize, _action: &Action) -> Option<f64> {
        None
    }
}

/// Nothing was learned yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct PriorsOnly;

impl Posteriors for PriorsOnly {
    fn effect(&self, _action_idx: usize, _action: &Action) -> Option<Learned> {
        None
    }
}

/// What is left of something, and what one of it would bring elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stock {
    /// In the playbook's currency.
    pub price: f64,
    /// How many; absent where there is no limit.
    pub left: Option<u64>,
}

/// What is left of capacities. Lists that are shorter than the playbook's count as unlimited and free beyond their end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Supply {
    /// By action, in the order of the playbook.
    pub actions: Vec<Stock>,
    /// By channel, in the order of the playbook.
    pub channels: Vec<Stock>,
    /// What one unit of money would bring elsewhere, beyond itself.
    pub budget_price: f64,
}

impl Supply {
    /// What there is of an action.
    pub fn action(&self, idx: usize) -> Stock {
        self.actions.get(idx).copied().unwrap_or_default()
    }

    /// What there is of a channel.
    pub fn channel(&self, idx: usize) -> Stock {
        self.channels.get(idx).copied().unwrap_or_default()
    }
}

/// A number rule's number, or the check that says why there is none.
type Found<'a> = Result<f64, Check<'a>>;

/// What is the same for all candidates of one decision.
pub(super) struct Appraiser<'a, 's> {
    mode: Mode,
    values: &'a Values<'a>,
    situation: &'s Situation<'a>,
    stake: Found<'a>,
    fatigue: f64,
}

impl<'a, 's> Appraiser<'a, 's> {
    pub(super) fn new(playbook: &'a Playbook, values: &'a Values<'a>, situation: &'s Situation<'a>, past: &Past<'a>) -> Self {
        let fatigue = &playbook.fatigue;
        let fresh = if fatigue.cost_per_contact > 0.0 { past.fresh_contacts(fatigue.halves_after_days) } else { 0.0 };
        Self {
            mode: playbook.settings.mode,
            values,
            situation,
            stake: amount(playbook.settings.value_at_stake.as_ref(), 0.0, RuleOf::ValueAtStake, values),
            fatigue: fatigue.cost_per_contact * fresh,
        }
    }

    /// How unsure it is what doing nothing comes to, in the playbook's currency.
    pub(super) fn nothing_sd(&self) -> f64 {
        let sd = self.stake.map_or(0.0, |stake| self.situation.learned.control_sd() * stake.abs());
        if sd.is_finite() { sd } else { 0.0 }
    }

    /// What an action is worth; where that is unknown, the check that says why is added.
    pub(super) fn value(&self, idx: usize, action: &'a Action, checks: &mut Vec<Check<'a>>) -> Option<Valuation> {
        let learned = self.situation.learned.effect(idx, action);
        if learned.is_some_and(|learned| learned.blocked) {
            checks.push(Check { what: Asked::Guard, result: CheckResult::Failed });
        }
        let valuation = self.incremental(idx, action, learned).and_then(|valuation| self.with_priority(idx, action, valuation));
        match valuation {
            Ok(valuation)
                if [valuation.net, valuation.net_sd, valuation.priority].iter().all(|worth| worth.abs() <= LARGEST_WORTH) =>
            {
                Some(valuation)
            }
            Ok(_) => {
                checks.push(Check { what: Asked::Worth, result: CheckResult::Failed });
                None
            }
            Err(check) => {
                checks.push(check);
                None
            }
        }
    }

    fn incremental(&self, idx: usize, action: &'a Action, learned: Option<Learned>) -> Result<Valuation, Check<'a>> {
        let model = self.situation.effects.iter().find(|effect| effect.treatment == action.treatment);
        let effect = effect(action, learned, model);
        let value_at_stake = self.stake?;
        let own_value = amount(action.value.as_ref(), 0.0, RuleOf::OwnValue, self.values)?;
        let supply = self.situation.supply;
        let of_channel = action.channel.map_or(0.0, |channel| supply.channel(channel).price);
        let capacity_price = supply.action(idx).price + of_channel + supply.budget_price * action.cost;
        let fatigue = if action.channel.is_some() { self.fatigue } else { 0.0 };
        let net = effect.mean * value_at_stake + own_value - action.cost - fatigue - capacity_price;
        let net_sd = effect.sd * value_at_stake.abs();
        let own_sd = effect.own_sd * value_at_stake.abs();
        let cost = action.cost;
        Ok(Valuation {
            effect,
            value_at_stake,
            own_value,
            cost,
            fatigue,
            capacity_price,
            net,
            net_sd,
            own_sd,
            priority: net,
            factors: None,
        })
    }

    /// With `mode = "pcvl"`, candidates are put in order by propensity × context × value × lever.
    fn with_priority(&self, idx: usize, action: &'a Action, valuation: Valuation) -> Result<Valuation, Check<'a>> {
        if self.mode == Mode::Incremental {
            return Ok(valuation);
        }
        let factor = |given: &'a Option<Amount>, absent: f64, name| {
            let factor = amount(given.as_ref(), absent, RuleOf::Factor(name), self.values)?;
            if factor >= 0.0 { Ok(factor) } else { Err(Check { what: Asked::Worth, result: CheckResult::Failed }) }
        };
        let pcvl = &action.pcvl;
        let acceptance = self.situation.learned.acceptance(idx, action).unwrap_or(1.0);
        let factors = [
            factor(&pcvl.propensity, acceptance, "pcvl.propensity")?,
            factor(&pcvl.context, 1.0, "pcvl.context")?,
            factor(&pcvl.value, 1.0, "pcvl.value")?,
            factor(&pcvl.lever, 1.0, "pcvl.lever")?,
        ];
        Ok(Valuation { priority: factors.iter().product(), factors: Some(factors), ..valuation })
    }
}

fn amount<'a>(amount: Option<&'a Amount>, absent: f64, of: RuleOf, values: &Values<'a>) -> Found<'a> {
    let rule = match amount {
        None => return Ok(absent),
        Some(Amount::Fixed(number)) => return Ok(*number),
        Some(Amount::Rule(placed)) => &placed.rule,
    };
    let result = match rule.number(values) {
        NumberAnswer::Number(number) => return Ok(number),
        NumberAnswer::Unknown(slot) => CheckResult::Unknown(slot),
        NumberAnswer::Fault(fault) => CheckResult::Fault(fault),
    };
    Err(Check { what: Asked::Rule { of, rule }, result })
}

/// What is believed of an action's effect on this customer.
fn effect(action: &Action, learned: Option<Learned>, model: Option<&TreatmentEffect<'_>>) -> Effect {
    let before = if let Some(Learned { mean, sd, own_sd, n, prior_share, .. }) = learned {
        let source = if n > 0.0 { EffectSource::Outcomes } else { EffectSource::Prior };
        Effect { mean, sd, own_sd, source, prior_share, model_share: 0.0, n }
    } else {
        let (mean, sd) = (action.prior.effect, action.prior.sd);
        Effect { mean, sd, own_sd: sd, prior_share: 1.0, ..Effect::default() }
    };
    let usable =
        |model: &&TreatmentEffect<'_>| model.conclusive && model.effect.is_finite() && (model.high - model.low).is_finite();
    match model.filter(usable) {
        Some(model) => joined(before, model),
        None => before,
    }
}

/// Two normal beliefs of one number, each by its precision.
fn joined(before: Effect, model: &TreatmentEffect<'_>) -> Effect {
    let precision = |sd: f64| 1.0 / sd.max(LEAST_SD).powi(2);
    let of_before = precision(before.sd);
    let of_model = precision((model.high - model.low) / (2.0 * SDS_OF_95_PERCENT));
    let model_share = of_model / (of_before + of_model);
    Effect {
        mean: model_share * model.effect + (1.0 - model_share) * before.mean,
        sd: (1.0 / (of_before + of_model)).sqrt(),
        own_sd: (1.0 / (precision(before.own_sd) + of_model)).sqrt(),
        source: EffectSource::Model,
        prior_share: before.prior_share * (1.0 - model_share),
        model_share,
        n: before.n,
    }
}
