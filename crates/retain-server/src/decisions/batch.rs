//! `RecommendBatch`: every customer is looked at, all are allocated together, and each gets a decision of its own.
//!
//! A customer is looked at twice, once to say what could be done and once to settle what is: what is known of ten thousand customers with all
//! that their rules have seen would take more memory than the second look takes time.

use std::collections::HashSet;

use retain_core::{Decision, DecisionId, FeatureValue, PastDecision};
use retain_policy::allocate::{Allocation, Limit};
use retain_policy::decide::{Assigned, BatchCustomer, BatchTerms, Decided, Situation, Supply, appraise, assign};
use retain_proto::v1;
use retain_store::{MAX_DECISIONS, MAX_JSON_BYTES, Store};

use super::Decisions;
use super::answer::playbook_version;
use super::live::Live;
use super::look::{Asking, Seen, Sources};
use super::service::{DecisionCalls, check_action, check_customer, history_since};
use crate::convert::Features;
use crate::status::{CallError, Violation, Violations, check_count};

/// Histories that are asked for at once: the log's queue has room for others.
const HISTORIES_AT_ONCE: usize = 512;
/// Standard deviations from the middle of a normal number to the ends of its 95 % interval.
const SDS_OF_95_PERCENT: f64 = 1.959_963_984_540_054;

/// What stands still while a batch is worked on.
struct Batch<'b> {
    sources: Sources<'b>,
    columns: Vec<Column<'b>>,
    request: &'b v1::RecommendBatchRequest,
    histories: &'b [Vec<PastDecision>],
    decisions: &'b Decisions,
}

impl DecisionCalls {
    /// Decides for all customers of a request.
    pub(super) async fn recommend_many(
        &self,
        request: v1::RecommendBatchRequest,
    ) -> Result<v1::RecommendBatchResponse, CallError> {
        let decisions = self.decisions()?.clone();
        let (live, now_ms) = (decisions.live_now(), decisions.now_ms());
        let max_rows = self.prediction().config().max_batch_rows.min(MAX_DECISIONS);
        check_request(&request, &live, max_rows)?;
        let store = decisions.log.store()?;
        let turns = decisions.clone();
        let _turns = turns.turns.of_all(&request.customer_ids).await;
        let histories = histories(&store, &request.customer_ids, history_since(&live, now_ms)).await?;
        let (calls, is_dry) = (self.clone(), request.dry_run);
        let work = move || calls.decide_all(&decisions, &live, &request, &histories, now_ms);
        let (response, kept) = self.prediction().work(work).await?;
        if !is_dry {
            store.record_decisions(kept).await?;
        }
        Ok(response)
    }

    fn decide_all(
        &self,
        decisions: &Decisions,
        live: &Live,
        request: &v1::RecommendBatchRequest,
        histories: &[Vec<PastDecision>],
        now_ms: i64,
    ) -> Result<(v1::RecommendBatchResponse, Vec<Decision>), CallError> {
        let (set, customers) = self.now_live();
        let sources = self.sources((&set, &customers), live, now_ms);
        let supplies = decisions.supplies.load();
        let aside = supplies.set_aside(&live.playbook, now_ms);
        let columns = request.columns.iter().map(Column::of).collect();
        let batch = Batch { sources, columns, request, histories, decisions };
        let n_rows = request.customer_ids.len();
        let mut response = empty_response(live);
        let mut rows = Vec::with_capacity(n_rows);
        let mut appraised = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            match batch.look(row, |_, decided| BatchCustomer::of(decided)) {
                Ok(customer) => {
                    rows.push(row);
                    appraised.push(customer);
                }
                Err(error) => response.row_errors.push(row_error(row, error)?),
            }
        }
        let terms = batch.terms(&aside.supply);
        let uniforms = rows.iter().map(|_| self.uniform()).collect::<Result<Vec<f64>, _>>()?;
        let allocated = assign(&appraised, &terms, &uniforms)
            .map_err(|error| CallError::from(Violation::new("capacities", "CANNOT_ALLOCATE", &error.to_string())))?;
        let mut kept = Vec::with_capacity(rows.len());
        let mut totals = Totals::default();
        let mut settled = rows.iter().zip(&allocated.assigned).peekable();
        for row in 0..n_rows {
            match settled.next_if(|(settled_row, _)| **settled_row == row) {
                Some((_, assigned)) => {
                    let id = DecisionId::new(now_ms, self.random_bytes()?);
                    let (decision, sd) = batch.settle(row, assigned, id)?;
                    totals.add(&decision, sd);
                    response.push(&decision, request.dry_run);
                    if !request.dry_run {
                        let channel = assigned.action.and_then(|idx| live.playbook.actions[idx].channel);
                        aside.take(assigned.action, channel, now_ms);
                        kept.push(decision);
                    }
                }
                None => response.push_refused(),
            }
        }
        batch.tell_limits(&terms, &allocated.allocation, &mut response);
        totals.tell(&mut response);
        Ok((response, kept))
    }
}

