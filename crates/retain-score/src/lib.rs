//! The scoring engine: loads a model bundle, encodes rows, predicts and explains.

mod calibrate;
mod model;

pub use calibrate::{Calibrator, sigmoid};
pub use model::{MarginModel, Model, ModelError, Node, NodeKind, Shape, Term, Test, Tree, limits};
