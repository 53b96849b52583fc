//! A root file system that the platform put on the worker, in the place of the machine's own.
//!
//! What is at its top is shown read-only, entry by entry, since a sandbox has its own `/dev`, `/proc`, `/tmp` and some
//! files below `/etc`. The programs of ours that a step may call were made for this machine: they are started by its
//! own loader with its own libraries, which lie beside them, whatever the runtime has.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::super::places::INSTALLER;
use super::super::runtimes::{COVERED, OWN};
use super::rootfs::{CLIENT_DIRECTORY, Copy, Part, Source, device_parts};
use super::sys;

/// Where our programs and what they need lie in a sandbox with a runtime.
const KIT: &str = "/opt/tenantry/host";
/// The machine's certificates there; the installer's script names it.
const TRUSTED: &str = "certificates.pem";
/// Files below `/etc` that the sandbox writes itself.
const WRITTEN_ETC: [&str; 5] = ["passwd", "group", "hosts", "nsswitch.conf", "host.conf"];
/// Those of them that every step needs.
const NEEDED_ETC: [&str; 3] = ["passwd", "group", "hosts"];
/// The file below `/etc` by which a runtime would load its own code into programs of ours, which raise walls.
const PRELOAD: &str = "ld.so.preload";
/// Where machines keep the certificates that they trust, in one file; the first that is there is shown to the installer.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];
/// Libraries that the installer needs beside those of this program, where the machine's C library has them apart.
const BESIDE: [&str; 5] = ["libgcc_s.so.1", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"];

/// What programs of ours are started with.
#[derive(Clone, Debug, Default)]
pub(super) struct Kit {
    /// The name of the loader; `None` where this program needs none.
    loader: Option<String>,
    /// The name by which each file is looked for, and where it lies on this machine.
    files: Vec<(String, PathBuf)>,
}

impl Kit {
    /// Finds out what this very program was started with.
    pub(super) fn of_this_program() -> Self {
        let named = |path: &Path| -> Option<String> { Some(path.file_name()?.to_str()?.to_owned()) };
        let mut kit = Self::default();
        let objects = sys::loaded_objects();
        let directories: Vec<&Path> = objects.iter().filter_map(|path| path.parent()).collect();
        let beside = directories.iter().flat_map(|directory| BESIDE.map(|name| directory.join(name)));
        let all: Vec<PathBuf> = objects.iter().cloned().chain(beside).collect();
        for path in all {
            let (Some(name), Ok(place)) = (named(&path), std::fs::canonicalize(&path)) else { continue };
            if kit.files.iter().all(|(known, _)| *known != name) {
                if name.starts_with("ld-") || name.starts_with("ld.") {
                    kit.loader = Some(name.clone());
                }
                kit.files.push((name, place));
            }
        }
        if kit.loader.is_none() {
            kit.files.clear();
        }
        // Indexes are the platform's to trust, whatever the runtime knows of the world.
        let certificates = CERTIFICATES.iter().find_map(|place| std::fs::canonicalize(place).ok());
        kit.files.extend(certificates.map(|place| (TRUSTED.to_owned(), place)));
        kit
    }

    /// The words that start a program of the kit.
    pub(super) fn command(&self, program: &str) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(loader) = &self.loader {
            words.extend([format!("{KIT}/{loader}"), "--inhibit-cache".into(), "--library-path".into()]);
            words.push(KIT.to_owned());
        }
        words.push(format!("{KIT}/{program}"));
        words
    }

    /// A script that becomes the program of the kit that it is called like.
    fn door(&self) -> Vec<u8> {
        let mut text = "#!/bin/sh\nexec".to_owned();
        for word in self.command("\"${0##*/}\"") {
            // A quote belongs to the name that the shell puts together, and to nothing else.
            let _ = write!(text, " {word}");
        }
        text.push_str(" \"$@\"\n");
        text.into_bytes()
    }
}

