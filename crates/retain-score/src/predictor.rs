//! A checked model compiled into engines: from an encoded row to the answer of its kind.

use std::cell::RefCell;

use retain_core::FeatureSchema;

use crate::calibrate::{Calibrator, softplus};
use crate::check::with_period;
use crate::effects::{CompiledArm, CompiledUplift, Effect, chance_above_zero};
use crate::engine::{Engine, Kernel};
use crate::explain::Explanation;
use crate::model::{AmountModel, HazardModel, Head, Interval, MarginModel, Model, ModelError, ValueHead};

/// A model that is ready to answer and knows nothing of where it came from.
#[derive(Debug, Clone)]
pub struct Predictor {
    n_features: usize,
    form: Form,
}

/// The answer for one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// What contributions add up to: log-odds before calibration; of an amount, the log of the expected amount before calibration; of
    /// uplift, the effect of the treatment that [`Predictor::best_of`] takes.
    pub margin: f64,
    /// Calibrated probability, within `[0, 1]`: that it happens within the horizon (churn, survival), that the amount is above 0, or that
    /// the effect is, by the normal distribution that its limits are of (uplift).
    /// [`crate::Scorer`], which knows the task, tells the opposite of engagement: that there is no activity.
    pub probability: f64,
    /// The expected amount; only of amounts.
    pub expected_value: Option<f64>,
    /// Lower and upper limit of the amount, where the model has an interval; of uplift, those of the effect.
    pub limits: Option<(f64, f64)>,
    /// The probability that the amount falls to half of what it was, or less, where the model knows what it was.
    pub decline: Option<f64>,
}

/// The share of customers like this one who are still there, period by period; it reaches the model's horizon at least.
///
/// The lists are never empty, and the days rise from above 0.
#[derive(Debug, Clone, PartialEq)]
pub struct SurvivalCurve {
    /// Where the periods end, in days from today.
    pub days: Vec<f64>,
    /// Share that is still there at that day.
    pub survival: Vec<f64>,
    /// Share that has left by that day, cause by cause; with `survival` they add up to 1.
    pub left_by_cause: Vec<Vec<f64>>,
}

#[derive(Debug, Clone)]
enum Form {
    Event(Box<CompiledHead>),
    Hazard(CompiledHazard),
    Amount(Box<CompiledAmount>),
    Uplift(CompiledUplift),
}

#[derive(Debug, Clone)]
struct CompiledHead {
    engine: Engine,
    calibrator: Calibrator,
}

#[derive(Debug, Clone)]
struct CompiledHazard {
    period_ends: Vec<f64>,
    horizon_days: f64,
    names: Vec<String>,
    causes: Vec<CompiledHead>,
}

#[derive(Debug, Clone)]
struct CompiledAmount {
    occurrence: CompiledHead,
    margin: Engine,
    occurrence_weight: f64,
    spread: Option<Engine>,
    calibrator: Calibrator,
    interval: Option<Interval>,
    decline: Option<CompiledHead>,
}

thread_local! {
    /// Kept, so that predictions allocate nothing after the first.
    static HAZARD_ROOM: RefCell<HazardRoom> = const { RefCell::new(HazardRoom { values: Vec::new(), margins: Vec::new(), hazards: Vec::new() }) };
}

/// Room for the periods of one customer.
struct HazardRoom {
    values: Vec<f64>,
    margins: Vec<f64>,
    hazards: Vec<f64>,
}

/// The margins that an amount is made of.
struct AmountMargins {
    occurrence: f64,
    value: f64,
    spread: Option<f64>,
    decline: Option<f64>,
}

impl Predictor {
    /// Checks a model against its schema and compiles it.
    ///
    /// # Errors
    /// [`ModelError`] when the model does not hold together or does not fit the schema.
    pub fn new(model: &Model, schema: &FeatureSchema) -> Result<Self, ModelError> {
        Self::of(model.clone(), schema)
    }

    /// As [`Predictor::new`], and takes the model.
    pub(crate) fn of(model: Model, schema: &FeatureSchema) -> Result<Self, ModelError> {
        model.check(schema)?;
        let form = match model {
            Model::Event(head) => Form::Event(Box::new(CompiledHead::new(head, schema))),
            Model::Hazard(hazard) => Form::Hazard(CompiledHazard::new(hazard, schema)?),
            Model::Amount(amount) => Form::Amount(Box::new(CompiledAmount::new(amount, schema))),
            Model::Uplift(uplift) => Form::Uplift(CompiledUplift::new(uplift, schema)),
        };
        Ok(Self { n_features: schema.n_features(), form })
    }

