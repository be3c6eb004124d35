//! Who gets no action, so that what all actions together bring can be told.

use sha2::{Digest, Sha256};

use crate::playbook::Exploration;

const DAY_MS: i64 = 86_400_000;

/// Whether a customer is in the holdout: the same on every server, for every playbook with this salt, for as long as the period lasts.
///
/// The first 8 bytes of the SHA-256 of `salt/customer_id` (`salt/period/customer_id` where the holdout is drawn anew, the period counted
/// from 1970-01-01), read as a big-endian number whose lowest 11 bits are dropped, over 2⁵³, are below the share. While the share grows,
/// who is in stays in. Nobody is the customer without a name.
pub fn is_held_out(exploration: &Exploration, customer_id: &str, now_ms: i64) -> bool {
    exploration.holdout > 0.0 && !customer_id.is_empty() && position(exploration, customer_id, now_ms) < exploration.holdout
}

fn position(exploration: &Exploration, customer_id: &str, now_ms: i64) -> f64 {
    let mut hash = Sha256::new();
    hash.update(&exploration.holdout_salt);
    hash.update("/");
    if let Some(days) = exploration.holdout_period_days {
        hash.update(now_ms.div_euclid(DAY_MS * i64::from(days)).to_string());
        hash.update("/");
    }
    hash.update(customer_id);
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    (first >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_what_anybody_can_compute() {
        let exploration = Exploration { holdout_salt: "telco-churn".to_owned(), ..Exploration::default() };
        // int(hashlib.sha256(b"telco-churn/7590-VHVEG").hexdigest()[:16], 16) >> 11, over 2**53
        assert_eq!(position(&exploration, "7590-VHVEG", 0), 0.807_714_023_922_424_9);
    }

    #[test]
    fn a_share_of_the_customers_is_held_out_and_stays_so() {
        let three = Exploration::default();
        let five = Exploration { holdout: 0.05, ..Exploration::default() };
        let held = |exploration: &Exploration, now_ms| -> Vec<bool> {
            (0..100_000).map(|customer| is_held_out(exploration, &customer.to_string(), now_ms)).collect()
        };
        let (now, later) = (held(&three, 0), held(&three, 400 * DAY_MS));
        let share = now.iter().filter(|held| **held).count() as f64 / 100_000.0;
        // Six standard deviations of a share of 100,000.
        assert!((share - 0.03).abs() < 0.0033, "{share}");
        assert_eq!(now, later);
        assert!(now.iter().zip(held(&five, 0)).all(|(small, large)| !small || large));
        let yearly = Exploration { holdout_period_days: Some(365), ..Exploration::default() };
        assert_ne!(held(&yearly, 0), held(&yearly, 400 * DAY_MS));
        assert!(!is_held_out(&Exploration { holdout: 1.0, ..Exploration::default() }, "", 0));
    }
}
