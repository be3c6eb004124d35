//! What the server counts, and how Prometheus reads it: `calls` counts calls, `observed` (beside this module) what models do, `endpoint`
//! answers the scrape.

mod calls;
mod endpoint;
mod histogram;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Semaphore;

use crate::models::{LiveModel, LiveSet, Models};
use crate::observed::{DriftReport, FeatureDrift};
use crate::server::ServerHandle;

pub(crate) use calls::{Calls, MethodCalls, Stage, Stopwatch, UNKNOWN_METHOD, code_name};
pub(crate) use endpoint::{Endpoint, serve_metrics};
pub(crate) use histogram::{Histogram, N_SHARDS, shard};

/// Features of one model that are told of, those that moved the most first.
const MAX_FEATURES: usize = 500;

/// The kind of places that connections have.
pub(crate) const CONNECTION: &str = "connection";

/// Places of one kind, and how many there are.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) kind: &'static str,
    pub(crate) free: Arc<Semaphore>,
    pub(crate) total: usize,
}

/// All that the server tells of itself.
pub(crate) fn registry(calls: Arc<Calls>, models: Arc<Models>, server: ServerHandle, places: Vec<Places>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let ours = registry.sub_registry_with_prefix("retain");
    ours.register_collector(Box::new(calls));
    ours.register_collector(Box::new(LiveModels(models)));
    ours.register_collector(Box::new(InUse(places)));
    ours.register_collector(Box::new(Happened(server)));
    registry
}

/// Calls and connections under way.
#[derive(Debug)]
struct InUse(Vec<Places>);

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut in_use = encoder.encode_descriptor("in_flight", "Calls and connections under way", None, MetricType::Gauge)?;
        for Places { kind, free, total } in &self.0 {
            // One place is always held for the next connection.
            let waiting = usize::from(*kind == CONNECTION);
            let used = total.saturating_sub(free.available_permits()).saturating_sub(waiting) as u64;
            ConstGauge::new(used).encode(in_use.encode_family(&[("kind", *kind)])?)?;
        }
        let mut limit = encoder.encode_descriptor("in_flight_limit", "Most of them at once", None, MetricType::Gauge)?;
        for Places { kind, total, .. } in &self.0 {
            ConstGauge::new(*total as u64).encode(limit.encode_family(&[("kind", *kind)])?)?;
        }
        Ok(())
    }
}

/// What the server counts of its models, its log and its shadows.
#[derive(Debug)]
struct Happened(ServerHandle);

