//! `retain signals`: what the warning signals of a playbook find, how early, and what each adds to the others.

use anyhow::Result;
use clap::Subcommand;
use retain_policy::assess::audit::{AgainstModel, Overlap, SignalAudit, SignalsAudit, audit_signals};
use serde_json::json;

use crate::audited::{AuditArguments, Audited, against_table, bootstrap, not_measured, share_cells};
use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::tables;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hold signals against who left: precision, recall, lift, lead time, overlaps, and a model with as many alerts
    Audit(AuditArguments),
}

pub(crate) fn run(command: &Command, global: &Global, output: Output) -> Result<Exit> {
    let Command::Audit(arguments) = command;
    let audited = Audited::read(arguments, output)?;
    let signals = audited.signals();
    if signals.is_empty() {
        let message = format!("the playbook `{}` defines no signals", audited.playbook.settings.name);
        let hint = "write a `[[signal]]`, or name a preset such as `early-warning`: `retain playbook list` shows them";
        return Err(Complaint::usage(message).hint(hint).into());
    }
    let confidence = bootstrap(global).confidence;
    let audit = audit_signals(&signals, &audited.outcomes(), confidence).map_err(not_measured)?;
    let mut against = Vec::new();
    for signal in &signals {
        against.extend(audited.against_model(signal.fired, confidence)?.map(|found| (signal.id.to_owned(), found)));
    }
    let any: Vec<Option<bool>> = (0..audited.n_rows()).map(|row| any_fires(&signals, row)).collect();
    against.extend(audited.against_model(&any, confidence)?.map(|found| ("any".to_owned(), found)));
    output.text(&text(&audited, &audit, &against))?;
    let model = audited.model.as_ref().map(|model| {
        let against = against.iter().map(|(signal, against)| json!({ "signal": signal, "against": against }));
        json!({ "name": model.name, "equal_alerts": against.collect::<Vec<_>>() })
    });
    output.json(&json!({
        "playbook": audited.playbook.settings.name,
        "table": audited.table,
        "n_unlabelled": audited.n_unlabelled,
        "audit": audit,
        "model": model,
    }))?;
    Ok(Exit::GOOD)
}

/// Whether any signal fires on a row; unknown where none does and one cannot be answered.
fn any_fires(signals: &[retain_policy::assess::audit::SignalColumn<'_>], row: usize) -> Option<bool> {
    let answers = || signals.iter().map(|signal| signal.fired[row]);
    if answers().any(|answer| answer == Some(true)) {
        return Some(true);
    }
    answers().all(|answer| answer.is_some()).then_some(false)
}

fn text(audited: &Audited, audit: &SignalsAudit, against: &[(String, AgainstModel)]) -> String {
    let mut parts = vec![format!("signals of {} on {}", audited.playbook.settings.name, audited.heading()), found_table(audit)];
    if audit.signals.len() > 1 {
        parts.push(format!("rows that both find, of those that either does (Jaccard)\n\n{}", overlap_table(audit)));
    }
    if !audit.minimal_set.is_empty() {
        parts.push(format!("the fewest that find nearly all that all of them do\n\n{}", minimal_table(audit)));
    }
    if let Some(model) = &audited.model {
        parts.push(format!("with as many alerts, {}\n\n{}", model.name, against_table("signal", against)));
    }
    parts.join("\n\n")
}

fn found_table(audit: &SignalsAudit) -> String {
    let headings = ["signal", "fires", "precision", "95 % interval", "recall", "95 % interval", "lift", "unknown", "lead days"];
    let mut table = tables::table(&headings, 1);
    let row = |signal: &SignalAudit| {
        let [fired, _] = share_cells(&signal.fired);
        let [precision, precision_interval] = share_cells(&signal.precision);
        let [recall, recall_interval] = share_cells(&signal.recall);
        let lead = signal.median_lead_days.map_or_else(|| "–".to_owned(), |days| format!("{days:.1} ({})", signal.n_leads));
        let (lift, unknown) = (tables::known(signal.lift), signal.n_unknown.to_string());
        [signal.id.clone(), fired, precision, precision_interval, recall, recall_interval, lift, unknown, lead]
    };
    for signal in audit.signals.iter().chain([&audit.any]) {
        table.add_row(row(signal));
    }
    tables::render(&table)
}

fn overlap_table(audit: &SignalsAudit) -> String {
    let ids: Vec<&str> = audit.signals.iter().map(|signal| signal.id.as_str()).collect();
    let headings: Vec<&str> = std::iter::once("").chain(ids.iter().copied()).collect();
    let mut table = tables::table(&headings, 1);
    for first in &ids {
        let cell = |second: &&str| {
            let is_pair = |overlap: &&Overlap| {
                (overlap.first == *first && overlap.second == **second) || (overlap.first == **second && overlap.second == *first)
            };
            let overlap = audit.overlaps.iter().find(is_pair);
            if first == second { "1".to_owned() } else { tables::known(overlap.and_then(|overlap| overlap.jaccard)) }
        };
        table.add_row(std::iter::once((*first).to_owned()).chain(ids.iter().map(cell)));
    }
    tables::render(&table)
}

fn minimal_table(audit: &SignalsAudit) -> String {
    let mut table = tables::table(&["signal", "adds", "recall together", "precision together", "fires together"], 1);
    for caught in &audit.minimal_set {
        let percents = [caught.recall, caught.precision, caught.fired].map(tables::percent);
        table.add_row([caught.id.clone(), caught.n_added.to_string()].into_iter().chain(percents));
    }
    tables::render(&table)
}
