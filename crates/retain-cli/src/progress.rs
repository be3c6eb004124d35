//! A progress bar on a terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// How far long work has come.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar on standard error; hidden when that is no terminal, or nobody wants to see it.
    pub(crate) fn new(output: Output) -> Self {
        // `stderr()` draws nothing by itself when standard error is not a terminal.
        let target = if output.is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// `done` of `total` pieces of work are done; `what` is being worked on.
    pub(crate) fn update(&self, what: &str, done: usize, total: usize) {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
        self.0.set_message(what.to_owned());
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
