//! What the server is told before it starts: `server.toml`, read and checked.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use retain_core::{Day, nearest};
use serde::Deserialize;

#[cfg(doc)]
use crate::api_keys::Scope;
use crate::api_keys::{ApiKey, check_keys};
use crate::customers::FeatureTable;
use crate::decisions::DecisionSettings;
use crate::jwt::Jwt;
use crate::prediction_log::PredictionLogSettings;
use crate::tls::TlsFiles;
use crate::traces::Traces;
use crate::traffic::Traffic;

/// The settings of one server. Start from [`Config::new`] or [`Config::parse`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one. Default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// The folder of published models, or in builds with the feature `object-store` an address such as `s3://bucket/prefix`. Default
    /// `models`, in the working directory.
    pub models: PathBuf,
    /// Where models from an object store are copied to; a server that begins again finds them there. Default: a new folder among the
    /// system's temporary ones, removed at the end.
    pub models_cache: Option<PathBuf>,
    /// Seconds between two looks at the models; what has changed is taken up. 0: only a reload looks. Default 5.
    pub models_check_seconds: u64,
    /// Which customers the challengers answer.
    pub traffic: Traffic,
    /// Where predictions are logged, with customers' identifiers and values; without it they are not.
    pub prediction_log: Option<PredictionLogSettings>,
    /// Largest request in bytes of all calls but `PredictBatch`, and of each message of a stream. Default 1 MiB, 10,000 features of a hundred bytes each; as many as are in flight
    /// may be half read.
    pub max_message_bytes: usize,
    /// Largest `PredictBatch` request in bytes. Default 16 MiB: 10,000 rows of 200 numbers. As many as are in flight are held as they
    /// came; as many as there are processors are decoded, where short texts take some seven times their bytes. A message that would take
    /// more than eight times this limit is refused.
    pub max_batch_bytes: usize,
    /// Most rows in one `PredictBatch` or `ModelInfer`. Default 10,000.
    pub max_batch_rows: usize,
    /// Most features in one request, known or not. Default 10,000.
    pub max_features: usize,
    /// Most connections at once; more wait until one ends. Each is an open file. Default 900: systems often allow a process 1,024 files.
    pub max_connections: usize,
    /// Most `Predict`, `Explain` and `ModelInfer` calls in flight; one more is refused with `RESOURCE_EXHAUSTED` before its body is read. Default 1,024.
    pub max_in_flight: usize,
    /// Most `PredictBatch`, `WhatIf`, and `ModelInfer` calls of more than 256 rows in flight, until their answers have been sent; as many are worked on as there are processors.
    /// Default 4.
    pub max_batches_in_flight: usize,
    /// Most `PredictStream` calls that are open. Default 64.
    pub max_streams: usize,
    /// Longest that one call may take, reading its request included; as long again may the sending of a large answer. Default 30 seconds.
    pub request_seconds: u64,
    /// How long the server goes on taking calls after it was told to stop, while health says that it will not: as long as load balancers
    /// and clients need to hear it. Default 5 seconds; [`crate::Stop::Now`] does without.
    pub grace_seconds: u64,
    /// Longest that calls in flight may take after that. Default 20 seconds.
    pub drain_seconds: u64,
    /// Whether the server describes its API to tools such as `grpcurl`. Default true.
    pub reflection: bool,
    /// What encrypts connections; without it they are plain.
    pub tls: Option<TlsFiles>,
    /// Whose tokens are taken in the place of keys.
    pub jwt: Option<Jwt>,
    /// Address and port for Prometheus and HTTP probes: `/metrics`, `/livez`, `/readyz`. Default: none.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces of calls go. Default: nowhere.
    pub traces: Option<Traces>,
    /// Who may call; without any key or token, everybody who can connect may call everything, [`Scope::Admin`] included.
    pub api_keys: Vec<ApiKey>,
    /// Whether the server may listen beyond loopback without a key or token, or a certificate asked of clients. Default false.
    pub allow_unprotected: bool,
    /// Where the features of customers are that calls name by their id; without it calls bring all features.
    pub features: Option<FeatureTable>,
    /// What is recommended to customers and where decisions are kept; without it only predictions are answered.
    pub decisions: Option<DecisionSettings>,
    /// What day it is, for requests that do not say when their features were known.
    pub now: fn() -> Day,
}

