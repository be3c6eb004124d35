//! `retain experiment read`: every arm beside the control.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use retain_data::TableSource;
use retain_policy::experiment::{Comparison, ExperimentReading, ExperimentRow, Method, ReadError, ReadOptions, Verdict, read};
use serde_json::{Value, json};

use super::finite;
use crate::columns::{self, Labels};
use crate::exit::{Complaint, Exit};
use crate::input::open_table;
use crate::output::Output;
use crate::tables;

/// More arms than anybody tries at once: such a column is another one.
const MOST_ARMS: usize = 100;
/// Shares on the command line are decimals.
const SHARE_TOLERANCE: f64 = 1e-6;

const AFTER_HELP: &str = "Rows of one customer are added up before anything is compared. An arm is better or worse if its difference would be \
too rare without any effect, all arms considered (Holm). There is no verdict where the arms have other sizes than expected beyond chance.

Exit codes: 0 some arm is better than the control, 3 none is and some is worse, 4 inconclusive.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Table with a row per customer, or several: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The column of arms
    #[arg(long, value_name = "COLUMN")]
    arm: String,
    /// The name of the control in that column
    #[arg(long, value_name = "NAME")]
    control: String,
    /// The column of outcomes: numbers, or yes and no
    #[arg(long, value_name = "COLUMN")]
    outcome: String,
    /// The outcome that counts as success, where outcomes are words; more of it is better
    #[arg(long, value_name = "VALUE")]
    positive: Option<String>,
    /// A number from before the experiment, by which outcomes are adjusted (CUPED)
    #[arg(long, value_name = "COLUMN")]
    covariate: Option<String>,
    /// Whose row it is; without it every row counts as a customer of its own
    #[arg(long, value_name = "COLUMN")]
    customer: Option<String>,
    /// The share of customers that each arm should have, as `a=0.5,b=0.5` [default: all alike]
    #[arg(long, value_name = "ARM=SHARE,…", value_delimiter = ',', value_parser = share)]
    expected_share: Vec<(String, f64)>,
    /// How sure verdicts and intervals are
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = finite)]
    confidence: f64,
    /// The power that detectable effects are stated for
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, value_parser = finite)]
    power: f64,
}

fn share(text: &str) -> Result<(String, f64), String> {
    let parts = text.rsplit_once('=').and_then(|(name, share)| Some((name.trim().to_owned(), share.trim().parse::<f64>().ok()?)));
    let within = |(_, share): &(String, f64)| *share > 0.0 && *share < 1.0;
    parts.filter(within).ok_or_else(|| "should be an arm and a share between 0 and 1, as `a=0.5`".to_owned())
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let source = open_table(&arguments.data)?;
    let (arms, rows) = arguments.rows(&source, output)?;
    let options = ReadOptions { shares: arguments.shares(&arms)?, alpha: 1.0 - arguments.confidence, power: arguments.power };
    let reading = read(&rows, &options).map_err(|error| named(error, &arms, arguments))?;
    if reading.has_sample_ratio_mismatch() {
        let message = format!(
            "the arms have other sizes than expected (p {}): customers were not divided by chance alone, and there is no verdict",
            p_value(reading.sample_ratio_p_value)
        );
        output.warn("sample_ratio", &message);
    }
    output.text(&text(&arms, &reading, &options, arguments))?;
    output.json(&report(&arms, &reading, &options, arguments))?;
    Ok(exit(&reading))
}

