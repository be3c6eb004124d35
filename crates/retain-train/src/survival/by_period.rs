//! Lets a learner of additive terms follow any course of the hazard over time.

use std::sync::Arc;

use retain_data::Dataset;
use retain_score::{MarginModel, Node, NodeKind, Test, Tree};

use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

/// Pseudo-rows of the overall rate mixed into every period, so that a period in which nobody left keeps finite log-odds.
const SMOOTHING: f64 = 1.0;

/// A learner that is given, instead of the period's position, the log-odds of leaving in that period.
///
/// A regression has then one slope for the whole course of time, close to 1, where it would need a coefficient for every period, which
/// its penalty would flatten. What it finds becomes a tree that asks for the period.
pub(crate) struct ByPeriod {
    pub(crate) learner: Arc<dyn Learner + Send>,
}

impl Learner for ByPeriod {
    fn name(&self) -> &'static str {
        self.learner.name()
    }

    fn supports(&self, loss: Loss) -> bool {
        loss == Loss::Logistic && self.learner.supports(loss)
    }

    fn configurations(&self, dataset: &Dataset, loss: Loss) -> Vec<Configuration> {
        self.learner.configurations(dataset, loss)
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        let course = Course::new(dataset, row_idxs);
        let told = course.told(dataset, row_idxs);
        let rows: Vec<usize> = (0..row_idxs.len()).collect();
        let models = self.learner.fit(&told, &rows, configurations, context)?;
        Ok(models.into_iter().map(|model| course.translated(model, dataset.n_features() - 1)).collect())
    }

    fn work(&self, n_rows: usize) -> f64 {
        self.learner.work(n_rows)
    }

    fn settle(&self, chosen: &Configuration, fold_models: &[MarginModel]) -> Configuration {
        self.learner.settle(chosen, fold_models)
    }
}

/// The course of the hazard over the periods.
struct Course {
    n_rows: Vec<f64>,
    log_odds: Vec<f64>,
}

impl Course {
    /// Of these rows; the period is the last feature.
    fn new(dataset: &Dataset, row_idxs: &[usize]) -> Self {
        let period = &dataset.columns[dataset.n_features() - 1];
        let n_periods = row_idxs.iter().map(|&row_idx| period[row_idx] as usize + 1).max().unwrap_or(1);
        let (mut n_rows, mut n_left) = (vec![0.0; n_periods], vec![0.0; n_periods]);
        for &row_idx in row_idxs {
            n_rows[period[row_idx] as usize] += 1.0;
            n_left[period[row_idx] as usize] += dataset.target[row_idx];
        }
        let rate = n_left.iter().sum::<f64>() / n_rows.iter().sum::<f64>().max(1.0);
        let log_odds = |(rows, left): (&f64, &f64)| {
            let hazard = ((left + SMOOTHING * rate) / (rows + SMOOTHING)).clamp(1e-12, 1.0 - 1e-12);
            (hazard / (1.0 - hazard)).ln()
        };
        let log_odds = n_rows.iter().zip(&n_left).map(log_odds).collect();
        Self { n_rows, log_odds }
    }

    /// The rows, with the log-odds of their period for its position.
    fn told(&self, dataset: &Dataset, row_idxs: &[usize]) -> Dataset {
        let pick = |column: &Vec<f64>| -> Vec<f64> { row_idxs.iter().map(|&row_idx| column[row_idx]).collect() };
        let mut columns: Vec<Vec<f64>> = dataset.columns.iter().map(pick).collect();
        if let Some(period) = columns.last_mut() {
            for position in period {
                *position = self.log_odds[*position as usize];
            }
        }
        Dataset {
            schema: dataset.schema.clone(),
            columns,
            target: pick(&dataset.target),
            weight: dataset.weight.as_ref().map(pick),
            entity: Vec::new(),
            group: row_idxs.iter().map(|&row_idx| dataset.group[row_idx]).collect(),
            duration: None,
            past: None,
            treatment: None,
            propensity: None,
            observed: dataset.observed.as_ref().map(pick),
        }
    }

    /// The model with terms of the log-odds turned into a tree of the period's position.
    fn translated(&self, mut model: MarginModel, period_idx: usize) -> MarginModel {
        let (of_period, terms): (Vec<_>, Vec<_>) =
            std::mem::take(&mut model.terms).into_iter().partition(|term| term.feature_idx as usize == period_idx);
        model.terms = terms;
        if !of_period.is_empty() {
            let value = |&log_odds: &f64| of_period.iter().map(|term| term.shape.value(log_odds)).sum();
            let values: Vec<f64> = self.log_odds.iter().map(value).collect();
            let mut nodes = Vec::with_capacity(2 * values.len());
            self.grow(&values, 0, values.len(), period_idx as u32, &mut nodes);
            model.trees.push(Tree { nodes });
        }
        model
    }

    /// Adds the subtree of the periods from `first` to before `end`, and returns its cover.
    fn grow(&self, values: &[f64], first: usize, end: usize, feature_idx: u32, nodes: &mut Vec<Node>) -> f64 {
        let position = nodes.len();
        if end - first == 1 {
            // A period without rows has some weight, so that the tree holds together.
            let cover = self.n_rows[first].max(1.0);
            nodes.push(Node { cover, kind: NodeKind::Leaf { value: values[first] } });
            return cover;
        }
        let middle = usize::midpoint(first, end);
        nodes.push(Node { cover: 0.0, kind: NodeKind::Leaf { value: 0.0 } });
        let left_cover = self.grow(values, first, middle, feature_idx, nodes);
        let right = nodes.len() as u32;
        let cover = left_cover + self.grow(values, middle, end, feature_idx, nodes);
        let test = Test::Below(middle as f64 - 0.5);
        let left = position as u32 + 1;
        nodes[position] = Node { cover, kind: NodeKind::Split { feature_idx, test, missing_left: true, left, right } };
        cover
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use retain_score::with_period;

    use super::*;
    use crate::learners::Logistic;
    use crate::learners::rows::tests::example;

    /// Rows of seven periods whose hazards jump up and down, the same for all.
    fn jumping() -> (Dataset, Vec<f64>) {
        let hazards = vec![0.05, 0.4, 0.1, 0.02, 0.3, 0.25, 0.01];
        let mut table = example(7_000, 9);
        table.schema = with_period(&table.schema).unwrap();
        table.columns.push((0..7_000).map(|row| f64::from(row % 7)).collect());
        table.target = (0..7_000).map(|row| f64::from(u8::from(((row / 7) as f64) < 1000.0 * hazards[row % 7]))).collect();
        (table, hazards)
    }

    #[test]
    fn a_regression_follows_hazards_that_jump() {
        let (table, hazards) = jumping();
        let rows: Vec<usize> = (0..table.n_rows()).collect();
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        let learner = ByPeriod { learner: Arc::new(Logistic) };
        let settings = [Configuration::new(&[("alpha", 1.0), ("squares", 0.0)])];
        let model = learner.fit(&table, &rows, &settings, &context).unwrap().remove(0);
        model.check(&table.schema).unwrap();
        for (period, hazard) in hazards.iter().enumerate() {
            let of_period = (0..table.n_rows()).filter(|row| row % 7 == period);
            let probabilities: Vec<f64> =
                of_period.map(|row| retain_score::sigmoid(model.margin(table.rows(&[row]).row(0)))).collect();
            let mean = probabilities.iter().sum::<f64>() / probabilities.len() as f64;
            assert!((mean - hazard).abs() < 0.01, "period {period}: {mean} instead of {hazard}");
        }
    }
}
