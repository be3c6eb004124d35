//! `retain recommend`: what to do next for every row of a table, so that capacities and a budget are kept and most is brought.
//!
//! The table is read twice, once to say what could be done and once to settle what is: what is known of every customer with all that its
//! rules have seen would take more memory than the second reading takes time. In between, [`terms`] says what there is of everything.

mod summary;
mod terms;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_core::PastDecision;
use retain_policy::decide::{Assigned, BatchCustomer, Decided, PriorsOnly, Situation, Supply, appraise, assign};
use retain_policy::playbook::{Language, Playbook};

use self::summary::{Settled, Summary};
use self::terms::Terms;
use crate::answer::Answers;
use crate::cli::Global;
use crate::clock::ClockArguments;
use crate::exit::{Complaint, Exit};
use crate::history::History;
use crate::input::open_table;
use crate::interrupt;
use crate::output::Output;
use crate::playbook_file::{Tongue, read_playbook};
use crate::progress::Progress;
use crate::row_models::load_models;
use crate::rule_rows::{Columns, RowCounts, RuleBatch, RuleTable, Seen};
use crate::score_writer::{ResultColumns, ScoreFormat, ScoreWriter};
use crate::verbs::score::refuse_same_file;

/// Customers that are settled and written together: their candidates' JSON is held in memory.
const CHUNK_ROWS: usize = 1024;
/// Longest JSON of one customer's candidates.
const MAX_CANDIDATES_BYTES: usize = 1 << 16;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The playbook
    #[arg(long, value_name = "FILE")]
    playbook: PathBuf,
    /// Folder of published models, where those of the playbook are looked up
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Table of customers: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "TABLE")]
    input: PathBuf,
    /// Result: `.csv` or `.parquet`, or `-` for CSV on standard output
    #[arg(long, value_name = "TABLE")]
    output: PathBuf,
    /// Column that names the customer [default: as the models have it]
    #[arg(long, value_name = "COLUMN")]
    entity: Option<String>,
    /// The most that all actions may cost together, in the playbook's currency
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<f64>,
    /// How often an action or a channel can be used now, in place of what the playbook says; may be given several times
    #[arg(long, value_name = "ACTION=N")]
    capacity: Vec<String>,
    /// Earlier decisions: the Parquet file that the log exports
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Add every candidate with its rules and numbers, as JSON
    #[arg(long)]
    explain: bool,
    /// Language of reasons [default: the playbook's]
    #[arg(long, value_enum)]
    language: Option<Tongue>,
    #[command(flatten)]
    clock: ClockArguments,
}

/// What stands still while customers are decided for.
struct Deciding<'a> {
    playbook: &'a Playbook,
    history: &'a History,
    now_ms: i64,
    language: Language,
    explain: bool,
    supply: Supply,
}

/// The result of one row.
struct Row {
    settled: Settled,
    reason: String,
    candidates: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let playbook = read_playbook(&arguments.playbook, output)?;
    let now_ms = arguments.clock.now_ms()?;
    refuse_same_file(&arguments.input, &arguments.output)?;
    let history = match &arguments.history {
        Some(path) => History::read(path, now_ms, terms::days_to_read(&playbook))?,
        None => History::default(),
    };
    let terms = Terms::new(&playbook, &arguments.capacity, arguments.budget, &history, now_ms)?;
    let models = load_models(&playbook, &arguments.models)?;
    let source = open_table(&arguments.input)?;
    let columns = Columns { entity: arguments.entity.as_deref(), ..Columns::default() };
    let mut table = RuleTable::open(&playbook, &source, &models, &columns, now_ms, output)?;
    check_entity(&table)?;
    interrupt::watch();
    let language = arguments.language.map_or(playbook.settings.language, Into::into);
    let deciding = Deciding {
        playbook: &playbook,
        history: &history,
        now_ms,
        language,
        explain: arguments.explain,
        supply: Supply::default(),
    };
    let progress = Progress::new(output);
    let (customers, counts) = appraise_all(&deciding, &table, &progress, output)?;

    let seed = global.seed.unwrap_or(now_ms.cast_unsigned());
    let uniforms = uniforms(seed, customers.len());
    let batch = assign(&customers, &terms.batch, &uniforms)
        .map_err(|error| Complaint::new(Exit::DATA, "the customers cannot be allocated").because(error))?;
    drop(customers);
    // Reasons for leaving are words of the answer, and take no part in the choice.
    table.with_reasons = playbook.actions.iter().any(|action| !action.answers.is_empty());
    let mut summary = Summary::new(&playbook, seed, now_ms, counts);
    let results = result_columns(arguments.explain);
    let result = ScoreWriter::create(&arguments.output, &table.result_entity(), results)?;
    settle_all(&deciding, &table, &batch.assigned, result, &mut summary, &progress, output.hushed())?;
    progress.finish();
    output.note(summary.text(&terms, &batch.allocation).trim_end());
    if arguments.output.as_os_str() != "-" {
        output.json(&summary.json(&terms, &batch.allocation, &arguments.output))?;
    }
    Ok(if counts.n_rejected == 0 { Exit::GOOD } else { Exit::DATA })
}

/// Holdouts and histories are by name, so that a row's number will not do.
fn check_entity(table: &RuleTable<'_>) -> Result<()> {
    if table.entity().is_some() {
        return Ok(());
    }
    let complaint = Complaint::usage("nothing says which customer a row is about");
    Err(complaint.hint("name the column with `--entity COLUMN`").into())
}

/// Random numbers, one a customer.
fn uniforms(seed: u64, n: usize) -> Vec<f64> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..n).map(|_| random.random::<f64>()).collect()
}

