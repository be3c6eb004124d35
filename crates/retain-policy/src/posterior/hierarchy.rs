//! Beliefs about all actions in all groups of customers at once: groups lend each other what they know.

use super::{EffectEstimate, Posterior, Prior};

/// What is expected of how far groups differ in an effect, as a standard deviation, and for how many groups that counts.
const BETWEEN_SD: f64 = 0.02;
const BETWEEN_COUNTS: f64 = 4.0;
/// The equations are solved again with what they gave so often; later rounds change nothing that matters.
const N_ROUNDS: usize = 12;
/// A variance below this counts as this.
const LEAST_VARIANCE: f64 = 1e-12;

/// What is believed in one group of customers.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupBeliefs {
    /// One for each action, in the order of the priors.
    pub actions: Vec<Posterior>,
    /// How unsure it is what doing nothing comes to, which all actions of the group were compared with.
    pub control_sd: f64,
}

/// What is believed of the actions in each group: their priors, what the group's rows say, and what all groups have in common.
///
/// `estimates` has a list for each group, in the order of `priors`; the result has the same order. An effect in a group is the action's effect,
/// which its prior speaks of, and the group's own difference, whose usual size is learned from all of them. All estimates of a group share
/// the luck of its rows without any action: where every action seems to bring more than expected, those rows were probably unlucky, and
/// each estimate is taken that much lower. So actions are told apart by their own rows, long before it is known how they compare with
/// doing nothing.
///
/// A prior is a mixture, half of what it says and half of a wide belief around 0 that weighs as much as its `weight` rows. Rows shift
/// the halves: a prior that they contradict is let go.
///
/// # Source
/// A normal model with crossed factors, solved exactly given its variances; the variance between groups by expectation maximisation.
/// Robust mixture priors: Schmidli and others (2014).
pub fn group_posteriors(priors: &[Prior], estimates: &[Vec<Option<EffectEstimate>>]) -> Vec<GroupBeliefs> {
    let mut model = Model::new(priors, estimates);
    let mut solved = model.solve();
    for _ in 0..N_ROUNDS {
        model.adjust(&solved);
        solved = model.solve();
    }
    (0..estimates.len()).map(|group| model.beliefs(group, &solved)).collect()
}

/// What one group's rows say of one action: by how much they exceed the prior's mean, and the noise of the action's own rows.
#[derive(Debug, Clone, Copy)]
struct Cell {
    excess: f64,
    own_variance: f64,
    seen: EffectEstimate,
}

struct Model<'p> {
    priors: &'p [Prior],
    /// By group and action.
    cells: Vec<Vec<Option<Cell>>>,
    /// The variance of each group's luck.
    luck: Vec<f64>,
    /// The variance between groups.
    between: f64,
    /// The variance that each action's prior counts with.
    spreads: Vec<f64>,
}

/// The model's answer for given variances.
struct Solved {
    /// The expected luck of each group.
    luck: Vec<f64>,
    /// The covariances of that.
    covariances: Vec<Vec<f64>>,
    actions: Vec<Common>,
}

/// What is believed of an action over all groups.
#[derive(Debug, Clone, Copy)]
struct Common {
    mean: f64,
    /// Given the groups' luck.
    variance: f64,
    /// How much of the mean is the prior's.
    prior_share: f64,
    /// The share that still believes what the prior says.
    trust: f64,
    /// What the groups' rows weigh together.
    precision: f64,
}

impl<'p> Model<'p> {
    fn new(priors: &'p [Prior], estimates: &[Vec<Option<EffectEstimate>>]) -> Self {
        // Each action has rows without any action of its own, those where it could have been taken. What the largest of these sets knows
        // all share; what the others know less is noise of their own.
        let luck: Vec<f64> = estimates.iter().map(|group| shared_variance(group)).collect();
        let cells: Vec<Vec<Option<Cell>>> =
            estimates.iter().zip(&luck).map(|(group, luck)| cells(priors, group, *luck)).collect();
        // Where all are one group, it does not differ from itself.
        let n_seen = cells.iter().filter(|group| group.iter().any(Option::is_some)).count();
        let between = if n_seen > 1 { BETWEEN_SD * BETWEEN_SD } else { 0.0 };
        Self { priors, luck, between, spreads: priors.iter().map(Prior::variance).collect(), cells }
    }

