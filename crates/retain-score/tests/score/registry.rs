use std::fs;

use retain_core::{ModelAddress, ModelName};
use retain_score::{Bundle, Registry, RegistryError};

use crate::bundles::bundle;

fn published(registry: &Registry, folder: &std::path::Path, seed: u64) -> retain_score::Published {
    let path = folder.join(format!("run-{seed}"));
    bundle("telco", seed).replace(&path).unwrap();
    registry.publish(&Bundle::read(&path).unwrap()).unwrap()
}

#[test]
fn versions_count_up_and_the_same_bundle_is_published_once() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(&folder.path().join("models"));
    assert!(registry.names().unwrap().is_empty());
    let first = published(&registry, folder.path(), 1);
    let second = published(&registry, folder.path(), 2);
    let again = published(&registry, folder.path(), 1);
    assert_eq!((first.version, first.is_new), (1, true));
    assert_eq!((second.version, second.is_new), (2, true));
    assert_eq!((again.version, again.is_new), (1, false));
    assert_eq!(Bundle::read(&second.path).unwrap().manifest.version, 2);
}

#[test]
fn addresses_lead_to_versions() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(&folder.path().join("models"));
    published(&registry, folder.path(), 1);
    published(&registry, folder.path(), 2);
    let telco = ModelName::new("telco").unwrap();
    let resolve = |text: &str| registry.resolve(&text.parse::<ModelAddress>().unwrap());
    assert!(matches!(resolve("telco"), Err(RegistryError::UnknownAlias { .. })));
    registry.set_alias(&telco, "champion", 2).unwrap();
    assert!(resolve("telco").unwrap().ends_with("telco/2"));
    assert!(resolve("telco/1").unwrap().ends_with("telco/1"));
    assert!(matches!(resolve("telco/3"), Err(RegistryError::UnknownVersion { version: 3, .. })));
    let unknown = resolve("telc@champion").unwrap_err();
    assert!(unknown.to_string().ends_with("did you mean `telco`?"), "{unknown}");
    assert!(matches!(registry.set_alias(&telco, "champion", 9), Err(RegistryError::UnknownVersion { .. })));
    assert!(matches!(registry.set_alias(&telco, "champignon", 1), Err(RegistryError::UnknownAlias { .. })));
    let list = registry.list().unwrap();
    assert_eq!(list[1].aliases, ["champion"]);
}

#[test]
fn strangers_in_the_folder_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let registry = Registry::new(&root);
    published(&registry, folder.path(), 1);
    fs::create_dir_all(root.join("telco/07")).unwrap();
    fs::create_dir_all(root.join("telco/notes")).unwrap();
    fs::create_dir_all(root.join("Empty")).unwrap();
    fs::write(root.join("README.md"), "hello").unwrap();
    assert_eq!(registry.list().unwrap().len(), 1);
    fs::write(root.join("telco/aliases.json"), "[1]").unwrap();
    assert!(matches!(registry.list(), Err(RegistryError::Aliases { .. })));
}

#[test]
fn bundles_published_at_once_get_a_number_each() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(&folder.path().join("models"));
    let bundles: Vec<Bundle> = (0..6)
        .map(|seed| {
            let path = folder.path().join(format!("run-{seed}"));
            bundle("telco", seed).write(&path).unwrap();
            Bundle::read(&path).unwrap()
        })
        .collect();
    let mut versions: Vec<u32> = std::thread::scope(|scope| {
        let publishers: Vec<_> = bundles.iter().map(|bundle| scope.spawn(|| registry.publish(bundle).unwrap().version)).collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    for version in versions {
        Bundle::read(&registry.path(&ModelName::new("telco").unwrap(), version)).unwrap();
    }
}

#[test]
fn aliases_set_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(&folder.path().join("models"));
    published(&registry, folder.path(), 1);
    let telco = ModelName::new("telco").unwrap();
    for _ in 0..20 {
        fs::remove_file(folder.path().join("models/telco/aliases.json")).ok();
        std::thread::scope(|scope| {
            for alias in ["champion", "challenger", "shadow"] {
                let (registry, telco) = (&registry, &telco);
                scope.spawn(move || registry.set_alias(telco, alias, 1).unwrap());
            }
        });
        assert_eq!(registry.aliases(&telco).unwrap().len(), 3);
    }
}

#[test]
fn an_alias_that_does_not_exist_is_refused_in_the_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(&folder.path().join("models"));
    published(&registry, folder.path(), 1);
    fs::write(folder.path().join("models/telco/aliases.json"), r#"{"champoin": 1}"#).unwrap();
    let error = registry.aliases(&ModelName::new("telco").unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("did you mean `champion`?"), "{error}");
}
