//! What one call finds in the customer table.

use std::sync::Arc;

use arc_swap::Guard;
use retain_core::Day;

use super::{StoredRow, View, unknown_customer};
use crate::convert::{Features, StoredRows};
use crate::models::{LiveModel, Models};
use crate::status::CallError;

/// The table as it was when the call came: all that the call says is from that one.
pub(crate) enum Lookup {
    /// The server has no such table.
    None,
    Table(Guard<Option<Arc<View>>>),
}

impl Lookup {
    pub(crate) fn new(models: &Models) -> Self {
        models.customers().map_or(Self::None, |customers| Self::Table(customers.view()))
    }

    /// The row of a customer; none where nobody is named, or where the table does not have the customer and features were sent.
    ///
    /// # Errors
    /// [`CallError::UnknownCustomer`] where nothing is known of the customer, [`CallError::CustomersNotLoaded`] where the table was not read
    /// for one of the models.
    pub(crate) fn find(
        &self,
        id: &str,
        sent: &Features<'_>,
        models: &[&Arc<LiveModel>],
    ) -> Result<Option<StoredRow<'_>>, CallError> {
        if id.is_empty() {
            return Ok(None);
        }
        let Some(view) = self.view()? else { return Ok(None) };
        view.check_models(models)?;
        match view.find(id) {
            None if sent.is_empty() => Err(CallError::UnknownCustomer(unknown_customer("customer_id"))),
            found => Ok(found),
        }
    }

    /// The rows of many customers; none where nobody is named or the server has no table. Dates are counted to `observed`, or to each row's own.
    ///
    /// # Errors
    /// [`CallError::CustomersNotLoaded`] as for one.
    pub(crate) fn find_all(
        &self,
        ids: &[String],
        observed: Option<Day>,
        models: &[&Arc<LiveModel>],
    ) -> Result<Option<StoredRows<'_>>, CallError> {
        let is_named: Vec<bool> = ids.iter().map(|id| !id.is_empty()).collect();
        if !is_named.contains(&true) {
            return Ok(None);
        }
        let Some(view) = self.view()? else { return Ok(None) };
        view.check_models(models)?;
        let find = |(id, is_named): (&String, &bool)| if *is_named { view.find(id) } else { None };
        let rows = ids.iter().zip(&is_named).map(find).collect();
        Ok(Some(StoredRows { is_named, rows, observed }))
    }

    fn view(&self) -> Result<Option<&View>, CallError> {
        match self {
            Self::None => Ok(None),
            Self::Table(view) => match view.as_deref() {
                Some(view) => Ok(Some(view)),
                None => Err(CallError::CustomersNotLoaded { description: "the customer table was not read yet".to_owned() }),
            },
        }
    }
}
