//! What `retain score` writes of a row beside its entity and its reasons, by the kind of the model.

use std::borrow::Cow;

use retain_data::ScoringBatch;
use retain_score::{Model, Prediction, Scorer, SurvivalCurve};

/// Days of which `--details` tells the share that is still there; those within what the model has seen.
const CURVE_DAYS: [f64; 6] = [30.0, 60.0, 90.0, 180.0, 365.0, 730.0];

/// The columns of a model's answers.
#[derive(Debug, Clone)]
pub(crate) struct AnswerColumns {
    /// Names of the treatments of a model of effects.
    treatments: Vec<String>,
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

/// The answers for the rows of a batch, column by column, in the order of [`AnswerColumns::numbers`] and [`AnswerColumns::texts`].
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    /// None where there is nothing to say: a row that could not be scored, a median that is not reached.
    pub(crate) numbers: Vec<Vec<Option<f64>>>,
    /// Blank where there is nothing to say.
    pub(crate) texts: Vec<Vec<Cow<'static, str>>>,
}

impl AnswerColumns {
    pub(crate) fn new(model: &Model, scorer: &Scorer, wants_details: bool) -> Self {
        let (has_amounts, has_limits, has_decline) = match model {
            Model::Amount(amount) => (true, amount.value.interval.is_some(), amount.decline.is_some()),
            Model::Event(_) | Model::Hazard(_) => (false, false, false),
            Model::Uplift(_) => (false, true, false),
        };
        let treatments = scorer.predictor().treatments().into_iter().map(str::to_owned).collect();
        let details = || Details { has_decline, curve: CurveColumns::new(model, scorer) };
        Self { treatments, has_amounts, has_limits, details: wants_details.then(details) }
    }

    /// Names of the columns with numbers, which stand before those with texts.
    pub(crate) fn numbers(&self) -> Vec<String> {
        let mut names = vec![if self.treatments.is_empty() { "probability" } else { "uplift" }.to_owned()];
        names.extend(self.has_amounts.then(|| "expected_value".to_owned()));
        names.extend(self.has_limits.then_some(["low", "high"]).into_iter().flatten().map(str::to_owned));
        names.extend(self.told_apart().iter().map(|treatment| format!("uplift_{treatment}")));
        if let Some(details) = &self.details {
            names.extend(details.has_decline.then(|| "decline_probability".to_owned()));
            names.extend(details.curve.iter().flat_map(CurveColumns::names));
        }
        names
    }

    /// Names of the columns with texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        let treatment = (!self.told_apart().is_empty()).then(|| "treatment".to_owned());
        treatment.into_iter().chain(self.details.iter().map(|_| "band".to_owned())).collect()
    }

    /// The treatments, where there are several.
    fn told_apart(&self) -> &[String] {
        if self.treatments.len() > 1 { &self.treatments } else { &[] }
    }

    /// The answers for the rows of a batch.
    pub(crate) fn answers(&self, scorer: &Scorer, batch: &ScoringBatch) -> Answers {
        if !self.treatments.is_empty() {
            return self.effects(scorer, batch);
        }
        let n_rows = batch.row_ok.len();
        let mut predictions = Vec::with_capacity(n_rows);
        match &batch.elapsed_days {
            None => scorer.predict_rows(batch.rows.values(), &mut predictions),
            Some(days) => predictions.extend((0..n_rows).map(|row| scorer.predict_after(batch.rows.row(row), days[row]))),
        }
        let scored: Vec<Option<Prediction>> =
            predictions.into_iter().zip(&batch.row_ok).map(|(one, &ok)| ok.then_some(one)).collect();
        let of = |number: fn(&Prediction) -> Option<f64>| scored.iter().map(|one| one.as_ref().and_then(number)).collect();
        let mut answers = Answers { numbers: vec![of(|one| Some(one.probability))], texts: Vec::new() };
        if self.has_amounts {
            answers.numbers.push(of(|one| one.expected_value));
        }
        if self.has_limits {
            answers.numbers.push(of(|one| one.limits.map(|(low, _)| low)));
            answers.numbers.push(of(|one| one.limits.map(|(_, high)| high)));
        }
        let Some(details) = &self.details else { return answers };
        if details.has_decline {
            answers.numbers.push(of(|one| one.decline));
        }
        if let Some(columns) = &details.curve {
            answers.numbers.extend(columns.values(scorer, batch));
        }
        let band = |one: &Option<Prediction>| Cow::Borrowed(one.as_ref().map_or("", |one| scorer.band(one).as_str()));
        answers.texts.push(scored.iter().map(band).collect());
        answers
    }
}

impl AnswerColumns {
    /// The answers of a model of effects: the treatment that does most with its effect, and the effects of all.
    fn effects(&self, scorer: &Scorer, batch: &ScoringBatch) -> Answers {
        let mut numbers = vec![Vec::with_capacity(batch.row_ok.len()); self.numbers().len()];
        let mut texts = vec![Vec::with_capacity(batch.row_ok.len()); self.texts().len()];
        for row in 0..batch.row_ok.len() {
            let effects = if batch.row_ok[row] { scorer.effects(batch.rows.row(row)) } else { None }.unwrap_or_default();
            let best_of = scorer.predictor().best_of(&effects);
            let best = best_of.map(|(_, prediction)| prediction);
            let limits = best.and_then(|best| best.limits);
            let fixed = [best.map(|best| best.margin), limits.map(|(low, _)| low), limits.map(|(_, high)| high)];
            let all = (0..self.told_apart().len()).map(|arm| effects.get(arm).map(|effect| effect.effect));
            numbers.iter_mut().zip(fixed.into_iter().chain(all)).for_each(|(column, number)| column.push(number));
            let name = best_of.map_or("", |(arm, _)| effects[arm].treatment);
            let treatment = (!self.told_apart().is_empty()).then(|| Cow::Owned(name.to_owned()));
            let band = self.details.iter().map(|_| Cow::Borrowed(best.map_or("", |best| scorer.band(&best).as_str())));
            texts.iter_mut().zip(treatment.into_iter().chain(band)).for_each(|(column, text)| column.push(text));
        }
        Answers { numbers, texts }
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

    /// The values of each column.
    fn values(&self, scorer: &Scorer, batch: &ScoringBatch) -> Vec<Vec<Option<f64>>> {
        let mut columns = vec![Vec::with_capacity(batch.row_ok.len()); self.names().len()];
        for row in 0..batch.row_ok.len() {
            let elapsed_days = batch.elapsed_days.as_ref().map_or(0.0, |days| days[row]);
            let curve = if batch.row_ok[row] { scorer.survival(batch.rows.row(row), elapsed_days) } else { None };
            let values = curve.map_or_else(|| vec![None; columns.len()], |curve| self.values_of(&curve));
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        columns
    }

    fn values_of(&self, curve: &SurvivalCurve) -> Vec<Option<f64>> {
        let fixed = [curve.median_days(), Some(curve.restricted_mean_days())];
        // Past its last day a curve knows nothing more.
        let last = curve.days.last().copied().unwrap_or(0.0);
        let days = self.days.iter().map(|&day| (day <= last).then(|| curve.at(day)));
        let causes = if self.causes.is_empty() { Vec::new() } else { curve.left_by(self.horizon_days) };
        fixed.into_iter().chain(days).chain(causes.into_iter().map(Some)).collect()
    }
}