/// Where things of the machine lie for whoever lays out a root.
pub(super) struct Sources<'a> {
    /// This program.
    pub(super) program: &'a Path,
    /// What installs packages; `None` where there is none.
    pub(super) installer: Option<&'a Path>,
    /// Before every path of the kit's files and of the devices.
    pub(super) machine: &'a Path,
    /// A directory with the files below `/etc` that the sandbox writes itself, to be shown over those of the runtime;
    /// `None` where they are written beside.
    pub(super) etc: Option<&'a Path>,
}

/// Everything that the root of a sandbox is made of: what it shows of the runtime below `tree`, the devices, and the kit.
///
/// # Errors
/// What cannot be read.
pub(super) fn parts(tree: &Path, kit: &Kit, sources: &Sources<'_>) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for name in names(tree)? {
        let opened = ["etc", "opt"].contains(&name.as_str()) && is_directory(&tree.join(&name));
        if COVERED.contains(&name.as_str()) || (["etc", "opt"].contains(&name.as_str()) && !opened) {
            continue;
        }
        if !opened {
            show(tree, Path::new(&name), &mut parts)?;
            continue;
        }
        // One mount in place of one for each of its entries, which are many.
        if let Some(etc) = sources.etc.filter(|_| name == "etc" && has_all(tree)) {
            show(tree, Path::new(&name), &mut parts)?;
            let both = WRITTEN_ETC.iter().filter(|name| is_file(&tree.join("etc").join(name)));
            parts.extend(both.map(|name| Part {
                place: Path::new("/etc").join(name),
                source: Source::Tree(etc.join(name)),
            }));
            continue;
        }
        for inner in names(&tree.join(&name))? {
            let place = Path::new(&name).join(&inner);
            let covered = name == "etc" && (WRITTEN_ETC.contains(&inner.as_str()) || inner == PRELOAD);
            if !covered && place != Path::new(OWN) {
                show(tree, &place, &mut parts)?;
            }
        }
    }
    let machine = |path: &Path| sources.machine.join(path.strip_prefix("/").unwrap_or(path));
    for Part { place, source } in device_parts() {
        let source = match source {
            Source::Device(path) => Source::Device(machine(&path)),
            source => source,
        };
        parts.push(Part { place, source });
    }
    let mut add = |name: &str, from: PathBuf| {
        parts.push(Part { place: Path::new(KIT).join(name), source: Source::Tree(from) });
    };
    for (name, place) in &kit.files {
        add(name, machine(place));
    }
    add("tenantry", sources.program.to_owned());
    if let Some(installer) = sources.installer {
        add("uv", installer.to_owned());
    }
    for name in ["tenantry-secret", "tenantry-output"] {
        parts.push(Part { place: Path::new(KIT).join(name), source: Source::Link("tenantry".into()) });
        parts.push(Part {
            place: Path::new(CLIENT_DIRECTORY).join(name),
            source: Source::Link("tenantry".into()),
        });
    }
    Ok(parts)
}

/// Small files that are written anew in such a root.
pub(super) fn copies(kit: &Kit, installer: bool) -> Vec<Copy> {
    let door = |place: &str| Copy { place: place.into(), content: kit.door(), executable: true };
    let client = door(&format!("{CLIENT_DIRECTORY}/tenantry"));
    [client].into_iter().chain(installer.then(|| door(INSTALLER))).collect()
}

/// The names in a directory that are text, in order; others nobody can ask for in a script that is text.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a runtime's `/etc` has a file in every place where a step needs the sandbox's own, and nothing that must not be
/// seen.
fn has_all(tree: &Path) -> bool {
    std::fs::symlink_metadata(tree.join("etc").join(PRELOAD)).is_err()
        && NEEDED_ETC.iter().all(|name| is_file(&tree.join("etc").join(name)))
}

fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Shows one entry of the runtime as it is: a link as a link, the rest by a mount.
fn show(tree: &Path, place: &Path, parts: &mut Vec<Part>) -> io::Result<()> {
    let from = tree.join(place);
    let found = std::fs::symlink_metadata(&from)?;
    let source =
        if found.is_symlink() { Source::Link(std::fs::read_link(&from)?) } else { Source::Tree(from) };
    parts.push(Part { place: Path::new("/").join(place), source });
    Ok(())
}
