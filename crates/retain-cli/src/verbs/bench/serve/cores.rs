//! Which cores the server and its client run on: each has its own, so that what is measured is not how the system shares them out.
//!
//! A process runs where the thread that started it may run, so servers need no flag of their own.

use anyhow::Result;

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Cores;
#[cfg(target_os = "linux")]
pub(super) use linux::Cores;

#[cfg(target_os = "linux")]
mod linux {
    use anyhow::Context;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::Result;

    /// The cores of both sides.
    #[derive(Debug, Clone)]
    pub(in super::super) struct Cores {
        all: Vec<usize>,
        n_server: usize,
    }

    impl Cores {
        /// The first half of the cores of this process for the server, the others for the client; no parting where there is but one.
        pub(in super::super) fn share() -> Result<Self> {
            let allowed = sched_getaffinity(None).context("cannot ask which cores there are")?;
            let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
            let n_server = all.len() / 2;
            Ok(Self { all, n_server })
        }

        /// The server's cores; empty where both sides share all of them.
        pub(in super::super) fn server(&self) -> &[usize] {
            &self.all[..self.n_server]
        }

        /// The client's cores; empty where both sides share all of them.
        pub(in super::super) fn client(&self) -> &[usize] {
            if self.n_server == 0 { &[] } else { &self.all[self.n_server..] }
        }

        /// Runs `work` on the server's cores: processes that it starts stay there.
        pub(in super::super) fn on_server<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
            stay_on(self.server())?;
            let result = work();
            stay_on(self.client())?;
            result
        }

        /// Threads that are started from now on run on the client's cores, as this one does.
        pub(in super::super) fn to_client(&self) -> Result<()> {
            stay_on(self.client())
        }
    }

    fn stay_on(cores: &[usize]) -> Result<()> {
        if cores.is_empty() {
            return Ok(());
        }
        let mut set = CpuSet::new();
        for &core in cores {
            set.set(core);
        }
        sched_setaffinity(None, &set).with_context(|| format!("cannot run on the cores {cores:?} alone"))
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::Result;

    /// Both sides share all cores.
    #[derive(Debug, Clone)]
    pub(in super::super) struct Cores;

    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signatures as where cores can be chosen")]
    impl Cores {
        pub(in super::super) fn share() -> Result<Self> {
            Ok(Self)
        }

        pub(in super::super) fn server(&self) -> &[usize] {
            &[]
        }

        pub(in super::super) fn client(&self) -> &[usize] {
            &[]
        }

        pub(in super::super) fn on_server<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
            work()
        }

        pub(in super::super) fn to_client(&self) -> Result<()> {
            Ok(())
        }
    }
}
