//! Go's module, changed so that its clocks stand still where nothing may be imported.
//!
//! While the host asks for room for what it hands over (`cabi_realloc`), and once it has read an answer (`cabi_post_…`), a component
//! may call no import; one that does is ended. Go's scheduler and collector run in each call, and ask for the time, some of it
//! before any code of ours. So these exports get a function around them that says when, and so does the function of WASI that
//! tells the time: it answers then what it answered last.

use wasm_encoder::{
    BlockType, CodeSection, Encode, ExportKind, ExportSection, Function, FunctionSection, MemArg, Module,
    RawSection, ValType,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, ExportSectionReader, ExternalKind, FuncType,
    FunctionBody, FunctionSectionReader, GlobalSectionReader, ImportSectionReader, Operator, Parser, TypeRef,
    TypeSectionReader,
};

/// It takes a clock's number, a precision, and where to put the nanoseconds.
const CLOCK: (&str, &str) = ("wasi_snapshot_preview1", "clock_time_get");

/// The clocks that Go asks for: the wall's and the monotonic one.
const CLOCKS: u32 = 2;

/// The sections that are changed, by their numbers.
const TYPES: u8 = 1;
const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// The module with those functions. One that asks for no time stays as it is.
pub(crate) fn with_paused_clocks(module: &[u8]) -> Result<Vec<u8>, String> {
    let found = Found::read(module).map_err(|error| error.to_string())?;
    match found.clock {
        Some(clock) => found.write(module, clock).map_err(|error| error.to_string()),
        None => Ok(module.to_vec()),
    }
}

/// What of the module has to be known.
#[derive(Default)]
struct Found {
    types: Vec<FuncType>,
    /// Of all functions, the type's index; those that are imported come first.
    functions: Vec<u32>,
    imported: usize,
    globals: u32,
    clock: Option<u32>,
}

impl Found {
    fn read(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut found = Self::default();
        for (id, bytes) in sections(module)? {
            let reader = BinaryReader::new(bytes, 0);
            match id {
                TYPES => {
                    let types = TypeSectionReader::new(reader)?.into_iter_err_on_gc_types();
                    found.types = types.collect::<Result<_, _>>()?;
                }
                IMPORTS => found.import(ImportSectionReader::new(reader)?)?,
                FUNCTIONS => {
                    for function in FunctionSectionReader::new(reader)? {
                        found.functions.push(function?);
                    }
                }
                GLOBALS => found.globals += GlobalSectionReader::new(reader)?.count(),
                _ => {}
            }
        }
        Ok(found)
    }

    fn import(&mut self, imports: ImportSectionReader<'_>) -> Result<(), BinaryReaderError> {
        for import in imports.into_imports() {
            let import = import?;
            match import.ty {
                TypeRef::Func(function) => {
                    if (import.module, import.name) == CLOCK {
                        self.clock = Some(self.functions.len() as u32);
                    }
                    self.functions.push(function);
                }
                TypeRef::Global(_) => self.globals += 1,
                _ => {}
            }
        }
        self.imported = self.functions.len();
        Ok(())
    }

    /// Whether the clocks stand; what each told last follows.
    fn paused(&self) -> u32 {
        self.globals
    }

    fn write(mut self, module: &[u8], clock: u32) -> Result<Vec<u8>, BinaryReaderError> {
        let (exports, around) = self.exports(module)?;
        let told = self.add(self.functions[clock as usize]);
        let mut written = Module::new();
        for (id, data) in sections(module)? {
            match id {
                FUNCTIONS => {
                    let mut functions = FunctionSection::new();
                    for kind in &self.functions[self.imported..] {
                        functions.function(*kind);
                    }
                    written.section(&functions)
                }
                GLOBALS => written.section(&RawSection { id, data: &globals(data)? }),
                EXPORTS => written.section(&exports),
                CODE => {
                    let mut code = CodeSection::new();
                    for body in CodeSectionReader::new(BinaryReader::new(data, 0))? {
                        code.raw(&redirected(&body?, data, clock, told)?);
                    }
                    for inner in &around {
                        code.function(&self.around(*inner));
                    }
                    code.function(&self.telling(clock));
                    written.section(&code)
                }
                _ => written.section(&RawSection { id, data }),
            };
        }
        Ok(written.finish())
    }

    /// One more function, of this type; answers its index.
    fn add(&mut self, kind: u32) -> u32 {
        self.functions.push(kind);
        self.functions.len() as u32 - 1
    }

    /// The exports, led to functions that are added at the end; and what each of those is around.
    fn exports(&mut self, module: &[u8]) -> Result<(ExportSection, Vec<u32>), BinaryReaderError> {
        let (mut exports, mut around) = (ExportSection::new(), Vec::new());
        for (_, data) in sections(module)?.into_iter().filter(|(id, _)| *id == EXPORTS) {
            for export in ExportSectionReader::new(BinaryReader::new(data, 0))? {
                let export = export?;
                let mut index = export.index;
                if export.name == "cabi_realloc" || export.name.starts_with("cabi_post_") {
                    around.push(index);
                    index = self.add(self.functions[index as usize]);
                }
                exports.export(export.name, kind(export.kind), index);
            }
        }
        Ok((exports, around))
    }

