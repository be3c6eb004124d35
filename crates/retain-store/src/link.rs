//! A thread's connection, made again when it is lost: at once the first time, then after growing pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Connection, Database};
use crate::error::StoreError;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A database that comes back is found again within so much, by each thread for itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    database: Arc<dyn Database>,
    connection: Option<Box<dyn Connection>>,
    /// Why there is no connection, and when to try again.
    lost: Option<(StoreError, Instant)>,
    pause: Duration,
}

impl Link {
    pub(crate) fn new(database: Arc<dyn Database>) -> Self {
        Self { database, connection: None, lost: None, pause: FIRST_PAUSE }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection; where it was lost, a new one, or at once why there is none as long as it is too early to try again.
    pub(crate) fn connection(&mut self) -> Result<&mut dyn Connection, StoreError> {
        if self.connection.is_none() {
            if let Some((error, retry_at)) = &self.lost
                && Instant::now() < *retry_at
            {
                return Err(error.clone());
            }
            match self.database.connect() {
                Ok(connection) => {
                    self.connection = Some(connection);
                    (self.lost, self.pause) = (None, FIRST_PAUSE);
                }
                Err(error) => {
                    self.lost = Some((error.clone(), Instant::now() + self.pause));
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    return Err(error);
                }
            }
        }
        Ok(self.connection.as_deref_mut().expect("it was made above where there was none"))
    }

    /// Gives up the connection if the error says that it is of no more use.
    pub(crate) fn note(&mut self, error: &StoreError) {
        if error.is_unavailable() {
            self.connection = None;
        }
    }

    /// How long until another attempt may help.
    pub(crate) fn pause(&self) -> Duration {
        self.lost.as_ref().map_or(Duration::ZERO, |(_, retry_at)| retry_at.saturating_duration_since(Instant::now()))
    }

    /// Reads; once more over a new connection where the one that was there turns out to be lost.
    pub(crate) fn read<T>(
        &mut self,
        mut read: impl FnMut(&mut dyn Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let was_connected = self.is_connected();
            match self.connection().and_then(&mut read) {
                Err(error) => {
                    self.note(&error);
                    if !(error.is_unavailable() && was_connected) {
                        return Err(error);
                    }
                }
                read => return read,
            }
        }
    }
}
