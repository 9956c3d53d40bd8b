//! Which tools a request offers to the model.

use std::borrow::Cow;

use super::View;
use crate::json::{self, Error, Event, Limits, Mode, Reader, Str};

const LIMITS: Limits = Limits { max_depth: usize::MAX, max_nodes: usize::MAX };

/// Members of a request that bring tools in without defining them, by what they are called then.
pub(super) fn brings_tools(member: &[u8]) -> Option<&'static str> {
    match member {
        b"mcp_servers" => Some("mcp_servers"),
        b"web_search_options" => Some("web_search_options"),
        b"plugins" => Some("plugins"),
        _ => None,
    }
}

impl View {
    /// Names of the tools that a request offers, in their order. What the caller runs is called by its name, what the
    /// provider runs by its type ("`web_search_20250305`", "mcp"), because there the name is the caller's choice. One that
    /// cannot be told is "".
    #[must_use]
    pub fn tools(&self, body: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for span in &self.footprint.offered {
            // The view has parsed it before.
            if names(&body[span.start..span.end], &mut found).is_err() {
                found.push(String::new());
            }
        }
        found.extend(self.footprint.brought.iter().map(|&member| member.to_owned()));
        found
    }
}

fn names(tools: &[u8], found: &mut Vec<String>) -> Result<(), Error> {
    let mut reader = Reader::new(tools, LIMITS, Mode::Lenient);
    match reader.next()? {
        Event::ArrayStart => {}
        Event::Null => return Ok(()),
        _ => {
            found.push(String::new());
            return Ok(());
        }
    }
    loop {
        match reader.next()? {
            Event::ArrayEnd | Event::End => return Ok(()),
            Event::ObjectStart => found.push(tool(&mut reader)?.unwrap_or_default()),
            other => {
                leave(&mut reader, other)?;
                found.push(String::new());
            }
        }
    }
}

/// What the tool is called whose object has begun.
fn tool(reader: &mut Reader<'_>) -> Result<Option<String>, Error> {
    let (mut kind, mut own, mut function, mut custom) = (Some("function".to_owned()), None, None, None);
    while let Some(key) = member(reader)? {
        match key.as_ref() {
            b"type" => kind = text(reader)?,
            b"name" => own = text(reader)?,
            b"function" => function = Some(inner(reader)?),
            b"custom" => custom = Some(inner(reader)?),
            _ => drop(reader.skip_value()?),
        }
    }
    Ok(match kind.as_deref() {
        Some("function") => function.unwrap_or(own),
        Some("custom") => custom.unwrap_or(own),
        _ => kind,
    })
}

/// The name in the object that follows, if it is one.
fn inner(reader: &mut Reader<'_>) -> Result<Option<String>, Error> {
    let first = reader.next()?;
    if first != Event::ObjectStart {
        leave(reader, first)?;
        return Ok(None);
    }
    let mut name = None;
    while let Some(key) = member(reader)? {
        if key.as_ref() == b"name" {
            name = text(reader)?;
        } else {
            reader.skip_value()?;
        }
    }
    Ok(name)
}

/// The next key of an object; None at its end.
fn member<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, [u8]>>, Error> {
    Ok(match reader.next()? {
        Event::Key(key) => Some(decoded(reader, key)),
        _ => None,
    })
}

/// The string that follows; None for anything else.
fn text(reader: &mut Reader<'_>) -> Result<Option<String>, Error> {
    match reader.next()? {
        Event::String(string) => Ok(Some(String::from_utf8_lossy(&decoded(reader, string)).into_owned())),
        other => {
            leave(reader, other)?;
            Ok(None)
        }
    }
}

fn decoded<'a>(reader: &Reader<'a>, string: Str) -> Cow<'a, [u8]> {
    let raw = reader.raw(string);
    if string.escaped { json::unescape(raw) } else { Cow::Borrowed(raw) }
}

/// Read the rest of a value that has begun.
fn leave(reader: &mut Reader<'_>, begun: Event) -> Result<(), Error> {
    if matches!(begun, Event::ObjectStart | Event::ArrayStart) {
        let depth = reader.depth();
        while reader.depth() >= depth {
            reader.next()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::json::Limits;
    use crate::request::{Kind, View};

    fn tools(kind: Kind, extra: &str) -> Vec<String> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user"}}],"input":"x"{extra}}}"#);
        View::parse(body.as_bytes(), kind, Limits::default()).unwrap().tools(body.as_bytes())
    }

    #[test]
    fn tools_of_the_caller_are_called_by_their_names() {
        for (kind, extra) in [
            (
                Kind::Chat,
                r#","tools" : [{"type":"function","function":{"name":"a"}},{"type":"custom","custom":{"name":"b"}}]"#,
            ),
            (Kind::Chat, r#","functions":[{"name":"\u0061"},{"name":"b"}]"#),
            (Kind::Responses, r#","tools":[{"type":"function","name":"a"},{"type":"custom","name":"b"}]"#),
            (Kind::Messages, r#","tools":[{"name":"a"},{"type":"custom","name":"b"}]"#),
        ] {
            assert_eq!(tools(kind, extra), ["a", "b"], "{extra}");
        }
    }

    #[test]
    fn tools_of_the_provider_are_called_by_their_types_whatever_their_names_are() {
        let extra = r#","tools":[{"type":"mcp","server_label":"a"},{"type":"bash_20250124","name":"a"}]"#;
        assert_eq!(tools(Kind::Messages, extra), ["mcp", "bash_20250124"]);
        assert_eq!(tools(Kind::Messages, r#","mcp_servers":[{"name":"a"}]"#), ["mcp_servers"]);
        assert_eq!(tools(Kind::Chat, r#","web_search_options":{},"plugins":null"#), ["web_search_options"]);
    }

    #[test]
    fn a_tool_that_cannot_be_told_has_an_empty_name() {
        for extra in [
            r#","tools":[7]"#,
            r#","tools":{"name":"a"}"#,
            r#","tools":[{"type":7,"name":"a"}]"#,
            r#","tools":[{}]"#,
            r#","tools":[{"function":[{"name":"a"}],"name":"b"}]"#,
            r#","tools":[[["a"]]]"#,
        ] {
            assert_eq!(tools(Kind::Chat, extra), [""], "{extra}");
        }
        assert!(tools(Kind::Chat, r#","tools":null,"text":{"name":"a"}"#).is_empty());
    }
}