    fn around(&self, inner: u32) -> Function {
        let kind = &self.types[self.functions[inner as usize] as usize];
        let mut function = Function::new([]);
        let mut code = function.instructions();
        code.i32_const(1).global_set(self.paused());
        for parameter in 0..kind.params().len() as u32 {
            code.local_get(parameter);
        }
        // What it answers stays on the stack.
        code.call(inner).i32_const(0).global_set(self.paused()).end();
        function
    }

    /// The time: of WASI, or as it was told last.
    fn telling(&self, clock: u32) -> Function {
        let memory = MemArg { offset: 0, align: 0, memory_index: 0 };
        let (id, precision, into, errno) = (0, 1, 2, 3);
        let mut function = Function::new([(1, ValType::I32)]);
        let mut code = function.instructions();
        code.global_get(self.paused()).if_(BlockType::Empty);
        for number in 0..CLOCKS {
            code.local_get(id).i32_const(number as i32).i32_eq().if_(BlockType::Empty);
            code.local_get(into).global_get(self.paused() + 1 + number).i64_store(memory).end();
        }
        code.i32_const(0).return_().end();
        code.local_get(id).local_get(precision).local_get(into).call(clock).local_set(errno);
        for number in 0..CLOCKS {
            code.local_get(id).i32_const(number as i32).i32_eq().if_(BlockType::Empty);
            code.local_get(into).i64_load(memory).global_set(self.paused() + 1 + number).end();
        }
        code.local_get(errno).end();
        function
    }
}

/// The section with three more: whether the clocks stand, and what each told last.
fn globals(section: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    const WHETHER: [u8; 5] = [0x7f, 1, 0x41, 0, 0x0b]; // i32, mutable, 0
    const WHEN: [u8; 5] = [0x7e, 1, 0x42, 0, 0x0b]; // i64, mutable, 0
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32()?;
    let mut globals = Vec::new();
    (count + 1 + CLOCKS).encode(&mut globals);
    globals.extend(&section[reader.current_position()..]);
    globals.extend(WHETHER);
    for _ in 0..CLOCKS {
        globals.extend(WHEN);
    }
    Ok(globals)
}

/// The function's code, its calls of one function led to another. It stands in `section`.
fn redirected(
    body: &FunctionBody<'_>,
    section: &[u8],
    from: u32,
    to: u32,
) -> Result<Vec<u8>, BinaryReaderError> {
    let range = body.range();
    let (mut code, mut at) = (Vec::with_capacity(range.len()), range.start);
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let begin = operators.original_position();
        if operators.read()? == (Operator::Call { function_index: from }) {
            code.extend(&section[at..begin]);
            code.push(0x10); // call
            to.encode(&mut code);
            at = operators.original_position();
        }
    }
    code.extend(&section[at..range.end]);
    Ok(code)
}

/// Of the module: number, and contents.
fn sections(module: &[u8]) -> Result<Vec<(u8, &[u8])>, BinaryReaderError> {
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Some((id, range)) = payload?.as_section() {
            sections.push((id, &module[range]));
        }
    }
    Ok(sections)
}

fn kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]
mod tests {
    use wasm_encoder::{
        ConstExpr, EntityType, GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType,
        TypeSection,
    };

    use super::*;

    /// `cabi_realloc` asks for the time of the monotonic clock; so does `other`.
    fn module() -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32, ValType::I64, ValType::I32], [ValType::I32]);
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        let mut imports = ImportSection::new();
        imports.import(CLOCK.0, CLOCK.1, EntityType::Function(0));
        let mut functions = FunctionSection::new();
        functions.function(1).function(1);
        let mut memories = MemorySection::new();
        let memory =
            MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None };
        memories.memory(memory);
        let mut globals = GlobalSection::new();
        let global = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
        globals.global(global, &ConstExpr::i32_const(7));
        let mut exports = ExportSection::new();
        exports.export("cabi_realloc", ExportKind::Func, 1).export("other", ExportKind::Func, 2);
        let mut code = CodeSection::new();
        for _ in 0..2 {
            let mut function = Function::new([]);
            function.instructions().i32_const(1).i64_const(0).i32_const(8).call(0).end();
            code.function(&function);
        }
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&memories).section(&globals);
        module.section(&exports).section(&code);
        module.finish()
    }

    #[test]
    fn only_the_function_that_tells_the_time_asks_for_it() {
        let paused = with_paused_clocks(&module()).unwrap();
        wasmparser::validate(&paused).unwrap();
        let mut exports = Vec::new();
        let mut who_asks = Vec::new();
        for (id, data) in sections(&paused).unwrap() {
            let reader = BinaryReader::new(data, 0);
            if id == EXPORTS {
                let all = ExportSectionReader::new(reader).unwrap();
                exports
                    .extend(all.into_iter().map(|export| export.unwrap()).map(|one| (one.name, one.index)));
            } else if id == CODE {
                for (at, body) in CodeSectionReader::new(reader).unwrap().into_iter().enumerate() {
                    let operators = body.unwrap().get_operators_reader().unwrap();
                    let asks = |operator| operator == Operator::Call { function_index: 0 };
                    if operators.into_iter().any(|operator| asks(operator.unwrap())) {
                        who_asks.push(at + 1);
                    }
                }
            }
        }
        assert_eq!(exports, [("cabi_realloc", 3), ("other", 2)], "realloc is led to the function around it");
        assert_eq!(who_asks, [4]);
        let none = Module::new().finish();
        assert_eq!(with_paused_clocks(&none).unwrap(), none);
    }
}
