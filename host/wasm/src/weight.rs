//! What a component takes of the host's own memory as soon as it is instantiated: a core instance holds a place for each of its
//! globals, functions and imports, which no limit of the engine's counts, and a component may make thousands of them.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Instance, Payload,
};

/// Bytes of all core instances of a component together. A whole Python takes half a million.
const MOST: u64 = 16 << 20;

/// What one of each takes, rounded up.
const INSTANCE: u64 = 1024;
const GLOBAL: u64 = 16;
const FUNCTION: u64 = 32;
const IMPORT: u64 = 40;

/// Judges it before it is compiled; what can't be read is the compiler's to refuse. What it takes; an error reads behind the file's
/// name.
pub(crate) fn check(component: &[u8]) -> Result<usize, String> {
    match of(component) {
        weight if weight > MOST => Err(format!(
            "takes {weight} bytes for the globals, functions and imports of its core instances; the most is {MOST}: \
             build it with fewer instances, or link its modules to one"
        )),
        weight => Ok(weight as usize),
    }
}

/// What is being read.
enum Open {
    Module(u64),
    Component(Space),
}

/// A component's modules and components by index, each with what an instance of it takes.
#[derive(Default)]
struct Space {
    modules: Vec<u64>,
    components: Vec<u64>,
    weight: u64,
}

/// The heaviest so far: taken for what is aliased, imported or exported, and isn't followed.
#[derive(Default)]
struct Heaviest {
    module: u64,
    component: u64,
}

fn of(component: &[u8]) -> u64 {
    let mut open = vec![Open::Component(Space::default())];
    let mut heaviest = Heaviest::default();
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { break };
        match payload {
            Payload::ModuleSection { .. } => open.push(Open::Module(INSTANCE)),
            Payload::ComponentSection { .. } => open.push(Open::Component(Space::default())),
            Payload::End(_) if open.len() > 1 => close(&mut open, &mut heaviest),
            payload => match open.last_mut() {
                Some(Open::Module(weight)) => *weight = weight.saturating_add(of_module(&payload)),
                Some(Open::Component(space)) => space.note(&payload, &heaviest),
                None => break,
            },
        }
    }
    match open.first() {
        Some(Open::Component(space)) => space.weight,
        _ => 0,
    }
}

fn close(open: &mut Vec<Open>, heaviest: &mut Heaviest) {
    let closed = open.pop();
    let Some(Open::Component(around)) = open.last_mut() else { return };
    match closed {
        Some(Open::Module(weight)) => {
            heaviest.module = heaviest.module.max(weight);
            around.modules.push(weight);
        }
        Some(Open::Component(space)) => {
            heaviest.component = heaviest.component.max(space.weight);
            around.components.push(space.weight);
        }
        None => {}
    }
}

fn of_module(payload: &Payload<'_>) -> u64 {
    match payload {
        Payload::GlobalSection(globals) => GLOBAL * u64::from(globals.count()),
        Payload::FunctionSection(functions) => FUNCTION * u64::from(functions.count()),
        Payload::ImportSection(imports) => IMPORT * imports.clone().into_imports().count() as u64,
        _ => 0,
    }
}

impl Space {
    fn note(&mut self, payload: &Payload<'_>, heaviest: &Heaviest) {
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances.clone().into_iter().flatten() {
                    if let Instance::Instantiate { module_index, .. } = instance {
                        self.add(self.modules.get(module_index as usize).copied().unwrap_or(heaviest.module));
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone().into_iter().flatten() {
                    if let ComponentInstance::Instantiate { component_index: index, .. } = instance {
                        self.add(self.components.get(index as usize).copied().unwrap_or(heaviest.component));
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone().into_iter().flatten() {
                    match alias {
                        ComponentAlias::InstanceExport { kind, .. } => self.name(kind, heaviest),
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } => {
                            self.modules.push(heaviest.module);
                        }
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, .. } => {
                            self.components.push(heaviest.component);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone().into_iter().flatten() {
                    match import.ty {
                        ComponentTypeRef::Module(_) => self.modules.push(heaviest.module),
                        ComponentTypeRef::Component(_) => self.components.push(heaviest.component),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone().into_iter().flatten() {
                    self.name(export.kind, heaviest);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, kind: ComponentExternalKind, heaviest: &Heaviest) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(heaviest.module),
            ComponentExternalKind::Component => self.components.push(heaviest.component),
            _ => {}
        }
    }

    fn add(&mut self, weight: u64) {
        self.weight = self.weight.saturating_add(weight);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn leb(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                bytes.push(byte);
                return bytes;
            }
            bytes.push(byte | 0x80);
        }
    }

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        [&[id][..], &leb(body.len()), body].concat()
    }

    /// With so many globals.
    fn module(globals: usize) -> Vec<u8> {
        let globals = [leb(globals), b"\x7e\x01\x42\x01\x0b".repeat(globals)].concat();
        section(1, &[b"\0asm\x01\0\0\0".to_vec(), section(6, &globals)].concat())
    }

    /// Of the core module with this index, so many times.
    fn instances(index: usize, times: usize) -> Vec<u8> {
        let one = [&[0][..], &leb(index), &[0]].concat();
        section(2, &[leb(times), one.repeat(times)].concat())
    }

    fn component(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
    }

    #[test]
    fn each_instance_weighs_what_its_module_does() {
        let light = component(&[module(10), module(1000), instances(0, 3), instances(1, 2)]);
        assert_eq!(of(&light), 3 * (INSTANCE + 10 * GLOBAL) + 2 * (INSTANCE + 1000 * GLOBAL));
        assert!(check(&light).is_ok());
        let heavy = component(&[module(10_000), instances(0, 200)]);
        assert!(check(&heavy).unwrap_err().contains("core instances"));
    }

    #[test]
    fn components_multiply() {
        // Ten instances of a component with ten instances of a component, and so on: eight levels of some bytes each.
        let mut nested = component(&[module(1), instances(0, 10)]);
        for _ in 0..8 {
            let inner = section(4, &nested);
            let ten = section(5, &[leb(10), b"\x00\x00\x00".repeat(10)].concat());
            nested = component(&[inner, ten]);
        }
        assert_eq!(of(&nested), 10_u64.pow(9) * (INSTANCE + GLOBAL));
        assert!(nested.len() < 1024);
        assert!(check(&nested).is_err());
    }

    #[test]
    fn what_is_not_followed_weighs_as_the_heaviest() {
        // An alias of the component's own first module, by its second index.
        let alias = section(6, &[1, 0x00, 0x11, 0x02, 0, 0]);
        let aliased = component(&[module(100), alias, instances(1, 4)]);
        assert_eq!(of(&aliased), 4 * (INSTANCE + 100 * GLOBAL));
    }

    #[test]
    fn toolchains_output_is_light() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/frozen/v0.1.0");
        let mut files = 0;
        let mut folders = vec![std::path::PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "wasm") {
                    let weight = of(&std::fs::read(&path).unwrap());
                    assert!((INSTANCE..MOST / 8).contains(&weight), "{}: {weight}", path.display());
                    files += 1;
                }
            }
        }
        assert!(files > 0);
    }
}
