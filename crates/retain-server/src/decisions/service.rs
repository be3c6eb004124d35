//! `DecisionService`: a request becomes a decision, and the decision a record.

use std::sync::Arc;

use arc_swap::Guard;
use retain_core::{DecisionId, NO_ACTION, PastDecision, nearest};
use retain_policy::decide::{Decided, Situation, decide};
use retain_policy::playbook::Language;
use retain_proto::v1;
use retain_proto::v1::decision_service_server::DecisionService;
use retain_store::MAX_JSON_BYTES;
use ring::rand::{SecureRandom, SystemRandom};
use tonic::{Request, Response, Status};

use super::Decisions;
use super::answer::{assessment, candidate, playbook_version, timestamp};
use super::live::Live;
use super::look::{Asking, Seen, Sources};
use super::record;
use crate::convert::{self, Features};
use crate::customers::Lookup;
use crate::models::LiveSet;
use crate::service::Prediction;
use crate::status::{CallError, Violation, Violations};

/// How often a decision is made anew because another one has taken the last of a capacity meanwhile.
const MAX_ATTEMPTS: usize = 8;
const DAY_MS: f64 = 86_400_000.0;
/// Most bytes of a customer's id, as the log takes it.
const MAX_CUSTOMER_ID_BYTES: usize = retain_store::MAX_CUSTOMER_ID_BYTES;

/// Answers the calls of `DecisionService`.
#[derive(Clone)]
pub(crate) struct DecisionCalls {
    prediction: Arc<Prediction>,
    /// None: the server has no playbook.
    decisions: Option<Arc<Decisions>>,
    random: SystemRandom,
}

/// A decision that is not kept yet, and what it takes.
struct Drawn {
    response: v1::RecommendResponse,
    /// None where nothing is to be kept.
    decision: Option<retain_core::Decision>,
    taken: (Option<usize>, Option<usize>),
}

#[tonic::async_trait]
impl DecisionService for DecisionCalls {
    async fn recommend(&self, request: Request<v1::RecommendRequest>) -> Result<Response<v1::RecommendResponse>, Status> {
        Ok(Response::new(self.recommend_one(request.into_inner()).await?))
    }

    async fn recommend_batch(
        &self,
        request: Request<v1::RecommendBatchRequest>,
    ) -> Result<Response<v1::RecommendBatchResponse>, Status> {
        Ok(Response::new(self.recommend_many(request.into_inner()).await?))
    }

    async fn record_outcome(
        &self,
        request: Request<v1::RecordOutcomeRequest>,
    ) -> Result<Response<v1::RecordOutcomeResponse>, Status> {
        let decisions = self.decisions()?;
        Ok(Response::new(record::outcome(&decisions.log, request.into_inner(), decisions.now_ms()).await?))
    }

    async fn record_override(
        &self,
        request: Request<v1::RecordOverrideRequest>,
    ) -> Result<Response<v1::RecordOverrideResponse>, Status> {
        let decisions = self.decisions()?;
        let live = decisions.live();
        let is_action = |id: &str| check_action(&live, id);
        Ok(Response::new(record::overriding(&decisions.log, request.into_inner(), is_action, decisions.now_ms()).await?))
    }

    async fn assess(&self, request: Request<v1::AssessRequest>) -> Result<Response<v1::AssessResponse>, Status> {
        Ok(Response::new(self.assess_one(request.into_inner()).await?))
    }
}

impl DecisionCalls {
    /// Decides with this playbook, over what these services predict.
    pub(crate) fn new(prediction: Arc<Prediction>, decisions: Option<Arc<Decisions>>) -> Self {
        Self { prediction, decisions, random: SystemRandom::new() }
    }

    pub(super) fn decisions(&self) -> Result<&Arc<Decisions>, CallError> {
        let none =
            || CallError::NoPlaybook { description: "the server has no playbook: `[decisions]` of its settings".to_owned() };
        self.decisions.as_ref().ok_or_else(none)
    }

    pub(super) fn sources<'s>(&'s self, (set, customers): (&'s LiveSet, &'s Lookup), live: &'s Live, now_ms: i64) -> Sources<'s> {
        Sources { set, customers, config: self.prediction.config(), live, now_ms }
    }