/// What is wrong with `server.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, or a value of another type than the key's.
    #[error("the server file: {message}")]
    Syntax {
        /// Where and what.
        message: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}` in the server file{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// A key like it.
        nearest: Option<String>,
    },
    /// A variable of the environment that means nothing.
    #[error("unknown variable `{name}`: it should be `RETAIN__` and a key, with `__` before a key within another; {}", hint(None).trim_start_matches("; "))]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A value of another type than the key's, in a variable.
    #[error("the server file with {names} of the environment: {message}")]
    Variables {
        /// The variables that are set.
        names: String,
        /// What is wrong.
        message: String,
    },
    /// A value that cannot be.
    #[error("`{key}` should be {expected}, found `{found}`")]
    Value {
        /// The key.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; known are {}", KEYS.map(|key| format!("`{key}`")).join(", ")),
    }
}

const KEYS: [&str; 26] = [
    "listen",
    "models",
    "models_cache",
    "models_check_seconds",
    "traffic",
    "prediction_log",
    "max_message_bytes",
    "max_batch_bytes",
    "max_batch_rows",
    "max_features",
    "max_connections",
    "max_in_flight",
    "max_batches_in_flight",
    "max_streams",
    "request_seconds",
    "grace_seconds",
    "drain_seconds",
    "reflection",
    "metrics_listen",
    "traces",
    "tls",
    "jwt",
    "api_keys",
    "allow_unprotected",
    "features",
    "decisions",
];

/// `server.toml` as written: every key may be left out.
#[derive(Deserialize)]
struct File {
    listen: Option<String>,
    models: Option<PathBuf>,
    models_cache: Option<PathBuf>,
    models_check_seconds: Option<u64>,
    #[serde(default)]
    traffic: Traffic,
    prediction_log: Option<PredictionLogSettings>,
    max_message_bytes: Option<u64>,
    max_batch_bytes: Option<u64>,
    max_batch_rows: Option<u64>,
    max_features: Option<u64>,
    max_connections: Option<u64>,
    max_in_flight: Option<u64>,
    max_batches_in_flight: Option<u64>,
    max_streams: Option<u64>,
    request_seconds: Option<u64>,
    grace_seconds: Option<u64>,
    drain_seconds: Option<u64>,
    reflection: Option<bool>,
    metrics_listen: Option<String>,
    traces: Option<Traces>,
    tls: Option<TlsFiles>,
    jwt: Option<Jwt>,
    #[serde(default)]
    api_keys: Vec<ApiKey>,
    allow_unprotected: Option<bool>,
    features: Option<FeatureTable>,
    decisions: Option<DecisionSettings>,
}

impl Config {
    /// The default settings for a folder of models; `now` is the clock.
    pub fn new(models: &Path, now: fn() -> Day) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            models: models.to_owned(),
            models_cache: None,
            models_check_seconds: 5,
            traffic: Traffic::default(),
            prediction_log: None,
            max_message_bytes: 1 << 20,
            max_batch_bytes: 16 << 20,
            max_batch_rows: 10_000,
            max_features: 10_000,
            max_connections: 900,
            max_in_flight: 1_024,
            max_batches_in_flight: 4,
            max_streams: 64,
            request_seconds: 30,
            grace_seconds: 5,
            drain_seconds: 20,
            reflection: true,
            metrics_listen: None,
            traces: None,
            tls: None,
            jwt: None,
            api_keys: Vec::new(),
            allow_unprotected: false,
            features: None,
            decisions: None,
            now,
        }
    }

    /// Reads the text of a `server.toml`; `now` is the clock.
    ///
    /// # Errors
    /// [`ConfigError`] for text that is not TOML, a key that is not known, or a value that cannot be.
    pub fn parse(text: &str, now: fn() -> Day) -> Result<Self, ConfigError> {
        Self::parse_with(text, [], now)
    }

    /// Reads the text of a `server.toml` and the variables of the environment that go before it: `RETAIN__LISTEN` is `listen`,
    /// `RETAIN__TLS__KEY` is `key` in `[tls]`. A value is read as TOML, and where it is none, as a text. Other variables are passed over.
    ///
    /// # Errors
    /// As [`Config::parse`]; a variable is named as such.
    pub fn parse_with(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        now: fn() -> Day,
    ) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let syntax = |error: toml::de::Error| ConfigError::Syntax { message: without_secrets(text, &error) };
        let mut table: toml::Table = toml::from_str(text).map_err(syntax)?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(ConfigError::UnknownKey { key: key.clone(), nearest: nearest(key, KEYS).map(str::to_owned) });
        }
        let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        if variables.is_empty() {
            // From the text and not from the table: a mistake is told with its line.
            return Self::new(Path::new("models"), now).with(toml::from_str(text).map_err(syntax)?);
        }
        variables.sort();
        for (name, value) in &variables {
            insert(&mut table, name, value)?;
        }
        let names = variables.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let syntax = |error: toml::de::Error| ConfigError::Variables { names, message: error.message().trim_end().to_owned() };
        Self::new(Path::new("models"), now).with(table.try_into().map_err(syntax)?)
    }

    fn with(mut self, file: File) -> Result<Self, ConfigError> {
        if let Some(listen) = file.listen {
            self.listen = address("listen", listen)?;
        }
        self.models = file.models.unwrap_or(self.models);
        let is_store = self.models.to_str().is_some_and(|models| models.contains("://"));
        if let Some(cache) = file.models_cache.as_ref().filter(|_| !is_store) {
            let found = cache.display().to_string();
            return Err(ConfigError::Value { key: "models_cache", expected: "absent where `models` is a folder", found });
        }
        self.models_cache = file.models_cache;
        if let Some(seconds) = file.models_check_seconds {
            self.models_check_seconds = duration("models_check_seconds", seconds, 0)?;
        }
        file.traffic.check()?;
        self.traffic = file.traffic;
        file.prediction_log.as_ref().map_or(Ok(()), PredictionLogSettings::check)?;
        self.prediction_log = file.prediction_log;
        for (place, key, given) in [
            (&mut self.max_message_bytes, "max_message_bytes", file.max_message_bytes),
            (&mut self.max_batch_bytes, "max_batch_bytes", file.max_batch_bytes),
            (&mut self.max_batch_rows, "max_batch_rows", file.max_batch_rows),
            (&mut self.max_features, "max_features", file.max_features),
            (&mut self.max_connections, "max_connections", file.max_connections),
            (&mut self.max_in_flight, "max_in_flight", file.max_in_flight),
            (&mut self.max_batches_in_flight, "max_batches_in_flight", file.max_batches_in_flight),
            (&mut self.max_streams, "max_streams", file.max_streams),
        ] {
            if let Some(number) = given {
                *place = limit(key, number)?;
            }
        }
        if let Some(seconds) = file.request_seconds {
            self.request_seconds = duration("request_seconds", seconds, 1)?;
        }
        if let Some(seconds) = file.grace_seconds {
            self.grace_seconds = duration("grace_seconds", seconds, 0)?;
        }
        if let Some(listen) = file.metrics_listen {
            self.metrics_listen = Some(address("metrics_listen", listen)?);
        }
        if let Some(traces) = file.traces {
            traces.check()?;
            self.traces = Some(traces);
        }
        if let Some(jwt) = file.jwt {
            jwt.check()?;
            self.jwt = Some(jwt);
        }
        if let Some(seconds) = file.drain_seconds {
            self.drain_seconds = duration("drain_seconds", seconds, 0)?;
        }
        self.reflection = file.reflection.unwrap_or(self.reflection);
        check_keys(&file.api_keys)?;
        self.api_keys = file.api_keys;
        self.tls = file.tls;
        if let Some(features) = &file.features {
            duration("features.check_seconds", features.check_seconds, 1)?;
        }
        self.features = file.features;
        if let Some(decisions) = file.decisions {
            decisions.check()?;
            self.decisions = Some(decisions);
        }
        self.allow_unprotected = file.allow_unprotected.unwrap_or(self.allow_unprotected);
        Ok(self)
    }
}

/// What the parser says, with the line that it is about, unless that may hold an address with a password.
fn without_secrets(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let may_be_secret = text.lines().nth(before).is_some_and(|line| line.contains("postgres") || line.contains('@'));
    let told = if may_be_secret { format!("line {}: {}", before + 1, error.message()) } else { error.to_string() };
    told.trim_end().to_owned()
}

fn address(key: &'static str, text: String) -> Result<SocketAddr, ConfigError> {
    let expected = "an address and port such as `127.0.0.1:50051`";
    text.parse().map_err(|_| ConfigError::Value { key, expected, found: text })
}

/// What the names of variables begin with: two underscores, because systems that run containers make variables of one themselves.
const PREFIX: &str = "RETAIN__";

/// Puts a variable in its place.
fn insert(mut table: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
    let unknown = || ConfigError::UnknownVariable { name: name.to_owned() };
    let (key, folders) = path.split_last().ok_or_else(unknown)?;
    if !KEYS.contains(&path[0].as_str()) || path.iter().any(String::is_empty) {
        return Err(unknown());
    }
    for folder in folders {
        let entry = table.entry(folder.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(unknown)?;
    }
    let read = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let read = read.filter(|read| read.len() == 1).and_then(|mut read| read.remove("value"));
    table.insert(key.clone(), read.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}

/// A gRPC message has a length of 32 bits, and no other limit makes sense beyond a thousand million.
const MAX_LIMIT: u64 = 1 << 30;

fn limit(key: &'static str, number: u64) -> Result<usize, ConfigError> {
    if (1..=MAX_LIMIT).contains(&number) {
        return Ok(number as usize);
    }
    Err(ConfigError::Value { key, expected: "a whole number from 1 to 1073741824", found: number.to_string() })
}

fn duration(key: &'static str, seconds: u64, least: u64) -> Result<u64, ConfigError> {
    if (least..=86_400).contains(&seconds) {
        return Ok(seconds);
    }
    Err(ConfigError::Value { key, expected: "a number of seconds within a day", found: seconds.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_keys::Scope;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, || Day::from_days(0.0))
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.models, Path::new("models"));
        assert_eq!((config.max_batch_rows, config.drain_seconds, config.reflection), (10_000, 20, true));
    }

    #[test]
    fn every_key_is_read() {
        let all = "listen = \"0.0.0.0:1\"\nmodels = \"s3://m\"\nmax_message_bytes = 2\nmax_batch_bytes = 3\nmax_batch_rows = 4\n\
                   max_features = 5\nmax_connections = 9\nmax_in_flight = 6\nmax_batches_in_flight = 7\nmax_streams = 10\nrequest_seconds = 8\ngrace_seconds = 11\ndrain_seconds = 0\nreflection = false\nmetrics_listen = \"127.0.0.1:2\"\nmodels_check_seconds = 0\nmodels_cache = \"c\"";
        let config = parse(all).unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.models.as_path()), ("0.0.0.0:1", Path::new("s3://m")));
        assert_eq!((config.max_message_bytes, config.max_batch_bytes, config.max_batch_rows), (2, 3, 4));
        assert_eq!((config.max_features, config.max_in_flight, config.max_batches_in_flight), (5, 6, 7));
        assert_eq!((config.max_connections, config.max_streams), (9, 10));
        assert_eq!((config.request_seconds, config.grace_seconds, config.drain_seconds, config.reflection), (8, 11, 0, false));
        assert_eq!(config.metrics_listen.unwrap().port(), 2);
        assert_eq!((config.models_check_seconds, config.models_cache.as_deref()), (0, Some(Path::new("c"))));
    }

    #[test]
    fn a_cache_of_models_is_for_object_stores_alone() {
        let error = parse("models_cache = \"c\"").unwrap_err();
        assert!(error.to_string().contains("`models_cache` should be absent where `models` is a folder"), "{error}");
    }

    #[test]
    fn decisions_are_read_and_checked() {
        let parsed = |store: &str| parse(&format!("[decisions]\nplaybook = \"p.toml\"\nstore = {store}"));
        let decisions = parsed("{ path = \"d.db\" }").unwrap().decisions.unwrap();
        assert_eq!((decisions.learn_seconds, decisions.retention_days), (60, 1_095));
        assert!(parsed("{ path = \"d.db\", postgres = \"postgresql://h/d\" }").is_err());
        let secret = parsed("{ postgres = \"postgresql://u:secret@\" }").unwrap_err().to_string();
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn shares_are_read_for_all_models_and_for_one() {
        let config = parse("[traffic]\nchallenger_share = 0.1\nchallenger_shares = { telco = 0.25 }").unwrap();
        let share = |name: &str| config.traffic.share(&retain_core::ModelName::new(name).unwrap());
        assert_eq!((share("telco"), share("gym")), (0.25, 0.1));
        assert_eq!(parse("").unwrap().traffic, Traffic::default());
    }

    #[test]
    fn api_keys_are_read_with_their_scopes() {
        let hash = retain_score::sha256(b"s3cret");
        let text = format!(
            "allow_unprotected = true\n[[api_keys]]\nname = \"shop\"\nsha256 = \"{hash}\"\n\
            [[api_keys]]\nname = \"ops\"\nsha256 = \"{}\"\nscopes = [\"predict\", \"admin\"]",
            hash.replace('a', "b")
        );
        let config = parse(&text).unwrap();
        let scopes: Vec<_> = config.api_keys.iter().map(|key| key.scopes.as_slice()).collect();
        assert_eq!(scopes, [&[Scope::Predict][..], &[Scope::Predict, Scope::Admin]]);
        assert!(config.allow_unprotected);
    }

    fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse_with(text, variables, || Day::from_days(0.0))
    }

    #[test]
    fn variables_go_before_the_file() {
        let variables = [
            ("RETAIN__LISTEN", "127.0.0.1:9"),
            ("RETAIN__MAX_BATCH_ROWS", "7"),
            ("RETAIN__REFLECTION", "false"),
            ("RETAIN__TLS__KEY", "b.key"),
            ("RETAIN__API_KEYS", &format!("[{{ name = \"shop\", sha256 = \"{}\" }}]", retain_score::sha256(b"s3cret"))),
            ("RETAIN_BIN", "/bin/retain"),
            ("PATH", "/bin"),
        ];
        let file = "listen = \"127.0.0.1:1\"\nmax_features = 3\n[tls]\ncertificate = \"a.pem\"";
        let config = parse_with(file, &variables).unwrap();
        assert_eq!((config.listen.port(), config.max_batch_rows, config.max_features, config.reflection), (9, 7, 3, false));
        assert_eq!(config.tls.unwrap().key, Path::new("b.key"));
        assert_eq!(config.api_keys[0].name, "shop");
    }

    #[test]
    fn variables_that_mean_nothing_are_refused_by_name() {
        for (name, value, said) in [
            ("RETAIN__LISTN", "x", "unknown variable `RETAIN__LISTN`"),
            ("RETAIN__", "x", "unknown variable"),
            ("RETAIN__LISTEN__PORT", "1", "unknown variable `RETAIN__LISTEN__PORT`"),
            ("RETAIN__TLS__CA", "x", "RETAIN__TLS__CA"),
            ("RETAIN__MAX_FEATURES", "many", "RETAIN__MAX_FEATURES"),
            ("RETAIN__MAX_FEATURES", "0", "`max_features` should be"),
        ] {
            let error = parse_with("listen = \"127.0.0.1:1\"", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_customer_table_is_named_with_its_columns() {
        assert_eq!(parse("").unwrap().features, None);
        let brief = parse("[features]\npath = \"customers.parquet\"").unwrap().features.unwrap();
        assert_eq!((brief.path.as_path(), brief.entity, brief.check_seconds), (Path::new("customers.parquet"), None, 10));
        let all = "[features]\npath = \"c\"\nentity = \"id\"\nobserved_at = \"day\"\ncheck_seconds = 60";
        let all = parse(all).unwrap().features.unwrap();
        assert_eq!((all.entity.as_deref(), all.observed_at.as_deref(), all.check_seconds), (Some("id"), Some("day"), 60));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        assert_eq!(
            parse("drain_second = 3").unwrap_err().to_string(),
            "unknown key `drain_second` in the server file; did you mean `drain_seconds`?"
        );
        assert!(parse("tsl = true").unwrap_err().to_string().contains("did you mean `tls`?"));
        assert!(parse("whatever = true").unwrap_err().to_string().contains("known are `listen`, `models`"));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for text in [
            "listen = \"localhost\"",
            "listen = 50051",
            "max_batch_rows = 0",
            "max_in_flight = -1",
            "max_message_bytes = 9999999999999",
            "drain_seconds = 1000000",
            "models_check_seconds = -1",
            "[traffic]\nchallenger_share = 1.1",
            "[prediction_log]",
            "[prediction_log]\nfolder = \"log\"\nrotate_rows = 0",
            "[prediction_log]\nfolder = \"log\"\nrotate_seconds = 0",
            "[prediction_log]\nfolder = \"log\"\nmax_bytes = 1",
            "[traffic]\nchallenger_share = nan",
            "[traffic]\nchallanger_share = 0.1",
            "[traffic]\nchallenger_shares = { telco = -0.1 }",
            "[traffic]\nchallenger_shares = { \"../telco\" = 0.1 }",
            "request_seconds = 0",
            "reflection = \"yes\"",
            "allow_unprotected = 1",
            "features = \"customers.csv\"",
            "[features]\nentity = \"id\"",
            "[features]\npath = \"customers.csv\"\nentiti = \"id\"",
            "[features]\npath = \"customers.csv\"\ncheck_seconds = 0",
            "[tls]\ncertificate = \"a.pem\"",
            "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\nca = \"b.pem\"",
            "metrics_listen = 9",
            "traces = \"http://127.0.0.1:4317\"",
            "[traces]\nendpoint = \"127.0.0.1:4317\"",
            "[traces]\nendpoint = \"https://127.0.0.1:4317\"",
            "[traces]\nendpoint = \"http://127.0.0.1:4317\"\nsample_share = 2",
            "jwt = true",
            "[jwt]\nissuer = \"a\"\naudience = \"b\"",
            "[jwt]\nissuer = \"\"\naudience = \"b\"\nkeys = [{algorithm = \"RS256\", file = \"a\"}]",
            "[jwt]\nissuer = \"a\"\naudience = \"b\"\nkeys = []",
            "[jwt]\nissuer = \"a\"\naudience = \"b\"\nkeys = [{algorithm = \"none\", file = \"a\"}]",
            "api_keys = \"s3cret\"",
            "[[api_keys]]\nname = \"shop\"",
            "[[api_keys]]\nname = \"shop\"\nsha256 = \"12\"",
            "[[api_keys]]\nname = \"shop\"\nkey = \"s3cret\"",
            "listen = ",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
