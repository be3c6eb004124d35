//! The words of the domain: feature schema, typed values, days, probability, money, model addresses, decisions and their outcomes.
//!
//! A table column becomes a [`FeatureSpec`]; a cell or a request value becomes a [`FeatureValue`]; a [`FeatureSchema`]
//! turns one row of values into the `f64` row that every model reads ([`FeatureSchema::encode_row`]). No I/O, no clock
//! and no randomness live here: they enter from the binary.

mod address;
mod day;
mod decision;
mod money;
mod probability;
mod rows;
mod schema;
mod suggest;
mod value;

pub use address::{AddressError, ModelAddress, ModelName, VersionSelector};
pub use day::{Day, DayError};
pub use decision::{
    Decision, DecisionId, DecisionIdError, NO_ACTION, Outcome, OutcomeEvent, OutcomeEventError, Override, PastDecision,
};
pub use money::{CurrencyError, Money, check_currency};
pub use probability::{Probability, ProbabilityError};
pub use rows::{Rows, RowsError};
pub use schema::{
    ColumnKind, DEFAULT_MISSING, DurationSpec, FeatureSchema, FeatureSpec, MissingMarkers, Monotone, SchemaError, TaskKind,
    TreatmentSpec,
};
pub use suggest::nearest;
pub use value::{FeatureValue, ValueError, ValueNote, parse_boolean, parse_number};
