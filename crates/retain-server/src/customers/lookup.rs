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
    /// The same for longer than a call.
    Kept(Option<Arc<View>>),
}

impl Lookup {
    pub(crate) fn new(models: &Models) -> Self {
        models.customers().map_or(Self::None, |customers| Self::Table(customers.view()))
    }

    /// The same table, for work that goes on after the call.
    pub(crate) fn kept(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Table(view) => Self::Kept((**view).clone()),
            Self::Kept(view) => Self::Kept(view.clone()),
        }
    }

    /// The row of a customer; none where nobody is named, or where the table does not have the customer and features were sent.
    ///
    /// # Errors
    /// [`CallError::UnknownCustomer`] where nothing is known of the customer, [`CallError::CustomersNotLoaded`] where the table was not read
    /// for one of the models.
    pub(crate) fn find<'m>(
        &self,
        id: &str,
        sent: &Features<'_>,
        models: impl Iterator<Item = &'m Arc<LiveModel>>,
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
    pub(crate) fn find_all<'m>(
        &self,
        ids: &[String],
        observed: Option<Day>,
        models: impl Iterator<Item = &'m Arc<LiveModel>>,
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
        let view = match self {
            Self::None => return Ok(None),
            Self::Table(view) => view.as_deref(),
            Self::Kept(view) => view.as_deref(),
        };
        let not_read = || CallError::CustomersNotLoaded { description: "the customer table was not read yet".to_owned() };
        view.map(Some).ok_or_else(not_read)
    }
}
