//! `retain policy evaluate`: what a policy would have earned, from the log of the one that decided.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};
use retain_eval::BootstrapOptions;
use retain_policy::evaluate::{Estimate, OffPolicyReport, Range, RewardModel, evaluate};
use serde_json::{Value, json};

use super::judged::Judged;
use super::logged::{LogColumns, Logged, check_inputs, read_table};
use super::stored::{self, RewardGoal};
use crate::cli::Global;
use crate::columns;
use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::tables;

const AFTER_HELP: &str = "The policy is judged per row of the log: every estimator with its interval, and one of them chosen by its \
estimated error, not by its value. `--policy-log` counts how probable each action is under that policy, at each position if \
`--position` is given, and takes it for the same in all rows: a policy that looks at customers is judged by `--policy-probabilities`.

Exit codes with --margin: 0 better by more than the margin, 3 not, 4 the log cannot tell.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[command(group = ArgGroup::new("decided").required(true).args(["log", "store"]))]
#[command(group = ArgGroup::new("judged").required(true).args(["policy_log", "policy_probabilities", "always", "uniform", "greedy"]))]
pub(crate) struct Arguments {
    /// Table of decisions of the policy that decided: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Decision log of the server, a SQLite file: decisions whose outcomes can no longer change
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy_log", "policy_probabilities", "action", "reward", "propensity", "customer", "position"])]
    store: Option<PathBuf>,
    /// With --store: the playbook whose decisions count [default: the only one]
    #[arg(long, value_name = "NAME", requires = "store")]
    playbook: Option<String>,
    /// With --store: what counts as success
    #[arg(long, value_enum, default_value_t = RewardGoal::Retain, requires = "store")]
    goal: RewardGoal,
    /// Judge the policy that logged this table, which has the same columns
    #[arg(long, value_name = "FILE", help_heading = "Judged policy")]
    policy_log: Option<PathBuf>,
    /// Judge by this table: a row for each of the log's, in its order, a column of probabilities for each action
    #[arg(long, value_name = "FILE", help_heading = "Judged policy")]
    policy_probabilities: Option<PathBuf>,
    /// Judge to take this action always; of a decision log, where it was possible
    #[arg(long, value_name = "ACTION", help_heading = "Judged policy")]
    always: Option<String>,
    /// Judge to take all actions alike; of a decision log, those that were possible
    #[arg(long, help_heading = "Judged policy")]
    uniform: bool,
    /// With --store: judge to take the first rank always
    #[arg(long, conflicts_with = "log", help_heading = "Judged policy")]
    greedy: bool,
    #[command(flatten)]
    columns: LogColumns,
    /// Hold the policy against the one that decided: promoted if it earns more than this beyond it, per row and for sure
    #[arg(long, value_name = "REWARD", allow_negative_numbers = true, value_parser = finite, help_heading = "Judgement")]
    margin: Option<f64>,
    /// How sure intervals are
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = confidence, help_heading = "Judgement")]
    confidence: f64,
    /// Resamples of customers that intervals are made from; large logs get fewer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000), help_heading = "Judgement")]
    resamples: u32,
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "should be a number".to_owned())
}

fn confidence(text: &str) -> Result<f64, String> {
    let within = |confidence: &f64| (0.5..=0.9999).contains(confidence);
    text.parse().ok().filter(within).ok_or_else(|| "should be between 0.5 and 0.9999".to_owned())
}

/// Whether the policy should replace the one that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promotion {
    Promoted,
    NotBetter,
    Inconclusive,
}

