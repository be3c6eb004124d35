//! The card of a model that was trained elsewhere: as `card.rs` writes it, without what only training knows.

use std::fmt::Write;

use retain_core::FeatureSpec;
use retain_score::{Calibrator, Manifest, Model};

use crate::card::{escaped, importance, lead, measurement, put, use_and_label};
use crate::imported::ImportParts;
use crate::metrics_file::MetricsFile;

pub(crate) fn imported_card(manifest: &Manifest, parts: &ImportParts<'_>, metrics: Option<&MetricsFile>) -> String {
    let mut card = String::new();
    details(&mut card, manifest);
    use_and_label(&mut card, manifest);
    if let Model::Amount(amount) = &parts.model {
        let how = if amount.value.calibrator == Calibrator::Logarithm {
            "Where it predicts less than 0, 0 is told."
        } else {
            "It is the exponential of its score."
        };
        let (days, lead) = (manifest.horizon_days, lead(manifest));
        put!(card, "The expected amount is what the model predicts within {days} days{lead}. {how}\n");
        put!(card, "The chance of any amount is not the model's: a sigmoid of its score was fitted to the table below.\n");
    }
    data(&mut card, manifest, parts);
    if let Some(metrics) = metrics {
        measurement(&mut card, "Quality", &metrics.validation);
        for head in &metrics.heads {
            measurement(&mut card, &format!("Quality of the chance that {}", head.answer), &head.measurement);
        }
        importance(&mut card, &parts.model, &metrics.importance);
    } else {
        let advice = "`retain evaluate` measures the model on labelled rows";
        put!(card, "## Quality\n\nNot measured: the import was given no table. {advice}.\n");
    }
    limits(&mut card, manifest, parts);
    card
}

fn details(card: &mut String, manifest: &Manifest) {
    put!(card, "# Model card: {}\n", manifest.name);
    put!(card, "| | |\n|---|---|");
    put!(card, "| Predicts | {} within {} days{} |", manifest.kind, manifest.horizon_days, lead(manifest));
    put!(card, "| Trained by | {} ({}) |", manifest.learner, escaped(&manifest.configuration));
    put!(card, "| Link | {} |", manifest.calibrator);
    put!(card, "| Imported by | retain {} |\n", manifest.tool_version);
}

fn data(card: &mut String, manifest: &Manifest, parts: &ImportParts<'_>) {
    put!(card, "## Data\n");
    put!(card, "What the model was trained on is not known here. It reads {} features.", parts.schema.n_features());
    if let Some(table) = parts.table {
        let (n_rows, n_positives) = (manifest.n_rows, manifest.n_positives);
        put!(card, "Ranges are those of `{}`, with {n_rows} rows, {n_positives} of them positive.", table.name);
    }
    put!(card, "\n| feature | kind | range or categories |\n|---|---|---|");
    for feature in &parts.schema.features {
        put!(card, "| {} | {} | {} |", escaped(&feature.name), feature.kind, range(feature));
    }
    put!(card, "");
}

fn range(feature: &FeatureSpec) -> String {
    match (feature.min, feature.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        _ if feature.categories.is_empty() => "–".to_owned(),
        _ => format!("{} categories", feature.categories.len()),
    }
}

fn limits(card: &mut String, manifest: &Manifest, parts: &ImportParts<'_>) {
    put!(card, "## Limits\n");
    put!(
        card,
        "- Predictions are those of the model file. How it was trained, on whom and how it was judged is for whoever trained it to say."
    );
    put!(card, "- Contributions are told against the rows that the file counts in its leaves.");
    if parts.table.is_none() {
        put!(card, "- There are no bands, no histograms and no metrics: `retain import` with `--data` makes them.");
    } else {
        put!(card, "- Bands: high from {:.4}, medium from {:.4}.", manifest.bands.high, manifest.bands.medium);
    }
    for warning in &parts.warnings {
        put!(card, "- {}", warning.replace('\n', " "));
    }
}
