//! The naive judge: the same rules as the probe's, written as one pass over a whole stream that it
//! may look at as often as it likes. No httparse, no state between segments.

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

/// Why the judge stops reading.
enum Stop {
    /// This is the verdict.
    Verdict(Outcome),
    /// The stream is over too soon: the way it ended is the verdict.
    Dry,
}

type Read<T> = Result<T, Stop>;

fn refuse<T>(outcome: Outcome) -> Read<T> {
    Err(Stop::Verdict(outcome))
}

/// Judges `stream`, ended by `end`, however it was cut into segments.
pub(crate) fn judge(check: &Check, stream: &[u8], end: Event<'_>) -> Outcome {
    match read(check, stream, end) {
        Ok(outcome) | Err(Stop::Verdict(outcome)) => outcome,
        Err(Stop::Dry) => without_verdict(end),
    }
}

fn without_verdict(end: Event<'_>) -> Outcome {
    match end {
        Event::Closed => Outcome::EarlyClose,
        Event::Failed => Outcome::BadConnection,
        Event::Deadline => Outcome::TimedOut,
        _ => unreachable!("not an end"),
    }
}

fn read(check: &Check, stream: &[u8], end: Event<'_>) -> Read<Outcome> {
    let (fields, body_at) = read_header(stream, check.buffer)?;
    let Some(expected) = check.expected.as_deref() else {
        return Ok(Outcome::Ok);
    };

    let length = match values(&fields, "content-length") {
        list if list.is_empty() => None,
        list => Some(same_number(&list).ok_or(Stop::Verdict(Outcome::MalformedHeader))?),
    };
    let codings: Vec<String> = values(&fields, "transfer-encoding");
    let chunked = codings.iter().rev().find(|coding| !coding.is_empty());
    let chunked = chunked.is_some_and(|coding| coding == "chunked");

    let body = &stream[body_at..];
    let used = if check.request.starts_with(b"HEAD ") {
        if !expected.is_empty() {
            return refuse(Outcome::BadBody);
        }
        0
    } else if chunked {
        read_chunks(body, expected, check.buffer)?
    } else if let Some(length) = length {
        if length != expected.len() as u128 {
            return refuse(Outcome::BadBody);
        }
        let have = body.len().min(expected.len());
        if body[..have] != expected[..have] {
            return refuse(Outcome::BadBody);
        }
        if have < expected.len() {
            return Err(Stop::Dry);
        }
        have
    } else {
        if !expected.starts_with(body) {
            return refuse(Outcome::BadBody);
        }
        return Ok(match end {
            Event::Closed if body == expected => Outcome::Ok,
            Event::Closed => Outcome::BadBody,
            _ => without_verdict(end),
        });
    };

    Ok(if used == body.len() { Outcome::Ok } else { Outcome::BadBody })
}

/// Name in lower case, and value with its folds in it.
type Field = (String, Vec<u8>);

/// Fields of the final header, and where the body begins.
fn read_header(stream: &[u8], buffer: usize) -> Read<(Vec<Field>, usize)> {
    let area = &stream[..stream.len().min(buffer)];
    let mut lines = area.split_inclusive(|byte| *byte == b'\n');
    let mut at = 0;
    let mut count = 0;

    loop {
        let status = lines.next().unwrap_or_default();
        let prefix = status.len().min(7);
        if status[..prefix] != b"HTTP/1."[..prefix] {
            return refuse(Outcome::BadStatusLine);
        }
        let status = complete(status, area, buffer)?;
        let code = read_status(status).ok_or(Stop::Verdict(Outcome::BadStatusLine))?;
        let is_interim = code.starts_with('1') && code != "101";
        if code != "200" && !is_interim {
            return refuse(Outcome::BadCode);
        }
        at += status.len();

        let mut block = Vec::new();
        loop {
            let line = complete(lines.next().unwrap_or_default(), area, buffer)?;
            at += line.len();
            if matches!(line, b"\r\n" | b"\n") {
                break;
            }
            count += 1;
            if count > 128 {
                return refuse(Outcome::DoesNotFit);
            }
            block.push(line);
        }
        let fields = read_fields(&block).ok_or(Stop::Verdict(Outcome::MalformedHeader))?;
        if !is_interim {
            return Ok((fields, at));
        }
    }
}

