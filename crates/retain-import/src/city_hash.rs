//! CatBoost knows a category by a hash of its text: the low half of `CityHash64`, version 1.0.
//!
//! # Source
//! G. Pike and J. Alakuijala, "Introducing CityHash" (2011). CatBoost stays with the first version, whose hashes of texts longer than 16
//! bytes are not those of later versions.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const K3: u64 = 0xc949_d7c7_509e_6557;
/// Multiplier of the mixing of two words.
const MIX: u64 = 0x9ddf_ea08_eb38_2d69;

/// The number by which CatBoost knows the category of this text.
pub fn category_hash(text: &str) -> u32 {
    city64(text.as_bytes()) as u32
}

fn city64(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0 => K2,
        1..=3 => tiny(bytes),
        4..=8 => mix((bytes.len() as u64).wrapping_add(word32(bytes, 0) << 3), word32(bytes, bytes.len() - 4)),
        9..=16 => {
            let (first, last, length) = (word(bytes, 0), word(bytes, bytes.len() - 8), bytes.len());
            mix(first, last.wrapping_add(length as u64).rotate_right(length as u32)) ^ last
        }
        17..=32 => short(bytes),
        33..=64 => medium(bytes),
        _ => long(bytes),
    }
}

/// Eight bytes from a place, little-endian; the callers stay inside.
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn word32(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn fold(value: u64) -> u64 {
    value ^ value >> 47
}

fn mix(low: u64, high: u64) -> u64 {
    let first = fold((low ^ high).wrapping_mul(MIX));
    fold((high ^ first).wrapping_mul(MIX)).wrapping_mul(MIX)
}

fn tiny(bytes: &[u8]) -> u64 {
    let byte = |at: usize| u64::from(bytes[at]);
    let length = bytes.len();
    let y = byte(0) + (byte(length >> 1) << 8);
    let z = length as u64 + (byte(length - 1) << 2);
    fold(y.wrapping_mul(K2) ^ z.wrapping_mul(K3)).wrapping_mul(K2)
}

fn short(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let a = word(bytes, 0).wrapping_mul(K1);
    let b = word(bytes, 8);
    let c = word(bytes, length - 8).wrapping_mul(K2);
    let d = word(bytes, length - 16).wrapping_mul(K0);
    let low = a.wrapping_sub(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let high = a.wrapping_add((b ^ K3).rotate_right(20)).wrapping_sub(c).wrapping_add(length as u64);
    mix(low, high)
}

fn medium(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let seed = word(bytes, 0).wrapping_add((length as u64).wrapping_add(word(bytes, length - 16)).wrapping_mul(K0));
    let (front_low, front_high) = half(seed, word(bytes, 24), word(bytes, 8), word(bytes, 16));
    let seed = word(bytes, 16).wrapping_add(word(bytes, length - 32));
    let last = [word(bytes, length - 8), word(bytes, length - 24), word(bytes, length - 16)];
    let (back_low, back_high) = half(seed, last[0], last[1], last[2]);
    let front = front_low.wrapping_add(back_high).wrapping_mul(K2);
    let back = back_low.wrapping_add(front_high).wrapping_mul(K0);
    fold(fold(front.wrapping_add(back)).wrapping_mul(K0).wrapping_add(front_high)).wrapping_mul(K2)
}

/// One half of a text of 33 to 64 bytes.
fn half(seed: u64, z: u64, second: u64, third: u64) -> (u64, u64) {
    let b = seed.wrapping_add(z).rotate_right(52);
    let c = seed.rotate_right(37);
    let a = seed.wrapping_add(second);
    let c = c.wrapping_add(a.rotate_right(7));
    let a = a.wrapping_add(third);
    (a.wrapping_add(z), b.wrapping_add(a.rotate_right(31)).wrapping_add(c))
}

fn long(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut x = word(bytes, 0);
    let mut y = word(bytes, length - 16) ^ K1;
    let mut z = word(bytes, length - 56) ^ K0;
    let mut v = block(&bytes[length - 64..], length as u64, y);
    let mut w = block(&bytes[length - 32..], (length as u64).wrapping_mul(K1), K0);
    z = z.wrapping_add(fold(v.1).wrapping_mul(K1));
    x = z.wrapping_add(x).rotate_right(39).wrapping_mul(K1);
    y = y.rotate_right(33).wrapping_mul(K1);
    // A last chunk of exactly 64 bytes is one of these.
    for chunk in bytes[..(length - 1) / 64 * 64].chunks_exact(64) {
        x = x.wrapping_add(y).wrapping_add(v.0).wrapping_add(word(chunk, 16)).rotate_right(37).wrapping_mul(K1);
        y = y.wrapping_add(v.1).wrapping_add(word(chunk, 48)).rotate_right(42).wrapping_mul(K1);
        x ^= w.1;
        y ^= v.0;
        z = (z ^ w.0).rotate_right(33);
        v = block(chunk, v.1.wrapping_mul(K1), x.wrapping_add(w.0));
        w = block(&chunk[32..], z.wrapping_add(w.1), y);
        std::mem::swap(&mut z, &mut x);
    }
    let low = mix(v.0, w.0).wrapping_add(fold(y).wrapping_mul(K1)).wrapping_add(z);
    mix(low, mix(v.1, w.1).wrapping_add(x))
}

/// Two words of 32 bytes and two seeds.
fn block(bytes: &[u8], a: u64, b: u64) -> (u64, u64) {
    let start = a.wrapping_add(word(bytes, 0));
    let last = word(bytes, 24);
    let b = b.wrapping_add(start).wrapping_add(last).rotate_right(21);
    let a = start.wrapping_add(word(bytes, 8)).wrapping_add(word(bytes, 16));
    (a.wrapping_add(last), b.wrapping_add(a.rotate_right(44)).wrapping_add(start))
}
