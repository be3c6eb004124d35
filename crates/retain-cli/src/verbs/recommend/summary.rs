//! What a whole table came to: who got what, what it costs and brings, and what more capacity would bring.

use std::path::Path;

use retain_core::{Day, NO_ACTION};
use retain_policy::allocate::Allocation;
use retain_policy::decide::EffectSource;
use retain_policy::playbook::Playbook;
use serde_json::{Value, json};

use super::terms::Terms;
use crate::rule_rows::RowCounts;
use crate::tables;

/// Standard deviations from the middle of a normal number to the ends of its 95 % interval.
const SDS_OF_95_PERCENT: f64 = 1.959_963_984_540_054;
const DAY_MS: f64 = 86_400_000.0;

/// What was settled for one customer.
pub(super) struct Settled {
    /// Its position in the playbook; absent for none.
    pub(super) action: Option<usize>,
    pub(super) propensity: f64,
    pub(super) expected_value: f64,
    pub(super) sd: f64,
    pub(super) cost: f64,
    pub(super) effect: f64,
    pub(super) source: EffectSource,
    pub(super) holdout: bool,
}

impl Settled {
    pub(super) fn action_id<'p>(&self, playbook: &'p Playbook) -> &'p str {
        self.action.map_or(NO_ACTION, |idx| &playbook.actions[idx].id)
    }
}

/// Sums over all customers.
pub(super) struct Summary<'p> {
    playbook: &'p Playbook,
    seed: u64,
    now_ms: i64,
    pub(super) counts: RowCounts,
    /// By action, in the order of the playbook.
    taken: Vec<u64>,
    n_holdout: u64,
    cost: f64,
    expected_value: f64,
    variance: f64,
}

impl<'p> Summary<'p> {
    pub(super) fn new(playbook: &'p Playbook, seed: u64, now_ms: i64, counts: RowCounts) -> Self {
        let taken = vec![0; playbook.actions.len()];
        Self { playbook, seed, now_ms, counts, taken, n_holdout: 0, cost: 0.0, expected_value: 0.0, variance: 0.0 }
    }

    pub(super) fn add(&mut self, settled: &Settled) {
        self.n_holdout += u64::from(settled.holdout);
        self.cost += settled.cost;
        self.expected_value += settled.expected_value;
        self.variance += settled.sd * settled.sd;
        if let Some(action) = settled.action {
            self.taken[action] += 1;
        }
    }

    /// The limits take customers' values as independent of each other.
    fn interval(&self) -> (f64, f64) {
        let half_width = SDS_OF_95_PERCENT * self.variance.sqrt();
        (self.expected_value - half_width, self.expected_value + half_width)
    }

    fn now(&self) -> String {
        let day = Day::from_days(self.now_ms as f64 / DAY_MS);
        let seconds = self.now_ms.div_euclid(1000).rem_euclid(86_400);
        format!("{day}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    fn n_acted(&self) -> u64 {
        self.taken.iter().sum()
    }

    /// How often the actions of a limit were taken.
    fn used(&self, terms: &Terms, limit: usize) -> u64 {
        terms.batch.limits[limit].actions.iter().map(|action| self.taken[*action]).sum()
    }

    pub(super) fn text(&self, terms: &Terms, allocation: &Allocation) -> String {
        let currency = &self.playbook.settings.currency;
        let (low, high) = self.interval();
        let mut text = format!(
            "{} customers, {} with an action, {} in the holdout; seed {}, now {}\nexpected value {:.2} {currency} [{low:.2}, {high:.2}], \
             cost {:.2} {currency}; the allocation is within {:.3} % of the best\n\n",
            self.counts.n_rows,
            self.n_acted(),
            self.n_holdout,
            self.seed,
            self.now(),
            self.expected_value,
            self.cost,
            100.0 * allocation.gap()
        );
        let mut table = tables::table(&["action", "customers", "share"], 1);
        let n_rows = self.counts.n_rows.max(1) as f64;
        let nothing = (self.counts.n_rows as u64).saturating_sub(self.n_acted());
        let taken = self.playbook.actions.iter().zip(&self.taken).map(|(action, n)| (action.id.as_str(), *n));
        for (id, n) in taken.filter(|(_, n)| *n > 0).chain([(NO_ACTION, nothing)]) {
            table.add_row([id.to_owned(), n.to_string(), tables::percent(n as f64 / n_rows)]);
        }
        text.push_str(&tables::render(&table));
        if !terms.names.is_empty() || allocation.budget.is_some() {
            text.push_str("\n\n");
            text.push_str(&self.limits_text(terms, allocation));
        }
        text
    }

    fn limits_text(&self, terms: &Terms, allocation: &Allocation) -> String {
        let mut table = tables::table(&["limit", "available", "used", "unused", "one more brings"], 1);
        for (idx, (name, limit)) in terms.names.iter().zip(&terms.batch.limits).enumerate() {
            let used = self.used(terms, idx);
            let unused = limit.capacity.saturating_sub(used);
            let price = allocation.limits.get(idx).map_or(0.0, |limit| limit.price);
            table.add_row([
                name.clone(),
                limit.capacity.to_string(),
                used.to_string(),
                unused.to_string(),
                format!("{price:.2}"),
            ]);
        }
        if let (Some(available), Some(budget)) = (terms.batch.budget, &allocation.budget) {
            let unused = (available - self.cost).max(0.0);
            table.add_row([
                "budget".to_owned(),
                format!("{available:.2}"),
                format!("{:.2}", self.cost),
                format!("{unused:.2}"),
                format!("{:.4}", budget.price),
            ]);
        }
        tables::render(&table)
    }

    pub(super) fn json(&self, terms: &Terms, allocation: &Allocation, path: &Path) -> Value {
        let (settings, (low, high)) = (&self.playbook.settings, self.interval());
        let actions = self.playbook.actions.iter().zip(&self.taken).map(|(action, n)| json!({ "action": action.id, "n": n }));
        let limits = terms.names.iter().zip(&terms.batch.limits).enumerate().map(|(idx, (name, limit))| {
            let used = self.used(terms, idx);
            json!({
                "name": name,
                "capacity": limit.capacity,
                "used": used,
                "unused": limit.capacity.saturating_sub(used),
                "shadow_price": allocation.limits.get(idx).map_or(0.0, |limit| limit.price),
            })
        });
        let budget = terms.batch.budget.zip(allocation.budget.as_ref());
        json!({
            "output": path.display().to_string(),
            "playbook": { "name": settings.name, "sha256": self.playbook.sha256() },
            "now": self.now(),
            "seed": self.seed,
            "n_customers": self.counts.n_rows,
            "n_rejected": self.counts.n_rejected,
            "n_acted": self.n_acted(),
            "n_holdout": self.n_holdout,
            "currency": settings.currency,
            "total_cost": self.cost,
            "expected_value": { "value": self.expected_value, "low": low, "high": high },
            "actions": actions.collect::<Vec<_>>(),
            "limits": limits.collect::<Vec<_>>(),
            "budget": budget.map(|(available, budget)| json!({ "available": available, "spent": self.cost, "shadow_price": budget.price })),
            "gap": allocation.gap(),
        })
    }
}
