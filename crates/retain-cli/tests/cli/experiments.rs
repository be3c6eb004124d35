//! Experiments planned and read, through the whole process.

use std::fmt::Write;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::support::{Folder, retain, retain_with_input};

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_plan_and_the_effect_it_shows_are_inverse() {
    let plan = |more: &[&str]| retain(&[&["experiment", "plan", "--format", "json"], more].concat()).expect(0).json();
    let needed = plan(&["--base-rate", "0.2", "--effect", "0.02", "--per-day", "500"]);
    // The usual table for 20 % against 22 % has 6510 in each arm.
    assert_eq!((number(&needed["customers"][0]), number(&needed["customers"][1])), (6510.0, 6510.0));
    assert_eq!(needed["days"], 27);
    let shown = plan(&["--base-rate", "0.2", "--customers", &needed["total"].to_string()]);
    assert!((number(&shown["detectable_effect"]) - 0.02).abs() < 1e-5, "{shown}");
    let adjusted = plan(&["--base-rate", "0.2", "--effect", "0.02", "--correlation", "0.6"]);
    assert!((number(&adjusted["total"]) / 13_020.0 - 0.64).abs() < 1e-3, "{adjusted}");
    let three = plan(&["--sd", "40", "--mean", "100", "--effect", "-5", "--arms", "3", "--share", "0.5"]);
    let arms: Vec<f64> = three["customers"].as_array().unwrap().iter().map(number).collect();
    assert!(arms.len() == 3 && (arms[0] / arms[1] - 2.0).abs() < 0.01 && arms[1] == arms[2], "{three}");
    let text = retain(&["experiment", "plan", "--sd", "40", "--mean", "100", "--effect", "5"]).expect(0).stdout;
    assert!(text.contains("from 100 to 105.0000, +5.00 %"), "{text}");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let plan = |more: &[&str]| retain(&[&["experiment", "plan"], more].concat());
    plan(&[]).expect(2);
    plan(&["--base-rate", "0.2"]).expect(2).says("--effect");
    plan(&["--base-rate", "1.2", "--effect", "0.1"]).expect(2).says("the base rate should be between 0 and 1");
    plan(&["--base-rate", "0.2", "--effect", "0"]).expect(2).says("the effect should be a number other than 0");
    plan(&["--base-rate", "0.2", "--effect", "0.9"]).expect(2);
    plan(&["--base-rate", "0.2", "--effect", "1e-9"]).expect(2).says("no number of customers");
    plan(&["--base-rate", "0.2", "--effect", "0.1", "--power", "0.2"]).expect(2).says("power");
    plan(&["--base-rate", "0.2", "--sd", "3", "--effect", "0.1"]).expect(2);
    plan(&["--base-rate", "0.2", "--effect", "0.1", "--arms", "1"]).expect(2);
    plan(&["--base-rate", "0.2", "--effect", "0.1", "--share", "1.5"]).expect(2).says("share");
    plan(&["--base-rate", "0.2", "--effect", "0.1", "--per-day", "0"]).expect(2).says("customers per day");
}

/// Rows of arms with these rates; `before` says much of what an arm does not.
fn table(arms: &[(&str, f64, usize)]) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(8);
    let mut csv = "id,arm,stayed,spent,before\n".to_owned();
    for &(arm, rate, n_rows) in arms {
        for row in 0..n_rows {
            let stayed = rng.random::<f64>() < rate;
            let before = 100.0 * rng.random::<f64>();
            let spent = before + 20.0 * rate + 10.0 * rng.random::<f64>();
            writeln!(csv, "{arm}{row},{arm},{},{spent:.3},{before:.3}", if stayed { "stayed" } else { "left" }).unwrap();
        }
    }
    csv
}

const READ: [&str; 6] = ["experiment", "read", "--arm", "arm", "--control", "none"];

