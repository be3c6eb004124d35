//! `retain health fit`: weights learned from who left, beside those that people chose.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use retain_policy::assess::Health;
use retain_policy::assess::audit::BandAudit;
use retain_policy::assess::fit::{CapacityThreshold, FitOptions, GroupColumn, HealthFit, fit_health};
use serde_json::json;

use super::{health_of, health_toml};
use crate::audited::{AuditArguments, Audited, bootstrap, estimate_text, not_measured, share_cells};
use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::output::{Output, write_stdout};
use crate::tables;
use crate::whole_file::WholeFile;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    rows: AuditArguments,
    /// How far a weight may go from the one that people chose, from 0 to 1: 0.1 is ten points of 100
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    leash: f64,
    /// Customers that the team can look after [default: a tenth of the rows]
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// Write the learned score as TOML, to be put into a playbook; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    if !(0.0..=1.0).contains(&arguments.leash) {
        let complaint = Complaint::usage(format!("`--leash` should be a share from 0 to 1, found `{}`", arguments.leash));
        return Err(complaint.hint("0.1 lets a weight move by ten points of 100").into());
    }
    let audited = Audited::read(&arguments.rows, output)?;
    let health = health_of(&audited.playbook)?;
    let usual = FitOptions::default();
    let options = FitOptions {
        leash: 100.0 * arguments.leash,
        capacity: arguments.capacity.map_or(usual.capacity, |n| (f64::from(n) / audited.n_rows() as f64).min(1.0)),
        bootstrap: bootstrap(global),
        ..usual
    };
    let columns = health.groups.iter().zip(&audited.shares);
    let columns: Vec<GroupColumn<'_>> =
        columns.map(|(group, shares)| GroupColumn { id: &group.id, weight: group.weight, shares }).collect();
    let fit = fit_health(&columns, &health.cuts(), &audited.outcomes(), &options).map_err(not_measured)?;
    let is_stdout = arguments.out.as_ref().is_some_and(|out| out.as_os_str() == "-");
    if let Some(out) = &arguments.out {
        let source = format!("learned from {} with a leash of {}", audited.heading(), arguments.leash);
        write(out, &health_toml::text(health, &fit, &source))?;
    }
    if !is_stdout {
        output.text(&text(health, &audited, &fit))?;
        output.json(&json!({ "health": health.name, "table": audited.table, "n_rows": audited.n_rows(), "fit": fit }))?;
    }
    Ok(Exit::GOOD)
}

fn write(out: &Path, toml: &str) -> Result<()> {
    if out.as_os_str() == "-" {
        return write_stdout(toml.as_bytes());
    }
    let file = WholeFile::create(out)?;
    file.handle()?.write_all(toml.as_bytes()).with_context(|| format!("cannot write `{}`", out.display()))?;
    file.commit()
}

fn text(health: &Health, audited: &Audited, fit: &HealthFit) -> String {
    let mut weights = tables::table(&["group", "chosen", "learned", ""], 1);
    for weight in &fit.weights {
        let note = if weight.at_leash { "at the leash" } else { "" };
        weights.add_row([weight.id.clone(), format!("{:.2}", weight.hand), format!("{:.2}", weight.fitted), note.to_owned()]);
    }
    let aucs = format!(
        "roc_auc of the chosen weights: {}\nroc_auc of learned weights, each customer judged without themselves: {}\ngain: {}",
        estimate_text(fit.hand_auc.as_ref()),
        estimate_text(fit.fitted_auc.as_ref()),
        estimate_text(fit.auc_gain.as_ref())
    );
    let order = |in_order: bool| if in_order { "in order" } else { "out of order" };
    let bands = format!(
        "chosen weights: bands are {}\n\n{}\n\nlearned weights: bands are {}\n\n{}",
        order(fit.hand_in_order),
        band_table(&fit.hand_bands),
        order(fit.fitted_in_order),
        band_table(&fit.fitted_bands)
    );
    let thresholds = format!(
        "who can be looked after\n  chosen weights: {}\n  learned weights: {}",
        threshold_text(&fit.hand_threshold),
        threshold_text(&fit.fitted_threshold)
    );
    let parts = [
        format!("{} on {}, leash {} points", health.name, audited.heading(), fit.leash),
        tables::render(&weights),
        aucs,
        bands,
        format!("rows by band of the chosen weights (down) and of the learned ones (across)\n\n{}", migration_table(health, fit)),
        thresholds,
    ];
    parts.join("\n\n")
}

fn band_table(bands: &[BandAudit]) -> String {
    let mut table = tables::table(&["band", "rows", "share", "left", "95 % interval"], 1);
    for band in bands {
        let [rate, interval] = share_cells(&band.churn);
        table.add_row([band.id.clone(), band.churn.n_rows.to_string(), tables::percent(band.share), rate, interval]);
    }
    tables::render(&table)
}

fn migration_table(health: &Health, fit: &HealthFit) -> String {
    let ids: Vec<&str> = health.bands.iter().map(|band| band.id.as_str()).collect();
    let headings: Vec<&str> = std::iter::once("").chain(ids.iter().copied()).collect();
    let mut table = tables::table(&headings, 1);
    for (id, counts) in ids.iter().zip(&fit.migration) {
        table.add_row(std::iter::once((*id).to_owned()).chain(counts.iter().map(ToString::to_string)));
    }
    tables::render(&table)
}

fn threshold_text(threshold: &CapacityThreshold) -> String {
    let [rate, interval] = share_cells(&threshold.churn);
    let below = if threshold.below.is_finite() { format!("below {:.4}", threshold.below) } else { "everybody".to_owned() };
    let recall = threshold.recall.map_or_else(|| "–".to_owned(), tables::percent);
    format!("{below}: {} rows, of which {rate} left {interval}, {recall} of all who left", threshold.n_rows)
}
