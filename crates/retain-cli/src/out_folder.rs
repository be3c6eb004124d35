//! Where `retain train` may write: a place of its own, refused before the long work rather than after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use retain_score::{FILES, MANIFEST, Manifest};

use crate::exit::Complaint;

/// No manifest is larger; what is belongs to somebody else.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Checks that a bundle can be written to `out`, and returns the folder to write: where `out` is a link, its target.
///
/// # Errors
/// A complaint when something else than a bundle stands there, when the place belongs to published models or to another
/// bundle, or when the folder around it cannot be written to.
pub(crate) fn check(out: &Path) -> Result<PathBuf> {
    let shown = out.display();
    if out.file_name().is_none() {
        return Err(Complaint::usage(format!("`--out {shown}` has no name of its own")).hint("name a new folder").into());
    }
    let place = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    let parent = parent_of(&place);
    refuse_registry(out, &place, parent)?;
    if manifest_of(parent).is_some() {
        let message = format!("`--out {shown}` lies inside a bundle, and bundles never change");
        return Err(Complaint::usage(message).hint("name a folder beside it").into());
    }
    if is_taken(&place) && !is_bundle(&place) {
        let message = format!("`--out {shown}` holds something that is not a bundle");
        return Err(Complaint::usage(message)
            .hint("name a folder that is new, empty, or holds nothing but a bundle to replace")
            .into());
    }
    check_writable(&place, parent).with_context(|| format!("cannot write to `--out {shown}`"))?;
    Ok(place)
}

/// The folder that `place` lies in.
fn parent_of(place: &Path) -> &Path {
    place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refuse_registry(out: &Path, place: &Path, parent: &Path) -> Result<()> {
    if !parent.join("aliases.json").exists() && !is_published(place, parent) {
        return Ok(());
    }
    let message = format!("`--out {}` lies among published models, and published versions never change", out.display());
    let hint = "write to a folder of its own, then `retain models publish --model DIR` gives it the next version";
    Err(Complaint::usage(message).hint(hint).into())
}

/// Whether a version lies here that was published without an alias: `<name>/<number>`.
fn is_published(place: &Path, parent: &Path) -> bool {
    let is_version = place.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok());
    let name = parent.file_name();
    is_version && name.is_some_and(|model| manifest_of(place).is_some_and(|manifest| *manifest.name.as_str() == *model))
}

/// Whether anything but an empty folder stands at `place`; a link to nowhere does.
fn is_taken(place: &Path) -> bool {
    match fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => place.symlink_metadata().is_ok(),
    }
}

/// Whether a folder holds the files of a bundle and nothing else: many programs have a `manifest.json`, and what is replaced is gone.
fn is_bundle(folder: &Path) -> bool {
    let is_ours = |name: &str| name == MANIFEST || FILES.contains(&name);
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    manifest_of(folder).is_some() && entries.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_ours)))
}

/// The manifest of the bundle in a folder; none where the folder has no bundle. Its other files are not looked at.
fn manifest_of(folder: &Path) -> Option<Manifest> {
    let path = folder.join(MANIFEST);
    let is_small = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_MANIFEST_BYTES);
    is_small.then(|| fs::read(&path).ok()).flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Tries the nearest folder that exists, since the others will be made inside it, with a name as long as the real one will be.
fn check_writable(place: &Path, parent: &Path) -> io::Result<()> {
    let existing = parent.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let probe = existing.join(format!(".{name}.new-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}
