//! Where a component's machine code comes from: out of a folder of our own, or compiled and put there.
//!
//! Compiled code is native code that runs in this process, so a file is believed only when its tag fits: a
//! keyed hash over its name and content, by a key that only this installation has. The name is the hash of the
//! component's bytes, the engine's settings, wasmtime's version and the processor's features; whatever of them
//! changes leads to another name. Invariants: nothing is loaded whose tag was not checked just before; a file
//! that is damaged, foreign or of another key is compiled anew and replaced; a folder or key that another user
//! owns or may open is not used, and no tool has a file system to reach it with; what was not used for longest
//! goes when the folder is over its bound.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    hash::{Hash, Hasher},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use frontdesk_api::Error;
use wasmtime::{Engine, component::Component};

use crate::{admission, compile, component::reason, fault::Fault, limits::Limits};

/// How components become machine code.
#[derive(Debug, Clone, Default)]
pub enum Compiling {
    /// In this process, each time. For tests and for commands that end soon.
    #[default]
    Here,
    /// In a child process with limits, once.
    Kept(Kept),
}

/// Machine code kept in a folder.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Made where it is missing, for this user alone.
    pub folder: PathBuf,
    /// The program whose command [`compile::COMMAND`] compiles. None: this process does it itself.
    pub program: Option<PathBuf>,
    /// Bytes of machine code that may stay when more is added, the one just added aside.
    pub most: u64,
}

/// What [`Kept::most`] is where nobody sets it.
pub const MOST: u64 = 2 << 30;

/// File of the folder.
const KEY: &str = "key";
/// What names of files that are being written begin with.
const NEW: &str = "new-";
/// What names of locks begin with.
const LOCK: &str = "lock-";
/// Nobody writes a file, or compiles one, for this long: what is older was left by a process that ended.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Between two looks at a component that somebody else compiles.
const PAUSE: Duration = Duration::from_millis(50);

impl Compiling {
    /// The component's code, where it was compiled before and kept. Waits for nobody.
    ///
    /// # Errors
    /// [`Fault::NotAComponent`] or [`Fault::Limit`].
    pub(crate) async fn kept(
        &self,
        engine: &Engine,
        bytes: &bytes::Bytes,
        limits: &Limits,
    ) -> Result<Option<Component>, Fault> {
        let Self::Kept(kept) = self else { return Ok(None) };
        let (at, own, all, limits) = (kept.folder.clone(), engine.clone(), bytes.clone(), *limits);
        blocking(move || {
            admission::check(&all, &limits)?;
            // That it cannot be opened is said by whoever wants to put something there.
            Ok(Folder::open(&at).ok().and_then(|folder| folder.read(&own, &name(&own, &all))))
        })
        .await?
    }

    /// The component's code, loaded.
    ///
    /// # Errors
    /// [`Fault::NotAComponent`], [`Fault::NotATool`] or [`Fault::Limit`]; [`Fault::Host`] where the child cannot be
    /// started.
    pub(crate) async fn load(
        &self,
        engine: &Engine,
        bytes: &bytes::Bytes,
        limits: &Limits,
    ) -> Result<Component, Fault> {
        let (own, all, limits) = (engine.clone(), bytes.clone(), *limits);
        let kept = match self {
            Self::Here => {
                return blocking(move || {
                    admission::check(&all, &limits)?;
                    Component::new(&own, &all).map_err(|e| Fault::NotATool(reason(&e)))
                })
                .await?;
            }
            Self::Kept(kept) => kept.clone(),
        };
        let opened = {
            let at = kept.folder.clone();
            blocking(move || {
                admission::check(&all, &limits)?;
                let folder = Folder::open(&at).inspect_err(|error| {
                    let folder = at.display();
                    tracing::warn!(%error, %folder, "compiled tools cannot be kept; compiling them at each start");
                });
                Ok::<_, Fault>(folder.ok().map(|folder| (folder, name(&own, &all))))
            })
            .await??
        };
        let place = match opened {
            None => None,
            Some((folder, name)) => match folder.find(engine, &name).await? {
                Found::Code(code) => return Ok(code),
                Found::Nothing(lock) => Some((folder, name, lock)),
            },
        };
        let code = match &kept.program {
            Some(program) => compile::in_child(program, bytes, &limits).await?,
            None => {
                let (own, all) = (engine.clone(), bytes.clone());
                blocking(move || own.precompile_component(&all)).await?.map_err(|e| Fault::NotATool(reason(&e)))?
            }
        };
        let own = engine.clone();
        blocking(move || {
            if let Some((folder, name, _lock)) = place {
                match folder.write(&name, &code) {
                    Ok(()) => {
                        if let Err(error) = folder.prune(&name, kept.most) {
                            tracing::warn!(%error, "removing compiled tools that are not used failed");
                        }
                        if let Some(code) = folder.read(&own, &name) {
                            return Ok(code);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "keeping a compiled tool failed"),
                }
            }
            from_compiler(&own, &code)
        })
        .await?
    }
}

enum Found {
    Code(Component),
    /// Whoever compiles holds the lock of that code; None where the file system has no locks: then a component may be
    /// compiled twice.
    Nothing(Option<Lock>),
}

/// The right to compile a code. Its file goes with it: whoever waited for that very file compiles beside one that made a
/// new one meanwhile, at worst twice the same.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::debug!(%error, file = %self.path.display(), "a lock of compiled tools stays behind");
        }
    }
}