impl Arguments {
    /// The names of the arms, the control first, and the rows.
    fn rows(&self, source: &TableSource, output: Output) -> Result<(Vec<String>, Vec<ExperimentRow>)> {
        let arms = columns::labels(source, &self.arm, "--arm", std::slice::from_ref(&self.control))?;
        self.check_arms(source, &arms)?;
        let outcomes = match &self.positive {
            Some(positive) => columns::matches(source, &self.outcome, "--outcome", positive)?,
            None => columns::numbers(source, &self.outcome, "--outcome")?,
        };
        let covariate = self.covariate.as_deref().map(|column| columns::numbers(source, column, "--covariate")).transpose()?;
        let customers = columns::customers(source, self.customer.as_deref(), arms.of_row.len(), output)?;
        let row = |idx: usize| ExperimentRow {
            customer: u64::from(customers[idx]),
            arm: arms.of_row[idx] as usize,
            outcome: outcomes[idx],
            covariate: covariate.as_ref().map(|covariate| covariate[idx]),
        };
        let rows = (0..arms.of_row.len()).map(row).collect();
        Ok((arms.names, rows))
    }

    fn check_arms(&self, source: &TableSource, arms: &Labels) -> Result<()> {
        let has_control = arms.of_row.contains(&0);
        let problem = if !has_control {
            format!("`{}` has no row of the control `{}` in the column `{}`", source.name(), self.control, self.arm)
        } else if arms.names.len() < 2 {
            format!("`{}` has no arm but the control `{}` in the column `{}`", source.name(), self.control, self.arm)
        } else if arms.names.len() > MOST_ARMS {
            format!("the column `{}` has {} arms, and at most {MOST_ARMS} are compared", self.arm, arms.names.len())
        } else {
            return Ok(());
        };
        let others = Labels { names: arms.names[1..].to_vec(), of_row: Vec::new() };
        let hint =
            if others.names.is_empty() { "check `--arm`".to_owned() } else { format!("the other arms are {}", others.list()) };
        Err(Complaint::new(Exit::DATA, problem).hint(hint).into())
    }

    /// The expected shares in the order of the arms.
    fn shares(&self, arms: &[String]) -> Result<Vec<f64>> {
        if self.expected_share.is_empty() {
            return Ok(ReadOptions::even(arms.len()).shares);
        }
        let complaint = |message: String| Complaint::usage(message).hint("give every arm its share, as `a=0.5,b=0.5`");
        let unknown = self.expected_share.iter().find(|(name, _)| !arms.contains(name));
        if let Some((name, _)) = unknown {
            return Err(complaint(format!("`--expected-share` names `{name}`, and the table has no such arm")).into());
        }
        let share = |arm: &String| {
            let mut of_arm = self.expected_share.iter().filter(|(name, _)| name == arm).map(|(_, share)| *share);
            match (of_arm.next(), of_arm.next()) {
                (Some(share), None) => Ok(share),
                (None, _) => Err(complaint(format!("`--expected-share` has no share of `{arm}`"))),
                (Some(_), Some(_)) => Err(complaint(format!("`--expected-share` has two shares of `{arm}`"))),
            }
        };
        let shares: Vec<f64> = arms.iter().map(share).collect::<Result<_, _>>()?;
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > SHARE_TOLERANCE {
            return Err(complaint(format!("the shares of `--expected-share` sum to {sum} and not to 1")).into());
        }
        Ok(shares.into_iter().map(|share| share / sum).collect())
    }
}

/// The library knows arms by number and rows from 0.
fn named(error: ReadError, arms: &[String], arguments: &Arguments) -> anyhow::Error {
    let (message, hint) = match error {
        ReadError::SeveralArms { row, found, earlier, .. } => (
            format!("row {}: a customer of arm `{}` was in arm `{}` before", row + 1, arms[found], arms[earlier]),
            format!("is `{}` the column of customers? each has one arm", arguments.customer.as_deref().unwrap_or("--customer")),
        ),
        ReadError::TooFew { arm, found } => (
            format!("arm `{}` should have at least two customers, found {found}", arms[arm]),
            "leave out arms that hardly anybody is in".to_owned(),
        ),
        ReadError::Level { what, expected, .. } => {
            let flag = if what == "power" { "--power" } else { "--confidence" };
            let expected = if what == "power" { expected } else { "between 0.5 and 0.999999999" };
            return Complaint::usage(format!("`{flag}` should be {expected}")).into();
        }
        error => return error.into(),
    };
    Complaint::new(Exit::DATA, message).hint(hint).into()
}

