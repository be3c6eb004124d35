//! The cryptography that tokens are checked with: `ring`, which encrypts the connections too.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use signature::Verifier;

static PROVIDER: CryptoProvider = CryptoProvider {
    // Tokens are made by others.
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Checks signatures from now on.
pub(super) fn install() {
    // Installed before, by another server of this process: then it is the same.
    let _ = PROVIDER.install_default();
}

/// A public RSA key, or none where these bytes hold no such key.
pub(super) fn rsa_key(pem: &[u8]) -> Option<DecodingKey> {
    let key = DecodingKey::from_rsa_pem(pem).ok()?;
    // RSAPublicKey of 2,048 bits: a shorter one is refused when it is used, which is too late.
    (key.try_get_as_bytes().ok()?.len() >= 256).then_some(key)
}

/// A public key on P-256, or none where these bytes hold no such key.
pub(super) fn ec_key(pem: &[u8]) -> Option<DecodingKey> {
    let key = DecodingKey::from_ec_pem(pem).ok()?;
    // An uncompressed point: 4, x, y.
    let is_point = matches!(key.try_get_as_bytes(), Ok([4, point @ ..]) if point.len() == 64);
    is_point.then_some(key)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that a provider has")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let bytes = key.try_get_as_bytes()?;
    Ok(match algorithm {
        Algorithm::HS256 => Box::new(Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
        Algorithm::RS256 => Box::new(PublicKey {
            algorithm: *algorithm,
            key: UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bytes.to_vec()),
        }),
        Algorithm::ES256 => {
            Box::new(PublicKey { algorithm: *algorithm, key: UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes.to_vec()) })
        }
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    })
}

struct Hmac(hmac::Key);

impl Verifier<Vec<u8>> for Hmac {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        // In constant time.
        hmac::verify(&self.0, message, tag).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Hmac {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct PublicKey {
    algorithm: Algorithm,
    key: UnparsedPublicKey<Vec<u8>>,
}

impl Verifier<Vec<u8>> for PublicKey {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        self.key.verify(message, signed).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for PublicKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
