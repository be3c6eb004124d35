//! `ModelService`: which models are there, what they are, and the taking up of new ones.

use std::sync::Arc;

use retain_proto::v1;
use retain_proto::v1::model_service_server::ModelService;
use tonic::{Request, Response, Status};

use crate::convert;
use crate::models::{Models, ReloadError};
use crate::status::CallError;
use crate::text::chain;

/// Answers `ListModels`, `GetModel` and `Reload`.
pub(crate) struct ModelDirectory {
    models: Arc<Models>,
}

impl ModelDirectory {
    /// Tells of these models.
    pub(crate) fn new(models: Arc<Models>) -> Self {
        Self { models }
    }
}

#[tonic::async_trait]
impl ModelService for ModelDirectory {
    async fn list_models(&self, _: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        Ok(Response::new(v1::ListModelsResponse { models: convert::model_summaries(&self.models.live()) }))
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::GetModelResponse>, Status> {
        let set = self.models.live();
        let model = set.select_one(&request.get_ref().model)?;
        Ok(Response::new(convert::model_description(&set, model)))
    }

    async fn reload(&self, _: Request<v1::ReloadRequest>) -> Result<Response<v1::ReloadResponse>, Status> {
        let set = self.models.reload_unless_running().await.map_err(CallError::from)?;
        Ok(Response::new(convert::reload_response(&set)))
    }
}

impl From<ReloadError> for CallError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Running => Self::ReloadRunning,
            ReloadError::Registry(_) | ReloadError::Empty { .. } => Self::Registry { description: chain(&error) },
            ReloadError::BrokeOff => Self::Internal,
        }
    }
}