/// The line if its end is there.
fn complete<'a>(line: &'a [u8], area: &[u8], buffer: usize) -> Read<&'a [u8]> {
    if line.ends_with(b"\n") {
        Ok(line)
    } else if area.len() == buffer {
        refuse(Outcome::DoesNotFit)
    } else {
        Err(Stop::Dry)
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn read_status(line: &[u8]) -> Option<String> {
    let line = without_line_end(line);
    let version = *line.get(7)?;
    let code = line.get(9..12)?;
    let rest = &line[12..];

    let is_good = matches!(version, b'0' | b'1')
        && line[8] == b' '
        && code.iter().all(u8::is_ascii_digit)
        && (rest.is_empty() || rest[0] == b' ')
        && rest.iter().all(|byte| is_text(*byte));
    is_good.then(|| String::from_utf8(code.to_vec()).unwrap())
}

fn read_fields(lines: &[&[u8]]) -> Option<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();

    for line in lines {
        let line = without_line_end(line);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if !line.iter().all(|byte| is_text(*byte)) {
                return None;
            }
            fields.last_mut()?.1.extend(line);
            continue;
        }

        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?.trim_end_matches([' ', '\t']);
        let value = &line[colon + 1..];
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            return None;
        }
        if !value.iter().all(|byte| is_text(*byte)) {
            return None;
        }
        fields.push((name.to_lowercase(), value.to_vec()));
    }

    Some(fields)
}

/// All list elements of all fields of this name, in lower case.
fn values(fields: &[Field], name: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|field| field.0 == name)
        .flat_map(|field| {
            let value: String = field.1.iter().map(|byte| char::from(*byte)).collect();
            let elements: Vec<String> = value
                .split(',')
                .map(|element| element.trim_matches([' ', '\t']).to_ascii_lowercase())
                .collect();
            elements
        })
        .collect()
}

fn same_number(list: &[String]) -> Option<u128> {
    let number = |text: &String| {
        let digits = text.trim_start_matches('0');
        if text.is_empty() || digits.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value = format!("0{digits}").parse::<u128>().unwrap();
        (value <= u128::from(u64::MAX)).then_some(value)
    };
    let first = number(list.first()?)?;

    list.iter().all(|text| number(text) == Some(first)).then_some(first)
}

/// How many bytes the chunked body takes.
fn read_chunks(body: &[u8], expected: &[u8], buffer: usize) -> Read<usize> {
    let mut at = 0;
    let mut missing = expected;

    loop {
        let (size, length) = read_size(window(body, at, buffer), buffer)?;
        at += length;
        if size > missing.len() as u128 || size == 0 && !missing.is_empty() {
            return refuse(Outcome::BadBody);
        }
        if size == 0 {
            return Ok(at + read_trailers(window(body, at, buffer), buffer)?);
        }

        let size = usize::try_from(size).unwrap();
        let data = window(body, at, size);
        if !missing.starts_with(data) {
            return refuse(Outcome::BadBody);
        }
        if data.len() < size {
            return Err(Stop::Dry);
        }
        missing = &missing[size..];
        at += size;
        at += match window(body, at, 2) {
            [b'\n', ..] => 1,
            [b'\r', b'\n'] => 2,
            [] | [b'\r'] => return Err(Stop::Dry),
            _ => return refuse(Outcome::MalformedHeader),
        };
    }
}

/// At most `length` bytes from `at` on.
fn window(body: &[u8], at: usize, length: usize) -> &[u8] {
    &body[at..body.len().min(at + length)]
}

/// A size line's size and its length with the line end.
fn read_size(area: &[u8], buffer: usize) -> Read<(u128, usize)> {
    let digits = area.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&area[..digits]).unwrap().trim_start_matches('0');
    if text.len() > 16 || digits == 0 && !area.is_empty() {
        return refuse(Outcome::MalformedHeader);
    }
    let size = u128::from_str_radix(&format!("0{text}"), 16).unwrap();
    let blanks = area[digits..].iter().take_while(|byte| b" \t".contains(byte)).count();

    let rest = &area[digits + blanks..];
    let end = match rest {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b';', ..] => rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
        [] | [b'\r'] => None,
        _ => return refuse(Outcome::MalformedHeader),
    };
    match end {
        Some(end) => Ok((size, digits + blanks + end)),
        None if area.len() == buffer => refuse(Outcome::DoesNotFit),
        None => Err(Stop::Dry),
    }
}

/// The length of the trailers with the blank line.
fn read_trailers(area: &[u8], buffer: usize) -> Read<usize> {
    let mut at = 0;

    for line in area.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        match line {
            b"\n" | b"\r\n" => return Ok(at),
            [b'\r', _, ..] => return refuse(Outcome::MalformedHeader),
            _ => {}
        }
    }
    if area.len() == buffer {
        refuse(Outcome::DoesNotFit)
    } else {
        Err(Stop::Dry)
    }
}
