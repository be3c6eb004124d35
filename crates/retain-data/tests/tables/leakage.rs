use std::fmt::Write;
use std::path::PathBuf;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use retain_core::Day;
use retain_data::{
    Dataset, Finding, LeakReport, Severity, TableSource, Task, find_leaks, keep_together, read_training, stratified_folds,
};

use crate::support::{assert_contains, source, task_text};

const N_ROWS: usize = 1200;

/// One customer before it is written down.
struct Customer {
    row: usize,
    left: bool,
    /// Uniform on [0, 1), unlike every other draw of the row.
    chance: f64,
}

/// A table of customers with usage, tenure and a plan, of whom three in ten leave, those of short tenure rather; `more` writes the cells
/// of the columns in `names`.
fn table(names: &str, more: impl Fn(&Customer) -> String) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let mut csv = format!("id,usage,tenure,plan,{names},left\n");
    for row in 0..N_ROWS {
        let tenure: f64 = rng.random::<f64>() * 60.0;
        let left = rng.random::<f64>() < 0.5 - tenure / 150.0;
        let (usage, plan) = (rng.random::<f64>() * 100.0, ["basic", "plus", "pro"][rng.random_range(0..3)]);
        let cells = more(&Customer { row, left, chance: rng.random() });
        // Names in an order of their own.
        let name = (row * 7919) % 1201;
        writeln!(csv, "c{name},{usage:.2},{tenure:.1},{plan},{cells},{}", if left { "yes" } else { "no" }).unwrap();
    }
    csv
}

fn today() -> Day {
    Day::parse("2026-11-20").unwrap()
}

fn report_of(csv: &str, roles: &str) -> LeakReport {
    let task = Task::parse(&task_text(roles, "")).unwrap();
    let training = read_training(&source(csv), &task).unwrap();
    let report = find_leaks(&training.dataset, &task, today());
    assert_eq!(report, find_leaks(&training.dataset, &task, today()), "the same table gives the same report");
    report
}

fn report(names: &str, more: impl Fn(&Customer) -> String) -> LeakReport {
    report_of(&table(names, more), "entity = \"id\"")
}

#[track_caller]
fn found<'r>(report: &'r LeakReport, code: &str, severity: Severity, columns: &[&str]) -> &'r Finding {
    let finding = report.findings.iter().find(|finding| finding.code == code && finding.columns == columns);
    let finding = finding.unwrap_or_else(|| panic!("no `{code}` about {columns:?} in {:#?}", report.findings));
    assert_eq!(finding.severity, severity, "{finding:?}");
    for column in columns {
        assert_contains(&finding.to_string(), &[column]);
    }
    finding
}

#[track_caller]
fn nothing_found(report: &LeakReport) {
    assert!(report.findings.is_empty() && report.twins.groups.is_empty(), "{:#?}", report.findings);
}

/// Writes a cell.
type Cell = fn(&Customer) -> String;

/// The label, wrong once in a hundred.
fn noisy(customer: &Customer) -> bool {
    customer.left != (customer.chance < 0.01)
}

#[test]
fn an_ordinary_table_has_no_findings() {
    nothing_found(&report("region", |customer| ["north", "south"][customer.row % 2].to_owned()));
}

#[test]
fn a_copy_of_the_label_with_noise_is_certain_whatever_its_kind() {
    let copies: [(&str, Cell); 6] = [
        ("number", |customer| if noisy(customer) { "17.5" } else { "3" }.to_owned()),
        ("boolean", |customer| noisy(customer).to_string()),
        ("category", |customer| if noisy(customer) { "gold" } else { "silver" }.to_owned()),
        ("date", |customer| if noisy(customer) { "2026-01-31" } else { "2025-01-31" }.to_owned()),
        ("middle", |customer| if noisy(customer) { 5 } else { 1 + 8 * (customer.row % 2) }.to_string()),
        ("score", |customer| format!("{:.4}", f64::from(u8::from(noisy(customer))) + customer.chance * 0.9)),
    ];
    for (name, cell) in copies {
        let report = report(name, cell);
        let finding = found(&report, "leak_value", Severity::Certain, &[name]);
        assert!(finding.figure > 0.98 && finding.refuses(), "{finding:?}");
        assert_contains(&finding.to_string(), &["ROC AUC of 0.9", "`exclude`", &format!("allow = [\"{name}\"]")]);
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    }
}

