//! Customers whose chance of leaving is known, for tests, benches and examples.

use std::fmt::Write;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use retain_core::Day;

/// The day of the first snapshot: 2024-01-01.
const FIRST_SNAPSHOT: f64 = 19_723.0;
const DAYS_BETWEEN_SNAPSHOTS: f64 = 30.0;

/// What kind of table to simulate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulationOptions {
    /// Customers.
    pub n_customers: usize,
    /// Rows per customer, 30 days apart; with more than one there are the columns `snapshot` and `signup_date`.
    pub n_snapshots: usize,
    /// Share of empty cells in the columns that may have them.
    pub missing_share: f64,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// A table and the truth behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedCustomers {
    /// The table; the label column is `churned`, with `yes` and `no`.
    pub csv: String,
    /// For each row the probability by which its label was drawn; nobody can predict better.
    pub probability: Vec<f64>,
}

/// Simulates one row per customer, without dates; 3 % of the cells that may be empty are.
pub fn simulate_customers(n: usize, seed: u64) -> SimulatedCustomers {
    simulate(&SimulationOptions { n_customers: n, n_snapshots: 1, missing_share: 0.03, seed })
}

/// Simulates customers by these options; equal options give equal bytes.
///
/// The log-odds of leaving are a sum of known parts: contract, tenure, support calls (worse without a contract), days since the
/// last login, autopay, and a kink in the price. `region` and `noise` say nothing. About a quarter leave.
pub fn simulate(options: &SimulationOptions) -> SimulatedCustomers {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(options.seed);
    let dated = options.n_snapshots > 1;
    let date_columns = if dated { "snapshot,signup_date," } else { "" };
    let mut csv = format!(
        "customer_id,{date_columns}tenure_months,monthly_charge,support_calls,days_since_login,contract,plan,region,autopay,noise,churned\n"
    );
    let mut probability = Vec::with_capacity(options.n_customers * options.n_snapshots.max(1));
    for number in 1..=options.n_customers {
        let mut customer = Customer::draw(&mut rng);
        for snapshot in 0..options.n_snapshots.max(1) {
            let dates = dated.then(|| customer.dates(snapshot));
            let chance = 1.0 / (1.0 + libm::exp(-customer.log_odds()));
            let churned = rng.random::<f64>() < chance;
            customer.write(&mut csv, number, dates, churned, options.missing_share, &mut rng);
            probability.push(chance);
            customer.live_on(&mut rng);
        }
    }
    SimulatedCustomers { csv, probability }
}

struct Customer {
    tenure_months: f64,
    monthly_charge: f64,
    support_calls: u32,
    days_since_login: f64,
    contract: &'static str,
    plan: &'static str,
    region: u32,
    autopay: bool,
}

impl Customer {
    fn draw(rng: &mut Xoshiro256PlusPlus) -> Self {
        let contract = pick(rng, &[("monthly", 0.55), ("one year", 0.25), ("two years", 0.20)]);
        Self {
            tenure_months: (1.0 + exponential(rng, 24.0)).min(120.0).floor(),
            monthly_charge: 20.0 + 100.0 * rng.random::<f64>(),
            support_calls: exponential(rng, 1.3) as u32,
            days_since_login: exponential(rng, 9.0).floor(),
            contract,
            plan: pick(rng, &[("basic", 0.5), ("plus", 0.35), ("premium", 0.15)]),
            region: rng.random_range(0..20),
            autopay: rng.random::<f64>() < 0.6,
        }
    }

    fn log_odds(&self) -> f64 {
        let (contract, per_call) = match self.contract {
            "monthly" => (0.0, 0.45),
            "one year" => (-1.2, 0.2),
            _ => (-2.2, 0.1),
        };
        let price = if self.monthly_charge > 80.0 { 0.9 } else { 0.0 };
        let plan = if self.plan == "premium" { -0.6 } else { 0.0 };
        let autopay = if self.autopay { -0.5 } else { 0.0 };
        let tenure = -0.6 * libm::log(self.tenure_months / 12.0);
        let login = 0.05 * self.days_since_login.min(40.0);
        -1.35 + contract + tenure + price + plan + autopay + login + per_call * f64::from(self.support_calls)
    }

