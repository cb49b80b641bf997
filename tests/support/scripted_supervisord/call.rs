//! A call as supervisord got it.

use std::time::Instant;

use roxmltree::{Document, Node};

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// When all of it had come.
    pub at: Instant,
    /// Every byte of it.
    pub raw: Vec<u8>,
    /// The method that was called; empty for what is no call.
    pub method: String,
    /// The methods in a multicall, else that one.
    pub methods: Vec<String>,
    /// The name of the program of each of `methods`.
    pub programs: Vec<String>,
}

impl Call {
    /// Reads a request; what is no well-formed call has no method.
    pub(super) fn parse(at: Instant, raw: Vec<u8>) -> Call {
        let mut call =
            Call { at, method: String::new(), methods: Vec::new(), programs: Vec::new(), raw };
        let body = call.body();
        let Ok(document) = Document::parse(&body) else { return call };

        let all = |name: &str| {
            let nodes = document.descendants().filter(|node| node.has_tag_name(name));
            nodes.map(text).collect::<Vec<String>>()
        };
        let method = all("methodName").concat();
        if method == "system.multicall" {
            let members = |name| {
                let members = document.descendants().filter(move |node| is_member(*node, name));
                members.map(text).collect::<Vec<String>>()
            };
            call.methods = members("methodName");
            call.programs = members("params");
        } else {
            call.methods = vec![method.clone()];
            call.programs = all("param");
        }
        call.method = method;
        call
    }

    /// What stands before the empty line, with its line ends.
    pub fn head(&self) -> String {
        let raw = String::from_utf8_lossy(&self.raw);
        raw.split_once("\r\n\r\n").map_or(String::new(), |(head, _)| format!("{head}\r\n"))
    }

    /// What stands after it.
    pub fn body(&self) -> String {
        let raw = String::from_utf8_lossy(&self.raw);
        raw.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }

    /// The value of a header line.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.head();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// The value of a `Content-Length` line; nothing if there is none or it is no number.
pub(super) fn content_length(raw: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(raw);
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.parse().ok()
}

/// Whether this is the value of a struct's member of that name.
fn is_member(node: Node<'_, '_>, name: &str) -> bool {
    let own = node.prev_sibling_element().filter(|element| element.has_tag_name("name"));
    node.has_tag_name("value") && own.is_some_and(|own| own.text() == Some(name))
}

/// All text below a node without the blanks between elements.
fn text(node: Node<'_, '_>) -> String {
    let pieces = node.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
    pieces.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &str) -> Call {
        let raw = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Call::parse(Instant::now(), raw.into_bytes())
    }

    #[test]
    fn a_call_has_its_method_and_its_program() {
        let call = call(
            "<?xml version='1.0'?>\n<methodCall>\n<methodName>supervisor.startProcess</methodName>\n\
             <params>\n<param>\n<value><string>a&amp;b0</string></value>\n</param>\n</params>\n\
             </methodCall>\n",
        );

        assert_eq!(call.method, "supervisor.startProcess");
        assert_eq!((call.methods, call.programs), (vec![call.method], vec!["a&b0".to_owned()]));
    }

    #[test]
    fn a_multicall_has_the_methods_and_programs_in_it() {
        let one = |name: &str| {
            format!(
                "<value><struct><member><name>methodName</name><value>\
                 <string>supervisor.getProcessInfo</string></value></member><member><name>params\
                 </name><value><array><data><value><string>{name}</string></value></data></array>\
                 </value></member></struct></value>"
            )
        };
        let call = call(&format!(
            "<methodCall><methodName>system.multicall</methodName><params><param><value><array>\
             <data>{}\n{}</data></array></value></param></params></methodCall>",
            one("a0"),
            one("b1"),
        ));

        assert_eq!(call.method, "system.multicall");
        assert_eq!(call.methods, ["supervisor.getProcessInfo", "supervisor.getProcessInfo"]);
        assert_eq!(call.programs, ["a0", "b1"]);
    }

    #[test]
    fn what_is_no_call_has_no_method() {
        assert_eq!(call("<methodCall>").method, "");
    }
}
