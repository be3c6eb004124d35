#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| retain_fuzz::xgboost_json(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    retain_fuzz::mutate((bytes, size, max_size, seed), retain_fuzz::mutate_json, fuzzer_mutate)
});
