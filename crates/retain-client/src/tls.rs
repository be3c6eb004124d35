//! How servers prove who they are, and how this client does.

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Settings of encrypted connections, for addresses that begin with `https`. Without any, the roots of this machine are trusted.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Roots that are trusted instead of those of this machine, in PEM.
    pub ca: Option<String>,
    /// The client's certificate and its key, in PEM: for servers that ask for one.
    pub identity: Option<(String, String)>,
    /// The name that the server's certificate should be for, where it is not the address's.
    pub domain: Option<String>,
}

impl std::fmt::Debug for TlsOptions {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsOptions").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl TlsOptions {
    pub(crate) fn config(&self) -> ClientTlsConfig {
        let mut config = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(domain) = &self.domain {
            config = config.domain_name(domain);
        }
        config
    }
}
