use retain_eval::{
    BootstrapOptions, Champion, Evaluation, GateError, GateFile, GateInput, GateReport, Labelled, Metric, PastColumn,
    ServingNumbers, SliceColumn, Verdict, evaluate, gate, kaplan_meier,
};

use crate::simulate::{Simulator, log_odds, sigmoid};

/// A model with 2,000 customers to judge it by.
struct Case {
    rows: Labelled,
    evaluation: Evaluation,
    columns: Vec<SliceColumn>,
}

fn options() -> BootstrapOptions {
    BootstrapOptions { resamples: 200, ..BootstrapOptions::default() }
}

impl Case {
    fn new(n: usize, predict: impl FnMut(&mut Simulator, f64) -> f64) -> Self {
        let mut simulator = Simulator::new(21);
        let truths = simulator.truths(n);
        Self::of(simulator.rows(&truths, predict))
    }

    fn of(rows: Labelled) -> Self {
        let plan = (0..rows.n_rows()).map(|row| ["gold", "silver"][row % 2].to_owned()).collect();
        let country = (0..rows.n_rows()).map(|row| if row % 50 == 0 { "<li>" } else { "es" }.to_owned()).collect();
        let column = |name: &str, labels| SliceColumn { name: name.to_owned(), labels };
        let columns = vec![column("plan", plan), column("country", country)];
        Self { evaluation: evaluate(&rows, &Metric::ALL, &options()), rows, columns }
    }

    fn input(&self) -> GateInput<'_> {
        GateInput {
            model: "churn",
            version: 3,
            evaluation: &self.evaluation,
            labelled: Some(&self.rows),
            champion: None,
            base_rate: Some(0.2),
            base_curve: None,
            past_columns: &[],
            slice_columns: &self.columns,
            serving: ServingNumbers { p99_ms: Some(0.4), model_bytes: Some(3_000_000), parity_max_abs: Some(0.0) },
            allow_inconclusive: false,
        }
    }

    fn run(&self, checks: &str) -> GateReport {
        gate(&file(checks), &self.input()).unwrap()
    }

    fn against(&self, champion: &[f64], checks: &str) -> GateReport {
        let champion = Some(Champion { name: "churn/2", predictions: champion });
        gate(&file(checks), &GateInput { champion, ..self.input() }).unwrap()
    }
}

fn file(checks: &str) -> GateFile {
    GateFile::parse(&format!("{checks}\n[gate]\nresamples = 200")).unwrap()
}

fn calibrated(n: usize) -> Case {
    Case::new(n, |_, truth| truth)
}

#[track_caller]
fn check(report: &GateReport, verdict: Verdict, exit_code: i32) {
    assert_eq!((report.verdict, report.exit_code()), (verdict, exit_code), "\n{}", report.to_text());
}

const AREA: &str = "[[floor]]\nmetric='roc_auc'\nmin=";
const LOSS: &str = "[[non_inferiority]]\nmetric='log_loss'\nmargin=";

#[test]
fn floors_and_ceilings_compare_bounds() {
    let case = calibrated(2000);
    let area = case.evaluation.get(Metric::RocAuc).unwrap();
    check(&case.run(&format!("{AREA}{}", area.low)), Verdict::Pass, 0);
    check(&case.run(&format!("{AREA}{}", area.value)), Verdict::Inconclusive, 4);
    check(&case.run(&format!("{AREA}{}", area.high)), Verdict::Inconclusive, 4);
    check(&case.run(&format!("{AREA}{}", area.high + 1e-9)), Verdict::Fail, 3);
    let loss = case.evaluation.get(Metric::LogLoss).unwrap();
    let ceiling = |max: f64| case.run(&format!("[[ceiling]]\nmetric='log_loss'\nmax={max}"));
    check(&ceiling(loss.high), Verdict::Pass, 0);
    check(&ceiling(loss.value), Verdict::Inconclusive, 4);
    check(&ceiling(loss.low - 1e-9), Verdict::Fail, 3);
}

