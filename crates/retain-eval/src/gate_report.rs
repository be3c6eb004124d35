//! [`GateReport`]: the verdict with its evidence, and how it prints as text, JSON, `JUnit` XML and Markdown.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::bootstrap::BootstrapOptions;
use crate::gate::GateInput;

/// Changes when a field of the JSON report changes its meaning or goes away.
const SCHEMA_VERSION: u32 = 1;
const FORMULA: &str = "(z(1 − α/2) + z(0.8)) × standard error";

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The evidence clears the threshold.
    Pass,
    /// The evidence is against it.
    Fail,
    /// The evidence is too thin to tell.
    Inconclusive,
}

/// The table of the gate file that a check comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// `[[floor]]`
    Floor,
    /// `[[ceiling]]`
    Ceiling,
    /// `[[beats]]`
    Beats,
    /// `[[non_inferiority]]`
    NonInferiority,
    /// `[[slice]]`
    Slice,
    /// `[[serving]]`
    Serving,
}

/// One check: what was asked, what was found, and the verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckLine {
    /// Which table it comes from.
    pub kind: CheckKind,
    /// The metric, or the measured number of serving.
    pub metric: String,
    /// The slice of the rows, such as `plan=gold`.
    pub slice: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// The value; for `beats` and `non_inferiority` how much better the new model is, in the direction "better is positive".
    pub value: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end of its interval.
    pub high: Option<f64>,
    /// How the interval must lie to the threshold: `≥`, `≤`, `>` or `within ±`.
    pub relation: &'static str,
    /// The threshold.
    pub threshold: f64,
    /// Positives that the value stands on.
    pub n_positives: Option<usize>,
    /// Negatives that the value stands on.
    pub n_negatives: Option<usize>,
    /// The smallest regression that this data would show with 80 % power:
    /// (z(1 − α/2) + z(0.8)) × standard error, where 1 − α is the confidence.
    pub minimum_detectable_regression: Option<f64>,
    /// What else is to be said, empty for the usual.
    pub note: String,
}

/// The outcome of a gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Version of this report's fields.
    pub schema_version: u32,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// What it was compared with.
    pub champion: Option<String>,
    /// Fail if a check fails, else inconclusive if one is, else pass.
    pub verdict: Verdict,
    /// How the process should end.
    pub exit_code: i32,
    /// Whether an inconclusive verdict was allowed to end with 0.
    pub allow_inconclusive: bool,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Resamples drawn; huge tables get fewer than the file asks for.
    pub resamples: usize,
    /// Where the randomness came from.
    pub seed: u64,
    /// How `minimum_detectable_regression` is computed.
    pub minimum_detectable_regression_formula: &'static str,
    /// The checks, in the order they were made.
    pub checks: Vec<CheckLine>,
}

impl Verdict {
    /// The verdict as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Pass => "✓",
            Self::Fail => "✗",
            Self::Inconclusive => "?",
        }
    }
}

impl CheckKind {
    /// The name in gate files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ceiling => "ceiling",
            Self::Beats => "beats",
            Self::NonInferiority => "non_inferiority",
            Self::Slice => "slice",
            Self::Serving => "serving",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl CheckLine {
    pub(crate) fn new(kind: CheckKind, metric: &str, relation: &'static str, threshold: f64) -> Self {
        Self {
            kind,
            metric: metric.to_owned(),
            slice: None,
            verdict: Verdict::Inconclusive,
            value: None,
            low: None,
            high: None,
            relation,
            threshold,
            n_positives: None,
            n_negatives: None,
            minimum_detectable_regression: None,
            note: String::new(),
        }
    }

    pub(crate) fn inconclusive(self, note: &str) -> Self {
        Self { verdict: Verdict::Inconclusive, note: note.to_owned(), ..self }
    }

    pub(crate) fn passed(self, note: &str) -> Self {
        Self { verdict: Verdict::Pass, note: note.to_owned(), ..self }
    }

    /// What is checked, without numbers: `floor roc_auc`, `slice ece_10 plan=gold`.
    fn subject(&self) -> String {
        let slice = self.slice.as_ref().map_or(String::new(), |slice| format!(" {slice}"));
        format!("{} {}{slice}", self.kind, self.metric)
    }

    fn requirement(&self) -> String {
        let gap = if self.relation.ends_with('±') { "" } else { " " };
        format!("{}{gap}{}", self.relation, short(self.threshold))
    }

    fn finding(&self) -> String {
        match (self.value, self.low, self.high) {
            (Some(value), Some(low), Some(high)) => format!("{} [{}, {}]", short(value), short(low), short(high)),
            (Some(value), ..) => short(value),
            _ => "–".to_owned(),
        }
    }

    fn evidence(&self) -> String {
        match (self.n_positives, self.minimum_detectable_regression) {
            (Some(n_positives), Some(detectable)) => format!("{n_positives} positives, detectable {}", short(detectable)),
            _ => String::new(),
        }
    }
}

impl GateReport {
    pub(crate) fn new(input: &GateInput<'_>, options: &BootstrapOptions, checks: Vec<CheckLine>) -> Self {
        let any = |verdict| checks.iter().any(|check| check.verdict == verdict);
        let quality_failed = checks.iter().any(|check| check.verdict == Verdict::Fail && check.kind != CheckKind::Serving);
        let (verdict, exit_code) = match (any(Verdict::Fail), any(Verdict::Inconclusive)) {
            (true, _) => (Verdict::Fail, if quality_failed { 3 } else { 7 }),
            (_, true) => (Verdict::Inconclusive, if input.allow_inconclusive { 0 } else { 4 }),
            _ => (Verdict::Pass, 0),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            model: input.model.to_owned(),
            version: input.version,
            champion: input.champion.map(|champion| champion.name.to_owned()),
            verdict,
            exit_code,
            allow_inconclusive: input.allow_inconclusive,
            confidence: options.confidence,
            resamples: input.labelled.map_or(input.evaluation.resamples, |rows| options.resamples_for(rows.n_cells())),
            seed: options.seed,
            minimum_detectable_regression_formula: FORMULA,
            checks,
        }
    }