impl Batch<'_> {
    /// Looks at one customer and appraises every action.
    fn look<T>(&self, row: usize, visit: impl FnOnce(&Seen<'_>, &Decided<'_>) -> T) -> Result<T, CallError> {
        let request = self.request;
        let customer_id = &request.customer_ids[row];
        check_customer(customer_id)?;
        let asking = Asking {
            customer_id,
            features: Features::new(self.columns.iter().map(|column| (column.name, column.value(row))).collect()),
            observed_at: request.observed_at.as_ref(),
            unknown_feature_policy: request.unknown_feature_policy,
        };
        let (live, learned, supply) = (self.sources.live, self.decisions.learned.load(), Supply::default());
        self.sources.look(&asking, &self.histories[row], None, |seen| {
            let learned = learned.of(seen.assessed.segment());
            let situation = Situation {
                customer_id,
                now_ms: self.sources.now_ms,
                history: &self.histories[row],
                effects: seen.effects,
                learned: &learned,
                supply: &supply,
                channels: None,
                reasons: seen.reasons,
                uniform: 0.0,
            };
            visit(&seen, &appraise(&live.playbook, &seen.values, &situation))
        })
    }

    /// The decision of one customer, and how unsure its value is.
    fn settle(&self, row: usize, assigned: &Assigned, id: DecisionId) -> Result<(Decision, f64), CallError> {
        self.look(row, |seen, decided| {
            let mut settled = decided.clone();
            settled.settle(assigned);
            let sd = settled.chosen().valuation.map_or(0.0, |valuation| valuation.net_sd);
            (settled.decision(id, (seen.context)(), MAX_JSON_BYTES), sd)
        })
    }

    /// The capacities of the request, and of the playbook what is left, action by action and channel by channel.
    fn terms(&self, supply: &Supply) -> BatchTerms {
        let playbook = &self.sources.live.playbook;
        let mut limits = Vec::new();
        for (idx, action) in playbook.actions.iter().enumerate() {
            let named = self.request.capacities.get(&action.id).copied();
            if let Some(capacity) = named.or(supply.action(idx).left) {
                limits.push(Limit { actions: vec![idx], capacity });
            }
        }
        for (channel, _) in playbook.contact.channels.iter().enumerate() {
            if let Some(capacity) = supply.channel(channel).left {
                let uses =
                    |(idx, action): (usize, &retain_policy::playbook::Action)| (action.channel == Some(channel)).then_some(idx);
                limits.push(Limit { actions: playbook.actions.iter().enumerate().filter_map(uses).collect(), capacity });
            }
        }
        let explored_share = playbook.exploration.floor * playbook.actions.len() as f64;
        BatchTerms {
            n_actions: playbook.actions.len(),
            limits,
            budget: self.request.budget,
            explored_share: explored_share.min(1.0),
        }
    }

    /// What the limits that bind would be worth, and what is left of them.
    fn tell_limits(&self, terms: &BatchTerms, allocation: &Allocation, response: &mut v1::RecommendBatchResponse) {
        let playbook = &self.sources.live.playbook;
        for (limit, used) in terms.limits.iter().zip(&allocation.limits) {
            // A limit of one action is the action's, one of several its channel's.
            let name = match &limit.actions[..] {
                [only] => playbook.actions[*only].id.clone(),
                several => {
                    let channel = several.first().and_then(|idx| playbook.actions[*idx].channel);
                    channel.map(|channel| playbook.contact.channels[channel].id.clone()).unwrap_or_default()
                }
            };
            if used.price > 0.0 {
                response.shadow_prices.insert(name.clone(), used.price);
            }
            response.unused_capacities.insert(name, used.unused());
        }
        response.budget_price = allocation.budget.as_ref().map_or(0.0, |budget| budget.price);
    }
}

/// What a whole batch comes to.
#[derive(Default)]
struct Totals {
    cost: f64,
    expected_value: f64,
    variance: f64,
}

impl Totals {
    fn add(&mut self, decision: &Decision, sd: f64) {
        self.cost += decision.cost;
        self.expected_value += decision.expected_value;
        self.variance += sd * sd;
    }

    /// The limits take customers' values as independent of each other.
    fn tell(&self, response: &mut v1::RecommendBatchResponse) {
        let half_width = SDS_OF_95_PERCENT * self.variance.sqrt();
        response.total_cost = self.cost;
        response.total_expected_value = self.expected_value;
        response.total_low = self.expected_value - half_width;
        response.total_high = self.expected_value + half_width;
    }
}

/// One row of the answer.
trait Rows {
    fn push(&mut self, decision: &Decision, is_dry: bool);
    fn push_refused(&mut self);
}

impl Rows for v1::RecommendBatchResponse {
    fn push(&mut self, decision: &Decision, is_dry: bool) {
        self.row_statuses.push(v1::RowStatus::Ok.into());
        self.actions.push(decision.action.clone());
        self.propensities.push(decision.propensity);
        self.expected_values.push(decision.expected_value);
        self.decision_ids.push(if is_dry { String::new() } else { decision.id.to_string() });
    }

