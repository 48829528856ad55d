//! Which file of `src` uses which. There is no circle, so that each file can be read after those that it
//! uses. `mod.rs` is the page and the face of a folder, for those outside: the files of the folder import
//! a thing from the file that defines it. A test finds both, with the tests of `src` left out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

#[test]
fn no_file_of_src_uses_itself_by_way_of_others() {
    let circles = circles(&Sources::read(&source()).uses());
    assert!(circles.is_empty(), "circles of imports in src:\n{}", circles.join("\n"));
}

#[test]
fn files_of_a_folder_import_from_the_file_that_defines_a_thing() {
    let detours = Sources::read(&source()).detours();
    assert!(detours.is_empty(), "imports by way of a face:\n{}", detours.join("\n"));
}

#[test]
fn circle_is_told_in_words() {
    let sources = Sources::of(&[
        ("ring/mod", "mod first; mod second; mod third;"),
        ("ring/first", "use super::second::{self, B as C}; pub struct A(C);"),
        ("ring/second", "pub struct B; fn b() { super::third::c(); }"),
        ("ring/third", "use crate::ring::first::A; pub fn c() {}"),
        ("ring/user", "use super::first::A; #[cfg(test)] mod tests { use super::super::user::X; }"),
    ]);
    let words = "ring/first uses ring/second (B), ring/second uses ring/third (c), \
        ring/third uses ring/first (A)";
    assert_eq!(circles(&sources.uses()), [words]);
}

#[test]
fn what_a_face_hands_on_is_used_where_it_is_defined() {
    let sources = Sources::of(&[
        ("lib", "mod ring; mod user; pub use ring::*;"),
        (
            "ring/mod",
            "mod child; mod other; pub use child::{Child, deep::Deep}; pub type Number = u32;",
        ),
        ("ring/child", "use super::Number; pub mod deep { pub struct Deep; }"),
        ("ring/other", "use super::Child; fn other(_: crate::ring::Deep) {}"),
        ("user", "use crate::ring::{Child, Number}; fn user() { std::mem::take(); crate::Child; }"),
    ]);
    assert_eq!(
        sources.detours(),
        [
            "ring/child takes Number from ring/mod",
            "ring/other takes Child from ring/mod, but ring/child defines it",
            "ring/other takes Deep from ring/mod, but ring/child defines it",
            "user takes Child from lib, but ring/child defines it",
        ]
    );
    let uses = sources.uses();
    let used: Vec<&str> = uses["user"].keys().map(String::as_str).collect();
    assert_eq!(used, ["ring/child", "ring/mod"]);
}

/// The files of a tree by their modules, as `load/tally`, or `load/mod` for the face of a folder.
struct Sources(BTreeMap<String, File>);

/// What a file says of others.
#[derive(Default)]
struct File {
    /// Paths that its code takes something by, each from the root of the crate.
    paths: BTreeSet<Vec<String>>,
    /// What it hands on to its users: the name, and where that comes from.
    faces: BTreeMap<String, Vec<String>>,
}

/// Which file uses which, and one thing for which it does so.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

impl Sources {
    fn read(directory: &Path) -> Sources {
        let module = |path: &PathBuf| {
            path.strip_prefix(directory).unwrap().with_extension("").display().to_string()
        };
        let texts: Vec<(String, String)> = rust_files(directory)
            .iter()
            .map(|path| (module(path), fs::read_to_string(path).unwrap()))
            .collect();
        let texts: Vec<_> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Sources::of(&texts)
    }

    fn of(texts: &[(&str, &str)]) -> Sources {
        let names: BTreeSet<&str> = texts.iter().map(|(name, _)| *name).collect();
        let read = |(name, text): &(&str, &str)| (name.to_string(), File::of(name, text, &names));
        Sources(texts.iter().map(read).collect())
    }

    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (name, file) in &self.0 {
            let targets = file.paths.iter().filter_map(|path| self.definer(path));
            let others = targets.filter(|(target, _)| target != name);
            uses.entry(name.clone()).or_default().extend(others);
        }
        uses
    }

    /// Where a file takes a thing from the face of a folder that the file stands in.
    fn detours(&self) -> Vec<String> {
        let mut detours = Vec::new();
        for (name, file) in &self.0 {
            for path in &file.paths {
                let Some((face, thing)) = self.module(path) else { continue };
                let folder = face.strip_suffix("mod").or((face == "lib").then_some(""));
                let is_own = folder.is_some_and(|folder| name.starts_with(folder));
                let Some((definer, _)) = self.definer(path).filter(|_| is_own) else { continue };
                let hint = format!(", but {definer} defines it");
                let hint = if definer == face { "" } else { &hint };
                if face != *name {
                    detours.push(format!("{name} takes {thing} from {face}{hint}"));
                }
            }
        }
        detours
    }

    /// The file that defines what a path leads to, and its name; none for what is not in the tree.
    fn definer(&self, path: &[String]) -> Option<(String, String)> {
        let (module, thing) = self.module(path)?;
        let faces = &self.0[&module].faces;
        let all = || Some([&faces.get("*")?[..], std::slice::from_ref(&thing)].concat());
        match faces.get(&thing).cloned().or_else(all) {
            Some(source) => self.definer(&source),
            None => Some((module, thing)),
        }
    }

    /// The last module that a path passes, and the thing that it takes from there.
    fn module(&self, path: &[String]) -> Option<(String, String)> {
        (0..=path.len()).rev().find_map(|length| {
            let module = module_of(&path[..length], |name| self.0.contains_key(name))?;
            Some((module, path.get(length).or(path.last())?.clone()))
        })
    }
}

