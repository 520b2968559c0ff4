//! Guests that no toolchain would make, from text: components of the very WIT in `wit/`, or of a twisted copy of it.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, as released.
pub const WIT: &str = include_str!("../../wit/v0.1.0/watchkeeper.wit");

/// A component given as WebAssembly text.
pub fn from_text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A component that only says that it exports instances of these names.
pub fn exporting(names: &[&str]) -> Vec<u8> {
    let exports: String =
        names.iter().map(|name| format!("(export \"{name}\" (instance $nothing))")).collect();
    from_text(&format!("(component (component $none) (instance $nothing (instantiate $none)) {exports})"))
}

/// A component that only says that it imports an instance of this name.
pub fn importing(name: &str) -> Vec<u8> {
    from_text(&format!("(component (import \"{name}\" (instance)))"))
}

/// Wraps a core module, given as text, to a component that exports these interfaces of the contract `wit`.
pub fn component(wit: &str, exports: &[&str], core: &str) -> Vec<u8> {
    let exports: String = exports.iter().map(|export| format!("export {export}; ")).collect();
    let world = format!("package tests:guest; world guest {{ {exports} }}");
    let mut resolve = Resolve::default();
    resolve.push_str("watchkeeper.wit", wit).unwrap();
    let package = resolve.push_str("guest.wit", &world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = from_text(core);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// A component that makes so many instances more, of a core module that is given as text and imports nothing.
pub fn burdened(component: &[u8], core: &str, times: usize) -> Vec<u8> {
    let modules = sections(component).filter(|id| *id == CORE_MODULE).count();
    let module = from_text(core);
    let instance = [&[0][..], &leb128(modules), &[0]].concat();
    let instances = [leb128(times), instance.repeat(times)].concat();
    let section = |id: u8, body: &[u8]| [&[id][..], &leb128(body.len()), body].concat();
    [component, &section(CORE_MODULE, &module), &section(CORE_INSTANCES, &instances)].concat()
}

const CORE_MODULE: u8 = 1;
const CORE_INSTANCES: u8 = 2;

/// The ids of a component's own sections.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let id = *component.get(at)?;
        let (mut length, mut shift) = (0, 0);
        loop {
            at += 1;
            let byte = usize::from(component[at]);
            length |= (byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += 1 + length;
        Some(id)
    })
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A component of fifty kilobytes that takes minutes, and gigabytes, to compile: a function with thousands of variables, each
/// of which every one of thousands of loops may have changed.
pub fn compile_bomb() -> Vec<u8> {
    const VARIABLES: usize = 20_000;
    let a_loop = |n: usize| {
        let (changed, decides) = (n % VARIABLES, n * 7 % VARIABLES);
        format!(
            "(loop (local.set {changed} (i32.add (local.get {changed}) (i32.const 1))) (br_if 0 (local.get {decides})))"
        )
    };
    let loops: String = (0..3_000).map(a_loop).collect();
    from_text(&format!("(component (core module (func (local{}) {loops})))", " i32".repeat(VARIABLES)))
}

/// A source at `path` whose parser does what the payload's first letter says, for as long as `mended` is false:
///
/// | letter | does |
/// | --- | --- |
/// | `l` | loops for ever |
/// | `m` | takes memory until it gets no more, then traps |
/// | `t` | traps |
/// | `n` | answers 10,001 alerts |
/// | `p` | answers a list that lies beyond its memory |
/// | `u` | answers a title that is no UTF-8 |
/// | `s` | calls itself for ever |
/// | `g` | lets its table grow until it can't, then traps |
///
/// Whatever else, and everything once it is mended, is answered with one alert whose id is [`GUESTS_ALERT`].
pub fn hostile(path: &str, mended: bool) -> Vec<u8> {
    component(
        WIT,
        &["watchkeeper:plugin/source@0.1.0", "watchkeeper:plugin/parser@0.1.0"],
        &hostile_core("0.1.0", path, mended),
    )
}

/// The id of the alert that [`hostile`] answers.
pub const GUESTS_ALERT: &str = "guest-1";

/// The core module of [`hostile`], for a version of the contract.
///
/// Layouts are the canonical ABI's. At 1024 lies `configure`'s answer (ok, webhook, path), at 1088 the answer `parse`
/// gives (ok, list), at 2048 the one alert: id, severity, status, title, description, labels, annotations, starts-at.
pub fn hostile_core(version: &str, path: &str, mended: bool) -> String {
    let path_length = path.len();
    let behaves = i32::from(mended);
    format!(
        r#"(module
  (memory (export "memory") 32)
  (table $t 1 funcref)
  (global $free (mut i32) (i32.const 1048576))
  (data (i32.const 1024) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\{path_length:02x}\00\00\00")
  (data (i32.const 512) "{path}")
  (data (i32.const 544) "{GUESTS_ALERT}")
  (data (i32.const 560) "a guest's alert")
  (data (i32.const 2048) "\20\02\00\00\07\00\00\00\01\00\00\00\30\02\00\00\0f\00\00\00")
  (data (i32.const 2096) "\01\00\00\00\00\00\00\00\00\10\a5\d4\e8\00\00\00")
  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1)
        (memory.grow (i32.add (i32.div_u (local.get $new) (i32.const 65536)) (i32.const 1)))))
      unreachable)
    (local.get $at))
  (func (export "watchkeeper:plugin/source@{version}#configure") (param i32 i32) (result i32)
    (i32.const 1024))
  (func $answer (param $alerts i32) (param $count i32) (result i32)
    (global.set $free (i32.const 1048576))
    (i32.store8 (i32.const 1088) (i32.const 0))
    (i32.store (i32.const 1096) (local.get $alerts))
    (i32.store (i32.const 1100) (local.get $count))
    (i32.const 1088))
  (func $deeper (param $depth i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get $depth) (i32.const 1))) (local.get $depth)))
  (func (export "watchkeeper:plugin/parser@{version}#parse")
    (param $body i32) (param $length i32) (param i32 i32 i32 i32 i32) (result i32)
    (local $letter i32)
    (local.set $letter (i32.load8_u (local.get $body)))
    (if (i32.const {behaves}) (then (return (call $answer (i32.const 2048) (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable))
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then unreachable))
    (if (i32.eq (local.get $letter) (i32.const 0x6e)) (then
      (return (call $answer (i32.const 8192) (i32.const 10001)))))
    (if (i32.eq (local.get $letter) (i32.const 0x70)) (then
      (return (call $answer (i32.const 0x7ffffff0) (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 0x75)) (then (i32.store8 (i32.const 560) (i32.const 0xff))))
    (if (i32.eq (local.get $letter) (i32.const 0x73)) (then (drop (call $deeper (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 0x67)) (then
      (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
      unreachable))
    (call $answer (i32.const 2048) (i32.const 1))))"#
    )
}

/// What a [`versioned`] guest does besides reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Traps on every payload.
    Traps,
    /// Traps on the payloads after so many.
    TrapsAfter(u32),
    /// Refuses every configuration.
    RefusesItsConfiguration,
}

/// A source at `path` whose parser makes an alert of each line of the payload: the line is its id, and its title and
/// its description both are `version` (6 bytes).
pub fn versioned(path: &str, version: &str, fault: Fault) -> Vec<u8> {
    assert_eq!(version.len(), 6, "{version}");
    let path_length = path.len();
    let good = match fault {
        Fault::None | Fault::RefusesItsConfiguration => u32::MAX,
        Fault::Traps => 0,
        Fault::TrapsAfter(good) => good,
    };
    // Of `result<feed, error>`: ok, webhook, path; or error, invalid-config with no key and the version as its reason.
    let configured = match fault {
        Fault::RefusesItsConfiguration => {
            r#"(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1032) (i32.const 0))
               (i32.store8 (i32.const 1040) (i32.const 0))
               (i32.store (i32.const 1052) (i32.const 560)) (i32.store (i32.const 1056) (i32.const 6))"#
        }
        _ => "",
    };
    let core = format!(
        r#"(module
  (memory (export "memory") 32)
  (global $free (mut i32) (i32.const 1048576))
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 1024) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\{path_length:02x}\00\00\00")
  (data (i32.const 512) "{path}")
  (data (i32.const 560) "{version}")
  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (local.get $at))
  (func (export "watchkeeper:plugin/source@0.1.0#configure") (param i32 i32) (result i32)
    {configured}
    (i32.const 1024))
  (func (export "watchkeeper:plugin/parser@0.1.0#parse")
    (param $body i32) (param $length i32) (param i32 i32 i32 i32 i32) (result i32)
    (local $end i32) (local $start i32) (local $at i32) (local $alert i32)
    (global.set $free (i32.const 1048576))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.gt_u (global.get $calls) (i32.const {good})) (then unreachable))
    (local.set $end (i32.add (local.get $body) (local.get $length)))
    (local.set $start (local.get $body))
    (local.set $at (local.get $body))
    (local.set $alert (i32.const 8192))
    (loop $bytes
      (if (i32.or (i32.ge_u (local.get $at) (local.get $end)) (i32.eq (i32.load8_u (local.get $at)) (i32.const 10)))
        (then
          (i32.store (local.get $alert) (local.get $start))
          (i32.store offset=4 (local.get $alert) (i32.sub (local.get $at) (local.get $start)))
          (i32.store8 offset=8 (local.get $alert) (i32.const 0))
          (i32.store offset=12 (local.get $alert) (i32.const 560))
          (i32.store offset=16 (local.get $alert) (i32.const 6))
          (i32.store offset=20 (local.get $alert) (i32.const 560))
          (i32.store offset=24 (local.get $alert) (i32.const 6))
          (i32.store8 offset=48 (local.get $alert) (i32.const 1))
          (i64.store offset=56 (local.get $alert) (i64.const 1700000000000))
          (local.set $alert (i32.add (local.get $alert) (i32.const 80)))
          (local.set $start (i32.add (local.get $at) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $bytes (i32.le_u (local.get $at) (local.get $end))))
    (i32.store8 (i32.const 1088) (i32.const 0))
    (i32.store (i32.const 1096) (i32.const 8192))
    (i32.store (i32.const 1100) (i32.div_u (i32.sub (local.get $alert) (i32.const 8192)) (i32.const 80)))
    (i32.const 1088)))"#
    );
    let exports = ["watchkeeper:plugin/source@0.1.0", "watchkeeper:plugin/parser@0.1.0"];
    component(WIT, &exports, &core)
}
