//! The log of decisions as the server has it: opened in the background, so that predictions do not wait for a database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use retain_store::{Store, StoreConfig, StoreError};
use tokio::sync::watch;

use crate::status::{CallError, Violation};
use crate::text::chain;

/// Between two attempts to open a log that cannot be reached: from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);

/// The log, once it is open.
#[derive(Debug, Default)]
pub(crate) struct Log {
    store: ArcSwapOption<Store>,
    /// Becomes true after the first attempt to open it.
    tried: watch::Sender<bool>,
}

impl Log {
    /// The open log.
    ///
    /// # Errors
    /// [`CallError::StoreUnavailable`] while it could not be opened.
    pub(crate) fn store(&self) -> Result<Arc<Store>, CallError> {
        let closed = || CallError::StoreUnavailable { description: "the log of decisions is not open yet".to_owned() };
        self.store.load_full().ok_or_else(closed)
    }

    /// Opens the log, again and again where it cannot be reached.
    pub(crate) async fn open(&self, config: &StoreConfig) {
        let (mut wait, mut trouble) = (FIRST_WAIT, None);
        loop {
            let config = config.clone();
            let opened = tokio::task::spawn_blocking(move || Store::open(&config)).await.unwrap_or(Err(StoreError::Closed));
            let error = match opened {
                Ok(store) => {
                    tracing::info!(place = store.place(), "the log of decisions is open");
                    self.store.store(Some(Arc::new(store)));
                    self.tried.send_replace(true);
                    return;
                }
                Err(error) => chain(&error),
            };
            self.tried.send_replace(true);
            // Once for each reason.
            if trouble.as_ref() != Some(&error) {
                tracing::error!(reason = error, "the log of decisions cannot be opened: predictions go on");
                trouble = Some(error);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits for the first attempt to open it.
    pub(crate) async fn tried(&self) {
        // The sender lives as long as `self`.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Closes the log when the last call has let go of it.
    pub(crate) fn close(&self) {
        self.store.store(None);
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        let violation = |field: &str, reason| Violation::new(field, reason, &error.to_string());
        match &error {
            StoreError::Invalid { field, expected, found } => {
                let field = if *field == "key" { "idempotency_key" } else { field };
                Violation::new(field, "INVALID_VALUE", &format!("should be {expected}, found {found}")).into()
            }
            StoreError::UnknownDecision { .. } => Self::UnknownDecision(violation("decision_id", "DECISION_NOT_FOUND")),
            StoreError::KeyReused { .. } => Self::Contradicted(violation("idempotency_key", "KEY_REUSED")),
            StoreError::Contradiction { .. } => Self::Contradicted(violation("kind", "CONTRADICTS_EARLIER_OUTCOME")),
            StoreError::WindowClosed { .. } => Self::OutsideWindow(violation("occurred_at", "WINDOW_CLOSED")),
            StoreError::ReportedTooLate { .. } => Self::OutsideWindow(violation("occurred_at", "REPORTED_TOO_LATE")),
            StoreError::BeforeDecision { .. } => Self::OutsideWindow(violation("occurred_at", "BEFORE_DECISION")),
            StoreError::TooManyReports { .. } => Self::OutsideWindow(violation("decision_id", "TOO_MANY_REPORTS")),
            StoreError::DecisionDiffers { .. } => {
                tracing::error!(reason = chain(&error), "two decisions have one id");
                Self::Internal
            }
            _ => {
                let description = chain(&error);
                warn_now_and_then(&description);
                Self::StoreUnavailable { description }
            }
        }
    }
}

/// Says that the log did not answer, at most once a second: while it is away every call fails.
fn warn_now_and_then(reason: &str) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now.duration_since(last) >= BETWEEN_WARNINGS) {
        *last = Some(now);
        tracing::warn!(reason, "the log of decisions did not answer");
    }
}