impl File {
    fn of(name: &str, text: &str, modules: &BTreeSet<&str>) -> File {
        let tree = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let place = match name.strip_suffix("mod").unwrap_or(name) {
            "lib" | "main" => "",
            place => place,
        };
        let place = place.split_terminator('/').map(str::to_owned).collect();
        let mut reader = Reader { place, modules, file: File::default() };
        reader.visit_file(&tree);
        reader.file
    }
}

/// Walks through a file, and leaves its tests out.
struct Reader<'a> {
    place: Vec<String>,
    modules: &'a BTreeSet<&'a str>,
    file: File,
}

impl Reader<'_> {
    /// A path from the root; none for one that begins outside of the tree.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut place = self.place.clone();
        let ups =
            path.iter().take_while(|part| ["crate", "self", "super"].contains(&part.as_str()));
        let ups = ups.count();
        for part in &path[..ups] {
            match part.as_str() {
                "crate" => place.clear(),
                "super" => drop(place.pop()),
                _ => {}
            }
        }
        place.extend(path[ups..].iter().cloned());
        let is_here = ups > 0
            || module_of(&place[..=self.place.len()], |name| self.modules.contains(name)).is_some();
        (path.len() > ups && is_here).then_some(place)
    }

    /// Each path of a `use`, and the name that it has here.
    fn leaves(tree: &syn::UseTree, path: &[String], found: &mut Vec<(String, Vec<String>)>) {
        let with = |name: &syn::Ident| [path, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(part) => Reader::leaves(&part.tree, &with(&part.ident), found),
            syn::UseTree::Name(name) if name.ident == "self" => {
                found.push((path.last().unwrap().clone(), path.to_vec()));
            }
            syn::UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
            syn::UseTree::Rename(name) => found.push((name.rename.to_string(), with(&name.ident))),
            syn::UseTree::Glob(_) => found.push(("*".into(), path.to_vec())),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| Reader::leaves(tree, path, found));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg") && {
                let condition = attribute.parse_args::<syn::Ident>();
                condition.is_ok_and(|condition| condition == "test" || condition == "doctest")
            }
        };
        if !item.attrs.iter().any(is_test) {
            self.place.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.place.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        Reader::leaves(&item.tree, &[], &mut found);
        for (name, path) in found {
            let Some(path) = self.absolute(&path) else { continue };
            match item.vis {
                syn::Visibility::Inherited => drop(self.file.paths.insert(path)),
                _ => drop(self.file.faces.insert(name, path)),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1
            && let Some(path) = self.absolute(&parts)
        {
            self.file.paths.insert(path);
        }
        visit::visit_path(self, path);
    }
}

/// The file of a module, if a path leads to one.
fn module_of(path: &[String], exists: impl Fn(&str) -> bool) -> Option<String> {
    let file = path.join("/");
    let face = if file.is_empty() { "lib".to_owned() } else { format!("{file}/mod") };
    [file, face].into_iter().find(|name| exists(name))
}

/// The shortest circle through each file that stands in one, if not yet told, in words.
fn circles(uses: &Uses) -> Vec<String> {
    let mut told: BTreeSet<&String> = BTreeSet::new();
    let mut circles = Vec::new();
    for start in uses.keys() {
        if told.contains(start) {
            continue;
        }
        let Some(circle) = way(uses, start, start) else { continue };
        told.extend(&circle);
        let steps = circle.iter().zip(circle.iter().skip(1));
        let words =
            steps.map(|(user, used)| format!("{user} uses {used} ({})", uses[*user][*used]));
        circles.push(words.collect::<Vec<_>>().join(", "));
    }
    circles
}

/// The shortest way from a file to another by what files use, or back to it.
fn way<'a>(uses: &'a Uses, from: &'a String, to: &String) -> Option<Vec<&'a String>> {
    let mut queue = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        for next in uses.get(way[way.len() - 1]).into_iter().flat_map(BTreeMap::keys) {
            let longer = [way.as_slice(), &[next]].concat();
            if next == to {
                return Some(longer);
            }
            if seen.insert(next) {
                queue.push_back(longer);
            }
        }
    }
    None
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}
