use std::fmt::Write;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use retain_core::Day;
use retain_data::{Finding, LeakReport, Severity, Task, find_leaks, read_training};

use crate::support::{assert_contains, source};

/// A customer of a randomised test before it is written down.
struct Customer {
    treated: bool,
    visit: bool,
    /// Uniform on [0, 1), unlike every other draw of the row.
    chance: f64,
}

impl Customer {
    /// Six in ten of those who came bought something.
    fn bought(&self) -> bool {
        self.visit && self.chance < 0.6
    }
}

/// A table in which a mail brings customers of any `x` by one in ten more often; `more` writes the cells of the columns in `names`.
fn table(n_rows: usize, seed: u64, names: &str, more: impl Fn(&Customer) -> String) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut csv = format!("x,plan,city,{names},sent,visit\n");
    for _ in 0..n_rows {
        let (x, plan, city): (f64, &str, u32) = (rng.random(), ["a", "b"][rng.random_range(0..2)], rng.random_range(0..300));
        let treated = rng.random::<f64>() < 0.5;
        let visit = rng.random::<f64>() < 0.05 + 0.15 * x + if treated { 0.1 } else { 0.0 };
        let shown = if x < 0.1 { String::new() } else { format!("{x:.4}") };
        let cells = more(&Customer { treated, visit, chance: rng.random() });
        writeln!(csv, "{shown},{plan},c{city},{cells},{},{}", if treated { "mail" } else { "none" }, u8::from(visit)).unwrap();
    }
    csv
}

fn report_of(csv: &str, roles: &str) -> LeakReport {
    let positive = if roles.contains("target") { "" } else { "target = \"visit\"\npositive = 1" };
    let text = format!(
        "[task]\nname = \"t\"\nkind = \"uplift\"\ndefinition = \"d\"\nhorizon_days = 30\n[table]\n{positive}\ntreatment = \"sent\"\n\
         control = \"none\"\n{roles}"
    );
    let task = Task::parse(&text).unwrap();
    let training = read_training(&source(csv), &task).unwrap();
    find_leaks(&training.dataset, &task, Day::parse("2026-11-20").unwrap())
}

/// The one finding that is no note.
#[track_caller]
fn only(report: &LeakReport, code: &str, severity: Severity) -> Finding {
    let findings: Vec<&Finding> = report.findings.iter().filter(|finding| finding.severity > Severity::Note).collect();
    let [finding] = &findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.code, finding.severity), (code, severity), "{finding:?}");
    (*finding).clone()
}

#[test]
fn another_outcome_is_certain_whatever_its_kind() {
    let outcomes: [fn(&Customer) -> String; 4] = [
        |customer| customer.bought().to_string(),
        |customer| if customer.bought() { format!("{:.2}", 5.0 + 90.0 * customer.chance) } else { "0".to_owned() },
        |customer| if customer.bought() { "paid" } else { ["seen", "left"][usize::from(customer.chance < 0.8)] }.to_owned(),
        // Days since the last purchase are the fewer, the surer.
        |customer| if customer.bought() { 3.0 } else { 20.0 + (customer.chance * 400.0).floor() }.to_string(),
    ];
    for write in outcomes {
        let report = report_of(&table(4_000, 1, "late", write), "");
        let finding = only(&report, "leak_outcome", Severity::Certain);
        assert!(finding.refuses() && finding.figure == 1.0, "{finding:?}");
        assert_contains(
            &finding.to_string(),
            &["`late` sets apart", "100.00 % have the same `visit`", "`exclude`", "allow = [\"late\"]"],
        );
    }
    // The treatment need not change it.
    let shuffled = |customer: &Customer| (customer.visit && customer.treated == (customer.chance < 0.5)).to_string();
    only(&report_of(&table(4_000, 1, "late", shuffled), ""), "leak_outcome", Severity::Certain);
    let allowed = report_of(&table(4_000, 1, "late", |customer| customer.bought().to_string()), "allow = [\"late\"]");
    assert!(allowed.refusals().next().is_none() && allowed.findings[0].allowed, "{:?}", allowed.findings);
}

#[test]
fn an_outcome_with_exceptions_is_likely_until_it_depends_on_the_treatment() {
    let with = |names: &str, of_treated: f64| {
        let bought = move |customer: &Customer| {
            let limit = if customer.treated { of_treated } else { 0.6 };
            (customer.visit && customer.chance < limit || customer.chance > 0.9995).to_string()
        };
        report_of(&table(8_000, 2, names, bought), "")
    };
    // As many of the treated: fewer of their visits, which are more.
    only(&with("late", 0.34), "leak_outcome", Severity::Likely);
    let finding = only(&with("late", 0.9), "leak_outcome", Severity::Certain);
    assert_contains(&finding.message, &["and it depends on the treatment"]);
}

