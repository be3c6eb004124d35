//! A queue between callers and a thread: bounded by items and bytes, and what does not fit is refused at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;

/// Items that wait for a thread.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    max_items: usize,
    max_bytes: usize,
}

struct State<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, is_closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), max_items, max_bytes }
    }

    /// Puts in an item of about this many bytes. One that is larger than the limit has to be alone.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where it does not fit, [`StoreError::Closed`].
    pub(crate) fn offer(&self, item: T, bytes: usize) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        let waiting = state.items.len();
        if waiting >= self.max_items || (waiting > 0 && state.bytes.saturating_add(bytes) > self.max_bytes) {
            return Err(StoreError::Busy { waiting });
        }
        state.bytes += bytes;
        state.items.push_back((bytes, item));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for items and takes the first ones, up to a number and up to about this many bytes, but at least one.
    /// Nothing once the queue is closed and empty.
    pub(crate) fn take(&self, max_items: usize, max_bytes: usize) -> Option<Vec<T>> {
        let mut state = self.lock();
        while state.items.is_empty() && !state.is_closed {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut taken, mut taken_bytes) = (Vec::new(), 0_usize);
        while let Some((bytes, _)) = state.items.front() {
            let fits = taken.is_empty() || taken_bytes.saturating_add(*bytes) <= max_bytes;
            if taken.len() >= max_items || !fits {
                break;
            }
            let (bytes, item) = state.items.pop_front().expect("the front was just looked at");
            state.bytes -= bytes;
            taken_bytes += bytes;
            taken.push(item);
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// Takes all that waits, without waiting.
    pub(crate) fn drain(&self) -> Vec<T> {
        let mut state = self.lock();
        state.bytes = 0;
        state.items.drain(..).map(|(_, item)| item).collect()
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Nothing more is taken in; what is in goes out.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that can panic runs under the lock, and a queue is never half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_the_rest_stays_in_order() {
        let queue = Queue::new(3, 100);
        for (number, bytes) in [(1, 60), (2, 30), (3, 10)] {
            queue.offer(number, bytes).unwrap();
        }
        assert!(matches!(queue.offer(4, 0), Err(StoreError::Busy { waiting: 3 })));
        assert_eq!(queue.take(1, 100), Some(vec![1]));
        assert!(matches!(queue.offer(4, 61), Err(StoreError::Busy { waiting: 2 })));
        queue.offer(4, 60).unwrap();
        assert_eq!(queue.take(9, 40), Some(vec![2, 3]));
        queue.close();
        assert!(matches!(queue.offer(5, 1), Err(StoreError::Closed)));
        assert_eq!(queue.take(9, 40), Some(vec![4]), "one item is taken whatever its size");
        assert_eq!(queue.take(9, 40), None);
    }

    #[test]
    fn an_item_above_the_limit_fits_into_an_empty_queue() {
        let queue = Queue::new(3, 100);
        queue.offer('a', 1_000).unwrap();
        assert!(matches!(queue.offer('b', 1), Err(StoreError::Busy { .. })));
        assert_eq!(queue.drain(), ['a']);
        queue.offer('b', 1).unwrap();
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_thread_that_waits_gets_what_comes() {
        let queue = Queue::new(10, 100);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take(10, 100));
            queue.offer('a', 1).unwrap();
            assert_eq!(taken.join().unwrap(), Some(vec!['a']));
        });
    }
}
