//! The processor time of this process: what others do on the machine meanwhile does not count, what helping threads do does.

#![allow(unsafe_code, reason = "the standard library has no clock of processor time")]

use std::time::Duration;

/// Runs something and returns the processor time that it took.
pub(crate) fn processor_time(work: impl FnOnce()) -> Duration {
    let start = processor_now();
    work();
    processor_now().saturating_sub(start)
}

/// The processor time of this process so far.
pub(crate) fn processor_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the result has room, and every Unix has this clock.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "a clock of processor time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
