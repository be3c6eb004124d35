//! What is told of the measurements: medians over the rounds.

use serde_json::{Value, json};

use super::cores::Cores;
use super::load::{Crowd, Latency, Saturation};
use super::rounds::{OPEN_LOOP_SHARES, Outcome, Pair, Plan, Round, median};
use crate::tables;

/// Where a server was not kept busy, the client was the one that could do no more.
const BUSY_ENOUGH: f64 = 0.9;

/// Everything that was measured, and where.
pub(super) struct Report {
    pub(super) model: Model,
    pub(super) bytes: Bytes,
    pub(super) plan: Plan,
    pub(super) cores: Cores,
    pub(super) outcome: Outcome,
    pub(super) idle: Idle,
    /// Memory of the server after all calls.
    pub(super) loaded_mib: Option<f64>,
}

/// The model that was asked.
pub(super) struct Model {
    pub(super) address: String,
    pub(super) n_features: usize,
    pub(super) n_trees: usize,
}

/// Mean bytes of the messages.
pub(super) struct Bytes {
    pub(super) request: f64,
    pub(super) answer: f64,
}

/// A server that nobody has called yet.
pub(super) struct Idle {
    pub(super) ready_ms: f64,
    pub(super) resident_mib: Option<f64>,
}

/// One number of both servers.
struct Figure {
    echo: f64,
    serve: f64,
    /// Median of the rounds' ratios: what slows a round down slows both.
    ratio: f64,
    difference: f64,
}

impl Figure {
    fn of(rounds: &[Round], number: impl Fn(&Round) -> Pair<f64>) -> Self {
        let pairs: Vec<Pair<f64>> = rounds.iter().map(number).collect();
        let middle = |number: fn(&Pair<f64>) -> f64| median(pairs.iter().map(number));
        Self {
            echo: middle(|pair| pair.echo),
            serve: middle(|pair| pair.serve),
            ratio: middle(|pair| pair.serve / pair.echo),
            difference: middle(|pair| pair.serve - pair.echo),
        }
    }
}

/// The figures of both servers.
struct Figures {
    p50: Figure,
    p99: Figure,
    rps: Figure,
    cpu_us: Figure,
    busy: Figure,
    client_busy: Figure,
    open_loop: Vec<[Figure; 2]>,
    batch_rows: f64,
    engine_rows: f64,
    batch_ratio: f64,
    recommend: Option<Recommended>,
}

/// What deciding takes beside predicting.
struct Recommended {
    p50_us: f64,
    p99_us: f64,
    rps: f64,
    /// Of the p99 of one decision at a time to that of one prediction.
    p99_ratio: f64,
}

impl Recommended {
    fn of(rounds: &[Round]) -> Option<Self> {
        let decided: Vec<_> = rounds.iter().filter_map(|round| Some((round.recommend?, round.one_stream.serve.p99_us))).collect();
        let middle = |number: fn(&((Latency, f64), f64)) -> f64| median(decided.iter().map(number));
        (!decided.is_empty()).then(|| Self {
            p50_us: middle(|((decided, _), _)| decided.p50_us),
            p99_us: middle(|((decided, _), _)| decided.p99_us),
            rps: middle(|((_, rps), _)| *rps),
            p99_ratio: middle(|((decided, _), predicted_us)| decided.p99_us / predicted_us),
        })
    }

    fn json(&self) -> Value {
        let Self { p50_us, p99_us, rps, p99_ratio } = self;
        json!({ "p50_us": p50_us, "p99_us": p99_us, "rps": rps, "ratio": { "p99": p99_ratio } })
    }

    fn text(&self) -> String {
        let Self { p50_us, p99_us, rps, p99_ratio } = self;
        format!(
            "\none decision at a time: p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, {p99_ratio:.2} of a prediction's p99; {rps:.0} decisions/s \
             with 64 in flight"
        )
    }
}

impl Figures {
    fn of(rounds: &[Round]) -> Self {
        let latency = |number: fn(&Latency) -> f64| Figure::of(rounds, move |round| round.one_stream.map(number));
        let saturation = |number: fn(&Saturation) -> f64| Figure::of(rounds, move |round| round.saturation.map(number));
        let open_loop =
            |position: usize, number: fn(&Latency) -> f64| Figure::of(rounds, move |round| round.open_loop[position].map(number));
        let quantiles = |position| [open_loop(position, |it| it.p50_us), open_loop(position, |it| it.p99_us)];
        Self {
            p50: latency(|it| it.p50_us),
            p99: latency(|it| it.p99_us),
            rps: saturation(|it| it.rps),
            cpu_us: saturation(|it| it.cpu_us.unwrap_or(f64::NAN)),
            busy: saturation(|it| it.busy.unwrap_or(f64::NAN)),
            client_busy: saturation(|it| it.client_busy.unwrap_or(f64::NAN)),
            open_loop: (0..OPEN_LOOP_SHARES.len()).map(quantiles).collect(),
            batch_rows: median(rounds.iter().map(|round| round.batch_rows)),
            engine_rows: median(rounds.iter().map(|round| round.engine_rows)),
            batch_ratio: median(rounds.iter().map(|round| round.batch_rows / round.engine_rows)),
            recommend: Recommended::of(rounds),
        }
    }
}

