//! The settings of a client.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::client::{Client, Shared};
use crate::error::Error;
use crate::health;
use crate::retry::{Backoff, Budget, Random};
use crate::servers::{Server, Servers};
use crate::tls::TlsOptions;

/// The service whose health says whether predictions are to be had.
const PREDICTIONS: &str = "retain.v1.PredictionService";
/// Bytes that a server may send ahead on one stream and on one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A server that does not answer this is gone, although its connection was never closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a client, each with its default.
#[derive(Clone)]
#[must_use]
pub struct Builder {
    addresses: Vec<String>,
    api_key: Option<String>,
    tls: TlsOptions,
    deadline: Duration,
    connect_timeout: Duration,
    max_attempts: u32,
    base_pause: Duration,
    max_pause: Duration,
    retry_share: f64,
    fail_fast: bool,
    health_service: String,
    max_answer_bytes: usize,
    seed: Option<u64>,
}

impl std::fmt::Debug for Builder {
    /// Without the API key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("addresses", &self.addresses).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            api_key: None,
            tls: TlsOptions::default(),
            deadline: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            max_attempts: 4,
            base_pause: Duration::from_millis(25),
            max_pause: Duration::from_secs(1),
            retry_share: 0.2,
            fail_fast: false,
            health_service: PREDICTIONS.to_owned(),
            max_answer_bytes: 64 << 20,
            seed: None,
        }
    }

    /// The key that every call carries, as `authorization: Bearer`. Default: none. It is sent as it stands: use `https` beyond
    /// networks that are trusted.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// How addresses that begin with `https` are encrypted. Default: by the roots that this machine trusts.
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// Longest that a call may take, all attempts and pauses together; the server is told what is left. Default 2 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Longest that connecting to a server may take, and that [`Builder::connect`] waits for the first one. Default 5 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Most attempts of one call, the first included; 1 makes none again. Default 4.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The pause before a second attempt is drawn from 0 to `base`, which doubles with each attempt up to `max`. Defaults 25 ms and 1
    /// second.
    pub fn pauses(mut self, base: Duration, max: Duration) -> Self {
        (self.base_pause, self.max_pause) = (base, max);
        self
    }

    /// Share of all calls that retries may be, beside a hundred at the beginning: from 0 to 1. Default 0.2.
    pub fn retry_share(mut self, share: f64) -> Self {
        self.retry_share = share;
        self
    }

    /// Whether a call fails at once when no server is ready, instead of waiting until its deadline. Default false.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// The service whose health decides whether a server is asked. Default `retain.v1.PredictionService`.
    pub fn health_service(mut self, service: impl Into<String>) -> Self {
        self.health_service = service.into();
        self
    }

    /// Largest answer that is taken, in bytes. Default 64 MiB, a batch of 10,000 rows with all its warnings.
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// Where chance comes from: pauses, choices of servers, request ids. Default: another one each time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the client and waits until the first server is ready.
    ///
    /// # Errors
    /// As [`Builder::build`]; [`Error::NotReady`] when no server is ready within the time for connecting.
    pub async fn connect(self) -> Result<Client, Error> {
        let patience = self.connect_timeout;
        let client = self.build()?;
        client.wait_ready(patience).await?;
        Ok(client)
    }

    /// Makes the client without waiting: its first calls wait for a server.
    ///
    /// # Errors
    /// [`Error::NoAddress`], [`Error::Address`] and [`Error::Setting`] name what cannot be; [`Error::NoRuntime`] outside of a tokio
    /// runtime, which the watching of servers needs.
    pub fn build(self) -> Result<Client, Error> {
        self.check()?;
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let authorization = self.api_key.as_deref().map(authorization).transpose()?;
        let (changed, receiver) = watch::channel(());
        let server = |address: &String| {
            let channel = self.channel(address)?;
            Ok(Arc::new(Server::new(address.clone(), channel, changed.clone())))
        };
        let list = self.addresses.iter().map(server).collect::<Result<Vec<_>, Error>>()?;
        let random = Random::new(self.seed.unwrap_or_else(|| RandomState::new().hash_one(0)));
        let watch = |server: &Arc<Server>| {
            let own = Random::new(random.number());
            runtime.spawn(health::watch(server.clone(), self.health_service.clone(), self.connect_timeout, own)).abort_handle()
        };
        let watches = list.iter().map(watch).collect();
        let shared = Shared {
            servers: Servers::new(list, receiver),
            backoff: Backoff { max_attempts: self.max_attempts, base: self.base_pause, max: self.max_pause },
            budget: Budget::new(self.retry_share),
            random,
            authorization,
            fail_fast: self.fail_fast,
            max_answer_bytes: self.max_answer_bytes,
            n_retries: 0.into(),
            watches,
        };
        Ok(Client::new(shared, self.deadline))
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |setting, expected| Err(Error::Setting { setting, expected });
        if self.addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        if self.max_attempts == 0 {
            return wrong("number of attempts", "1 or more");
        }
        if !(0.0..=1.0).contains(&self.retry_share) {
            return wrong("share of retries", "a number from 0 to 1");
        }
        if self.deadline.is_zero() || self.connect_timeout.is_zero() {
            return wrong("deadline and the time for connecting", "longer than 0");
        }
        Ok(())
    }

    /// A connection that is made when it is needed, and made again when it is lost.
    fn channel(&self, address: &str) -> Result<Channel, Error> {
        let wrong = |source| Error::Address { address: address.to_owned(), source };
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|source| wrong(Some(source)))?;
        let is_encrypted = match endpoint.uri().scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong(None)),
        };
        let mut endpoint = endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if is_encrypted {
            endpoint = endpoint.tls_config(self.tls.config()).map_err(|source| wrong(Some(source)))?;
        }
        Ok(endpoint.connect_lazy())
    }
}

fn authorization(key: &str) -> Result<MetadataValue<Ascii>, Error> {
    let wrong = |_| Error::Setting { setting: "API key", expected: "of letters that a header may hold" };
    let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: Builder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn settings_that_cannot_be_are_refused() {
        let good = || Client::builder(["http://127.0.0.1:1"]);
        assert!(good().build().is_ok());
        assert!(refused(Client::builder(Vec::<String>::new())).contains("at least one"));
        for address in ["127.0.0.1:1", "ftp://a:1", "", "http://"] {
            assert!(refused(Client::builder([address])).contains("should be an address"), "{address}");
        }
        assert!(refused(good().api_key("a\nb")).contains("API key"));
        assert!(refused(good().max_attempts(0)).contains("attempts"));
        assert!(refused(good().retry_share(f64::NAN)).contains("share"));
        assert!(refused(good().deadline(Duration::ZERO)).contains("deadline"));
    }

    #[test]
    fn a_client_needs_a_runtime() {
        assert!(matches!(Client::builder(["http://127.0.0.1:1"]).build(), Err(Error::NoRuntime)));
    }

    #[test]
    fn the_key_is_not_printed() {
        let builder = Client::builder(["http://127.0.0.1:1"]).api_key("s3cret");
        assert!(!format!("{builder:?}").contains("s3cret"));
        assert!(!format!("{:?}", authorization("s3cret").unwrap()).contains("s3cret"));
    }
}