#[test]
fn shuffled_labels_fail_the_floor_and_do_not_beat_the_base_rate() {
    let mut simulator = Simulator::new(22);
    let truths = simulator.truths(2000);
    // Predictions of other customers: what is left when labels are shuffled.
    let strangers = simulator.truths(2000);
    let rows = simulator.rows(&truths, |_, truth| truth).with_predictions(&strangers).unwrap();
    let case = Case::of(rows);
    check(&case.run(&format!("{AREA}0.6")), Verdict::Fail, 3);
    check(&case.run("[[beats]]\nmetric='log_loss'"), Verdict::Fail, 3);
    check(&calibrated(2000).run("[[beats]]\nmetric='log_loss'"), Verdict::Pass, 0);
    check(&calibrated(2000).run("[[beats]]\nmetric='calibration_slope'"), Verdict::Inconclusive, 4);
}

#[test]
fn a_model_is_not_inferior_to_its_equal_and_inferior_to_its_better() {
    let mut simulator = Simulator::new(23);
    let case = calibrated(3000);
    let mut noisy = |size: f64| -> Vec<f64> {
        case.rows.probability().iter().map(|p| sigmoid(log_odds(*p) + size * simulator.normal())).collect()
    };
    let (twin, worse) = (noisy(0.05), noisy(1.5));
    check(&case.against(&twin, &format!("{LOSS}0.005")), Verdict::Pass, 0);
    check(&case.against(&twin, &format!("{LOSS}0")), Verdict::Inconclusive, 4);
    check(&case.against(&worse, &format!("{LOSS}0")), Verdict::Pass, 0);
    let reversed = Case::of(case.rows.with_predictions(&worse).unwrap());
    check(&reversed.against(case.rows.probability(), &format!("{LOSS}0.005")), Verdict::Fail, 3);
}

#[test]
fn identical_predictions_pass_without_evidence() {
    let case = calibrated(40);
    let same = case.rows.probability().to_vec();
    let report = case.against(&same, &format!("{LOSS}0"));
    check(&report, Verdict::Pass, 0);
    assert_eq!(report.checks[0].note, "the predictions are identical on every row");
}

#[test]
fn an_equal_order_passes_for_metrics_of_order_only() {
    let case = calibrated(2000);
    let squeezed: Vec<f64> = case.rows.probability().iter().map(|p| 0.25 + p / 2.0).collect();
    check(&case.against(&squeezed, "[[non_inferiority]]\nmetric='roc_auc'\nmargin=0"), Verdict::Pass, 0);
    let slope = case.against(&squeezed, "[[non_inferiority]]\nmetric='calibration_slope'\nmargin=0");
    assert!(slope.checks[0].note.is_empty() && slope.checks[0].high > slope.checks[0].low);
}

#[test]
fn thin_evidence_never_passes() {
    let few = calibrated(100);
    assert!(few.rows.n_positives() < 30);
    let report = few.run(&format!("{AREA}0.01"));
    check(&report, Verdict::Inconclusive, 4);
    let expected =
        format!("{} positives and {} negatives; a verdict needs 30 of each", few.rows.n_positives(), few.rows.n_negatives());
    assert_eq!(report.checks[0].note, expected);
    // One number for everybody has an area of exactly one half in every resample.
    let constant = Case::of(calibrated(2000).rows.with_predictions(&[0.2; 2000]).unwrap());
    check(&constant.run(&format!("{AREA}0.5")), Verdict::Inconclusive, 4);
    check(&constant.run(&format!("{AREA}0.6")), Verdict::Fail, 3);
    let one_class = Case::of(Labelled::new(&[0.0; 50], &[0.1; 50], &[0; 50]).unwrap());
    check(&one_class.run(&format!("{AREA}0.5")), Verdict::Inconclusive, 4);
}

#[test]
fn allowing_the_inconclusive_is_recorded_and_does_not_cover_failures() {
    let case = calibrated(100);
    let allowed = |checks: &str| gate(&file(checks), &GateInput { allow_inconclusive: true, ..case.input() }).unwrap();
    let report = allowed(&format!("{AREA}0.01"));
    check(&report, Verdict::Inconclusive, 0);
    assert!(report.to_json().unwrap().contains("\"allow_inconclusive\": true"));
    assert!(report.to_junit().contains("errors=\"0\" skipped=\"1\""));
    check(&allowed("[[serving]]\np99_ms=0.1"), Verdict::Fail, 7);
}

