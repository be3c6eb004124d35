//! `MODEL_CARD.md`, after Mitchell et al. (2019): every number in it is computed, none is written by hand.

use std::fmt::Write;

use retain_core::TaskKind;
use retain_eval::{Evaluation, Metric, OutcomeKind, ThresholdRow};
use retain_score::{Calibrator, Manifest, Model};

use crate::bundle::BundleParts;
use crate::metrics_file::{Importance, LeaderboardRow, Measurement};
use crate::uplift::formulas;

/// Features shown in the importance table.
const N_IMPORTANT: usize = 15;

pub(crate) fn model_card(manifest: &Manifest, parts: &BundleParts<'_>) -> String {
    let mut card = String::new();
    details(&mut card, manifest, parts);
    use_and_label(&mut card, manifest);
    if manifest.kind.is_amount() {
        amount(&mut card, manifest);
    }
    data(&mut card, manifest, parts);
    match &parts.metrics.uplift {
        Some(uplift) => {
            uplift.write_card(&mut card);
            for treatment in &uplift.treatments {
                measurement(&mut card, &format!("Quality of `{}`", escaped(&treatment.treatment)), &treatment.measurement);
            }
            formulas(&mut card);
        }
        None => measurement(&mut card, "Quality", &parts.metrics.validation),
    }
    for head in &parts.metrics.heads {
        measurement(&mut card, &format!("Quality of the chance that {}", head.answer), &head.measurement);
    }
    if let Some(test) = &parts.metrics.test {
        measurement(&mut card, "Quality on the test table", test);
    }
    leaderboard(&mut card, &parts.metrics.leaderboard);
    importance(&mut card, &parts.model, &parts.metrics.importance);
    limits(&mut card, manifest, parts);
    card
}

/// Writing to a string cannot fail.
macro_rules! put {
    ($card:expr, $($text:tt)*) => { let _ = writeln!($card, $($text)*); };
}
pub(crate) use put;

fn details(card: &mut String, manifest: &Manifest, parts: &BundleParts<'_>) {
    put!(card, "# Model card: {}\n", manifest.name);
    put!(card, "| | |\n|---|---|");
    put!(card, "| Predicts | {} within {} days{} |", manifest.kind, manifest.horizon_days, lead(manifest));
    put!(card, "| Learner | {} ({}) |", manifest.learner, manifest.configuration);
    put!(card, "| Calibration | {} |", manifest.calibrator);
    if let Model::Hazard(hazard) = &parts.model {
        let last = hazard.period_ends.last().copied().unwrap_or(0.0);
        put!(card, "| Time | {} periods, the last ends on day {last:.0} |", hazard.period_ends.len());
        put!(card, "| Ways of leaving | {} |", escaped(&parts.dataset.schema.positive.join(", ")));
    }
    put!(card, "| Seed | {} |", manifest.seed);
    put!(card, "| Built by | retain {} |", manifest.tool_version);
    put!(card, "| Training table, SHA-256 | `{}` |\n", manifest.data_sha256);
}

pub(crate) fn lead(manifest: &Manifest) -> String {
    if manifest.lead_days == 0 {
        String::new()
    } else {
        format!(", counted from {} days after the observation", manifest.lead_days)
    }
}

pub(crate) fn use_and_label(card: &mut String, manifest: &Manifest) {
    put!(card, "## Intended use\n");
    if manifest.kind == TaskKind::Uplift {
        put!(
            card,
            "Choosing whom to treat, and how, by what a treatment changes, so that people or rules decide whom to contact. Not for credit, \
            employment, insurance or prices; and what a treatment changed for customers like these may change with season and offer.\n"
        );
    } else {
        let (by, what) =
            if manifest.kind.is_amount() { ("what they will bring or do", "expectation") } else { ("their risk", "risk") };
        put!(
            card,
            "Ranking customers by {by} and stating how large it is, so that people or rules decide whom to contact. Not for \
            credit, employment, insurance or prices; and a high {what} does not say that contacting the customer will help.\n"
        );
    }
    put!(card, "## Label\n");
    put!(card, "> {}\n", manifest.definition.replace('\n', "\n> "));
}

