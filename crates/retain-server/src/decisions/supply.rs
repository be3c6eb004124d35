//! Capacities for all calls at once: the policy's count of what is left, behind a lock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use retain_policy::decide::{self, Decided, LimitOf, Supply};
use retain_policy::playbook::Playbook;
use retain_store::Used;

/// All capacities of a playbook.
#[derive(Debug)]
pub(super) struct Supplies(Mutex<decide::Supplies>);

impl Supplies {
    /// Nothing used yet.
    pub(super) fn new(playbook: &Playbook, now_ms: i64) -> Self {
        Self(Mutex::new(decide::Supplies::new(playbook, now_ms)))
    }

    /// Whether anything is limited.
    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The beginnings of the periods that are under way, each once.
    pub(super) fn periods(&self, now_ms: i64) -> Vec<i64> {
        self.all().periods(now_ms)
    }

    /// Takes over what the log has, by the beginnings of periods; what was decided after `asked_ms` may not be in it.
    pub(super) fn refresh(&self, playbook: &Playbook, counted: &HashMap<i64, Vec<Used>>, asked_ms: i64) {
        let is_of = |used: &&Used, of: LimitOf| match of {
            LimitOf::Action(idx) => playbook.actions.get(idx).is_some_and(|action| action.id == used.action),
            LimitOf::Channel(idx) => {
                playbook.contact.channels.get(idx).is_some_and(|channel| Some(&channel.id) == used.channel.as_ref())
            }
        };
        let count = |from_ms: i64, of: LimitOf| {
            let used = counted.get(&from_ms)?;
            Some(used.iter().filter(|used| is_of(used, of)).map(|used| used.n_decisions).sum())
        };
        self.all().refresh(count, asked_ms);
    }

    /// What there is now.
    pub(super) fn supply(&self, playbook: &Playbook, now_ms: i64) -> Supply {
        self.all().supply(playbook, now_ms)
    }

    /// Takes what a decision needs; false where somebody else has taken the last of it meanwhile, and then nothing is taken.
    pub(super) fn take(&self, decided: &Decided<'_>) -> bool {
        self.all().take(decided)
    }

    /// Keeps all that is left from others until the batch that may take it is done.
    pub(super) fn set_aside(&self, playbook: &Playbook, now_ms: i64) -> SetAside<'_> {
        let mut all = self.all();
        let supply = all.supply(playbook, now_ms);
        let amounts = all.set_aside();
        SetAside { supplies: self, amounts, supply }
    }

    /// Gives back what a decision that was not kept had taken.
    pub(super) fn give_back(&self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        self.all().give_back(action, channel, taken_ms);
    }

    fn all(&self) -> MutexGuard<'_, decide::Supplies> {
        // Whoever broke off has left whole numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept for a batch; what it does not take is there for others again when this is dropped.
#[derive(Debug)]
pub(super) struct SetAside<'s> {
    supplies: &'s Supplies,
    amounts: Vec<u64>,
    /// What the batch may take.
    pub(super) supply: Supply,
}

impl SetAside<'_> {
    /// The batch has taken this: action and channel by their places in the playbook.
    pub(super) fn take(&self, action: Option<usize>, channel: Option<usize>, taken_ms: i64) {
        self.supplies.all().note_taken(action, channel, taken_ms);
    }
}

impl Drop for SetAside<'_> {
    fn drop(&mut self) {
        self.supplies.all().put_back(&self.amounts);
    }
}
