//! Encrypted connections: certificates are read at the start, and again while the server runs, so that renewing one needs no restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Largest file that is read: a certificate chain has a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where the certificate and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// Roots of clients' certificates: with these, only clients that show a certificate of one of them are talked to (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that holds something else than it should.
    #[error("`{path}` should hold {expected} in PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key that do not belong together, or that cannot be used.
    #[error("the certificate `{path}` cannot be used: {reason}")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    /// The settings, and the bytes of the files they came from.
    current: ArcSwap<(Arc<ServerConfig>, Vec<Vec<u8>>)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file that is wrong.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let config = files.config(&contents)?;
        Ok(Self { files, current: ArcSwap::from_pointee((config, contents)) })
    }

    /// What encrypts the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load().0.clone())
    }

    /// Reads the files again and uses them from the next connection on; true where they have changed. On an error the ones before stay.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let contents = self.files.read()?;
        if contents == self.current.load().1 {
            return Ok(false);
        }
        let config = self.files.config(&contents)?;
        self.current.store(Arc::new((config, contents)));
        tracing::info!(certificate = %self.files.certificate.display(), "the certificate was read again");
        Ok(true)
    }

    /// Looks at the files again and again.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut last = String::new();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let tls = self.clone();
            let read = tokio::task::spawn_blocking(move || tls.reload().map_err(|error| crate::text::chain(&error)));
            // Told once: a file that is written in several steps, or gone, stays so for a while.
            match read.await {
                Ok(Err(reason)) if reason != last => {
                    tracing::error!(reason, "the certificate stays as it was");
                    last = reason;
                }
                Ok(Ok(_)) => last.clear(),
                _ => {}
            }
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().map(|path| read(path)).collect()
    }

    /// The settings that these contents of the files make.
    fn config(&self, contents: &[Vec<u8>]) -> Result<Arc<ServerConfig>, TlsError> {
        let wrong = |reason: String| TlsError::Certificate { path: self.certificate.clone(), reason };
        let pem = |path: &PathBuf, expected| TlsError::Pem { path: path.clone(), expected };
        let chain = certificates(&contents[0]).ok_or_else(|| pem(&self.certificate, "a certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&contents[1]).map_err(|_| pem(&self.key, "a private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| wrong(error.to_string()))?;
        let clients = match (&self.client_ca, contents.get(2)) {
            (Some(path), Some(contents)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(contents).ok_or_else(|| pem(path, "certificates of clients' roots"))? {
                    roots.add(root).map_err(|_| pem(path, "certificates of clients' roots"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                versions.with_client_cert_verifier(verifier.map_err(|error| wrong(error.to_string()))?)
            }
            _ => versions.with_no_client_auth(),
        };
        let mut config = clients.with_single_cert(chain, key).map_err(|error| wrong(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates of a PEM file; none where there is not one, or one that cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!list.is_empty()).then_some(list)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(io::Error::other(format!("it has {size} bytes, at most {MAX_FILE_BYTES} are read"))));
    }
    std::fs::read(path).map_err(failed)
}