#[test]
fn a_strong_honest_column_is_a_note_and_a_weak_one_nothing() {
    let with_overlap = |overlap: f64| {
        report("score", move |customer| format!("{:.4}", f64::from(u8::from(customer.left)) + customer.chance * overlap))
    };
    found(&with_overlap(1.7), "leak_value", Severity::Note, &["score"]);
    nothing_found(&with_overlap(4.0));
}

#[test]
fn being_filled_for_those_who_left_is_told_once() {
    let all = report("farewell", |customer| if customer.left { format!("{:.3}", customer.chance) } else { String::new() });
    assert!(found(&all, "leak_missing", Severity::Certain, &["farewell"]).figure > 0.99);
    assert_eq!(all.findings.len(), 1, "{:#?}", all.findings);
    // Filled for four in ten of those who left, and for nobody else.
    let some = report("farewell", |customer| {
        if customer.left && customer.chance < 0.4 { format!("{:.3}", customer.chance) } else { String::new() }
    });
    assert_contains(&found(&some, "leak_missing", Severity::Likely, &["farewell"]).message, &["has a value are positive"]);
    nothing_found(&report("visits", |customer| {
        if customer.chance < 0.4 { String::new() } else { format!("{:.3}", customer.chance * 7.0 % 1.0) }
    }));
}

#[test]
fn names_and_rows_in_the_order_of_the_label_are_found() {
    let csv = table("x", |customer| format!("{:.3}", customer.chance));
    let (header, lines) = csv.split_once('\n').unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_by_key(|line| line.ends_with("yes"));
    let numbered: String = lines.iter().enumerate().map(|(row, line)| format!("{row},{line}\n")).collect();
    let renamed = format!("number,{header}\n{numbered}");
    let by_name = report_of(&renamed, "entity = \"number\"\nexclude = [\"id\"]");
    assert!(found(&by_name, "leak_id", Severity::Certain, &["number"]).refuses());
    let by_row = report_of(&format!("{header}\n{}\n", lines.join("\n")), "entity = \"id\"");
    assert_contains(&found(&by_row, "leak_row_order", Severity::Likely, &[]).message, &["sorted by label"]);
}

#[test]
fn a_number_that_names_rows_is_noted() {
    let report = report("contract_no", |customer| ((customer.row * 7919) % 1201 + 10_000).to_string());
    found(&report, "leak_id", Severity::Note, &["contract_no"]);
}

#[test]
fn names_of_columns_are_read() {
    let report = report("refund_eur", |customer| format!("{:.3}", customer.chance));
    assert_contains(&found(&report, "leak_name", Severity::Note, &["refund_eur"]).message, &["speaks of leaving"]);
}

/// Ten monthly observations of 2025, and another date counted from them in days.
fn dated(customer: &Customer, days_ahead: f64) -> String {
    let observed = Day::parse("2025-01-31").unwrap().days() + 30.0 * (customer.row % 10) as f64;
    format!("{},{}", Day::from_days(observed), Day::from_days(observed + days_ahead))
}

const DATED: &str = "entity = \"id\"\nobserved_at = \"seen\"";

#[test]
fn dates_after_the_observation_are_told_from_plans() {
    let dates = |days_ahead: fn(&Customer) -> f64| {
        report_of(&table("seen,last_login", |customer| dated(customer, days_ahead(customer))), DATED)
    };
    // Extracted after the label: who stayed went on.
    let later = dates(|customer| if customer.left { -20.0 * customer.chance } else { 40.0 - 50.0 * customer.chance });
    let finding = found(&later, "leak_date", Severity::Certain, &["last_login"]);
    assert_contains(&finding.to_string(), &["dates after the observation in", "alone has a ROC AUC of 0.", "observed 2025-"]);
    found(&dates(|customer| 200.0 * customer.chance - 190.0), "leak_date", Severity::Certain, &["last_login"]);
    found(&dates(|customer| 200.0 * customer.chance - 196.0), "leak_date", Severity::Likely, &["last_login"]);
    // Some of these lie ahead of today: nobody recorded them, somebody planned them.
    found(&dates(|customer| 900.0 * customer.chance), "leak_date", Severity::Note, &["last_login"]);
    nothing_found(&dates(|customer| (-200.0 * customer.chance).floor()));
}

