//! An answer that is on its way: awaited in asynchronous code, waited for elsewhere.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::StoreError;

/// The answer to a call that the log works on already, whether or not anybody waits.
///
/// `pending.await` needs a tokio runtime with its clock; [`Pending::wait`] blocks the thread and needs none. Either gives up after the
/// settings' `timeout_ms` with [`StoreError::NoAnswer`].
#[must_use = "the log works on it, but only its answer says that it is kept"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    refused: Option<StoreError>,
    timeout: Duration,
}

pub(crate) type Sender<T> = oneshot::Sender<Result<T, StoreError>>;

impl<T> Pending<T> {
    /// Makes an answer and hands the end where it is given to `send`, which may refuse at once.
    pub(crate) fn of(timeout: Duration, send: impl FnOnce(Sender<T>) -> Result<(), StoreError>) -> Self {
        let (sender, answer) = oneshot::channel();
        Self { refused: send(sender).err(), answer, timeout }
    }

    /// An answer that is there already.
    pub(crate) fn there(answer: T, timeout: Duration) -> Self {
        Self::of(timeout, |sender| {
            drop(sender.send(Ok(answer)));
            Ok(())
        })
    }

    /// Blocks the thread until the answer is there. Not for asynchronous code.
    ///
    /// # Errors
    /// What the call says, and [`StoreError::NoAnswer`].
    pub fn wait(self) -> Result<T, StoreError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let until = Instant::now() + self.timeout;
        let mut answer = pin!(self.answer);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                return answer.unwrap_or(Err(StoreError::Closed));
            }
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                _ => return Err(no_answer(self.timeout)),
            }
        }
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type Output = Result<T, StoreError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(refused) = self.refused {
                return Err(refused);
            }
            match tokio::time::timeout(self.timeout, self.answer).await {
                Ok(answer) => answer.unwrap_or(Err(StoreError::Closed)),
                Err(_) => Err(no_answer(self.timeout)),
            }
        })
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("refused", &self.refused).finish_non_exhaustive()
    }
}

pub(crate) fn no_answer(timeout: Duration) -> StoreError {
    StoreError::NoAnswer { after_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