    fn push_refused(&mut self) {
        self.row_statuses.push(v1::RowStatus::Invalid.into());
        self.actions.push(String::new());
        self.propensities.push(f64::NAN);
        self.expected_values.push(f64::NAN);
        self.decision_ids.push(String::new());
    }
}

/// What is wrong with one row; what is wrong with the server is wrong with the call.
fn row_error(row: usize, error: CallError) -> Result<v1::RowError, CallError> {
    let violation = match error {
        CallError::Invalid(violations) => violations.into_first().ok_or(CallError::Internal)?,
        CallError::UnknownCustomer(violation) => violation,
        error => return Err(error),
    };
    let field = if violation.field == "customer_id" { format!("customer_ids[{row}]") } else { violation.field };
    Ok(v1::RowError { row: row as u32, field, reason: violation.reason.to_owned(), description: violation.description })
}

/// One feature of all rows.
struct Column<'r> {
    name: &'r str,
    values: Option<&'r v1::feature_column::Values>,
    missing: HashSet<u32>,
}

impl<'r> Column<'r> {
    fn of(column: &'r v1::FeatureColumn) -> Self {
        Self { name: &column.name, values: column.values.as_ref(), missing: column.missing.iter().copied().collect() }
    }

    /// The value of a row; lengths are checked already.
    fn value(&self, row: usize) -> FeatureValue<'r> {
        use v1::feature_column::Values;
        if self.missing.contains(&(row as u32)) {
            return FeatureValue::Missing;
        }
        let value = match self.values {
            Some(Values::Numbers(numbers)) => numbers.values.get(row).map(|number| FeatureValue::Number(*number)),
            Some(Values::Texts(texts)) => texts.values.get(row).map(|text| FeatureValue::Text(text)),
            Some(Values::Booleans(booleans)) => booleans.values.get(row).map(|yes| FeatureValue::Boolean(*yes)),
            None => None,
        };
        value.unwrap_or(FeatureValue::Missing)
    }
}

/// What can be said of a request before any customer is looked at.
fn check_request(request: &v1::RecommendBatchRequest, live: &Live, max_rows: usize) -> Result<(), CallError> {
    check_count("customer_ids", request.customer_ids.len(), max_rows)?;
    let mut violations = Violations::default();
    let mut seen = HashSet::new();
    for (row, id) in request.customer_ids.iter().enumerate() {
        if !seen.insert(id) {
            violations
                .push(|| Violation::new(format!("customer_ids[{row}]"), "DUPLICATE_CUSTOMER", "stands in the request already"));
        }
    }
    let mut names = HashSet::new();
    for (position, column) in request.columns.iter().enumerate() {
        if !names.insert(&column.name) {
            violations.push(|| {
                Violation::new(format!("columns[{position}].name"), "DUPLICATE_FEATURE", "stands in the request already")
            });
        }
        let n_rows = request.customer_ids.len();
        if let Some(found) = n_values(column).filter(|found| *found != n_rows) {
            let description = format!("has {found} values, and there are {n_rows} customers");
            violations.push(|| Violation::new(format!("columns[{position}].values"), "WRONG_LENGTH", &description));
        }
    }
    for action in request.capacities.keys() {
        if let Err(violation) = check_action(live, action) {
            violations.push(|| Violation { field: format!("capacities[\"{action}\"]"), ..violation });
        }
    }
    if request.budget.is_some_and(|budget| !(0.0..=f64::MAX).contains(&budget)) {
        violations.push(|| Violation::new("budget", "INVALID_VALUE", "should be an amount from 0 on"));
    }
    violations.check()
}

fn n_values(column: &v1::FeatureColumn) -> Option<usize> {
    use v1::feature_column::Values;
    match column.values.as_ref()? {
        Values::Numbers(numbers) => Some(numbers.values.len()),
        Values::Texts(texts) => Some(texts.values.len()),
        Values::Booleans(booleans) => Some(booleans.values.len()),
    }
}

/// What was decided for each customer before.
async fn histories(store: &Store, ids: &[String], since_ms: i64) -> Result<Vec<Vec<PastDecision>>, CallError> {
    let mut histories = Vec::with_capacity(ids.len());
    for ids in ids.chunks(HISTORIES_AT_ONCE) {
        // All of a chunk are asked for before the first is waited for.
        let asked: Vec<_> = ids.iter().map(|id| store.history(id, since_ms)).collect();
        for history in asked {
            histories.push(history.await?);
        }
    }
    Ok(histories)
}

fn empty_response(live: &Live) -> v1::RecommendBatchResponse {
    v1::RecommendBatchResponse {
        playbook: Some(playbook_version(&live.playbook)),
        currency: live.playbook.settings.currency.clone(),
        ..v1::RecommendBatchResponse::default()
    }
}