    /// Trees in all parts of the model.
    pub fn n_trees(&self) -> usize {
        match &self.form {
            Form::Event(head) => head.engine.n_trees(),
            Form::Hazard(hazard) => hazard.causes.iter().map(|cause| cause.engine.n_trees()).sum(),
            Form::Amount(amount) => amount.engines().map(Engine::n_trees).sum(),
            Form::Uplift(uplift) => uplift.engines().map(Engine::n_trees).sum(),
        }
    }

    /// Answers for one encoded row.
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn predict(&self, row: &[f64]) -> Prediction {
        match &self.form {
            Form::Event(head) => {
                let margin = head.engine.margin(row);
                Prediction::of_event(margin, head.calibrator.probability(margin))
            }
            Form::Hazard(hazard) => {
                let probability = hazard.probability(row);
                Prediction::of_event(log_odds(probability), probability)
            }
            Form::Amount(amount) => amount.predict(row),
            Form::Uplift(uplift) => Prediction::of_effect(&uplift.best(row).1),
        }
    }

    /// Answers for encoded rows that lie one after another, in order, each with the bits of [`Predictor::predict`] alone; `predictions` is
    /// cleared first.
    ///
    /// # Panics
    /// When the values are not rows of one number per feature of the schema.
    pub fn predict_rows(&self, values: &[f64], predictions: &mut Vec<Prediction>) {
        predictions.clear();
        match &self.form {
            Form::Event(head) => {
                let mut margins = Vec::new();
                head.engine.margins(values, &mut margins);
                let answer = |margin: f64| Prediction::of_event(margin, head.calibrator.probability(margin));
                predictions.extend(margins.into_iter().map(answer));
            }
            Form::Hazard(_) | Form::Uplift(_) => {
                predictions.extend(values.chunks_exact(self.n_features).map(|row| self.predict(row)));
            }
            Form::Amount(amount) => amount.predict_rows(values, predictions),
        }
    }

    /// Answers for one encoded row of a customer who has been there for `elapsed_days` already; other models than hazards do not
    /// count days, and answer as always.
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn predict_after(&self, row: &[f64], elapsed_days: f64) -> Prediction {
        match &self.form {
            Form::Hazard(hazard) if elapsed_days > 0.0 => {
                let probability = 1.0 - hazard.curve(row, elapsed_days).at(hazard.horizon_days);
                Prediction::of_event(log_odds(probability), probability)
            }
            _ => self.predict(row),
        }
    }

    /// The curve of one encoded row, for a customer who has been there for `elapsed_days` already; none where the model has no curve.
    ///
    /// Days count from now on: a model whose durations begin with the customer's first day is asked with the customer's age. Where
    /// the model's last period ends before the horizon does, the hazard of that period goes on up to the horizon. An age below 0
    /// or that is no number counts as 0.
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn survival(&self, row: &[f64], elapsed_days: f64) -> Option<SurvivalCurve> {
        match &self.form {
            Form::Hazard(hazard) => Some(hazard.curve(row, elapsed_days)),
            Form::Event(_) | Form::Amount(_) | Form::Uplift(_) => None,
        }
    }

    /// The day of the last period of a hazard, counted from the start of the duration: what the model has seen; none of other models.
    pub fn last_day(&self) -> Option<f64> {
        match &self.form {
            Form::Hazard(hazard) => hazard.period_ends.last().copied(),
            Form::Event(_) | Form::Amount(_) | Form::Uplift(_) => None,
        }
    }

    /// Names of the causes of a hazard; empty for other models.
    pub fn causes(&self) -> &[String] {
        match &self.form {
            Form::Hazard(hazard) => &hazard.names,
            Form::Event(_) | Form::Amount(_) | Form::Uplift(_) => &[],
        }
    }

