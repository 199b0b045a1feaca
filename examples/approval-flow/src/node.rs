//! Parses YAML and JSON files into a tree in which every value has its line number. JSON is parsed as YAML,
//! of which it is a subset.

use std::fmt;

use human_text::counted;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// A mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line number, from 1.
    pub line: usize,
    /// Path of the value, such as `steps[1].input.text`.
    pub path: String,
    /// The problem and its remedy.
    pub problem: String,
}

/// All mistakes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// Name of the file.
    pub file: String,
    /// The mistakes, sorted by line.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", counted(self.mistakes.len(), "mistake"), self.file)?;
        for Mistake { line, path, problem } in &self.mistakes {
            let separator = if path.is_empty() { "" } else { ": " };
            write!(f, "\n  {}:{line}: {path}{separator}{problem}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line number, from 1.
    pub line: usize,
    /// The value without its line.
    pub kind: Kind,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// Keys with their line numbers and values, in the order of the file.
    Map(Vec<(String, usize, Node)>),
}

/// Maximum nesting depth.
const MAX_DEPTH: usize = 64;

/// Parses one document.
///
/// # Errors
///
/// If the text is not valid YAML or JSON, contains several documents, or uses a feature that JSON does not
/// have.
pub fn parse(text: &str) -> Result<Node, Mistake> {
    let at = |line: usize, problem: String| Mistake {
        line,
        path: String::new(),
        problem,
    };
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        at(
            error.marker().line(),
            format!("not valid YAML or JSON: {}", error.info()),
        )
    })?;
    match documents.as_slice() {
        [document] => node(document, 0).map_err(|(line, problem)| at(line, problem)),
        [] => Err(at(1, "the file is empty".to_owned())),
        _ => Err(at(1, "the file contains several documents; keep one".to_owned())),
    }
}

fn node(yaml: &MarkedYaml<'_>, depth: usize) -> Result<Node, (usize, String)> {
    let line = yaml.span.start.line();
    // This function is recursive, and so are those that use its result.
    if depth > MAX_DEPTH {
        return Err((line, format!("nested more than {MAX_DEPTH} levels deep")));
    }
    let kind = match &yaml.data {
        YamlData::Value(scalar) => {
            Kind::Scalar(value(scalar).ok_or((line, "not a finite number".to_owned()))?)
        }
        YamlData::Sequence(items) => Kind::List(
            items
                .iter()
                .map(|item| node(item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        YamlData::Mapping(entries) => {
            let mut pairs: Vec<(String, usize, Node)> = Vec::new();
            for (key, entry) in entries {
                let key_line = key.span.start.line();
                let YamlData::Value(Scalar::String(name)) = &key.data else {
                    return Err((key_line, "a key must be text".to_owned()));
                };
                pairs.push((name.to_string(), key_line, node(entry, depth + 1)?));
            }
            Kind::Map(pairs)
        }
        // Nested aliases can expand to any size.
        _ => return Err((line, "tags and aliases are not supported".to_owned())),
    };
    Ok(Node { line, kind })
}

fn value(scalar: &Scalar<'_>) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(flag) => Value::Bool(*flag),
        Scalar::Integer(number) => Value::Number((*number).into()),
        // YAML has infinity, JSON does not.
        Scalar::FloatingPoint(number) => Value::Number(Number::from_f64(number.into_inner())?),
        Scalar::String(text) => Value::String(text.to_string()),
    })
}

impl Node {
    /// Returns the value without line numbers.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, _, node)| (key.clone(), node.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Returns the text, if the value is text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Returns the type of the value, for messages.
    pub fn form(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(value) => form_of(value),
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Returns the type of a JSON value, for messages.
pub fn form_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Collects the mistakes of a file.
#[derive(Debug, Default)]
pub struct Reader {
    /// The mistakes found so far.
    pub mistakes: Vec<Mistake>,
}

impl Reader {
    /// Records a mistake at a line and path of the file.
    pub fn wrong(&mut self, line: usize, path: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            line,
            path: path.into(),
            problem: problem.into(),
        });
    }

    /// Returns the entries of a map. Unknown keys are mistakes.
    pub fn map<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Vec<(&'n str, &'n Node)> {
        let Kind::Map(entries) = &node.kind else {
            self.wrong(node.line, path, format!("must be a map, not {}", node.form()));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, line, entry) in entries {
            if known.contains(&key.as_str()) {
                found.push((key.as_str(), entry));
            } else {
                let path = join(path, key);
                self.wrong(
                    *line,
                    path,
                    format!("unknown key; known keys here: {}", known.join(", ")),
                );
            }
        }
        found
    }

    /// Returns the elements of a list.
    pub fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        if let Kind::List(items) = &node.kind {
            return items;
        }
        self.wrong(node.line, path, format!("must be a list, not {}", node.form()));
        &[]
    }

    /// Returns the text, which must not be empty.
    pub fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match node.text() {
            Some(text) if !text.trim().is_empty() => Some(text),
            Some(_) => {
                self.wrong(node.line, path, "must not be empty");
                None
            }
            None => {
                self.wrong(node.line, path, format!("must be text, not {}", node.form()));
                None
            }
        }
    }

    /// Returns the result, or all mistakes sorted by line.
    ///
    /// # Errors
    ///
    /// If there are mistakes.
    pub fn finish<T>(mut self, file: &str, result: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() {
            return Ok(result);
        }
        self.mistakes.sort_by_key(|mistake| mistake.line);
        Err(Mistakes {
            file: file.to_owned(),
            mistakes: self.mistakes,
        })
    }
}

/// Returns the path of a key in a map.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
