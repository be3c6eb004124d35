use retain_core::{ColumnKind, Monotone};
use retain_data::Task;

use crate::support::{assert_contains, task_text};

const FULL: &str = r#"
[task]
name = "telco-churn"
kind = "churn"
definition = "left within the month after the snapshot"
horizon_days = 30
lead_days = 14

[table]
entity = "customerID"
target = "Churn"
positive = "Yes"
observed_at = "snapshot"
group = "household"
exclude = ["RowNumber"]

[columns.TotalCharges]
kind = "number"
missing = ["", " "]
monotone = "decreasing"

[train]
learners = ["boosting", "logistic"]
budget_seconds = 60
seed = 11

[value]
currency = "USD"
revenue = "MonthlyCharges"
"#;

#[test]
fn every_key_is_read() {
    let task = Task::parse(FULL).unwrap();
    assert_eq!((task.name.as_str(), task.horizon_days, task.lead_days), ("telco-churn", 30, 14));
    assert_eq!((task.table.entity.as_deref(), task.table.group.as_deref()), (Some("customerID"), Some("household")));
    assert_eq!((task.table.target.as_str(), task.table.positive[0].as_str()), ("Churn", "Yes"));
    assert_eq!((task.table.observed_at.as_deref(), task.table.exclude.len()), (Some("snapshot"), 1));
    let hint = &task.columns["TotalCharges"];
    assert_eq!((hint.kind, hint.monotone), (Some(ColumnKind::Number), Some(Monotone::Decreasing)));
    assert_eq!(hint.missing.as_deref(), Some(&[String::new(), " ".to_owned()][..]));
    assert_eq!((task.learners.join(" ").as_str(), task.budget_seconds, task.seed), ("boosting logistic", 60, 11));
    assert_eq!((task.value.currency.as_deref(), task.value.revenue.as_deref()), (Some("USD"), Some("MonthlyCharges")));
}

#[test]
fn what_is_not_said_has_its_default() {
    let task = Task::parse(&task_text("", "")).unwrap();
    assert_eq!(task.learners, ["logistic", "tree", "forest", "boosting"]);
    assert_eq!((task.budget_seconds, task.seed, task.lead_days), (120, 7, 0));
    assert!(task.table.entity.is_none() && task.columns.is_empty());
    assert_eq!(Task::parse(&FULL.replace("\"Yes\"", "1")).unwrap().table.positive, ["1"]);
}