    /// What each treatment changes for one encoded row, in the order of the model; none where the model has no treatments.
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn effects(&self, row: &[f64]) -> Option<Vec<Effect<'_>>> {
        match &self.form {
            Form::Uplift(uplift) => Some(uplift.effects(row).collect()),
            Form::Event(_) | Form::Hazard(_) | Form::Amount(_) => None,
        }
    }

    /// Which of the effects that [`Predictor::effects`] told stands for the model, and the prediction that it is; none for other models.
    ///
    /// It is the treatment that does most for the customer; where choosing for each customer did not bring more than giving all the same, it
    /// is the treatment of the largest average.
    pub fn best_of(&self, effects: &[Effect<'_>]) -> Option<(usize, Prediction)> {
        let Form::Uplift(uplift) = &self.form else { return None };
        let best = uplift.best_of(effects)?;
        Some((best, Prediction::of_effect(&effects[best])))
    }

    /// Names of the treatments, in the order of [`Predictor::effects`]; empty for other models.
    pub fn treatments(&self) -> Vec<&str> {
        match &self.form {
            Form::Uplift(uplift) => uplift.arms.iter().map(CompiledArm::name).collect(),
            Form::Event(_) | Form::Hazard(_) | Form::Amount(_) => Vec::new(),
        }
    }

    /// Explains one encoded row: contributions that sum with the base margin to the margin of the explanation.
    ///
    /// Of an event they are in log-odds before calibration; of an amount in the log of the expected amount before calibration.
    /// A hazard is explained by the mean log-odds of leaving over the periods up to the horizon. Uplift is explained by the effect of the
    /// treatment that does most, in its own unit: where that is a difference of chances, the change of each chance from its base goes to
    /// the features as their contributions to its log-odds do.
    ///
    /// # Panics
    /// When `row` does not have one number per feature of the schema.
    pub fn explain(&self, row: &[f64]) -> Explanation {
        match &self.form {
            Form::Event(head) => head.engine.explain(row),
            Form::Hazard(hazard) => hazard.explain(row),
            Form::Amount(amount) => amount.explain(row),
            Form::Uplift(uplift) => uplift.explain(row),
        }
    }
}

impl Prediction {
    fn of_event(margin: f64, probability: f64) -> Self {
        Self { margin, probability, expected_value: None, limits: None, decline: None }
    }

    fn of_effect(effect: &Effect<'_>) -> Self {
        let limits = Some((effect.low, effect.high));
        Self { margin: effect.effect, probability: chance_above_zero(effect), expected_value: None, limits, decline: None }
    }
}

impl SurvivalCurve {
    /// Share that is still there at a day: within a period the hazard is constant, after the last one the curve is flat.
    pub fn at(&self, day: f64) -> f64 {
        let after = self.days.partition_point(|&end| end < day);
        let (start, from) = if after == 0 { (0.0, 1.0) } else { (self.days[after - 1], self.survival[after - 1]) };
        match self.days.get(after) {
            Some(&end) if from > 0.0 => from * stayed(self.survival[after] / from, ((day - start) / (end - start)).max(0.0)),
            _ => from,
        }
    }

    /// Share that has left by a day, cause by cause; with [`SurvivalCurve::at`] they add up to 1.
    pub fn left_by(&self, day: f64) -> Vec<f64> {
        let after = self.days.partition_point(|&end| end < day);
        let before = |shares: &[f64]| if after == 0 { 0.0 } else { shares[after - 1] };
        let (from, now) = (if after == 0 { 1.0 } else { self.survival[after - 1] }, self.at(day));
        let lost = self.survival.get(after).map_or(0.0, |until| from - until);
        // Within a period causes keep their proportions.
        let share = if lost > 0.0 { (from - now) / lost } else { 0.0 };
        let of = |shares: &Vec<f64>| {
            let start = before(shares);
            shares.get(after).map_or(start, |until| start + share * (until - start))
        };
        self.left_by_cause.iter().map(of).collect()
    }

    /// The day at which half of the customers like this one have left; none: not within the curve.
    pub fn median_days(&self) -> Option<f64> {
        let after = self.survival.iter().position(|&share| share <= 0.5)?;
        let (start, from) = if after == 0 { (0.0, 1.0) } else { (self.days[after - 1], self.survival[after - 1]) };
        let (end, until) = (self.days[after], self.survival[after]);
        Some(start + (end - start) * libm::log(0.5 / from) / libm::log(until / from))
    }

