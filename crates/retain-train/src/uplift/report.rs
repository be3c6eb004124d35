//! What `metrics.json` and the card say of effects.

use std::fmt::Write;

use retain_eval::Interval;
use serde::{Deserialize, Serialize};

use super::policy::PolicyValue;
use crate::card::{escaped, put};
use crate::metrics_file::Measurement;

/// Whether customers can be told apart by what a treatment changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval of the Qini coefficient lies above 0: effects are shipped customer by customer.
    Conclusive,
    /// It does not: everybody is said to have the same effect.
    Inconclusive,
}

impl Verdict {
    /// The verdict as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conclusive => "conclusive",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What was learned of every treatment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpliftReport {
    /// What treatments are compared with.
    pub control: String,
    /// Every treatment, in the order of the model.
    pub treatments: Vec<TreatmentReport>,
    /// Whether the model chooses a treatment for each customer: it does where that surely brought more than giving all the same, whichever.
    pub chooses: bool,
    /// What following the model would have brought; then choosing for each, and treating all alike.
    pub policies: Vec<PolicyValue>,
}

/// What was learned of one treatment. An effect above 0 is good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreatmentReport {
    /// The treatment.
    pub treatment: String,
    /// Whether customers can be told apart.
    pub verdict: Verdict,
    /// The learner whose order of customers was best on rows that it did not see.
    pub learner: String,
    /// Its setting.
    pub configuration: String,
    /// Rows with the treatment.
    pub n_treated: usize,
    /// Rows with the control.
    pub n_controls: usize,
    /// Mean outcome of the control.
    pub outcome_of_controls: f64,
    /// The Qini coefficient of the procedure: each fold was judged by the learner that was best on the others.
    pub qini: Interval,
    /// The average effect, doubly robust.
    pub average: Interval,
    /// The average effect that the model says: drawn to 0 where it could be nothing and customers are not told apart.
    pub shipped_average: Interval,
    /// What a difference in scores was as a difference in effects; the model has less of it, as far as it could be chance.
    pub slope: Interval,
    /// The AUC with which features tell who was treated; near 0.5 where that was left to chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictability: Option<Interval>,
    /// Whether it lies above that.
    pub is_predictable: bool,
    /// Metrics and calibration on rows that no fit has seen.
    pub measurement: Measurement,
}

fn interval(interval: &Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", interval.value, interval.low, interval.high)
}

impl UpliftReport {
    /// The sections of the card.
    pub(crate) fn write_card(&self, card: &mut String) {
        put!(card, "## Effects\n");
        put!(
            card,
            "What a treatment changes in the outcome, compared with `{}`; of a yes-or-no outcome in its chance, so that 0.05 is five percentage \
            points. Above 0 is good. `inconclusive` means that the order of customers could be chance: everybody is then said to have the \
            same effect.\n",
            escaped(&self.control)
        );
        put!(
            card,
            "| treatment | verdict | Qini | average effect | as shipped | slope | treated, controls | arm told by features, AUC |"
        );
        put!(card, "|---|---|---|---|---|---|---|---|");
        for one in &self.treatments {
            put!(
                card,
                "| {} | {} | {} | {} | {} | {} | {}, {} | {} |",
                escaped(&one.treatment),
                one.verdict.name(),
                interval(&one.qini),
                interval(&one.average),
                interval(&one.shipped_average),
                interval(&one.slope),
                one.n_treated,
                one.n_controls,
                one.predictability.as_ref().map_or_else(|| "–".to_owned(), interval)
            );
        }
        put!(card, "");
        put!(card, "## What following the effects would have brought\n");
        put!(
            card,
            "Mean outcome per customer, had all been treated so. The gain is that of choosing for each over the policy of the row.\n"
        );
        let taken = if self.chooses {
            "takes the treatment that does most for each customer"
        } else {
            "takes the treatment of the largest average for all: choosing for each did not surely bring more"
        };
        put!(card, "The model {taken}.\n");
        put!(card, "| policy | treated | inverse probability | doubly robust | gain of choosing |\n|---|---|---|---|---|");
        for one in &self.policies {
            put!(
                card,
                "| {} | {:.1} % | {} | {} | {} |",
                escaped(&one.policy),
                100.0 * one.treated,
                interval(&one.value),
                interval(&one.doubly_robust),
                interval(&one.gain_of_choosing)
            );
        }
        put!(card, "");
    }
}

/// How the numbers of an effect are computed.
pub(crate) fn formulas(card: &mut String) {
    put!(card, "## Formulas\n");
    put!(
        card,
        "Rows stand by falling effect; among the first ones are `t` treated and `c` controls with outcomes `y_t` and `y_c` in sum.\n\n\
        - Qini: the area between the curve `y_t − y_c · t / c` over `t + c` and the straight line to its end, divided by that of the order by \
        `y` of treated and `−y` of controls (scikit-uplift's `qini_auc_score`, `negative_effect=True`).\n\
        - AUUC: the same of the curve `(y_t / t − y_c / c) · (t + c)`, divided by that of its perfect order (`uplift_auc_score`); not of \
        amounts.\n\
        - uplift@30: `y_t / t − y_c / c` of the first 30 % of rows (`uplift_at_k`, `overall`). Rows of one effect are one step of a curve, and \
        count in part where the border falls among them.\n\
        - Average effect: the mean of `f₁(x) − f₀(x) + w · (y − f(x))`, with regressions `f` fitted to other rows, `w` one over the chance of \
        the arm of the row, negative for controls.\n\
        - An effect is `average + slope · (score − mean score)`; the slope is that of the line through those numbers by score, on rows that no \
        fit had seen, drawn to 0 as far as it could be chance. Its interval joins those of average and slope, and takes the order of customers for given.\n\
        - Ranks of customers are taken within the fit that scored them, for the fits of different folds have different scales. Intervals of \
        Qini, AUUC and uplift@30 are those of resampled customers; these, that of the slope and that of the gain of choosing are wider by the \
        root of two where folds teach one another (not where rows are dated): of two rows either is in the order that the other is judged in."
    );
    put!(
        card,
        "- Where customers are not told apart and the interval of the average holds 0, the average is drawn to 0 as by a normal prior around \
        0: its deviation is a quarter of the controls' mean outcome, of chances two percentage points at most.\n"
    );
}
