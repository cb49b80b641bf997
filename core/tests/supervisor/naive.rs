//! A second judge of bodies, over another XML parser and a whole tree of the document.

use healthcheck_core::supervisor::{
    Accepted, CallError, Command, Fault, Flaw, ProcessInfo, ProcessState,
};
use roxmltree::{Document, Node};

/// A value, or `None` for one of a type that does not matter.
enum Value {
    Boolean(bool),
    Integer(i64),
    Text(String),
    Array(Vec<Option<Value>>),
    Struct(Vec<(String, Option<Value>)>),
}

/// How a response to a command is judged; every flaw is [`Flaw::Shape`].
pub(crate) fn command(command: Command, body: &[u8]) -> Result<Accepted, CallError> {
    let tolerated = match command {
        Command::Start => 60,
        Command::Stop => 70,
    };

    match response(body) {
        Some(Ok(Some(Value::Boolean(true)))) => Ok(Accepted::Done),
        Some(Err(fault)) if fault.code == tolerated => Ok(Accepted::Already),
        Some(Err(fault)) => Err(CallError::Fault(fault)),
        _ => Err(Flaw::Shape.into()),
    }
}

/// How a response to the question for that many states is judged, likewise.
pub(crate) fn info(
    programs: usize,
    body: &[u8],
) -> Result<Vec<Result<ProcessInfo, Fault>>, CallError> {
    let malformed = CallError::Malformed(Flaw::Shape);

    match response(body) {
        Some(Ok(Some(Value::Array(entries)))) if entries.len() == programs => {
            entries.into_iter().map(|value| entry(value).ok_or(malformed.clone())).collect()
        }
        Some(Err(fault)) => Err(CallError::Fault(fault)),
        _ => Err(malformed),
    }
}

/// A body without what the two parsers read differently: control characters, of which ours thinks
/// nothing bad; colons at the beginning of a tag's name, which this one does not see; and carriage returns
/// in front of a reference or a section, which this one keeps.
pub(crate) fn comparable(body: &[u8]) -> Vec<u8> {
    let is_control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    let mut comparable: Vec<u8> = Vec::with_capacity(body.len());

    for (at, &byte) in body.iter().enumerate() {
        let is_in_name = comparable.ends_with(b"<") || comparable.ends_with(b"</");
        let is_before_markup = matches!(body.get(at + 1), Some(b'&' | b'<'));
        comparable.push(match byte {
            b':' if is_in_name => b'_',
            b'\r' if is_before_markup => b'\n',
            _ if is_control(byte) => b'?',
            _ => byte,
        });
    }
    comparable
}

/// The value or the fault; `None` if it is no response.
fn response(body: &[u8]) -> Option<Result<Option<Value>, Fault>> {
    let text = text(body)?;
    let document = Document::parse(&text).ok()?;
    let is_plain = |node: Node<'_, '_>| {
        !node.is_pi() && node.attributes().len() == 0 && node.namespaces().len() == 0
    };
    let root = document.root_element();
    if !root.has_tag_name("methodResponse") || !document.descendants().all(is_plain) {
        return None;
    }

    let inner = only(root)?;
    match inner.tag_name().name() {
        "params" => {
            let param = named(only(inner)?, "param")?;
            Some(Ok(value(named(only(param)?, "value")?)?))
        }
        "fault" => Some(Err(fault(&value(named(only(inner)?, "value")?)??)?)),
        _ => None,
    }
}

/// The text without the mark and the declaration in front, of which ours believes anything.
fn text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);

    let is_declaration =
        |rest: &&str| rest.starts_with("?>") || rest.starts_with([' ', '\t', '\r', '\n']);
    match text.strip_prefix("<?xml").filter(is_declaration) {
        // After a blank, no other declaration may follow.
        Some(declaration) => declaration.split_once("?>").map(|(_, text)| format!(" {text}")),
        None => Some(text.to_owned()),
    }
}

/// What a `value` is; `None` if it is none, `Some(None)` if its type does not matter.
fn value(node: Node<'_, '_>) -> Option<Option<Value>> {
    if let Some(text) = flat(node) {
        return Some(Some(Value::Text(text)));
    }
    let typed = only(node)?;

    Some(Some(match typed.tag_name().name() {
        "boolean" => Value::Boolean(match flat(typed)?.trim() {
            "0" => false,
            "1" => true,
            _ => return None,
        }),
        "int" | "i4" | "i8" => Value::Integer(flat(typed)?.trim().parse().ok()?),
        "string" => Value::Text(flat(typed)?),
        "array" => {
            let data = named(only(typed)?, "data")?;
            let values = elements(data)?.into_iter().map(|item| value(named(item, "value")?));
            Value::Array(values.collect::<Option<_>>()?)
        }
        "struct" => {
            let members = elements(typed)?.into_iter().map(|member| {
                let parts = elements(named(member, "member")?)?;
                let [name, item] = parts.as_slice() else { return None };
                Some((flat(named(*name, "name")?)?, value(named(*item, "value")?)?))
            });
            Value::Struct(members.collect::<Option<_>>()?)
        }
        "double" | "dateTime.iso8601" | "base64" | "nil" => {
            flat(typed)?;
            return Some(None);
        }
        _ => return None,
    }))
}

fn fault(value: &Value) -> Option<Fault> {
    match (member(value, "faultCode")?, member(value, "faultString")?) {
        (Value::Integer(code), Value::Text(text)) => {
            Some(Fault::new(i32::try_from(*code).ok()?, text))
        }
        _ => None,
    }
}

fn entry(value: Option<Value>) -> Option<Result<ProcessInfo, Fault>> {
    let value = match value? {
        Value::Array(mut values) if values.len() == 1 => values.remove(0)?,
        value => match fault(&value) {
            Some(fault) => return Some(Err(fault)),
            None => value,
        },
    };

    match (member(&value, "state")?, member(&value, "pid")?) {
        (Value::Integer(state), Value::Integer(pid)) => {
            let known = ProcessState::all().find(|known| i64::from(known.to_bits()) == *state);
            let state = known.unwrap_or(ProcessState::Unknown);
            Some(Ok(ProcessInfo { state, pid: u32::try_from(*pid).ok()? }))
        }
        _ => None,
    }
}

/// The only member of that name.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Struct(members) = value else { return None };
    let named: Vec<_> = members.iter().filter(|(member, _)| member == name).collect();

    match named.as_slice() {
        [(_, value)] => value.as_ref(),
        _ => None,
    }
}

fn named<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.has_tag_name(name).then_some(node)
}

/// The one element in an element.
fn only<'a, 'input>(node: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
    match elements(node)?.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The elements in an element that has no text beside them.
fn elements<'a, 'input>(node: Node<'a, 'input>) -> Option<Vec<Node<'a, 'input>>> {
    let mut texts = node.children().filter_map(|child| child.text().filter(|_| child.is_text()));
    let is_blank = |text: &str| text.chars().all(|char| matches!(char, ' ' | '\t' | '\n' | '\r'));

    texts.all(is_blank).then(|| node.children().filter(Node::is_element).collect())
}

/// The text of an element that has no elements.
fn flat(node: Node<'_, '_>) -> Option<String> {
    if node.children().any(|child| child.is_element()) {
        return None;
    }
    Some(node.children().filter(Node::is_text).filter_map(|text| text.text()).collect())
}
