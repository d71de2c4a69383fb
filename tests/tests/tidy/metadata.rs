//! What `cargo metadata` says about the workspace and everything below it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ lies in the workspace").to_owned()
}

/// One package of the resolved graph.
#[derive(Debug)]
pub(crate) struct Package {
    /// Name.
    pub(crate) name: String,
    /// Licence expression, if it states one.
    pub(crate) licence: Option<String>,
    /// Whether it is ours.
    pub(crate) ours: bool,
    /// Ids of what it needs outside its tests.
    pub(crate) needs: BTreeSet<String>,
}

/// All packages by id, for the machine that runs the test.
pub(crate) fn packages() -> &'static BTreeMap<String, Package> {
    static PACKAGES: OnceLock<BTreeMap<String, Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let all = read();
        let members: BTreeSet<_> = texts(&all["workspace_members"]).collect();
        let mut packages = BTreeMap::new();
        for package in array(&all["packages"]) {
            let id = text(&package["id"]);
            packages.insert(
                id.clone(),
                Package {
                    name: text(&package["name"]),
                    licence: package["license"].as_str().map(str::to_owned),
                    ours: members.contains(&id),
                    needs: BTreeSet::new(),
                },
            );
        }
        for node in array(&all["resolve"]["nodes"]) {
            let normal = array(&node["deps"]).filter(|dep| {
                // `kind` is null for what the library itself needs, else "dev" or "build".
                array(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null())
            });
            let needs = normal.map(|dep| text(&dep["pkg"])).collect();
            let package = packages.get_mut(&text(&node["id"]));
            package.expect("every node is a package").needs = needs;
        }
        packages
    })
}

/// Our crate of that name.
pub(crate) fn ours(name: &str) -> Option<&'static Package> {
    packages().values().find(|package| package.ours && package.name == name)
}

/// Names of what a crate needs directly.
pub(crate) fn direct(package: &Package) -> BTreeSet<&'static str> {
    package.needs.iter().map(|id| packages()[id].name.as_str()).collect()
}

/// Names of all that a crate needs, at any distance.
pub(crate) fn reachable(package: &Package) -> BTreeSet<&'static str> {
    let mut open: Vec<_> = package.needs.iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(&packages()[id].needs);
        }
    }
    seen.into_iter().map(|id| packages()[id].name.as_str()).collect()
}

fn read() -> Value {
    // Only what this kind of machine compiles: the rest was never downloaded.
    let host = run(Command::new("rustc").arg("-vV"));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names it");
    let json = run(Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--filter-platform", host])
        .current_dir(root()));
    serde_json::from_str(&json).expect("cargo writes JSON")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    array(value).map(text)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
