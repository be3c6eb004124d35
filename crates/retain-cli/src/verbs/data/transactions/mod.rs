//! `retain data transactions`: a log of who bought when for how much becomes a table to train on or to score.
//!
//! `forecasts` fits or reads the buy-till-you-die parameters, `table` writes the rows, `task` the task file that goes with them.

mod forecasts;
mod table;
mod task;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use retain_core::Day;
use retain_data::{CustomerTable, DateFormat, LogOptions, TransactionLog};
use serde_json::{Value, json};

use crate::exit::{Complaint, Exit};
use crate::input::open_table;
use crate::interrupt;
use crate::output::Output;

use self::forecasts::Forecasts;
use self::table::Written;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The log: CSV or Parquet with customer, date and amount, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Day on which customers are observed, such as 2026-01-31; purchases of that day are known
    #[arg(long, value_name = "DATE")]
    observe_at: String,
    /// Days after the observation that are predicted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500), allow_negative_numbers = true)]
    horizon_days: u32,
    /// The table: `.csv` or `.parquet`, or `-` for CSV on standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    log: LogArguments,
    /// Days between observation dates
    #[arg(long, value_name = "K", requires = "origins", value_parser = clap::value_parser!(u32).range(1..=36_500), allow_negative_numbers = true)]
    every_days: Option<u32>,
    /// Observation dates, the last of them `--observe-at`: each customer then has a row for every date since the first purchase
    #[arg(long, value_name = "M", requires = "every_days", value_parser = clap::value_parser!(u32).range(1..=1000), allow_negative_numbers = true)]
    origins: Option<u32>,
    /// Buy-till-you-die model whose forecasts become columns
    #[arg(long, value_enum, value_name = "MODEL", num_args = 0..=1, default_value = "bg-nbd", default_missing_value = "bg-nbd")]
    btyd: Btyd,
    /// Save the parameters of that model
    #[arg(long, value_name = "FILE", conflicts_with = "btyd_from")]
    btyd_out: Option<PathBuf>,
    /// Use saved parameters instead of fitting: next month's columns then mean the same as this month's
    #[arg(long, value_name = "FILE")]
    btyd_from: Option<PathBuf>,
    /// Write the task file to train on the table with, instead of printing it
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
}

/// Which columns of the log are what; found by name and content where not stated.
#[derive(Debug, Args)]
struct LogArguments {
    /// Column with the customer
    #[arg(long, value_name = "COLUMN")]
    customer: Option<String>,
    /// Column with the date
    #[arg(long, value_name = "COLUMN")]
    date: Option<String>,
    /// Column with the amount; negative amounts are refunds
    #[arg(long, value_name = "COLUMN")]
    amount: Option<String>,
    /// How dates are written, where no row decides it
    #[arg(long, value_enum, value_name = "FORMAT")]
    date_format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Btyd {
    /// Customers stop after a repeat purchase or never
    BgNbd,
    /// Customers may stop after their first purchase
    MbgNbd,
    /// No such columns
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(name = "yyyy-mm-dd")]
    Iso,
    #[value(name = "yyyymmdd")]
    Compact,
    #[value(name = "yyyy/mm/dd")]
    YearFirst,
    #[value(name = "dd/mm/yyyy")]
    DayFirst,
    #[value(name = "mm/dd/yyyy")]
    MonthFirst,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let observe_at = arguments.observation_day()?;
    arguments.refuse_same_files()?;
    let source = open_table(&arguments.file)?;
    let log = TransactionLog::read(&source, &arguments.log.options()).with_context(|| attempt(&arguments.file))?;
    let columns = [log.columns.customer, log.columns.date, log.columns.amount].map(|idx| source.columns()[idx].clone());
    tell_log(&log, &columns, output);
    let (every_days, n_origins) = (arguments.every_days.unwrap_or(0), arguments.origins.unwrap_or(1));
    let customers = CustomerTable::new(&log, observe_at, arguments.horizon_days, every_days, n_origins)
        .with_context(|| attempt(&arguments.file))?;
    let labelled = labelled(&customers, arguments.horizon_days, output)?;
    let forecasts = Forecasts::prepare(arguments, &customers, output)?;
    interrupt::watch();
    let written = table::write(&arguments.out, &columns[0], &customers, forecasts.as_ref(), labelled)?;
    if let (Some(path), Some(forecasts)) = (&arguments.btyd_out, &forecasts) {
        write_file(path, &forecasts.model().to_json())?;
    }
    report(
        arguments,
        &Made { customers: &customers, columns: &columns, forecasts: forecasts.as_ref(), written: &written },
        output,
    )?;
    Ok(Exit::GOOD)
}

