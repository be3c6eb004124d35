//! Transaction logs: which columns and dates are read, what counts as what, and features of small logs worked out by hand.

use retain_core::Day;
use retain_data::{CustomerTable, DateFormat, LogOptions, PurchaseSummary, TableSource, TransactionError, TransactionLog};

fn read_with(csv: &str, options: &LogOptions) -> Result<TransactionLog, TransactionError> {
    TransactionLog::read(&TableSource::from_bytes("log.csv", csv.as_bytes().to_vec()).unwrap(), options)
}

fn read(csv: &str) -> TransactionLog {
    read_with(csv, &LogOptions::default()).unwrap()
}

#[track_caller]
fn refuse(csv: &str, parts: &[&str]) {
    let error = read_with(csv, &LogOptions::default()).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

fn day(iso: &str) -> Day {
    Day::parse(iso).unwrap()
}

/// A value by the name of its column.
fn feature(table: &CustomerTable<'_>, customer: usize, origin: usize, name: &str) -> f64 {
    let idx = table.feature_names().iter().position(|known| known == name).unwrap();
    table.features(&table.log().customers[customer], table.origins()[origin]).unwrap()[idx]
}

const LOG: &str = "order,Customer ID,OrderDate,amount,country\n\
    1,ann,2026-01-01,10,ES\n2,ann,2026-01-11,20,ES\n3,ann,2026-01-11,5,ES\n4,bob,2026-01-05,0,ES\n5,ann,2026-01-15,-4,ES\n\
    6,bob,2026-01-12,0,ES\n7,,2026-01-13,99,ES\n8,cy,2026-01-20,7,ES\n9,ann,2026-01-25,30,ES\n10,ann,2026-02-20,1,ES\n";

#[test]
fn columns_are_found_and_days_are_merged() {
    let log = read(LOG);
    assert_eq!((log.columns.customer, log.columns.date, log.columns.amount), (1, 2, 3));
    assert_eq!(log.customers.iter().map(|customer| customer.id.as_str()).collect::<Vec<_>>(), ["ann", "bob", "cy"]);
    assert_eq!(log.range, (day("2026-01-01"), day("2026-02-20")));
    let ann = &log.customers[0].days;
    assert_eq!((ann.len(), ann[1].n_rows, ann[1].paid, ann[2].is_purchase()), (5, 2, 25.0, false));
    assert_eq!((log.counts.n_rows, log.counts.n_refunds, log.counts.n_zero_amounts), (10, 1, 2));
    assert_eq!(log.counts.left_out(), "1 without customer (rows 7)");
}

#[test]
fn features_are_what_was_known_on_the_day() {
    let log = read(LOG);
    let table = CustomerTable::new(&log, day("2026-01-20"), 31, 0, 1).unwrap();
    let expected = [
        ("frequency", 1.0),
        ("recency_days", 10.0),
        ("t_days", 19.0),
        ("days_since_last", 9.0),
        ("monetary", 25.0),
        ("total_spend", 31.0),
        ("total_refunds", 4.0),
        ("mean_amount", 17.5),
        ("max_amount", 25.0),
        ("first_amount", 10.0),
        ("last_amount", 25.0),
        ("rows_per_purchase", 1.5),
        ("days_between_mean", 10.0),
        ("overdue_ratio", 0.9),
        ("purchases_7d", 0.0),
        ("spend_7d", -4.0),
    ];
    for (name, value) in expected {
        assert_eq!(feature(&table, 0, 0, name), value, "{name}");
    }
    assert!(feature(&table, 0, 0, "days_between_sd").is_nan());
    // The log reaches 20 days back, so there is no window of 28.
    assert!(!table.feature_names().iter().any(|name| name.contains("28d")));
    // Amounts of zero are purchases, and no part of a mean amount.
    let bob = PurchaseSummary::of(&log.customers[1], table.origins()[0]).unwrap();
    assert_eq!((bob.frequency, bob.recency_days, bob.n_paid_repeats, bob.monetary), (1, 7, 0, None));
    // The day of the observation is known; the horizon begins after it, and its last day belongs to it.
    assert_eq!(PurchaseSummary::of(&log.customers[2], table.origins()[0]).unwrap().t_days, 0);
    let outcome = table.outcome(&log.customers[0], table.origins()[0]);
    assert_eq!((outcome.value, outcome.purchases, table.has_outcomes(table.origins()[0])), (31.0, 2, true));
}

#[test]
fn a_customer_has_rows_from_the_first_purchase_on() {
    let log = read(LOG);
    let table = CustomerTable::new(&log, day("2026-01-20"), 20, 10, 2).unwrap();
    assert_eq!(table.origins(), [day("2026-01-10").days() as i32, day("2026-01-20").days() as i32]);
    assert!(table.features(&log.customers[2], table.origins()[0]).is_none());
    assert_eq!((feature(&table, 0, 0, "frequency"), feature(&table, 0, 1, "frequency")), (0.0, 1.0));
    assert_eq!((table.summaries(table.origins()[0]).len(), table.summaries(table.origins()[1]).len()), (2, 3));
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let mut rows: Vec<String> =
        (0..900).map(|n| format!("c{},2026-{:02}-{:02},{}", n % 2, 1 + n % 9, 1 + (n * 7) % 28, n % 5)).collect();
    let log = |rows: &[String]| read(&format!("customer,date,amount\n{}\n", rows.join("\n")));
    let forwards = log(&rows).customers;
    rows.reverse();
    let mut backwards = log(&rows).customers;
    backwards.sort_by(|x, y| x.id.cmp(&y.id));
    assert_eq!(forwards, backwards);
    assert!(forwards.iter().all(|customer| customer.days.windows(2).all(|pair| pair[0].day < pair[1].day)));
}

#[test]
fn date_formats_are_settled_over_all_rows() {
    let log = |dates: [&str; 3]| dates.iter().fold("customer,date,amount\n".to_owned(), |csv, date| format!("{csv}a,{date},1\n"));
    for (dates, format) in [
        (["19970101", "19970102", "19971231"], DateFormat::Compact),
        (["1/2/2010 8:26", "3/4/2010 9:00", "31/12/2010 10:00"], DateFormat::DayFirst),
        (["1/2/2010", "3/4/2010", "12/31/2010"], DateFormat::MonthFirst),
        (["2010-01-02T10:00:00Z", "2010-01-02", "2010-01-02 10:00"], DateFormat::Iso),
        (["2010/1/2", "2010/01/03", "2010.12.31"], DateFormat::YearFirst),
    ] {
        assert_eq!(read(&log(dates)).date_format, format);
    }
    refuse(&log(["1/2/2010", "3/4/2010", "5/6/2010"]), &["day first or month first", "`1/2/2010`", "--date-format"]);
    refuse(&log(["2010-01-02", "31/12/2010", "20101231"]), &["`2010-01-02`", "row 2 has `31/12/2010`", "`yyyymmdd`"]);
    refuse(&log(["13/2/2010", "2/13/2010", "1/1/2010"]), &["`13/2/2010`", "row 2 has `2/13/2010`"]);
    let stated = LogOptions { date_format: Some(DateFormat::MonthFirst), ..LogOptions::default() };
    let read = read_with(&log(["1/2/2010", "3/4/2010", "5/6/2010"]), &stated).unwrap();
    assert_eq!(read.range, (day("2010-01-02"), day("2010-05-06")));
    let wrong = read_with(&log(["1/2/2010", "13/4/2010", "5/6/2010"]), &stated).unwrap_err().to_string();
    assert!(wrong.contains("row 2 has `13/4/2010`") && wrong.contains("expected one of `mm/dd/yyyy`"), "{wrong}");
}

#[test]
fn columns_that_could_be_several_are_asked_for() {
    refuse(
        "customer,user_id,date,amount\na,b,2026-01-01,1\n",
        &["2 columns could be the customer", "`customer`, `user_id`", "--customer"],
    );
    refuse(
        "customer,date,quantity,price\na,2026-01-01,1,2\n",
        &["2 columns could be the amount", "`quantity`, `price`", "--amount"],
    );
    refuse("customer,when,amount\na,soon,1\n", &["none of the columns could be the date", "--date"]);
    let same = LogOptions { customer: Some("date".into()), date: Some("date".into()), ..LogOptions::default() };
    let error = read_with("customer,date,amount\na,2026-01-01,1\n", &same).unwrap_err().to_string();
    assert!(error.contains("`date` is both"), "{error}");
    let unknown = LogOptions { amount: Some("total".into()), ..LogOptions::default() };
    let error = read_with("customer,date,amount\na,2026-01-01,1\n", &unknown).unwrap_err().to_string();
    assert!(error.contains("--amount names `total`") && error.contains("`amount`"), "{error}");
}

#[test]
fn cells_that_cannot_be_read_are_named() {
    let rows = "a,2026-01-01,1\n".repeat(30);
    refuse(&format!("customer,date,amount\n{rows}a,2026-01-02,ten\n"), &["row 31: column `amount`", "`ten`"]);
    refuse(&format!("customer,date,amount\n{rows}a,2026-01-02,1e300\n"), &["row 31: column `amount`", "1e15"]);
    refuse("customer,date,amount\n,2026-01-01,1\nNA,2026-01-02,2\n", &["2 rows", "2 without customer (rows 1, 2)"]);
}

#[test]
fn dates_outside_the_log_are_refused() {
    let log = read(LOG);
    let refusal = |date: &str, every, n| CustomerTable::new(&log, day(date), 30, every, n).unwrap_err().to_string();
    assert!(refusal("2025-12-31", 0, 1).contains("nobody bought on or before 2025-12-31"));
    assert!(refusal("2026-01-20", 30, 5).contains("nobody bought on or before 2025-09-22"));
    assert!(refusal("2030-01-01", 0, 1).contains("1411 days before"));
    let refunds = read("customer,date,amount\na,2026-01-01,-1\nb,2026-01-02,-2\n");
    let error = CustomerTable::new(&refunds, day("2026-01-02"), 30, 0, 1).unwrap_err().to_string();
    assert!(error.contains("no purchase: all 2 usable rows"), "{error}");
    assert!(CustomerTable::new(&log, day("2026-03-01"), 30, 0, 1).is_ok_and(|table| table.silent_days() == 9));
    assert!(CustomerTable::new(&log, Day::from_days(-1e18), 30, 0, 1).is_err());
    assert!(CustomerTable::new(&log, Day::from_days(1e18), u32::MAX, u32::MAX, u32::MAX).is_err());
}