#[test]
fn mistakes_are_told_with_line_and_remedy() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "horizon_days = 30",
            "horizn_days = 30",
            &["line 6", "unknown key `horizn_days` in [task]", "did you mean `horizon_days`?"],
        ),
        ("[train]", "[trian]", &["unknown key `trian` in the task file", "did you mean `train`?"]),
        ("[train]", "[zzzzzzzz]", &["known are `task`, `table`"]),
        ("monotone = ", "monoton = ", &["line 20", "in [columns.TotalCharges]", "did you mean `monotone`?"]),
        ("horizon_days = 30", "", &["[task] needs `horizon_days`"]),
        ("definition = \"left", "#", &["[task] needs `definition`", "in words"]),
        ("horizon_days = 30", "horizon_days = 0", &["line 6", "whole number from 1", "found `0`"]),
        ("horizon_days = 30", "horizon_days = 1.5", &["whole number", "found `1.5`"]),
        ("horizon_days = 30", "horizon_days = \"30\"", &["whole number", "found `30`"]),
        ("horizon_days = 30", "horizon_days = 99999999999999999999", &["whole number from 1"]),
        ("lead_days = 14", "lead_days = -1", &["line 7", "`lead_days` in [task]", "found `-1`"]),
        ("\"telco-churn\"", "\"Telco churn\"", &["`name` in [task]", "`a-z`, `0-9` and `-`", "`Telco churn`"]),
        ("\"churn\"", "\"uplift\"", &["[table] needs `treatment`", "which action was taken"]),
        ("\"churn\"", "\"chrun\"", &["`churn` (did you mean that?)", "found `chrun`"]),
        ("group = ", "treatment = ", &["line 14", "`treatment` in [table] is for uplift tasks only"]),
        ("group = ", "control = ", &["uplift tasks only"]),
        ("group = ", "duration = ", &["survival tasks only"]),
        ("target = \"Churn\"", "", &["[table] needs `target`"]),
        ("target = \"Churn\"", "target = \" \"", &["`target` in [table] should be a text that is not blank"]),
        ("positive = \"Yes\"", "", &["[table] needs `positive`"]),
        ("exclude = [\"RowNumber\"]", "exclude = \"RowNumber\"", &["`exclude` in [table] should be a list of texts"]),
        ("exclude = [\"RowNumber\"]", "exclude = [1]", &["found `1` in the list"]),
        ("\"RowNumber\"", "\"Churn\"", &["column `Churn` stands as `exclude` and as `target`"]),
        ("\"RowNumber\"", "\"TotalCharges\"", &["[columns.TotalCharges] describes a feature", "is not one"]),
        ("columns.TotalCharges", "columns.Churn", &["`Churn` is the target: only `missing`"]),
        ("kind = \"number\"", "kind = \"category\"", &["has no order"]),
        ("kind = \"number\"", "kind = \"numbr\"", &["line 18", "did you mean that", "found `numbr`"]),
        ("\"decreasing\"", "\"falling\"", &["one of `increasing`, `decreasing`"]),
        ("\"boosting\", ", "\"boostin\", ", &["line 23", "`boosting` (did you mean that?)"]),
        ("\"boosting\", ", "\"logistic\", ", &["`logistic` twice"]),
        ("[\"boosting\", \"logistic\"]", "[]", &["at least one learner"]),
        ("budget_seconds = 60", "budget_seconds = 0", &["whole number from 1"]),
        ("currency = ", "curency = ", &["in [value]", "did you mean `currency`?"]),
        ("[table]", "[table", &["line 9", "not valid TOML"]),
        ("seed = 11", "seed = 11\nseed = 12", &["line 26", "not valid TOML"]),
    ];
    for (old, new, expected) in cases {
        let text = FULL.replacen(old, new, 1);
        assert_ne!(text, FULL, "{old} is not in the file");
        assert_contains(&Task::parse(&text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn treatments_are_read_with_their_control() {
    let text = |table: &str| {
        format!(
            "[task]\nname = \"t\"\nkind = \"uplift\"\ndefinition = \"d\"\nhorizon_days = 30\n[table]\ntarget = \"visit\"\ntreatment = \"sent\"\n{table}"
        )
    };
    let task = Task::parse(&text("positive = 1\ncontrol = 0\ntreatments = [\"a\", \"b\"]\npropensity = \"p\"")).unwrap();
    let treatment = task.table.treatment.unwrap();
    assert_eq!((treatment.column.as_str(), treatment.control.as_str()), ("sent", "0"));
    assert_eq!((treatment.treatments, treatment.propensity.as_deref()), (vec!["a".to_owned(), "b".to_owned()], Some("p")));
    assert!(Task::parse(&text("control = 0")).unwrap().table.positive.is_empty());
    for (table, expected) in [
        ("", "[table] needs `control`"),
        ("control = 0\ntreatments = []", "at least one treatment"),
        ("control = \"a\"\ntreatments = [\"b\", \"a\"]", "without the control, found `a`"),
        ("control = 0\ntreatments = [\"b\", \"b\"]", "each treatment once"),
        ("control = 0\nexclude = [\"sent\"]", "column `sent` stands as `exclude` and as `treatment`"),
        ("control = 0\npropensity = \"visit\"", "column `visit` stands as `propensity` and as `target`"),
        ("control = 0\nduration = \"x\"", "survival tasks only"),
    ] {
        assert_contains(&Task::parse(&text(table)).unwrap_err().to_string(), &[expected]);
    }
}

#[test]
fn the_unit_of_durations_is_read_off_the_columns_name() {
    let unit_days = |column: &str, more: &str| {
        let text = format!(
            "[task]\nname = \"t\"\nkind = \"survival\"\ndefinition = \"d\"\nhorizon_days = 30\n\
             [table]\ntarget = \"left\"\npositive = 1\nduration = \"{column}\"\n{more}"
        );
        Task::parse(&text).unwrap().table.duration.unwrap().unit_days
    };
    for (column, days) in [
        ("tenure", 1.0),
        ("tenure_days", 1.0),
        ("Tenure in Months", 365.25 / 12.0),
        ("tenureMonths", 365.25 / 12.0),
        ("holiday_months", 365.25 / 12.0),
        ("holidayMonths", 365.25 / 12.0),
        ("months_since_payday", 365.25 / 12.0),
        ("weeks", 7.0),
        ("subscription_year", 365.25),
    ] {
        assert_eq!(unit_days(column, ""), days, "{column}");
    }
    assert_eq!(unit_days("tenure_months", "duration_unit = \"weeks\""), 7.0);
}
