//! Published fits and forecasts of the CDNOW sample (2,357 customers, 39 weeks), and the derivatives behind them.

use std::collections::BTreeMap;

use super::super::{PurchaseHistory, PurchaseModel, PurchaseModelKind, SpendHistory, SpendModel, fit_purchases, fit_spend};
use super::{cdnow, history};

const LAST_DAY: i32 = 273;
/// Days of a year before each month.
const BEFORE: [i32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Purchase days of every customer as day of 1997, with the amount of the day; see `cdnow_sample_2357.md` for the source.
fn customers() -> Vec<BTreeMap<i32, f64>> {
    let csv = include_str!("../../../tests/golden/cdnow_sample_2357.csv");
    let mut customers: BTreeMap<&str, BTreeMap<i32, f64>> = BTreeMap::new();
    for line in csv.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (year, month, day) = (&cells[2][..4], cells[2][4..6].parse::<usize>().unwrap(), &cells[2][6..]);
        let day = BEFORE[month - 1] + day.parse::<i32>().unwrap() + if year == "1998" { 365 } else { 0 };
        if day <= LAST_DAY {
            *customers.entry(cells[0]).or_default().entry(day).or_insert(0.0) += cells[4].parse::<f64>().unwrap();
        }
    }
    customers.into_values().collect()
}

/// In weeks, as in the papers.
fn histories() -> Vec<PurchaseHistory> {
    let weeks = |days: i32| f64::from(days) / 7.0;
    let of = |days: &BTreeMap<i32, f64>| {
        let (first, last) = (days.keys().next().unwrap(), days.keys().next_back().unwrap());
        history(days.len() as u32 - 1, weeks(last - first), weeks(LAST_DAY - first))
    };
    customers().iter().map(of).collect()
}

fn spends() -> Vec<SpendHistory> {
    let of = |days: BTreeMap<i32, f64>| {
        let amounts: Vec<f64> = days.into_values().skip(1).filter(|amount| *amount > 0.0).collect();
        SpendHistory::new(amounts.len() as u32, amounts.iter().sum::<f64>() / amounts.len() as f64)
    };
    customers().into_iter().filter_map(of).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected} ± {tolerance}");
}

/// Fader, Hardie and Lee (2005), table 2 and section 4.
#[test]
fn bg_nbd_of_cdnow_is_the_published_one() {
    let fit = fit_purchases(PurchaseModelKind::BgNbd, &histories()).unwrap();
    near(fit.model.r, 0.243, 5e-4);
    near(fit.model.alpha, 4.414, 5e-4);
    near(fit.model.a, 0.793, 5e-4);
    near(fit.model.b, 2.426, 5e-4);
    near(fit.log_likelihood, -9582.4, 0.05);
    assert_eq!((fit.n_customers, fit.n_repeat_buyers, fit.diagnosis, fit.prior_spread), (2357, 946, None, None));
}

#[test]
fn the_unit_of_time_changes_alpha_and_nothing_else() {
    let weeks = fit_purchases(PurchaseModelKind::MbgNbd, &histories()).unwrap();
    let in_days: Vec<PurchaseHistory> = histories().iter().map(|history| history.in_units_of(1.0 / 7.0)).collect();
    let days = fit_purchases(PurchaseModelKind::MbgNbd, &in_days).unwrap();
    near(days.model.alpha / weeks.model.alpha, 7.0, 1e-6);
    near(days.model.b / weeks.model.b, 1.0, 1e-6);
    let n_purchases: f64 = histories().iter().map(|history| f64::from(history.n_repeats())).sum();
    near(days.log_likelihood + n_purchases * f64::ln(7.0), weeks.log_likelihood, 1e-6);
}

/// Fader and Hardie (2013), section 4: 946 repeat buyers.
#[test]
fn gamma_gamma_of_cdnow_is_the_published_one() {
    let fit = fit_spend(&spends()).unwrap();
    near(fit.model.p, 6.25, 0.005);
    near(fit.model.q, 3.74, 0.005);
    near(fit.model.v, 15.44, 0.01);
    assert!(fit.diagnoses.is_empty(), "{:?}", fit.diagnoses);
}

