//! What the curves of each contender are worth on customers that its fits did not see.

use retain_data::{Dataset, Fold};
use retain_eval::{Labelled, Metric, compare, evaluate};
use retain_score::{HazardModel, Model, Predictor};

use super::Study;
use super::contender::Contender;
use super::person_periods::PersonPeriods;
use crate::metrics_file::{LeaderboardRow, Measurement, MetricsFile};
use crate::outcome::{CurveDays, baseline};
use crate::train::{Preference, Run, TrainError, bootstrap};

/// Of the budget, what may be used before contenders other than the best are no longer measured.
const LEADERBOARD_SHARE: f64 = 0.85;

/// The contenders on the customers that judge them.
pub(crate) struct Judged {
    /// The one to be bundled.
    pub(crate) winner: usize,
    /// Its chances of leaving within the horizon.
    pub(crate) probabilities: Vec<f64>,
    labelled: Labelled,
    rows: Vec<LeaderboardRow>,
}

/// The curves of one contender.
struct Curves {
    labelled: Labelled,
    probabilities: Vec<f64>,
}

/// Measures the contenders, which stand best first, and chooses the one to be bundled.
///
/// Without dates every customer is judged by the model of its fold, with dates the last block by one of all before it. The calibrators
/// are those of all out-of-fold rows: two numbers, or few, of many rows.
pub(crate) fn judge(
    study: &Study<'_>,
    contenders: &[Contender<'_>],
    rows: &mut PersonPeriods,
    run: &mut Run<'_>,
) -> Result<Judged, TrainError> {
    let mut curves: Vec<Curves> = Vec::with_capacity(contenders.len());
    for contender in contenders {
        let spent = run.options.started.elapsed();
        if !curves.is_empty() && spent > run.options.budget.mul_f64(LEADERBOARD_SHARE) {
            run.cut_short(&format!("the curves of the learner `{}` were not measured", contender.name()));
            break;
        }
        curves.push(curves_of(study, contender, rows, run)?);
        run.steps.done(contender.name());
    }
    let options = bootstrap(run.options);
    let metric = [Metric::IntegratedBrier];
    let mut is_tied = vec![false; curves.len()];
    for position in 1..curves.len() {
        let difference = compare(&curves[position].labelled, &curves[0].labelled, &metric, &options)?.into_iter().next();
        is_tied[position] = difference.is_some_and(|difference| difference.low <= 0.0 && difference.high >= 0.0);
    }
    let winner = winner(contenders, &is_tied, run.options.prefer);
    let row = |(position, curves): (usize, &Curves)| LeaderboardRow {
        learner: contenders[position].name().to_owned(),
        configuration: contenders[position].configuration(),
        n_configurations: contenders[position].n_configurations(),
        calibrator: contenders[position].calibrator().to_owned(),
        selection_loss: contenders[position].loss(),
        is_winner: position == winner,
        is_tied: is_tied[position],
        evaluation: evaluate(&curves.labelled, &Metric::OF_SURVIVAL, &options),
    };
    let rows = curves.iter().enumerate().map(row).collect();
    let Curves { labelled, probabilities } = curves.swap_remove(winner);
    Ok(Judged { winner, probabilities, labelled, rows })
}

/// The best, or the simplest of those that cannot be told from it.
fn winner(contenders: &[Contender<'_>], is_tied: &[bool], prefer: Preference) -> usize {
    let rank = |position: &usize| {
        let name = contenders[*position].name();
        retain_data::LEARNERS.iter().position(|known| *known == name).unwrap_or(retain_data::LEARNERS.len())
    };
    match prefer {
        Preference::Accurate => 0,
        Preference::Simple => (0..is_tied.len()).filter(|&at| at == 0 || is_tied[at]).min_by_key(rank).unwrap_or(0),
    }
}

fn curves_of(
    study: &Study<'_>,
    contender: &Contender<'_>,
    rows: &mut PersonPeriods,
    run: &Run<'_>,
) -> Result<Curves, TrainError> {
    let folds: Vec<&Fold> = study.plan.test.as_ref().map_or_else(|| study.plan.folds.iter().collect(), |test| vec![test]);
    let days = CurveDays::new(&study.periods.ends, study.table);
    let mut of_person: Vec<(usize, Vec<f64>, f64)> = Vec::new();
    for fold in folds {
        let row_idxs = rows.training_rows(study.table, fold, &study.periods);
        let model = contender.fit(study, rows, &row_idxs, run)?;
        let persons = fold.validate.iter().copied().filter(|person| study.persons.binary_search(person).is_ok());
        of_person.extend(curves_on(model, study.table, &persons.collect::<Vec<_>>(), &days)?);
    }
    of_person.sort_by_key(|(person, ..)| *person);
    let persons: Vec<usize> = of_person.iter().map(|(person, ..)| *person).collect();
    let curves: Vec<f64> = of_person.iter().flat_map(|(_, curve, _)| curve.iter().copied()).collect();
    Ok(Curves {
        labelled: days.labelled(&seen_of(study.table, &persons), &curves)?,
        probabilities: of_person.iter().map(|(.., probability)| *probability).collect(),
    })
}

/// For each of these customers its curve at the days, and its chance of leaving within the horizon.
fn curves_on(
    model: HazardModel,
    table: &Dataset,
    persons: &[usize],
    days: &CurveDays,
) -> Result<Vec<(usize, Vec<f64>, f64)>, TrainError> {
    let predictor = Predictor::new(&Model::Hazard(model), &table.schema)?;
    let rows = table.rows(persons);
    let of = |(&person, row): (&usize, &[f64])| (person, days.survival(&predictor, row), predictor.predict(row).probability);
    Ok(persons.iter().zip(rows.in_order()).map(of).collect())
}

/// What came true of these customers, without features.
fn seen_of(table: &Dataset, persons: &[usize]) -> Dataset {
    let pick = |values: &Vec<f64>| -> Vec<f64> { persons.iter().map(|&person| values[person]).collect() };
    Dataset {
        schema: table.schema.clone(),
        columns: Vec::new(),
        target: pick(&table.target),
        weight: None,
        entity: Vec::new(),
        group: persons.iter().map(|&person| table.group[person]).collect(),
        duration: table.duration.as_ref().map(pick),
        past: None,
        treatment: None,
        propensity: None,
        observed: None,
    }
}

impl Judged {
    /// What stands in `metrics.json`; beside the model the Kaplan-Meier curve of the rows that it could know.
    pub(crate) fn metrics_file(
        &self,
        study: &Study<'_>,
        model: &Model,
        test: Option<&Dataset>,
        run: &Run<'_>,
    ) -> Result<MetricsFile, TrainError> {
        let options = bootstrap(run.options);
        let of_all = baseline(model, study.table)?;
        let known = study.plan.test.as_ref().map(|test| baseline(model, &seen_of(study.table, &test.train))).transpose()?;
        let days = CurveDays::new(&study.periods.ends, study.table);
        let day = days.metric_days(study.periods.horizon_days);
        let measured_on = study.plan.measured_on();
        let base = known.as_ref().unwrap_or(&of_all);
        let validation = Measurement::of_curves(&measured_on, &self.labelled, base, day, &options)?;
        let on_test = |test| Measurement::of_model("the table given as --test", model, test, &of_all, &options);
        let test = test.map(on_test).transpose()?;
        let mut file = MetricsFile::new(validation, self.rows.clone(), test, study.table, model)?;
        file.baseline_prediction = of_all;
        Ok(file)
    }
}