    fn weight(&self, cell: &Cell) -> f64 {
        1.0 / (cell.own_variance + self.between)
    }

    /// The group and cell of every group that has rows of an action.
    fn of_action(&self, action: usize) -> impl Iterator<Item = (usize, &Cell)> {
        self.cells.iter().enumerate().filter_map(move |(group, cells)| Some((group, cells[action].as_ref()?)))
    }

    /// Actions are taken out of the equations, which leaves one for each group's luck.
    fn solve(&self) -> Solved {
        let n_groups = self.cells.len();
        let mut matrix = vec![vec![0.0; n_groups]; n_groups];
        let mut right = vec![0.0; n_groups];
        for (group, variance) in self.luck.iter().enumerate() {
            matrix[group][group] = 1.0 / variance;
        }
        for action in 0..self.priors.len() {
            let total = 1.0 / self.spreads[action] + self.of_action(action).map(|(_, cell)| self.weight(cell)).sum::<f64>();
            let mean = self.of_action(action).map(|(_, cell)| self.weight(cell) * cell.excess).sum::<f64>() / total;
            for (group, cell) in self.of_action(action) {
                let weight = self.weight(cell);
                matrix[group][group] += weight;
                right[group] += weight * (cell.excess - mean);
                for (other, other_cell) in self.of_action(action) {
                    matrix[group][other] -= weight * self.weight(other_cell) / total;
                }
            }
        }
        let covariances = inverse(matrix);
        let luck: Vec<f64> = covariances.iter().map(|row| row.iter().zip(&right).map(|(a, b)| a * b).sum()).collect();
        let actions = (0..self.priors.len()).map(|action| self.common(action, &luck, &covariances)).collect();
        Solved { luck, covariances, actions }
    }

    /// An action's belief over all groups: both halves of its prior, each by how well it had foreseen what was seen.
    fn common(&self, action: usize, luck: &[f64], covariances: &[Vec<f64>]) -> Common {
        let prior = &self.priors[action];
        let precision: f64 = self.of_action(action).map(|(_, cell)| self.weight(cell)).sum();
        if precision <= 0.0 {
            let (mean, variance) = (prior.belief.mean(), prior.variance());
            return Common { mean, variance, prior_share: 1.0, trust: 1.0, precision };
        }
        let excess = self.of_action(action).map(|(group, cell)| self.weight(cell) * (cell.excess - luck[group])).sum::<f64>();
        let seen = prior.belief.mean() + excess / precision;
        let of_luck: f64 = self
            .of_action(action)
            .map(|(a, cell)| {
                let along = self.of_action(action).map(|(b, other)| self.weight(other) * covariances[a][b]).sum::<f64>();
                self.weight(cell) * along
            })
            .sum();
        let noise = 1.0 / precision + of_luck / (precision * precision);
        let foreseen = |(mean, variance): (f64, f64)| {
            -0.5 * libm::log(variance + noise) - 0.5 * (seen - mean) * (seen - mean) / (variance + noise)
        };
        let halves = [(prior.belief.mean(), prior.variance()), prior.wide()];
        let trust = 1.0 / (1.0 + libm::exp(foreseen(halves[1]) - foreseen(halves[0])));
        let share = |variance: f64| 1.0 / (1.0 + variance * precision);
        let [narrow, wide] = halves.map(|(mean, variance)| (seen + share(variance) * (mean - seen), variance * share(variance)));
        let distance = narrow.0 - wide.0;
        Common {
            mean: trust * narrow.0 + (1.0 - trust) * wide.0,
            variance: trust * narrow.1 + (1.0 - trust) * wide.1 + trust * (1.0 - trust) * distance * distance,
            prior_share: trust * share(halves[0].1) + (1.0 - trust) * share(halves[1].1),
            trust,
            precision,
        }
    }

    /// What the answer says of the variances themselves.
    fn adjust(&mut self, solved: &Solved) {
        for ((spread, prior), common) in self.spreads.iter_mut().zip(self.priors).zip(&solved.actions) {
            *spread = 1.0 / (common.trust / prior.variance() + (1.0 - common.trust) / prior.wide().1);
        }
        if self.between <= 0.0 {
            return;
        }
        let (mut squares, mut n) = (BETWEEN_COUNTS * BETWEEN_SD * BETWEEN_SD, BETWEEN_COUNTS);
        for (action, common) in solved.actions.iter().enumerate() {
            for (group, cell) in self.of_action(action) {
                let share = cell.own_variance / (cell.own_variance + self.between);
                let (mean, variance) = self.in_group(action, group, common, solved);
                let own = self.between * share + (1.0 - share) * (1.0 - share) * common.variance;
                squares += (mean - common.mean) * (mean - common.mean) + own.min(variance);
                n += 1.0;
            }
        }
        self.between = squares / n;
    }

