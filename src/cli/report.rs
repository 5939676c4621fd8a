//! What a command says when it ends: text for people, one JSON object for machines, errors for both.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use super::seed::Seed;

/// Whether standard output carries a result, so that the report goes to standard error.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on the report goes to standard error.
pub(super) fn leave_stdout() {
    STDOUT_IS_TAKEN.store(true, Ordering::Relaxed);
}

/// Prints what a command reports, text or JSON, as one line or more.
fn print_report(text: &str) -> Result<(), CliError> {
    let (name, written) = if STDOUT_IS_TAKEN.load(Ordering::Relaxed) {
        ("error", writeln!(std::io::stderr().lock(), "{text}"))
    } else {
        ("output", writeln!(std::io::stdout().lock(), "{text}"))
    };
    written.map_err(|e| CliError::failed(format!("standard {name}: {e}")))
}

/// Prints a line for people to standard error.
pub(super) fn say(line: impl Display) {
    // A terminal that is gone, or a full disk behind it, changes nothing of the result.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A finished command's result.
#[derive(Debug)]
pub(super) struct Report {
    /// Printed to stdout without `--json`.
    pub text: String,
    /// Printed to stdout with `--json`.
    pub json: Map<String, Value>,
    /// Printed to stderr, and in the JSON as `warnings`.
    pub warnings: Vec<String>,
    /// What the command found wrong: printed like an error after the report, and in the JSON as `error`; exit 1.
    pub failure: Option<String>,
}

impl Report {
    pub(super) fn new(text: impl Into<String>, json: Value) -> Self {
        let json = match json {
            Value::Object(map) => map,
            other => Map::from_iter([("result".to_owned(), other)]),
        };
        Self { text: text.into(), json, warnings: Vec::new(), failure: None }
    }

    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Tells the seed: in the JSON always, in the text where nobody could know it.
    pub(super) fn with_seed(mut self, seed: Seed) -> Self {
        if seed.is_drawn {
            self.text.push_str(&format!("\nseed {seed}, drawn at random"));
        }
        self.json.insert("seed".into(), json!(seed.value));
        self
    }

    pub(super) fn print(mut self, json: bool) -> Result<(), CliError> {
        for warning in &self.warnings {
            say(format_args!("warning: {warning}"));
        }
        if let Some(failure) = &self.failure {
            self.json.insert("error".into(), json!(failure));
        }
        let text = if json {
            if !self.warnings.is_empty() {
                self.json.insert("warnings".into(), json!(self.warnings));
            }
            Value::Object(self.json).to_string()
        } else {
            self.text
        };
        print_report(text.trim_end())?;
        // The object on standard output has it already.
        self.failure.map_or(Ok(()), |message| Err(CliError { message, exit: 1, is_reported: true }))
    }
}

/// Why a command did not finish, and whose fault it was.
#[derive(Debug)]
pub(super) struct CliError {
    message: String,
    exit: u8,
    /// Whether the JSON object is printed.
    is_reported: bool,
}

impl CliError {
    /// The command line itself is wrong: exit 2.
    pub(super) fn usage(message: impl Display) -> Self {
        Self { message: format!("{message:#}"), exit: 2, is_reported: false }
    }

    /// The command line was understood, the work failed: exit 1.
    pub(super) fn failed(message: impl Display) -> Self {
        Self { message: format!("{message:#}"), exit: 1, is_reported: false }
    }

    pub(super) fn print(&self, json: bool) -> ExitCode {
        if json && !self.is_reported {
            print_error_object(&self.message);
        }
        say(format_args!("error: {}", self.message));
        ExitCode::from(self.exit)
    }
}

impl<E: Into<crate::Error>> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::failed(error.into())
    }
}

/// `{"error": message}` where the report would be.
pub(super) fn print_error_object(message: &str) {
    // A closed stdout leaves stderr, which carries the same message.
    let _ = print_report(&json!({ "error": message }).to_string());
}