    /// The dates of a snapshot and of the customer's first day.
    fn dates(&self, snapshot: usize) -> (Day, Day) {
        let observed = FIRST_SNAPSHOT + DAYS_BETWEEN_SNAPSHOTS * snapshot as f64;
        (Day::from_days(observed), Day::from_days(observed - DAYS_BETWEEN_SNAPSHOTS * self.tenure_months))
    }

    fn live_on(&mut self, rng: &mut Xoshiro256PlusPlus) {
        self.tenure_months += 1.0;
        self.support_calls = exponential(rng, 1.3) as u32;
        self.days_since_login = exponential(rng, 9.0).floor();
    }

    fn write(
        &self,
        csv: &mut String,
        number: usize,
        dates: Option<(Day, Day)>,
        churned: bool,
        missing_share: f64,
        rng: &mut Xoshiro256PlusPlus,
    ) {
        let mut or_missing = |text: String| if rng.random::<f64>() < missing_share { String::new() } else { text };
        let dates = dates.map(|(observed, signup)| format!("{observed},{signup},")).unwrap_or_default();
        let charge = or_missing(format!("{:.2}", self.monthly_charge));
        let login = or_missing(self.days_since_login.to_string());
        let plan = or_missing(self.plan.to_owned());
        let autopay = if self.autopay { "yes" } else { "no" };
        let label = if churned { "yes" } else { "no" };
        let (tenure, calls, contract, region) = (self.tenure_months, self.support_calls, self.contract, self.region);
        let noise = rng.random::<f64>();
        writeln!(
            csv,
            "C{number:07},{dates}{tenure},{charge},{calls},{login},{contract},{plan},region {region},{autopay},{noise:.4},{label}"
        )
        .expect("writing to a String does not fail");
    }
}

fn exponential(rng: &mut Xoshiro256PlusPlus, mean: f64) -> f64 {
    // `random` is below 1, so the logarithm is finite.
    -mean * libm::log(1.0 - rng.random::<f64>())
}

fn pick(rng: &mut Xoshiro256PlusPlus, choices: &[(&'static str, f64)]) -> &'static str {
    let mut left = rng.random::<f64>();
    for (text, share) in choices {
        left -= share;
        if left < 0.0 {
            return text;
        }
    }
    choices.last().map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_follow_the_planted_probability() {
        let simulated = simulate_customers(20_000, 3);
        let labels: Vec<bool> = simulated.csv.lines().skip(1).map(|line| line.ends_with(",yes")).collect();
        assert_eq!(labels.len(), simulated.probability.len());
        let expected: f64 = simulated.probability.iter().sum();
        let spread = simulated.probability.iter().map(|p| p * (1.0 - p)).sum::<f64>().sqrt();
        let found = labels.iter().filter(|&&label| label).count() as f64;
        assert!((found - expected).abs() < 4.0 * spread, "{found} {expected} {spread}");
        assert!((0.15..0.40).contains(&(expected / 20_000.0)), "{expected}");
    }

    #[test]
    fn equal_options_give_equal_bytes_and_a_seed_changes_them() {
        assert_eq!(simulate_customers(50, 1), simulate_customers(50, 1));
        assert_ne!(simulate_customers(50, 1).csv, simulate_customers(50, 2).csv);
    }

    #[test]
    fn snapshots_bring_dates() {
        let options = SimulationOptions { n_customers: 3, n_snapshots: 4, missing_share: 0.0, seed: 1 };
        let simulated = simulate(&options);
        assert_eq!(simulated.csv.lines().count(), 13);
        assert!(simulated.csv.lines().nth(2).unwrap().starts_with("C0000001,2024-01-31,"), "{}", simulated.csv);
    }
}
