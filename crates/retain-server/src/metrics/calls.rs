//! What is counted of calls: how many, how they ended, how long they took and in which stage.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Unit;
use tonic::Code;

use super::histogram::Histogram;

/// gRPC has codes 0 to 16.
const N_CODES: usize = 17;
/// Names as gRPC writes them.
const CODE_NAMES: [&str; N_CODES] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// What calls to something that there is not are counted as: callers choose their names.
pub(crate) const UNKNOWN_METHOD: &str = "unknown";
/// The reason of a refusal that does not name one.
const UNNAMED_REASON: &str = "OTHER";

/// A code's name, as logs and metrics have it.
pub(crate) fn code_name(code: Code) -> &'static str {
    CODE_NAMES[code as usize]
}

/// Where the time of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Until it is worked on: the reading of the request, and waiting for a turn.
    Queue,
    /// From message to numbers, and back.
    Convert,
    /// The models' work, reasons included.
    Score,
}

const STAGES: [(Stage, &str); 3] = [(Stage::Queue, "queue"), (Stage::Convert, "convert"), (Stage::Score, "score")];

/// The counts of one method.
#[derive(Debug)]
pub(crate) struct MethodCalls {
    /// `retain.v1.PredictionService/Predict`
    pub(crate) method: String,
    ended: [AtomicU64; N_CODES],
    seconds: Histogram,
    stages: [Histogram; 3],
}

/// The counts of all methods.
#[derive(Debug)]
pub(crate) struct Calls {
    by_method: HashMap<String, Arc<MethodCalls>>,
    unknown: Arc<MethodCalls>,
    refused: Family<[(&'static str, String); 1], Counter>,
}

/// Measures the stages of one call, or of one message of a stream.
#[derive(Debug)]
pub(crate) struct Stopwatch<'m> {
    calls: &'m MethodCalls,
    last: Instant,
    taken: [Duration; 3],
}

impl MethodCalls {
    fn new(method: &str) -> Self {
        let stages = std::array::from_fn(|_| Histogram::of_durations());
        Self { method: method.to_owned(), ended: Default::default(), seconds: Histogram::of_durations(), stages }
    }

    /// A call has ended so, after so long.
    pub(crate) fn ended(&self, code: Code, taken: Duration) {
        self.ended[code as usize].fetch_add(1, Ordering::Relaxed);
        self.seconds.observe_duration(taken);
    }

    /// Measures from `begin` on.
    pub(crate) fn stopwatch(&self, begin: Instant) -> Stopwatch<'_> {
        Stopwatch { calls: self, last: begin, taken: [Duration::ZERO; 3] }
    }
}

impl Stopwatch<'_> {
    /// What was done since the last time was this.
    pub(crate) fn done(&mut self, stage: Stage) {
        let now = Instant::now();
        self.taken[stage as usize] += now - self.last;
        self.last = now;
    }

    /// The call has an answer: its stages count.
    pub(crate) fn finish(mut self, stage: Stage) {
        self.done(stage);
        for (stage, taken) in self.calls.stages.iter().zip(self.taken) {
            stage.observe_duration(taken);
        }
    }
}

impl Calls {
    /// Counts for these methods, each `package.Service/Method`.
    pub(crate) fn new(methods: impl Iterator<Item = String>) -> Self {
        let by_method = methods.map(|method| (method.clone(), Arc::new(MethodCalls::new(&method)))).collect();
        Self { by_method, unknown: Arc::new(MethodCalls::new(UNKNOWN_METHOD)), refused: Family::default() }
    }

    /// The counts of a method, or those that unknown ones share.
    pub(crate) fn of(&self, method: &str) -> &Arc<MethodCalls> {
        self.by_method.get(method).unwrap_or(&self.unknown)
    }

    /// All methods that have counts of their own.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Arc<MethodCalls>> {
        self.by_method.values()
    }

    /// A call, or a message of a stream, was refused for this reason, one of `ErrorInfo`.
    pub(crate) fn refused(&self, reason: Option<&str>) {
        self.refused.get_or_create(&[("reason", reason.unwrap_or(UNNAMED_REASON).to_owned())]).inc();
    }

    /// Methods that were called, by name.
    fn called(&self) -> Vec<&MethodCalls> {
        let all = self.by_method.values().chain([&self.unknown]).map(Arc::as_ref);
        let mut called: Vec<&MethodCalls> = all.filter(|calls| calls.seconds.count() > 0).collect();
        called.sort_by(|a, b| a.method.cmp(&b.method));
        called
    }
}

impl Collector for Calls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let called = self.called();
        let mut requests = encoder.encode_descriptor("requests", "Calls by how they ended", None, MetricType::Counter)?;
        for calls in &called {
            for (code, ended) in CODE_NAMES.iter().zip(&calls.ended) {
                let ended = ended.load(Ordering::Relaxed);
                if ended > 0 {
                    let labels = [("method", calls.method.as_str()), ("code", code)];
                    ConstCounter::new(ended).encode(requests.encode_family(&labels)?)?;
                }
            }
        }
        let text = "Time from the arrival of a call's headers to the beginning of its answer, or to the end of a batch or stream";
        let mut seconds = encoder.encode_descriptor("request_duration", text, Some(&Unit::Seconds), MetricType::Histogram)?;
        for calls in &called {
            calls.seconds.encode(seconds.encode_family(&[("method", calls.method.as_str())])?)?;
        }
        let text = "Time of answered calls by what it went to: queue, convert or score";
        let mut stages = encoder.encode_descriptor("stage_duration", text, Some(&Unit::Seconds), MetricType::Histogram)?;
        for calls in called.iter().filter(|calls| calls.stages[0].count() > 0) {
            for ((_, name), stage) in STAGES.iter().zip(&calls.stages) {
                stage.encode(stages.encode_family(&[("method", calls.method.as_str()), ("stage", name)])?)?;
            }
        }
        let refused = encoder.encode_descriptor("refused", "Calls and messages refused, by reason", None, MetricType::Counter)?;
        self.refused.encode(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_grpc() {
        for (code, name) in
            [(Code::Ok, "OK"), (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"), (Code::Unauthenticated, "UNAUTHENTICATED")]
        {
            assert_eq!(code_name(code), name);
        }
    }

    #[test]
    fn a_stopwatch_divides_the_whole_time() {
        let calls = MethodCalls::new("a.B/C");
        let mut stopwatch = calls.stopwatch(Instant::now());
        stopwatch.done(Stage::Queue);
        stopwatch.done(Stage::Convert);
        stopwatch.done(Stage::Score);
        stopwatch.finish(Stage::Convert);
        assert!(calls.stages.iter().all(|stage| stage.count() == 1));
    }
}
