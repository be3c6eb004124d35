//! Simulated customers whose parameters are known: fits find them, and forecasts agree with what those customers then do.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::super::{PurchaseHistory, PurchaseModel, PurchaseModelKind, SpendHistory, SpendModel, fit_purchases, fit_spend};
use super::{cdnow, history};

struct Random(Xoshiro256PlusPlus);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        1.0 - self.0.random::<f64>()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Gamma with unit rate (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        x / (x + y)
    }
}

/// Times of the repeat purchases of a customer of this model up to `end`.
fn purchases(model: &PurchaseModel, end: f64, random: &mut Random) -> Vec<f64> {
    let rate = random.gamma(model.r) / model.alpha;
    let stopping = random.beta(model.a, model.b);
    let mut times = Vec::new();
    let mut now = 0.0;
    let mut active = model.kind == PurchaseModelKind::BgNbd || random.uniform() > stopping;
    while active {
        now -= random.uniform().ln() / rate;
        if now > end {
            break;
        }
        times.push(now);
        active = random.uniform() > stopping;
    }
    times
}

fn seen(times: &[f64], age: f64) -> PurchaseHistory {
    let n = times.iter().take_while(|time| **time <= age).count();
    history(n as u32, if n > 0 { times[n - 1] } else { 0.0 }, age)
}

#[test]
fn planted_purchase_parameters_are_found() {
    for kind in [PurchaseModelKind::BgNbd, PurchaseModelKind::MbgNbd] {
        let planted = PurchaseModel { kind, r: 0.8, alpha: 9.0, a: 0.9, b: 4.0 };
        let mut random = Random::new(5);
        let customers: Vec<PurchaseHistory> = (0..8000)
            .map(|number| {
                let age = 52.0 + f64::from(number % 53);
                seen(&purchases(&planted, age, &mut random), age)
            })
            .collect();
        let fit = fit_purchases(kind, &customers).unwrap();
        assert_eq!(fit.diagnosis, None);
        let pairs = [(fit.model.r, 0.8), (fit.model.alpha, 9.0), (fit.model.a, 0.9), (fit.model.b, 4.0)];
        // Four standard errors, by the curvature of such a sample.
        for ((found, expected), tolerance) in pairs.into_iter().zip([0.2, 0.25, 0.35, 0.5]) {
            assert!((found / expected).ln().abs() < tolerance, "{:?}", fit.model);
        }
        let other = if kind == PurchaseModelKind::BgNbd { PurchaseModelKind::MbgNbd } else { PurchaseModelKind::BgNbd };
        assert!(fit_purchases(other, &customers).unwrap().log_likelihood < fit.log_likelihood);
    }
}

/// Not only on average: among the customers of one history, too.
#[test]
fn forecasts_are_what_simulated_customers_do() {
    const HORIZON: f64 = 39.0;
    const AGE: f64 = 39.0;
    for kind in [PurchaseModelKind::BgNbd, PurchaseModelKind::MbgNbd] {
        let model = cdnow(kind);
        let mut random = Random::new(11);
        // Once only, a few lately, a few long ago, many.
        let mut groups = [[0.0; 6]; 4];
        for _ in 0..200_000 {
            let times = purchases(&model, AGE + HORIZON, &mut random);
            let history = seen(&times, AGE);
            let group = match (history.n_repeats(), history.recency()) {
                (0, _) => 0,
                (1..=3, recency) if recency > 20.0 => 1,
                (1..=3, _) => 2,
                _ => 3,
            };
            let next = times.len() as f64 - f64::from(history.n_repeats());
            let (expected, probability) =
                (model.expected_purchases(&history, HORIZON), model.purchase_probability(&history, HORIZON));
            let sums = [1.0, expected, next, next * next, probability, f64::from(u8::from(next > 0.0))];
            groups[group].iter_mut().zip(sums).for_each(|(total, value)| *total += value);
        }
        for [n, expected, next, squares, probability, bought] in groups {
            let error = (squares / n).sqrt() / n.sqrt();
            assert!((expected - next).abs() / n < 4.0 * error, "{kind:?}: {expected} expected, {next} made by {n}");
            assert!((probability - bought).abs() / n < 4.0 * 0.5 / n.sqrt(), "{kind:?}: {probability} expected, {bought} of {n}");
        }
    }
}

#[test]
fn planted_spend_parameters_are_found() {
    let planted = SpendModel { p: 5.0, q: 4.0, v: 16.0 };
    let mut random = Random::new(3);
    let customers: Vec<SpendHistory> = (0..6000)
        .map(|number: u32| {
            let scale = random.gamma(planted.q) / planted.v;
            let n = 1 + number % 9;
            let total: f64 = (0..n).map(|_| random.gamma(planted.p) / scale).sum();
            SpendHistory::new(n, total / f64::from(n)).unwrap()
        })
        .collect();
    let fit = fit_spend(&customers).unwrap();
    assert!(fit.diagnoses.is_empty(), "{:?}", fit.diagnoses);
    for (found, expected) in [(fit.model.p, 5.0), (fit.model.q, 4.0), (fit.model.v, 16.0)] {
        assert!((found / expected - 1.0).abs() < 0.15, "{:?}", fit.model);
    }
    // Mean over customers of their own mean: p v / (q − 1).
    assert!((fit.model.expected_spend(None) / (5.0 * 16.0 / 3.0) - 1.0).abs() < 0.03);
}
