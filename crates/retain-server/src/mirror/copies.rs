//! The copying itself: lists, compares, and downloads beside the place before it renames.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, parse_url_opts};
use retain_core::ModelName;
use retain_score::{Aliases, FILES, MANIFEST};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;
use url::Url;

use super::StoreError;
use crate::text::{chain, printable};

const MARKER: &str = ".retain-models-cache";
const ALIASES_FILE: &str = "aliases.json";
const MAX_ALIASES_BYTES: u64 = 64 << 10;
/// As the largest file of a bundle in a folder.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// Most models of one store; each is asked for at every look.
const MAX_MODELS: usize = 10_000;
/// Longest that the store may take to say what it has, its client's own tries again included: meanwhile nothing is reloaded.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// Longest that a look may take with all that is copied.
const LONGEST_LOOK: Duration = Duration::from_mins(15);
/// Longest error of a store that is repeated.
const REASON_CHARS: usize = 300;

/// A store, and the folder with the copies.
#[derive(Debug)]
pub(crate) struct Mirror {
    store: Box<dyn ObjectStore>,
    prefix: Key,
    root: PathBuf,
    /// Removed with the mirror, where no folder was named.
    _temporary: Option<TempDir>,
}

/// Marks a folder as a copy, in which what the store does not have is removed; refuses one with files of somebody else.
fn claim(cache: &Path) -> Result<(), StoreError> {
    let marker = cache.join(MARKER);
    let is_empty = fs::read_dir(cache).map_err(cache_error("read", cache))?.next().is_none();
    if !is_empty && !marker.is_file() {
        let found = std::io::Error::other("it holds files that were not copied from a store; name a folder of its own");
        return Err(cache_error("use", cache)(found));
    }
    fs::write(&marker, "Copied from an object store. What the store does not have is removed.\n")
        .map_err(cache_error("write", &marker))
}

impl Mirror {
    /// Copies from the store at `url` to `cache`, or to a new folder that is removed at the end.
    pub(crate) fn open(url: &str, cache: Option<&Path>) -> Result<Self, StoreError> {
        let text = |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
        Self::open_with(url, cache, std::env::vars_os().filter_map(text))
    }

