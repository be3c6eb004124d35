//! Presets.
/// Names.
pub fn names() -> &'static [&'static str] {
    &[]
}