pub(super) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    check_inputs(&[arguments.log.as_ref(), arguments.policy_log.as_ref(), arguments.policy_probabilities.as_ref()])?;
    let judged = judged(arguments)?;
    let logged = logged(arguments, &judged, output)?;
    let policy = judged.probabilities(&logged, &arguments.columns, output)?;
    let defaults = BootstrapOptions::default();
    let options = BootstrapOptions {
        resamples: arguments.resamples as usize,
        confidence: arguments.confidence,
        seed: global.seed.unwrap_or(defaults.seed),
    };
    let report = evaluate(&logged.log, &policy, &RewardModel::default(), &options)?;
    for warning in &report.warnings {
        output.warn("off_policy", warning);
    }
    let really_earned = really_earned(&judged, &arguments.columns)?;
    let promotion = arguments.margin.map(|margin| promotion(&report, margin));
    let told = Told { report: &report, judged: &judged, logged: &logged, really_earned, promotion, arguments };
    output.text(&told.text())?;
    output.json(&told.json())?;
    Ok(match promotion {
        None | Some(Promotion::Promoted) => Exit::GOOD,
        Some(Promotion::NotBetter) => Exit::GATE,
        Some(Promotion::Inconclusive) => Exit::INCONCLUSIVE,
    })
}

fn judged(arguments: &Arguments) -> Result<Judged> {
    Ok(match (&arguments.policy_log, &arguments.policy_probabilities, &arguments.always) {
        (Some(path), _, _) => Judged::log(path)?,
        (_, Some(path), _) => Judged::table(path)?,
        (_, _, Some(action)) => Judged::Always(action.clone()),
        _ if arguments.uniform => Judged::Uniform,
        _ => Judged::Greedy,
    })
}

fn logged(arguments: &Arguments, judged: &Judged, output: Output) -> Result<Logged> {
    let columns = &arguments.columns;
    match (&arguments.log, &arguments.store) {
        (Some(path), _) => read_table(path, columns, |names| judged.add_actions(columns, names), output),
        (None, Some(path)) => {
            let mut logged = stored::read(path, arguments.playbook.as_deref(), arguments.goal, output)?;
            judged.add_actions(columns, &mut logged.actions)?;
            Ok(logged)
        }
        (None, None) => Err(Complaint::usage("there is no log to judge by").hint("name it with `--log` or `--store`").into()),
    }
}

/// What the judged policy earned per row of its own log, where that has rewards: a truth to hold estimates against.
fn really_earned(judged: &Judged, columns: &LogColumns) -> Result<Option<f64>> {
    let Judged::Log(source) = judged else { return Ok(None) };
    if source.column_idx(&columns.reward).is_none() {
        return Ok(None);
    }
    let rewards = columns::numbers(source, &columns.reward, "--reward")?;
    Ok(Some(rewards.iter().sum::<f64>() / rewards.len().max(1) as f64))
}

/// Promoted if the gain is surely above the margin, not better if it is surely not; where something speaks against the estimates, nobody
/// can tell.
fn promotion(report: &OffPolicyReport, margin: f64) -> Promotion {
    if report.promotes(margin) {
        Promotion::Promoted
    } else if report.warnings.is_empty() && report.gain.is_some_and(|gain| gain.high <= margin) {
        Promotion::NotBetter
    } else {
        Promotion::Inconclusive
    }
}

impl Promotion {
    fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::NotBetter => "not_better",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// All that is printed.
struct Told<'a> {
    report: &'a OffPolicyReport,
    judged: &'a Judged,
    logged: &'a Logged,
    really_earned: Option<f64>,
    promotion: Option<Promotion>,
    arguments: &'a Arguments,
}

