//! From the path of a request to its service, past the limit of calls in flight and under a deadline.
//!
//! Written out instead of taken from a web framework: there are a handful of paths, and admission has to come before the body is
//! read, so that a crowd of large messages cannot fill the memory.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use crate::answers::{Place, keep_until_sent};
use crate::api_keys::{Access, Scope, authorize};
use crate::config::Config;
use crate::status::{CallError, explain_refusal};

type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// All services of the server.
#[derive(Clone)]
pub(crate) struct Routes {
    list: Arc<Vec<Route>>,
    /// Longest that a call may take until its answer begins, the reading of its request included.
    deadline: Duration,
    /// Who may call.
    config: Arc<Config>,
}

/// How many calls a route takes at once, and until when a call counts.
#[derive(Clone)]
pub(crate) enum Admission {
    /// As many as come.
    Free,
    /// So many, until their answers begin: these are small.
    UntilAnswered(Arc<Semaphore>),
    /// So many, until their answers have been sent: these may be large.
    UntilSent(Arc<Semaphore>),
    /// So many, as long as they stay open: streams.
    WhileOpen(Arc<Semaphore>),
}

struct Route {
    /// `/retain.v1.ModelService/` for all methods of a service, without a slash at the end for one method alone.
    path: String,
    access: Access,
    admission: Admission,
    call: Box<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>,
}

impl Routes {
    /// No services yet.
    pub(crate) fn new(deadline: Duration, config: Arc<Config>) -> Self {
        Self { list: Arc::default(), deadline, config }
    }

    /// Adds a service for a path, or for all paths below one that ends with a slash; of several that fit, the first one added answers.
    pub(crate) fn add<S>(mut self, path: String, access: Access, admission: Admission, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Answer>,
        S: Clone + Send + Sync + 'static,
    {
        let call = Box::new(move |request| service.clone().call(request));
        if let Some(routes) = Arc::get_mut(&mut self.list) {
            routes.push(Route { path, access, admission, call });
        }
        self
    }
}

impl Admission {
    /// A place for one more call, where they are counted.
    fn place(&self) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        match self {
            Self::Free => Ok(None),
            Self::UntilAnswered(places) | Self::UntilSent(places) | Self::WhileOpen(places) => {
                places.clone().try_acquire_owned().map(Some)
            }
        }
    }
}

impl Route {
    fn fits(&self, path: &str) -> bool {
        if self.path.ends_with('/') { path.starts_with(&self.path) } else { path == self.path }
    }
}

impl Service<http::Request<Body>> for Routes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let path = request.uri().path();
        let Some(route) = self.list.iter().find(|route| route.fits(path)) else {
            return refuse(CallError::Unimplemented { description: "there is no such service".to_owned() }.into());
        };
        // Before anything is counted or read: who may not call takes no one's place.
        match authorize(&self.config.api_keys, route.access, request.headers()) {
            Ok(key) if route.access == Access::Scope(Scope::Admin) => {
                tracing::info!(api_key = key.map(|key| key.name.as_str()), path, "admin call");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(path, reason = %error, "call refused");
                return refuse(error.into());
            }
        }
        let Ok(place) = route.admission.place() else { return refuse(CallError::TooManyInFlight.into()) };
        let deadline = self.deadline;
        // How long an answer may keep its place; none: it gives it back when it begins.
        let keeps = match route.admission {
            Admission::Free | Admission::UntilAnswered(_) => None,
            Admission::UntilSent(_) => Some(Some(deadline)),
            Admission::WhileOpen(_) => Some(None),
        };
        let answer = timeout(deadline, (route.call)(request));
        Box::pin(async move {
            let Ok(answer) = answer.await.unwrap_or_else(|_| Ok(Status::from(CallError::DeadlinePassed).into_http()));
            let mut answer = with_details(answer);
            // A service may have found that its answer is a large one.
            let own = answer.extensions_mut().remove::<Place>().map(|place| (place, Some(deadline)));
            Ok(match own.or(place.map(Place::from).zip(keeps)) {
                Some((place, longest)) => keep_until_sent(answer, place, longest),
                None => answer,
            })
        })
    }
}

/// Answers that succeed have their status in the trailers, so that only refusals are looked at.
fn with_details(answer: http::Response<Body>) -> http::Response<Body> {
    let status = Status::from_header_map(answer.headers());
    status.as_ref().and_then(explain_refusal).map_or(answer, Status::into_http)
}

fn refuse(status: Status) -> Answer {
    Box::pin(ready(Ok(status.into_http())))
}