#[test]
fn an_arm_that_is_better_or_worse_is_seen() {
    let folder = Folder::new();
    let data = folder.file("x.csv", table(&[("none", 0.5, 1000), ("mail", 0.52, 1000), ("gift", 0.65, 1000)]));
    let outcome = ["--outcome", "stayed", "--positive", "stayed", "--customer", "id"];
    let read = |control: &str, more: &[&str]| {
        let start = ["experiment", "read", "--data", &data, "--arm", "arm", "--control", control];
        retain(&[&start[..], &outcome, more].concat())
    };
    let better = read("none", &["--format", "json"]).expect(0).json();
    assert_eq!(better["method"], "newcombe");
    let gift = better["comparisons"].as_array().unwrap().iter().find(|comparison| comparison["arm"] == "gift").unwrap();
    assert_eq!(gift["verdict"], "better");
    assert!(number(&gift["low"]) < 0.15 && number(&gift["high"]) > 0.15, "{gift}");
    let worse = read("gift", &[]).expect(3).stdout;
    assert!(worse.contains("worse") && worse.contains("p (Holm)") && !worse.contains("better"), "{worse}");
    let shares = ["--expected-share", "none=0.6,mail=0.2,gift=0.2"];
    let mismatch = read("none", &shares).expect(4).says("warning[sample_ratio]");
    assert!(mismatch.stdout.contains("there is no verdict"), "{}", mismatch.stdout);
    let quiet = read("none", &["--quiet"]).expect(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_covariate_shows_what_would_be_lost_in_the_noise() {
    let data = table(&[("none", 0.5, 100), ("gift", 0.7, 100)]);
    let read = |more: &[&str], code: i32| {
        let start = ["--data", "-", "--outcome", "spent", "--customer", "id", "--format", "json"];
        retain_with_input(&[&READ[..], &start, more].concat(), data.as_bytes()).expect(code).json()
    };
    assert_eq!(read(&[], 4)["method"], "welch");
    let adjusted = read(&["--covariate", "before"], 0);
    assert_eq!(adjusted["method"], "adjusted_welch");
    let difference = &adjusted["comparisons"][0];
    assert!(number(&difference["low"]) < 4.0 && number(&difference["high"]) > 4.0, "{difference}");
}

#[test]
fn experiments_that_cannot_be_read_are_refused() {
    let folder = Folder::new();
    let data = folder.file("x.csv", table(&[("none", 0.5, 40), ("gift", 0.6, 40), ("rare", 0.6, 1)]));
    let read = |more: &[&str]| retain(&[&READ[..], &["--data", &data], more].concat());
    let words = ["--outcome", "stayed"];
    read(&words).expect(5).says("row 1: `stayed` should be a number, or yes and no, found");
    read(&[&words[..], &["--positive", "here"]].concat()).expect(5).says("it has `");
    read(&["--outcome", "spend"]).expect(2).says("did you mean `spent`?");
    read(&["--outcome", "spent"]).expect(5).says("arm `rare` should have at least two customers, found 1");
    read(&["--outcome", "spent", "--expected-share", "none=0.5,gift=0.5"]).expect(2).says("no share of `rare`");
    read(&["--outcome", "spent", "--expected-share", "none=0.5,gift=0.2,rare=0.2"]).expect(2).says("and not to 1");
    read(&["--outcome", "spent", "--expected-share", "none"]).expect(2);
    read(&["--outcome", "spent", "--confidence", "1"]).expect(2).says("--confidence");
    let start = ["experiment", "read", "--data", &data, "--outcome", "spent"];
    retain(&[&start[..], &["--arm", "arm", "--control", "nobody"]].concat()).expect(5).says("the other arms are `none`");
    retain(&[&start[..], &["--arm", "before", "--control", "none"]].concat()).expect(5);
    let twice = folder.file("twice.csv", "id,arm,spent\na,none,1\nb,none,2\na,gift,3\nc,gift,4\n");
    let twice = ["--data", &twice, "--outcome", "spent", "--customer", "id"];
    retain(&[&READ[..], &twice].concat()).expect(5).says("row 3: a customer of arm `gift` was in arm `none` before");
}
