//! A queue that never blocks who puts something in: bounded by bytes, and what does not fit is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::counts::Count;

/// How often an empty queue is looked at. Waking the reader for every item would cost its writer a call of the system.
const PAUSE: Duration = Duration::from_millis(50);
/// Items after which a reader that never finds the queue empty is called without one.
const STEPS: usize = 1_024;

/// The end where items come in.
pub(super) struct Queue<T> {
    sender: Sender<(usize, T)>,
    shared: Arc<Shared>,
}

/// The end where items go out.
pub(super) struct Items<T> {
    receiver: Receiver<(usize, T)>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    max_bytes: usize,
    is_closed: AtomicBool,
    dropped: Count,
}

/// A queue whose items take at most `max_bytes` together.
pub(super) fn queue<T>(max_bytes: usize) -> (Queue<T>, Items<T>) {
    let (sender, receiver) = mpsc::channel();
    let shared = Shared { bytes: AtomicUsize::new(0), max_bytes, is_closed: AtomicBool::new(false), dropped: Count::default() };
    let shared = Arc::new(shared);
    (Queue { sender, shared: shared.clone() }, Items { receiver, shared })
}

impl<T> Queue<T> {
    /// Puts in an item of this many bytes that stands for this many rows, or drops it.
    pub(super) fn offer(&self, item: T, bytes: usize, n_rows: usize) {
        let shared = &self.shared;
        let before = shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= shared.max_bytes && !shared.is_closed.load(Ordering::Relaxed);
        if !fits || self.sender.send((bytes, item)).is_err() {
            shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.dropped.add(n_rows as u64);
        }
    }

    /// Nothing more is taken; what is in goes out.
    pub(super) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Rows that were dropped.
    pub(super) fn n_dropped(&self) -> u64 {
        self.shared.dropped.get()
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Items<T> {
    /// Hands every item to `step` until the queue is closed and empty; every now and then `step` is called without one.
    pub(super) fn run(self, mut step: impl FnMut(Option<T>)) {
        loop {
            // Asked first: what was put in before the closing shall still be found.
            let is_closed = self.shared.is_closed.load(Ordering::Acquire);
            let mut n_items = 0_usize;
            while let Ok((bytes, item)) = self.receiver.try_recv() {
                step(Some(item));
                self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                n_items += 1;
                if n_items.is_multiple_of(STEPS) {
                    step(None);
                }
            }
            step(None);
            if is_closed {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, items) = queue(100);
        for number in 0..5 {
            queue.offer(number, 30, 2);
        }
        assert_eq!(queue.n_dropped(), 4);
        queue.close();
        queue.offer(9, 1, 1);
        assert_eq!(queue.n_dropped(), 5);
        let mut found = Vec::new();
        items.run(|number| found.extend(number));
        assert_eq!(found, [0, 1, 2]);
        assert_eq!(queue.shared.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn room_that_was_taken_is_given_back() {
        let (queue, items) = queue(10);
        let reader = std::thread::spawn(move || {
            let mut n_items = 0;
            items.run(|item| n_items += u64::from(item.is_some()));
            n_items
        });
        let mut n_offered = 0;
        // The queue has room for two; the third to fit needs a reader.
        while n_offered < 10 {
            let before = queue.n_dropped();
            queue.offer((), 5, 1);
            n_offered += u64::from(queue.n_dropped() == before);
            std::thread::yield_now();
        }
        queue.close();
        assert_eq!(reader.join().unwrap(), 10);
    }
}
