//! Where a component's machine code comes from: out of a folder of our own, or compiled and put there.
//!
//! Compiled code is native code that runs in this process, so a file is believed only when its tag fits: a
//! keyed hash over its name and content, by a key that only this installation has. The name is the hash of the
//! component's bytes, the engine's settings, wasmtime's version and the processor's features; whatever of them
//! changes leads to another name. Invariants: nothing is loaded but the file whose tag was checked just before; a file
//! that is damaged, foreign or of another key is compiled anew and replaced; a folder or key that another user
//! owns or may open is not used, and no tool has a file system to reach it with; what was not used for longest
//! goes when the folder is over its bound.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    hash::{Hash, Hasher},
    io::{ErrorKind, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
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

/// A component's bytes, hashed once on their way in.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    pub(crate) bytes: bytes::Bytes,
    /// BLAKE3.
    pub(crate) hash: blake3::Hash,
}

impl Hashed {
    pub(crate) fn new(bytes: bytes::Bytes) -> Self {
        Self { hash: blake3::hash(&bytes), bytes }
    }
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
/// Few write a file, or compile one, for this long: what is older was most likely left by a process that ended, and who goes
/// on all the same loses a lock, so that the same is compiled twice.
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
        bytes: &Hashed,
        limits: &Limits,
    ) -> Result<Option<Component>, Fault> {
        let Self::Kept(kept) = self else { return Ok(None) };
        let (at, own, all, limits) = (kept.folder.clone(), engine.clone(), bytes.clone(), *limits);
        blocking(move || {
            admission::check(&all.bytes, &limits)?;
            // That it cannot be opened is said by whoever wants to put something there.
            Ok(Folder::open(&at).ok().and_then(|folder| folder.read(&own, &name(&own, &all.hash))))
        })
        .await?
    }

    /// The component's code, loaded.
    ///
    /// # Errors
    /// [`Fault::NotAComponent`], [`Fault::NotATool`] or [`Fault::Limit`]; [`Fault::Host`] where the child cannot be
    /// started.
    pub(crate) async fn load(&self, engine: &Engine, bytes: &Hashed, limits: &Limits) -> Result<Component, Fault> {
        let (own, all, limits) = (engine.clone(), bytes.clone(), *limits);
        let kept = match self {
            Self::Here => {
                return blocking(move || {
                    admission::check(&all.bytes, &limits)?;
                    Component::new(&own, &all.bytes).map_err(|e| Fault::NotATool(reason(&e)))
                })
                .await?;
            }
            Self::Kept(kept) => kept.clone(),
        };
        let opened = {
            let at = kept.folder.clone();
            blocking(move || {
                admission::check(&all.bytes, &limits)?;
                let folder = Folder::open(&at).inspect_err(|error| {
                    let folder = at.display();
                    tracing::warn!(%error, %folder, "compiled tools cannot be kept; compiling them at each start");
                });
                Ok::<_, Fault>(folder.ok().map(|folder| (folder, name(&own, &all.hash))))
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
            Some(program) => compile::in_child(program, &bytes.bytes, &limits).await?,
            None => {
                let (own, all) = (engine.clone(), bytes.clone());
                blocking(move || own.precompile_component(&all.bytes))
                    .await?
                    .map_err(|e| Fault::NotATool(reason(&e)))?
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
/// new one meanwhile, so the same may be compiled more than once.
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
    fn tag(&self, name: &str, content: impl Read) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(b"\0");
        Ok(hasher.update_reader(content)?.finalize())
    }

    /// The code, mapped into memory, where it is there and ours.
    fn read(&self, engine: &Engine, name: &str) -> Option<Component> {
        self.checked(name)?.load(engine)
    }

    /// The file, held open, where it is as it was written.
    fn checked(&self, name: &str) -> Option<Checked> {
        let path = self.code(name);
        let mut file = File::open(&path).ok()?;
        // A name for what the descriptor leads to, so that it can be mapped. Where there is none, as without `/proc`, the
        // whole is read into memory; many may be loaded at a time.
        let same = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut content = vec![];
        let found = if same.exists() {
            self.tag(name, &file).ok()?
        } else {
            file.read_to_end(&mut content).ok()?;
            self.tag(name, &content[..]).ok()?
        };
        let tag: [u8; blake3::OUT_LEN] = fs::read(self.tag_at(name)).ok()?.try_into().ok()?;
        // Compares in constant time.
        if found != blake3::Hash::from_bytes(tag) {
            tracing::warn!(file = %path.display(), "a compiled tool is not as it was written; compiling it anew");
            return None;
        }
        Some(Checked { path, file, same, content })
    }

    /// Each file is whole under its name or not there; the tag comes last.
    fn write(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        self.replace(&self.code(name), code)?;
        self.replace(&self.tag_at(name), self.tag(name, code)?.as_bytes())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Processes in containers of their own that share the folder have one number.
        let mut own = [0; 8];
        getrandom::fill(&mut own).map_err(|e| std::io::Error::other(e.to_string()))?;
        let temporary = self.at.join(format!("{NEW}{:016x}-{count}", u64::from_le_bytes(own)));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(temporary, path)
    }
}

/// A file whose tag fitted.
struct Checked {
    path: PathBuf,
    file: File,
    /// What leads to this very file, where anything does.
    same: PathBuf,
    /// Else its content.
    content: Vec<u8>,
}

impl Checked {
    /// Of this very file, whatever stands under its name by now.
    #[allow(unsafe_code)]
    fn load(self, engine: &Engine) -> Option<Component> {
        let Self { path, file, same, content } = self;
        // SAFETY: the bytes are what this installation's compiler gave: their tag was made with its key, over what was read
        // of this file. Files here are made under a name of their own, renamed when they are whole and never written again
        // (`replace`), and the folder belongs to this user alone, who could as well change this program.
        let loaded = unsafe {
            if content.is_empty() {
                Component::deserialize_file(engine, same)
            } else {
                Component::deserialize(engine, content)
            }
        };
        if let Err(error) = used_now(&file) {
            tracing::debug!(%error, file = %path.display(), "when a compiled tool was used cannot be noted");
        }
        loaded.inspect_err(|error| tracing::warn!(%error, file = %path.display(), "a compiled tool does not load")).ok()
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
fn used_now(file: &File) -> std::io::Result<()> {
    file.set_modified(SystemTime::now())
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

/// Which code this is: of the bytes of this hash, for this engine on this machine.
fn name(engine: &Engine, bytes: &blake3::Hash) -> String {
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
    digest.0.update(bytes.as_bytes());
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
mod tests;