/// What a run came to.
struct Made<'a> {
    customers: &'a CustomerTable<'a>,
    columns: &'a [String; 3],
    forecasts: Option<&'a Forecasts>,
    written: &'a Written,
}

impl Arguments {
    fn observation_day(&self) -> Result<Day> {
        let complaint = || Complaint::usage("`--observe-at` is not a date").hint("write it as `2026-01-31`");
        Ok(Day::parse(&self.observe_at)
            .map(|day| Day::from_days(day.days().floor()))
            .map_err(|error| complaint().because(error))?)
    }

    /// No two files of a run may be one.
    fn refuse_same_files(&self) -> Result<()> {
        let optional = [&self.btyd_out, &self.btyd_from, &self.task].into_iter().filter_map(Option::as_deref);
        let paths: Vec<&Path> = [self.file.as_path(), self.out.as_path()].into_iter().chain(optional).collect();
        let place = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file()).unwrap_or_else(|| path.to_owned());
        for (position, path) in paths.iter().enumerate() {
            let taken = path.as_os_str() != "-" && paths[..position].iter().any(|other| place(other) == place(path));
            if taken {
                return Err(Complaint::usage(format!("`{}` is named twice on the command line", path.display())).into());
            }
        }
        Ok(())
    }
}

impl LogArguments {
    fn options(&self) -> LogOptions {
        let date_format = self.date_format.map(|format| match format {
            Format::Iso => DateFormat::Iso,
            Format::Compact => DateFormat::Compact,
            Format::YearFirst => DateFormat::YearFirst,
            Format::DayFirst => DateFormat::DayFirst,
            Format::MonthFirst => DateFormat::MonthFirst,
        });
        LogOptions { customer: self.customer.clone(), date: self.date.clone(), amount: self.amount.clone(), date_format }
    }
}

fn attempt(path: &Path) -> String {
    format!("cannot make a table of the transaction log `{}`", path.display())
}

/// Says how the log was read and what was left out of it.
fn tell_log(log: &TransactionLog, [customer, date, amount]: &[String; 3], output: Output) {
    for warning in &log.warnings {
        output.warn(warning.code, &warning.message);
    }
    output.note(&format!(
        "log: {} rows, {} customers, {} to {}; customer `{customer}`, date `{date}` ({}), amount `{amount}`",
        log.counts.n_rows,
        log.customers.len(),
        log.range.0,
        log.range.1,
        log.date_format.as_str()
    ));
    if log.counts.n_refunds > 0 {
        let message =
            format!("{} rows have a negative amount: they lower what was spent and are no purchases", log.counts.n_refunds);
        output.note(&format!("note: {message}"));
    }
    if log.counts.n_zero_amounts > 0 {
        let n = log.counts.n_zero_amounts;
        output.note(&format!("note: {n} rows have an amount of zero: they are purchases, and left out of mean amounts"));
    }
    let left_out = log.counts.left_out();
    if !left_out.is_empty() {
        output.warn("rows_left_out", &format!("rows left out: {left_out}"));
    }
}