/// What the numbers of an amount mean.
fn amount(card: &mut String, manifest: &Manifest) {
    let unit = manifest.currency.as_ref().map_or_else(String::new, |currency| format!(" in {currency}"));
    put!(
        card,
        "The amount{unit} is what came within {} days{}. It is not discounted, and costs count where the column counts them. The expected \
        amount is a mean: few customers come to just that. Its limits hold 90 % of the amounts of customers with about that \
        expectation, as they did on rows that no fit had seen.\n",
        manifest.horizon_days,
        lead(manifest)
    );
    put!(
        card,
        "Candidates were ranked by the mean of Spearman's rank correlation and the normalised Gini coefficient: with rows by falling \
        expectation and `cum_i` the share of the total that the first `i` of `n` rows bring, `2 · Σ (cum_{{i−1}} + cum_i) / 2 / n − 1`, \
        divided by the same of the perfect order. Totals were then made right at every size of the expectation on rows not seen.\n"
    );
}

fn data(card: &mut String, manifest: &Manifest, parts: &BundleParts<'_>) {
    let schema = &parts.dataset.schema;
    let rate = manifest.n_positives as f64 / manifest.n_rows.max(1) as f64;
    put!(card, "## Data\n");
    put!(
        card,
        "{} rows of {} customers, {} positive ({:.2} %), {} features.",
        manifest.n_rows,
        manifest.n_customers,
        manifest.n_positives,
        100.0 * rate,
        schema.n_features()
    );
    if let Some(observed) = &manifest.observed {
        put!(card, "Observed from {} to {}.", observed.from, observed.to);
    }
    put!(card, "\n| feature | kind | missing | training range or categories |\n|---|---|---|---|");
    for (feature, column) in schema.features.iter().zip(&parts.dataset.columns) {
        let missing = column.iter().filter(|value| value.is_nan()).count();
        let range = match (feature.min, feature.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ if feature.categories.is_empty() => "yes, no".to_owned(),
            _ => format!("{} categories", feature.categories.len()),
        };
        put!(card, "| {} | {} | {missing} | {range} |", escaped(&feature.name), feature.kind);
    }
    put!(card, "\n## Validation\n\n{}.\n", manifest.validation);
}

/// A column name inside a table cell.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

pub(crate) fn measurement(card: &mut String, title: &str, measurement: &Measurement) {
    let evaluation = &measurement.evaluation;
    let words = Words::of(evaluation.kind);
    put!(card, "## {title}\n");
    put!(card, "Measured on {}.", measurement.measured_on);
    put!(
        card,
        "{} rows, {} {}; {:.0} % intervals from {} resamples of customers.\n",
        evaluation.n_rows,
        evaluation.n_positives,
        words.positive,
        100.0 * evaluation.confidence,
        evaluation.resamples
    );
    put!(card, "| metric | model | {} |\n|---|---|---|", measurement.baseline_is);
    for measured in &evaluation.metrics {
        put!(
            card,
            "| {} | {:.4} [{:.4}, {:.4}] | {} |",
            measured.metric.name(),
            measured.value,
            measured.low,
            measured.high,
            value(&measurement.baseline, measured.metric)
        );
    }
    put!(card, "\n| tenth of rows | mean prediction | {} |\n|---|---|---|", words.observed);
    for (position, bin) in measurement.calibration_table.iter().enumerate() {
        put!(
            card,
            "| {} ({} rows) | {:.4} | {:.4} [{:.4}, {:.4}] |",
            position + 1,
            bin.n_rows,
            bin.mean_prediction,
            bin.observed.value,
            bin.observed.low,
            bin.observed.high
        );
    }
    if !measurement.threshold_table.is_empty() {
        thresholds(card, &measurement.threshold_table);
    }
    put!(card, "");
}

fn thresholds(card: &mut String, rows: &[ThresholdRow]) {
    put!(card, "\n| riskiest | from probability | precision | share of leavers found | lift |\n|---|---|---|---|---|");
    for row in rows {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        put!(
            card,
            "| {:.0} % | {:.4} | {:.3} | {} | {} |",
            100.0 * row.share,
            row.threshold,
            row.precision,
            number(row.recall),
            number(row.lift)
        );
    }
}

