//! The files under `deploy/`: their settings are read as a server reads them.

use std::path::Path;

use retain_core::Day;
use retain_server::{Config, Scope};

const SAMPLE: &str = include_str!("../../deploy/server.toml");
const CONFIG_MAP: &str = include_str!("../../deploy/kubernetes/config-map.yaml");
const DEPLOYMENT: &str = include_str!("../../deploy/kubernetes/deployment.yaml");
const UNIT: &str = include_str!("../../deploy/retain.service");

fn parse(text: &str) -> Config {
    Config::parse(text, || Day::from_days(0.0)).unwrap()
}

fn joined<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines below a key of the form `key: |`, without their indentation.
fn block(yaml: &str, key: &str) -> String {
    let mut lines = yaml.lines().skip_while(|line| line.trim() != format!("{key}: |"));
    let indentation = lines.next().unwrap().find(key).unwrap() + 2;
    let inside = lines.take_while(|line| line.trim().is_empty() || line.chars().take(indentation).all(|letter| letter == ' '));
    joined(inside.map(|line| line.get(indentation..).unwrap_or_default()))
}

/// The number behind a word.
fn number(text: &str, word: &str) -> u64 {
    let (_, rest) = text.split_once(word).unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn the_sample_settings_are_read() {
    let config = parse(SAMPLE);
    assert_eq!(
        (config.listen.to_string().as_str(), config.models.as_path()),
        ("0.0.0.0:50051", Path::new("/var/lib/retain/models"))
    );
    let scopes: Vec<_> = config.api_keys.iter().map(|key| key.scopes.as_slice()).collect();
    assert_eq!(scopes, [&[Scope::Predict][..], &[Scope::Predict, Scope::Admin]]);
    assert!(config.tls.is_none() && !config.allow_unprotected);
}

#[test]
fn what_the_sample_says_of_defaults_is_so() {
    let (limits, tables) = SAMPLE.split_once("# [tls]").unwrap();
    let is_setting = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let uncommented = |text: &str| joined(text.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting));
    let text = uncommented(limits);
    assert!(text.lines().count() >= 10, "{text}");
    let (sample, default) = (parse(&text), Config::new(Path::new("models"), || Day::from_days(0.0)));
    assert_eq!(format!("{:?}", Config { now: default.now, ..sample }), format!("{default:?}"));
    let is_table = |line: &&str| line.starts_with('[') || is_setting(line);
    let tables = joined(tables.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_table));
    let config = parse(&format!("[tls]\n{tables}"));
    assert!(config.tls.unwrap().client_ca.is_some() && config.jwt.is_some() && config.features.is_some());
    assert!(config.traffic != default.traffic && config.prediction_log.is_some() && config.traces.is_some());
}

#[test]
fn the_settings_of_the_config_map_are_read() {
    let text = block(CONFIG_MAP, "server.toml");
    let config = parse(&text);
    assert_eq!((config.listen.port(), config.api_keys.len(), config.drain_seconds), (50_051, 1, 20));
    let tls = joined(text.lines().skip_while(|line| *line != "# [tls]").map(|line| line.trim_start_matches("# ")));
    assert!(parse(&tls).tls.is_some());
}

#[test]
fn whoever_stops_a_server_waits_longer_than_it_drains() {
    let ends_after = |config: Config| config.grace_seconds + config.drain_seconds;
    let drain = [ends_after(parse(SAMPLE)), ends_after(parse(&block(CONFIG_MAP, "server.toml")))];
    assert!(drain.iter().all(|drain| number(UNIT, "TimeoutStopSec=") > drain + 1));
    assert!(drain.iter().all(|drain| number(DEPLOYMENT, "terminationGracePeriodSeconds: ") > drain + 1));
}
