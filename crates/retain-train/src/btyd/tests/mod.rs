//! The models against published numbers (`published`), against customers whose truth is known (`planted`), and at the ends of what
//! can be fitted (`degenerate`).

mod degenerate;
mod planted;
mod published;

use super::{PurchaseHistory, PurchaseModel, PurchaseModelKind};

fn history(n_repeats: u32, recency: f64, age: f64) -> PurchaseHistory {
    PurchaseHistory::new(n_repeats, recency, age).unwrap()
}

/// The fit of Fader, Hardie and Lee (2005) to the CDNOW sample, in weeks.
fn cdnow(kind: PurchaseModelKind) -> PurchaseModel {
    PurchaseModel { kind, r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 }
}
