//! How probable it is that each of several normal numbers is the largest.

use super::Normal;
use super::table::{NormalTable, REACH};

/// Gauss-Legendre nodes and weights of six points on `[-1, 1]` (Abramowitz and Stegun, table 25.4).
const NODES: [(f64, f64); 6] = [
    (-0.932_469_514_203_152, 0.171_324_492_379_170_4),
    (-0.661_209_386_466_264_5, 0.360_761_573_048_138_6),
    (-0.238_619_186_083_196_9, 0.467_913_934_572_691),
    (0.238_619_186_083_196_9, 0.467_913_934_572_691),
    (0.661_209_386_466_264_5, 0.360_761_573_048_138_6),
    (0.932_469_514_203_152, 0.171_324_492_379_170_4),
];
/// Width of a panel in the least standard deviation that still varies there.
const PANEL_SDS: f64 = 1.5;

/// The probability that each of independent normal numbers is the largest, in their order; sums to 1.
///
/// `∫ φᵢ(x) Πⱼ Φⱼ(x) dx` by Gauss-Legendre quadrature in panels as wide as the narrowest number allows: right to about 1e-6,
/// whatever the spreads. Numbers that are certain share their probability where they are equal. 20 numbers take microseconds.
pub fn best_probabilities(values: &[Normal]) -> Vec<f64> {
    let certain = values.iter().filter(|value| is_certain(value)).map(Normal::mean).fold(f64::NEG_INFINITY, f64::max);
    let lowest = values.iter().filter(|value| !is_certain(value));
    let low = lowest.map(|value| value.mean() - REACH * value.sd()).fold(certain, f64::max);
    let mut race = Race::new(values, low);
    let mut probabilities = vec![0.0; values.len()];
    if race.contenders.is_empty() || low == certain {
        share_certain(values, certain, race.all_below(certain), &mut probabilities);
    }
    race.run(low, &mut probabilities);
    normalised(probabilities)
}

/// A spread this small, in itself or against the mean, cannot be told from none in floating point.
fn is_certain(value: &Normal) -> bool {
    value.sd() <= (1e-12 * value.mean().abs()).max(1e-290)
}

/// Shares the probability that the largest certain number is the largest of all among those that equal it.
fn share_certain(values: &[Normal], certain: f64, probability: f64, probabilities: &mut [f64]) {
    let is_first = |value: &Normal| is_certain(value) && value.mean() == certain;
    let n_first = values.iter().filter(|value| is_first(value)).count() as f64;
    for (_, slot) in values.iter().zip(probabilities).filter(|(value, _)| is_first(value)) {
        *slot = probability / n_first;
    }
}

/// What the quadrature leaves out is at most 1e-8 of the whole; dividing makes the probabilities those that are drawn with.
fn normalised(mut probabilities: Vec<f64>) -> Vec<f64> {
    let sum: f64 = probabilities.iter().sum();
    for probability in &mut probabilities {
        *probability /= sum;
    }
    probabilities
}

/// A number that may exceed the lower end of the integral.
struct Contender {
    idx: usize,
    mean: f64,
    sd: f64,
    per_sd: f64,
}

impl Contender {
    fn high(&self) -> f64 {
        self.mean + REACH * self.sd
    }
}

struct Race {
    contenders: Vec<Contender>,
    table: NormalTable,
    /// φ and the product of the Φ before it, for each contender at one node.
    before: Vec<(f64, f64, f64)>,
}

impl Race {
    fn new(values: &[Normal], low: f64) -> Self {
        let numbered = values.iter().enumerate().filter(|(_, value)| !is_certain(value));
        let contender =
            |(idx, value): (usize, &Normal)| Contender { idx, mean: value.mean(), sd: value.sd(), per_sd: 1.0 / value.sd() };
        let contenders: Vec<Contender> = numbered.map(contender).filter(|contender| contender.high() > low).collect();
        let before = vec![(0.0, 0.0, 0.0); contenders.len()];
        Self { contenders, table: NormalTable::get(), before }
    }

    /// The probability that all contenders are below `x`.
    fn all_below(&self, x: f64) -> f64 {
        self.contenders.iter().map(|contender| self.table.at((x - contender.mean) * contender.per_sd).0).product()
    }

    /// Adds the integral from `low` on to the probabilities, panel by panel.
    fn run(&mut self, low: f64, probabilities: &mut [f64]) {
        let high = self.contenders.iter().map(Contender::high).fold(low, f64::max);
        let mut from = low;
        while from < high {
            let varying = self.contenders.iter().filter(|contender| contender.high() > from);
            let narrowest = varying.map(|contender| contender.sd).fold(f64::INFINITY, f64::min);
            let to = (from + PANEL_SDS * narrowest).min(high);
            if to <= from {
                break;
            }
            let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
            for (node, weight) in NODES {
                self.add_node(middle + half * node, half * weight, probabilities);
            }
            from = to;
        }
    }

    /// Adds `weight × φᵢ(x) Πⱼ Φⱼ(x)` for every contender i; the products leave one out without dividing by it.
    fn add_node(&mut self, x: f64, weight: f64, probabilities: &mut [f64]) {
        let mut product = weight;
        for (contender, slot) in self.contenders.iter().zip(&mut self.before) {
            let (below, density) = self.table.at((x - contender.mean) * contender.per_sd);
            *slot = (density * contender.per_sd, below, product);
            product *= below;
        }
        let mut after = 1.0;
        for (contender, &(density, below, before)) in self.contenders.iter().zip(&self.before).rev() {
            probabilities[contender.idx] += density * before * after;
            after *= below;
        }
    }
}
