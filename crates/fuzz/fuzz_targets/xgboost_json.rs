#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| retain_fuzz::xgboost_json(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // One change in four may break the syntax.
    match retain_fuzz::mutate_json(&bytes[..size], seed / 4) {
        Some(changed) if seed % 4 != 0 && changed.len() <= max_size => {
            bytes[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        _ => fuzzer_mutate(bytes, size, max_size),
    }
});
