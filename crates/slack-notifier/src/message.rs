//! A message and its Block Kit payload, which always fits Slack's limits and never mentions anyone.

use serde_json::{Value, json};

/// The severity of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Severity {
    /// Informational.
    #[default]
    Info,
    /// Someone should look at it.
    Warning,
    /// Someone must act.
    Critical,
}

impl Severity {
    const fn mark(self) -> &'static str {
        match self {
            Self::Info => ":information_source:",
            Self::Warning => ":warning: Warning:",
            Self::Critical => ":rotating_light: Critical:",
        }
    }

    /// Returns the title for a message that sets none.
    const fn title(self) -> &'static str {
        match self {
            Self::Info => ":information_source: Notification",
            Self::Warning => ":warning: Warning",
            Self::Critical => ":rotating_light: Critical",
        }
    }
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// A message: a title, groups of lines, and small print.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Severity of the message.
    pub severity: Severity,
    /// Title in one line.
    pub title: String,
    /// Groups of lines.
    pub sections: Vec<Section>,
    /// Small print at the end.
    pub context: Vec<String>,
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// A group of lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Heading of the group.
    pub heading: Option<String>,
    /// Lines of the group, in order.
    pub lines: Vec<String>,
}

// Limits from Slack's Block Kit reference (blocks: 50 per message, header 150, section 3,000 characters,
// context 10 elements). With more than about 13,000 characters of text in total, a webhook answers
// `invalid_blocks`.
const MOST_BLOCKS: usize = 50;
const LONGEST_HEADER: usize = 150;
const LONGEST_SECTION: usize = 3_000;
const LONGEST_CONTEXT: usize = 1_000;
const MOST_CONTEXT: usize = 10;
const LONGEST_FALLBACK: usize = 3_000;
/// Maximum characters of all sections, which leaves room for the header, the context and the fallback text.
const LONGEST_SECTIONS: usize = 8_000;
/// Maximum characters of a line. A longer one is truncated, so that it does not displace the others.
const LONGEST_LINE: usize = 600;

impl Message {
    /// Returns the payload for an incoming webhook: blocks, and plain text for notifications and old clients.
    pub fn payload(&self) -> Value {
        let title = self.headline();
        let mut blocks = vec![json!({
            "type": "header",
            // Not escaped: a header is plain text, in which Slack interprets nothing but emoji.
            "text": { "type": "plain_text", "text": cut(&title, LONGEST_HEADER), "emoji": true },
        })];
        blocks.extend(
            self.section_texts()
                .into_iter()
                .map(|text| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })),
        );
        let elements: Vec<Value> = self
            .context
            .iter()
            .map(|text| escaped(&one_line(text), LONGEST_CONTEXT / MOST_CONTEXT * 2))
            // Slack rejects an element without text.
            .filter(|text| !text.trim().is_empty())
            .take(MOST_CONTEXT)
            .map(|text| json!({ "type": "mrkdwn", "text": text }))
            .collect();
        if !elements.is_empty() {
            blocks.push(json!({ "type": "context", "elements": elements }));
        }
        json!({ "text": self.fallback(), "blocks": blocks })
    }

    /// Returns the title, prefixed with the emoji of its severity.
    fn headline(&self) -> String {
        match one_line(&self.title).as_str() {
            "" => self.severity.title().to_owned(),
            title => format!("{} {title}", self.severity.mark()),
        }
    }

    /// Returns the texts of all sections, with as many lines as fit. The remaining lines are counted.
    fn section_texts(&self) -> Vec<String> {
        // Header and context are blocks too.
        let most = MOST_BLOCKS - 2;
        let mut room = LONGEST_SECTIONS;
        let mut texts = Vec::new();
        let mut unsaid = 0;
        for section in self.sections.iter().filter(|section| !section.lines.is_empty()) {
            // The last block states how many lines are left out.
            if texts.len() + 1 >= most || room < LONGEST_LINE {
                unsaid += section.lines.len();
                continue;
            }
            let text = section_text(section, LONGEST_SECTION.min(room));
            room -= text.chars().count();
            texts.push(text);
        }
        if unsaid > 0 {
            texts.push(more(unsaid));
        }
        texts
    }

    fn fallback(&self) -> String {
        let mut lines = vec![self.headline()];
        for section in &self.sections {
            lines.extend(section.heading.iter().map(|heading| one_line(heading)));
            lines.extend(section.lines.iter().map(|line| one_line(line)));
        }
        fitted(
            &lines
                .iter()
                .map(|line| escaped(line, LONGEST_LINE))
                .collect::<Vec<_>>(),
            LONGEST_FALLBACK,
        )
    }
}

fn section_text(section: &Section, room: usize) -> String {
    let mut lines: Vec<String> = Vec::with_capacity(section.lines.len() + 1);
    lines.extend(
        section
            .heading
            .iter()
            .map(|heading| format!("*{}*", escaped(&one_line(heading), LONGEST_HEADER))),
    );
    lines.extend(
        section
            .lines
            .iter()
            .map(|line| format!("• {}", escaped(&one_line(line), LONGEST_LINE))),
    );
    fitted(&lines, room)
}

/// Joins as many lines as fit, and adds the number of the remaining ones.
fn fitted(lines: &[String], room: usize) -> String {
    const NOTE: usize = 40;
    let whole: usize = lines.iter().map(|line| line.chars().count() + 1).sum();
    if whole <= room {
        return lines.join("\n");
    }
    let mut used = 0;
    let fits = |line: &&String| {
        used += line.chars().count() + 1;
        used + NOTE <= room
    };
    let mut kept: Vec<String> = lines.iter().take_while(fits).cloned().collect();
    kept.push(more(lines.len() - kept.len()));
    kept.join("\n")
}