    /// What answers now: all that one call says is from these.
    pub(super) fn now_live(&self) -> (Guard<Arc<LiveSet>>, Lookup) {
        (self.prediction.models().live(), Lookup::new(self.prediction.models()))
    }

    /// Waits for a worker, as batches do.
    pub(super) fn prediction(&self) -> &Arc<Prediction> {
        &self.prediction
    }

    async fn recommend_one(&self, request: v1::RecommendRequest) -> Result<v1::RecommendResponse, CallError> {
        let decisions = self.decisions()?;
        let (live, now_ms) = (decisions.live(), decisions.now_ms());
        check_customer(&request.customer_id)?;
        let store = decisions.log.store()?;
        let since_ms = history_since(&live, now_ms);
        // Until the decision is kept.
        let _turn = decisions.turns.of(&request.customer_id).await;
        let history = store.history(&request.customer_id, since_ms).await?;
        let drawn = self.draw(decisions, &live, &request, &history, now_ms)?;
        let Some(decision) = drawn.decision else {
            return Ok(drawn.response);
        };
        let (action, channel) = drawn.taken;
        let kept = store.record_decision(decision).await;
        if kept.is_err() {
            decisions.supplies.load().give_back(action, channel, now_ms);
        }
        kept?;
        Ok(drawn.response)
    }

    /// Decides, and takes what the decision needs.
    fn draw(
        &self,
        decisions: &Decisions,
        live: &Live,
        request: &v1::RecommendRequest,
        history: &[PastDecision],
        now_ms: i64,
    ) -> Result<Drawn, CallError> {
        let mut violations = Violations::default();
        let language = language(request.language, live, &mut violations);
        let channels: Vec<&str> = request.channels.iter().map(String::as_str).collect();
        check_channels(live, &channels, &mut violations);
        violations.check()?;
        let asking = Asking {
            customer_id: &request.customer_id,
            features: Features::from(&request.features),
            observed_at: request.observed_at.as_ref(),
            unknown_feature_policy: request.unknown_feature_policy,
        };
        let learned = decisions.learned.load();
        let supplies = decisions.supplies.load();
        let (set, customers) = self.now_live();
        self.sources((&set, &customers), live, now_ms).look(&asking, history, None, |seen| {
            let learned = learned.of(seen.assessed.segment());
            let mut attempts = 0;
            loop {
                attempts += 1;
                let supply = supplies.supply(&live.playbook, now_ms);
                let situation = Situation {
                    customer_id: &request.customer_id,
                    now_ms,
                    history,
                    effects: seen.effects,
                    learned: &learned,
                    supply: &supply,
                    channels: (!channels.is_empty()).then_some(&channels[..]),
                    reasons: seen.reasons,
                    uniform: self.uniform()?,
                };
                let decided = decide(&live.playbook, &seen.values, &situation);
                if request.dry_run || supplies.take(&decided) {
                    return self.drawn(&decided, &seen, request, language);
                }
                if attempts == MAX_ATTEMPTS {
                    return Err(CallError::TooManyInFlight);
                }
            }
        })?
    }

    fn drawn(
        &self,
        decided: &Decided<'_>,
        seen: &Seen<'_>,
        request: &v1::RecommendRequest,
        language: Language,
    ) -> Result<Drawn, CallError> {
        let id = DecisionId::new(decided.now_ms, self.random_bytes()?);
        let with_rules = request.top_k_candidates > 0;
        let ranked = if with_rules { decided.in_order() } else { decided.ranked() };
        let mut told: Vec<v1::Candidate> = Vec::with_capacity(ranked.len());
        for (place, ranked) in ranked.into_iter().enumerate() {
            // Doing nothing is told in any case.
            if !with_rules || place < request.top_k_candidates as usize || ranked.action.is_none() {
                told.push(candidate(decided, ranked, with_rules, language));
            }
        }
        let chosen = decided.chosen();
        let taken = (chosen.action, chosen.action.and_then(|idx| decided.playbook.actions[idx].channel));
        let response = v1::RecommendResponse {
            customer_id: request.customer_id.clone(),
            decision_id: if request.dry_run { String::new() } else { id.to_string() },
            playbook: Some(playbook_version(decided.playbook)),
            chosen: Some(candidate(decided, chosen, with_rules, language)),
            candidates: told,
            holdout: decided.holdout,
            decided_at: Some(timestamp(decided.now_ms)),
            window_closes_at: Some(timestamp(decided.window_closes_at_ms())),
            predictions: seen.predictions.clone(),
            stored_row: seen.stored_row,
        };
        let decision = (!request.dry_run).then(|| decided.decision(id, (seen.context)(), MAX_JSON_BYTES));
        Ok(Drawn { response, decision, taken })
    }

