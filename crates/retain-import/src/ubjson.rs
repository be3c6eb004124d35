//! UBJSON, draft 12, turned into JSON text, so that both of XGBoost's formats are read by the same code.
//!
//! Nothing is believed: a count is held against the bytes that are left, elements without bytes of their own (`[$Z#…`) cannot be counted
//! at all, and containers are kept on a list rather than on the call stack. The text is a few times as long as the bytes.

use std::fmt::Write;

use crate::error::ImportError;

/// As deep as `serde_json` reads.
const MAX_DEPTH: usize = 127;

/// The JSON text of a UBJSON value.
///
/// # Errors
/// [`ImportError::Syntax`] names the byte where the value stops making sense.
pub(crate) fn to_json(bytes: &[u8]) -> Result<String, ImportError> {
    let mut reader = Reader { bytes, offset: 0, json: String::with_capacity(2 * bytes.len()) };
    let mut open: Vec<Container> = Vec::new();
    reader.value_of(None, &mut open)?;
    while let Some(container) = open.last_mut() {
        if reader.is_at_end(container)? {
            reader.json.push(if container.is_object { '}' } else { ']' });
            open.pop();
            continue;
        }
        if container.n_read > 0 {
            reader.json.push(',');
        }
        container.n_read += 1;
        let (is_object, element) = (container.is_object, container.element);
        if is_object {
            reader.key()?;
        }
        reader.value_of(element, &mut open)?;
        if open.len() > MAX_DEPTH {
            return Err(reader.wrong("more than 127 containers inside each other"));
        }
    }
    if reader.offset < bytes.len() {
        return Err(reader.wrong("bytes follow the end of the value"));
    }
    Ok(reader.json)
}

