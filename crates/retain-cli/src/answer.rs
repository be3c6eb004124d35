//! What `retain score` writes of a row beside its entity and its reasons, by the kind of the model.

use retain_score::{Model, Scorer, SurvivalCurve};

/// Days of which `--details` tells the share that is still there; those within what the model has seen.
const CURVE_DAYS: [f64; 6] = [30.0, 60.0, 90.0, 180.0, 365.0, 730.0];

/// The columns of a model's answers.
#[derive(Debug, Clone)]
pub(crate) struct AnswerColumns {
    has_amounts: bool,
    has_limits: bool,
    details: Option<Details>,
}

/// What `--details` adds.
#[derive(Debug, Clone)]
struct Details {
    has_decline: bool,
    curve: Option<CurveColumns>,
}

#[derive(Debug, Clone)]
struct CurveColumns {
    days: Vec<f64>,
    horizon_days: f64,
    /// Empty where there is only one way of leaving: it is the probability.
    causes: Vec<String>,
}

/// The answers for one row, in the order of [`AnswerColumns::numbers`] and [`AnswerColumns::texts`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// None where there is nothing to say: a row that could not be scored, a median that is not reached.
    pub(crate) numbers: Vec<Option<f64>>,
    pub(crate) texts: Vec<String>,
}

impl AnswerColumns {
    pub(crate) fn new(model: &Model, scorer: &Scorer, wants_details: bool) -> Self {
        let (has_amounts, has_limits, has_decline) = match model {
            Model::Amount(amount) => (true, amount.value.interval.is_some(), amount.decline.is_some()),
            Model::Event(_) | Model::Hazard(_) => (false, false, false),
        };
        let details = || Details { has_decline, curve: CurveColumns::new(model, scorer) };
        Self { has_amounts, has_limits, details: wants_details.then(details) }
    }

    /// Names of the columns with numbers, which stand before those with texts.
    pub(crate) fn numbers(&self) -> Vec<String> {
        let mut names = vec!["probability".to_owned()];
        names.extend(self.has_amounts.then(|| "expected_value".to_owned()));
        names.extend(self.has_limits.then_some(["low", "high"]).into_iter().flatten().map(str::to_owned));
        if let Some(details) = &self.details {
            names.extend(details.has_decline.then(|| "decline_probability".to_owned()));
            names.extend(details.curve.iter().flat_map(CurveColumns::names));
        }
        names
    }

    /// Names of the columns with texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.details.iter().map(|_| "band".to_owned()).collect()
    }

    /// The answers for an encoded row of a customer who has been there for so many days.
    pub(crate) fn answer(&self, scorer: &Scorer, row: &[f64], elapsed_days: f64) -> Answer {
        let prediction = scorer.predict_after(row, elapsed_days);
        let mut numbers = vec![Some(prediction.probability)];
        if self.has_amounts {
            numbers.push(prediction.expected_value);
        }
        if self.has_limits {
            numbers.extend([prediction.limits.map(|(low, _)| low), prediction.limits.map(|(_, high)| high)]);
        }
        let Some(details) = &self.details else { return Answer { numbers, texts: Vec::new() } };
        if details.has_decline {
            numbers.push(prediction.decline);
        }
        if let Some((columns, curve)) = details.curve.as_ref().zip(scorer.survival(row, elapsed_days)) {
            numbers.extend(columns.values(&curve));
        }
        Answer { numbers, texts: vec![scorer.band(&prediction).as_str().to_owned()] }
    }
}

impl CurveColumns {
    fn new(model: &Model, scorer: &Scorer) -> Option<Self> {
        let Model::Hazard(hazard) = model else { return None };
        let last = scorer.predictor().last_day().unwrap_or(0.0);
        let causes = scorer.predictor().causes();
        let causes = if causes.len() > 1 { causes.to_vec() } else { Vec::new() };
        let days = CURVE_DAYS.into_iter().filter(|&day| day <= last).collect();
        Some(Self { days, horizon_days: hazard.horizon_days, causes })
    }

    fn names(&self) -> Vec<String> {
        let fixed = ["median_days", "restricted_mean_days"].map(str::to_owned);
        let days = self.days.iter().map(|day| format!("survival_{day}"));
        let causes = self.causes.iter().map(|cause| format!("probability_{cause}"));
        fixed.into_iter().chain(days).chain(causes).collect()
    }

    fn values(&self, curve: &SurvivalCurve) -> Vec<Option<f64>> {
        let fixed = [curve.median_days(), Some(curve.restricted_mean_days())];
        // Past its last day a curve knows nothing more.
        let last = curve.days.last().copied().unwrap_or(0.0);
        let days = self.days.iter().map(|&day| (day <= last).then(|| curve.at(day)));
        let causes = if self.causes.is_empty() { Vec::new() } else { curve.left_by(self.horizon_days) };
        fixed.into_iter().chain(days).chain(causes.into_iter().map(Some)).collect()
    }
}
