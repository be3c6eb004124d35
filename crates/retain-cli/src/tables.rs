//! Tables as text: aligned columns without lines or colours, the same on a terminal and in a pipe.

use comfy_table::{CellAlignment, Table, presets};
use retain_eval::{CalibrationBin, Measured, OutcomeKind};
use retain_train::Measurement;

/// A table with these headings; columns from `first_number` on are aligned to the right.
pub(crate) fn table(headings: &[&str], first_number: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(headings);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if position >= first_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The rows of a table, without spaces at the ends of lines.
pub(crate) fn render(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Four digits behind the point, and no minus before a zero.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    if text == "-0.0000" { "0.0000".to_owned() } else { text }
}

/// `[0.8301, 0.8520]`.
pub(crate) fn bounds(low: f64, high: f64) -> String {
    format!("[{}, {}]", number(low), number(high))
}

/// `[0.8301, 0.8520]`.
pub(crate) fn interval(measured: Option<&Measured>) -> String {
    measured.map_or_else(|| "–".to_owned(), |m| bounds(m.low, m.high))
}

/// `0.8412`.
pub(crate) fn value(measured: Option<&Measured>) -> String {
    measured.map_or_else(|| "–".to_owned(), |m| number(m.value))
}

/// What rows of an outcome are called where it happened.
pub(crate) fn positive_word(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Binary => "positive",
        OutcomeKind::Value => "above 0",
        OutcomeKind::Survival => "seen to leave",
        OutcomeKind::Uplift => "with the outcome",
    }
}

/// Every metric of a model with its interval, beside what one would say without it.
pub(crate) fn metrics(measurement: &Measurement) -> String {
    let Measurement { evaluation, baseline, baseline_is, .. } = measurement;
    let heading = format!("{:.0} % interval", 100.0 * evaluation.confidence);
    let mut table = table(&["metric", "model", &heading, baseline_is], 1);
    for m in &evaluation.metrics {
        table.add_row([m.metric.name().to_owned(), number(m.value), bounds(m.low, m.high), value(baseline.get(m.metric))]);
    }
    render(&table)
}

/// What was promised and what came, in tenths of the rows.
pub(crate) fn calibration(bins: &[CalibrationBin], kind: OutcomeKind) -> String {
    let observed = match kind {
        OutcomeKind::Binary => "observed rate",
        OutcomeKind::Value => "mean amount",
        OutcomeKind::Survival => "left by the horizon",
        OutcomeKind::Uplift => "observed effect",
    };
    let mut table = table(&["predicted from", "to", "rows", "mean prediction", observed, "95 % interval"], 0);
    for bin in bins {
        table.add_row([
            number(bin.lowest),
            number(bin.highest),
            bin.n_rows.to_string(),
            number(bin.mean_prediction),
            number(bin.observed.value),
            bounds(bin.observed.low, bin.observed.high),
        ]);
    }
    render(&table)
}
