//! Parses a `.env` file completely or not at all.
//!
//! The lines after one that cannot be parsed may contain the denylist or the dry run, so such a line is a
//! mistake and never skipped. Nothing is expanded: a `$` in a key is a `$`. (The well-known library for this
//! expands variables, and its errors contain the line with its secret.)

/// A variable and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// A line that cannot be parsed. Never contains its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) problem: &'static str,
}

pub(crate) fn parse(text: &str) -> (Vec<Assignment>, Vec<Unreadable>) {
    let mut assignments = Vec::new();
    let mut unreadable = Vec::new();
    // Editors on Windows write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.split('\n').zip(1..) {
        match assignment(line.trim()) {
            Ok(None) => {}
            Ok(Some((name, value))) => assignments.push(Assignment {
                name,
                value,
                line: number,
            }),
            Err(problem) => unreadable.push(Unreadable {
                line: number,
                problem,
            }),
        }
    }
    (assignments, unreadable)
}

fn assignment(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        // Only before a space: `EXPORTED=1` is a name.
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("it is not NAME=value")?;
    let name = name.trim_end();
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err("the text before the `=` is not a variable name");
    }
    Ok(Some((name.to_owned(), value_of(value.trim_start())?)))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&text[1..], quote),
        Some('#') | None => Ok(String::new()),
        Some(_) => Ok(unquoted(text)),
    }
}

/// Strips a comment, which begins at a `#` after a space; a `#` inside a word is part of it.
fn unquoted(text: &str) -> String {
    let comment = text
        .char_indices()
        .find(|(at, c)| *c == '#' && text[..*at].ends_with([' ', '\t']));
    let end = comment.map_or(text.len(), |(at, _)| at);
    text[..end].trim_end().to_owned()
}

fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next() {
            None => return Err("its quote is not closed on the same line"),
            Some(c) if c == quote => break,
            // Single quotes keep everything unchanged.
            Some('\\') if quote == '"' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                // As in a shell, an unknown escape stays unchanged.
                Some(c) => value.extend(['\\', c]),
                None => return Err("its quote is not closed on the same line"),
            },
            Some(c) => value.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(value)
    } else {
        Err("there is text after its closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn one(line: &str) -> Option<String> {
        let (assignments, unreadable) = parse(line);
        assert!(unreadable.is_empty(), "{unreadable:?}");
        assignments.into_iter().next().map(|it| it.value)
    }

    #[rstest]
    #[case::plain("A=b", "b")]
    #[case::blanks_around("A = b ", "b")]
    #[case::export("export A=b", "b")]
    #[case::double_quotes("A=\"b c\"", "b c")]
    #[case::single_quotes("A='b $c'", "b $c")]
    #[case::escapes("A=\"b\\\"c\\n\"", "b\"c\n")]
    #[case::windows_path_in_quotes("A=\"C:\\keys\\x\"", "C:\\keys\\x")]
    #[case::inline_comment("A=b # the letter", "b")]
    #[case::comment_after_quotes("A='b' # the letter", "b")]
    #[case::hash_in_a_word("A=b#c", "b#c")]
    #[case::spaces_after_commas("A=one, two,three", "one, two,three")]
    #[case::empty("A=", "")]
    #[case::only_a_comment("A= # nothing", "")]
    #[case::carriage_return("A=b\r", "b")]
    #[case::byte_order_mark("\u{feff}A=b", "b")]
    #[case::equals_in_the_value("A=b=c==", "b=c==")]
    #[case::dollar_is_a_dollar("A=pa$$word", "pa$$word")]
    fn common_notations_are_parsed(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(one(line).as_deref(), Some(expected));
    }

    #[rstest]
    #[case::comment("# A=b")]
    #[case::blank("   ")]
    fn lines_without_content_are_ignored(#[case] line: &str) {
        assert_eq!(one(line), None);
    }

    #[rstest]
    #[case::no_assignment("hunter2")]
    #[case::no_name("=hunter2")]
    #[case::blank_in_the_name("A B=hunter2")]
    #[case::open_quote("A=\"hunter2")]
    #[case::rest("A='hunter2' more")]
    fn an_invalid_line_is_reported_but_not_shown(#[case] line: &str) {
        let (assignments, unreadable) = parse(&format!("X=1\n{line}\nY=2"));
        assert_eq!(assignments.len(), 2);
        assert_eq!(unreadable[0].line, 2);
        assert!(!format!("{unreadable:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn every_line_is_parsed_or_reported(text in "(?s).{0,200}") {
            let (assignments, unreadable) = parse(&text);
            let said = text.trim_start_matches('\u{feff}').split('\n').map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            prop_assert!(assignments.len() + unreadable.len() >= said);
        }
    }
}