#[test]
fn what_depends_on_the_treatment_is_certain_if_it_says_much_of_the_outcome() {
    let pages = |customer: &Customer| (customer.chance < if customer.visit { 0.9 } else { 0.05 }).to_string();
    let finding = only(&report_of(&table(6_000, 3, "pages", pages), ""), "leak_treatment", Severity::Certain);
    assert_contains(
        &finding.to_string(),
        &["`pages` depends on the treatment", "degrees of freedom) and says much about the outcome", "`exclude`"],
    );
    let opened = |customer: &Customer| (customer.treated && customer.chance < 0.4).to_string();
    let finding = only(&report_of(&table(6_000, 3, "opened", opened), ""), "leak_treatment", Severity::Likely);
    assert_contains(&finding.to_string(), &["`opened`", "or the treatment was given by it", "unless it was known before"]);
    // Of an amount, whether there is any is what counts.
    let spend = |customer: &Customer| {
        let amount = if customer.bought() { 10.0 + 1000.0 * customer.chance.powi(4) } else { 0.0 };
        format!("{},{amount:.2}", customer.visit)
    };
    let csv = table(6_000, 3, "came,spend", spend);
    let report = report_of(&csv, "target = \"spend\"\nexclude = [\"visit\"]");
    let came = report.findings.iter().find(|finding| finding.code == "leak_treatment").unwrap();
    assert!(came.refuses() && came.columns == ["came"], "{:#?}", report.findings);
}

#[test]
fn where_most_columns_depend_on_the_treatment_none_is_refused_for_it() {
    // Who had the treatment was chosen by how much was seen of them, which says much about their visits.
    let seen = |customer: &Customer| {
        let draw = |shift: f64| (customer.chance * shift) % 1.0;
        let seen = |shift: f64| {
            let often = u8::from(draw(shift) < if customer.visit { 0.85 } else { 0.1 });
            2 * often + u8::from(draw(7.0 * shift) < if customer.treated { 0.7 } else { 0.3 })
        };
        format!("{},{},{},{}", seen(1.0), seen(79.0), seen(1313.0), seen(9797.0))
    };
    let report = report_of(&table(6_000, 4, "a,b,c,d", seen), "");
    let of_treatment: Vec<&Finding> = report.findings.iter().filter(|finding| finding.code == "leak_treatment").collect();
    assert!(of_treatment.len() == 4 && report.refusals().next().is_none(), "{:#?}", report.findings);
    assert_contains(&of_treatment[0].message, &["was not left to chance"]);
}

#[test]
fn honest_columns_raise_no_alarm_in_a_hundred_tables() {
    for seed in 0..100 {
        let report = report_of(&table(1_000, 100 + seed, "luck", |customer| format!("{:.2}", customer.chance)), "");
        assert!(report.findings.is_empty(), "{seed}: {:#?}", report.findings);
    }
}

#[test]
fn customers_of_many_rows_count_once_and_logged_chances_may_depend_on_features() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
    let (mut visits, mut logged) = ("id,region,sent,visit\n".to_owned(), "region,sent,p,visit\n".to_owned());
    for customer in 0..300 {
        let (region, sent) = (rng.random_range(0..4), ["none", "mail"][rng.random_range(0..2)]);
        for _ in 0..20 {
            writeln!(visits, "c{customer},r{region},{sent},{}", rng.random_range(0..2)).unwrap();
            let mailed = rng.random::<f64>() < 0.2 + 0.2 * f64::from(region);
            let chance = if mailed { 2 + 2 * region } else { 8 - 2 * region };
            let sent = if mailed { "mail" } else { "none" };
            writeln!(logged, "r{region},{sent},0.{chance},{}", rng.random_range(0..2)).unwrap();
        }
    }
    let of_treatment = |report: LeakReport| report.findings.into_iter().find(|finding| finding.code == "leak_treatment");
    assert_eq!(of_treatment(report_of(&visits, "entity = \"id\"")), None);
    assert_eq!(of_treatment(report_of(&logged, "propensity = \"p\"")), None);
    assert!(of_treatment(report_of(&logged, "exclude = [\"p\"]")).is_some());
}
