//! TLS: a server's own root is trusted when it is named, and not otherwise.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use retain_client::{Client, Error, TlsOptions};
use retain_server::TlsFiles;

use crate::support::{request, start};

#[tokio::test]
async fn a_server_is_believed_by_the_root_that_is_named() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let folder = tempfile::tempdir().unwrap();
    let paths = ["server.pem", "server.key"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], &certificate).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    let [certificate_path, key_path] = paths;
    let server =
        start(|config| config.tls = Some(TlsFiles { certificate: certificate_path, key: key_path, client_ca: None })).await;

    let address = format!("https://127.0.0.1:{}", server.local_addr().port());
    let options = TlsOptions { ca: Some(certificate), domain: Some("localhost".to_owned()), ..TlsOptions::default() };
    let client = Client::builder([&*address]).tls(options.clone()).connect().await.unwrap();
    client.predict(&request()).await.unwrap();

    let stranger = TlsOptions { domain: Some("elsewhere".to_owned()), ..options };
    let refused = Client::builder([&*address]).tls(stranger).connect_timeout(Duration::from_millis(500)).connect().await;
    assert!(matches!(refused, Err(Error::NotReady { .. })));
}
