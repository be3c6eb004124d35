//! Uplift: what was written down after the treatment, such as another outcome of it.
//!
//! What is known before a treatment that is given at random cannot depend on it. So a column that does was written down afterwards, or
//! the treatment was not left to chance: for one column alone neither is certain, and only one that also says much about the outcome is
//! refused. A column with values that all but imply the outcome is another outcome, whatever it says of the treatment.

use std::collections::{HashMap, HashSet};

use retain_core::{ColumnKind, FeatureSpec};

use super::columns::{LOG_CHANCE, STRONG_FOR_ITS_NAME, exclude_or_allow, strongest};
use super::outcome::{Bins, Level, Outcome};
use super::{Finding, Severity};
use crate::dataset::Dataset;

/// The chance that any column of a table seems to depend on a treatment that was given at random.
const CHANCE_OF_ALARM: f64 = 1e-4;
/// Rows that a part of a column has in every arm, if nothing depends on anything; smaller parts are put together.
const MIN_EXPECTED: f64 = 5.0;
/// The share of rows with the outcome that implies it, at the lower end of its 95 % interval: 190 rows without an exception have it.
const IMPLIED: f64 = 0.98;
const Z_95: f64 = 1.96;
/// What to do about a column that may have decided who was treated: effects need it then.
const KNOWN_BEFORE: &str = "`exclude` it unless it was known before the treatment was given";

/// What a column says of the outcome and of the treatment.
struct Seen {
    name: String,
    /// How surely it depends on the treatment.
    dependence: Option<Dependence>,
    /// Rows with the values that all but imply the outcome, and their share with it.
    implied: Option<(f64, f64)>,
    /// Whether it says much about the outcome.
    is_strong: bool,
}

/// A test of independence.
struct Dependence {
    chi_square: f64,
    degrees: f64,
    /// Whether it is beyond chance.
    is_sure: bool,
}

/// Asks every feature of a table with treatments.
pub(super) fn check(dataset: &Dataset) -> Vec<Finding> {
    let Some(arms) = &dataset.treatment else { return Vec::new() };
    let happened: Vec<f64> = dataset.target.iter().map(|value| f64::from(u8::from(*value > 0.0))).collect();
    let outcome = Outcome::new(&happened, &dataset.group);
    let table = Table { arms, first_rows: first_rows(dataset, &outcome), outcome, n_features: dataset.n_features() };
    // Who was chosen by logged chances was chosen by features, and these depend on the treatment as they should.
    let asks_dependence = dataset.propensity.is_none();
    let seen: Vec<Seen> = dataset
        .schema
        .features
        .iter()
        .zip(&dataset.columns)
        .map(|(spec, column)| table.see(spec, column, asks_dependence))
        .collect();
    let n_dependent = seen.iter().filter(|one| one.depends()).count();
    // One or a few columns were written down afterwards; where most depend on the treatment, it depends on them.
    let is_left_to_chance = 2 * n_dependent <= seen.len();
    seen.iter().filter_map(|one| one.finding(&dataset.schema.target, is_left_to_chance)).collect()
}

struct Table<'a> {
    arms: &'a [u32],
    outcome: Outcome,
    /// Positions in the outcome's rows of the first row of each customer: treatments may be given to customers.
    first_rows: Vec<usize>,
    n_features: usize,
}

fn first_rows(dataset: &Dataset, outcome: &Outcome) -> Vec<usize> {
    let mut known = HashSet::new();
    (0..outcome.rows.len()).filter(|&position| known.insert(dataset.group[outcome.rows[position]])).collect()
}

impl Table<'_> {
    fn see(&self, spec: &FeatureSpec, column: &[f64], asks_dependence: bool) -> Seen {
        let bins = Bins::new(&self.outcome, |row| column[row]);
        let dependence = if asks_dependence { self.dependence(&bins) } else { None };
        let implied = if spec.kind == ColumnKind::Category {
            self.implied_by(category_levels(&bins, &self.outcome).into_iter())
        } else {
            let (up, down) = (tails(bins.levels.iter()), tails(bins.levels.iter().rev()));
            self.implied_by(up.into_iter().chain(down))
        };
        let is_strong = strongest(&bins, spec.kind, &self.outcome).low > STRONG_FOR_ITS_NAME;
        Seen { name: spec.name.clone(), dependence, implied, is_strong }
    }

    /// Pearson's chi-square over parts of the column and arms; none where there is nothing to compare.
    ///
    /// # Source
    /// Its distribution by the cube root of Wilson and Hilferty (1931), which is cautious in the tail.
    fn dependence(&self, bins: &Bins) -> Option<Dependence> {
        let n_arms = self.arms.iter().max().map_or(0, |&last| last as usize + 1);
        let mut counts = vec![vec![0.0; n_arms]; bins.n_parts];
        let mut of_arms = vec![0.0; n_arms];
        for &position in &self.first_rows {
            let arm = self.arms[self.outcome.rows[position]] as usize;
            counts[usize::from(bins.of_row[position])][arm] += 1.0;
            of_arms[arm] += 1.0;
        }
        let n: f64 = of_arms.iter().sum();
        let parts = of_some_size(counts, of_arms.iter().copied().fold(f64::INFINITY, f64::min) / n);
        if parts.len() < 2 {
            return None;
        }
        let total: f64 = parts.iter().flatten().sum();
        let expected = |part: &[f64], arm: usize| part.iter().sum::<f64>() * of_arms[arm] / total;
        let apart = |part: &Vec<f64>| -> f64 {
            (0..n_arms).map(|arm| (part[arm] - expected(part, arm)).powi(2) / expected(part, arm)).sum()
        };
        let chi_square: f64 = parts.iter().map(apart).sum();
        let degrees = ((parts.len() - 1) * (n_arms - 1)) as f64;
        let spread = 2.0 / (9.0 * degrees);
        let z = (libm::cbrt(chi_square / degrees) - (1.0 - spread)) / spread.sqrt();
        let chance = 0.5 * libm::erfc(z / std::f64::consts::SQRT_2);
        Some(Dependence { chi_square, degrees, is_sure: chance * (self.n_features as f64) < CHANCE_OF_ALARM })
    }

    /// The most rows of one of these sets that all but imply the rarer outcome.
    fn implied_by(&self, sets: impl Iterator<Item = Level>) -> Option<(f64, f64)> {
        let rate = self.outcome.rate()?;
        let with_it = |set: &Level| (set.sum + set.n * rate).round() / set.n;
        let share = |set: &Level| if rate <= 0.5 { with_it(set) } else { 1.0 - with_it(set) };
        let is_implied = |set: &Level| {
            set.n < self.outcome.rows.len() as f64
                && lower_end(share(set), set.n) >= IMPLIED
                && set.n * rate.min(1.0 - rate).ln() < LOG_CHANCE
        };
        let largest = sets.filter(is_implied).max_by(|a, b| a.n.total_cmp(&b.n))?;
        Some((largest.n, share(&largest)))
    }
}

