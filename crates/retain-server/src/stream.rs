//! `PredictStream`: one answer after another, as fast as they are taken.

use std::time::Duration;

use retain_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

use crate::service::Prediction;
use crate::status::{CallError, explain_refusal};

/// Answers that wait for the connection to take them; the next request is read when there is room for its answer.
pub(crate) const WAITING_ANSWERS: usize = 4;
/// Longest that a stream may wait for its client.
const IDLE: Duration = Duration::from_mins(5);

/// What a stream gives next; after an error it ends.
pub(crate) type StreamAnswer = Result<v1::PredictStreamResponse, Status>;

/// Answers requests until there are no more, the client is gone or silent, or the server stops.
pub(crate) async fn answer_stream(
    prediction: Prediction,
    mut requests: Streaming<v1::PredictRequest>,
    answers: mpsc::Sender<StreamAnswer>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let read = tokio::select! {
            read = timeout(IDLE, requests.message()) => read.unwrap_or_else(|_| Err(CallError::DeadlinePassed.into())),
            // An error is a sender that is gone, which says the same.
            _ = stopping.wait_for(|stopping| *stopping) => Err(CallError::Stopping.into()),
        };
        let answer = match read {
            Ok(None) => return,
            Ok(Some(request)) => Ok(outcome(prediction.answer(request))),
            Err(status) => Err(explain_refusal(&status).unwrap_or(status)),
        };
        let ends = answer.is_err();
        if !matches!(timeout(IDLE, answers.send(answer)).await, Ok(Ok(()))) || ends {
            return;
        }
    }
}

fn outcome(answer: Result<v1::PredictResponse, CallError>) -> v1::PredictStreamResponse {
    use v1::predict_stream_response::Outcome;
    let outcome = match answer {
        Ok(response) => Outcome::Response(response),
        Err(error) => Outcome::Error(stream_error(&Status::from(error))),
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
