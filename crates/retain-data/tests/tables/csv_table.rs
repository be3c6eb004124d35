use std::path::Path;

use retain_data::{DataError, TableSource};

use crate::support::{assert_contains, cells, source};

#[track_caller]
fn check(text: impl AsRef<[u8]>, columns: &[&str], rows: &[&[&str]]) {
    let table = source(text.as_ref());
    assert_eq!(table.columns(), columns);
    assert_eq!(cells(&table).unwrap(), rows);
    assert_eq!(cells(&table).unwrap(), rows, "the second reading differs");
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, expected: &[&str]) {
    let error = TableSource::from_bytes("t", text.as_ref().to_vec()).and_then(|table| cells(&table)).unwrap_err();
    assert!(!error.is_usage());
    assert_contains(&error.to_string(), expected);
}

#[test]
fn every_dialect_comes_out_the_same() {
    let rows: &[&[&str]] = &[&["1", "x"], &["2", "y"]];
    for delimiter in [",", ";", "\t", "|"] {
        for ending in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "1,x", "2,y"].join(ending).replace(',', delimiter);
            check(&text, &["a", "b"], rows);
            check(text.clone() + ending, &["a", "b"], rows);
            check(format!("\u{feff}{text}"), &["a", "b"], rows);
            check(format!("{ending}{ending}{}", text.replace(ending, &ending.repeat(3))), &["a", "b"], rows);
        }
    }
}

#[test]
fn quotes_keep_delimiters_lines_and_quotes() {
    check("a,b\n\"1,2\",\"x\ny\"\n\"say \"\"hi\"\"\",\n", &["a", "b"], &[&["1,2", "x\ny"], &["say \"hi\"", ""]]);
    check("\"a;b\",c;d\n1,2\n", &["a;b", "c;d"], &[&["1", "2"]]);
    check("a\n x \n\ny", &["a"], &[&[" x "], &["y"]]);
    check("a,b\n1,2\n   \n3,4", &["a", "b"], &[&["1", "2"], &["3", "4"]]);
}

#[test]
fn tables_that_are_none_are_refused_by_name() {
    refused("", &["the table is empty"]);
    refused("\n\n", &["the table is empty"]);
    refused("a,b\n", &["a header with 2 columns and no rows"]);
    refused("a,,b\n1,2,3", &["column 2 of 3 has no name"]);
    refused("a,b,a\n1,2,3", &["names `a` twice, in columns 1 and 3"]);
    refused(b"\xff\xfea\0,\0b\0", &["UTF-16"]);
    refused(b"a\0,\0b\0\n\0", &["UTF-16"]);
    refused(b"\x1f\x8b\x08\0", &["gzip"]);
    refused(b"PK\x03\x04...", &["Excel"]);
    refused(b"\x7fELF\0abcdefghijk", &["binary: it has NUL bytes"]);
    let late = [b"a,b\n".repeat(40_000), b"1,\0\n".to_vec()].concat();
    refused(late.as_slice(), &["binary: line 40001 has a NUL byte"]);
}

#[test]
fn rows_of_another_length_are_told_with_their_line() {
    for ending in ["\n", "\r\n"] {
        let check = |text: &str, expected: &[&str]| refused(text.replace('\n', ending), expected);
        check("a,b\n1,2\n3\n4,5\n", &["line 3: 1 fields, expected 2"]);
        check("\na,b\n\n\n1,2\n\n3,4,5\n6,7\n", &["line 7: 3 fields, expected 2", "has to be quoted"]);
        check("a,b\n\"x\ny\",2\n3\n4,5\n", &["line 4: 1 fields"]);
        check("a,b\n1,2\n3\n", &["line 3: 1 fields, expected 2", "the file may be cut short"]);
        check("a,b\n1,2\n3", &["line 3: 1 fields, expected 2", "the file may be cut short"]);
        check("a,b\n1,2\n3,\"x\n4,5\n", &["line 3: a quote opens here", "the file may be cut short"]);
        check("a,b\n1,2\n3,\"", &["line 3: a quote opens here"]);
        check("a,\"b\n1,2\n", &["line 1: a quote opens here"]);
    }
}

#[test]
fn a_row_too_long_to_be_one_is_refused_before_memory_is_gone() {
    let text = format!("a,b\n1,\"{}", "x\n".repeat(10 << 20));
    refused(text, &["line 2", "one row is longer than is read", "16 MiB"]);
    refused("x".repeat(20 << 20), &["line 1", "16 MiB"]);
    let header: String = (0..100_001).map(|column| format!("c{column},")).collect();
    refused(header.trim_end_matches(','), &["more columns than are read", "100000 columns"]);
}

#[test]
fn windows_1252_is_read_with_one_warning() {
    let table = source(b"name;city\nA;K\xf6ln\nB;Z\xfcrich\nC;Br\xc3\xbcssel\n".as_slice());
    assert_eq!(cells(&table).unwrap().iter().map(|row| row[1].as_str()).collect::<Vec<_>>(), ["Köln", "Zürich", "Brüssel"]);
    let mut batches = table.batches(&[1]).unwrap();
    assert!(batches.by_ref().all(|batch| batch.is_ok()));
    let warnings = batches.warnings();
    assert_eq!(warnings.len(), 1);
    assert_contains(&warnings[0].message, &["2 fields", "Windows-1252", "line 2", "`Köln`"]);
}

#[test]
fn batches_have_the_columns_asked_for_and_at_most_8192_rows() {
    let text = format!("a,b,c\n{}", "1,2,3\n".repeat(20_000));
    let sizes: Vec<_> =
        source(text).batches(&[0, 2]).unwrap().map(|batch| batch.unwrap()).map(|b| (b.num_rows(), b.num_columns())).collect();
    assert_eq!(sizes, [(8192, 2), (8192, 2), (3616, 2)]);
}

#[test]
fn paths_that_cannot_be_read_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = TableSource::open(&folder.path().join("no.csv")).unwrap_err();
    assert!(missing.is_usage() && matches!(missing, DataError::NotFound { .. }), "{missing}");
    let directory = TableSource::open(folder.path()).unwrap_err();
    assert!(directory.is_usage() && directory.to_string().contains("is a directory"), "{directory}");
    assert!(!TableSource::open(Path::new("/dev/null")).unwrap_err().is_usage());
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "a\n1\n").unwrap();
    // printf 'a\n1\n' | sha256sum
    let expected = "309b0e45a73d3fc5325e2b6ed0a01ef8b9cde6b05a5633c1f893f970d52bfddc";
    assert_eq!(TableSource::open(&path).unwrap().sha256().unwrap(), expected);
    assert_eq!(source("a\n1\n").sha256().unwrap(), expected);
}
