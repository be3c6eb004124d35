//! Encrypted connections.

use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_server::{RunningServer, Server, ServerError, TlsFiles};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{config, publish, request, telco, usual};

/// Somebody who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `localhost` and its key, in PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, (certificate, key): &(String, String)) -> TlsFiles {
    let (certificate_path, key_path) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate_path, certificate).unwrap();
    std::fs::write(&key_path, key).unwrap();
    TlsFiles { certificate: certificate_path, key: key_path, client_ca: None }
}

async fn serve(folder: &Path, tls: TlsFiles) -> RunningServer {
    publish(&retain_score::Registry::new(folder), &telco(-0.4));
    let mut config = config(folder);
    config.tls = Some(tls);
    Server::bind(config).await.unwrap().spawn().await
}

async fn connect(server: &RunningServer, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let port = server.local_addr().port();
    let address = format!("https://127.0.0.1:{port}");
    Endpoint::from_shared(address).unwrap().tls_config(tls.domain_name("localhost")).unwrap().connect().await
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem))
}

async fn predicts(channel: Result<Channel, tonic::transport::Error>) -> bool {
    let Ok(channel) = channel else { return false };
    PredictionServiceClient::new(channel).predict(request(&usual())).await.is_ok()
}

#[tokio::test]
async fn an_encrypted_server_talks_to_those_who_trust_it_and_to_nobody_in_plain() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let server = serve(folder.path(), write(folder.path(), &authority.sign())).await;
    assert!(predicts(connect(&server, trusting(&authority)).await).await);
    assert!(!predicts(connect(&server, trusting(&Authority::new("theirs"))).await).await);
    let plain = Endpoint::from_shared(format!("http://{}", server.local_addr())).unwrap();
    assert!(!predicts(plain.connect().await).await);
    // Somebody who says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut noisy = TcpStream::connect(server.local_addr()).await.unwrap();
    noisy.write_all(&[0x16; 4_096]).await.unwrap();
    // Far below what a handshake may take.
    let answer =
        tokio::time::timeout(Duration::from_secs(5), async { predicts(connect(&server, trusting(&authority)).await).await });
    assert!(answer.await.unwrap());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_certificate_is_not_talked_to_where_one_is_asked_for() {
    let (folder, authority, clients) = (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("clients"));
    let client_ca = folder.path().join("clients.pem");
    std::fs::write(&client_ca, &clients.pem).unwrap();
    let files = TlsFiles { client_ca: Some(client_ca), ..write(folder.path(), &authority.sign()) };
    let server = serve(folder.path(), files).await;
    let showing = |(certificate, key): (String, String)| trusting(&authority).identity(Identity::from_pem(certificate, key));
    assert!(predicts(connect(&server, showing(clients.sign())).await).await);
    assert!(!predicts(connect(&server, showing(authority.sign())).await).await);
    assert!(!predicts(connect(&server, trusting(&authority)).await).await);
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let (folder, before, after) = (tempfile::tempdir().unwrap(), Authority::new("before"), Authority::new("after"));
    let server = serve(folder.path(), write(folder.path(), &before.sign())).await;
    let open = connect(&server, trusting(&before)).await;
    assert!(!server.handle().reload_certificate().unwrap(), "nothing has changed");

    // A key that belongs to another certificate: renewed half-way.
    let (certificate, _) = after.sign();
    write(folder.path(), &(certificate, before.sign().1));
    assert!(server.handle().reload_certificate().is_err());
    assert!(predicts(connect(&server, trusting(&before)).await).await);

    write(folder.path(), &after.sign());
    assert!(server.handle().reload_certificate().unwrap());
    assert!(predicts(connect(&server, trusting(&after)).await).await);
    assert!(!predicts(connect(&server, trusting(&before)).await).await);
    assert!(predicts(open).await, "connections that are open stay so");
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), &Authority::new("ours").sign());
    let text = folder.path().join("text.pem");
    std::fs::write(&text, "not a certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for files in [
        TlsFiles { certificate: text.clone(), ..good.clone() },
        TlsFiles { key: text.clone(), ..good.clone() },
        TlsFiles { client_ca: Some(text.clone()), ..good.clone() },
        TlsFiles { certificate: missing.clone(), ..good.clone() },
    ] {
        let mut config = config(folder.path());
        config.tls = Some(files);
        let Err(ServerError::Tls(error)) = Server::bind(config).await else { panic!("a server without a certificate") };
        assert!(error.to_string().contains(".pem"), "{error}");
    }
}
