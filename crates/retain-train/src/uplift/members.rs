//! The ways to learn an effect: segments, and S-, T-, X- and DR-learners over the product's own learners.
//!
//! | name | learns | score |
//! |---|---|---|
//! | segments | the mean doubly robust score in the parts of one feature, drawn to the mean of all | that mean |
//! | S | the outcome from the features and the treatment, in one model | with the treatment less without |
//! | T | the outcome in either arm, apart | one model less the other |
//! | X | in either arm, the outcome less what the other arm would have had | both, by the share of the other arm |
//! | DR | the doubly robust score of the effect | the margin |
//!
//! # Source
//! S, T and X: Künzel, Sekhon, Bickel and Yu (2019); DR: Kennedy (2023).

use std::sync::Arc;

use retain_core::{ColumnKind, FeatureSpec};
use retain_data::{Dataset, Task};
use retain_score::{EffectPart, MarginModel};

use super::experiment::{Experiment, Pair};
use super::nuisance::{Outcomes, fit_first};
use super::s_learner::with_value;
use super::segments::segments;
use crate::blend::weighted_sum;
use crate::boosting::Boosting;
use crate::learner::{Configuration, FitContext, Learner, Loss};
use crate::learners::{Linear, Logistic};
use crate::train::{BOOSTING, TrainError};

/// The name of the treatment beside the features; names of columns do not begin with a blank.
const TREATMENT: &str = " treatment";

/// A learner with a setting.
#[derive(Clone)]
pub(super) struct Base {
    learner: Arc<dyn Learner + Send>,
    configuration: Configuration,
    loss: Loss,
}

/// A way to learn an effect.
#[derive(Clone)]
pub(super) enum Method {
    Segments,
    S(Base),
    T(Base),
    X(Base),
    Dr(Base),
    /// The mean score of the members at these positions.
    Blend(Vec<usize>),
}

/// One way that is tried.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) configuration: String,
    pub(super) method: Method,
}

/// The ways worth trying with the learners of the task; the last is the mean of some of them. Segments need no fit, and after them
/// comes the one that is usually taken, so that a short budget has these.
///
/// Boosted trees are small here: effects are weak, and what trees of many leaves find of them is noise.
pub(super) fn members(task: &Task, dataset: &Dataset) -> Vec<Member> {
    let asks = |name: &str| task.learners.iter().any(|asked| asked == name);
    let has_boosting = asks(BOOSTING);
    // Where none of both was asked for, the linear models stand in for what is: effects are differences, and need them as a reference.
    let has_linear = asks("logistic") || !has_boosting;
    let is_chance = !dataset.schema.has_amounts();
    let ridge = |alpha: f64, squares: f64| Base {
        learner: Arc::new(Linear),
        configuration: Configuration::new(&[("alpha", alpha), ("squares", squares)]),
        loss: Loss::Squared,
    };
    let logistic = |alpha: f64, squares: f64| Base {
        learner: Arc::new(Logistic),
        configuration: Configuration::new(&[("alpha", alpha), ("squares", squares)]),
        loss: Loss::Logistic,
    };
    let trees = |loss: Loss| Base {
        learner: Arc::new(Boosting),
        configuration: Configuration::new(&[
            ("learning_rate", 0.05),
            ("leaves", 8.0),
            ("depth", 3.0),
            ("min_leaf_rows", (dataset.n_rows() as f64 / 200.0).clamp(20.0, 200.0)),
            ("l2", 5.0),
            ("rounds", 40.0),
        ]),
        loss,
    };
    let of_outcome = if is_chance { Loss::Logistic } else { Loss::Squared };
    let mut members = vec![Member::new("segments", Method::Segments)];
    if has_linear {
        let outcome = |alpha: f64, squares: f64| if is_chance { logistic(alpha, squares) } else { ridge(alpha / 100.0, squares) };
        members.push(Member::new("T", Method::T(outcome(10.0, 1.0))));
        members.push(Member::new("DR", Method::Dr(ridge(0.1, 1.0))));
        members.push(Member::new("X", Method::X(ridge(0.1, 1.0))));
        members.push(Member::new("T", Method::T(outcome(1000.0, 0.0))));
    }
    if has_boosting {
        members.push(Member::new("T", Method::T(trees(of_outcome))));
        members.push(Member::new("S", Method::S(trees(of_outcome))));
        members.push(Member::new("X", Method::X(trees(Loss::Squared))));
        members.push(Member::new("DR", Method::Dr(trees(Loss::Squared))));
    }
    let blended: Vec<usize> = (0..members.len()).filter(|&position| members[position].is_blended()).collect();
    if blended.len() > 1 {
        members.push(Member::new("blend", Method::Blend(blended)));
    }
    members
}

impl Member {
    fn new(name: &str, method: Method) -> Self {
        let (name, configuration) = match &method {
            Method::Segments | Method::Blend(_) => (name.to_owned(), String::new()),
            Method::S(base) | Method::T(base) | Method::X(base) | Method::Dr(base) => {
                (format!("{name}-learner, {}", base.learner.name()), base.configuration.to_string())
            }
        };
        Self { name, configuration, method }
    }