impl Collector for Happened {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let counts = self.0.counts();
        for (name, text, count) in [
            ("model_swaps", "Other versions have come to answer", counts.model_swaps),
            ("model_refusals", "Versions, aliases or whole directories refused", counts.model_refusals),
            ("logged_rows", "Rows of the prediction log in complete files", counts.logged_rows),
            ("log_rows_dropped", "Rows not logged: the writer was behind, or the disk refused them", counts.log_rows_dropped),
            (
                "shadow_rows_dropped",
                "Rows that no shadow scored: it was behind, or could not read a value",
                counts.shadow_rows_dropped,
            ),
        ] {
            ConstCounter::new(count).encode(encoder.encode_descriptor(name, text, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

/// The models and what is seen of them.
#[derive(Debug)]
struct LiveModels(Arc<Models>);

/// A live version with what names it and what was seen of it.
struct Seen<'m> {
    model: &'m LiveModel,
    name: &'m str,
    version: u32,
    drift: Option<DriftReport>,
}

impl Seen<'_> {
    fn labels(&self) -> [(&'static str, String); 2] {
        [("model", self.name.to_owned()), ("version", self.version.to_string())]
    }

    fn feature_labels(&self, feature: &FeatureDrift) -> [(&'static str, String); 3] {
        let [model, version] = self.labels();
        [model, version, ("feature", feature.name.clone())]
    }

    /// The features that are told of.
    fn features(&self) -> Vec<&FeatureDrift> {
        let mut features: Vec<&FeatureDrift> = self.drift.iter().flat_map(|drift| &drift.features).collect();
        if features.len() > MAX_FEATURES {
            let stability = |feature: &FeatureDrift| feature.stability.unwrap_or(0.0);
            features.sort_by(|a, b| stability(b).total_cmp(&stability(a)));
            features.truncate(MAX_FEATURES);
        }
        features
    }
}

impl Collector for LiveModels {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let set = self.0.live().clone();
        encode_set(&set, &mut encoder)?;
        let seen: Vec<Seen<'_>> = set
            .by_name
            .iter()
            .flat_map(|(name, versions)| versions.versions.iter().map(move |(version, model)| (name, *version, model)))
            .map(|(name, version, model)| Seen { model, name: name.as_str(), version, drift: model.observed.report() })
            .collect();
        encode_predictions(&seen, &mut encoder)?;
        encode_drift(&seen, &mut encoder)
    }
}

fn encode_set(set: &LiveSet, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let report = set.report();
    let mut live = encoder.encode_descriptor("model_live", "1 for every alias that is answered", None, MetricType::Gauge)?;
    for model in &report.live {
        for alias in &model.aliases {
            let labels = [("model", model.name.clone()), ("version", model.version.to_string()), ("alias", alias.clone())];
            ConstGauge::new(1_u64).encode(live.encode_family(&labels)?)?;
        }
    }
    let text = "1 for every model or version that failed its checks when it was last read";
    let mut refused = encoder.encode_descriptor("model_refused", text, None, MetricType::Gauge)?;
    for refusal in &report.refused {
        let version = refusal.version.map_or_else(String::new, |version| version.to_string());
        ConstGauge::new(1_u64).encode(refused.encode_family(&[("model", refusal.name.clone()), ("version", version)])?)?;
    }
    Ok(())
}

fn encode_predictions(seen: &[Seen<'_>], encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let mut predictions = encoder.encode_descriptor("predictions", "Predictions given", None, MetricType::Counter)?;
    for seen in seen {
        ConstCounter::new(seen.model.observed.n_predictions()).encode(predictions.encode_family(&seen.labels())?)?;
    }
    let mut probability = encoder.encode_descriptor("probability", "Probabilities given", None, MetricType::Histogram)?;
    for seen in seen.iter().filter(|seen| seen.model.observed.n_predictions() > 0) {
        seen.model.observed.probabilities.encode(probability.encode_family(&seen.labels())?)?;
    }
    Ok(())
}

/// What is counted of a feature, where it has such a count.
type Count = fn(&FeatureDrift) -> Option<u64>;

fn encode_drift(seen: &[Seen<'_>], encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let text =
        "Rows whose features were looked at: those of single calls, unless counting them fell behind, and at most 500 of a batch";
    let mut rows = encoder.encode_descriptor("rows_observed", text, None, MetricType::Counter)?;
    for (seen, drift) in seen.iter().filter_map(|seen| Some((seen, seen.drift.as_ref()?))) {
        ConstCounter::new(drift.n_rows).encode(rows.encode_family(&seen.labels())?)?;
    }
    let counts: [(&str, &str, Count); 3] = [
        ("feature_missing", "Of them, rows without a value", |feature| Some(feature.n_missing)),
        ("feature_unseen", "Of them, rows with a category that training did not see", |feature| feature.n_unseen),
        ("feature_out_of_range", "Of them, rows with a number outside what training saw", |feature| feature.n_out_of_range),
    ];
    for (name, text, count) in counts {
        let mut family = encoder.encode_descriptor(name, text, None, MetricType::Counter)?;
        for seen in seen {
            for (feature, count) in seen.features().into_iter().filter_map(|feature| Some((feature, count(feature)?))) {
                ConstCounter::new(count).encode(family.encode_family(&seen.feature_labels(feature))?)?;
            }
        }
    }
    let text = "Population stability index of the last 10,000 to 20,000 rows against training";
    let mut stability = encoder.encode_descriptor("feature_stability_index", text, None, MetricType::Gauge)?;
    for seen in seen {
        for (feature, index) in seen.features().into_iter().filter_map(|feature| Some((feature, feature.stability?))) {
            ConstGauge::new(index).encode(stability.encode_family(&seen.feature_labels(feature))?)?;
        }
    }
    let text = "The same of the scores, against those of rows that training held back";
    let mut stability = encoder.encode_descriptor("score_stability_index", text, None, MetricType::Gauge)?;
    for (seen, index) in seen.iter().filter_map(|seen| Some((seen, seen.drift.as_ref()?.score_stability?))) {
        ConstGauge::new(index).encode(stability.encode_family(&seen.labels())?)?;
    }
    Ok(())
}

/// What the system says of the process, under the names that all Prometheus clients give it.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let gauge = |encoder: &mut DescriptorEncoder<'_>, name: &str, text: &str, unit: Option<Unit>, value: Option<u64>| {
            let Some(value) = value else { return Ok(()) };
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, text, unit.as_ref(), MetricType::Gauge)?)
        };
        gauge(&mut encoder, "process_resident_memory", "Memory in use", Some(Unit::Bytes), resident_bytes())?;
        gauge(&mut encoder, "process_open_fds", "Open files and connections", None, open_files())
    }
}

/// Only Linux says so in a file.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