#[test]
fn observations_have_to_lie_before_today_and_span_the_horizon() {
    let observed = |first: &str, step: f64| {
        let first = Day::parse(first).unwrap().days();
        let cell = move |customer: &Customer| Day::from_days(first + step * (customer.row % 10) as f64).to_string();
        report_of(&table("seen", cell), DATED)
    };
    let finding = observed("2026-10-01", 10.0);
    let finding = found(&finding, "leak_future", Severity::Certain, &["seen"]);
    assert_contains(&finding.message, &["480 rows", "2026-12-30"]);
    assert_contains(
        &found(&observed("2026-02-01", 30.0), "leak_unfinished", Severity::Likely, &["seen"]).message,
        &["120 rows", "30 days"],
    );
    assert_contains(
        &found(&observed("2025-02-01", 2.0), "short_history", Severity::Likely, &["seen"]).message,
        &["spans 18 days"],
    );
    nothing_found(&observed("2025-02-01", 30.0));
}

#[test]
fn random_folds_that_flatter_are_told() {
    // In each month the customers of other regions leave, and the month stands in a column.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(8);
    let mut csv = "id,seen,index,usage,left\n".to_owned();
    for row in 0..6000 {
        let month = row % 12;
        let left = rng.random::<f64>() < [0.1, 0.7][usize::from(month % 3 == 0)];
        let seen = Day::from_days(20_000.0 + 30.0 * f64::from(month));
        writeln!(csv, "c{row},{seen},{},{:.3},{}", f64::from(month) * 1.25, rng.random::<f64>(), if left { "yes" } else { "no" })
            .unwrap();
    }
    let report = report_of(&csv, DATED);
    assert_contains(&found(&report, "leak_time", Severity::Likely, &["index"]).message, &["learned from earlier ones"]);
}

#[test]
fn the_same_customer_twice_on_a_day_is_told() {
    let csv = table("seen", |customer| dated(customer, 0.0).split_once(',').unwrap().0.to_owned());
    let twice: String = csv.lines().skip(1).take(40).map(|line| format!("{line}\n")).collect();
    let report = report_of(&(csv + &twice), DATED);
    assert_contains(
        &found(&report, "repeated_customer", Severity::Likely, &["id"]).message,
        &["80 rows are of 40 customers", "0 of them"],
    );
}

#[test]
fn what_the_task_allows_does_not_refuse() {
    let csv = table("cause", |customer| noisy(customer).to_string());
    let report = report_of(&csv, "entity = \"id\"\nallow = [\"cause\"]");
    let finding = found(&report, "leak_value", Severity::Certain, &["cause"]);
    assert!(finding.allowed && report.refusals().next().is_none());
    assert_contains(&report.warnings()[0].message, &["`cause`", "the task allows it"]);
    let task = Task::parse(&task_text("allow = [\"cuase\"]", "")).unwrap();
    let error = read_training(&source(csv), &task).unwrap_err().to_string();
    assert_contains(&error, &["`allow`", "`cuase`", "nearest", "`cause`"]);
    for roles in ["allow = [\"x\"]\nexclude = [\"x\"]", "allow = [\"left\"]"] {
        assert_contains(&Task::parse(&task_text(roles, "")).unwrap_err().to_string(), &["`allow`", "one of them only"]);
    }
}

#[test]
fn amounts_are_compared_by_rank() {
    let task = Task::parse(&task_text("entity = \"id\"", "")).unwrap();
    let csv = table("spend,half", |customer| {
        format!("{:.4},{:.4}", customer.chance, customer.chance + (customer.row % 97) as f64 / 97.0)
    });
    let mut dataset = read_training(&source(csv), &task).unwrap().dataset;
    dataset.schema.positive.clear();
    let spend = dataset.schema.feature_idx("spend").unwrap();
    dataset.target = dataset.columns[spend].iter().map(|value| value.powi(3) * 1000.0).collect();
    let report = find_leaks(&dataset, &task, today());
    let finding = found(&report, "leak_value", Severity::Certain, &["spend"]);
    assert!(finding.measure == "rank correlation" && finding.figure > 0.999, "{finding:?}");
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
}