    /// Whether it is taken unless another is surely better: the regression in either arm that may curve.
    pub(super) fn is_usual(&self) -> bool {
        matches!(&self.method, Method::T(base) if base.learner.name() != BOOSTING && base.configuration.get("squares") == Some(1.0))
    }

    /// Whether it is averaged: differences of outcomes that were fitted closely. They err differently; scores of X and DR repeat the linear
    /// ones, or follow noise.
    fn is_blended(&self) -> bool {
        match &self.method {
            Method::T(base) => base.configuration.get("squares") != Some(0.0),
            Method::S(_) => true,
            _ => false,
        }
    }

    /// What the method makes of some rows of a pair; `outcomes` are told within these rows. A blend is made of others' parts.
    pub(super) fn fit(
        &self,
        experiment: &Experiment<'_>,
        pair: &Pair,
        outcomes: &Outcomes,
        context: &FitContext,
    ) -> Result<Vec<EffectPart>, TrainError> {
        let fit = Fit { experiment, pair, outcomes, context };
        match &self.method {
            Method::Segments => Ok(vec![EffectPart::Effect(segments(experiment.dataset, &outcomes.rows, &outcomes.score))]),
            Method::S(base) => fit.s(base),
            Method::T(base) => fit.t(base),
            Method::X(base) => fit.x(base),
            Method::Dr(base) => {
                let table = fit.table(|position| outcomes.score[position]);
                Ok(vec![EffectPart::Effect(fit.base(base, &table, &outcomes.rows)?)])
            }
            Method::Blend(_) => Err(TrainError::NoModel),
        }
    }
}

/// What every method is told.
struct Fit<'a> {
    experiment: &'a Experiment<'a>,
    pair: &'a Pair,
    outcomes: &'a Outcomes,
    context: &'a FitContext,
}

impl Fit<'_> {
    fn base(&self, base: &Base, table: &Dataset, rows: &[usize]) -> Result<MarginModel, TrainError> {
        let context = FitContext { loss: base.loss, ..*self.context };
        fit_first(base.learner.as_ref(), table, rows, std::slice::from_ref(&base.configuration), &context)
    }

    /// The table with another target for the rows of the fit.
    fn table(&self, target: impl Fn(usize) -> f64) -> Dataset {
        let mut table = self.experiment.dataset.clone();
        for (position, &row) in self.outcomes.rows.iter().enumerate() {
            table.target[row] = target(position);
        }
        table
    }

    fn t(&self, base: &Base) -> Result<Vec<EffectPart>, TrainError> {
        let of_arm = |arm: u32| {
            let rows = self.experiment.of_arm(arm, &self.outcomes.rows);
            self.base(base, self.experiment.dataset, &rows)
        };
        Ok(difference(of_arm(self.pair.arm)?, of_arm(0)?, base.loss))
    }

    fn s(&self, base: &Base) -> Result<Vec<EffectPart>, TrainError> {
        let mut table = self.experiment.dataset.clone();
        table.schema.features.push(FeatureSpec::new(TREATMENT, ColumnKind::Number));
        table.schema = table.schema.indexed().map_err(super::UpliftError::from)?;
        let treated = self.experiment.arms.iter().map(|&arm| f64::from(u8::from(arm == self.pair.arm)));
        table.columns.push(treated.collect());
        let both = self.base(base, &table, &self.outcomes.rows)?;
        let position = self.experiment.dataset.n_features() as u32;
        Ok(difference(with_value(&both, position, 1.0), with_value(&both, position, 0.0), base.loss))
    }

    fn x(&self, base: &Base) -> Result<Vec<EffectPart>, TrainError> {
        let Outcomes { rows, without, with, .. } = self.outcomes;
        let dataset = self.experiment.dataset;
        let is_treated = |position: usize| self.experiment.arms[rows[position]] == self.pair.arm;
        let table = self.table(|position| {
            let actual = dataset.target[rows[position]];
            if is_treated(position) { actual - without[position] } else { with[position] - actual }
        });
        let (treated, controls) = (self.experiment.of_arm(self.pair.arm, rows), self.experiment.of_arm(0, rows));
        let share = treated.len() as f64 / rows.len() as f64;
        let of_treated = self.base(base, &table, &treated)?;
        let of_controls = self.base(base, &table, &controls)?;
        Ok(vec![EffectPart::Effect(weighted_sum(vec![(1.0 - share, of_treated), (share, of_controls)]))])
    }
}

/// The difference of two models of the outcome.
fn difference(treated: MarginModel, control: MarginModel, loss: Loss) -> Vec<EffectPart> {
    if loss == Loss::Logistic {
        vec![EffectPart::Chances { weight: 1.0, treated, control }]
    } else {
        vec![EffectPart::Effect(weighted_sum(vec![(1.0, treated), (-1.0, control)]))]
    }
}

/// Parts with a share of their weight.
pub(super) fn weighed(parts: Vec<EffectPart>, share: f64) -> Vec<EffectPart> {
    let weigh = |part: EffectPart| match part {
        EffectPart::Effect(margin) => EffectPart::Effect(weighted_sum(vec![(share, margin)])),
        EffectPart::Chances { weight, treated, control } => EffectPart::Chances { weight: weight * share, treated, control },
    };
    parts.into_iter().map(weigh).collect()
}
