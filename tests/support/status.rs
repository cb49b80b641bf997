//! The status pages, read strictly: a missing field or one of another type fails the test.

use serde_json::Value;

/// The JSON page.
#[derive(Clone, Debug)]
pub struct Page {
    /// `version`.
    pub version: u64,
    /// `module_version`.
    pub module_version: String,
    /// `nginx_version`.
    pub nginx_version: String,
    /// `pid`.
    pub pid: u32,
    /// `generated_ms`.
    pub generated_ms: u64,
    /// `peers`, in the order of the page.
    pub peers: Vec<Row>,
    /// `upstreams`, in the order of the page.
    pub upstreams: Vec<Upstream>,
}

/// One upstream on the JSON page; the names are the page's.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the page's documentation says what each field means")]
pub struct Upstream {
    pub name: String,
    pub held: u64,
    pub queue: Option<u64>,
    pub load: Option<f64>,
    pub requests: u64,
    pub managed: bool,
}

/// The program of a peer's server line on the JSON page; the names are the page's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the page's documentation says what each field means")]
pub struct ProgramRow {
    pub number: u64,
    pub name: String,
    pub state: String,
    pub reported_state: Option<String>,
    pub reported_pid: Option<u64>,
    pub admin_down: bool,
    pub last_command: Option<String>,
    pub last_command_ms: Option<u64>,
    pub last_result: Option<String>,
    pub running: u64,
}

/// One peer on the JSON page; the names are the page's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the page's documentation says what each field means")]
pub struct Row {
    pub index: u64,
    pub name: String,
    pub owner_pid: u32,
    pub last_action_ms: u64,
    pub concurrent: u64,
    pub concurrent_since_ms: u64,
    pub last_down: bool,
    pub status: String,
    pub down: bool,
    pub upstream: String,
    pub server: String,
    pub line: Option<u64>,
    pub weight: u64,
    pub backup: bool,
    pub admin_down: bool,
    pub checked: bool,
    pub code: String,
    pub latency_ms: Option<u64>,
    pub probes: u64,
    pub failures: u64,
    pub last_change: Option<String>,
    pub program: Option<ProgramRow>,
}

impl Page {
    /// Reads the page's text.
    ///
    /// # Panics
    /// If it is not the documented page.
    pub fn parse(text: &str) -> Page {
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let page = Fields(&value);

        Page {
            version: page.number("version"),
            module_version: page.text("module_version"),
            nginx_version: page.text("nginx_version"),
            pid: page.pid("pid"),
            generated_ms: page.number("generated_ms"),
            peers: page.list("peers").iter().map(row).collect(),
            upstreams: page.list("upstreams").iter().map(upstream).collect(),
        }
    }

    /// The only row of that peer.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn row(&self, name: impl ToString) -> Row {
        let name = name.to_string();
        let rows: Vec<&Row> = self.peers.iter().filter(|row| row.name == name).collect();

        assert_eq!(rows.len(), 1, "rows of {name} in {self:#?}");
        rows[0].clone()
    }

    /// The rows of an upstream, in the order of the page.
    pub fn of(&self, upstream: &str) -> Vec<Row> {
        self.peers.iter().filter(|row| row.upstream == upstream).cloned().collect()
    }

    /// An upstream.
    ///
    /// # Panics
    /// If there is none of that name.
    #[track_caller]
    pub fn upstream(&self, name: &str) -> Upstream {
        let found = self.upstreams.iter().find(|upstream| upstream.name == name);
        found.unwrap_or_else(|| panic!("no upstream {name} in {self:#?}")).clone()
    }

    /// The program that an upstream numbers so, such as `backend0`, or that has this name.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn program(&self, name: &str) -> ProgramRow {
        let mut programs = self.peers.iter().filter_map(|row| {
            let program = row.program.as_ref()?;
            let number = format!("{}{}", row.upstream, program.number);
            (program.name == name || number == name).then_some(program)
        });
        programs.next().unwrap_or_else(|| panic!("no program {name} in {self:#?}")).clone()
    }
}

