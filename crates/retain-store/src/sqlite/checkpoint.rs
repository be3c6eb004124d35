//! Checkpoints: copying what was committed from the log beside the file into the file, on a thread that no call waits for.
//!
//! SQLite would let every thousandth page's commit do it, which then takes many milliseconds. The log is written from its beginning again once
//! all of it has been copied, which never happens beside a writer that does not pause. So when the log has become long, the
//! thread copies nearly all of it and the writer the little rest, between two groups.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::connection::SqliteConnection;
use crate::error::StoreError;

/// Bytes that were committed, about, after which the thread copies.
const BYTES_BETWEEN: usize = 4 << 20;
/// Pages of the log after which the writer helps to begin it again: 64 MiB.
const LONG_LOG_PAGES: i64 = 16_384;

/// How often a long log is gone through: each time less has come meanwhile, and the last of it is left to the writer.
const PASSES: usize = 3;

/// What writers and the thread share.
#[derive(Default)]
pub(super) struct Checkpoints {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the writer should copy the rest. The thread keeps off until it has: of two that copy, one would do nothing.
    is_writers_turn: AtomicBool,
}

#[derive(Default)]
struct State {
    committed_bytes: usize,
    is_closed: bool,
}

/// How a checkpoint went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// Pages in the log.
    pub(super) log_pages: i64,
}

impl Checkpoints {
    /// Notes a commit of about this many bytes.
    pub(super) fn note(&self, bytes: usize) {
        let mut state = self.lock();
        state.committed_bytes = state.committed_bytes.saturating_add(bytes);
        if state.committed_bytes >= BYTES_BETWEEN {
            self.changed.notify_one();
        }
    }

    /// Whether the writer should copy the rest now, between two groups.
    pub(super) fn is_writers_turn(&self) -> bool {
        self.is_writers_turn.load(Ordering::Acquire)
    }

    /// Gives the turn back to the thread.
    pub(super) fn end_writers_turn(&self) {
        self.is_writers_turn.store(false, Ordering::Release);
    }

    /// Starts the thread; it ends after [`Checkpoints::close`].
    pub(super) fn start(
        self: &Arc<Self>,
        open: impl Fn() -> Result<SqliteConnection, StoreError> + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let checkpoints = self.clone();
        std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || checkpoints.run(open))
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    fn run(&self, open: impl Fn() -> Result<SqliteConnection, StoreError>) {
        let mut connection = None;
        while self.wait() {
            // A copy that fails is made up for by a later one; the log only grows meanwhile.
            connection = connection.map_or_else(&open, Ok).ok().and_then(|mut connection: SqliteConnection| {
                let is_long = connection.checkpoint().ok()?.log_pages >= LONG_LOG_PAGES;
                if is_long {
                    (1..PASSES).try_for_each(|_| connection.checkpoint().map(drop)).ok()?;
                    self.is_writers_turn.store(true, Ordering::Release);
                }
                Some(connection)
            });
        }
    }

    /// Waits until there is enough to copy; false once closed.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        // The writer's turn ends before it notes its next commit, which wakes this.
        while (state.committed_bytes < BYTES_BETWEEN || self.is_writers_turn()) && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.committed_bytes = 0;
        !state.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