    /// Mean and variance of an action's effect in a group, given the groups' luck.
    fn in_group(&self, action: usize, group: usize, common: &Common, solved: &Solved) -> (f64, f64) {
        let Some(cell) = &self.cells[group][action] else { return (common.mean, common.variance + self.between) };
        let share = cell.own_variance / (cell.own_variance + self.between);
        let mean = share * common.mean + (1.0 - share) * (cell.seen.mean - solved.luck[group]);
        (mean, self.between * share + share * share * common.variance)
    }

    fn beliefs(&self, group: usize, solved: &Solved) -> GroupBeliefs {
        let posterior = |(action, common): (usize, &Common)| {
            let (mean, own) = self.in_group(action, group, common, solved);
            let cell = self.cells[group][action].as_ref();
            let share = cell.map_or(1.0, |cell| cell.own_variance / (cell.own_variance + self.between));
            Posterior {
                mean,
                sd: (own + self.shared_variance(action, group, share, common, solved)).sqrt(),
                own_sd: own.sqrt(),
                n: cell.map_or(0, |cell| cell.seen.treated_rows),
                effective_rows: cell.map_or(0.0, |cell| cell.seen.effective_rows),
                prior_share: share * common.prior_share,
            }
        };
        let actions = solved.actions.iter().enumerate().map(posterior).collect();
        GroupBeliefs { actions, control_sd: solved.covariances[group][group].max(0.0).sqrt() }
    }

    /// The variance that an effect has from not knowing the groups' luck.
    fn shared_variance(&self, action: usize, group: usize, share: f64, common: &Common, solved: &Solved) -> f64 {
        let rows_share = share * (1.0 - common.prior_share) / common.precision.max(f64::MIN_POSITIVE);
        let mut slopes = vec![0.0; self.cells.len()];
        for (other, cell) in self.of_action(action) {
            slopes[other] = rows_share * self.weight(cell);
        }
        slopes[group] += 1.0 - share;
        let along = |row: &Vec<f64>| row.iter().zip(&slopes).map(|(a, b)| a * b).sum::<f64>();
        solved.covariances.iter().zip(&slopes).map(|(row, slope)| slope * along(row)).sum::<f64>().max(0.0)
    }
}

/// The least variance of any action's rows without action.
fn shared_variance(group: &[Option<EffectEstimate>]) -> f64 {
    let least = group.iter().flatten().map(|estimate| estimate.control_variance).min_by(f64::total_cmp);
    least.unwrap_or(0.0).max(LEAST_VARIANCE)
}

fn cells(priors: &[Prior], group: &[Option<EffectEstimate>], luck: f64) -> Vec<Option<Cell>> {
    let cell = |(prior, estimate): (&Prior, &Option<EffectEstimate>)| {
        estimate.map(|seen| Cell {
            excess: seen.mean - prior.belief.mean(),
            own_variance: (seen.variance - luck).max(LEAST_VARIANCE),
            seen,
        })
    };
    priors.iter().zip(group).map(cell).collect()
}

/// The inverse of a symmetric matrix whose diagonal outweighs the rest, by Gauss and Jordan; such a matrix needs no pivoting.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut inverse: Vec<Vec<f64>> =
        (0..n).map(|row| (0..n).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    for pivot in 0..n {
        let scale = 1.0 / matrix[pivot][pivot];
        for column in 0..n {
            matrix[pivot][column] *= scale;
            inverse[pivot][column] *= scale;
        }
        let (of_matrix, of_inverse) = (matrix[pivot].clone(), inverse[pivot].clone());
        for row in (0..n).filter(|row| *row != pivot) {
            let factor = matrix[row][pivot];
            for column in 0..n {
                matrix[row][column] -= factor * of_matrix[column];
                inverse[row][column] -= factor * of_inverse[column];
            }
        }
    }
    inverse
}