/// Whether the rows have labels. Of several observation dates all must have: such a table is there to train on.
fn labelled(customers: &CustomerTable<'_>, horizon_days: u32, output: Output) -> Result<bool> {
    let (first, last) = customers.log().range;
    let days = customers.silent_days();
    if days > 0 {
        output.warn(
            "log_ends_early",
            &format!("the log ends on {last}, {days} days before the observation date: nobody seems to buy since"),
        );
    }
    let short = customers.origins().iter().filter(|origin| !customers.has_outcomes(**origin)).count();
    if short == 0 {
        return Ok(true);
    }
    let latest = Day::from_days(last.days() - f64::from(horizon_days));
    let too_long = latest.days() < first.days();
    let message = if too_long {
        format!("a horizon of {horizon_days} days is longer than the log, which goes from {first} to {last}")
    } else {
        format!("the log ends on {last}, before the {horizon_days} days after the observation date are over")
    };
    if short > 0 && customers.origins().len() > 1 {
        let complaint =
            Complaint::usage(format!("{short} of {} observation dates have no labels: {message}", customers.origins().len()));
        let hint = if too_long {
            "shorten `--horizon-days`".to_owned()
        } else {
            format!("`--observe-at {latest}` is the latest that has")
        };
        return Err(complaint.hint(hint).into());
    }
    let advice = if too_long { String::new() } else { format!("; `--observe-at {latest}` is the latest date with labels") };
    output.warn("no_labels", &format!("{message}: the table has no label columns{advice}"));
    Ok(false)
}

fn report(arguments: &Arguments, made: &Made<'_>, output: Output) -> Result<()> {
    let task = task::text(arguments.horizon_days, &made.columns[0], &made.written.labels, made.customers.origins().len());
    match &arguments.task {
        Some(path) if made.written.labels.is_empty() => {
            let message = format!("`{}` is not written: without labels there is nothing to train on", path.display());
            output.warn("no_task", &message);
        }
        Some(path) => write_file(path, &task)?,
        None => {}
    }
    output.note(&summary(made));
    // With the table on standard output, nothing else goes there.
    if arguments.out.as_os_str() == "-" {
        return Ok(());
    }
    if arguments.task.is_none() && !made.written.labels.is_empty() {
        output.text(&format!("# A task for this table; `--task FILE` writes it to a file.\n{task}"))?;
    }
    output.json(&report_json(arguments, made, &task))
}

fn summary(made: &Made<'_>) -> String {
    let Written { n_rows, n_columns, labels } = made.written;
    let dates: Vec<String> = made.customers.origins().iter().map(|day| Day::from_days(f64::from(*day)).to_string()).collect();
    let dates = match &dates[..] {
        [first, .., last] => format!("{} dates from {first} to {last}", dates.len()),
        _ => dates.join(""),
    };
    let labels = if labels.is_empty() { "no labels".to_owned() } else { format!("labels {}", labels.join(", ")) };
    format!("table: {n_rows} rows and {n_columns} columns, observed at {dates}; {labels}")
}

fn report_json(arguments: &Arguments, made: &Made<'_>, task: &str) -> Value {
    let log = made.customers.log();
    let origins: Vec<String> = made.customers.origins().iter().map(|day| Day::from_days(f64::from(*day)).to_string()).collect();
    json!({
        "output": arguments.out.display().to_string(),
        "n_rows": made.written.n_rows,
        "n_columns": made.written.n_columns,
        "labels": made.written.labels,
        "observed_at": origins,
        "horizon_days": arguments.horizon_days,
        "log": {
            "n_rows": log.counts.n_rows,
            "n_customers": log.customers.len(),
            "from": log.range.0.to_string(),
            "to": log.range.1.to_string(),
            "customer": made.columns[0],
            "date": made.columns[1],
            "amount": made.columns[2],
            "date_format": log.date_format.as_str(),
            "n_refunds": log.counts.n_refunds,
            "n_zero_amounts": log.counts.n_zero_amounts,
            "n_without_customer": log.counts.without_customer.1,
            "n_without_date": log.counts.without_date.1,
            "n_without_amount": log.counts.without_amount.1,
        },
        "btyd": made.forecasts.map(Forecasts::json),
        "task": if made.written.labels.is_empty() { None } else { Some(task) },
    })
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;

    let whole = crate::whole_file::WholeFile::create(path)?;
    whole.handle()?.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    whole.commit()
}
