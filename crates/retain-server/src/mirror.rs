//! An object store as the models directory: what its aliases point at is copied to a folder, which is read like any other.
//!
//! Built with the feature `object-store`; without it, opening a mirror says so. Credentials, regions and endpoints come from the
//! environment, in the words that the store's own tools use (`AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`,
//! `AZURE_STORAGE_ACCOUNT_NAME` …), and are never logged. The store is only read: aliases are set where models are published.

use std::path::Path;

/// Why an object store cannot be the models directory, or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// This build knows no object stores.
    #[error("`{url}` is an object store, and this build reads folders only; build it with `--features object-store`")]
    NotBuilt {
        /// What was asked for.
        url: String,
    },
    /// Not an address of a store that is known.
    #[error(
        "`{url}` should be such as `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`: {reason}"
    )]
    Url {
        /// What was asked for, without secrets.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder for the copies cannot be written.
    #[error("cannot {action} `{path}`")]
    Cache {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Some models could not be copied; the others were.
    #[error("some models of the object store cannot be copied: {failures}")]
    Models {
        /// Which, and why.
        failures: String,
    },
    /// The store did not answer as it should.
    #[error("the object store cannot be read: {reason}")]
    Unreachable {
        /// Why, in the words of the store.
        reason: String,
    },
}

impl StoreError {
    /// Whether the other models were copied all the same.
    pub(crate) fn is_of_some_models(&self) -> bool {
        matches!(self, Self::Models { .. })
    }
}

/// The address of an object store, where the models directory is one.
pub(crate) fn store_url(models: &Path) -> Option<&str> {
    models.to_str().filter(|text| text.contains("://"))
}

#[cfg(feature = "object-store")]
mod copies;
#[cfg(feature = "object-store")]
pub(crate) use copies::Mirror;

#[cfg(not(feature = "object-store"))]
pub(crate) use none::Mirror;

#[cfg(not(feature = "object-store"))]
mod none {
    use std::path::Path;

    use super::StoreError;

    /// There is none in this build.
    #[derive(Debug)]
    pub(crate) enum Mirror {}

    impl Mirror {
        pub(crate) fn open(url: &str, _cache: Option<&Path>) -> Result<Self, StoreError> {
            Err(StoreError::NotBuilt { url: url.to_owned() })
        }

        pub(crate) fn root(&self) -> &Path {
            match *self {}
        }

        #[expect(clippy::unused_async, reason = "the same signature as where there are stores")]
        pub(crate) async fn sync(&self) -> Result<(), StoreError> {
            match *self {}
        }
    }
}
