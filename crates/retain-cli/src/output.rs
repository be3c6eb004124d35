//! Where things are printed: results to standard output, everything else to standard error.

use std::borrow::Cow;
use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::{Format, Global};

/// Prints results and notes as the global flags ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
}

/// Nobody reads standard output any more, as after `retain … | head -1`: the command ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct StdoutClosed;

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self { format: global.format, quiet: global.quiet }
    }

    /// The same without notes and warnings: what would be told a second time.
    pub(crate) fn hushed(self) -> Self {
        Self { quiet: true, ..self }
    }

    pub(crate) fn format(self) -> Format {
        self.format
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Prints a result as text, followed by a line break; nothing when results are JSON.
    pub(crate) fn text(self, text: &str) -> Result<()> {
        if self.is_json() { Ok(()) } else { write_stdout(format!("{}\n", printable(text.trim_end())).as_bytes()) }
    }

    /// Prints a result as JSON; nothing when results are text.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec_pretty(value).context("cannot write the result as JSON")?;
        bytes.push(b'\n');
        write_stdout(&bytes)
    }

    /// The same on a single line: what starts a long-running process reads its output line by line.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(value).context("cannot write the result as JSON")?;
        bytes.push(b'\n');
        write_stdout(&bytes)
    }

    /// Tells something beside the result.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", printable(text));
        }
    }

    /// Tells of something that deserves a look; `code` is its fixed name.
    pub(crate) fn warn(self, code: &str, message: &str) {
        self.note(&format!("warning[{code}]: {message}"));
    }
}

/// Writes to standard output at once.
///
/// # Errors
/// [`StdoutClosed`] when nobody reads it any more.
pub(crate) fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(stdout_error)
}

pub(crate) fn stdout_error(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        StdoutClosed.into()
    } else {
        anyhow::Error::new(error).context("cannot write to standard output")
    }
}

/// The text without control characters: names and categories come from tables, and a terminal would obey their escape codes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.chars().any(is_harmful) { Cow::Owned(text.replace(is_harmful, "\u{fffd}")) } else { Cow::Borrowed(text) }
}
