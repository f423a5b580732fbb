//! Kept machine code: what is believed of it, and what is not.

use super::*;

fn named(engine: &Engine, bytes: &[u8]) -> String {
    name(engine, &blake3::hash(bytes))
}

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
        Compiling::Kept(self.kept()).load(&self.engine, &Hashed::new(self.bytes.clone()), &Limits::default()).await
    }

    /// What would be loaded without compiling.
    fn found(&self) -> Option<Component> {
        Folder::open(&self.kept().folder).unwrap().read(&self.engine, &named(&self.engine, &self.bytes))
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.kept().folder.join(format!("{}.{extension}", named(&self.engine, &self.bytes)))
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

/// Another component's code, with its own tag, is put in its place when it was checked and is not yet loaded.
#[tokio::test]
async fn what_was_checked_is_loaded_though_another_file_has_its_name_by_now() {
    let mut place = Place::new();
    place.load().await.unwrap();
    let (folder, checked) = (Folder::open(&place.kept().folder).unwrap(), place.file("cwasm"));
    let own = named(&place.engine, &place.bytes);
    place.bytes = wat::parse_str("(component (core module $m) (export \"other\" (core module $m)))").unwrap().into();
    place.load().await.unwrap();
    let exports = |code: &Component| code.component_type().exports(&place.engine).count();
    assert_eq!(exports(&place.found().unwrap()), 1);
    let held = folder.checked(&own).unwrap();
    fs::rename(place.file("cwasm"), &checked).unwrap();
    assert_eq!(exports(&held.load(&place.engine).unwrap()), 0);
    assert!(folder.checked(&own).is_none(), "under this name it is not believed");
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
    let two = named(&one.engine, &other.bytes);
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
    assert_ne!(named(&place.engine, &place.bytes), named(&other, &place.bytes));
    let pooled = Engine::new(&crate::engine::config(&Limits { concurrent: 2, ..Limits::default() }, true)).unwrap();
    assert_eq!(named(&place.engine, &place.bytes), named(&pooled, &place.bytes), "the child's code loads here");
}

#[tokio::test]
async fn without_a_folder_it_runs_all_the_same() {
    let place = Place::new();
    fs::write(place.kept().folder, "a file stands where the folder should be").unwrap();
    place.load().await.unwrap();
    let broken = Kept { folder: place.dir.path().join("more"), program: Some("/nowhere/frontdesk".into()), most: MOST };
    let fault =
        Compiling::Kept(broken).load(&place.engine, &Hashed::new(place.bytes.clone()), &Limits::default()).await;
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
    let last = named(&place.engine, b"");
    Folder::open(&place.kept().folder).unwrap().prune(&last, size * 2 + size / 2).unwrap();
    let there: Vec<bool> = files.iter().map(|file| file.exists()).collect();
    assert_eq!((there, left.exists(), locked.exists()), (vec![true, false, true], false, false));
    assert!(!files[1].with_extension("tag").exists() && place.found().is_some());
    let own = named(&place.engine, &place.bytes);
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
    let own = named(&place.engine, &place.bytes);
    let lock = folder.lock(&own).unwrap();
    let same = place.load();
    tokio::pin!(same);
    assert!(waits(&mut same).await);
    let bytes = wat::parse_str("(component (core module (func (export \"g\"))))").unwrap().into();
    Compiling::Kept(place.kept()).load(&place.engine, &Hashed::new(bytes), &Limits::default()).await.unwrap();
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