fn more(count: usize) -> String {
    format!("... and {count} more")
}

/// Removes line breaks, so that data cannot pass for another line of the message.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(longest - 3).collect();
    kept.push_str("...");
    kept
}

/// Escapes Slack's control characters (`&`, `<`, `>`), so that data can neither create links nor mention anyone. Truncates the
/// text without splitting an escape.
fn escaped(text: &str, longest: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut used = 0;
    for character in text.chars().filter(|c| !c.is_control()) {
        let mut buffer = [0; 4];
        let piece: &str = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut buffer),
        };
        // The limit applies to the text as sent, with its escapes.
        used += piece.chars().count();
        if used + 3 > longest {
            escaped.push_str("...");
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(lines: usize) -> Message {
        Message {
            severity: Severity::Warning,
            title: "2 changes".to_owned(),
            sections: vec![Section {
                heading: Some("Changed".to_owned()),
                lines: (0..lines)
                    .map(|number| format!("[pay-{number}.a1b2c] Enable 6 TRUs"))
                    .collect(),
            }],
            context: vec!["plan 1234".to_owned()],
        }
    }

    #[test]
    fn a_digest_is_a_header_sections_and_small_print() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&message(2).payload()).expect("JSON"), @r#"
        {
          "blocks": [
            {
              "text": {
                "emoji": true,
                "text": ":warning: Warning: 2 changes",
                "type": "plain_text"
              },
              "type": "header"
            },
            {
              "text": {
                "text": "*Changed*\n• [pay-0.a1b2c] Enable 6 TRUs\n• [pay-1.a1b2c] Enable 6 TRUs",
                "type": "mrkdwn"
              },
              "type": "section"
            },
            {
              "elements": [
                {
                  "text": "plan 1234",
                  "type": "mrkdwn"
                }
              ],
              "type": "context"
            }
          ],
          "text": ":warning: Warning: 2 changes\nChanged\n[pay-0.a1b2c] Enable 6 TRUs\n[pay-1.a1b2c] Enable 6 TRUs"
        }
        "#);
    }

    #[test]
    fn small_print_without_text_is_left_out() {
        let mut message = message(1);
        message.context = vec!["\u{e}".to_owned(), "  ".to_owned()];
        let blocks = message.payload()["blocks"].clone();
        assert!(
            blocks
                .as_array()
                .expect("blocks")
                .iter()
                .all(|block| block["type"] != "context"),
            "{blocks}"
        );
    }

    #[test]
    fn a_message_without_a_title_still_has_a_header() {
        let mut message = message(1);
        message.title = " \u{7}\n".to_owned();
        assert_eq!(
            message.payload()["blocks"][0]["text"]["text"],
            ":warning: Warning"
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let payload = message(500).payload();
        let text = payload["blocks"][1]["text"]["text"]
            .as_str()
            .expect("a text")
            .to_owned();
        let last = text.lines().last().expect("a line");
        let shown = text.lines().count() - 2;
        assert_eq!(last, format!("... and {} more", 500 - shown));
    }

    #[test]
    fn data_cannot_mention_anyone() {
        let mut message = message(1);
        message.title = "<!channel> R&D".to_owned();
        message.sections[0].lines = vec![
            "<@U123> & <https://evil.example|click>".to_owned(),
            "one\ntwo".to_owned(),
        ];
        let payload = message.payload();
        let section = payload["blocks"][1]["text"]["text"].as_str().expect("a text");
        assert_eq!(
            section.lines().nth(1),
            Some("• &lt;@U123&gt; &amp; &lt;https://evil.example|click&gt;")
        );
        assert_eq!(section.lines().nth(2), Some("• one two"));
        assert!(!payload["text"].as_str().expect("a text").contains("<!channel>"));
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,80}",
            Just("&<>".repeat(300)),
            Just("🚦".repeat(700)),
            Just("a b\u{7}\n".repeat(900)),
            ".{0,20}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_message_is_inside_the_limits(
            title in any_text(),
            sections in prop::collection::vec(
                (prop::option::of(any_text()), prop::collection::vec(any_text(), 0..60)), 0..70,
            ),
            context in prop::collection::vec(any_text(), 0..14),
        ) {
            let sections = sections.into_iter().map(|(heading, lines)| Section { heading, lines }).collect();
            let payload = Message { severity: Severity::Critical, title, sections, context }.payload();
            let blocks = payload["blocks"].as_array().expect("blocks");
            prop_assert!(blocks.len() <= MOST_BLOCKS);
            let mut all = payload["text"].as_str().expect("a text").chars().count();
            prop_assert!(all <= LONGEST_FALLBACK && all > 0);
            for block in blocks {
                let elements = block["elements"].as_array().cloned().unwrap_or_default();
                prop_assert!(elements.len() <= MOST_CONTEXT);
                let texts = elements.iter().chain((block["text"].is_object()).then_some(&block["text"]));
                for text in texts {
                    let content = text["text"].as_str().expect("a text");
                    let length = content.chars().count();
                    all += length;
                    let longest = if block["type"] == "header" { LONGEST_HEADER } else { LONGEST_SECTION };
                    prop_assert!(length <= longest && length > 0, "{} characters", length);
                    if text["type"] == "mrkdwn" {
                        prop_assert!(!content.contains(['<', '>']));
                        for rest in content.split('&').skip(1) {
                            prop_assert!(["amp;", "lt;", "gt;"].iter().any(|name| rest.starts_with(name)), "{}", rest);
                        }
                    }
                }
            }
            prop_assert!(all <= 13_000, "{} characters", all);
        }
    }
}
