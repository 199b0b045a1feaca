//! Tests of layers, origins and mistakes, as users see them.

mod layers;
mod mistakes;
mod names;
mod policies;
mod published;
mod secrets;
mod traces;

use std::path::Path;

use crate::{EffectiveSetting, Inputs, Mistakes, Needs, Settings, load};

fn inputs(directory: &Path, environment: &[(&str, &str)]) -> Inputs {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Inputs {
        environment: environment.iter().map(pair).collect(),
        directory: Some(directory.to_owned()),
        ..Inputs::default()
    }
}

fn loaded(directory: &Path, environment: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    load(&inputs(directory, environment), Needs::default())
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn effective<'a>(settings: &'a Settings, name: &str) -> &'a EffectiveSetting {
    settings
        .effective
        .iter()
        .find(|setting| setting.name == name)
        .expect("a setting")
}