    fn open_with(
        url: &str,
        cache: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Url { url: without_secrets(url), reason };
        let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("credentials belong into the environment".to_owned()));
        }
        // The connections of the store take what the process has; another one may have chosen first, and is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (store, prefix) = parse_url_opts(&parsed, environment).map_err(|error| wrong(reason(&error)))?;
        Self::over(store, prefix, cache)
    }

    fn over(store: Box<dyn ObjectStore>, prefix: Key, cache: Option<&Path>) -> Result<Self, StoreError> {
        let (root, temporary) = match cache {
            Some(cache) => {
                fs::create_dir_all(cache).map_err(cache_error("create", cache))?;
                claim(cache)?;
                (cache.to_owned(), None)
            }
            None => {
                let folder = tempfile::Builder::new().prefix("retain-models-").tempdir();
                let folder = folder.map_err(cache_error("create a folder in", &std::env::temp_dir()))?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        Ok(Self { store, prefix, root, _temporary: temporary })
    }

    /// The folder with the copies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder like the store: what is new or has changed is copied, what is gone is removed.
    pub(crate) async fn sync(&self) -> Result<(), StoreError> {
        let sync = tokio::time::timeout(LONGEST_LOOK, self.sync_all()).await;
        sync.unwrap_or_else(|_| Err(StoreError::Unreachable { reason: "it took too long to answer".to_owned() }))
    }

    async fn sync_all(&self) -> Result<(), StoreError> {
        let listed = ask(self.store.list_with_delimiter(Some(&self.prefix))).await?.ok_or_else(gone)?;
        let names = listed.common_prefixes.iter().filter_map(|prefix| ModelName::new(prefix.filename()?).ok());
        let names: BTreeSet<ModelName> = names.take(MAX_MODELS).collect();
        let mut failures = Vec::new();
        for name in &names {
            match self.sync_model(name).await {
                Ok(()) => {}
                // The disk is the same for all.
                Err(error @ StoreError::Cache { .. }) => return Err(error),
                Err(error) => failures.push(format!("`{name}`: {}", chain(&error))),
            }
        }
        for name in folders(&self.root).filter(|name| ModelName::new(name).is_ok_and(|name| !names.contains(&name))) {
            remove(&self.root.join(name))?;
        }
        if failures.is_empty() { Ok(()) } else { Err(StoreError::Models { failures: failures.join("; ") }) }
    }

    /// The versions first: an alias shall not point at what is not there yet.
    async fn sync_model(&self, name: &ModelName) -> Result<(), StoreError> {
        let (key, folder) = (self.prefix.clone().join(name.as_str()), self.root.join(name.as_str()));
        let aliases = key.clone().join(ALIASES_FILE);
        let found = ask(self.store.head(&aliases)).await?;
        fs::create_dir_all(&folder).map_err(cache_error("create", &folder))?;
        let Some(found) = found else { return remove(&folder.join(ALIASES_FILE)) };
        let beside = folder.join(format!(".{ALIASES_FILE}.new"));
        let place = folder.join(ALIASES_FILE);
        if let Err(error) = self.download(&found, &beside, MAX_ALIASES_BYTES).await {
            return Err(StoreError::Unreachable { reason: format!("`{name}/{ALIASES_FILE}`: {}", chain(&error)) });
        }
        // What is no alias file is copied as it is, and refused by name where it is read.
        let bytes = fs::read(&beside).map_err(cache_error("read", &beside))?;
        if let Ok(wanted) = serde_json::from_slice::<Aliases>(&bytes) {
            let wanted: BTreeSet<u32> = wanted.into_values().collect();
            for version in &wanted {
                self.sync_version(&key, &folder, *version).await?;
            }
            let is_old = |entry: &String| entry.parse::<u32>().is_ok_and(|version| !wanted.contains(&version));
            for version in folders(&folder).filter(is_old) {
                remove(&folder.join(&version))?;
                remove(&folder.join(objects_file(&version)))?;
            }
        }
        if fs::read(&place).is_ok_and(|known| known == bytes) {
            return remove(&beside);
        }
        fs::rename(&beside, &place).map_err(cache_error("write", &place))
    }

    async fn sync_version(&self, model: &Key, folder: &Path, version: u32) -> Result<(), StoreError> {
        let version = version.to_string();
        let key = model.clone().join(version.as_str());
        let listed = ask(self.store.list_with_delimiter(Some(&key))).await?.ok_or_else(gone)?;
        let is_ours = |object: &&ObjectMeta| {
            let name = object.location.filename().unwrap_or_default();
            name == MANIFEST || FILES.contains(&name)
        };
        let objects: Vec<&ObjectMeta> = listed.objects.iter().filter(is_ours).collect();
        let (place, marks) = (folder.join(&version), folder.join(objects_file(&version)));
        let found = marks_of(&objects);
        if place.is_dir() && fs::read_to_string(&marks).is_ok_and(|known| known == found) {
            return Ok(());
        }
        let beside = folder.join(format!(".{version}.new"));
        remove(&beside)?;
        fs::create_dir_all(&beside).map_err(cache_error("create", &beside))?;
        for object in objects {
            let name = object.location.filename().unwrap_or_default();
            self.download(object, &beside.join(name), MAX_FILE_BYTES).await?;
        }
        // A break-off between these leaves no marks, so that the next look copies again.
        remove(&marks)?;
        remove(&place)?;
        fs::rename(&beside, &place).map_err(cache_error("write", &place))?;
        fs::write(&marks, found).map_err(cache_error("write", &marks))
    }

    /// Copies one object to a file, as it was when it was listed.
    async fn download(&self, object: &ObjectMeta, path: &Path, limit: u64) -> Result<(), StoreError> {
        let location = &object.location;
        let too_large = |found: u64| StoreError::Unreachable {
            reason: format!("`{location}` has {found} bytes, more than the {limit} allowed"),
        };
        if object.size > limit {
            return Err(too_large(object.size));
        }
        let answer = ask(self.store.get(location)).await?.ok_or_else(gone)?;
        let mut chunks = answer.into_stream();
        let mut file = tokio::fs::File::create(path).await.map_err(cache_error("write", path))?;
        let mut n_bytes = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| unreachable(&error))?;
            n_bytes += chunk.len() as u64;
            if n_bytes > limit {
                return Err(too_large(n_bytes));
            }
            file.write_all(&chunk).await.map_err(cache_error("write", path))?;
        }
        file.sync_all().await.map_err(cache_error("write", path))
    }
}