#[derive(Clone)]
struct Folder {
    at: PathBuf,
    key: Arc<[u8; blake3::KEY_LEN]>,
}

impl Folder {
    fn open(at: &Path) -> std::io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(at)?;
        private(at)?;
        let path = at.join(KEY);
        let key = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                draw_key(at)?;
                fs::read(&path)?
            }
            read => read?,
        };
        private(&path)?;
        let key = key.try_into().map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "the key has a wrong length"));
        Ok(Self { at: at.to_owned(), key: Arc::new(key?) })
    }

    /// The code, or the right to compile it. Waits for whoever compiles the same, and for nobody else.
    async fn find(&self, engine: &Engine, name: &str) -> Result<Found, Fault> {
        loop {
            let (folder, own, name) = (self.clone(), engine.clone(), name.to_owned());
            let look = move || {
                if let Some(code) = folder.read(&own, &name) {
                    return Some(Found::Code(code));
                }
                let lock = match folder.lock(&name) {
                    Err(TryLockError::WouldBlock) => return None,
                    lock => lock.ok(),
                };
                // Whoever held it before may have written it since.
                Some(folder.read(&own, &name).map_or(Found::Nothing(lock), Found::Code))
            };
            match blocking(look).await? {
                Some(found) => return Ok(found),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Of each code its own, so that nobody waits for another's.
    fn lock(&self, name: &str) -> Result<Lock, TryLockError> {
        let path = self.at.join(format!("{LOCK}{name}"));
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Lock { path, _file: file })
    }

    /// Removes what was not used for longest until at most `most` bytes of others than `name` are there, and files
    /// that nobody finished.
    fn prune(&self, name: &str, most: u64) -> std::io::Result<()> {
        let mut codes = vec![];
        for entry in fs::read_dir(&self.at)? {
            let (path, about) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                // Another process removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entry => entry?,
            };
            let used = about.modified()?;
            let called = path.file_name().and_then(|called| called.to_str()).unwrap_or_default();
            if called.starts_with(NEW) || called.starts_with(LOCK) {
                if used.elapsed().is_ok_and(|age| age > ABANDONED) {
                    remove(&path)?;
                }
            } else if let Some(called) = called.strip_suffix(".cwasm")
                && called != name
            {
                codes.push((used, about.len(), called.to_owned()));
            }
        }
        let mut all: u64 = codes.iter().map(|(_, bytes, _)| bytes).sum();
        codes.sort_unstable();
        for (_, bytes, called) in codes {
            if all <= most {
                break;
            }
            remove(&self.tag_at(&called))?;
            remove(&self.code(&called))?;
            all -= bytes;
        }
        Ok(())
    }

    fn code(&self, name: &str) -> PathBuf {
        self.at.join(format!("{name}.cwasm"))
    }

    fn tag_at(&self, name: &str) -> PathBuf {
        self.at.join(format!("{name}.tag"))
    }

    /// Over name and content, so that no file stands for another.
    fn tag(&self, name: &str, content: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(b"\0").update(content).finalize()
    }

    /// The code, mapped into memory, where it is there and ours.
    #[allow(unsafe_code)]
    fn read(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.code(name);
        let content = fs::read(&path).ok()?;
        let tag: [u8; blake3::OUT_LEN] = fs::read(self.tag_at(name)).ok()?.try_into().ok()?;
        // Compares in constant time.
        if self.tag(name, &content) != blake3::Hash::from_bytes(tag) {
            tracing::warn!(file = %path.display(), "a compiled tool is not as it was written; compiling it anew");
            return None;
        }
        // SAFETY: the bytes are what this installation's compiler gave: their tag was made with its key. The folder
        // belongs to this user alone, who could as well change this program.
        let loaded = unsafe { Component::deserialize_file(engine, &path) };
        if let Err(error) = used_now(&path) {
            tracing::debug!(%error, file = %path.display(), "when a compiled tool was used cannot be noted");
        }
        loaded.inspect_err(|error| tracing::warn!(%error, file = %path.display(), "a compiled tool does not load")).ok()
    }

    /// Each file is whole under its name or not there; the tag comes last.
    fn write(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        self.replace(&self.code(name), code)?;
        self.replace(&self.tag_at(name), self.tag(name, code).as_bytes())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.at.join(format!("{NEW}{}-{count}", std::process::id()));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(temporary, path)
    }
}

