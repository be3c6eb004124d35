//! `retain health audit`: whether healthier customers stay, band by band.

use anyhow::Result;
use clap::Args;
use retain_policy::assess::Health;
use retain_policy::assess::audit::{AgainstModel, Estimate, HealthAudit, audit_health};
use serde_json::json;

use super::health_of;
use crate::audited::{AuditArguments, Audited, AuditedModel, against_table, bootstrap, estimate_text, not_measured, share_cells};
use crate::cli::Global;
use crate::exit::Exit;
use crate::output::Output;
use crate::tables;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    rows: AuditArguments,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let audited = Audited::read(&arguments.rows, output)?;
    let health = health_of(&audited.playbook)?;
    let options = bootstrap(global);
    let audit = audit_health(&audited.scores, &health.cuts(), &audited.outcomes(), &options).map_err(not_measured)?;
    let model_auc = audited.model_auc(&options)?;
    let against = below_bands(health, &audited, options.confidence)?;
    output.text(&text(health, &audited, &audit, model_auc.as_ref(), &against))?;
    let model = audited.model.as_ref().map(|model| {
        let against = against.iter().map(|(band, against)| json!({ "band_or_worse": band, "against": against }));
        json!({ "name": model.name, "roc_auc": model_auc, "equal_alerts": against.collect::<Vec<_>>() })
    });
    output.json(&json!({
        "health": health.name,
        "table": audited.table,
        "n_unlabelled": audited.n_unlabelled,
        "wrong": audit.is_wrong(),
        "audit": audit,
        "model": model,
    }))?;
    Ok(if audit.is_wrong() { Exit::GATE } else { Exit::GOOD })
}

/// Each band but the healthiest, together with those below it, beside a model with as many alerts.
fn below_bands(health: &Health, audited: &Audited, confidence: f64) -> Result<Vec<(String, AgainstModel)>> {
    let mut rows = Vec::new();
    for (position, band) in health.bands.iter().enumerate().skip(1) {
        let fired: Vec<Option<bool>> =
            audited.scores.iter().map(|score| score.map(|score| health.band_of(score) >= position)).collect();
        rows.extend(audited.against_model(&fired, confidence)?.map(|against| (band.id.clone(), against)));
    }
    Ok(rows)
}

fn text(
    health: &Health,
    audited: &Audited,
    audit: &HealthAudit,
    model_auc: Option<&Estimate>,
    against: &[(String, AgainstModel)],
) -> String {
    let mut table = tables::table(&["band", "from", "rows", "share", "left", "95 % interval", "lift"], 1);
    for (band, found) in health.bands.iter().zip(&audit.bands) {
        let [rate, interval] = share_cells(&found.churn);
        let lift = tables::known(found.lift);
        table.add_row([
            found.id.clone(),
            band.from.to_string(),
            found.churn.n_rows.to_string(),
            tables::percent(found.share),
            rate,
            interval,
            lift,
        ]);
    }
    let unscored = match audit.n_unscored {
        0 => String::new(),
        n => format!(", {n} without a score"),
    };
    let mut parts =
        vec![format!("{} on {}{unscored}", health.name, audited.heading()), tables::render(&table), order_text(audit)];
    let of_model = |model: &AuditedModel| format!("\nroc_auc of {}: {}", model.name, estimate_text(model_auc));
    let of_model = audited.model.as_ref().map(of_model).unwrap_or_default();
    parts.push(format!("roc_auc of the score: {}{of_model}", estimate_text(audit.roc_auc.as_ref())));
    if let Some(model) = &audited.model {
        parts.push(format!("with as many alerts, {}\n\n{}", model.name, against_table("band or worse", against)));
    }
    parts.join("\n\n")
}

fn order_text(audit: &HealthAudit) -> String {
    if audit.violations.is_empty() {
        return "in order: no band loses more than a less healthy one".to_owned();
    }
    let line = |violation: &retain_policy::assess::audit::OrderViolation| {
        let how = if violation.certain { "certain: the score is wrong" } else { "chance may explain it" };
        format!("out of order: `{}` loses more than `{}` ({how})", violation.healthier, violation.weaker)
    };
    audit.violations.iter().map(line).collect::<Vec<_>>().join("\n")
}
