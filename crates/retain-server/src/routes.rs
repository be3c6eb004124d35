//! From the path of a request to its service, past the limit of calls in flight and under a deadline.
//!
//! Written out instead of taken from a web framework: there are a handful of paths, and admission has to come before the body is
//! read, so that a crowd of large messages cannot fill the memory.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use crate::status::CallError;

type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// All services of the server.
#[derive(Clone)]
pub(crate) struct Routes {
    routes: Arc<Vec<Route>>,
    /// Longest that a call may take until its answer begins, the reading of its request included.
    deadline: Duration,
}

struct Route {
    /// Beginning of the path: `/retain.v1.ModelService/`, or with a method for one method alone.
    prefix: String,
    /// Calls in flight that this route has room for; none: as many as come.
    admission: Option<Arc<Semaphore>>,
    call: Box<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>,
}

impl Routes {
    /// No services yet.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { routes: Arc::default(), deadline }
    }

    /// Adds a service for the paths that begin with `prefix`; of several that fit, the first one added answers.
    pub(crate) fn add<S>(mut self, prefix: String, admission: Option<Arc<Semaphore>>, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Answer>,
        S: Clone + Send + Sync + 'static,
    {
        let call = Box::new(move |request| service.clone().call(request));
        if let Some(routes) = Arc::get_mut(&mut self.routes) {
            routes.push(Route { prefix, admission, call });
        }
        self
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
        let Some(route) = self.routes.iter().find(|route| path.starts_with(&route.prefix)) else {
            return refuse(Status::unimplemented("there is no such service"));
        };
        let permit = match &route.admission {
            None => None,
            Some(admission) => match admission.clone().try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return refuse(CallError::TooManyInFlight.into()),
            },
        };
        let answer = timeout(self.deadline, (route.call)(request));
        Box::pin(async move {
            let answer = answer.await.unwrap_or_else(|_| Ok(Status::from(CallError::DeadlinePassed).into_http()));
            drop(permit);
            answer
        })
    }
}

fn refuse(status: Status) -> Answer {
    Box::pin(ready(Ok(status.into_http())))
}