impl Report {
    /// Says where the figures are those of the client, or of other work on the machine, rather than of a server.
    pub(super) fn warning(&self) -> Option<String> {
        let Figures { busy, client_busy, .. } = Figures::of(&self.outcome.rounds);
        let n_cores = self.cores.server().len().max(1) as f64;
        let sides = [("echo", busy.echo, client_busy.echo), ("server", busy.serve, client_busy.serve)];
        let idle = sides.into_iter().filter(|(_, busy, _)| *busy < BUSY_ENOUGH * n_cores);
        let told = idle.map(|(name, busy, client)| format!("the {name} had {busy:.2} cores and the client {client:.2}"));
        let told: Vec<String> = told.collect();
        let limit = "where the client had all of its own it was the limit, else other work on the machine was";
        (!told.is_empty()).then(|| format!("requests a second are less than the server can: {}; {limit}", told.join(", ")))
    }

    pub(super) fn json(&self) -> Value {
        let Figures { p50, p99, rps, cpu_us, busy, client_busy, open_loop, batch_rows, engine_rows, batch_ratio, recommend } =
            Figures::of(&self.outcome.rounds);
        let side = |of: fn(&Figure) -> f64| json!({ "p50_us": of(&p50), "p99_us": of(&p99), "rps": of(&rps), "cpu_us": of(&cpu_us), "busy_cores": of(&busy), "client_busy_cores": of(&client_busy) });
        let open_loop = open_loop.iter().enumerate().map(|(position, [p50, p99])| {
            let side = |of: fn(&Figure) -> f64| json!({ "p50_us": of(p50), "p99_us": of(p99) });
            json!({
                "share": OPEN_LOOP_SHARES[position],
                "rate_rps": self.outcome.rates[position],
                "echo": side(|it| it.echo),
                "serve": side(|it| it.serve),
                "ratio": { "p50": p50.ratio, "p99": p99.ratio },
            })
        });
        let crowd = |crowd: Crowd| json!({ "connections": crowd.connections, "in_flight": crowd.connections * crowd.in_flight });
        json!({
            "model": self.model.address,
            "n_features": self.model.n_features,
            "n_trees": self.model.n_trees,
            "request_bytes": self.bytes.request,
            "answer_bytes": self.bytes.answer,
            "rounds": self.plan.n_rounds,
            "seconds": self.plan.length.as_secs_f64(),
            "seed": self.plan.seed,
            "server_cores": self.cores.server(),
            "client_cores": self.cores.client(),
            "load": { "echo": crowd(self.outcome.crowds.echo), "serve": crowd(self.outcome.crowds.serve) },
            "echo": side(|it| it.echo),
            "serve": side(|it| it.serve),
            "ratio": { "p50": p50.ratio, "p99": p99.ratio, "rps": rps.ratio, "cpu": cpu_us.ratio, "batch10k": batch_ratio },
            "difference": { "p50_us": p50.difference, "p99_us": p99.difference, "cpu_us": cpu_us.difference },
            "open_loop": open_loop.collect::<Vec<_>>(),
            "batch10k": { "rows_per_second": batch_rows, "in_process_rows_per_second": engine_rows, "ratio": batch_ratio },
            "recommend": recommend.as_ref().map(Recommended::json),
            "idle": { "ready_ms": self.idle.ready_ms, "resident_mib": self.idle.resident_mib },
            "loaded": { "resident_mib": self.loaded_mib },
        })
    }

    pub(super) fn text(&self) -> String {
        let figures = Figures::of(&self.outcome.rounds);
        let mut table = tables::table(&["", "echo", "server", "ratio"], 1);
        let mut line = |what: String, figure: &Figure, digits: usize| {
            let number = |value: f64| if value.is_nan() { "–".to_owned() } else { format!("{value:.digits$}") };
            let ratio = if figure.ratio.is_nan() { "–".to_owned() } else { format!("{:.3}", figure.ratio) };
            table.add_row([what, number(figure.echo), number(figure.serve), ratio]);
        };
        line("one call at a time: p50 µs".to_owned(), &figures.p50, 1);
        line("  p99 µs".to_owned(), &figures.p99, 1);
        line("saturation: requests/s".to_owned(), &figures.rps, 0);
        line("  processor µs a request".to_owned(), &figures.cpu_us, 2);
        for (position, [p50, p99]) in figures.open_loop.iter().enumerate() {
            line(format!("{:.0} requests/s when due: p50 µs", self.outcome.rates[position]), p50, 1);
            line("  p99 µs".to_owned(), p99, 1);
        }
        format!("{}\n\n{}\n\n{}", self.heading(), tables::render(&table), self.rest(&figures))
    }

    fn heading(&self) -> String {
        let Model { address, n_features, n_trees } = &self.model;
        let cores = match (self.cores.server(), self.cores.client()) {
            ([], _) => "server and client share all cores".to_owned(),
            (server, client) => format!("server on cores {server:?}, client on cores {client:?}"),
        };
        format!(
            "{address}: {n_features} features, {n_trees} trees; requests of {:.0} bytes, answers of {:.0}\n{cores}; medians of {} rounds of {} s",
            self.bytes.request,
            self.bytes.answer,
            self.plan.n_rounds,
            self.plan.length.as_secs_f64()
        )
    }

    fn rest(&self, figures: &Figures) -> String {
        let mib = |mib: Option<f64>| mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.1} MiB"));
        format!(
            "batches of 10,000 rows: {:.0} rows/s, {:.2} of the {:.0} of one thread in this process\nready after {:.0} ms; memory {} idle, {} after all calls{}",
            figures.batch_rows,
            figures.batch_ratio,
            figures.engine_rows,
            self.idle.ready_ms,
            mib(self.idle.resident_mib),
            mib(self.loaded_mib),
            figures.recommend.as_ref().map(Recommended::text).unwrap_or_default()
        )
    }
}