    /// Mean days that customers like this one stay, of the days up to the end of the curve.
    pub fn restricted_mean_days(&self) -> f64 {
        let (mut start, mut from, mut sum) = (0.0, 1.0, 0.0);
        for (&end, &until) in self.days.iter().zip(&self.survival) {
            sum += (end - start) * mean_share(from, until);
            (start, from) = (end, until);
        }
        sum
    }
}

/// Mean of a share that falls from one value to another at a constant rate.
fn mean_share(from: f64, until: f64) -> f64 {
    // A hazard of 1 takes everybody at once; close together the formula loses its digits.
    if until <= 0.0 {
        0.0
    } else if from - until < 1e-6 * from {
        f64::midpoint(from, until)
    } else {
        (from - until) / libm::log(from / until)
    }
}

/// Log-odds of a probability, kept finite.
fn log_odds(probability: f64) -> f64 {
    let kept = probability.clamp(1e-15, 1.0 - 1e-15);
    libm::log(kept / (1.0 - kept))
}

impl CompiledHead {
    fn new(head: Head, schema: &FeatureSchema) -> Self {
        Self { engine: Engine::of_checked(head.margin, schema, Kernel::Best), calibrator: head.calibrator }
    }
}

impl CompiledHazard {
    fn new(model: HazardModel, schema: &FeatureSchema) -> Result<Self, ModelError> {
        let misnamed = |_| ModelError::Mismatch { place: "hazard".to_owned(), what: "a feature has the period's name" };
        let schema = with_period(schema).map_err(misnamed)?;
        Ok(Self {
            period_ends: model.period_ends,
            horizon_days: model.horizon_days,
            names: model.causes.iter().map(|cause| cause.name.clone()).collect(),
            causes: model.causes.into_iter().map(|cause| CompiledHead::new(cause.hazard, &schema)).collect(),
        })
    }

    /// Lets `answer` see the chances of leaving in each of the first `n_periods` periods for those who have come that far, one after another
    /// period by period, cause by cause.
    fn with_hazards<T>(&self, row: &[f64], n_periods: usize, answer: impl FnOnce(std::slice::ChunksExact<'_, f64>) -> T) -> T {
        let n_causes = self.causes.len();
        HAZARD_ROOM.with_borrow_mut(|HazardRoom { values, margins, hazards }| {
            // The periods of one customer are rows of a batch.
            values.clear();
            for period in 0..n_periods {
                values.extend_from_slice(row);
                values.push(period as f64);
            }
            hazards.clear();
            hazards.resize(n_periods * n_causes, 0.0);
            for (position, cause) in self.causes.iter().enumerate() {
                cause.engine.margins(values, margins);
                for (of_period, margin) in hazards.chunks_exact_mut(n_causes).zip(&*margins) {
                    of_period[position] = cause.calibrator.probability(*margin);
                }
            }
            for of_period in hazards.chunks_exact_mut(n_causes) {
                // Causes are learned apart: together they cannot take more than everybody.
                let total: f64 = of_period.iter().sum();
                if total > 1.0 {
                    for hazard in of_period {
                        *hazard /= total;
                    }
                }
            }
            answer(hazards.chunks_exact(n_causes))
        })
    }

    /// The chance of leaving within the horizon.
    fn probability(&self, row: &[f64]) -> f64 {
        let n_periods = self.period_ends.partition_point(|&end| end < self.horizon_days) + 1;
        self.with_hazards(row, n_periods.min(self.period_ends.len()), |hazards| {
            let (mut survival, mut start) = (1.0, 0.0);
            for (hazards, &end) in hazards.zip(&self.period_ends) {
                let share = ((self.horizon_days - start) / (end - start)).min(1.0);
                survival *= survived(hazards, share);
                start = end;
            }
            1.0 - survival
        })
    }

    fn curve(&self, row: &[f64], elapsed_days: f64) -> SurvivalCurve {
        let elapsed = elapsed_days.max(0.0);
        self.with_hazards(row, self.period_ends.len(), |hazards| {
            let mut curve = GrowingCurve::new(self.causes.len());
            let (mut start, mut length) = (0.0, 0.0);
            let last = hazards.clone().next_back();
            for (hazards, &end) in hazards.zip(&self.period_ends) {
                length = end - start;
                if end > elapsed {
                    curve.grow(end - elapsed, hazards, (end - elapsed.max(start)) / length);
                }
                start = end;
            }
            let reached = curve.curve.days.last().copied().unwrap_or(0.0);
            if let Some(last) = last.filter(|_| reached < self.horizon_days) {
                curve.grow(self.horizon_days, last, (self.horizon_days - reached) / length);
            }
            curve.curve
        })
    }

    fn explain(&self, row: &[f64]) -> Explanation {
        let mut extended = Vec::with_capacity(row.len() + 1);
        extended.extend_from_slice(row);
        extended.push(0.0);
        let n_periods = (self.period_ends.partition_point(|&end| end < self.horizon_days) + 1).min(self.period_ends.len());
        let parts = (n_periods * self.causes.len()) as f64;
        let mut mean = Explanation { margin: 0.0, base_margin: 0.0, contributions: vec![0.0; row.len()] };
        for period in 0..n_periods {
            extended[row.len()] = period as f64;
            for cause in &self.causes {
                let part = cause.engine.explain(&extended);
                mean.margin += part.margin / parts;
                // What the period itself adds is no feature of the customer.
                mean.base_margin += (part.base_margin + part.contributions[row.len()]) / parts;
                mean.contributions.iter_mut().zip(&part.contributions).for_each(|(sum, one)| *sum += one / parts);
            }
        }
        mean
    }
}

/// A curve in the making.
struct GrowingCurve {
    curve: SurvivalCurve,
    survival: f64,
    left: Vec<f64>,
}

impl GrowingCurve {
    fn new(n_causes: usize) -> Self {
        let curve = SurvivalCurve { days: Vec::new(), survival: Vec::new(), left_by_cause: vec![Vec::new(); n_causes] };
        Self { curve, survival: 1.0, left: vec![0.0; n_causes] }
    }