/// Parts of enough rows; the others are put together, and left out where they are too few even so.
fn of_some_size(counts: Vec<Vec<f64>>, smallest_share: f64) -> Vec<Vec<f64>> {
    let is_large = |part: &Vec<f64>| part.iter().sum::<f64>() * smallest_share >= MIN_EXPECTED;
    let (mut large, small): (Vec<_>, Vec<_>) = counts.into_iter().partition(is_large);
    let rest = small.into_iter().reduce(|one, other| one.iter().zip(&other).map(|(a, b)| a + b).collect());
    large.extend(rest.filter(is_large));
    large
}

/// The rows from one end of the column's values, for every place where they could end.
fn tails<'a>(levels: impl Iterator<Item = &'a Level>) -> Vec<Level> {
    let add = |sum: &mut Level, level: &Level| {
        *sum = Level { score: level.score, n: sum.n + level.n, sum: sum.sum + level.sum };
        Some(*sum)
    };
    levels.scan(Level::default(), add).collect()
}

/// The rows of every category; those without a value are not among them.
fn category_levels(bins: &Bins, outcome: &Outcome) -> Vec<Level> {
    let mut of_parts: HashMap<u16, Level> = HashMap::new();
    for (&part, &centred) in bins.of_row.iter().zip(&outcome.centred) {
        let level = of_parts.entry(part).or_default();
        (level.n, level.sum) = (level.n + 1.0, level.sum + centred);
    }
    let mut levels: Vec<(u16, Level)> = of_parts.into_iter().filter(|(part, _)| usize::from(*part) + 1 < bins.n_parts).collect();
    levels.sort_unstable_by_key(|(part, _)| *part);
    levels.into_iter().map(|(_, level)| level).collect()
}

/// The lower end of the 95 % interval of a share of `n` rows, after Wilson (1927).
fn lower_end(share: f64, n: f64) -> f64 {
    let z2 = Z_95 * Z_95;
    let share = share.clamp(0.0, 1.0);
    (share + z2 / (2.0 * n) - Z_95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt()) / (1.0 + z2 / n)
}

impl Seen {
    fn depends(&self) -> bool {
        self.dependence.as_ref().is_some_and(|dependence| dependence.is_sure)
    }

    fn finding(&self, target: &str, is_left_to_chance: bool) -> Option<Finding> {
        self.outcome_finding(target).or_else(|| self.treatment_finding(is_left_to_chance))
    }

    fn outcome_finding(&self, target: &str) -> Option<Finding> {
        let (n, share) = self.implied?;
        let is_certain = self.depends() || n * (1.0 - share) < 0.5;
        let also = if self.depends() { ", and it depends on the treatment" } else { "" };
        let name = &self.name;
        Some(Finding {
            code: "leak_outcome",
            severity: if is_certain { Severity::Certain } else { Severity::Likely },
            columns: vec![name.clone()],
            measure: "share with one outcome",
            figure: share,
            message: format!(
                "of {n} rows that the value of column `{name}` sets apart {:.2} % have the same `{target}`{also}: it is another outcome, or \
                 was written down after it was known",
                100.0 * share
            ),
            fix: exclude_or_allow(name),
            allowed: false,
        })
    }

    fn treatment_finding(&self, is_left_to_chance: bool) -> Option<Finding> {
        let Dependence { chi_square, degrees, .. } = self.dependence.as_ref().filter(|dependence| dependence.is_sure)?;
        let name = &self.name;
        let is_certain = self.is_strong && is_left_to_chance;
        let (meaning, fix) = if is_certain {
            (" and says much about the outcome: it was written down after the treatment", exclude_or_allow(name))
        } else if is_left_to_chance {
            (": it was written down after the treatment, or the treatment was given by it", KNOWN_BEFORE.to_owned())
        } else {
            (" as most columns do: the treatment was not left to chance", KNOWN_BEFORE.to_owned())
        };
        Some(Finding {
            code: "leak_treatment",
            severity: if is_certain { Severity::Certain } else { Severity::Likely },
            columns: vec![name.clone()],
            measure: "chi-square",
            figure: *chi_square,
            message: format!(
                "column `{name}` depends on the treatment (chi-square {chi_square:.1} of {degrees} degrees of freedom){meaning}"
            ),
            fix,
            allowed: false,
        })
    }
}
