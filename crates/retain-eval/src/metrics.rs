//! [`Metric`]: the names of the quality numbers and what each one means.
//!
//! Ties are treated as scikit-learn treats them, and where it has no such metric the rule stands at the variant: a metric
//! depends on the rows, never on their order. How each is computed is in `binary`, `values` and `survival`.

use std::fmt;

use retain_core::nearest;
use serde::{Deserialize, Serialize};

use crate::gauge::Gauge;
use crate::labelled::{EvalError, Labelled};
use crate::outcome::OutcomeKind;

/// A number that says how good predictions are. Which there are depends on the kind of outcome: [`Metric::of_kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Metric {
    /// Chance that a positive row is ranked above a negative one; a tie counts half. scikit-learn's `roc_auc_score`.
    RocAuc,
    /// `Σ (recall_k − recall_{k−1}) · precision_k` over distinct probabilities. scikit-learn's `average_precision_score`.
    AveragePrecision,
    /// Mean of `−ln(probability of what happened)`, natural logarithm, probabilities clipped to `[2⁻⁵², 1 − 2⁻⁵²]`.
    /// scikit-learn's `log_loss`.
    LogLoss,
    /// Mean of `(probability − label)²`. scikit-learn's `brier_score_loss`.
    BrierScore,
    /// `1 − brier_score / (r · (1 − r))`, where `r` is the rate of positives among the rows measured: the share of the Brier
    /// score that the best constant prediction leaves.
    BrierSkill,
    /// Expected calibration error: mean of `|mean prediction − rate of positives|` over ten bins, weighted by rows.
    ///
    /// Bins hold equal shares of rows. Rows of one probability are never split: together they go to the bin that their
    /// middle rank falls in, `⌊10 · (rows below + half of the tied rows) / rows⌋`.
    Ece10,
    /// Rate of positives among the tenth of rows of highest probability, divided by the rate among all.
    ///
    /// The tenth is exact: where its border falls among tied rows (or within a row), they count with the share that is inside,
    /// which is the expectation over their random orders.
    LiftAt10,
    /// Slope of the logistic recalibration (Cox, 1958); 1 is calibrated, below 1 is overconfident.
    CalibrationSlope,
    /// Intercept of the same fit, in log-odds: what is left at a predicted one half; 0 is calibrated.
    CalibrationIntercept,
    /// Mean prediction minus rate of positives; 0 is calibrated, above 0 promises too many.
    CalibrationInTheLarge,
    /// Area between the concentration curve of the actual values, in order of falling prediction, and the diagonal, divided by
    /// that of the perfect order; 1 is perfect, 0 is no order, −1 upside down.
    ///
    /// With `cum_i` the share of the total value in the first `i` of `n` rows the area is `2 · Σ cum_i / n − 1` (Lorenz, 1905;
    /// the lifetime-value form is that of Wang, Liu and Miao, 2019, arXiv 1912.07753), here by trapezoids, that is with
    /// `(cum_{i−1} + cum_i) / 2` for `cum_i`: no order then scores 0 instead of `1 / n`. Over tied predictions the curve is
    /// straight, the mean over their orders. Not defined where all values are the same.
    NormalizedGini,
    /// Spearman's rank correlation of prediction and actual value, tied rows at their middle rank. scipy's `spearmanr`.
    Spearman,
    /// Mean over ten bins of `|mean prediction − mean actual| / mean actual`.
    ///
    /// Bins hold equal shares of rows in order of prediction, with the rule for ties of [`Self::Ece10`]; empty ones do not
    /// count. A bin whose mean actual is not above 0 has no relative error of its own: its gap is divided by the mean actual of
    /// all rows instead, so that value promised to customers who bring none is not overlooked. Not defined where the total is
    /// not above 0.
    DecileMape,
    /// `(Σ prediction − Σ actual) / Σ actual`; 0 is right, above 0 promises too much. Not defined where the total is not above 0.
    TotalBias,
    /// Mean of `|prediction − actual|`. scikit-learn's `mean_absolute_error`.
    Mae,
    /// Root of the mean of `(prediction − actual)²`. scikit-learn's `root_mean_squared_error`.
    Rmse,
    /// Share of the Poisson deviance that the predictions explain, `1 − deviance(prediction) / deviance(mean actual)`.
    /// scikit-learn's `d2_tweedie_score(power=1)`.
    ///
    /// Not defined for values or predictions below 0, for a prediction of 0 where something came, and where all values are the
    /// same.
    PoissonD2,
    /// Share of the total value in the tenth of rows of highest prediction; the tenth is exact as in [`Self::LiftAt10`].
    /// Not defined with values below 0.
    TopTenthValue,
    /// Share of actual values within their predicted interval, ends included.
    IntervalCoverage,
    /// Mean width of the predicted intervals, in the unit of the values.
    IntervalWidth,
    /// Mean squared error of the survival probability at a day, by inverse probability of censoring weights.
    ///
    /// Rows whose event came by the day weigh `1 / G(time)`, rows that were followed to the day without it `1 / G(day)`, rows
    /// that were lost before it nothing; `G(t)` is the Kaplan-Meier estimate, on the rows measured, that a row is still observed
    /// at `t`. An event comes before a censoring of the same day, so a row censored on the very day counts as survived, and a
    /// study that ends for all on day 180 has a score at day 180. Graf et al. (1999); scikit-survival's `brier_score`, which
    /// agrees where no event, censoring and day fall together.
    SurvivalBrier(Horizon),
    /// The score of [`Self::SurvivalBrier`] at all grid days, integrated by trapezoids and divided by the days between first and
    /// last. scikit-survival's `integrated_brier_score`.
    IntegratedBrier,
    /// Chance that of two rows the one whose event comes first, before the last grid day, has the higher predicted risk by that
    /// day; tied risks count half. Pairs weigh `1 / G(time)²` with `G` of [`Self::SurvivalBrier`].
    /// Uno et al. (2011); scikit-survival's `concordance_index_ipcw`.
    UnoC,
    /// Expected calibration error of the risk by a day: mean of `|mean predicted risk − Kaplan-Meier risk|` over ten bins,
    /// weighted by rows.
    ///
    /// Bins as in [`Self::Ece10`]; one in which nobody was followed to the day does not count.
    SurvivalEce(Horizon),
    /// Mean predicted risk by a day minus the Kaplan-Meier risk of all rows; 0 is calibrated, above 0 promises too many events.
    SurvivalBias(Horizon),
    /// p value of D-calibration: the survival probabilities at the rows' own times are spread evenly over ten bins of `[0, 1]`.
    ///
    /// Curves are straight between grid days, which a grid of long steps pays for with a lower p; an event on a grid day is spread
    /// over the survival since the grid day before, as durations in whole months do not say when it came. A censored row is spread over
    /// the bins below its own; times after the last grid day are censored there. Pearson's statistic with nine degrees of
    /// freedom takes rows for independent, and resamples are less even than the rows, so the interval lies low: a floor on it
    /// errs on the safe side. Haider et al. (2020), "Effective ways to build and evaluate individual survival distributions".
    DCalibrationP,
    /// Area between the Qini curve and the straight line to its end, divided by that of the perfect curve; 0 is no order, negative an
    /// order that harms.
    ///
    /// With rows by falling effect, `t` treated and `c` controls among the first ones and outcomes `y_t` and `y_c` of theirs in sum, the
    /// curve is `y_t − y_c · t / c` over `t + c` (Radcliffe, 2007), by trapezoids from 0. The perfect order is by `y` of treated and `−y`
    /// of controls. scikit-uplift's `qini_auc_score` with `negative_effect=True`; its rule for ties is kept: rows of one effect are one
    /// step. Amounts are measured in the same way. Not defined where the perfect curve has no area.
    Qini,
    /// The same for the curve `(y_t / t − y_c / c) · (t + c)`. scikit-uplift's `uplift_auc_score`; its perfect order is by `2 · [y = treated]`
    /// plus `y`, or plus `treated` where controls with the outcome are no more than treated rows without. Not defined for amounts.
    Auuc,
    /// Mean outcome of treated rows less that of controls among the 30 % of rows of highest effect. scikit-uplift's
    /// `uplift_at_k(strategy='overall', k=0.3)`: the list has the whole part of 0.3 · rows; where its border falls among tied rows they
    /// count with the share that is inside. Not defined where the list has one arm only.
    UpliftAt30,
    /// Mean outcome of treated rows less that of controls: the effect on average, whatever was predicted. Above 0 is good.
    AverageEffect,
    /// Mean predicted effect minus [`Self::AverageEffect`]; 0 is right, above 0 promises too much.
    EffectBias,
}

