//! `ModelService`: which models are there, what they are, and the taking up of new ones.

use std::sync::Arc;

use retain_core::{AddressError, ModelName};
use retain_proto::v1;
use retain_proto::v1::model_service_server::ModelService;
use retain_score::RegistryError;
use tonic::{Request, Response, Status};

use crate::convert;
use crate::customers::Customers;
use crate::models::{Models, ReloadError, SetAliasError};
use crate::status::{CallError, Violation};
use crate::text::chain;

/// Answers `ListModels`, `GetModel`, `Reload` and `SetAlias`.
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
        let model = set.select_one(&request.get_ref().model, "")?.model;
        Ok(Response::new(convert::model_description(&set, model)))
    }

    async fn reload(&self, _: Request<v1::ReloadRequest>) -> Result<Response<v1::ReloadResponse>, Status> {
        let set = self.models.reload_unless_running().await.map_err(CallError::from)?;
        // Reading millions of rows may take longer than a call.
        self.models.customers().into_iter().for_each(Customers::wake);
        Ok(Response::new(convert::reload_response(&set)))
    }

    async fn set_alias(&self, request: Request<v1::SetAliasRequest>) -> Result<Response<v1::SetAliasResponse>, Status> {
        let v1::SetAliasRequest { name, alias, version } = request.into_inner();
        let invalid = |error: AddressError| CallError::from(Violation::new("name", "INVALID_MODEL_NAME", &error.to_string()));
        let name = ModelName::new(&name).map_err(invalid)?;
        let set = self.models.set_alias(name.clone(), alias, version).await.map_err(CallError::from)?;
        let live = set.by_name.get(&name).and_then(|model| Some(convert::live_model(model, model.versions.get(&version)?)));
        Ok(Response::new(v1::SetAliasResponse { live }))
    }
}

impl From<SetAliasError> for CallError {
    fn from(error: SetAliasError) -> Self {
        let unknown = |field, reason, error: &RegistryError| Violation::new(field, reason, &format!("names none: {error}"));
        match error {
            SetAliasError::Version { .. } => Self::VersionRefused { description: chain(&error) },
            SetAliasError::Reload(_) => Self::AliasNotTakenUp { description: chain(&error) },
            SetAliasError::ReadOnly => Self::Unimplemented { description: error.to_string() },
            SetAliasError::Running => Self::ReloadRunning,
            SetAliasError::BrokeOff => Self::Internal,
            SetAliasError::Registry(error) => match &error {
                RegistryError::UnknownModel { .. } => Self::UnknownModel(unknown("name", "MODEL_NOT_FOUND", &error)),
                RegistryError::UnknownVersion { .. } => Self::UnknownModel(unknown("version", "VERSION_NOT_FOUND", &error)),
                RegistryError::UnknownAlias { .. } => unknown("alias", "UNKNOWN_ALIAS", &error).into(),
                _ => Self::Registry { description: chain(&error) },
            },
        }
    }
}

impl From<ReloadError> for CallError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Running => Self::ReloadRunning,
            ReloadError::Registry(_) | ReloadError::Store(_) | ReloadError::Empty { .. } | ReloadError::Customers(_) => {
                Self::Registry { description: chain(&error) }
            }
            ReloadError::BrokeOff => Self::Internal,
        }
    }
}
