//! Changes that leave the syntax of a file whole: what libFuzzer changes by itself is mostly refused by the parser.

use serde_json::Value;

use super::bundle::{join, split};

/// One change of the first `size` bytes of a file, within `max_size`: three times in four by `change`, which leaves the syntax whole, and
/// otherwise, or where `change` has nothing, by `fuzzer`, which may break it. Returns the new size.
pub fn mutate(
    (bytes, size, max_size, seed): (&mut [u8], usize, usize, u32),
    change: fn(&[u8], u32) -> Option<Vec<u8>>,
    fuzzer: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    match change(&bytes[..size], seed / 4) {
        Some(changed) if seed % 4 != 0 && changed.len() <= max_size => {
            bytes[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        _ => fuzzer(bytes, size, max_size),
    }
}

/// Numbers at the edges of the types that files are read into.
const WORDS: [&str; 32] = [
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "3",
    "7",
    "0.5",
    "-0.0",
    "1e-35",
    "-1e-35",
    "1e-40",
    "1e30",
    "1e300",
    "-1e300",
    "1e308",
    "5e-324",
    "255",
    "256",
    "65535",
    "999999",
    "1000000",
    "2147483647",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "nan",
    "inf",
];

/// A small generator: a run must be repeatable by libFuzzer's seed.
struct Random(u64);

impl Random {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed) * 2 + 1)
    }

    fn below(&mut self, n: usize) -> usize {
        // Multiplication and shift after Steele and Vigna, "Computationally easy, spectrally good multipliers" (2021).
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }
}

/// Changes a few values of a JSON text; none where it is no JSON.
pub fn mutate_json(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut random = Random::new(seed);
    json(bytes, &mut random)
}

fn json(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(bytes).ok()?;
    for _ in 0..=random.below(3) {
        let n_values = count(&root);
        let (target, donor) = (random.below(n_values), random.below(n_values));
        let donated = nth(&mut root, &mut { donor }).cloned();
        if let Some(value) = nth(&mut root, &mut { target }) {
            change(value, donated, random);
        }
    }
    serde_json::to_vec(&root).ok()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value at a position among all of a document, parents before children.
fn nth<'a>(value: &'a mut Value, position: &mut usize) -> Option<&'a mut Value> {
    if *position == 0 {
        return Some(value);
    }
    *position -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|value| nth(value, position)),
        Value::Object(entries) => entries.values_mut().find_map(|value| nth(value, position)),
        _ => None,
    }
}

fn change(value: &mut Value, donated: Option<Value>, random: &mut Random) {
    if random.below(8) == 0 {
        *value = donated.unwrap_or_default();
        return;
    }
    match value {
        Value::Null | Value::Bool(_) => *value = [Value::Bool(true), Value::Bool(false), Value::Null][random.below(3)].clone(),
        Value::Number(number) => {
            let near = number.as_i64().map(|number| number.saturating_add(random.below(5) as i64 - 2).into());
            let scaled =
                number.as_f64().and_then(|number| serde_json::Number::from_f64(number * [-1.0, 2.0, 0.5][random.below(3)]));
            let other = serde_json::from_str(random.word()).unwrap_or(Value::from(0));
            *value = match random.below(3) {
                0 => near.unwrap_or(other),
                1 => scaled.map_or(other, Value::Number),
                _ => other,
            };
        }
        // Numbers stand in texts too.
        Value::String(text) => *text = if random.below(2) == 0 { random.word().to_owned() } else { changed_text(text, random) },
        Value::Array(values) => {
            let place = random.below(values.len());
            match random.below(4) {
                0 if !values.is_empty() => drop(values.remove(place)),
                1 if !values.is_empty() => values.push(values[place].clone()),
                2 => values.extend(donated),
                _ => values.truncate(place),
            }
        }
        Value::Object(entries) => {
            let place = random.below(entries.len());
            if let Some(key) = entries.keys().nth(place).cloned() {
                match (random.below(3), donated) {
                    (0, Some(donated)) => drop(entries.insert(key, donated)),
                    (1, _) => drop(entries.remove(&key)),
                    _ => entries.values_mut().take(1).for_each(|value| *value = Value::Null),
                }
            }
        }
    }
}

fn changed_text(text: &str, random: &mut Random) -> String {
    let kept = random.below(text.chars().count() + 1);
    let mut changed: String = text.chars().take(kept).collect();
    changed.push_str(["", " ", "c", "ä", "\u{0}", "1"][random.below(6)]);
    changed.extend(text.chars().skip(kept + random.below(2)));
    changed
}

/// Changes a few words of a text of `key=value` lines; none where it is no text.
pub fn mutate_lines(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut lines: Vec<String> = std::str::from_utf8(bytes).ok()?.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let (place, other) = (random.below(lines.len()), random.below(lines.len()));
        if lines.is_empty() {
            break;
        }
        match random.below(12) {
            0 => drop(lines.remove(place)),
            1 => lines.insert(place, lines[other].clone()),
            2 => lines.swap(place, other),
            _ => lines[place] = changed_line(&lines[place], &lines[other], &mut random),
        }
    }
    Some((lines.join("\n") + "\n").into_bytes())
}

fn changed_line(line: &str, other: &str, random: &mut Random) -> String {
    let values =
        |line: &str| line.split_once('=').map_or("", |(_, value)| value).split(' ').map(str::to_owned).collect::<Vec<_>>();
    let key = line.split_once('=').map_or(line, |(key, _)| key);
    let (mut words, donated) = (values(line), values(other));
    let place = random.below(words.len());
    match random.below(8) {
        0 => drop(words.remove(place)),
        1 => words.push(words[place].clone()),
        2 => words[place].clone_from(&donated[random.below(donated.len())]),
        3 => words = donated,
        4 => words[place] = changed_text(&words[place], random),
        5 => words[place] = words[place].parse::<i64>().unwrap_or(-1).saturating_add(1).to_string(),
        _ => random.word().clone_into(&mut words[place]),
    }
    format!("{key}={}", words.join(" "))
}

/// Changes one of the JSON files among those of [`split`].
pub fn mutate_bundle(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut random = Random::new(seed);
    let (first, mut parts) = split(bytes)?;
    let part = random.below(3);
    let changed = json(parts[part], &mut random)?;
    parts[part] = &changed;
    join(first, parts)
}