    async fn assess_one(&self, request: v1::AssessRequest) -> Result<v1::AssessResponse, CallError> {
        let decisions = self.decisions()?;
        let (live, now_ms) = (decisions.live(), decisions.now_ms());
        let mut violations = Violations::default();
        let language = language(request.language, &live, &mut violations);
        violations.check()?;
        let history = match &request.customer_id[..] {
            "" => Vec::new(),
            id => decisions.log.store()?.history(id, history_since(&live, now_ms)).await?,
        };
        let asking = |features| Asking {
            customer_id: &request.customer_id,
            features: Features::from(features),
            observed_at: request.observed_at.as_ref(),
            unknown_feature_policy: request.unknown_feature_policy,
        };
        let (set, customers) = self.now_live();
        let (sources, assess) = (self.sources((&set, &customers), &live, now_ms), live.playbook.assessment());
        let before = if request.previous_features.is_empty() {
            None
        } else {
            let earlier = asking(&request.previous_features);
            Some(sources.look(&earlier, &history, None, |seen| assess.remember(&seen.assessed, now_ms))?)
        };
        let answer = sources.look(&asking(&request.features), &history, before.as_ref(), |seen| {
            let report = assess.report(&seen.assessed, live.playbook.names(), &seen.values, language);
            v1::AssessResponse { stored_row: seen.stored_row, ..assessment(report) }
        })?;
        let playbook = Some(playbook_version(&live.playbook));
        Ok(v1::AssessResponse { customer_id: request.customer_id, playbook, ..answer })
    }

    /// A random number from 0 to below 1, of 53 bits.
    pub(super) fn uniform(&self) -> Result<f64, CallError> {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes).map_err(|_| CallError::Internal)?;
        Ok((u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64)
    }

    pub(super) fn random_bytes(&self) -> Result<[u8; 10], CallError> {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes).map_err(|_| CallError::Internal)?;
        Ok(bytes)
    }
}

/// How far back the playbook looks.
pub(super) fn history_since(live: &Live, now_ms: i64) -> i64 {
    now_ms.saturating_sub((live.playbook.history_days() * DAY_MS) as i64)
}

fn language(number: i32, live: &Live, violations: &mut Violations) -> Language {
    if number == i32::from(v1::Language::Unspecified) {
        return live.playbook.settings.language;
    }
    match convert::Language::of(number, violations) {
        convert::Language::English => Language::English,
        convert::Language::Spanish => Language::Spanish,
    }
}

pub(super) fn check_customer(id: &str) -> Result<(), CallError> {
    if id.is_empty() {
        return Err(Violation::new(
            "customer_id",
            "CUSTOMER_REQUIRED",
            "should say for whom: limits and the holdout depend on it",
        )
        .into());
    }
    if id.len() > MAX_CUSTOMER_ID_BYTES || id.contains('\0') {
        let description = format!("should have at most {MAX_CUSTOMER_ID_BYTES} bytes and no NUL");
        return Err(Violation::new("customer_id", "INVALID_VALUE", &description).into());
    }
    Ok(())
}

fn check_channels(live: &Live, channels: &[&str], violations: &mut Violations) {
    let known = || live.playbook.contact.channels.iter().map(|channel| channel.id.as_str());
    for (position, channel) in channels.iter().enumerate() {
        if !known().any(|id| id == *channel) {
            let hint = nearest(channel, known()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let description = format!("is not a channel of the playbook{hint}");
            violations.push(|| Violation::new(format!("channels[{position}]"), "UNKNOWN_CHANNEL", &description));
        }
    }
}

pub(super) fn check_action(live: &Live, id: &str) -> Result<(), Violation> {
    let known = || live.playbook.actions.iter().map(|action| action.id.as_str()).chain([NO_ACTION]);
    if known().any(|action| action == id) {
        return Ok(());
    }
    let hint = nearest(id, known()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Violation::new("action", "UNKNOWN_ACTION", &format!("is not an action of the playbook{hint}")))
}
