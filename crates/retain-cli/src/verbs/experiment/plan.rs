//! `retain experiment plan`: customers for an effect, or the effect that so many customers show.

use anyhow::Result;
use clap::{ArgGroup, Args};
use retain_policy::experiment::{Design, Measure, Plan};
use serde_json::json;

use super::finite;
use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::tables;

const AFTER_HELP: &str = "An effect is a difference: of rates in points (`--base-rate 0.2 --effect 0.02` is from 20 % to 22 %), of amounts in \
their unit, or in standard deviations.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[command(group = ArgGroup::new("measure").required(true).args(["base_rate", "sd"]))]
#[command(group = ArgGroup::new("question").required(true).args(["effect", "customers"]))]
pub(crate) struct Arguments {
    /// The rate of the outcome without treatment, between 0 and 1
    #[arg(long, value_name = "P", value_parser = finite)]
    base_rate: Option<f64>,
    /// For amounts: the standard deviation between customers
    #[arg(long, value_name = "AMOUNT", value_parser = finite)]
    sd: Option<f64>,
    /// For amounts: the mean without treatment, to tell the effect as a share of it
    #[arg(long, value_name = "AMOUNT", requires = "sd", allow_negative_numbers = true, value_parser = finite)]
    mean: Option<f64>,
    /// The effect to be seen; below 0 for a decrease
    #[arg(long, value_name = "D", allow_negative_numbers = true, value_parser = finite)]
    effect: Option<f64>,
    /// Customers in all arms together: asks for the smallest effect they show
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    customers: Option<u64>,
    /// The chance of seeing the effect if it is there
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, value_parser = finite)]
    power: f64,
    /// The chance of seeing none where there is none, in all arms together
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = finite)]
    confidence: f64,
    /// Number of arms, the control among them
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=100))]
    arms: u8,
    /// The share of the customers in the control, as a number below 1; the other arms have the rest in equal parts [default: all alike]
    #[arg(long, value_name = "SHARE", value_parser = finite)]
    share: Option<f64>,
    /// Customers a day in all arms together, to tell how long it takes
    #[arg(long, value_name = "N", conflicts_with = "customers", value_parser = finite)]
    per_day: Option<f64>,
    /// Correlation of the outcome with a measurement from before, by which it will be adjusted
    #[arg(long, value_name = "R", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite)]
    correlation: f64,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let design = arguments.design()?;
    match arguments.customers {
        Some(customers) => detectable(arguments, &design, customers, output),
        None => needed(arguments, &design, output),
    }
}

impl Arguments {
    fn design(&self) -> Result<Design> {
        let measure = match (self.base_rate, self.sd) {
            (Some(base), _) => Measure::Rate { base },
            (None, Some(sd)) => Measure::Amount { sd },
            (None, None) => {
                return Err(Complaint::usage("there is nothing to measure").hint("`--base-rate P` or `--sd AMOUNT`").into());
            }
        };
        let n_arms = f64::from(self.arms);
        let control = self.share.unwrap_or(1.0 / n_arms);
        let mut shares = vec![(1.0 - control) / (n_arms - 1.0); usize::from(self.arms)];
        shares[0] = control;
        Ok(Design { measure, shares, alpha: 1.0 - self.confidence, power: self.power, covariate_correlation: self.correlation })
    }

    /// `; from 20.00 % to 22.00 %`, as far as it is known from where.
    fn in_words(&self, effect: f64) -> String {
        match (self.base_rate, self.mean, self.sd) {
            (Some(base), ..) => format!("from {:.2} % to {:.2} %", 100.0 * base, 100.0 * (base + effect)),
            (None, Some(mean), _) if mean != 0.0 => {
                format!("from {mean} to {}, {:+.2} %", tables::number(mean + effect), 100.0 * effect / mean.abs())
            }
            (.., sd) => format!("{} standard deviations", tables::number(effect / sd.unwrap_or(f64::NAN))),
        }
    }

    fn levels(&self) -> String {
        let adjusted =
            if self.correlation == 0.0 { String::new() } else { format!(", adjusted by a correlation of {}", self.correlation) };
        format!("{} arms, power {}, confidence {} for all of them together{adjusted}", self.arms, self.power, self.confidence)
    }
}

/// How many customers the effect takes.
fn needed(arguments: &Arguments, design: &Design, output: Output) -> Result<Exit> {
    let effect = arguments.effect.unwrap_or(0.0);
    let plan: Plan = design.customers_for(effect, arguments.per_day)?;
    let mut table = tables::table(&["arm", "customers"], 1);
    for (arm, customers) in plan.customers.iter().enumerate() {
        table.add_row([arm_name(arm), customers.to_string()]);
    }
    table.add_row(["all".to_owned(), plan.total().to_string()]);
    let days = plan.days.map_or_else(String::new, |days| format!("\n\n{days} days"));
    output.text(&format!(
        "to see an effect of {effect} ({})\n{}\n\n{}{days}",
        arguments.in_words(effect),
        arguments.levels(),
        tables::render(&table)
    ))?;
    output.json(&json!({
        "effect": effect,
        "customers": plan.customers,
        "total": plan.total(),
        "days": plan.days,
        "shares": design.shares,
        "power": design.power,
        "confidence": arguments.confidence,
        "correlation": design.covariate_correlation,
    }))?;
    Ok(Exit::GOOD)
}

/// How small an effect so many customers show.
fn detectable(arguments: &Arguments, design: &Design, customers: u64, output: Output) -> Result<Exit> {
    let effect = design.detectable_effect(customers)?;
    output.text(&format!(
        "{customers} customers show an increase of {effect:.6} ({})\n{}",
        arguments.in_words(effect),
        arguments.levels()
    ))?;
    output.json(&json!({
        "customers": customers,
        "detectable_effect": effect,
        "shares": design.shares,
        "power": design.power,
        "confidence": arguments.confidence,
        "correlation": design.covariate_correlation,
    }))?;
    Ok(Exit::GOOD)
}

fn arm_name(arm: usize) -> String {
    if arm == 0 { "control".to_owned() } else { format!("arm {arm}") }
}