    /// Adds a point at `day`, after `periods` periods of these hazards.
    fn grow(&mut self, day: f64, hazards: &[f64], periods: f64) {
        let stays = survived(hazards, periods);
        let total: f64 = hazards.iter().sum();
        for (left, hazard) in self.left.iter_mut().zip(hazards).filter(|(_, hazard)| **hazard > 0.0) {
            *left += self.survival * (1.0 - stays) * hazard / total;
        }
        self.survival *= stays;
        self.curve.days.push(day);
        self.curve.survival.push(self.survival);
        self.curve.left_by_cause.iter_mut().zip(&self.left).for_each(|(shares, share)| shares.push(*share));
    }
}

/// The chance to stay through so many periods, or a share of one, of these hazards: within a period they are constant.
fn survived(hazards: &[f64], periods: f64) -> f64 {
    stayed((1.0 - hazards.iter().sum::<f64>()).clamp(0.0, 1.0), periods)
}

/// The chance to stay through so many periods, from that of one.
fn stayed(stays: f64, periods: f64) -> f64 {
    if periods == 1.0 { stays } else { libm::pow(stays, periods) }
}

impl CompiledAmount {
    fn new(model: AmountModel, schema: &FeatureSchema) -> Self {
        let ValueHead { margin, occurrence_weight, spread, calibrator, interval } = model.value;
        let engine = |margin: MarginModel| Engine::of_checked(margin, schema, Kernel::Best);
        Self {
            occurrence: CompiledHead::new(model.occurrence, schema),
            margin: engine(margin),
            occurrence_weight,
            spread: spread.map(engine),
            calibrator,
            interval,
            decline: model.decline.map(|head| CompiledHead::new(head, schema)),
        }
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        let decline = self.decline.as_ref().map(|head| &head.engine);
        [&self.occurrence.engine, &self.margin].into_iter().chain(&self.spread).chain(decline)
    }

    fn predict(&self, row: &[f64]) -> Prediction {
        self.answer(&AmountMargins {
            occurrence: self.occurrence.engine.margin(row),
            value: self.margin.margin(row),
            spread: self.spread.as_ref().map(|spread| spread.margin(row)),
            decline: self.decline.as_ref().map(|head| head.engine.margin(row)),
        })
    }

