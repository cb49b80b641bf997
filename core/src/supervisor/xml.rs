//! XML-RPC responses: from the bytes of a body to one value or one fault.
//!
//! quick-xml splits the markup; here is only the grammar of a method's response. It is strict about
//! elements, since nothing else tells a success from noise, and has no recursion beyond
//! [`MAX_DEPTH`] and no work beyond linear.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::{Fault, Flaw};

/// How deeply values may lie in values. `system.multicall` needs 4 at most.
const MAX_DEPTH: usize = 8;

/// What a method gave.
#[derive(Debug)]
pub(super) enum MethodResponse {
    Value(Value),
    Fault(Fault),
}

/// One value.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    /// `int`, `i4` or `i8`.
    Integer(i64),
    /// `string`, or no type at all.
    Text(String),
    Array(Vec<Value>),
    /// Names and values as they come.
    Struct(Vec<(String, Value)>),
    /// Of a type of which no method here has a use.
    Other,
}

impl MethodResponse {
    /// The one value or the fault of a body.
    pub(super) fn parse(body: &[u8]) -> Result<MethodResponse, Flaw> {
        let text = std::str::from_utf8(body).map_err(|_| Flaw::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut parser = Parser::new(text);

        parser.open("methodResponse")?;
        let response = match parser.tag()? {
            Tag::Open("params") => {
                parser.open("param")?;
                let value = parser.only_value()?;
                parser.close()?;
                MethodResponse::Value(value)
            }
            Tag::Open("fault") => {
                let value = parser.only_value()?;
                MethodResponse::Fault(value.as_fault().ok_or(Flaw::Fault)?)
            }
            _ => return Err(Flaw::Shape),
        };
        parser.close()?;

        match parser.tag()? {
            Tag::End => Ok(response),
            _ => Err(Flaw::Shape),
        }
    }
}

impl Value {
    /// The member of that name; `None` also if there are several, or if it is no struct.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let Value::Struct(members) = self else {
            return None;
        };
        let mut named = members.iter().filter(|(member, _)| member == name);

        match (named.next(), named.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The fault that a struct of `faultCode` and `faultString` is.
    pub(super) fn as_fault(&self) -> Option<Fault> {
        match (self.member("faultCode"), self.member("faultString")) {
            (Some(Value::Integer(code)), Some(Value::Text(text))) => {
                Some(Fault::new(i32::try_from(*code).ok()?, text))
            }
            _ => None,
        }
    }
}

/// Every element that a response may have.
const ELEMENTS: [&str; 20] = [
    "methodResponse",
    "params",
    "param",
    "fault",
    "value",
    "array",
    "data",
    "struct",
    "member",
    "name",
    "boolean",
    "int",
    "i4",
    "i8",
    "string",
    "double",
    "dateTime.iso8601",
    "base64",
    "nil",
    "ex:nil",
];

/// A piece of markup. What an end tag ends is known here, and quick-xml compares the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// One of [`ELEMENTS`] begins.
    Open(&'static str),
    /// The element that began last ends.
    Close,
    /// So does the body.
    End,
}

/// A body, read from front to back.
struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    /// Whether nothing has been read: an XML declaration comes first or not at all.
    is_first: bool,
}