/// Fails where another user owns it or may open it: who can write here runs code in this process.
#[allow(unsafe_code)]
fn private(path: &Path) -> std::io::Result<()> {
    let about = fs::metadata(path)?;
    // SAFETY: asks for a number and cannot fail.
    let user = unsafe { libc::geteuid() };
    if about.uid() == user && about.mode() & 0o077 == 0 {
        return Ok(());
    }
    let (path, owner, mode) = (path.display(), about.uid(), about.mode() & 0o777);
    let message = format!("{path} must be open to user {user} alone, and is user {owner}'s with mode {mode:o}");
    Err(std::io::Error::new(ErrorKind::PermissionDenied, message))
}

/// The file's time of change is the time of its last use.
#[allow(clippy::disallowed_methods)] // file times are the machine's, and compared with each other only
fn used_now(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_modified(SystemTime::now())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The first process to come draws it; a link is made by one.
fn draw_key(at: &Path) -> std::io::Result<()> {
    let mut key = [0; blake3::KEY_LEN];
    getrandom::fill(&mut key).map_err(|e| std::io::Error::other(e.to_string()))?;
    let temporary = at.join(format!("key-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&key)?;
    let linked = fs::hard_link(&temporary, at.join(KEY));
    fs::remove_file(temporary)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Which code this is: of these bytes, for this engine on this machine.
fn name(engine: &Engine, bytes: &[u8]) -> String {
    struct Digest(blake3::Hasher);
    impl Hasher for Digest {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // nobody asks: the whole digest is taken below
        }
    }
    let mut digest = Digest(blake3::Hasher::new());
    digest.0.update(blake3::hash(bytes).as_bytes());
    // wasmtime's own word for what must be equal: version, target, processor features and every setting.
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.finalize().to_hex().to_string()
}

/// Code that has just come from the compiler, where there is no folder to keep it in.
#[allow(unsafe_code)]
fn from_compiler(engine: &Engine, code: &[u8]) -> Result<Component, Fault> {
    // SAFETY: the bytes came over a pipe from a compiler that this process started, or from this process.
    let loaded = unsafe { Component::deserialize(engine, code) };
    loaded.map_err(|e| {
        Fault::Host(Error::new(frontdesk_api::Kind::Internal, "loading a compiled tool failed").with_source(reason(&e)))
    })
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Fault::Host(Error::internal("the tool sandbox's worker thread broke off", e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        engine: Engine,
        bytes: bytes::Bytes,
    }

    impl Place {
        fn new() -> Self {
            let engine = Engine::new(&crate::engine::config(&Limits::default(), false)).unwrap();
            let bytes = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap().into();
            Self { dir: tempfile::tempdir().unwrap(), engine, bytes }
        }

        fn kept(&self) -> Kept {
            Kept { folder: self.dir.path().join("code"), program: None, most: MOST }
        }

        async fn load(&self) -> Result<Component, Fault> {
            Compiling::Kept(self.kept()).load(&self.engine, &self.bytes, &Limits::default()).await
        }

        /// What would be loaded without compiling.
        fn found(&self) -> Option<Component> {
            Folder::open(&self.kept().folder).unwrap().read(&self.engine, &name(&self.engine, &self.bytes))
        }

        fn file(&self, extension: &str) -> PathBuf {
            self.kept().folder.join(format!("{}.{extension}", name(&self.engine, &self.bytes)))
        }
    }

    #[tokio::test]
    async fn code_is_kept_and_found_again() {
        let place = Place::new();
        assert!(place.found().is_none());
        place.load().await.unwrap();
        assert!(place.found().is_some());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = place.kept().folder;
        assert_eq!((mode(&folder), mode(&folder.join(KEY)), mode(&place.file("cwasm"))), (0o700, 0o600, 0o600));
    }

    #[tokio::test]
    async fn what_is_not_as_it_was_written_is_compiled_anew() {
        let place = Place::new();
        place.load().await.unwrap();
        let whole = fs::read(place.file("cwasm")).unwrap();
        let tag = fs::read(place.file("tag")).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        let mut wrong_tag = tag.clone();
        wrong_tag[0] ^= 1;
        type Case<'a> = (&'static str, &'a [u8], Option<&'a [u8]>);
        let cases: [Case<'_>; 6] = [
            ("changed", &changed, Some(&tag)),
            ("cut", &whole[..whole.len() / 2], Some(&tag)),
            ("empty", &[], Some(&tag)),
            ("a wrong tag", &whole, Some(&wrong_tag)),
            ("a short tag", &whole, Some(&tag[..31])),
            ("no tag", &whole, None),
        ];
        for (what, code, tag) in cases {
            fs::write(place.file("cwasm"), code).unwrap();
            match tag {
                Some(tag) => fs::write(place.file("tag"), tag).unwrap(),
                None => fs::remove_file(place.file("tag")).unwrap(),
            }
            assert!(place.found().is_none(), "{what}");
            place.load().await.unwrap();
            assert_eq!(fs::read(place.file("cwasm")).unwrap(), whole, "{what}");
            assert!(place.found().is_some(), "{what}");
        }
    }

    /// A pair of another installation, or of another component of this one, fits no name here.
    #[tokio::test]
    async fn code_from_elsewhere_is_not_believed() {
        let (place, mut other) = (Place::new(), Place::new());
        place.load().await.unwrap();
        other.load().await.unwrap();
        for extension in ["cwasm", "tag"] {
            fs::copy(other.file(extension), place.file(extension)).unwrap();
        }
        assert!(place.found().is_none(), "another key");
        other.bytes = wat::parse_str("(component)").unwrap().into();
        other.dir = place.dir;
        other.load().await.unwrap();
        let one = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
        let one = Place { dir: other.dir, engine: other.engine.clone(), bytes: one.into() };
        let two = name(&one.engine, &other.bytes);
        for extension in ["cwasm", "tag"] {
            fs::copy(one.kept().folder.join(format!("{two}.{extension}")), one.file(extension)).unwrap();
        }
        assert!(one.found().is_none(), "another component");
    }

    #[tokio::test]
    async fn another_setting_of_the_engine_is_another_name() {
        let place = Place::new();
        let mut other = crate::engine::config(&Limits::default(), false);
        other.epoch_interruption(false);
        let other = Engine::new(&other).unwrap();
        assert_ne!(name(&place.engine, &place.bytes), name(&other, &place.bytes));
        let pooled = Engine::new(&crate::engine::config(&Limits { concurrent: 2, ..Limits::default() }, true)).unwrap();
        assert_eq!(name(&place.engine, &place.bytes), name(&pooled, &place.bytes), "the child's code loads here");
    }

    #[tokio::test]
    async fn without_a_folder_it_runs_all_the_same() {
        let place = Place::new();
        fs::write(place.kept().folder, "a file stands where the folder should be").unwrap();
        place.load().await.unwrap();
        let broken =
            Kept { folder: place.dir.path().join("more"), program: Some("/nowhere/frontdesk".into()), most: MOST };
        let fault = Compiling::Kept(broken).load(&place.engine, &place.bytes, &Limits::default()).await;
        assert!(matches!(fault, Err(Fault::Host(_))), "a child that cannot be started is our trouble");
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_goes_first() {
        let mut place = Place::new();
        let mut files = vec![];
        for n in 0..3 {
            place.bytes = wat::parse_str(format!("(component (core module (func (export \"f{n}\"))))")).unwrap().into();
            place.load().await.unwrap();
            files.push(place.file("cwasm"));
        }
        let old = |file: &Path, hours: u64| {
            let then = fs::metadata(file).unwrap().modified().unwrap() - Duration::from_secs(hours * 3600);
            OpenOptions::new().append(true).open(file).unwrap().set_modified(then).unwrap();
        };
        let [left, locked] = ["new-1-1", "lock-1"].map(|name| place.kept().folder.join(name));
        fs::write(&left, "half").unwrap();
        fs::write(&locked, "").unwrap();
        for (file, hours) in [(&files[0], 3), (&files[1], 2), (&files[2], 1), (&left, 2), (&locked, 2)] {
            old(file, hours);
        }
        // Loading the oldest is a use of it.
        place.bytes = wat::parse_str("(component (core module (func (export \"f0\"))))").unwrap().into();
        place.load().await.unwrap();
        let size = fs::metadata(&files[0]).unwrap().len();
        let last = name(&place.engine, b"");
        Folder::open(&place.kept().folder).unwrap().prune(&last, size * 2 + size / 2).unwrap();
        let there: Vec<bool> = files.iter().map(|file| file.exists()).collect();
        assert_eq!((there, left.exists(), locked.exists()), (vec![true, false, true], false, false));
        assert!(!files[1].with_extension("tag").exists() && place.found().is_some());
        let own = name(&place.engine, &place.bytes);
        Folder::open(&place.kept().folder).unwrap().prune(&own, 0).unwrap();
        assert!(files[0].exists() && !files[2].exists(), "what was just added stays");
    }

    #[tokio::test]
    async fn a_folder_or_key_that_others_may_open_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new();
        place.load().await.unwrap();
        let folder = place.kept().folder;
        for (path, open, closed) in [(folder.clone(), 0o750, 0o700), (folder.join(KEY), 0o640, 0o600)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = Folder::open(&folder).err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            place.load().await.expect("compiled all the same");
            fs::set_permissions(&path, fs::Permissions::from_mode(closed)).unwrap();
        }
        assert!(Folder::open(&folder).is_ok());
    }

    #[tokio::test]
    async fn who_compiles_holds_up_only_those_who_want_the_same() {
        let place = Place::new();
        let folder = Folder::open(&place.kept().folder).unwrap();
        let own = name(&place.engine, &place.bytes);
        let lock = folder.lock(&own).unwrap();
        let same = place.load();
        tokio::pin!(same);
        assert!(waits(&mut same).await);
        let bytes = wat::parse_str("(component (core module (func (export \"g\"))))").unwrap().into();
        Compiling::Kept(place.kept()).load(&place.engine, &bytes, &Limits::default()).await.unwrap();
        drop(lock);
        same.await.unwrap();
        assert!(place.found().is_some());
        let names = fs::read_dir(&place.kept().folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_str().unwrap().starts_with(LOCK)), "no lock stays");
    }

    /// Whether it waits still after it has looked several times.
    async fn waits(waiting: &mut (impl Future + Unpin)) -> bool {
        tokio::time::timeout(PAUSE * 3, waiting).await.is_err()
    }
}
