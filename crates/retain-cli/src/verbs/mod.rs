//! One file per verb: its arguments, and what it does with them.

pub(crate) mod bench;
pub(crate) mod data;
pub(crate) mod decisions;
pub(crate) mod evaluate;
pub(crate) mod experiment;
pub(crate) mod explain;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod models;
pub(crate) mod playbook;
pub(crate) mod policy;
pub(crate) mod quickstart;
pub(crate) mod recommend;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod train;
