//! Ctrl-C and SIGTERM during long work: what is being written is finished or removed, then the process ends.
//!
//! `serve` does not use this: its server has its own way of stopping.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The customary code of a process that a signal ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// A file that must not stay behind; whoever holds the lock is not interrupted.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);
static RELEASED: AtomicBool = AtomicBool::new(false);

/// Watches for signals from now on. Without it, a signal ends the process at once, so failing to watch is no error.
pub(crate) fn watch() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    std::thread::spawn(move || {
        let _either = runtime.block_on(signal());
        if RELEASED.load(Ordering::SeqCst) {
            return;
        }
        let unfinished = lock();
        if let Some(path) = unfinished.as_ref() {
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(INTERRUPTED);
    });
}

/// Hands the signals over to somebody else.
pub(crate) fn release() {
    RELEASED.store(true, Ordering::SeqCst);
}

/// Runs `work` to its end, even when a signal comes in between.
pub(crate) fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    let _held = lock();
    work()
}

/// Names a file that a signal has to remove, until [`clear_unfinished`].
pub(crate) fn set_unfinished(path: &Path) {
    *lock() = Some(path.to_owned());
}

/// Nothing is unfinished any more.
pub(crate) fn clear_unfinished() {
    *lock() = None;
}

fn lock() -> MutexGuard<'static, Option<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Somebody at a terminal: SIGINT.
    Interrupt,
    /// Whatever runs the service: SIGTERM.
    Terminate,
}

/// Ends when the process is asked to stop.
#[cfg(unix)]
pub(crate) async fn signal() -> Signal {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    }
}

/// Ends when the process is asked to stop.
#[cfg(not(unix))]
pub(crate) async fn signal() -> Signal {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    Signal::Interrupt
}
