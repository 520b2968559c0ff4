//! Where in the author's code a module's instructions come from, so that a trap can be told with its place.
//!
//! A compiler says it as DWARF, which is several times as large as the code, and much for a host to read of a file that it doesn't
//! trust. What is kept of it is some kilobytes: the functions of project and SDK by name, and the lines of the project's own files. They
//! are a custom section of the component, which `host/wasm/src/places.rs` reads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gimli::{Dwarf, EndianSlice, LittleEndian};
use serde_json::json;
use wasm_encoder::{Module, RawSection};
use wasmparser::{BinaryReaderError, KnownCustom, Name, NameSectionReader, Parser, Payload, TypeRef};

use crate::project::Project;

/// The custom section whose contents are these places, as JSON.
pub(crate) const SECTION: &str = "watchkeeper:places";

/// What a host reads of it.
const MOST: usize = 256 << 10;

const DEBUG: &str = ".debug_";

/// How functions begin that the bindings want: the host calls them, and no author wrote them.
const BOUND: [&str; 2] = ["exports_watchkeeper_", "__wasm_export_"];

/// What else is for people and tools.
const OF_TOOLS: [&str; 3] = ["name", "producers", "target_features"];

/// Of one module; offsets are from where its code section's contents begin, as DWARF counts them.
pub(crate) struct Places<'m> {
    code: &'m [u8],
    files: Vec<String>,
    functions: Vec<(String, Range<u32>)>,
    lines: Vec<Line>,
}

/// From its offset on, code is of this line.
struct Line {
    offset: u32,
    whose: Whose,
    line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// A library's, or what a tool generated.
    Nobody,
    Sdk,
    /// By the file's index.
    Project(usize),
}

impl<'m> Places<'m> {
    /// Of debug information that can't be read there are no lines.
    pub(crate) fn read(module: &'m [u8], project: &Project) -> Result<Self, BinaryReaderError> {
        let found = Found::read(module)?;
        let mut files = Vec::new();
        let mut lines = lines(&found, project, &mut files).unwrap_or_default();
        // Where one sequence ends another may begin.
        lines.sort_by_key(|line| (line.offset, line.whose));
        let known = |body: &Range<u32>| {
            lines.iter().any(|line| body.contains(&line.offset) && line.whose != Whose::Nobody)
        };
        let named = found.bodies.iter().enumerate().filter(|(_, body)| known(body));
        let functions = named
            .filter_map(|(index, body)| {
                let name = found.names.get(&(found.imported + index as u32))?;
                let bound = BOUND.iter().any(|bound| name.starts_with(bound));
                (!bound).then(|| ((*name).to_owned(), body.clone()))
            })
            .collect();
        Ok(Self { code: found.code, files, functions, lines })
    }

    /// The section's contents, for the component that the module is part of. None where there is nothing to say.
    pub(crate) fn section(&self, component: &[u8]) -> Option<String> {
        let base = Parser::new(0).parse_all(component).map_while(Result::ok).find_map(|payload| {
            let Payload::CodeSectionStart { range, .. } = payload else { return None };
            (component.get(range.clone())? == self.code).then_some(range.start as u32)
        })?;
        let functions: Vec<_> = self
            .functions
            .iter()
            .map(|(name, body)| json!([name, base + body.start, base + body.end]))
            .collect();
        if functions.is_empty() {
            return None;
        }
        let text = |lines| json!({ "files": self.files, "functions": functions, "lines": lines }).to_string();
        let with_lines = text(self.differences(base));
        [with_lines, text(Vec::new())].into_iter().find(|text| text.len() <= MOST)
    }

    /// What begins where, each as the difference to the one before it.
    fn differences(&self, base: u32) -> Vec<(u32, usize, i64)> {
        let (mut differences, mut last, mut told) = (Vec::new(), (0, 0), None);
        for (index, Line { offset, whose, line }) in self.lines.iter().enumerate() {
            let next = self.lines.get(index + 1);
            let (file, line) = match whose {
                Whose::Project(file) => (file + 1, *line),
                _ => (0, last.1),
            };
            if next.is_some_and(|next| next.offset == *offset) || told == Some((file, line)) {
                continue;
            }
            told = Some((file, line));
            let address = base + offset;
            differences.push((address - last.0, file, line as i64 - last.1 as i64));
            last = (address, line);
        }
        differences
    }
}

/// What of a module has to be known.
#[derive(Default)]
struct Found<'m> {
    code: &'m [u8],
    /// Functions that are imported come first, in their numbers.
    imported: u32,
    bodies: Vec<Range<u32>>,
    names: BTreeMap<u32, &'m str>,
    debug: BTreeMap<&'m str, &'m [u8]>,
}

