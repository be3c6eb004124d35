//! Transaction logs: rows of who, when and how much become one row of features per customer and observation date.
//!
//! [`TransactionLog::read`] finds the three columns, settles how dates are written, and keeps of every customer the days with a
//! purchase; [`CustomerTable`] computes features as they were known on a day, and what came after. What counts as what:
//!
//! - Purchases of one day are one purchase. A row with an amount of zero or more is a purchase.
//! - A negative amount is a refund: it lowers what was spent and is no purchase.
//! - Amounts of purchases (`monetary`, `mean_amount`, …) are what was paid that day before refunds; days of amount zero are left out there.
//! - Rows without a customer, or with a blank date or amount, are counted and told of ([`LogCounts`]).

mod columns;
mod customer_table;
mod dates;
mod error;
mod log;

pub use columns::LogColumns;
pub use customer_table::{CustomerTable, Outcome, PurchaseSummary};
pub use dates::DateFormat;
pub use error::TransactionError;
pub use log::{Customer, LogCounts, LogOptions, PurchaseDay, TransactionLog};