impl Parser<'_> {
    fn new(text: &str) -> Parser<'_> {
        let mut reader = Reader::from_str(text);

        reader.config_mut().enable_all_checks(true);
        reader.config_mut().expand_empty_elements = true;
        Parser { reader, is_first: true }
    }

    /// The next tag, and the text before it with its references resolved.
    fn text(&mut self) -> Result<(String, Tag), Flaw> {
        let mut text = String::new();

        loop {
            let is_first = std::mem::take(&mut self.is_first);
            match self.reader.read_event().map_err(|_| Flaw::Xml)? {
                Event::Start(start) => {
                    if !is_blank(start.attributes_raw()) {
                        return Err(Flaw::Shape);
                    }
                    return Ok((text, Tag::Open(element(start.name().0)?)));
                }
                Event::End(_) => return Ok((text, Tag::Close)),
                Event::Eof => return Ok((text, Tag::End)),
                Event::Text(part) if part.contains("]]>") => return Err(Flaw::Xml),
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::CData(part) => text.push_str(&part.xml10_content()),
                Event::GeneralRef(reference) => {
                    match reference.resolve_char_ref().map_err(|_| Flaw::Xml)? {
                        Some(char) if is_no_xml(char) => return Err(Flaw::Xml),
                        Some(char) => text.push(char),
                        None => text.push_str(resolve_xml_entity(&reference).ok_or(Flaw::Xml)?),
                    }
                }
                Event::DocType(_) => return Err(Flaw::Doctype),
                Event::Comment(_) => {}
                Event::Decl(_) if is_first => {}
                Event::PI(_) => return Err(Flaw::Shape),
                // An empty element is expanded by the reader.
                Event::Decl(_) | Event::Empty(_) => return Err(Flaw::Xml),
            }
        }
    }

    /// The next tag, before which there are only blanks.
    fn tag(&mut self) -> Result<Tag, Flaw> {
        match self.text()? {
            (text, tag) if is_blank(&text) => Ok(tag),
            _ => Err(Flaw::Shape),
        }
    }

    /// The next tag begins this element.
    fn open(&mut self, name: &'static str) -> Result<(), Flaw> {
        match self.tag()? {
            Tag::Open(opened) if opened == name => Ok(()),
            _ => Err(Flaw::Shape),
        }
    }

    /// The next tag ends the element that began last.
    fn close(&mut self) -> Result<(), Flaw> {
        match self.tag()? {
            Tag::Close => Ok(()),
            _ => Err(Flaw::Shape),
        }
    }

    /// All of an element that has begun and holds only text.
    fn leaf(&mut self) -> Result<String, Flaw> {
        match self.text()? {
            (text, Tag::Close) => Ok(text),
            _ => Err(Flaw::Shape),
        }
    }

    /// A value, and the end of the element around it.
    fn only_value(&mut self) -> Result<Value, Flaw> {
        self.open("value")?;
        let value = self.value(0)?;
        self.close()?;
        Ok(value)
    }

    /// All of a `value` that has begun, `depth` values around it.
    fn value(&mut self, depth: usize) -> Result<Value, Flaw> {
        let name = match self.text()? {
            (text, Tag::Close) => return Ok(Value::Text(text)),
            (text, Tag::Open(name)) if is_blank(&text) => name,
            _ => return Err(Flaw::Shape),
        };
        let value = match name {
            "boolean" => match self.leaf()?.trim() {
                "0" => Value::Boolean(false),
                "1" => Value::Boolean(true),
                _ => return Err(Flaw::Shape),
            },
            "int" | "i4" | "i8" => {
                Value::Integer(self.leaf()?.trim().parse().map_err(|_| Flaw::Shape)?)
            }
            "string" => Value::Text(self.leaf()?),
            "array" | "struct" if depth >= MAX_DEPTH => return Err(Flaw::Depth),
            "array" => self.array(depth)?,
            "struct" => self.members(depth)?,
            "double" | "dateTime.iso8601" | "base64" | "nil" | "ex:nil" => {
                self.leaf()?;
                Value::Other
            }
            _ => return Err(Flaw::Shape),
        };

        self.close()?;
        Ok(value)
    }

    /// All of an `array` that has begun.
    fn array(&mut self, depth: usize) -> Result<Value, Flaw> {
        let mut values = Vec::new();

        self.open("data")?;
        loop {
            match self.tag()? {
                Tag::Open("value") => values.push(self.value(depth.saturating_add(1))?),
                Tag::Close => break,
                _ => return Err(Flaw::Shape),
            }
        }
        self.close()?;
        Ok(Value::Array(values))
    }

    /// All of a `struct` that has begun.
    fn members(&mut self, depth: usize) -> Result<Value, Flaw> {
        let mut members = Vec::new();

        loop {
            match self.tag()? {
                Tag::Open("member") => {}
                Tag::Close => return Ok(Value::Struct(members)),
                _ => return Err(Flaw::Shape),
            }
            self.open("name")?;
            let name = self.leaf()?;
            self.open("value")?;
            let value = self.value(depth.saturating_add(1))?;
            self.close()?;
            members.push((name, value));
        }
    }
}

/// Whether XML 1.0 cannot hold a character, not even as a reference. As it is, it is read all the
/// same: supervisord escapes none in the names and messages that it passes on.
pub(super) fn is_no_xml(char: char) -> bool {
    let is_blank = matches!(char, '\t' | '\n' | '\r');

    (char < ' ' && !is_blank) || matches!(char, '\u{fffe}' | '\u{ffff}')
}

/// The element of that name, in a form that outlives the tag.
fn element(name: &str) -> Result<&'static str, Flaw> {
    ELEMENTS.into_iter().find(|element| *element == name).ok_or(Flaw::Shape)
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}