#[test]
fn serving_limits_have_their_own_exit_code() {
    let case = calibrated(2000);
    check(&case.run("[[serving]]\np99_ms=0.4\nmodel_mb=3\nparity_max_abs=0"), Verdict::Pass, 0);
    check(&case.run("[[serving]]\nmodel_mb=2.9"), Verdict::Fail, 7);
    check(&case.run(&format!("{AREA}0.99\n[[serving]]\nmodel_mb=2.9")), Verdict::Fail, 3);
    let broken = ServingNumbers { parity_max_abs: Some(f64::NAN), ..ServingNumbers::default() };
    let report = gate(&file("[[serving]]\nparity_max_abs=1"), &GateInput { serving: broken, ..case.input() }).unwrap();
    check(&report, Verdict::Fail, 7);
    assert!(report.to_json().unwrap().contains("\"value\": null"));
}

#[test]
fn every_slice_is_judged_and_small_ones_are_named() {
    let case = calibrated(4000);
    let slice = |limit: &str| case.run(&format!("[[slice]]\nby=['plan', 'country']\nmetric='calibration_in_the_large'\n{limit}"));
    let report = slice("max_abs=0.05\nmin_positives=60");
    check(&report, Verdict::Pass, 0);
    let slices: Vec<_> = report.checks.iter().filter_map(|check| check.slice.as_deref()).collect();
    assert_eq!(slices, ["plan=gold, country=es", "plan=silver, country=es"]);
    assert!(
        report.checks[1].note.starts_with("not judged, fewer than 60 positives: 1 by plan, country (plan=gold, country=<li>)"),
        "{}",
        report.checks[1].note
    );
    check(&slice("max=-0.2"), Verdict::Fail, 3);
    check(&slice("max_abs=0.05\nmin_positives=2000"), Verdict::Inconclusive, 4);
}

#[test]
fn a_slice_that_is_off_fails_though_the_whole_is_right() {
    let case = calibrated(4000);
    let shifted = |row: usize, p: f64| (p + if row.is_multiple_of(2) { 0.1 } else { -0.1 }).clamp(0.0, 1.0);
    let skewed: Vec<f64> = case.rows.probability().iter().enumerate().map(|(row, p)| shifted(row, *p)).collect();
    let case = Case::of(case.rows.with_predictions(&skewed).unwrap());
    check(&case.run("[[slice]]\nby=['plan']\nmetric='calibration_in_the_large'\nmax_abs=0.05"), Verdict::Fail, 3);
    check(&case.run("[[ceiling]]\nmetric='calibration_in_the_large'\nmax=0.05"), Verdict::Pass, 0);
}

#[test]
fn what_is_missing_is_an_error_with_its_exit_code() {
    let case = calibrated(200);
    let fails = |checks: &str, change: &dyn Fn(&mut GateInput<'_>)| {
        let mut input = case.input();
        change(&mut input);
        let error = gate(&file(checks), &input).unwrap_err();
        (error.exit_code(), error.to_string())
    };
    assert_eq!(fails(&format!("{LOSS}0"), &|_| ()).0, 6);
    let short = Some(Champion { name: "churn/2", predictions: &[0.5] });
    let error = gate(&file(&format!("{LOSS}0")), &GateInput { champion: short, ..case.input() }).unwrap_err();
    assert!(matches!(error, GateError::Champion(_)) && error.exit_code() == 6);
    let other = fails("[[floor]]\nmodel='ltv'\nmetric='roc_auc'\nmin=0", &|_| ());
    assert_eq!(other, (2, "the check `floor roc_auc` is for the model `ltv`, and the model being gated is `churn`".to_owned()));
    assert_eq!(fails("[[beats]]\nmetric='roc_auc'", &|input| input.labelled = None).0, 2);
    assert_eq!(fails("[[beats]]\nmetric='roc_auc'", &|input| input.base_rate = None).0, 2);
    assert_eq!(fails("[[beats]]\nmetric='roc_auc'", &|input| input.base_rate = Some(f64::NAN)).0, 2);
    assert_eq!(fails("[[serving]]\np99_ms=1", &|input| input.serving = ServingNumbers::default()).0, 2);
    let slice = fails("[[slice]]\nby=['tier']\nmetric='ece_10'\nmax=1", &|_| ());
    assert_eq!(slice, (2, "[[slice]] needs the column `tier`, and the data has none of that name".to_owned()));
    let confidence = gate(&GateFile::parse(&format!("{AREA}0\n[gate]\nconfidence=0.9")).unwrap(), &case.input()).unwrap_err();
    assert_eq!(confidence, GateError::Confidence { found: 0.95, expected: 0.9 });
}