    fn predict_rows(&self, values: &[f64], predictions: &mut Vec<Prediction>) {
        let margins_of = |engine: &Engine| {
            let mut margins = Vec::new();
            engine.margins(values, &mut margins);
            margins
        };
        let (occurrence, value) = (margins_of(&self.occurrence.engine), margins_of(&self.margin));
        let spread = self.spread.as_ref().map(margins_of);
        let decline = self.decline.as_ref().map(|head| margins_of(&head.engine));
        predictions.extend((0..value.len()).map(|row| {
            self.answer(&AmountMargins {
                occurrence: occurrence[row],
                value: value[row],
                spread: spread.as_ref().map(|margins| margins[row]),
                decline: decline.as_ref().map(|margins| margins[row]),
            })
        }));
    }

    fn answer(&self, margins: &AmountMargins) -> Prediction {
        let mut margin = margins.value;
        if self.occurrence_weight > 0.0 {
            margin += self.of_occurrence(margins.occurrence);
        }
        if let Some(spread) = margins.spread {
            margin += exp_within(spread);
        }
        let expected = exp_within(self.calibrator.log_odds(margin));
        let decline = self.decline.as_ref().zip(margins.decline);
        Prediction {
            margin,
            probability: self.occurrence.calibrator.probability(margins.occurrence),
            expected_value: Some(expected),
            limits: self.interval.as_ref().map(|interval| interval.around(expected)),
            decline: decline.map(|(head, margin)| head.calibrator.probability(margin)),
        }
    }

    /// What the log of the chance of any amount adds, from the margin of the occurrence.
    fn of_occurrence(&self, margin: f64) -> f64 {
        let log_odds = self.occurrence.calibrator.log_odds(margin);
        // A steep calibrator makes the chance 0 and its logarithm infinite, which calibrators of amounts cannot take.
        (self.occurrence_weight * -softplus(-log_odds)).max(-MAX_OCCURRENCE)
    }

    /// The parts that are not additive share their change out in proportion to their margins' contributions.
    fn explain(&self, row: &[f64]) -> Explanation {
        let mut whole = self.margin.explain(row);
        if self.occurrence_weight > 0.0 {
            let part = self.occurrence.engine.explain(row);
            whole.add_bent(&part, |margin| self.of_occurrence(margin));
        }
        if let Some(spread) = &self.spread {
            whole.add_bent(&spread.explain(row), exp_within);
        }
        whole
    }
}

impl Explanation {
    /// Adds a part that counts as `bend(margin)`: its change from base to row goes to the features as their contributions do.
    pub(crate) fn add_bent(&mut self, part: &Self, bend: impl Fn(f64) -> f64) {
        let (base, bent) = (bend(part.base_margin), bend(part.margin));
        let moved: f64 = part.contributions.iter().sum();
        // Where nothing moved there is nothing to share out, and the rounding goes to the base.
        let slope = if moved == 0.0 { 0.0 } else { (bent - base) / moved };
        self.margin += bent;
        self.base_margin += if moved == 0.0 { bent } else { base };
        self.contributions.iter_mut().zip(&part.contributions).for_each(|(sum, one)| *sum += slope * one);
    }
}

impl Interval {
    /// Lower and upper limit of the amount around its expectation.
    ///
    /// # Panics
    /// When the interval was not checked: see [`Model::check`].
    pub fn around(&self, expected: f64) -> (f64, f64) {
        let bin = self.borders.partition_point(|&border| border <= expected);
        let center = libm::log1p(expected);
        let limit = |offset: f64| libm::expm1((center + offset).clamp(0.0, MAX_LOG));
        (limit(self.low[bin]), limit(self.high[bin]))
    }
}

/// The most that the log of a chance takes away: as large as margins may be.
const MAX_OCCURRENCE: f64 = 1e305;

/// Amounts beyond `e¹⁰⁰` mean nothing, and would not stay finite.
const MAX_LOG: f64 = 100.0;

fn exp_within(log: f64) -> f64 {
    libm::exp(log.clamp(-MAX_LOG, MAX_LOG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::sigmoid;

    #[test]
    fn log_odds_and_sigmoid_are_inverse() {
        for probability in [1e-9, 0.2, 0.5, 0.999] {
            assert!((sigmoid(log_odds(probability)) - probability).abs() < 1e-12);
        }
    }
}
