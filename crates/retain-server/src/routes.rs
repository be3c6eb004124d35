//! From the path of a request to its service: past the gate, past the limit of calls in flight and under a deadline.
//!
//! Written out instead of taken from a web framework: there are a handful of paths, and admission has to come before the body is
//! read, so that a crowd of large messages cannot fill the memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use crate::answers::{Keep, Place, keep_until_sent};
use crate::api_keys::Scope;
use crate::call::{Arrival, Call};
use crate::gate::{Access, Gate};
use crate::metrics::{Calls, MethodCalls, UNKNOWN_METHOD};
use crate::status::{CallError, explain_refusal};
use crate::traces::Tracing;
use crate::undecoded::{Method, Undecoded};

type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// All services of the server.
#[derive(Clone)]
pub(crate) struct Routes {
    table: Arc<Table>,
    /// Longest that a call may take until its answer begins, the reading of its request included.
    deadline: Duration,
    /// Who may call.
    gate: Arc<Gate>,
    calls: Arc<Calls>,
    tracing: Option<Arc<Tracing>>,
}

#[derive(Default)]
struct Table {
    routes: Vec<Route>,
    /// By path, for every method that there is: the route, and where its calls are counted.
    known: HashMap<String, (usize, Arc<MethodCalls>)>,
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
    pub(crate) fn new(deadline: Duration, gate: Arc<Gate>, calls: Arc<Calls>, tracing: Option<Arc<Tracing>>) -> Self {
        Self { table: Arc::default(), deadline, gate, calls, tracing }
    }

    /// Adds a service for a path, or for all paths below one that ends with a slash; of several that fit, the first one added answers.
    pub(crate) fn add<S>(self, path: String, access: Access, admission: Admission, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Answer>,
        S: Clone + Send + Sync + 'static,
    {
        let call = move |mut request: http::Request<Body>| {
            request.extensions_mut().insert(Arrival(Instant::now()));
            service.clone().call(request)
        };
        self.add_route(Route { path, access, admission, call: Box::new(call) })
    }

    /// Adds calls that note their arrival themselves.
    pub(crate) fn add_undecoded<M: Method>(
        self,
        path: String,
        access: Access,
        admission: Admission,
        calls: Undecoded<M>,
    ) -> Self {
        let call = move |request| calls.clone().call(request);
        self.add_route(Route { path, access, admission, call: Box::new(call) })
    }

    fn add_route(mut self, route: Route) -> Self {
        if let Some(table) = Arc::get_mut(&mut self.table) {
            for calls in self.calls.methods() {
                let path = format!("/{}", calls.method);
                if route.fits(&path) {
                    table.known.entry(path).or_insert((table.routes.len(), calls.clone()));
                }
            }
            table.routes.push(route);
        }
        self
    }

    /// The route of a path, and where its calls are counted.
    fn find(&self, path: &str) -> Option<(&Route, &Arc<MethodCalls>)> {
        if let Some((route, calls)) = self.table.known.get(path) {
            return Some((self.table.routes.get(*route)?, calls));
        }
        // A method that its service does not have: the service says so.
        let route = self.table.routes.iter().find(|route| route.fits(path))?;
        Some((route, self.calls.of(UNKNOWN_METHOD)))
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

    fn call(&mut self, mut request: http::Request<Body>) -> Answer {
        let arrived = Instant::now();
        let path = request.uri().path();
        let Some((route, calls)) = self.find(path) else {
            let call = Call::begin(&self.calls, self.calls.of(UNKNOWN_METHOD), arrived, request.headers());
            return refuse(call, CallError::Unimplemented { description: "there is no such service".to_owned() });
        };
        let mut call = Call::begin(&self.calls, calls, arrived, request.headers());
        // Probes would fill the traces.
        if let Some(tracing) = self.tracing.as_ref().filter(|_| route.access != Access::Open) {
            call.trace(tracing, request.headers());
        }
        // Before anything is counted or read: who may not call takes no one's place.
        let admitted = match self.gate.admit(route.access, request.headers()) {
            Ok(admitted) => admitted,
            Err(error) => return refuse(call, error),
        };
        let caller = admitted.caller();
        let is_admin = route.access == Access::Scope(Scope::Admin);
        if let Some(caller) = caller.filter(|_| is_admin || Call::is_logged()) {
            call.called_by(&caller.name);
        }
        if is_admin {
            tracing::info!(caller = caller.map(|caller| caller.name.as_str()), path, "admin call");
        }
        let Ok(place) = route.admission.place() else { return refuse(call, CallError::TooManyInFlight) };
        let deadline = self.deadline;
        let is_stream = matches!(route.admission, Admission::WhileOpen(_));
        let is_kept = is_stream || matches!(route.admission, Admission::UntilSent(_));
        // Streams may stay open; a large answer may take as long again to be sent.
        let longest = (!is_stream).then_some(deadline);
        let guest = if is_stream { admitted.guest() } else { None };
        if let Some(guest) = guest {
            request.extensions_mut().insert(guest);
        }
        let answer = timeout(deadline, (route.call)(request));
        Box::pin(async move {
            let Ok(answer) = answer.await.unwrap_or_else(|_| Ok(Status::from(CallError::DeadlinePassed).into_http()));
            // A small answer gives its place back when it begins.
            let kept = place.filter(|_| is_kept).map(Place::from);
            Ok(finish(call, answer, kept, longest))
        })
    }
}

/// Adds to an answer what it lacks, and lets it keep its place where it is large.
fn finish(
    mut call: Call,
    mut answer: http::Response<Body>,
    place: Option<Place>,
    longest: Option<Duration>,
) -> http::Response<Body> {
    // Answers that succeed have their status in the trailers, so that only refusals are looked at.
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return refused(call, &explain_refusal(&status).unwrap_or(status));
    }
    call.name(tonic::Code::Ok, answer.headers_mut());
    // A service may have found that its answer is a large one.
    if let Some(place) = answer.extensions_mut().remove::<Place>().or(place) {
        return keep_until_sent(answer, Keep { place, call, longest });
    }
    call.end_ok();
    answer
}

fn refuse(call: Call, error: CallError) -> Answer {
    Box::pin(ready(Ok(refused(call, &error.into()))))
}

fn refused(mut call: Call, status: &Status) -> http::Response<Body> {
    let mut answer = status.clone().into_http();
    call.name(status.code(), answer.headers_mut());
    call.end(status);
    answer
}
