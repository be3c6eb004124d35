//! One decision at a time for each customer: the second has to see the first, or both would pass a limit that allows one.
//!
//! Holds within one server. Several servers that share a log should send a customer's calls to one of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// Customers share so many turns; more would keep fewer strangers waiting for each other.
const N_TURNS: usize = 1_024;

/// Who decides for whom now.
#[derive(Debug)]
pub(super) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..N_TURNS).map(|_| Mutex::new(())).collect())
    }
}

impl Turns {
    /// Waits until no other call decides for this customer; until the guard is dropped none begins to.
    pub(super) async fn of(&self, customer_id: &str) -> MutexGuard<'_, ()> {
        self.0[turn(customer_id)].lock().await
    }

    /// The same for many customers.
    pub(super) async fn of_all(&self, customer_ids: &[String]) -> Vec<MutexGuard<'_, ()>> {
        let mut turns: Vec<usize> = customer_ids.iter().map(|id| turn(id)).collect();
        // In one order everywhere, so that no two calls wait for each other.
        turns.sort_unstable();
        turns.dedup();
        let mut guards = Vec::with_capacity(turns.len());
        for turn in turns {
            guards.push(self.0[turn].lock().await);
        }
        guards
    }
}

fn turn(customer_id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    customer_id.hash(&mut hasher);
    (hasher.finish() % N_TURNS as u64) as usize
}