/// What could be done for each customer, in the order of the table.
fn appraise_all(
    deciding: &Deciding<'_>,
    table: &RuleTable<'_>,
    progress: &Progress,
    output: Output,
) -> Result<(Vec<BatchCustomer>, RowCounts)> {
    let mut customers: Vec<BatchCustomer> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let counts = table.each_batch(output, |batch| {
        check_ids(batch, &mut known)?;
        let one = |row: usize| deciding.look(batch, row, |_, decided| BatchCustomer::of(&decided));
        customers.extend((0..batch.n_rows()).into_par_iter().map(one).collect::<Vec<_>>());
        progress.update("customers looked at", customers.len(), customers.len());
        Ok(())
    })?;
    Ok((customers, counts))
}

/// One decision a customer: the second row of the same one would get what the first has used up.
fn check_ids(batch: &RuleBatch<'_>, known: &mut HashMap<String, usize>) -> Result<()> {
    for row in 0..batch.n_rows() {
        let (id, number) = (batch.id(row), batch.first_row + row + 1);
        if id.is_empty() {
            let message = format!("row {number} does not say which customer it is about");
            return Err(Complaint::new(Exit::DATA, message).hint("fill in the cell, or remove the row").into());
        }
        if let Some(first) = known.insert(id.to_owned(), number) {
            let message = format!("rows {first} and {number} are both about the customer `{id}`");
            return Err(Complaint::new(Exit::DATA, message).hint("keep the newest row of each customer").into());
        }
    }
    Ok(())
}

/// Settles what is done for each customer and writes it.
fn settle_all(
    deciding: &Deciding<'_>,
    table: &RuleTable<'_>,
    assigned: &[Assigned],
    (mut writer, format): (ScoreWriter, ScoreFormat),
    summary: &mut Summary<'_>,
    progress: &Progress,
    output: Output,
) -> Result<()> {
    let changed = || Complaint::new(Exit::DATA, "the table has other rows now than at the first reading");
    let mut n_settled = 0;
    table.each_batch(output, |batch| {
        let assigned = assigned.get(n_settled..n_settled + batch.n_rows()).ok_or_else(changed)?;
        for (chunk, assigned) in assigned.chunks(CHUNK_ROWS).enumerate() {
            let first = chunk * CHUNK_ROWS;
            let settle = |(row, assigned): (usize, &Assigned)| deciding.settle(batch, first + row, assigned);
            let rows: Vec<Row> = assigned.par_iter().enumerate().map(settle).collect();
            for row in &rows {
                summary.add(&row.settled);
            }
            n_settled += rows.len();
            writer.write(&format.encode(&batch.names.slice(first, rows.len()), &answers(deciding, rows))?)?;
        }
        progress.update("customers decided for", n_settled, summary.counts.n_rows);
        Ok(())
    })?;
    if n_settled < assigned.len() {
        return Err(changed().into());
    }
    writer.finish()
}

impl Deciding<'_> {
    /// Looks at one customer and appraises every action.
    fn look<T>(&self, batch: &RuleBatch<'_>, row: usize, visit: impl FnOnce(&Seen<'_>, Decided<'_>) -> T) -> T {
        let history: &[PastDecision] = self.history.of(batch.id(row));
        batch.look(row, history, None, |seen| {
            let situation = Situation {
                customer_id: seen.customer_id,
                now_ms: self.now_ms,
                history,
                effects: &[],
                learned: &PriorsOnly,
                supply: &self.supply,
                channels: None,
                reasons: seen.reasons,
                uniform: 0.0,
            };
            visit(&seen, appraise(self.playbook, &seen.values, &situation))
        })
    }

    fn settle(&self, batch: &RuleBatch<'_>, row: usize, assigned: &Assigned) -> Row {
        self.look(batch, row, |_, mut decided| {
            decided.settle(assigned);
            let chosen = decided.chosen();
            let valuation = chosen.valuation.unwrap_or_default();
            let settled = Settled {
                action: chosen.action,
                propensity: chosen.probability,
                expected_value: valuation.net,
                sd: valuation.net_sd,
                cost: valuation.cost,
                effect: valuation.effect.mean,
                source: valuation.effect.source,
                holdout: decided.holdout,
            };
            let candidates = self.explain.then(|| decided.candidates_json(MAX_CANDIDATES_BYTES));
            Row { settled, reason: decided.reason(chosen, self.language), candidates }
        })
    }
}

/// Numbers stand before texts.
fn result_columns(explain: bool) -> ResultColumns {
    let numbers = ["propensity", "expected_value", "cost", "effect"].map(str::to_owned).to_vec();
    let texts = ["action", "effect_source", "reason"].into_iter().chain(explain.then_some("candidates"));
    ResultColumns { numbers, texts: texts.map(str::to_owned).collect() }
}

fn answers(deciding: &Deciding<'_>, rows: Vec<Row>) -> Answers {
    let number = |number: fn(&Settled) -> f64| rows.iter().map(|row| Some(number(&row.settled))).collect();
    let numbers = vec![
        number(|settled| settled.propensity),
        number(|settled| settled.expected_value),
        number(|settled| settled.cost),
        number(|settled| settled.effect),
    ];
    let mut texts: Vec<Vec<Cow<'static, str>>> = vec![Vec::with_capacity(rows.len()); 3 + usize::from(deciding.explain)];
    for row in rows {
        let source = row.settled.action.map_or("", |_| row.settled.source.as_str());
        let action = row.settled.action_id(deciding.playbook).to_owned();
        let cells = [Some(Cow::Owned(action)), Some(Cow::Borrowed(source)), Some(Cow::Owned(row.reason))];
        let cells = cells.into_iter().chain([row.candidates.map(Cow::Owned)]).flatten();
        texts.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    }
    Answers { numbers, texts }
}