#[test]
fn what_knows_whether_there_is_an_amount_or_how_long_somebody_stayed_is_found() {
    let mut csv = "id,luck,flag,size,spend\n".to_owned();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    for row in 0..2000 {
        let spend = if rng.random::<f64>() < 0.5 { 0.0 } else { rng.random_range(1.0..100.0) };
        let (flag, size) =
            (if spend > 0.0 { "bought" } else { "none" }, ["none", "small", "large"][(spend / 50.0_f64).ceil() as usize]);
        writeln!(csv, "c{row},{},{flag},{size},{spend:.2}", rng.random_range(0..1000)).unwrap();
    }
    let task = |kind: &str, roles: &str| {
        let text = format!(
            "[task]\nname = \"t\"\nkind = \"{kind}\"\ndefinition = \"d\"\nhorizon_days = 30\n[table]\nentity = \"id\"\n{roles}"
        );
        Task::parse(&text).unwrap()
    };
    let report = |csv: &str, task: &Task| find_leaks(&read_training(&source(csv), task).unwrap().dataset, task, today());
    let amounts = report(&csv, &task("ltv", "target = \"spend\""));
    assert_eq!(found(&amounts, "leak_value", Severity::Certain, &["flag"]).measure, "ROC AUC of any amount");
    assert!(amounts.findings.iter().all(|finding| !finding.columns.contains(&"luck".to_owned())), "{:#?}", amounts.findings);
    found(&amounts, "leak_value", Severity::Certain, &["size"]);

    let mut csv = "id,luck,bills,start,months,left\n".to_owned();
    for row in 0..2000 {
        let (months, left) = (rng.random_range(1..30), rng.random::<bool>());
        // Who is still there began so many months ago; when the others began says nothing of how long they stayed.
        let start = if left { rng.random_range(0..60) } else { months };
        writeln!(
            csv,
            "c{row},{},{},{start},{months},{}",
            rng.random_range(0..1000),
            months * 3 + row % 2,
            ["no", "yes"][usize::from(left)]
        )
        .unwrap();
    }
    let stays = report(&csv, &task("survival", "target = \"left\"\npositive = \"yes\"\nduration = \"months\""));
    found(&stays, "leak_value", Severity::Certain, &["bills"]);
    assert!(stays.findings.iter().all(|finding| !finding.columns.contains(&"start".to_owned())), "{:#?}", stays.findings);
}

/// A table without an entity of `n_rows` customers with six numbers, and the cells in which each row is written down.
fn telephone(n_rows: usize, seed: u64) -> Vec<[i64; 8]> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..n_rows)
        .map(|_| {
            let seconds = rng.random_range(0..16_000);
            let left = i64::from(rng.random::<f64>() < 0.3);
            let calls = seconds / 60 + rng.random_range(0..40);
            [
                rng.random_range(3..45),
                seconds,
                calls,
                rng.random_range(0..500),
                rng.random_range(0..90),
                rng.random_range(0..25),
                rng.random_range(1..3),
                left,
            ]
        })
        .collect()
}

fn telephone_dataset(rows: &[[i64; 8]]) -> (Task, Dataset) {
    let task = Task::parse(&task_text("", "")).unwrap();
    let mut csv = "months,seconds,calls,messages,numbers,failures,tariff,left\n".to_owned();
    for row in rows {
        let cells: Vec<String> = row[..7].iter().map(ToString::to_string).collect();
        writeln!(csv, "{},{}", cells.join(","), ["no", "yes"][row[7] as usize]).unwrap();
    }
    let dataset = read_training(&source(csv), &task).unwrap().dataset;
    (task, dataset)
}

