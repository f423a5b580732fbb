//! Where a component's machine code comes from: out of a folder of our own, or compiled and put there.
//!
//! Compiled code is native code that runs in this process, so a file is believed only when its tag fits: a
//! keyed hash over its name and content, by a key that only this installation has. The name is the hash of the
//! component's bytes, the engine's settings, wasmtime's version and the processor's features; whatever of them
//! changes leads to another name. Invariants: nothing is loaded whose tag was not checked just before; a file
//! that is damaged, foreign or of another key is compiled anew and replaced; the folder is private to this
//! user, and no tool has a file system to reach it with.

use std::{
    fs::{self, File, OpenOptions},
    hash::{Hash, Hasher},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
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
}

/// Files of the folder.
const KEY: &str = "key";
const LOCK: &str = "lock";

impl Compiling {
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
            let kept = kept.clone();
            // Whoever compiles holds the folder: another process that wants the same code finds it then.
            blocking(move || {
                admission::check(&all, &limits)?;
                let name = name(&own, &all);
                let folder = Folder::open(&kept.folder).inspect_err(|error| {
                    let folder = kept.folder.display();
                    tracing::warn!(%error, %folder, "compiled tools cannot be kept; compiling them at each start");
                });
                let Ok(folder) = folder else { return Ok::<_, Fault>(Opened::Nowhere) };
                if let Some(code) = folder.read(&own, &name) {
                    return Ok(Opened::Found(code));
                }
                let lock = folder.lock();
                Ok(match folder.read(&own, &name) {
                    Some(code) => Opened::Found(code),
                    None => Opened::Missing { folder, name, lock },
                })
            })
            .await??
        };
        let place = match opened {
            Opened::Found(code) => return Ok(code),
            Opened::Missing { folder, name, lock } => Some((folder, name, lock)),
            Opened::Nowhere => None,
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

enum Opened {
    Found(Component),
    Missing { folder: Folder, name: String, lock: Option<File> },
    Nowhere,
}

struct Folder {
    at: PathBuf,
    key: Arc<[u8; blake3::KEY_LEN]>,
}

impl Folder {
    fn open(at: &Path) -> std::io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(at)?;
        let path = at.join(KEY);
        let key = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                draw_key(at)?;
                fs::read(&path)?
            }
            read => read?,
        };
        let key = key.try_into().map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "the key has a wrong length"));
        Ok(Self { at: at.to_owned(), key: Arc::new(key?) })
    }

    /// None where the file system has no locks: then a component may be compiled twice.
    fn lock(&self) -> Option<File> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.at.join(LOCK)).ok()?;
        file.lock().ok()?;
        Some(file)
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
        loaded.inspect_err(|error| tracing::warn!(%error, file = %path.display(), "a compiled tool does not load")).ok()
    }

    /// Each file is whole under its name or not there; the tag comes last.
    fn write(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        self.replace(&self.code(name), code)?;
        self.replace(&self.tag_at(name), self.tag(name, code).as_bytes())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        let temporary = self.at.join(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(temporary, path)
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
            Kept { folder: self.dir.path().join("code"), program: None }
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
        let broken = Kept { folder: place.dir.path().join("more"), program: Some("/nowhere/frontdesk".into()) };
        let fault = Compiling::Kept(broken).load(&place.engine, &place.bytes, &Limits::default()).await;
        assert!(matches!(fault, Err(Fault::Host(_))), "a child that cannot be started is our trouble");
    }
}
