//! The task file for a table of customers.

/// A task that predicts what customers spend in the horizon; blank without labels, since there is nothing to train on.
pub(super) fn text(horizon_days: u32, customer: &str, labels: &[String], n_origins: usize) -> String {
    let [value, others @ ..] = labels else { return String::new() };
    // One date says nothing about time: rows are then split by customer.
    let observed = if n_origins > 1 { "observed_at = \"observed_at\"\n" } else { "" };
    let mut excluded: Vec<String> = others.iter().map(|label| quoted(label)).collect();
    if n_origins == 1 {
        excluded.push(quoted("observed_at"));
    }
    format!(
        "[task]\nname = \"customer-value\"\nkind = \"ltv\"\ndefinition = \"what the customer spends, less refunds, in the {horizon_days} \
         days after the observation\"\nhorizon_days = {horizon_days}\n\n[table]\nentity = {}\ntarget = {}\npast = \"total_spend\"\n\
         {observed}exclude = [{}]\n",
        quoted(customer),
        quoted(value),
        excluded.join(", ")
    )
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => quoted.extend(format!("\\u{:04X}", control as u32).chars()),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