impl<'m> Found<'m> {
    fn read(module: &'m [u8]) -> Result<Self, BinaryReaderError> {
        let (mut found, mut code) = (Self::default(), 0);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        found.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::CodeSectionStart { range, .. } => {
                    code = range.start;
                    found.code = &module[range];
                }
                Payload::CodeSectionEntry(body) => {
                    let Range { start, end } = body.range();
                    found.bodies.push((start - code) as u32..(end - code) as u32);
                }
                Payload::CustomSection(section) if section.name().starts_with(DEBUG) => {
                    found.debug.insert(section.name(), section.data());
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        found.name(names)?;
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn name(&mut self, names: NameSectionReader<'m>) -> Result<(), BinaryReaderError> {
        for name in names {
            if let Name::Function(functions) = name? {
                for naming in functions {
                    let naming = naming?;
                    self.names.insert(naming.index, naming.name);
                }
            }
        }
        Ok(())
    }
}

/// The rows of all line tables; `files` becomes those of the project's that occur.
fn lines(found: &Found<'_>, project: &Project, files: &mut Vec<String>) -> Result<Vec<Line>, gimli::Error> {
    let section = |id: gimli::SectionId| {
        let data = found.debug.get(id.name()).copied().unwrap_or_default();
        Ok::<_, gimli::Error>(EndianSlice::new(data, LittleEndian))
    };
    let dwarf = Dwarf::load(section)?;
    let (mut lines, mut units) = (Vec::new(), dwarf.units());
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        lines.extend(lines_of(&unit, found.code.len(), |header, file| {
            let path = path(&dwarf, &unit, header, file).ok();
            path.map_or(Whose::Nobody, |path| whose(&path, project, files))
        })?);
    }
    Ok(lines)
}

/// Of one unit, whose files are told whose they are.
fn lines_of<'m>(
    unit: &gimli::Unit<Slice<'m>>,
    code: usize,
    mut of_file: impl FnMut(&Header<'m>, &gimli::FileEntry<Slice<'m>>) -> Whose,
) -> Result<Vec<Line>, gimli::Error> {
    let Some(program) = unit.line_program.clone() else { return Ok(Vec::new()) };
    let (mut lines, mut sequence, mut known) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut rows = program.rows();
    while let Some((header, row)) = rows.next_row()? {
        let offset = row.address() as u32;
        if row.end_sequence() {
            sequence.push(Line { offset, whose: Whose::Nobody, line: 0 });
            // One that begins nowhere is of a function that the linker left out.
            let is_there = sequence[0].offset != 0 && offset as usize <= code;
            lines.extend(sequence.drain(..).filter(|_| is_there));
        } else if let Some(line) = row.line() {
            let whose = *known
                .entry(row.file_index())
                .or_insert_with(|| row.file(header).map_or(Whose::Nobody, |file| of_file(header, file)));
            sequence.push(Line { offset, whose, line: line.get() });
        }
    }
    Ok(lines)
}

type Header<'m> = gimli::LineProgramHeader<Slice<'m>>;

type Slice<'m> = EndianSlice<'m, LittleEndian>;

fn path<'m>(
    dwarf: &Dwarf<Slice<'m>>,
    unit: &gimli::Unit<Slice<'m>>,
    header: &Header<'m>,
    file: &gimli::FileEntry<Slice<'m>>,
) -> Result<PathBuf, gimli::Error> {
    let text = |value| dwarf.attr_string(unit, value).map(|text| text.to_string_lossy().into_owned());
    let mut path =
        PathBuf::from(unit.comp_dir.map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default());
    // Each is from the one before it, or begins at the root.
    if let Some(folder) = file.directory(header) {
        path.push(text(folder)?);
    }
    path.push(text(file.path_name())?);
    Ok(path)
}

fn whose(path: &Path, project: &Project, files: &mut Vec<String>) -> Whose {
    if path.starts_with(&project.sdk) {
        return Whose::Sdk;
    }
    let own = path.strip_prefix(&project.dir).ok().filter(|path| path.starts_with("src"));
    let Some(own) = own.map(|path| path.to_string_lossy().into_owned()) else { return Whose::Nobody };
    let index = files.iter().position(|file| *file == own).unwrap_or_else(|| {
        files.push(own);
        files.len() - 1
    });
    Whose::Project(index)
}

/// The module without its debug information, its names, and what tools note of themselves.
pub(crate) fn stripped(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut written = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let debugs = matches!(&payload, Payload::CustomSection(section)
            if OF_TOOLS.contains(&section.name()) || section.name().starts_with(DEBUG));
        if !debugs {
            written.section(&RawSection { id, data: &module[range] });
        }
    }
    Ok(written.finish())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]
mod tests {
    use super::*;

    fn line(offset: u32, whose: Whose, line: u64) -> Line {
        Line { offset, whose, line }
    }

    #[test]
    fn what_begins_where_is_told_once() {
        let places = Places {
            code: &[],
            files: Vec::new(),
            functions: Vec::new(),
            lines: vec![
                line(4, Whose::Project(0), 12),
                line(9, Whose::Project(0), 12),
                // The last of those at one place counts.
                line(11, Whose::Sdk, 800),
                line(11, Whose::Project(1), 3),
                line(15, Whose::Sdk, 801),
                line(17, Whose::Nobody, 0),
                line(20, Whose::Project(0), 13),
            ],
        };
        assert_eq!(places.differences(100), [(104, 1, 12), (7, 2, -9), (4, 0, 0), (5, 1, 10)]);
    }

    #[test]
    fn only_what_runs_is_left() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let custom =
            |name: &[u8]| [&[0, 2 + name.len() as u8, name.len() as u8][..], name, &[7][..]].concat();
        for name in [&b"name"[..], b".debug_line", b"producers", b"component-type:x", b"mine"] {
            module.extend(custom(name));
        }
        let left = [&module[..8], &custom(b"component-type:x")[..], &custom(b"mine")[..]].concat();
        assert_eq!(stripped(&module).unwrap(), left);
    }
}