impl Told<'_> {
    fn text(&self) -> String {
        let d = &self.report.diagnostics;
        let mut text = format!(
            "{}, judged by {} rows of {} customers with {} actions\n\n{}\n\n{}\n\n{}",
            self.judged.describe(),
            d.n_rows,
            d.n_customers,
            self.logged.actions.len(),
            self.earnings(),
            self.estimates(),
            self.choice(),
        );
        if self.has_propensities() {
            let _ = write!(
                text,
                "\n\neffective rows {:.0} of {}, largest weight {:.2}, mean weight {:.3} (should be 1, p {:.3}), {:.2} % of decisions \
                 for {} actions that the log never took",
                d.effective_rows,
                d.n_rows,
                d.largest_weight,
                d.mean_weight,
                d.mean_weight_p_value,
                100.0 * d.unsupported_share,
                d.unsupported_actions,
            );
        }
        if let (Some(promotion), Some(margin)) = (self.promotion, self.arguments.margin) {
            let _ = write!(text, "\n\n{}", promotion_text(promotion, margin, self.report));
        }
        text
    }

    fn has_propensities(&self) -> bool {
        self.report.gain.is_some()
    }

    /// What was earned and what would have been.
    fn earnings(&self) -> String {
        let heading = format!("{:.4} % interval", 100.0 * self.arguments.confidence).replace(".0000", "");
        let mut table = tables::table(&["reward per row", "value", &heading], 1);
        let mut add =
            |name: &str, range: &Range| table.add_row([name.to_owned(), digits(range.value), interval(range)]).is_empty();
        add("the policy that decided", &self.report.on_policy);
        add("the judged policy, by the chosen estimator", &self.report.chosen().range);
        if let Some(gain) = &self.report.gain {
            add("the difference, doubly robust", gain);
        }
        if let Some(value) = self.really_earned {
            table.add_row(["the judged policy in its own log".to_owned(), digits(value), String::new()]);
        }
        tables::render(&table)
    }

    fn estimates(&self) -> String {
        let mut table =
            tables::table(&["", "estimator", "value", "interval", "standard error", "bias", "estimated error", "setting"], 2);
        for (idx, estimate) in self.report.estimates.iter().enumerate() {
            let known = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), digits);
            table.add_row([
                if idx == self.report.chosen { "*" } else { "" }.to_owned(),
                estimate.estimator.name().to_owned(),
                digits(estimate.range.value),
                interval(&estimate.range),
                digits(estimate.standard_error),
                known(estimate.bias),
                digits(estimate.squared_error.sqrt()),
                known(estimate.estimator.parameter()),
            ]);
        }
        tables::render(&table)
    }

    fn choice(&self) -> String {
        let name = self.report.chosen().estimator.name();
        if self.has_propensities() {
            format!("* {name} has the least estimated error (standard error and bias) of those with a reward model")
        } else {
            format!(
                "* {name} alone: the log has no probabilities, so nothing corrects the reward model and its bias is not known"
            )
        }
    }

    fn json(&self) -> Value {
        json!({
            "policy": self.judged.describe(),
            "n_actions": self.logged.actions.len(),
            "confidence": self.arguments.confidence,
            "on_policy": self.report.on_policy,
            "chosen": self.report.chosen().estimator.name(),
            "value": self.report.chosen().range,
            "gain": self.report.gain,
            "really_earned": self.really_earned,
            "estimates": self.report.estimates.iter().map(estimate_json).collect::<Vec<_>>(),
            "diagnostics": self.report.diagnostics,
            "warnings": self.report.warnings,
            "margin": self.arguments.margin,
            "verdict": self.promotion.map(Promotion::as_str),
        })
    }
}

fn estimate_json(estimate: &Estimate) -> Value {
    json!({
        "estimator": estimate.estimator.name(),
        // Infinity is no number of JSON; such an estimator is the one without a setting.
        "setting": estimate.estimator.parameter().filter(|setting| setting.is_finite()),
        "value": estimate.range.value,
        "low": estimate.range.low,
        "high": estimate.range.high,
        "standard_error": estimate.standard_error,
        "bernstein": estimate.bernstein,
        "bias": estimate.bias,
        "squared_error": estimate.squared_error,
    })
}

fn promotion_text(promotion: Promotion, margin: f64, report: &OffPolicyReport) -> String {
    match promotion {
        Promotion::Promoted => format!("promoted: it earns more than {margin} beyond the policy that decided"),
        Promotion::NotBetter => format!("not better: it does not earn {margin} more than the policy that decided"),
        Promotion::Inconclusive if report.gain.is_none() => "inconclusive: without probabilities nothing is promoted".to_owned(),
        Promotion::Inconclusive if !report.warnings.is_empty() => {
            format!("inconclusive: {}", report.warnings.join("; "))
        }
        Promotion::Inconclusive => format!("inconclusive: the difference may lie on either side of {margin}"),
    }
}

/// Four digits that count: rewards may be clicks or contracts.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let places = (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    format!("{value:.places$}")
}

fn interval(range: &Range) -> String {
    format!("[{}, {}]", digits(range.low), digits(range.high))
}
