//! Lines that begin with `#`: metadata, the end marker and, in lenient mode, comments.

use crate::error::ErrorKind;
use crate::event::{Event, Kind};
use crate::line::cursor::Cursor;
use crate::line::cursor::Result;
use crate::scan;
use crate::text::Text;

impl<'a> Cursor<'a> {
    /// Parses a line that begins with `#`. The cursor must be at the `#`.
    pub(super) fn metadata(&mut self) -> Result<Event<'a>> {
        let hash = self.at;
        self.at += 1;
        let comment = &self.text[self.at..];
        if self.separator().is_err() {
            return self.comment(comment, hash);
        }
        match self.word() {
            "EOF" => {
                self.blanks();
                if self.is_at_end() {
                    Ok(Event::End)
                } else {
                    self.expected("nothing after the end marker on its line")
                }
            }
            "TYPE" => {
                let family = self.family()?;
                self.kind().map(|kind| Event::Type { family, kind })
            }
            "HELP" => {
                let family = self.family()?;
                self.help().map(|help| Event::Help { family, help })
            }
            "UNIT" => {
                let family = self.family()?;
                self.unit().map(|unit| Event::Unit { family, unit })
            }
            _ => self.comment(comment, hash),
        }
    }

    fn comment(&self, comment: &'a str, hash: usize) -> Result<Event<'a>> {
        if self.lenient {
            return Ok(Event::Comment(comment));
        }
        let expected = "`# TYPE`, `# HELP`, `# UNIT` or `# EOF`";
        Err(self.problem(ErrorKind::Syntax(expected), hash, self.at))
    }

    fn family(&mut self) -> Result<Text<'a>> {
        self.separator()?;
        match self.peek() {
            Some(b'"') if self.lenient => self.quoted_name(),
            _ => self.metric_name(),
        }
    }

    fn kind(&mut self) -> Result<Kind> {
        self.separator()?;
        let from = self.at;
        let word = self.word();
        let kind = match Kind::from_word(word) {
            Some(kind) => kind,
            None if self.lenient && word == "untyped" => Kind::Unknown,
            None => return Err(self.problem(ErrorKind::Syntax("the name of a metric type"), from, self.at)),
        };
        self.blanks();
        if self.is_at_end() {
            Ok(kind)
        } else {
            self.expected("the end of the line after the metric type")
        }
    }

    fn help(&mut self) -> Result<Text<'a>> {
        if self.lenient && self.is_at_end() {
            return Ok(Text::new(""));
        }
        self.separator()?;
        let help = self.take(self.text.len() - self.at);
        if !self.lenient {
            let backslashes = help.bytes().rev().take_while(|&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                return self.expected("a character after the last backslash");
            }
            if help.ends_with('\r') {
                return self.expected("a line feed without a carriage return at the end of the line");
            }
        }
        Ok(Text::new(help))
    }

    fn unit(&mut self) -> Result<&'a str> {
        if self.lenient && self.is_at_end() {
            return Ok("");
        }
        self.separator()?;
        let from = self.at;
        let unit = self.word();
        if !self.lenient && !scan::is_metric_name_part(unit) {
            return Err(self.problem(
                ErrorKind::Syntax("a unit of letters, digits, `_` and `:`"),
                from,
                from,
            ));
        }
        self.blanks();
        if self.is_at_end() {
            Ok(unit)
        } else {
            self.expected("the end of the line after the unit")
        }
    }
}