    /// 0 pass, 3 quality failed, 4 inconclusive (0 where allowed), 7 when nothing but speed, size or parity failed.
    pub fn exit_code(&self) -> i32 {
        self.exit_code
    }

    fn headline(&self) -> String {
        let against = self.champion.as_ref().map_or(String::new(), |champion| format!(" against {champion}"));
        let allowed = if self.allow_inconclusive && self.verdict == Verdict::Inconclusive { " (allowed)" } else { "" };
        format!("{}/{}{against}: {}{allowed}", self.model, self.version, self.verdict)
    }

    fn footnote(&self) -> String {
        format!(
            "{} % intervals, {} resamples, seed {}; detectable = smallest regression seen with 80 % power, {FORMULA}",
            short(100.0 * self.confidence),
            self.resamples,
            self.seed
        )
    }

    /// Text for a terminal or a log: a headline, an aligned line per check, no colour.
    pub fn to_text(&self) -> String {
        let cells = |check: &CheckLine| {
            let verdict = format!("{} {}", check.verdict.mark(), check.verdict);
            [verdict, one_line(&check.subject()), check.requirement(), check.finding(), check.evidence()]
        };
        let table: Vec<[String; 5]> = self.checks.iter().map(cells).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4].map(width);
        let mut text = format!("gate of {}\n", one_line(&self.headline()));
        for (check, row) in self.checks.iter().zip(&table) {
            let padded: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}", padded.join("  ").trim_end());
            if !check.note.is_empty() {
                let _ = writeln!(text, "      {}", one_line(&check.note));
            }
        }
        text + &self.footnote() + "\n"
    }

    /// JSON with the fields of [`GateReport`]; numbers that are not finite become null.
    ///
    /// # Errors
    /// Never in practice: the error is the serializer's own.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// `JUnit` XML: a test case per check. Inconclusive checks are errors, or skipped where they are allowed.
    pub fn to_junit(&self) -> String {
        let count = |verdict| self.checks.iter().filter(|check| check.verdict == verdict).count();
        let inconclusive = count(Verdict::Inconclusive);
        let (errors, skipped) = if self.allow_inconclusive { (0, inconclusive) } else { (inconclusive, 0) };
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"retain gate {}/{}\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" skipped=\"{skipped}\">\n",
            xml_text(&self.model),
            self.version,
            self.checks.len(),
            count(Verdict::Fail)
        );
        for check in &self.checks {
            xml += &self.test_case(check);
        }
        xml + "</testsuite>\n"
    }

    fn test_case(&self, check: &CheckLine) -> String {
        let name = xml_text(&format!("{} {}", check.subject(), check.requirement()));
        let says = [check.finding(), check.evidence(), check.note.clone()];
        let message = xml_text(&says.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "));
        let result = match (check.verdict, self.allow_inconclusive) {
            (Verdict::Pass, _) => format!("<system-out>{message}</system-out>"),
            (Verdict::Fail, _) => format!("<failure message=\"{message}\"/>"),
            (Verdict::Inconclusive, true) => format!("<skipped message=\"inconclusive: {message}\"/>"),
            (Verdict::Inconclusive, false) => format!("<error type=\"inconclusive\" message=\"{message}\"/>"),
        };
        format!("  <testcase classname=\"retain.gate.{}\" name=\"{name}\">{result}</testcase>\n", check.kind)
    }

    /// A Markdown table, for a comment on a pull request.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("### Gate of {}\n\n", markdown(&self.headline()));
        text += "| verdict | check | required | found | evidence | note |\n|---|---|---|---|---|---|\n";
        for check in &self.checks {
            let cells = [check.subject(), check.requirement(), check.finding(), check.evidence(), check.note.clone()];
            let cells = cells.map(|cell| markdown(&cell)).join(" | ");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} {} | {cells} |", check.verdict.mark(), check.verdict);
        }
        text + "\n" + &markdown(&self.footnote()) + "\n"
    }
}

/// Four decimals, or two digits and an exponent where four decimals would hide the number.
fn short(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) {
        let text = format!("{number:.4}");
        let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return trimmed.to_owned();
    }
    format!("{number:.2e}")
}

/// Control characters, line breaks included, as spaces: labels come from tables that anybody may have written.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            // XML 1.0 has no way to write these, not even escaped.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in one_line(text).chars() {
        match letter {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '@' | '#' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}
