//! A record of the log as one JSON object on one line.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};

/// Writes timestamp, level, service, target, event, message and every other key and value of the
/// record.
pub(crate) fn write(line: &mut Formatter, service: &str, record: &Record<'_>) -> io::Result<()> {
    let timestamp = line.timestamp_millis().to_string();
    let text = object(&timestamp, service, record).map_err(io::Error::other)?;
    writeln!(line, "{text}")
}

fn object(timestamp: &str, service: &str, record: &Record<'_>) -> Result<String, Error> {
    let level = record.level().as_str().to_ascii_lowercase();
    let mut text = String::with_capacity(256);
    write!(text, "{{\"timestamp\":{}", Quoted(timestamp))?;
    write!(text, ",\"level\":{}", Quoted(&level))?;
    write!(text, ",\"service\":{}", Quoted(service))?;
    write!(text, ",\"target\":{}", Quoted(record.target()))?;
    // Records of other crates have none; `other` is what they are told by.
    let event = record.key_values().get(Key::from(EVENT)).map(|event| event.to_string());
    write!(text, ",\"event\":{}", Quoted(event.as_deref().unwrap_or("other")))?;
    write!(text, ",\"message\":{}", Quoted(&record.args().to_string()))?;
    record.key_values().visit(&mut Members(&mut text))?;
    text.push('}');
    Ok(text)
}

struct Members<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Members<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if key.as_str() == EVENT {
            return Ok(());
        }
        write!(self.0, ",{}:", Quoted(key.as_str()))?;
        if value.to_i128().is_some() || value.to_bool().is_some() {
            write!(self.0, "{value}")?;
        } else if let Some(number) = value.to_f64().filter(|number| number.is_finite()) {
            write!(self.0, "{number}")?;
        } else {
            write!(self.0, "{}", Quoted(&value.to_string()))?;
        }
        Ok(())
    }
}

/// A string as RFC 8259, section 7, wants it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // The rest is allowed as it is, but a terminal that shows the log obeys control
                // characters.
                _ if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// The field with the name of what happened, which never changes.
pub(super) const EVENT: &str = "event";

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    #[test]
    fn object_has_every_member_and_numbers_stay_numbers() {
        let pairs = [
            ("event", Value::from("greeted")),
            ("n", Value::from(7_u64)),
            ("ok", Value::from(true)),
            ("peer", "a:1".into()),
        ];
        let record = Record::builder()
            .level(Level::Warn)
            .target("edgeloop::reactor")
            .args(format_args!("say \"hi\""))
            .key_values(&pairs)
            .build();
        let expected = r#"{"timestamp":"T","level":"warn","service":"echo","#.to_owned()
            + r#""target":"edgeloop::reactor","event":"greeted","message":"say \"hi\"","#
            + r#""n":7,"ok":true,"peer":"a:1"}"#;
        assert_eq!(object("T", "echo", &record).unwrap(), expected);
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(
            Quoted("a\\b\"\n\t\u{1b}ä\u{7f}").to_string(),
            r#""a\\b\"\n\u0009\u001bä\u007f""#
        );
    }

    #[test]
    fn numbers_that_json_lacks_become_strings() {
        let mut text = String::new();
        let pairs = [("x", Value::from(f64::NAN)), ("y", Value::from(0.5))];
        log::kv::Source::visit(&pairs, &mut Members(&mut text)).unwrap();
        assert_eq!(text, r#","x":"NaN","y":0.5"#);
    }
}
