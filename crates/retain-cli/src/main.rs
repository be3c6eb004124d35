//! The retain command, one file per verb.
fn main() {}
