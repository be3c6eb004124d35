use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_eval::Labelled;

pub(crate) struct Simulator(Xoshiro256PlusPlus);

impl Simulator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// A standard normal number, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Customers of one row each, whose outcomes follow `truth`, and whose predictions are `predict(truth)`.
    pub(crate) fn rows(&mut self, truths: &[f64], mut predict: impl FnMut(&mut Self, f64) -> f64) -> Labelled {
        let target: Vec<f64> = truths.iter().map(|truth| f64::from(u8::from(self.uniform() < *truth))).collect();
        let probability: Vec<f64> = truths.iter().map(|truth| predict(self, *truth)).collect();
        Labelled::new(&target, &probability, &row_numbers(truths.len())).unwrap()
    }

    /// Probabilities of about a fifth, from nearly 0 to nearly 1.
    pub(crate) fn truths(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| sigmoid(1.5 * self.normal() - 1.7)).collect()
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn log_odds(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

pub(crate) fn row_numbers(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}
