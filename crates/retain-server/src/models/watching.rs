//! The models directory is watched: every few seconds a look that reads no bundle, and where something has changed, a reading of that.
//!
//! What a look sees: the alias files' contents, the versions that are there, and size, times and identity of the files of every
//! version that an alias points at. What was refused is tried again although nothing has changed, ever more rarely: the disk may have
//! been at fault. A refusal is logged and counted once, not at every look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::look::look;
use super::{Depth, LiveSet, Models, ReloadError};
use crate::text::chain;

/// Looks between two tries of what was refused, at most.
const MAX_WAIT: u32 = 64;

/// What the watch remembers from look to look.
struct Memory {
    /// What was wrong with the directory as a whole, in the words that were logged.
    trouble: Option<String>,
    /// The same of single models that could not be copied from an object store.
    uncopied: Option<String>,
    /// Looks until what was refused is tried again, and how many they were the last time.
    patience: u32,
    wait: u32,
}

impl Models {
    /// Looks at the directory after every `pause`, without end.
    pub(crate) async fn watch(self: Arc<Self>, pause: Duration) {
        self.loaded().await;
        let mut memory = Memory { trouble: None, uncopied: None, patience: 1, wait: 1 };
        loop {
            tokio::time::sleep(pause).await;
            self.look_again(&mut memory).await;
        }
    }

    async fn look_again(&self, memory: &mut Memory) {
        // Whoever reads the registry now sees what a look would see.
        let Ok(_reading) = self.reading.try_lock() else { return };
        let depth = match self.due(memory).await {
            Ok(None) => return memory.trouble = None,
            Ok(Some(depth)) => depth,
            Err(error) => return self.complain(memory, &error),
        };
        let before = self.live().clone();
        match self.read_registry(depth, None).await {
            Ok(set) => {
                memory.trouble = None;
                memory.wait = if set.refusals() == before.refusals() { (memory.wait * 2).min(MAX_WAIT) } else { 1 };
                memory.patience = memory.wait;
            }
            Err(error) => self.complain(memory, &error),
        }
    }

    /// What there is to read after a look: nothing, what has changed, or what was refused too.
    async fn due(&self, memory: &mut Memory) -> Result<Option<Depth>, ReloadError> {
        self.note_copied(memory, self.copy_store().await)?;
        let (registry, live) = (self.registry.clone(), self.live().clone());
        let seen = tokio::task::spawn_blocking(move || Ok(look(&registry)? != live.looks));
        if seen.await.unwrap_or(Err(ReloadError::BrokeOff))? {
            return Ok(Some(Depth::Changed));
        }
        if self.live().refusals().is_empty() {
            return Ok(None);
        }
        memory.patience = memory.patience.saturating_sub(1);
        Ok((memory.patience == 0).then_some(Depth::Refused))
    }

    /// Models that could not be copied are told once, and the others are read all the same.
    fn note_copied(&self, memory: &mut Memory, copied: Result<(), ReloadError>) -> Result<(), ReloadError> {
        let uncopied = match copied {
            Err(error) if error.is_of_some_models() => Some(chain(&error)),
            other => other.map(|()| None)?,
        };
        if let Some(reason) = uncopied.as_ref().filter(|_| uncopied != memory.uncopied) {
            tracing::error!(reason, "models stay as they were");
            self.refusals.add(1);
        }
        memory.uncopied = uncopied;
        Ok(())
    }

    /// Logs and counts a trouble once for as long as it lasts.
    fn complain(&self, memory: &mut Memory, error: &ReloadError) {
        let trouble = chain(error);
        if memory.trouble.as_ref() != Some(&trouble) {
            tracing::error!(reason = trouble, "models stay as they were");
            self.refusals.add(1);
            memory.trouble = Some(trouble);
        }
        memory.patience = memory.wait;
    }
}

impl LiveSet {
    /// What is refused, to compare with another set's.
    fn refusals(&self) -> BTreeSet<(&str, Option<u32>, &str)> {
        let all = self.by_name.values().flat_map(|model| &model.refused);
        all.map(|refusal| (refusal.name.as_str(), refusal.version, refusal.reason.as_str())).collect()
    }
}
