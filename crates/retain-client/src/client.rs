//! The calls that can be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use retain_proto::v1;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::Streaming;
use tonic::metadata::{Ascii, MetadataValue};

use crate::builder::Builder;
use crate::call::Method;
use crate::error::Error;
use crate::retry::{Backoff, Budget, Effect, Random};
use crate::servers::{Place, ServerHealth, Servers};

const PREDICT: Method = Method { path: "/retain.v1.PredictionService/Predict", effect: Effect::Repeatable };
const PREDICT_BATCH: Method = Method { path: "/retain.v1.PredictionService/PredictBatch", effect: Effect::Repeatable };
const PREDICT_STREAM: Method = Method { path: "/retain.v1.PredictionService/PredictStream", effect: Effect::Once };
const EXPLAIN: Method = Method { path: "/retain.v1.PredictionService/Explain", effect: Effect::Repeatable };
const WHAT_IF: Method = Method { path: "/retain.v1.PredictionService/WhatIf", effect: Effect::Repeatable };
const LIST_MODELS: Method = Method { path: "/retain.v1.ModelService/ListModels", effect: Effect::Repeatable };
const GET_MODEL: Method = Method { path: "/retain.v1.ModelService/GetModel", effect: Effect::Repeatable };
const RELOAD: Method = Method { path: "/retain.v1.ModelService/Reload", effect: Effect::Repeatable };
// Another one may have pointed the alias elsewhere meanwhile.
const SET_ALIAS: Method = Method { path: "/retain.v1.ModelService/SetAlias", effect: Effect::Once };

/// Calls a set of servers. Clones share connections and what is known of the servers.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Duration,
    pub(crate) request_id: Option<MetadataValue<Ascii>>,
}

/// What all clones of a client have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) servers: Servers,
    pub(crate) backoff: Backoff,
    pub(crate) budget: Budget,
    pub(crate) random: Random,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) fail_fast: bool,
    pub(crate) max_answer_bytes: usize,
    pub(crate) n_retries: AtomicU64,
    pub(crate) watches: Vec<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
    }
}

/// The answers of a stream, in the order of its requests.
#[derive(Debug)]
pub struct PredictionStream {
    pub(crate) answers: Streaming<v1::PredictStreamResponse>,
    /// The stream counts among the server's calls as long as it is read.
    pub(crate) _place: Place,
}

impl PredictionStream {
    /// The next answer; none when all requests have been answered.
    ///
    /// # Errors
    /// The status that ended the stream: `UNAVAILABLE` when the server stops; what was not answered then was not scored.
    pub async fn message(&mut self) -> Result<Option<v1::PredictStreamResponse>, tonic::Status> {
        self.answers.message().await
    }
}

impl Client {
    pub(crate) fn new(shared: Shared, deadline: Duration) -> Self {
        Self { shared: Arc::new(shared), deadline, request_id: None }
    }

    /// Settings of a client of these servers, such as `http://10.0.0.1:50051`.
    pub fn builder<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Builder {
        Builder::new(addresses.into_iter().map(Into::into).collect())
    }

    /// A client of these servers with the default settings, as soon as one of them is ready.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Result<Self, Error> {
        Self::builder(addresses).connect().await
    }

    /// The same client, whose calls may take as long as this.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same client, whose calls carry this `x-request-id`; otherwise each call has one of its own.
    ///
    /// # Errors
    /// [`Error::Setting`] when a header cannot hold it.
    pub fn with_request_id(&self, id: &str) -> Result<Self, Error> {
        let wrong = |_| Error::Setting { setting: "request id", expected: "of letters that a header may hold" };
        Ok(Self { request_id: Some(id.parse().map_err(wrong)?), ..self.clone() })
    }

    /// Scores one customer with one or several models.
    ///
    /// # Errors
    /// [`Error::Call`] says why there is no answer, [`Error::NotReady`] that no server was to be had.
    pub async fn predict(&self, request: &v1::PredictRequest) -> Result<v1::PredictResponse, Error> {
        self.unary(PREDICT, request).await
    }

    /// Scores many customers, column by column; a row that does not fit has its error in the answer.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn predict_batch(&self, request: &v1::PredictBatchRequest) -> Result<v1::PredictBatchResponse, Error> {
        self.unary(PREDICT_BATCH, request).await
    }

    /// Scores one customer after another. The deadline holds until the stream is open; then the server's own limits do. What a stream
    /// has sent is never sent again.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn predict_stream(
        &self,
        requests: impl Stream<Item = v1::PredictRequest> + Send + 'static,
    ) -> Result<PredictionStream, Error> {
        self.open_stream(PREDICT_STREAM, requests).await
    }

    /// Tells what every feature adds to one customer's prediction.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn explain(&self, request: &v1::ExplainRequest) -> Result<v1::ExplainResponse, Error> {
        self.unary(EXPLAIN, request).await
    }

    /// Tells what the models would expect if some features had other values.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn what_if(&self, request: &v1::WhatIfRequest) -> Result<v1::WhatIfResponse, Error> {
        self.unary(WHAT_IF, request).await
    }

    /// Every published version, as one of the servers knows them.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn list_models(&self) -> Result<Vec<v1::ModelSummary>, Error> {
        let answer: v1::ListModelsResponse = self.unary(LIST_MODELS, &v1::ListModelsRequest {}).await?;
        Ok(answer.models)
    }

    /// All about one live version: `name` (its champion), `name@alias` or `name/version`.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn get_model(&self, model: &str) -> Result<v1::GetModelResponse, Error> {
        self.unary(GET_MODEL, &v1::GetModelRequest { model: model.to_owned() }).await
    }

    /// Makes every server read its models again, one after another, whether it is serving or not; what came of it stands beside each
    /// address.
    pub async fn reload(&self) -> Vec<(String, Result<v1::ReloadResponse, Error>)> {
        let mut answers = Vec::new();
        for position in 0..self.shared.servers.list.len() {
            let answer = self.unary_at(position, RELOAD, &v1::ReloadRequest {}).await;
            answers.push((self.shared.servers.list[position].address.clone(), answer));
        }
        answers
    }

    /// Points an alias of a model at a version and makes one server take it up. Servers that share its models take it up when they
    /// [reload](Client::reload). The call is made again only where it surely was not executed.
    ///
    /// # Errors
    /// As [`Client::predict`].
    pub async fn set_alias(&self, request: &v1::SetAliasRequest) -> Result<v1::SetAliasResponse, Error> {
        self.unary(SET_ALIAS, request).await
    }

    /// What is known of the health of each server; no call is made.
    pub fn health(&self) -> Vec<ServerHealth> {
        self.shared.servers.list.iter().map(|server| server.seen()).collect()
    }

    /// Waits until a server is ready.
    ///
    /// # Errors
    /// [`Error::NotReady`] says of each server why it is not.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), Error> {
        let Shared { servers, random, .. } = self.shared.as_ref();
        match timeout(patience, servers.ready(&[], random)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NotReady { waited: patience, servers: servers.in_words() }),
        }
    }

    /// How many attempts this client and its clones have made beside the first ones.
    pub fn n_retries(&self) -> u64 {
        self.shared.n_retries.load(Ordering::Relaxed)
    }
}
