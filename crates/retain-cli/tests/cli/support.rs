//! Runs the process, and one small model trained on simulated customers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use retain_data::simulate_customers;
use tempfile::TempDir;

/// Customers that the shared model is trained on.
pub(crate) const N_TRAINING: usize = 1500;

/// What a run of the process came to.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Fails the test unless the process ended with this code, without a panic.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Fails the test unless standard error says this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retain"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

pub(crate) fn retain(arguments: &[&str]) -> Run {
    Run::of(&command(arguments).stdin(Stdio::null()).output().unwrap())
}

pub(crate) fn retain_with_input(arguments: &[&str], input: &[u8]) -> Run {
    let pipes = command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = pipes.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Run::of(&output)
}

/// A folder of its own for one test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The path of a name inside, as text for a command line.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The telco customers that `quickstart` trains on.
pub(crate) const TELCO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/telco_churn.csv");
/// The models that are published in the repository.
pub(crate) const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
/// A playbook for them.
pub(crate) const TELCO_PLAYBOOK: &str = include_str!("telco_playbook.toml");

/// The task of the simulated customers, with one learner to be fast.
pub(crate) fn task(learners: &str) -> String {
    format!(
        "[task]\nname = \"simulated\"\nkind = \"churn\"\ndefinition = \"left within the month\"\nhorizon_days = 30\n\n\
         [table]\nentity = \"customer_id\"\ntarget = \"churned\"\npositive = \"yes\"\n\n\
         [train]\nlearners = [{learners}]\nbudget_seconds = 600\nseed = 3\n"
    )
}

/// The shared model and its tables.
pub(crate) struct Trained {
    /// Keeps the files alive.
    _folder: Folder,
    /// The bundle.
    pub(crate) model: String,
    /// The table it was trained on.
    pub(crate) training: String,
    /// 1,500 other customers, with labels.
    pub(crate) holdout: String,
}

pub(crate) fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = Folder::new();
        let config = folder.file("task.toml", task("\"logistic\", \"tree\""));
        let training = folder.file("training.csv", simulate_customers(N_TRAINING, 11).csv);
        let holdout = folder.file("holdout.csv", simulate_customers(1500, 12).csv);
        let model = folder.path("model");
        retain(&["train", "--config", &config, "--data", &training, "--out", &model]).expect(0);
        Trained { _folder: folder, model, training, holdout }
    })
}

/// A copy of the shared bundle that a test may damage.
pub(crate) fn copy_of_model(folder: &Folder, name: &str) -> PathBuf {
    let copy = PathBuf::from(folder.path(name));
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&trained().model).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

pub(crate) fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The columns of a CSV file by name, without quotes in it.
pub(crate) fn columns(path: &str) -> Vec<(String, Vec<String>)> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let mut columns: Vec<(String, Vec<String>)> =
        reader.headers().unwrap().iter().map(|name| (name.to_owned(), vec![])).collect();
    for record in reader.records() {
        for ((_, values), cell) in columns.iter_mut().zip(&record.unwrap()) {
            values.push(cell.to_owned());
        }
    }
    columns
}

/// One column of a CSV file.
pub(crate) fn column(path: &str, name: &str) -> Vec<String> {
    let found = columns(path).into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no column `{name}` in {path}")).1
}