#[test]
fn copies_with_amounts_added_are_found_and_kept_together() {
    let mut rows = telephone(500, 3);
    for (block, added) in [[2, 60, 3, 5, 2, 3, 0, 0], [-1, 20, -2, 10, 4, 1, 0, 0]].iter().enumerate() {
        for row in 0..500 - 100 * block {
            rows.push(std::array::from_fn(|column| rows[row][column] + added[column]));
        }
    }
    // In no order: copies do not stand one block after the other.
    let order: Vec<usize> = (0..1400).map(|row| (row * 997) % 1400).collect();
    let shuffled: Vec<[i64; 8]> = order.iter().map(|&row| rows[row]).collect();
    let (task, mut dataset) = telephone_dataset(&shuffled);
    let report = find_leaks(&dataset, &task, today());
    assert_eq!((report.twins.groups.len(), report.twins.n_rows(), report.twins.n_shifted), (500, 1400, 1400));
    for rows in &report.twins.groups {
        let original =
            |row: usize| [0, 500, 1000].into_iter().rev().find(|first| order[row] >= *first).map(|first| order[row] - first);
        assert!(rows.iter().all(|&row| original(row) == original(rows[0])), "{rows:?}");
    }
    keep_together(&mut dataset, &report.twins);
    assert_eq!(dataset.n_groups(), 500);
    let fold = stratified_folds(&dataset.target, &dataset.group, 5, 1).remove(0);
    let judged: std::collections::BTreeSet<usize> = fold.validate.iter().copied().collect();
    assert!(report.twins.groups.iter().all(|rows| rows.iter().all(|row| judged.contains(row) == judged.contains(&rows[0]))));
}

#[test]
fn equal_and_nearly_equal_rows_are_twins() {
    let mut rows = telephone(1000, 4);
    for row in 0..100 {
        rows.push(rows[row]);
        let mut near = rows[row + 200];
        (near[5], near[6]) = (near[5] + 1, 3 - near[6]);
        rows.push(near);
    }
    let (task, dataset) = telephone_dataset(&rows);
    let report = find_leaks(&dataset, &task, today());
    let (n_groups, n_rows) = (report.twins.groups.len(), report.twins.n_rows());
    // A few share too little that is rare.
    assert!(n_groups > 190 && n_rows == 2 * n_groups && report.twins.n_shifted == 0, "{:?}", report.twins);
    let original = |row: usize| if row < 1000 { row } else { (row - 1000) / 2 + 200 * (row % 2) };
    assert!(report.twins.groups.iter().all(|rows| original(rows[0]) == original(rows[1])), "{:?}", report.twins);
    let finding = found(&report, "leak_twins", Severity::Likely, &[]);
    assert_contains(&finding.to_string(), &[&format!("{n_rows} rows"), "(rows 1, 1001 for one)", "kept in one fold"]);
    let known = keep_together_and_search_again(dataset, &task, &report);
    assert!(known.twins.groups.is_empty(), "what is known to be one customer is not told again");
}

fn keep_together_and_search_again(mut dataset: Dataset, task: &Task, report: &LeakReport) -> LeakReport {
    keep_together(&mut dataset, &report.twins);
    find_leaks(&dataset, task, today())
}

#[test]
fn different_customers_are_no_twins_however_much_alike() {
    let (task, dataset) = telephone_dataset(&telephone(3000, 6));
    assert!(find_leaks(&dataset, &task, today()).twins.groups.is_empty());
    // Yes-or-no columns repeat by nature.
    nothing_found(&report("a,b,c,d,e", |customer| {
        (0..5).map(|bit| (customer.row >> bit & 1).to_string()).collect::<Vec<_>>().join(",")
    }));
    // One fact in many columns: half of the customers never call, and so have nothing in forty columns.
    let names: Vec<String> = (0..40).map(|column| format!("calls{column}")).collect();
    let mut csv = format!("id,region,{},left\n", names.join(","));
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
    for row in 0..2000 {
        let silent = rng.random::<bool>();
        let calls: Vec<String> =
            names.iter().map(|_| if silent { "0".to_owned() } else { rng.random_range(0..50).to_string() }).collect();
        writeln!(
            csv,
            "c{row},{},{},{}",
            rng.random_range(0..20),
            calls.join(","),
            ["no", "yes"][usize::from(rng.random::<f64>() < 0.3)]
        )
        .unwrap();
    }
    let report = report_of(&csv, "entity = \"id\"");
    assert!(report.twins.groups.is_empty(), "{:?}", report.findings);
}