impl Metric {
    /// The metrics of a binary outcome, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::RocAuc,
        Self::AveragePrecision,
        Self::LogLoss,
        Self::BrierScore,
        Self::BrierSkill,
        Self::Ece10,
        Self::LiftAt10,
        Self::CalibrationSlope,
        Self::CalibrationIntercept,
        Self::CalibrationInTheLarge,
    ];

    /// The metrics of an amount or a count, in the order of reports.
    pub const OF_VALUES: [Self; 10] = [
        Self::NormalizedGini,
        Self::Spearman,
        Self::DecileMape,
        Self::TotalBias,
        Self::Mae,
        Self::Rmse,
        Self::PoissonD2,
        Self::TopTenthValue,
        Self::IntervalCoverage,
        Self::IntervalWidth,
    ];

    /// The metrics of a time to an event, in the order of reports.
    pub const OF_SURVIVAL: [Self; 12] = [
        Self::UnoC,
        Self::IntegratedBrier,
        Self::SurvivalBrier(Horizon::Days30),
        Self::SurvivalBrier(Horizon::Days90),
        Self::SurvivalBrier(Horizon::Days180),
        Self::SurvivalBias(Horizon::Days30),
        Self::SurvivalBias(Horizon::Days90),
        Self::SurvivalBias(Horizon::Days180),
        Self::SurvivalEce(Horizon::Days30),
        Self::SurvivalEce(Horizon::Days90),
        Self::SurvivalEce(Horizon::Days180),
        Self::DCalibrationP,
    ];

    /// The metrics of what a treatment changes, in the order of reports.
    pub const OF_UPLIFT: [Self; 5] = [Self::Qini, Self::Auuc, Self::UpliftAt30, Self::AverageEffect, Self::EffectBias];

    /// The metrics that outcomes of this kind have, in the order of reports.
    pub fn of_kind(kind: OutcomeKind) -> &'static [Self] {
        match kind {
            OutcomeKind::Binary => &Self::ALL,
            OutcomeKind::Value => &Self::OF_VALUES,
            OutcomeKind::Survival => &Self::OF_SURVIVAL,
            OutcomeKind::Uplift => &Self::OF_UPLIFT,
        }
    }

    /// The kind of outcome that this is a metric of.
    pub fn kind(self) -> OutcomeKind {
        let kinds = [OutcomeKind::Value, OutcomeKind::Survival, OutcomeKind::Uplift];
        kinds.into_iter().find(|kind| Self::of_kind(*kind).contains(&self)).unwrap_or_default()
    }

    /// The metrics of every kind.
    fn every() -> impl Iterator<Item = Self> {
        [OutcomeKind::Binary, OutcomeKind::Value, OutcomeKind::Survival, OutcomeKind::Uplift]
            .into_iter()
            .flat_map(Self::of_kind)
            .copied()
    }

    /// The name in files and reports, such as `roc_auc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RocAuc => "roc_auc",
            Self::AveragePrecision => "average_precision",
            Self::LogLoss => "log_loss",
            Self::BrierScore => "brier_score",
            Self::BrierSkill => "brier_skill",
            Self::Ece10 => "ece_10",
            Self::LiftAt10 => "lift_at_10",
            Self::CalibrationSlope => "calibration_slope",
            Self::CalibrationIntercept => "calibration_intercept",
            Self::CalibrationInTheLarge => "calibration_in_the_large",
            Self::NormalizedGini => "normalized_gini",
            Self::Spearman => "spearman",
            Self::DecileMape => "decile_mape",
            Self::TotalBias => "total_bias",
            Self::Mae => "mae",
            Self::Rmse => "rmse",
            Self::PoissonD2 => "poisson_d2",
            Self::TopTenthValue => "top_tenth_value",
            Self::IntervalCoverage => "interval_coverage",
            Self::IntervalWidth => "interval_width",
            Self::UnoC => "uno_c",
            Self::IntegratedBrier => "integrated_brier",
            Self::SurvivalBrier(Horizon::Days30) => "survival_brier_30d",
            Self::SurvivalBrier(Horizon::Days90) => "survival_brier_90d",
            Self::SurvivalBrier(Horizon::Days180) => "survival_brier_180d",
            Self::SurvivalBias(Horizon::Days30) => "survival_bias_30d",
            Self::SurvivalBias(Horizon::Days90) => "survival_bias_90d",
            Self::SurvivalBias(Horizon::Days180) => "survival_bias_180d",
            Self::SurvivalEce(Horizon::Days30) => "survival_ece_30d",
            Self::SurvivalEce(Horizon::Days90) => "survival_ece_90d",
            Self::SurvivalEce(Horizon::Days180) => "survival_ece_180d",
            Self::DCalibrationP => "d_calibration_p",
            Self::Qini => "qini",
            Self::Auuc => "auuc",
            Self::UpliftAt30 => "uplift_at_30",
            Self::AverageEffect => "average_effect",
            Self::EffectBias => "effect_bias",
        }
    }

    /// The metric of this name.
    ///
    /// # Errors
    /// [`EvalError::UnknownMetric`], with the nearest name when one is close.
    pub fn parse(name: &str) -> Result<Self, EvalError> {
        Self::every().find(|metric| metric.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::every().map(Self::name).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", names.join(", ")),
            };
            EvalError::UnknownMetric { found: name.chars().take(40).collect(), hint }
        })
    }

    /// Whether more is better; false for losses and for metrics that have a [`Self::target`].
    pub fn higher_is_better(self) -> bool {
        matches!(
            self,
            Self::RocAuc
                | Self::AveragePrecision
                | Self::BrierSkill
                | Self::LiftAt10
                | Self::NormalizedGini
                | Self::Spearman
                | Self::PoissonD2
                | Self::TopTenthValue
                | Self::IntervalCoverage
                | Self::UnoC
                | Self::DCalibrationP
                | Self::Qini
                | Self::Auuc
                | Self::UpliftAt30
                | Self::AverageEffect
        )
    }

    /// The best value of a metric that can be too high as well as too low.
    pub fn target(self) -> Option<f64> {
        match self {
            Self::CalibrationSlope => Some(1.0),
            Self::CalibrationIntercept
            | Self::CalibrationInTheLarge
            | Self::TotalBias
            | Self::SurvivalBias(_)
            | Self::EffectBias => Some(0.0),
            _ => None,
        }
    }

    /// The value on a scale where more is better: itself, its negative, or minus the distance from the target.
    pub(crate) fn goodness(self, value: f64) -> f64 {
        match self.target() {
            Some(target) => -(value - target).abs(),
            None if self.higher_is_better() => value,
            None => -value,
        }
    }

    /// Whether it depends on the order of the predictions alone, not on their size.
    pub(crate) fn depends_on_order_only(self) -> bool {
        matches!(
            self,
            Self::RocAuc
                | Self::AveragePrecision
                | Self::LiftAt10
                | Self::NormalizedGini
                | Self::Spearman
                | Self::TopTenthValue
                | Self::UnoC
                | Self::Qini
                | Self::Auuc
                | Self::UpliftAt30
                | Self::AverageEffect
        )
    }

    /// Whether it averages absolute gaps over bins, in which noise never cancels, so that resampled values lie too high.
    pub(crate) fn is_binned_gap(self) -> bool {
        matches!(self, Self::Ece10 | Self::DecileMape | Self::SurvivalEce(_))
    }

    /// The metric of these rows.
    ///
    /// None where it is not defined: for rows of another kind, and where the rows do not determine it. Ranking metrics of binary
    /// outcomes, skill and recalibration need both classes, and recalibration needs predictions that differ and do not separate
    /// the classes; metrics of values say at their variants what they need; survival metrics need a grid that reaches their day
    /// and rows that were followed to it. Metrics of effects need both arms.
    pub fn measure(self, labelled: &Labelled) -> Option<f64> {
        let gauge = Gauge::new(labelled);
        gauge.measure_whole(&[self], labelled.n_groups())[0]
    }
}

/// A day at which survival curves are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Horizon {
    /// 30 days after the prediction.
    Days30,
    /// 90 days after the prediction.
    Days90,
    /// 180 days after the prediction.
    Days180,
}

impl Horizon {
    /// All horizons, from the nearest.
    pub const ALL: [Self; 3] = [Self::Days30, Self::Days90, Self::Days180];

    /// Days after the prediction.
    pub fn days(self) -> f64 {
        match self {
            Self::Days30 => 30.0,
            Self::Days90 => 90.0,
            Self::Days180 => 180.0,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Metric> for &'static str {
    fn from(metric: Metric) -> Self {
        metric.name()
    }
}

impl TryFrom<String> for Metric {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}
