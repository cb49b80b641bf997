//! Tables for people, a line of JSON for programs, and the figures that must hold.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, ExitCode};
use std::thread;

use serde_json::{json, Map, Value};
use support::Environment;

use crate::haproxy::Haproxy;

/// What measures one part: gets the arguments after the part's name.
pub type Part = fn(&[String], &mut Report);

/// What one part of the benchmark has to say. Tables are printed as they come.
pub struct Report {
    part: &'static str,
    tables: Vec<Value>,
    figures: Vec<Figure>,
}

/// One line of a table: cells by the names of their columns.
#[derive(Clone, Debug, Default)]
pub struct Row(Vec<(&'static str, Value)>);

/// A figure that must hold.
struct Figure {
    name: String,
    /// What was measured; `None` if it could not be.
    value: Option<f64>,
    /// What it must be, in words, or why it was not measured.
    rule: String,
    met: bool,
}

impl Report {
    /// Runs a part. One that breaks counts as a figure that is missed.
    pub fn of(part: &'static str, arguments: &[String], run: Part) -> Report {
        let mut report = Report { part, tables: Vec::new(), figures: Vec::new() };

        println!("== {part}");
        if panic::catch_unwind(AssertUnwindSafe(|| run(arguments, &mut report))).is_err() {
            report.missing("the part itself", "it broke; see above");
        }
        report.print();
        report
    }

    /// Prints a table and keeps it. Columns are those of all rows, in the order in which they appear.
    pub fn table(&mut self, title: &str, rows: &[Row]) {
        let mut columns: Vec<&'static str> = Vec::new();
        for (name, _) in rows.iter().flat_map(|row| &row.0) {
            if !columns.contains(name) {
                columns.push(name);
            }
        }
        let width = |column: &&'static str| {
            let cells = rows.iter().map(|row| row.cell(column).chars().count());
            cells.chain([column.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = columns.iter().map(width).collect();
        let line = |cells: Vec<String>| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
                // Names stand left, numbers right.
                if at == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
        };

        println!("\n{title}\n");
        line(columns.iter().map(|&column| column.to_owned()).collect());
        line(widths.iter().map(|&width| "-".repeat(width)).collect());
        for row in rows {
            line(columns.iter().map(|column| row.cell(column)).collect());
        }
        println!();
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        self.tables.push(json!({ "title": title, "rows": rows }));
    }

    /// The figure must be at most so much.
    pub fn at_most(&mut self, name: impl Into<String>, value: f64, limit: f64) {
        self.figure(name.into(), value, format!("at most {limit}"), value <= limit);
    }

    /// The figure must be below so much.
    pub fn below(&mut self, name: impl Into<String>, value: f64, limit: f64) {
        self.figure(name.into(), value, format!("below {}", short(limit)), value < limit);
    }

    /// The figure must be that, give or take so much.
    pub fn about(&mut self, name: impl Into<String>, value: f64, wanted: f64, tolerance: f64) {
        let met = (value - wanted).abs() <= tolerance;
        self.figure(name.into(), value, format!("{wanted}, give or take {tolerance}"), met);
    }

    /// Adds to what is said of the last figure.
    pub fn remark(&mut self, remark: &str) {
        if let Some(figure) = self.figures.last_mut() {
            figure.rule = format!("{}; {remark}", figure.rule);
        }
    }

    /// The figure must hold and could not be measured.
    pub fn missing(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        let figure = Figure { name: name.into(), value: None, rule: reason.into(), met: false };
        self.figures.push(figure);
    }

    fn figure(&mut self, name: String, value: f64, rule: String, met: bool) {
        self.figures.push(Figure { name, value: Some(value), rule, met });
    }

    fn print(&self) {
        for figure in &self.figures {
            println!("{} {}", if figure.met { "met   " } else { "MISSED" }, figure.sentence());
        }
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let all = json!({ "part": self.part, "tables": self.tables, "figures": figures });
        println!("JSON {all}");
    }
}

impl Row {
    /// Without cells.
    pub fn new() -> Row {
        Row::default()
    }

    /// With a text more.
    pub fn text(mut self, column: &'static str, text: impl Into<String>) -> Row {
        self.0.push((column, Value::String(text.into())));
        self
    }

    /// With a number more, rounded to so many digits.
    pub fn number(self, column: &'static str, number: f64, digits: usize) -> Row {
        // Through its text, so that table and JSON say the same.
        let text = format!("{number:.digits$}");
        // The sum has no sign where it is zero.
        let value = text.parse().map_or(Value::Null, |value: f64| json!(value + 0.0));
        let cell =
            if digits == 0 { text.parse().map_or(value, |whole: i64| json!(whole)) } else { value };
        self.cell_of(column, cell)
    }

    /// With a number more, or an empty cell.
    pub fn maybe(self, column: &'static str, number: Option<f64>, digits: usize) -> Row {
        match number {
            Some(number) => self.number(column, number, digits),
            None => self.cell_of(column, Value::Null),
        }
    }

    fn cell_of(mut self, column: &'static str, value: Value) -> Row {
        self.0.push((column, value));
        self
    }

    fn cell(&self, column: &str) -> String {
        match self.0.iter().find(|(name, _)| *name == column) {
            None | Some((_, Value::Null)) => "-".to_owned(),
            Some((_, Value::String(text))) => text.clone(),
            Some((_, value)) => value.to_string(),
        }
    }

    fn json(&self) -> Value {
        let cells = self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Value::Object(cells.collect::<Map<_, _>>())
    }
}

impl Figure {
    fn sentence(&self) -> String {
        match self.value {
            Some(value) => format!("{}: {} ({})", self.name, short(value), self.rule),
            None => format!("{}: not measured ({})", self.name, self.rule),
        }
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "value": self.value, "rule": self.rule, "met": self.met })
    }
}

/// What the figures come from: the day, the machine, and what else it does.
pub fn machine() -> String {
    let said = |program: &str, argument: &str| -> String {
        let output = Command::new(program).arg(argument).output();
        let bytes =
            output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
    };
    let kernel = said("uname", "-sr");
    let today = said("date", "-I");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let nginx = &Environment::get().version;
    let haproxy = Haproxy::program().map_or_else(
        || "no HAProxy".to_owned(),
        |program| {
            let version = said(&program.display().to_string(), "-v");
            version.split(' ').take(3).collect::<Vec<_>>().join(" ")
        },
    );

    format!(
        "{today}: {processors} processors, {kernel}, load average {load} at the start; nginx {nginx}, \
         {haproxy}"
    )
}

/// Prints the closing line, and returns how the program ends.
pub fn close(reports: &[Report]) -> ExitCode {
    let all = || {
        reports.iter().flat_map(|report| report.figures.iter().map(move |figure| (report, figure)))
    };
    let missed: Vec<String> = all()
        .filter(|(_, figure)| !figure.met)
        .map(|(report, figure)| format!("{}: {}", report.part, figure.sentence()))
        .collect();
    let count = all().count();
    let met = count - missed.len();

    if missed.is_empty() {
        println!("{met} of {count} figures met");
        ExitCode::SUCCESS
    } else {
        println!("{met} of {count} figures met; missed: {}", missed.join("; "));
        ExitCode::FAILURE
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
