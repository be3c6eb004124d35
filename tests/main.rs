//! Integration tests of the workspace; each module says what belongs in it.