/// A list or an object that is being read.
struct Container {
    is_object: bool,
    /// The one type of its elements, where it says so.
    element: Option<u8>,
    /// How many there are; without it the end is marked.
    count: Option<usize>,
    n_read: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    json: String,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: impl Into<String>) -> ImportError {
        ImportError::syntax(format!("byte {}", self.offset), what)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], ImportError> {
        let left = self.bytes.len() - self.offset;
        if n > left {
            return Err(self.wrong(format!("{n} bytes should follow, {left} are left")));
        }
        let taken = &self.bytes[self.offset..self.offset + n];
        self.offset += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next byte, skipping those that mean nothing.
    fn marker(&mut self) -> Result<u8, ImportError> {
        loop {
            let [marker] = self.array()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    fn whole(&mut self, marker: u8) -> Result<i64, ImportError> {
        match marker {
            b'i' => Ok(i64::from(i8::from_be_bytes(self.array()?))),
            b'U' => Ok(i64::from(u8::from_be_bytes(self.array()?))),
            b'I' => Ok(i64::from(i16::from_be_bytes(self.array()?))),
            b'l' => Ok(i64::from(i32::from_be_bytes(self.array()?))),
            b'L' => Ok(i64::from_be_bytes(self.array()?)),
            _ => Err(self.wrong(format!("a whole number should stand here, found the marker `{}`", marker.escape_ascii()))),
        }
    }

    fn count(&mut self) -> Result<usize, ImportError> {
        let marker = self.marker()?;
        let count = self.whole(marker)?;
        usize::try_from(count).map_err(|_| self.wrong(format!("a count of {count}")))
    }

    fn key(&mut self) -> Result<(), ImportError> {
        self.text()?;
        self.json.push(':');
        Ok(())
    }

    /// A length and a text.
    fn text(&mut self) -> Result<(), ImportError> {
        let length = self.count()?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("a text that is not UTF-8"))?;
        self.put_text(text)
    }

    fn put_text(&mut self, text: &str) -> Result<(), ImportError> {
        let json = serde_json::to_string(text).map_err(|error| self.wrong(error.to_string()))?;
        self.json.push_str(&json);
        Ok(())
    }

    /// Writes a value, or opens it where it is a container.
    fn value_of(&mut self, element: Option<u8>, open: &mut Vec<Container>) -> Result<(), ImportError> {
        let marker = match element {
            Some(marker) => marker,
            None => self.marker()?,
        };
        match marker {
            b'Z' => self.json.push_str("null"),
            b'T' => self.json.push_str("true"),
            b'F' => self.json.push_str("false"),
            b'i' | b'U' | b'I' | b'l' | b'L' => {
                let number = self.whole(marker)?;
                self.put(number);
            }
            b'd' => {
                let number = f32::from_be_bytes(self.array()?);
                self.put_float(number, number.is_finite());
            }
            b'D' => {
                let number = f64::from_be_bytes(self.array()?);
                self.put_float(number, number.is_finite());
            }
            b'C' => {
                let [letter] = self.array()?;
                self.put_text(&char::from(letter).to_string())?;
            }
            b'S' | b'H' => self.text()?,
            b'[' | b'{' => {
                let container = self.container(marker == b'{')?;
                self.json.push(char::from(marker));
                open.push(container);
            }
            _ => return Err(self.wrong(format!("the marker `{}` is not known", marker.escape_ascii()))),
        }
        Ok(())
    }

    fn put(&mut self, number: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.json, "{number}");
    }

    /// JSON has no infinity; what is not finite is refused where a number is asked for.
    fn put_float(&mut self, number: impl std::fmt::LowerExp, is_finite: bool) {
        if is_finite {
            let _ = write!(self.json, "{number:e}");
        } else {
            self.json.push_str("null");
        }
    }

    fn container(&mut self, is_object: bool) -> Result<Container, ImportError> {
        let mut container = Container { is_object, element: None, count: None, n_read: 0 };
        if self.peek() == Some(b'$') {
            self.offset += 1;
            let marker = self.marker()?;
            if matches!(marker, b'Z' | b'T' | b'F') {
                return Err(self.wrong("elements without bytes of their own cannot be counted"));
            }
            container.element = Some(marker);
            if self.peek() != Some(b'#') {
                return Err(self.wrong("a type of elements should come with a count"));
            }
        }
        if self.peek() == Some(b'#') {
            self.offset += 1;
            let count = self.count()?;
            // Every element has a byte at least.
            if count > self.bytes.len() - self.offset {
                return Err(
                    self.wrong(format!("{count} elements should follow, {} bytes are left", self.bytes.len() - self.offset))
                );
            }
            container.count = Some(count);
        }
        Ok(container)
    }

    /// Whether a container ends here; steps over the mark of its end.
    fn is_at_end(&mut self, container: &Container) -> Result<bool, ImportError> {
        if let Some(count) = container.count {
            return Ok(container.n_read == count);
        }
        while self.peek() == Some(b'N') {
            self.offset += 1;
        }
        let end = if container.is_object { b'}' } else { b']' };
        match self.peek() {
            None => Err(self.wrong("the file ends inside a container")),
            Some(byte) if byte == end => {
                self.offset += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type_are_read() {
        let cases: [(&[u8], &str); 9] = [
            (b"Z", "null"),
            (b"[TFN]", "[true,false]"),
            (b"[i\xffU\xffI\xff\xfel\0\0\0\x05L\xff\xff\xff\xff\xff\xff\xff\xff]", "[-1,255,-2,5,-1]"),
            (b"d\x3f\xc0\0\0", "1.5e0"),
            (b"D\x7f\xf0\0\0\0\0\0\0", "null"),
            (b"{i\x01ai\x02i\x01bSU\x03x\"y}", r#"{"a":2,"b":"x\"y"}"#),
            (b"[$d#L\0\0\0\0\0\0\0\x02\x3f\x80\0\0\xc0\0\0\0", "[1e0,-2e0]"),
            (b"[#i\x02{}[]", "[{},[]]"),
            (b"{$U#i\x01i\x01a\x07", r#"{"a":7}"#),
        ];
        for (bytes, json) in cases {
            assert_eq!(to_json(bytes).unwrap(), json, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_claims_more_than_it_holds_is_refused() {
        let deep = vec![b'['; 100_000];
        let cases: [&[u8]; 10] = [
            b"",
            b"[",
            b"{i\x05ab",
            b"[$Z#l\x7f\xff\xff\xff",
            b"[$L#L\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"[#i\xff",
            b"[$[#i\x02",
            b"q",
            b"ZZ",
            &deep,
        ];
        for bytes in cases {
            assert!(to_json(bytes).is_err(), "{}", bytes[..bytes.len().min(20)].escape_ascii());
        }
    }
}
