use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec};
use retain_data::{RowReader, ScoringBatch};

use crate::support::{assert_contains, source, table_with, train};

fn schema() -> FeatureSchema {
    let mut usage = FeatureSpec::new("usage", ColumnKind::Number);
    (usage.min, usage.max) = (Some(0.0), Some(10.0));
    let mut plan = FeatureSpec::new("plan", ColumnKind::Category);
    plan.set_categories(vec!["gold".into(), "silver".into()]);
    let since = FeatureSpec::new("since", ColumnKind::Date);
    FeatureSchema::new(vec![usage, plan, since], Some("id".into()), "left".into(), "yes".into(), Some("seen".into())).unwrap()
}

fn read(csv: &str, reference: Option<Day>) -> Vec<ScoringBatch> {
    RowReader::open(&source(csv), &schema(), reference).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_bad_row_keeps_its_place_and_harms_no_other() {
    let csv = "plan,id,seen,usage,since\n\
               gold, a ,2026-01-31,5,2026-01-01\n\
               tin,,2026-01-31,11,\n\
               silver,c,2026-01-31,oops,never\n\
               ,d,,5,2026-01-01\n\
               silver,e,2026-01-31,NA,2026-01-30\n";
    let batch = &read(csv, None)[0];
    assert_eq!(batch.entity.iter().collect::<Vec<_>>(), [" a ", "", "c", "d", "e"]);
    assert_eq!(batch.row_ok, [true, true, false, false, true]);
    assert_eq!(batch.rows.row(0), [5.0, 0.0, 30.0]);
    assert!(batch.rows.row(2).iter().all(|value| value.is_nan()));
    assert_eq!(batch.rows.row(4)[1..], [1.0, 1.0]);
    let told: Vec<String> = batch.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert_contains(&told[0], &["row 3: column `usage` should be a number, found `oops`"]);
    assert_contains(&told[1], &["row 4: column `seen` should be an ISO date"]);
    let notes: Vec<_> = batch.notes.iter().map(|note| (note.missing, note.unseen, note.out_of_range)).collect();
    assert_eq!(notes, [(1, 0, 1), (0, 1, 0), (1, 0, 0)]);
}

#[test]
fn pieces_of_a_batch_say_what_the_batch_says() {
    let row = |row: usize| match row % 5 {
        0 => format!("gold,{row},2026-01-31,oops,2026-01-01\n"),
        1 => format!("tin,{row},2026-01-31,,2026-01-01\n"),
        _ => format!("silver,{row},2026-01-31,{row},2026-01-01\n"),
    };
    let csv = format!("plan,id,seen,usage,since\n{}", (0..150).map(row).collect::<String>());
    let (mut batches, encoder) = RowReader::open(&source(csv), &schema(), None).unwrap().into_parts();
    let batch = batches.next().unwrap().unwrap();
    let whole = encoder.encode(&batch);
    for n_rows in [0, 1, 64, 100, 150, 1000] {
        let pieces: Vec<ScoringBatch> = batch.pieces(n_rows).map(|piece| encoder.encode(&piece)).collect();
        let bits = |batches: &[ScoringBatch]| -> Vec<u64> {
            batches.iter().flat_map(|batch| batch.rows.values()).map(|value| value.to_bits()).collect()
        };
        let names = |batches: &[ScoringBatch]| -> Vec<String> {
            batches.iter().flat_map(|batch| batch.entity.iter().map(String::from).collect::<Vec<_>>()).collect()
        };
        let rejected = |batches: &[ScoringBatch]| -> Vec<String> {
            batches.iter().flat_map(|batch| &batch.rejected).map(ToString::to_string).collect()
        };
        let whole = std::slice::from_ref(&whole);
        assert_eq!(pieces.len(), 150_usize.div_ceil(n_rows.max(1)), "{n_rows}");
        assert_eq!((bits(&pieces), names(&pieces), rejected(&pieces)), (bits(whole), names(whole), rejected(whole)), "{n_rows}");
        let missing: usize = pieces.iter().map(|piece| piece.notes[0].missing).sum();
        assert_eq!((missing, pieces.iter().map(|piece| piece.notes[1].unseen).sum::<usize>()), (30, 30));
    }
}

#[test]
fn a_reference_day_stands_in_for_the_observation() {
    let reference = Some(Day::parse("2026-01-11").unwrap());
    let without = "id,usage,plan,since\n1,2,gold,2026-01-01\n";
    assert_eq!(read(without, reference)[0].rows.row(0), [2.0, 0.0, 10.0]);
    let error = RowReader::open(&source(without), &schema(), None).map(|_| ()).unwrap_err();
    assert_contains(&error.to_string(), &["counts days to the observation", "column `seen`"]);
    let blank = "id,usage,plan,since,seen\n1,2,gold,2026-01-01,\n2,2,gold,2026-01-01,2026-01-02\n";
    let batch = &read(blank, reference)[0];
    assert_eq!((batch.rows.row(0)[2], batch.rows.row(1)[2]), (10.0, 1.0));
}

#[test]
fn every_missing_column_is_named_at_once() {
    let error = RowReader::open(&source("usage,Plan\n1,gold\n"), &schema(), None).map(|_| ()).unwrap_err();
    assert_contains(&error.to_string(), &["the model names `plan`, `since`, `id`", "nearest to `plan` is `Plan`"]);
}

#[test]
fn scoring_encodes_as_training_did_across_batches() {
    let csv = table_with("x", |row| ["a", "b", ""][row % 3].into());
    let dataset = train(&csv, "").unwrap().dataset;
    let body: String = csv.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    let long = format!("id,usage,x,left\n{}", body.repeat(30));
    let (mut n_rows, mut n_batches) = (0, 0);
    for batch in RowReader::open(&source(long), &dataset.schema, None).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.first_row, n_rows);
        for row in 0..batch.rows.n_rows() {
            let known = (n_rows + row) % 600;
            assert_eq!(batch.entity.text(row), dataset.entity[known]);
            let expected = dataset.columns.iter().map(|column| column[known].to_bits());
            assert!(batch.rows.row(row).iter().map(|value| value.to_bits()).eq(expected), "row {}", n_rows + row);
        }
        (n_rows, n_batches) = (n_rows + batch.rows.n_rows(), n_batches + 1);
    }
    assert_eq!((n_rows, n_batches), (18_000, 3));
}

#[test]
fn a_damaged_end_gives_the_rows_before_it_and_then_one_error() {
    let csv = format!("id,usage,plan,since,seen\n{}9,9", "1,2,gold,,2026-01-01\n".repeat(9000));
    let results: Vec<_> = RowReader::open(&source(csv), &schema(), None).unwrap().collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].as_ref().unwrap().rows.n_rows(), 8192);
    assert_contains(&results[1].as_ref().unwrap_err().to_string(), &["line 9002", "cut short"]);
}
