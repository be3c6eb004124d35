//! What `--model` may name: a bundle's folder, a model's folder in a registry, or an address.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use retain_core::{ModelAddress, ModelName, VersionSelector};
use retain_score::{MANIFEST, Registry};

use crate::exit::Complaint;

/// Which model a verb works on.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    /// A bundle's folder, a published model's folder (its champion), or an address: `name@alias`, `name/3`
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: String,
    /// Folder of published models, where addresses are looked up
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub(crate) models: PathBuf,
}

impl ModelArguments {
    /// The folder of the bundle.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        resolve(&self.model, &self.models)
    }
}

/// The folder of the bundle that `model` names; addresses are looked up under `models`.
pub(crate) fn resolve(model: &str, models: &Path) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.join(MANIFEST).is_file() {
        return Ok(path.to_owned());
    }
    if let Some(champion) = champion_of_folder(path)? {
        return Ok(champion);
    }
    if path.is_file() {
        let complaint = Complaint::usage(format!("`{model}` is a file, and a model is a folder with a {MANIFEST}"));
        return Err(complaint.hint("name the folder that `retain train` wrote").into());
    }
    match model.parse::<ModelAddress>() {
        // A folder without a bundle: reading it says what is wrong with it.
        Err(_) if path.exists() => Ok(path.to_owned()),
        Err(error) => {
            let complaint = Complaint::usage(format!("there is no model `{model}`: no such folder, and not an address either"));
            Err(complaint.because(error).hint("addresses are `name`, `name@champion` or `name/3`").into())
        }
        Ok(address) => match Registry::new(models).resolve(&address) {
            Err(_) if path.is_dir() => Ok(path.to_owned()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot find the model `{model}`: there is no folder of that name either"))
            }
            Ok(folder) => Ok(folder),
        },
    }
}

/// The champion of a model's folder in a registry; none when `path` is no such folder.
fn champion_of_folder(path: &Path) -> Result<Option<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| ModelName::new(name).ok());
    let (Some(name), Some(root)) = (name, path.parent()) else { return Ok(None) };
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let registry = Registry::new(root);
    if registry.versions(&name)?.is_empty() {
        return Ok(None);
    }
    let address = ModelAddress { name, selector: VersionSelector::Alias("champion".to_owned()) };
    let champion = registry.resolve(&address).with_context(|| format!("cannot find the champion of `{}`", path.display()))?;
    Ok(Some(champion))
}