#[test]
fn a_report_says_what_the_data_could_have_shown() {
    let case = calibrated(2000);
    let report = case.run(&format!("{AREA}0.6"));
    let (check, area) = (&report.checks[0], case.evaluation.get(Metric::RocAuc).unwrap());
    let expected = (1.959_963_984_540_054 + 0.841_621_233_572_914_3) * area.standard_error;
    assert!((check.minimum_detectable_regression.unwrap() - expected).abs() < 1e-12);
    assert_eq!((check.n_positives, check.value), (Some(case.rows.n_positives()), Some(area.value)));
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(
        (&json["schema_version"], &json["exit_code"], &json["checks"][0]["verdict"]),
        (&1.into(), &0.into(), &"pass".into())
    );
}

#[test]
fn text_is_aligned() {
    let case = calibrated(2000);
    let text = case.run(&format!("{AREA}0.6\n[[floor]]\nmetric='average_precision'\nmin=0.99\n[[serving]]\np99_ms=1")).to_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "gate of churn/3: fail");
    let column = |line: &str, sign| line.chars().position(|letter| letter == sign);
    assert_eq!(column(lines[1], '['), column(lines[2], '['));
    assert_eq!((column(lines[1], '≥'), column(lines[3], '≤')), (column(lines[2], '≥'), column(lines[1], '≥')));
    assert!(lines[1].starts_with("  ✓ pass  floor roc_auc "), "{text}");
    assert!(lines[2].starts_with("  ✗ fail  floor average_precision "), "{text}");
}

#[test]
fn labels_cannot_break_out_of_a_report() {
    let mut case = calibrated(2000);
    for (row, label) in case.columns[0].labels.iter_mut().enumerate() {
        *label = if row % 2 == 0 { "a|b\"&'\u{0}\n<script>`*".to_owned() } else { "]]>".to_owned() };
    }
    let report = case.run("[[slice]]\nby=['plan']\nmetric='ece_10'\nmax=0.9");
    let (xml, table, text) = (report.to_junit(), report.to_markdown(), report.to_text());
    assert!(xml.contains("plan=a|b&quot;&amp;&apos;  &lt;script&gt;`*") && xml.contains("plan=]]&gt;"), "{xml}");
    assert!(!xml.contains('\u{0}') && xml.matches("<testcase ").count() == 2 && xml.ends_with("</testsuite>\n"));
    assert!(table.contains(r"plan=a\|b") && !table.contains("<script>"), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), 3);
    assert_eq!(text.lines().count(), 4, "{text}");
}

/// A gate of a model of values: 2,000 customers, predictions that know the mean.
fn value_case() -> (Labelled, Vec<f64>) {
    let mut simulator = Simulator::new(24);
    let means: Vec<f64> = (0..2000).map(|_| (0.7 * simulator.normal() + 1.0).exp()).collect();
    let actual: Vec<f64> = means.iter().map(|mean| -mean * (1.0 - simulator.uniform()).ln()).collect();
    let past: Vec<f64> = means.iter().map(|mean| mean * (1.5 * simulator.normal()).exp()).collect();
    (Labelled::values(&actual, &means, None, &(0..2000).collect::<Vec<_>>()).unwrap(), past)
}

fn judged(rows: &Labelled, past: &[PastColumn], base_rate: Option<f64>, checks: &str) -> Result<GateReport, GateError> {
    let file = file(checks);
    let evaluation = evaluate(rows, &file.needs().metrics, &file.bootstrap);
    let input = GateInput {
        model: "ltv",
        version: 1,
        evaluation: &evaluation,
        labelled: Some(rows),
        champion: None,
        base_rate,
        base_curve: None,
        past_columns: past,
        slice_columns: &[],
        serving: ServingNumbers::default(),
        allow_inconclusive: false,
    };
    gate(&file, &input)
}