fn row(value: &Value) -> Row {
    let row = Fields(value);

    Row {
        index: row.number("index"),
        name: row.text("name"),
        owner_pid: row.pid("owner_pid"),
        last_action_ms: row.number("last_action_ms"),
        concurrent: row.number("concurrent"),
        concurrent_since_ms: row.number("concurrent_since_ms"),
        last_down: row.flag("last_down"),
        status: row.text("status"),
        down: row.flag("down"),
        upstream: row.text("upstream"),
        server: row.text("server"),
        line: row.optional("line", Fields::number),
        weight: row.number("weight"),
        backup: row.flag("backup"),
        admin_down: row.flag("admin_down"),
        checked: row.flag("checked"),
        code: row.text("code"),
        latency_ms: row.optional("latency_ms", Fields::number),
        probes: row.number("probes"),
        failures: row.number("failures"),
        last_change: row.optional("last_change", Fields::text),
        program: row.optional("program", |row, name| program(row.field(name))),
    }
}

fn program(value: &Value) -> ProgramRow {
    let program = Fields(value);

    ProgramRow {
        number: program.number("number"),
        name: program.text("name"),
        state: program.text("state"),
        reported_state: program.optional("reported_state", Fields::text),
        reported_pid: program.optional("reported_pid", Fields::number),
        admin_down: program.flag("admin_down"),
        last_command: program.optional("last_command", Fields::text),
        last_command_ms: program.optional("last_command_ms", Fields::number),
        last_result: program.optional("last_result", Fields::text),
        running: program.number("running"),
    }
}

fn upstream(value: &Value) -> Upstream {
    let upstream = Fields(value);

    Upstream {
        name: upstream.text("name"),
        held: upstream.number("held"),
        queue: upstream.optional("queue", Fields::number),
        load: upstream.field("load").as_f64(),
        requests: upstream.number("requests"),
        managed: upstream.flag("managed"),
    }
}

struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn field(&self, name: &str) -> &'a Value {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    fn list(&self, name: &str) -> &'a [Value] {
        let list = self.field(name).as_array();
        list.unwrap_or_else(|| panic!("{name} is no array in {}", self.0))
    }

    fn number(&self, name: &str) -> u64 {
        self.field(name).as_u64().unwrap_or_else(|| panic!("{name} is no number in {}", self.0))
    }

    fn pid(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).expect("a process number")
    }

    fn text(&self, name: &str) -> String {
        let text = self.field(name).as_str();
        text.unwrap_or_else(|| panic!("{name} is no text in {}", self.0)).to_owned()
    }

    fn flag(&self, name: &str) -> bool {
        self.field(name).as_bool().unwrap_or_else(|| panic!("{name} is no flag in {}", self.0))
    }

    fn optional<T>(&self, name: &str, read: fn(&Fields<'a>, &str) -> T) -> Option<T> {
        (!self.field(name).is_null()).then(|| read(self, name))
    }
}

/// The table of the HTML page: the cells of every line, its head first, markup decoded.
///
/// # Panics
/// If a line or a cell is not closed.
pub fn table(html: &str) -> Vec<Vec<String>> {
    elements(html, "tr")
        .iter()
        .map(|line| {
            let tag = if line.contains("<th>") { "th" } else { "td" };
            elements(line, tag).iter().map(|cell| decode(cell)).collect()
        })
        .collect()
}

/// What stands between each `<tag ...>` and the next `</tag>`.
fn elements<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));

    text.split(&open)
        .skip(1)
        .map(|piece| {
            let content = piece.split_once('>').expect("an end of the tag").1;
            content.split_once(&close).unwrap_or_else(|| panic!("no {close} after {piece}")).0
        })
        .collect()
}

fn decode(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_line_and_cell() {
        let html = "<table><tr>\n<th>A</th><th>B</th></tr><tr class=\"down\"><td>1</td>\n\
                    <td>&lt;b&gt; &amp;amp;</td></tr></table>";

        assert_eq!(table(html), [["A", "B"], ["1", "<b> &amp;"]]);
    }
}