/// Certain and likely findings of a public table, as `code columns`.
fn of_public_table(file: &str, roles: &str) -> Option<(Vec<String>, LeakReport)> {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder with the public churn tables");
        return None;
    };
    let text = format!("[task]\nname = \"t\"\nkind = \"churn\"\ndefinition = \"left\"\nhorizon_days = 30\n[table]\n{roles}");
    let task = Task::parse(&text).unwrap();
    let training = read_training(&TableSource::open(&folder.join(file)).unwrap(), &task).unwrap();
    let report = find_leaks(&training.dataset, &task, today());
    for finding in &report.findings {
        eprintln!("{file}: {} {finding}", finding.severity.as_str());
    }
    let serious = report.findings.iter().filter(|finding| finding.severity > Severity::Note);
    let told = serious.map(|finding| format!("{} {} {}", finding.severity.as_str(), finding.code, finding.columns.join(",")));
    Some((told.map(|told| told.trim().to_owned()).collect(), report))
}

#[test]
fn public_tables_have_the_leaks_they_are_known_for() {
    let cases: [(&str, &str, &[&str]); 8] = [
        ("telco_churn/telco_churn.csv", "entity = \"customerID\"\ntarget = \"Churn\"\npositive = \"Yes\"", &[]),
        ("bank_churn/bank_churn.csv", "entity = \"CustomerId\"\ntarget = \"Exited\"\npositive = 1\nexclude = [\"Surname\"]", &[]),
        ("mlc_churn/mlc_churn.csv", "target = \"churn\"\npositive = \"yes\"", &[]),
        ("saas_survival/saas_survival.csv", "target = \"churned\"\npositive = 1\nexclude = [\"months_active\"]", &[]),
        (
            "internet_service_churn/internet_service_churn.csv",
            "entity = \"id\"\ntarget = \"churn\"\npositive = 1",
            &["likely leak_missing download_avg", "likely leak_missing upload_avg"],
        ),
        (
            "sparkify_users/sparkify_users.csv",
            "entity = \"userId\"\ntarget = \"churn\"\npositive = 1",
            &["likely leak_row_order"],
        ),
        ("bank_marketing/bank_marketing.csv", "target = \"y\"\npositive = \"yes\"", &["likely leak_twins"]),
        (
            "telco_churn_v11/telco_churn_v11.csv",
            "entity = \"CustomerID\"\ntarget = \"Churn Label\"\npositive = \"Yes\"",
            &[
                "certain leak_value Churn Value",
                "certain leak_missing Churn Reason",
                "likely leak_name Churn Score",
                "likely leak_row_order",
            ],
        ),
    ];
    for (file, roles, expected) in cases {
        let Some((told, _)) = of_public_table(file, roles) else { return };
        assert_eq!(told, expected, "{file}");
    }
}

#[test]
fn the_insurance_table_repeats_its_customers() {
    let roles = "entity = \"Customer\"\ntarget = \"Response\"\npositive = \"Yes\"\nexclude = [\"Customer Lifetime Value\"]";
    let Some((_, report)) = of_public_table("ibm_clv/ibm_clv.csv", roles) else { return };
    // 218 customers stand there six times each.
    assert_eq!((report.twins.groups.len(), report.twins.n_rows()), (218, 1308));
}

#[test]
fn customers_of_equal_history_and_different_value_are_no_copies() {
    let mut rows = telephone(1000, 4);
    rows.extend_from_within(..100);
    let (task, mut dataset) = telephone_dataset(&rows);
    dataset.schema.positive.clear();
    let mut n_twins = |amount: fn(usize) -> usize| {
        dataset.target = (0..1100).map(|row| (amount(row) + 1) as f64).collect();
        find_leaks(&dataset, &task, today()).twins.n_rows()
    };
    let (copies, strangers) = (n_twins(|row| row % 1000), n_twins(|row| row));
    assert!(copies >= 190 && strangers == 0, "{copies} copies, {strangers} strangers");
}
