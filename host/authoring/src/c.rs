//! C: bindings are generated here, `zig cc` compiles them with the SDK and the project's `src/*.c`.

use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;

use crate::build::BuildError;
use crate::component;
use crate::project::Project;
use crate::tools::{self, Tool};
use crate::wasi_http;

const ZIG: Tool =
    Tool { program: "zig", purpose: "compiles C to WebAssembly", install: "pip install ziglang==0.17.1" };

/// The stack is part of every instance from its start; without a word from us it would be 16 MiB.
const STACK: &str = "-Wl,-z,stack-size=262144";

/// What is a mistake in C, and no trap in WebAssembly, where NULL is an address like any other: it is one then, and so is told with its
/// place. Costs some hundred bytes.
const TRAPS: [&str; 2] = ["-fsanitize=null,bounds", "-fsanitize-trap=all"];

/// Makes the project's component at `out`, and answers the warnings.
pub(crate) fn build(project: &Project, out: &Path) -> Result<String, BuildError> {
    let bindings = generate(project)?;
    let module = project.scratch().join("module.wasm");
    let mut zig = ZIG.on_path_or_python("ziglang")?;
    zig.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-std=c11", "-O2", "-g", STACK])
        .args(TRAPS)
        .args(["-Wall", "-Wextra", "-Werror=implicit-function-declaration"])
        .arg("-I")
        .arg(&bindings)
        .arg("-I")
        .arg(&project.sdk)
        .args(
            project
                .exports
                .iter()
                .map(|export| format!("-DWK_{}", export.as_str().replace('-', "_").to_uppercase())),
        )
        .args(wasi_http::is_wanted(project).then_some("-DWK_HTTP"))
        .args(sources(&project.dir.join("src"))?)
        .args(sources(&project.sdk.join("src"))?)
        .args(sources(&bindings)?)
        .arg(bindings.join("plugin_component_type.o"))
        .arg("-o")
        .arg(&module)
        .current_dir(&project.dir);
    let said = tools::run(&mut zig).map_err(with_remedy)?;
    component::from_debug_module(project, &module, out)?;
    Ok(said.warnings)
}

/// The linker knows that a function isn't there, and not who wants it.
fn with_remedy(error: BuildError) -> BuildError {
    match error {
        BuildError::Failed { program, status, mut said } if said.contains("undefined symbol: plugin_") => {
            said.push_str(
                "\nplugin.yaml exports what has no such function: define it as watchkeeper.h says, or take the export out",
            );
            BuildError::Failed { program, status, said }
        }
        other => other,
    }
}

/// `plugin.h`, `plugin.c` and the object file with the component's type, for what the project exports.
fn generate(project: &Project) -> Result<PathBuf, BuildError> {
    let wit = component::write_world(project)?;
    let world = wasi_http::add_world(project, &wit, "wasi")?;
    let (mut resolve, world) = component::resolve_world(&wit, world)?;
    let mut files = Files::default();
    // The types' names begin with the world's, and the SDK knows one.
    let options =
        wit_bindgen_c::Opts { rename_world: Some(component::WORLD.to_owned()), ..Default::default() };
    let mut generator = options.build();
    generator
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| BuildError::Component(format!("{}: {error:#}", wit.display())))?;
    component::write_files(&project.scratch().join("c"), &files)
}

/// The C files right in a folder, in the order of their names.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let unreadable = || BuildError::io(format!("{}: can't be read", folder.display()));
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
