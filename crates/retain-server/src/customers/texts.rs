//! Distinct texts by number: the ids of a table, and what its columns of categories hold.
//!
//! All texts lie in one string behind each other, and the look-up table has a number of four bytes for each: a map of owned strings
//! would take several times the bytes of short ids.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// Texts, each once, numbered in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// All of them.
    bytes: String,
    /// Where each one ends.
    ends: Vec<u32>,
    by_text: HashTable<u32>,
    /// Keyed by chance, so that no table can be made whose texts all fall together.
    hasher: RandomState,
}

/// More bytes of distinct texts, or more of them, than are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyTexts;

impl Texts {
    /// The number of a text that may be new, and whether it is.
    pub(super) fn number(&mut self, text: &str) -> Result<(u32, bool), TooManyTexts> {
        let hash = self.hasher.hash_one(text);
        if let Some(&number) = self.by_text.find(hash, |&number| text_at(&self.bytes, &self.ends, number) == text) {
            return Ok((number, false));
        }
        let number = u32::try_from(self.ends.len()).ok().filter(|&number| number < u32::MAX).ok_or(TooManyTexts)?;
        let end = u32::try_from(self.bytes.len() + text.len()).map_err(|_| TooManyTexts)?;
        self.bytes.push_str(text);
        self.ends.push(end);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.by_text.insert_unique(hash, number, |&number| hasher.hash_one(text_at(bytes, ends, number)));
        Ok((number, true))
    }

    /// The number of a text that came; none otherwise, and none at all once the texts are [sealed](Texts::seal).
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.by_text.find(hash, |&number| self.get(number) == text).copied()
    }

    /// The text of a number.
    pub(super) fn get(&self, number: u32) -> &str {
        text_at(&self.bytes, &self.ends, number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Gives back memory that was kept for more texts.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.by_text.shrink_to_fit(|&number| hasher.hash_one(text_at(bytes, ends, number)));
    }

    /// Gives back the look-up table too: from now on texts are found by number alone.
    pub(super) fn seal(&mut self) {
        self.by_text = HashTable::new();
        self.shrink();
    }

    /// Bytes that they take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>() + self.by_text.allocation_size()
    }
}

fn text_at<'t>(bytes: &'t str, ends: &[u32], number: u32) -> &'t str {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start as usize..ends[number] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_comes_back_by_it() {
        let mut texts = Texts::default();
        let given = ["", "gold", "ñandú", "gold", "", "7"];
        let numbers: Vec<_> = given.iter().map(|text| texts.number(text).unwrap()).collect();
        assert_eq!(numbers, [(0, true), (1, true), (2, true), (1, false), (0, false), (3, true)]);
        assert_eq!([0, 1, 2, 3].map(|number| texts.get(number)), ["", "gold", "ñandú", "7"]);
        assert_eq!((texts.find("ñandú"), texts.find("nandu"), texts.len()), (Some(2), None, 4));
    }

    #[test]
    fn many_texts_are_found_after_the_table_has_grown_and_shrunk() {
        let mut texts = Texts::default();
        for number in 0..10_000 {
            assert_eq!(texts.number(&format!("c-{number}")), Ok((number, true)));
        }
        texts.shrink();
        assert!((0..10_000).all(|number| texts.find(&format!("c-{number}")) == Some(number)));
        let with_table = texts.memory_bytes();
        texts.seal();
        assert_eq!((texts.find("c-5"), texts.get(5)), (None, "c-5"));
        assert!(texts.memory_bytes() < with_table);
    }
}