fn exit(reading: &ExperimentReading) -> Exit {
    let has = |verdict| reading.comparisons.iter().any(|comparison| comparison.verdict == verdict);
    if has(Verdict::Better) {
        Exit::GOOD
    } else if has(Verdict::Worse) {
        Exit::GATE
    } else {
        Exit::INCONCLUSIVE
    }
}

fn text(arms: &[String], reading: &ExperimentReading, options: &ReadOptions, arguments: &Arguments) -> String {
    let total: usize = reading.arms.iter().map(|arm| arm.n_customers).sum();
    let mut sizes = tables::table(&["arm", "customers", "rows", "share", "expected", "mean outcome"], 1);
    for ((name, arm), expected) in arms.iter().zip(&reading.arms).zip(&options.shares) {
        sizes.add_row([
            name.clone(),
            arm.n_customers.to_string(),
            arm.n_rows.to_string(),
            tables::number(arm.n_customers as f64 / total as f64),
            tables::number(*expected),
            tables::number(arm.mean),
        ]);
    }
    let heading = format!("{} % interval", percent(arguments.confidence));
    let headings = ["arm", "difference", &heading, "p", "p (Holm)", "detectable", "verdict"];
    let mut table = tables::table(&headings, 1);
    for comparison in &reading.comparisons {
        table.add_row(cells(&arms[comparison.arm], comparison));
    }
    let mismatch = if reading.has_sample_ratio_mismatch() { ": not by chance, so there is no verdict" } else { "" };
    format!(
        "`{}` beside `{}`: {}\n\n{}\n\nsizes as far from the expected ones by chance: p {}{mismatch}\n\n{}",
        arguments.outcome,
        arms[0],
        method(reading.method),
        tables::render(&sizes),
        p_value(reading.sample_ratio_p_value),
        tables::render(&table)
    )
}

fn cells(arm: &str, comparison: &Comparison) -> [String; 7] {
    [
        arm.to_owned(),
        tables::number(comparison.difference),
        tables::bounds(comparison.low, comparison.high),
        p_value(comparison.p_value),
        p_value(comparison.adjusted_p_value),
        tables::number(comparison.detectable_effect),
        word(comparison.verdict).to_owned(),
    ]
}

fn report(arms: &[String], reading: &ExperimentReading, options: &ReadOptions, arguments: &Arguments) -> Value {
    let summary = |((name, arm), expected): ((&String, &retain_policy::experiment::ArmSummary), &f64)| json!({ "arm": name, "n_customers": arm.n_customers, "n_rows": arm.n_rows, "mean": arm.mean, "expected_share": expected });
    let comparison = |comparison: &Comparison| {
        json!({
            "arm": arms[comparison.arm],
            "difference": comparison.difference,
            "low": comparison.low,
            "high": comparison.high,
            "p_value": comparison.p_value,
            "adjusted_p_value": comparison.adjusted_p_value,
            "detectable_effect": comparison.detectable_effect,
            "verdict": word(comparison.verdict),
        })
    };
    json!({
        "control": arms[0],
        "outcome": arguments.outcome,
        "method": reading.method,
        "confidence": arguments.confidence,
        "power": arguments.power,
        "arms": arms.iter().zip(&reading.arms).zip(&options.shares).map(summary).collect::<Vec<_>>(),
        "comparisons": reading.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "sample_ratio_p_value": reading.sample_ratio_p_value,
        "sample_ratio_mismatch": reading.has_sample_ratio_mismatch(),
    })
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Newcombe => "rates, Newcombe's intervals and the pooled z test",
        Method::Welch => "means, Welch's t test over customers",
        Method::AdjustedWelch => "means adjusted by the covariate, Welch's t test over customers",
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

/// `95`, `99.9`: as many digits as there are.
fn percent(share: f64) -> String {
    let text = format!("{:.4}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
