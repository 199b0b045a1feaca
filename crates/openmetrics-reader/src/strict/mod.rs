//! The rules of strict mode that span lines: those of families here, those of a family's series in
//! [`series`], and those of each type's values in [`point`].
//!
//! Memory grows with the number of families and series, never with samples.

mod key;
mod point;
mod rule;
mod series;

use std::collections::HashSet;

use crate::event::{Event, Kind};
use crate::sample::Sample;
use crate::strict::rule::{Result, demand};
use crate::strict::series::Series;

pub(crate) use crate::strict::rule::Broken;

/// The state of strict mode for a document.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    /// Every family name, and every sample name that a family's type may produce.
    claimed: HashSet<Box<str>>,
    family: Option<Family>,
    series: Series,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: Option<Kind>,
    has_help: bool,
    /// Empty if the UNIT line has no unit.
    unit: Option<String>,
    has_samples: bool,
}

impl Family {
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Unknown)
    }

    /// Returns the suffix that the sample name appends to the family's name, if the sample belongs to the
    /// family.
    fn suffix_of(&self, sample_name: &str) -> Option<&'static str> {
        let rest = sample_name.strip_prefix(self.name.as_str())?;
        self.kind()
            .suffixes()
            .iter()
            .copied()
            .find(|suffix| *suffix == rest)
    }

    fn check_unit(&self) -> Result {
        let has_unit = self.unit.as_ref().is_some_and(|unit| !unit.is_empty());
        demand(
            !(has_unit && matches!(self.kind, Some(Kind::Info | Kind::StateSet))),
            "an info or state set must not have a unit",
        )
    }
}

impl Strict {
    /// Checks one event against the previous ones.
    pub(crate) fn check(&mut self, event: &Event<'_>, line: u64) -> Result {
        match event {
            Event::Sample(sample) => self.sample(sample, line),
            Event::Type { family, kind } => self.kind(family.raw(), *kind),
            Event::Help { family, .. } => {
                let family = self.described(family.raw())?;
                demand(!family.has_help, "a family must have at most one HELP line")?;
                family.has_help = true;
                Ok(())
            }
            Event::Unit { family, unit } => self.unit(family.raw(), unit),
            Event::Comment(_) => Ok(()),
            Event::End => self.close(),
        }
    }

    fn kind(&mut self, name: &str, kind: Kind) -> Result {
        let family = self.described(name)?;
        demand(family.kind.is_none(), "a family must have at most one TYPE line")?;
        family.kind = Some(kind);
        family.check_unit()?;
        // The name itself was claimed when the family was opened.
        for suffix in kind.suffixes().iter().filter(|suffix| !suffix.is_empty()) {
            self.claim(format!("{name}{suffix}").into_boxed_str())?;
        }
        Ok(())
    }

    fn unit(&mut self, name: &str, unit: &str) -> Result {
        let family = self.described(name)?;
        demand(family.unit.is_none(), "a family must have at most one UNIT line")?;
        family.unit = Some(unit.to_owned());
        let ends_in_unit = || name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
        demand(
            unit.is_empty() || ends_in_unit(),
            "the name of a family must end in `_` and its unit",
        )?;
        family.check_unit()
    }

    /// Returns the family that a metadata line describes, and opens it if it is not the current one.
    fn described(&mut self, name: &str) -> std::result::Result<&mut Family, Broken> {
        let is_current = self.family.as_ref().is_some_and(|family| family.name == name);
        if !is_current {
            self.open(name, None)?;
        }
        let family = self.family.as_mut().expect("just found or opened");
        demand(
            !family.has_samples,
            "the metadata of a family must precede its samples",
        )?;
        Ok(family)
    }

    fn open(&mut self, name: &str, kind: Option<Kind>) -> Result {
        self.close()?;
        self.claim(Box::from(name))?;
        self.family = Some(Family {
            name: name.to_owned(),
            kind,
            has_help: false,
            unit: None,
            has_samples: false,
        });
        Ok(())
    }

    fn close(&mut self) -> Result {
        match self.family.take() {
            Some(family) => self.series.close(&family.name, family.kind()),
            None => Ok(()),
        }
    }

    fn claim(&mut self, name: Box<str>) -> Result {
        let rule = "family names and the sample names derived from their types must be unique, and families must not be interleaved";
        demand(self.claimed.insert(name), rule)
    }

    fn sample(&mut self, sample: &Sample<'_>, line: u64) -> Result {
        let name = sample.name().raw();
        let mut suffix = self.family.as_ref().and_then(|family| family.suffix_of(name));
        if suffix.is_none() {
            // A sample without metadata is a family of its own, of unknown type.
            self.open(name, Some(Kind::Unknown))?;
            suffix = Some("");
        }
        let family = self.family.as_mut().expect("just found or opened");
        family.has_samples = true;
        let kind = family.kind();
        self.series
            .sample(&family.name, kind, suffix.unwrap_or_default(), sample, line)
    }
}
