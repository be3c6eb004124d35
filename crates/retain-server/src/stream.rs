//! `PredictStream`: one answer after another, as fast as they are taken.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use retain_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::gate::Guest;
use crate::service::Prediction;
use crate::status::{CallError, explain_refusal};

/// Answers that wait for the connection to take them; the next request is read when there is room for its answer.
const WAITING_ANSWERS: usize = 4;
/// Longest that a stream may wait for its client.
const IDLE: Duration = Duration::from_mins(5);

/// What a stream gives next; after an error it ends.
type StreamAnswer = Result<v1::PredictStreamResponse, Status>;

/// The answers of a stream, and why it ended.
pub(crate) type StreamAnswers = Pin<Box<dyn Stream<Item = StreamAnswer> + Send>>;

/// Answers requests until there are no more, the client is gone or silent, or the server stops.
pub(crate) fn answer_stream(
    prediction: Prediction,
    request: Request<Streaming<v1::PredictRequest>>,
    request_id: Option<Arc<str>>,
    stopping: watch::Receiver<bool>,
) -> StreamAnswers {
    let guest = request.extensions().get::<Guest>().cloned();
    let requests = request.into_inner();
    let (answers, receiver) = mpsc::channel(WAITING_ANSWERS);
    // The last word has a room of its own: there is none among the answers where a client does not read.
    let (ending, ended) = mpsc::channel(1);
    tokio::spawn(async move {
        let requests = Incoming { requests, guest, request_id };
        if let Err(status) = answer_all(&prediction, requests, answers, stopping).await {
            // A client that is gone does not hear it.
            let _ = ending.try_send(Err(status));
        }
    });
    Box::pin(ReceiverStream::new(receiver).chain(ReceiverStream::new(ended)))
}

/// What a stream brings, and whose it is.
struct Incoming {
    requests: Streaming<v1::PredictRequest>,
    guest: Option<Guest>,
    request_id: Option<Arc<str>>,
}

async fn answer_all(
    prediction: &Prediction,
    Incoming { mut requests, guest, request_id }: Incoming,
    answers: mpsc::Sender<StreamAnswer>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Status> {
    loop {
        let step = async {
            let Ok(slot) = answers.reserve().await else { return Ok(None) };
            let request = requests.message().await.map_err(|status| explain_refusal(&status).unwrap_or(status))?;
            Ok::<_, Status>(request.map(|request| (slot, request)))
        };
        let next = tokio::select! {
            next = timeout(IDLE, step) => next.unwrap_or_else(|_| Err(CallError::DeadlinePassed.into()))?,
            // An error is a sender that is gone, which says the same.
            _ = stopping.wait_for(|stopping| *stopping) => return Err(CallError::Stopping.into()),
        };
        let Some((slot, request)) = next else { return Ok(()) };
        // Each message counts as a call, and needs a token that is still believed: otherwise a stream would go round both.
        guest.as_ref().map_or(Ok(()), |guest| guest.check((prediction.config().now)()))?;
        let allowed = guest.as_ref().map_or(Ok(()), Guest::count_call);
        let answer = allowed.and_then(|()| prediction.answer(&request, request_id.clone(), prediction.stream_stopwatch()));
        slot.send(Ok(outcome(prediction, answer)));
    }
}

fn outcome(prediction: &Prediction, answer: Result<v1::PredictResponse, CallError>) -> v1::PredictStreamResponse {
    use v1::predict_stream_response::Outcome;
    let outcome = match answer {
        Ok(response) => Outcome::Response(response),
        Err(error) => {
            let error = stream_error(&Status::from(error));
            prediction.refused(&error.reason);
            Outcome::Error(error)
        }
    };
    v1::PredictStreamResponse { outcome: Some(outcome) }
}

fn stream_error(status: &Status) -> v1::StreamError {
    let details = status.get_error_details();
    let fields = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let field = |violation: &tonic_types::FieldViolation| v1::FieldError {
        field: violation.field.clone(),
        reason: violation.reason.clone(),
        description: violation.description.clone(),
    };
    v1::StreamError {
        code: i32::from(status.code()) as u32,
        reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
        message: status.message().to_owned(),
        fields: fields.iter().map(field).collect(),
    }
}