/// The forecast of the paper's example (Fader, Hardie and Lee's spreadsheet note of 2004): customer 1 in the next 39 weeks.
#[test]
fn the_forecast_of_customer_one_is_the_published_one() {
    near(cdnow(PurchaseModelKind::BgNbd).expected_purchases(&history(2, 30.43, 38.86), 39.0), 1.226, 5e-4);
}

/// The closed form of the papers with the power series of Gauss' hypergeometric function, `a` other than one.
#[test]
fn the_series_equals_the_hypergeometric_form() {
    for kind in [PurchaseModelKind::BgNbd, PurchaseModelKind::MbgNbd] {
        for (n, recency, age) in [(0, 0.0, 10.0), (2, 30.43, 38.86), (29, 38.0, 38.5), (150, 30.0, 30.1)] {
            for horizon in [0.5, 39.0, 300.0] {
                let model = cdnow(kind);
                let expected = closed_form(&model, &history(n, recency, age), horizon);
                near(model.expected_purchases(&history(n, recency, age), horizon) / expected, 1.0, 1e-9);
            }
        }
    }
}

fn closed_form(model: &PurchaseModel, history: &PurchaseHistory, horizon: f64) -> f64 {
    let n = f64::from(history.n_repeats());
    let m = if model.kind == PurchaseModelKind::BgNbd { n } else { n + 1.0 };
    let (shape, rate) = (model.r + n, model.alpha + history.age());
    let z = horizon / (rate + horizon);
    let gauss = hypergeometric(shape, model.b + m, model.a + model.b + m - 1.0, z);
    let growth = 1.0 - (rate / (rate + horizon)).powf(shape) * gauss;
    let odds = if m > 0.0 { model.a / (model.b + m - 1.0) * (rate / (model.alpha + history.recency())).powf(shape) } else { 0.0 };
    (model.a + model.b + m - 1.0) / (model.a - 1.0) * growth / (1.0 + odds)
}

fn hypergeometric(a: f64, b: f64, c: f64, z: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 0..200_000 {
        let k = f64::from(k);
        term *= (a + k) * (b + k) / (c + k) * z / (k + 1.0);
        sum += term;
        if term < 1e-18 * sum {
            break;
        }
    }
    sum
}

#[test]
fn gradients_agree_with_differences() {
    for kind in [PurchaseModelKind::BgNbd, PurchaseModelKind::MbgNbd] {
        for (n, recency, age) in [(0, 0.0, 10.0), (0, 0.0, 0.0), (3, 7.0, 39.0), (90, 300.0, 390.0)] {
            let customer = history(n, recency, age);
            let function = |at: &[f64; 4]| PurchaseModel::from_logarithms(kind, at).log_likelihood(&customer);
            check_gradient(function, [-1.4, 1.5, -0.2, 0.9]);
            check_gradient(function, [3.0, -2.0, -8.0, 6.0]);
        }
    }
    for (n, mean) in [(1, 20.0), (12, 0.5), (300, 44.0)] {
        let customer = SpendHistory::new(n, mean).unwrap();
        let function = |at: &[f64; 3]| {
            let [p, q, v] = at.map(f64::exp);
            SpendModel { p, q, v }.log_likelihood(&customer)
        };
        check_gradient(function, [1.8, 1.3, 2.7]);
        check_gradient(function, [-1.0, 3.0, 0.1]);
    }
}

#[track_caller]
fn check_gradient<const N: usize>(function: impl Fn(&[f64; N]) -> (f64, [f64; N]), at: [f64; N]) {
    const STEP: f64 = 1e-5;
    let (_, gradient) = function(&at);
    for (idx, slope) in gradient.into_iter().enumerate() {
        let value = |by: f64| {
            let mut place = at;
            place[idx] += by;
            function(&place).0
        };
        let difference = (value(STEP) - value(-STEP)) / (2.0 * STEP);
        assert!((slope - difference).abs() < 1e-6 * difference.abs().max(1.0), "{idx}: {slope} against {difference}");
    }
}