/// Where it is noted of which objects a version was copied.
fn objects_file(version: &str) -> String {
    format!(".{version}.objects")
}

/// What tells that objects are not the same as at the last look.
fn marks_of(objects: &[&ObjectMeta]) -> String {
    let mark = |object: &&ObjectMeta| {
        let (tag, modified) = (object.e_tag.as_deref().unwrap_or_default(), object.last_modified.timestamp_micros());
        format!("{}\t{}\t{modified}\t{tag}\n", object.location, object.size)
    };
    let mut marks: Vec<String> = objects.iter().map(mark).collect();
    marks.sort();
    marks.concat()
}

/// Names of the folders in a folder.
fn folders(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cache_error("remove", path)(error)),
        _ => Ok(()),
    }
}

fn cache_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Cache { action, path, source }
}

/// What the store says; none where it does not have what it was asked for.
async fn ask<T>(answer: impl Future<Output = object_store::Result<T>>) -> Result<Option<T>, StoreError> {
    match tokio::time::timeout(LONGEST_ANSWER, answer).await {
        Err(_) => Err(StoreError::Unreachable { reason: "it does not answer".to_owned() }),
        Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
        Ok(other) => other.map(Some).map_err(|error| unreachable(&error)),
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable { reason: "what it has listed is gone".to_owned() }
}

fn unreachable(error: &object_store::Error) -> StoreError {
    StoreError::Unreachable { reason: reason(error) }
}

fn reason(error: &object_store::Error) -> String {
    printable(&chain(error), REASON_CHARS)
}

/// An address without what stands before its `@`.
fn without_secrets(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    async fn put(store: &InMemory, key: &str, text: &str) {
        store.put(&Key::from(key), text.to_owned().into()).await.unwrap();
    }

    fn mirror(store: &Arc<InMemory>) -> Mirror {
        Mirror::over(Box::new(store.clone()), Key::from("prod/models"), None).unwrap()
    }

    fn text(mirror: &Mirror, path: &str) -> Option<String> {
        fs::read_to_string(mirror.root().join(path)).ok()
    }

    #[tokio::test]
    async fn what_aliases_point_at_is_copied_and_nothing_else() {
        let store = Arc::new(InMemory::new());
        put(&store, "prod/models/telco/aliases.json", r#"{"champion": 2}"#).await;
        for version in [1, 2] {
            put(&store, &format!("prod/models/telco/{version}/manifest.json"), "{}").await;
            put(&store, &format!("prod/models/telco/{version}/model.bin"), "bytes").await;
            put(&store, &format!("prod/models/telco/{version}/secret.txt"), "no").await;
        }
        put(&store, "prod/models/NOT A NAME/aliases.json", "{}").await;
        put(&store, "prod/other/aliases.json", "{}").await;
        let mirror = mirror(&store);
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/2/model.bin").as_deref(), Some("bytes"));
        for absent in ["telco/2/secret.txt", "telco/1/manifest.json", "NOT A NAME/aliases.json", "other/aliases.json"] {
            assert_eq!(text(&mirror, absent), None, "{absent}");
        }

        put(&store, "prod/models/telco/aliases.json", r#"{"champion": 1}"#).await;
        put(&store, "prod/models/telco/1/model.bin", "other").await;
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/1/model.bin").as_deref(), Some("other"));
        assert_eq!(text(&mirror, "telco/2/model.bin"), None);

        store.delete(&Key::from("prod/models/telco/aliases.json")).await.unwrap();
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/aliases.json"), None);
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_copied_again() {
        let store = Arc::new(InMemory::new());
        put(&store, "prod/models/telco/aliases.json", r#"{"champion": 1}"#).await;
        put(&store, "prod/models/telco/1/model.bin", "bytes").await;
        let mirror = mirror(&store);
        mirror.sync().await.unwrap();
        // A mark in the copy that a second copy would undo.
        fs::write(mirror.root().join("telco/1/model.bin"), "mark").unwrap();
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/1/model.bin").as_deref(), Some("mark"));
        put(&store, "prod/models/telco/1/model.bin", "newer").await;
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/1/model.bin").as_deref(), Some("newer"));
    }

    #[tokio::test]
    async fn an_alias_file_that_is_too_large_is_not_copied() {
        let store = Arc::new(InMemory::new());
        put(&store, "prod/models/telco/aliases.json", &" ".repeat((64 << 10) + 1)).await;
        let error = mirror(&store).sync().await.unwrap_err();
        assert!(chain(&error).contains("65537 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_model_that_cannot_be_copied_leaves_the_others() {
        let store = Arc::new(InMemory::new());
        put(&store, "prod/models/gym/aliases.json", &" ".repeat((64 << 10) + 1)).await;
        put(&store, "prod/models/telco/aliases.json", r#"{"champion": 1}"#).await;
        put(&store, "prod/models/telco/1/model.bin", "bytes").await;
        let mirror = mirror(&store);
        let error = mirror.sync().await.unwrap_err();
        assert!(error.is_of_some_models() && error.to_string().contains("`gym`"), "{error}");
        assert_eq!(text(&mirror, "telco/1/model.bin").as_deref(), Some("bytes"));
    }

    /// Answers as S3 does: a listing in XML, and the one object, to whoever signs the request.
    async fn s3() -> std::net::SocketAddr {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listing = |content: &str| {
            format!("<ListBucketResult><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>{content}</ListBucketResult>")
        };
        let models = listing("<CommonPrefixes><Prefix>prod/telco/</Prefix></CommonPrefixes>");
        let files = listing(
            "<Contents><Key>prod/telco/1/model.bin</Key><LastModified>2024-10-04T00:00:00.000Z</LastModified>\
             <ETag>\"a\"</ETag><Size>5</Size></Contents>",
        );
        let answer = move |request: &str| match request.split(' ').nth(1).unwrap_or_default() {
            _ if !request.contains("AWS4-HMAC-SHA256 Credential=me/") => None,
            path if path.contains("telco%2F1%2F") => Some(files.clone()),
            path if path.contains("list-type=2") => Some(models.clone()),
            "/bucket/prod/telco/aliases.json" => Some(r#"{"champion":1}"#.to_owned()),
            "/bucket/prod/telco/1/model.bin" => Some("bytes".to_owned()),
            _ => None,
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 1 << 14];
                let n_bytes = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..n_bytes]).into_owned();
                let (status, body) = answer(&request).map_or(("403 Forbidden", String::new()), |body| ("200 OK", body));
                let about = "ETag: \"a\"\r\nLast-Modified: Fri, 04 Oct 2024 00:00:00 GMT\r\nConnection: close";
                let head = format!("HTTP/1.1 {status}\r\n{about}\r\nContent-Length: {}\r\n\r\n", body.len());
                let body = if request.starts_with("HEAD") { "" } else { &body };
                stream.write_all((head + body).as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn s3_is_read_with_the_environments_credentials() {
        let endpoint = format!("http://{}", s3().await);
        let open = |key: &str| {
            let environment = [
                ("AWS_ENDPOINT", endpoint.as_str()),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", key),
                ("AWS_SECRET_ACCESS_KEY", "hush"),
            ];
            let environment = environment.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            Mirror::open_with("s3://bucket/prod", None, environment).unwrap()
        };
        let mirror = open("me");
        mirror.sync().await.unwrap();
        assert_eq!(text(&mirror, "telco/1/model.bin").as_deref(), Some("bytes"));
        assert_eq!(text(&mirror, "telco/aliases.json").as_deref(), Some(r#"{"champion":1}"#));
        let error = chain(&open("somebody").sync().await.unwrap_err());
        assert!(error.contains("cannot be read") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn addresses_that_cannot_be_are_refused_without_their_secrets() {
        for url in ["s3://key:secret@bucket/models", "ftp://host/models", "s3://"] {
            let error = Mirror::open(url, None).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
