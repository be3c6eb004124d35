//! Hazards of all ways of leaving that together could be bundled.

use retain_data::LEARNERS;
use retain_score::{Calibrator, Cause, HazardModel, Head};

use super::Study;
use super::person_periods::PersonPeriods;
use crate::blend::BLEND;
use crate::learner::Loss;
use crate::select::Entry;
use crate::train::{Run, TrainError};

/// What leaderboards call hazards of different learners.
const MIXED: &str = "mixed";

/// One model for each way of leaving.
pub(crate) struct Contender<'a> {
    of_cause: Vec<&'a Entry>,
}

/// The best model of each way of leaving, and for each learner its own of all ways; best first by the sum of losses.
pub(crate) fn contenders(entries: &[Vec<Entry>]) -> Vec<Contender<'_>> {
    let best = Contender { of_cause: entries.iter().filter_map(|entries| entries.first()).collect() };
    let of_name = |name: &'static str| {
        let of_cause: Option<Vec<&Entry>> =
            entries.iter().map(|entries| entries.iter().find(|entry| entry.recipe.name() == name)).collect();
        of_cause.map(|of_cause| Contender { of_cause })
    };
    let mut contenders: Vec<Contender<'_>> = LEARNERS.into_iter().chain([BLEND]).filter_map(of_name).collect();
    if best.name() == MIXED {
        contenders.push(best);
    }
    contenders.sort_by(|a, b| a.loss().total_cmp(&b.loss()));
    contenders
}

impl Contender<'_> {
    /// The learner's name, where it is one.
    pub(crate) fn name(&self) -> &'static str {
        let names: Vec<&'static str> = self.of_cause.iter().map(|entry| entry.recipe.name()).collect();
        match &names[..] {
            [first, rest @ ..] if rest.iter().all(|name| name == first) => first,
            _ => MIXED,
        }
    }

    /// The settings, one after the other.
    pub(crate) fn configuration(&self) -> String {
        let is_mixed = self.name() == MIXED;
        let of = |entry: &&Entry| {
            let configuration = entry.recipe.configuration();
            if is_mixed { format!("{} ({configuration})", entry.recipe.name()) } else { configuration }
        };
        self.of_cause.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// Settings that it was chosen from.
    pub(crate) fn n_configurations(&self) -> usize {
        self.of_cause.iter().map(|entry| entry.n_configurations).sum()
    }

    /// The mean log loss of a period, over all ways of leaving.
    pub(crate) fn loss(&self) -> f64 {
        self.of_cause.iter().map(|entry| entry.loss).sum()
    }

    /// The calibrator of the first way.
    pub(crate) fn calibrator(&self) -> &'static str {
        self.of_cause.first().map_or("none", |entry| calibrator(entry).name())
    }

    /// The hazards fitted to these rows, with the calibrators that the out-of-fold margins gave.
    pub(crate) fn fit(
        &self,
        study: &Study<'_>,
        rows: &mut PersonPeriods,
        row_idxs: &[usize],
        run: &Run<'_>,
    ) -> Result<HazardModel, TrainError> {
        let context = run.context(Loss::Logistic, study.plan);
        let mut causes = Vec::with_capacity(self.of_cause.len());
        for (position, entry) in self.of_cause.iter().enumerate() {
            rows.ask_for(position + 1);
            let margin = entry.recipe.fit(&rows.dataset, row_idxs, &context)?;
            let hazard = Head { margin, calibrator: calibrator(entry) };
            causes.push(Cause { name: study.causes[position].clone(), hazard });
        }
        Ok(HazardModel { period_ends: study.periods.ends.clone(), horizon_days: study.periods.horizon_days, causes })
    }
}

fn calibrator(entry: &Entry) -> Calibrator {
    entry.calibration.as_ref().map_or(Calibrator::Identity, |calibration| calibration.calibrator.clone())
}