#[test]
fn a_model_of_values_has_floors_and_beats_constant_and_past() {
    let (rows, past) = value_case();
    let past = [PastColumn { name: "spend_90d".to_owned(), predictions: past }];
    let run = |checks: &str| judged(&rows, &past, Some(3.5), checks);
    check(&run("[[floor]]\nmetric='normalized_gini'\nmin=0.3").unwrap(), Verdict::Pass, 0);
    check(&run("[[floor]]\nmetric='normalized_gini'\nmin=0.8").unwrap(), Verdict::Fail, 3);
    check(&run("[[ceiling]]\nmetric='decile_mape'\nmax=0.2").unwrap(), Verdict::Pass, 0);
    let both =
        run("[[beats]]\nmetric='mae'\nbaseline='constant'\n[[beats]]\nmetric='spearman'\nbaseline='past'\ncolumn='spend_90d'");
    let both = both.unwrap();
    check(&both, Verdict::Pass, 0);
    assert_eq!((both.checks[0].note.as_str(), both.checks[1].note.as_str()), ("", "against the column `spend_90d`"));
    let reversed = rows.with_predictions(&past[0].predictions).unwrap();
    let better = [PastColumn { name: "spend_90d".to_owned(), predictions: rows.predictions().to_vec() }];
    let beaten = judged(&reversed, &better, None, "[[beats]]\nmetric='spearman'\nbaseline='past'\ncolumn='spend_90d'").unwrap();
    check(&beaten, Verdict::Fail, 3);

    let few = rows.subset(&(0..25).collect::<Vec<_>>()).unwrap();
    let thin = judged(&few, &[], None, "[[floor]]\nmetric='normalized_gini'\nmin=-1").unwrap();
    check(&thin, Verdict::Inconclusive, 4);
    assert_eq!(thin.checks[0].note, "25 values above 0; a verdict needs 30");
}

#[test]
fn what_a_kind_does_not_have_is_named() {
    let (rows, _) = value_case();
    let error = judged(&rows, &[], None, "[[floor]]\nmetric='roc_auc'\nmin=0.8").unwrap_err();
    let expected = "the check `floor roc_auc` is not for a model of value outcomes, expected one of normalized_gini, spearman, \
                    decile_mape, total_bias, mae, rmse, poisson_d2, top_tenth_value, interval_coverage, interval_width";
    assert_eq!((error.to_string().as_str(), error.exit_code()), (expected, 2));
    let churn = calibrated(200);
    let error = gate(&file("[[slice]]\nby=['plan']\nmetric='uno_c'\nmin=0.5"), &churn.input()).unwrap_err();
    assert!(
        error.to_string().starts_with("the check `slice uno_c` is not for a model of binary outcomes, expected one of roc_auc, ")
    );

    let past = "[[beats]]\nmetric='mae'\nbaseline='past'\ncolumn='spend'";
    assert_eq!(judged(&rows, &[], None, past).unwrap_err(), GateError::NoPastColumn { column: "spend".to_owned() });
    let short = [PastColumn { name: "spend".to_owned(), predictions: vec![1.0] }];
    assert!(matches!(judged(&rows, &short, None, past).unwrap_err(), GateError::Past { .. }));
    assert_eq!(judged(&rows, &[], None, "[[beats]]\nmetric='mae'").unwrap_err(), GateError::NoBaseRate);
}

#[test]
fn a_survival_model_beats_kaplan_meier() {
    let mut simulator = Simulator::new(25);
    let (mut times, mut events, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..1500 {
        let hazard = (0.9 * simulator.normal() - 4.5).exp();
        let (event, lost) = (-simulator.uniform().ln() / hazard, 300.0 * simulator.uniform());
        times.push(event.min(lost));
        events.push(event <= lost);
        curves.extend([30.0, 60.0, 90.0].map(|day: f64| (-hazard * day).exp()));
    }
    let grid = [30.0, 60.0, 90.0];
    let rows = Labelled::survival(&times, &events, &grid, &curves, &(0..1500).collect::<Vec<_>>()).unwrap();
    let curve = kaplan_meier(&times, &events, &grid).unwrap();
    let checks = "[[floor]]\nmetric='uno_c'\nmin=0.6\n[[ceiling]]\nmetric='survival_ece_90d'\nmax=0.06\n\
                  [[beats]]\nmetric='integrated_brier'\nbaseline='kaplan_meier'";
    let file = file(checks);
    let evaluation = evaluate(&rows, &file.needs().metrics, &file.bootstrap);
    let churn = calibrated(200);
    let input = GateInput { evaluation: &evaluation, labelled: Some(&rows), slice_columns: &[], ..churn.input() };
    assert_eq!(gate(&file, &input).unwrap_err(), GateError::NoBaseRate);
    let report = gate(&file, &GateInput { base_curve: Some(&curve), ..input }).unwrap();
    check(&report, Verdict::Pass, 0);
}
