//! A client against real servers on free ports of the loopback address, and against scripted ones that fail as told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod calls; // every typed call, keys, request ids, streams
mod deadlines; // calls that take too long
mod encryption; // TLS
mod health; // servers that are taken out and come back
mod life; // drain, stop, overload
mod retries; // which failures are tried again
mod support; // servers