/// What things are called where outcomes are of a kind.
struct Words {
    positive: &'static str,
    observed: &'static str,
    /// The metrics of the leaderboard, with their headings.
    leaderboard: [(Metric, &'static str); 2],
}

impl Words {
    fn of(kind: OutcomeKind) -> Self {
        let words = |positive, observed, leaderboard| Self { positive, observed, leaderboard };
        match kind {
            OutcomeKind::Binary => {
                words("positive", "observed rate", [(Metric::RocAuc, "ROC AUC"), (Metric::LogLoss, "log loss")])
            }
            OutcomeKind::Value => {
                words("above 0", "mean amount", [(Metric::NormalizedGini, "normalized Gini"), (Metric::Spearman, "Spearman")])
            }
            OutcomeKind::Uplift => {
                words("with the outcome", "observed effect", [(Metric::Qini, "Qini"), (Metric::UpliftAt30, "uplift@30")])
            }
            OutcomeKind::Survival => words(
                "seen to leave",
                "left by the horizon",
                [(Metric::UnoC, "Uno's C"), (Metric::IntegratedBrier, "integrated Brier")],
            ),
        }
    }
}

fn value(evaluation: &Evaluation, metric: Metric) -> String {
    evaluation.get(metric).map_or("–".to_owned(), |measured| format!("{:.4}", measured.value))
}

fn leaderboard(card: &mut String, rows: &[LeaderboardRow]) {
    put!(card, "## Learners tried\n");
    let kind = rows.first().map_or(OutcomeKind::Binary, |row| row.evaluation.kind);
    let [(first, first_heading), (second, second_heading)] = Words::of(kind).leaderboard;
    put!(card, "| learner | settings | calibration | {first_heading} | {second_heading} | |\n|---|---|---|---|---|---|");
    for row in rows {
        let mark = match (row.is_winner, row.is_tied) {
            (true, _) => "bundled",
            (false, true) => "cannot be told apart",
            (false, false) => "",
        };
        let [one, other] = [first, second].map(|metric| value(&row.evaluation, metric));
        put!(
            card,
            "| {} | {} (of {}) | {} | {one} | {other} | {mark} |",
            row.learner,
            row.configuration,
            row.n_configurations,
            row.calibrator
        );
    }
    put!(card, "");
}

pub(crate) fn importance(card: &mut String, model: &Model, importance: &[Importance]) {
    put!(card, "## What moves predictions\n");
    let scale = match model {
        Model::Event(_) => "log-odds",
        Model::Amount(amount) if amount.value.calibrator == Calibrator::Logarithm => "the expected amount",
        Model::Hazard(_) => "mean log-odds of leaving in a period up to the horizon",
        Model::Amount(_) => "the logarithm of the expected amount",
        Model::Uplift(_) => "the effect of the treatment that does most",
    };
    put!(card, "Mean absolute contribution in {scale}: association, not effect.\n");
    put!(card, "| feature | contribution |\n|---|---|");
    for importance in importance.iter().take(N_IMPORTANT) {
        put!(card, "| {} | {:.4} |", escaped(&importance.feature), importance.mean_abs_contribution);
    }
    put!(card, "");
}

fn limits(card: &mut String, manifest: &Manifest, parts: &BundleParts<'_>) {
    put!(card, "## Limits\n");
    if parts.plan.test.is_none() {
        put!(
            card,
            "- The rows have no dates: nothing here says how the model does on a later month. Its settings were chosen on the rows that \
            it was measured on, which flatters it a little."
        );
    }
    if manifest.kind != TaskKind::Uplift {
        put!(
            card,
            "- If customers in the training table were already being retained, the model predicts what happens under that treatment."
        );
    }
    if let Model::Hazard(_) = parts.model {
        put!(
            card,
            "- Customers lost sight of are taken to be no likelier to leave than those who stayed in sight. Where durations are whole \
            months, metrics count each as 30 days. Beyond the last period nothing was seen: its hazard goes on to the horizon."
        );
    }
    put!(card, "- Values outside the training range and categories never seen are scored, and flagged in every answer.");
    for warning in parts.warnings {
        put!(card, "- {}", warning.replace('\n', " "));
    }
    put!(card, "\n## Reproduce\n");
    let budget = if parts.budget_bound {
        ", given as much time: the budget cut this run short, so a faster or slower machine may come to another model"
    } else {
        " byte for byte on the same build and machine type"
    };
    put!(
        card,
        "`retain train` with the same task file, the table of the checksum above and `--seed {}` gives this bundle{budget}. Bands: high from {:.4}, medium from {:.4}.",
        manifest.seed,
        manifest.bands.high,
        manifest.bands.medium
    );
}
