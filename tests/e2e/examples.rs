//! Every `examples/*.conf` is loaded and served, with its ports replaced by free ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use support::config::{preamble, temporary_paths};
use support::status::table;
use support::{wait_until, Environment, Nginx, Peer, Port, Request, Script, LIMIT};

mod balancer;
mod programs;

/// An example, its ports and peers replaced.
struct Example {
    text: String,
    /// The port that each number in the example became.
    ports: BTreeMap<String, Arc<Port>>,
    /// Those at which the example itself listens, in order.
    listens: Vec<String>,
    pages: Vec<String>,
}

fn examples() -> Vec<PathBuf> {
    let folder = Environment::get().checkout.join("examples");
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the examples")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    found.sort();
    found
}

impl Example {
    fn of(original: &str) -> Example {
        let mut example = Example {
            text: String::new(),
            ports: BTreeMap::new(),
            listens: Vec::new(),
            pages: Vec::new(),
        };
        let mut location = String::new();
        let mut lines = String::new();

        for line in original.lines() {
            let words: Vec<&str> = line
                .split(|char: char| char.is_whitespace() || "{};".contains(char))
                .filter(|word| !word.is_empty())
                .collect();
            match words[..] {
                // What the test says itself.
                ["load_module" | "daemon" | "user" | "pid" | "error_log" | "access_log", ..] => {
                    continue;
                }
                ["location", .., path] => location = path.to_owned(),
                ["listen", address, ..] => example.listens.push(port_of(address).to_owned()),
                ["healthcheck_status", ..] => example.pages.push(location.clone()),
                _ => {}
            }
            lines.push_str(&example.with_free_ports(line));
            lines.push('\n');
        }
        let log = "pid @DIR@/nginx.pid;\nerror_log @DIR@/error.log info;\n";
        let http = format!("http {{\n{}", temporary_paths("@DIR@"));
        example.text = format!("{}{log}{}", preamble(true), lines.replacen("http {", &http, 1));
        example
    }

    /// The line with another port behind each address.
    fn with_free_ports(&mut self, line: &str) -> String {
        let code = line.split('#').next().unwrap_or("");
        let mut line = code.to_owned();

        for word in code.split(|char: char| char.is_whitespace() || "{};/".contains(char)) {
            let number = port_of(word);
            let is_port = number.len() >= 4 && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_port && (word.contains(':') || code.contains("listen")) {
                let port = self.ports.entry(number.to_owned());
                let port = port.or_insert_with(|| Arc::new(Port::reserve()));
                line = line.replace(number, &port.address().port().to_string());
            }
        }
        line
    }

    /// Peers at the addresses that the example expects others to serve.
    fn peers(&self) -> Vec<(String, Peer)> {
        self.ports
            .iter()
            .filter(|(number, _)| !self.listens.contains(number))
            .map(|(number, port)| (number.clone(), Peer::on(Arc::clone(port))))
            .collect()
    }
}

/// What follows the last colon, or all of it.
fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// The body that an example's check expects.
fn expected_body(text: &str) -> &str {
    let value = text.split("healthcheck_expected ").nth(1).and_then(|rest| rest.split(';').next());
    value.unwrap_or("fine").trim_matches(|char| char == '\'' || char == '"')
}

#[test]
fn every_example_is_loaded_and_served() {
    let found = examples();
    assert!(found.len() >= 3, "{found:?}");

    for path in found {
        let original = fs::read_to_string(&path).expect("an example");
        let example = Example::of(&original);
        let name = path.display();
        let peers = example.peers();
        for (_, peer) in &peers {
            peer.everything(Script::ok(expected_body(&original)));
        }
        assert!(!example.pages.is_empty(), "{name} shows the page");
        let front = &example.ports[&example.listens[0]];
        let nginx = Nginx::spawn_text(front, &example.text);

        let get = |path: &str| Request::get(path).send(front.address());
        wait_until(LIMIT, &format!("{name} answers"), || get("/").is_ok());
        assert_eq!(get("/").expect("an answer").status, 200, "{name}");
        for page in &example.pages {
            let html = || get(&format!("{page}?format=html")).expect("a page").text();
            wait_until(LIMIT, &format!("{name}: all peers of {page} pass"), || {
                let table = table(&html());
                table.len() > 1 && table[1..].iter().all(|row| row[7] == "OK" && row[8] == "0")
            });
        }
        // A sick peer is found within a few of the example's own periods.
        if let Some((_, peer)) = peers.first() {
            peer.everything(Script::status(500, "sick"));
            wait_until(LIMIT, &format!("{name}: a sick peer is down"), || {
                let html =
                    get(&format!("{}?format=html", example.pages[0])).expect("a page").text();
                let is_sick = |row: &Vec<String>| row[1] == peer.to_string() && row[8] == "1";
                table(&html)[1..].iter().any(is_sick)
            });
            // Its worker tells the other ones after the page, and before the log.
            wait_until(LIMIT, &format!("{name}: every worker knows"), || {
                !nginx.log_lines(&format!("peer {peer} in upstream \"backend\" is down")).is_empty()
            });
            for _ in 0..20 {
                assert_eq!(get("/").expect("an answer").status, 200, "{name}");
            }
        }
        drop(nginx);
    }
}
