//! Where in its author's code a plugin was when a call of it ended badly, for the words of the error.
//!
//! Most languages' runtimes say it themselves. For the one that has none, C, `watchkeeper plugin build` writes it down, in a custom
//! section of the component (`watchkeeper:places`, JSON, made by `host/authoring/src/places.rs`). Invariant: it is the guest's own
//! word, and is only ever shown; what is too large or can't be read says nothing, and each text of it is cut.

use std::borrow::Cow;

use serde::Deserialize;
use wasmparser::{Parser, Payload};
use wasmtime::WasmBacktrace;
use watchkeeper_domain::untrusted::line;

use crate::asks::outermost;

const SECTION: &str = "watchkeeper:places";

/// Some 20,000 lines of C.
const MOST: usize = 256 << 10;

/// How much of a stack is looked at, from where it ended.
pub(crate) const FRAMES: usize = 16;

/// Places that are told, and characters of a name or a file.
const TOLD: usize = 4;
const WIDE: usize = 80;

/// By which wasmtime's own account of the stack begins.
const TRACE: &str = "error while executing at wasm backtrace";

/// Addresses are offsets in the component's file.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Places {
    files: Vec<String>,
    /// The name, the first address, and the one behind the last.
    functions: Vec<(String, u32, u32)>,
    /// Where code of another line begins: the address, the file, counted from 1 (0: nobody's), and the line. Written as
    /// differences to the one before, but for the file.
    lines: Vec<(i64, usize, i64)>,
}

impl Places {
    pub(crate) fn of(component: &[u8]) -> Self {
        let section = outermost(component).find_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == SECTION => Some(section.data()),
            _ => None,
        });
        let read = section.filter(|data| data.len() <= MOST).map(serde_json::from_slice);
        let mut places: Self = read.and_then(Result::ok).unwrap_or_default();
        let (mut address, mut number) = (0_i64, 0_i64);
        for (at, _, line) in &mut places.lines {
            address = address.saturating_add(*at);
            number = number.saturating_add(*line);
            (*at, *line) = (address, number);
        }
        places
    }

    /// ` (in read_alert (src/wire.c:31), in plugin_parse (src/plugin.c:12))`; nothing where nothing is known.
    pub(crate) fn of_error(&self, error: &wasmtime::Error) -> String {
        let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
        let mut places: Vec<String> =
            frames.iter().filter_map(|frame| self.at(frame.module_offset()?)).collect();
        // A recursion says itself once.
        places.dedup();
        places.truncate(TOLD);
        if places.is_empty() { String::new() } else { format!(" (in {})", places.join(", in ")) }
    }

    fn at(&self, address: usize) -> Option<String> {
        let own = |(_, from, to): &&(String, u32, u32)| (*from as usize..*to as usize).contains(&address);
        let (name, from, _) = self.functions.iter().find(own)?;
        let name = short(name);
        let before = self.lines.partition_point(|(at, ..)| *at <= address as i64);
        let place = self.lines[..before].last().filter(|(at, ..)| *at >= i64::from(*from));
        let place = place.and_then(|(_, file, line)| Some((self.files.get(file.checked_sub(1)?)?, line)));
        Some(match place {
            Some((file, line)) => format!("{name} ({}:{line})", short(file)),
            None => name,
        })
    }
}

fn short(text: &str) -> String {
    line(&text.chars().take(WIDE).collect::<String>())
}

/// An error's words with its causes', and without the stack's: those are addresses.
pub(crate) fn words(error: &wasmtime::Error) -> String {
    let texts = error.chain().map(ToString::to_string).filter(|text| !text.starts_with(TRACE));
    texts.collect::<Vec<_>>().join(": ")
}

/// The component without its functions' names, which the engine would copy at each trap: they are as long as a guest likes. All
/// else stays where it is.
pub(crate) fn nameless(component: &[u8]) -> Cow<'_, [u8]> {
    const NAMES: &str = "name";
    let mut nameless = Cow::Borrowed(component);
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        if let Payload::CustomSection(section) = payload
            && section.name() == NAMES
        {
            let behind = section.data_offset();
            nameless.to_mut()[behind - NAMES.len()..behind].copy_from_slice(b"none");
        }
    }
    nameless
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn component(section: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        let leb = |number: usize| [(number & 0x7f) as u8 | 0x80, (number >> 7) as u8];
        bytes.push(0);
        bytes.extend(leb(1 + SECTION.len() + section.len()));
        bytes.push(SECTION.len() as u8);
        bytes.extend(SECTION.as_bytes());
        bytes.extend(section.as_bytes());
        bytes
    }

    #[test]
    fn an_address_has_its_function_and_its_line() {
        let section = r#"{"files":["src/a.c"],"functions":[["f",100,120],["g",120,140]],"lines":[[100,1,7],[4,1,-2],[6,0,0]]}"#;
        let places = Places::of(&component(section));
        for (address, place) in [
            (99, None),
            (100, Some("f (src/a.c:7)")),
            (103, Some("f (src/a.c:7)")),
            (109, Some("f (src/a.c:5)")),
            (110, Some("f")),
            (130, Some("g")),
            (140, None),
        ] {
            assert_eq!(places.at(address).as_deref(), place, "{address}");
        }
    }

    #[test]
    fn what_a_guest_says_of_itself_does_no_harm() {
        let odd = r#"{"files":["a\nb"],"functions":[["f\u001b[2J",0,4294967295]],"lines":[[9223372036854775807,1,9223372036854775807],[9223372036854775807,9,1]]}"#;
        let places = Places::of(&component(odd));
        let told = places.at(7).unwrap();
        assert!(!told.contains('\u{1b}') && told.starts_with('f'), "{told:?}");
        assert_eq!(places.at(usize::MAX), None);
        for none in [r#"{"files":"#, "[]", r#"{"files":[],"functions":[["f",-1,2]],"lines":[]}"#] {
            assert_eq!(Places::of(&component(none)), Places::default());
        }
        assert_eq!(Places::of(b"\0asm"), Places::default());
    }

    #[test]
    fn names_go_and_nothing_moves() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend(b"\0\x07\x04nameab");
        let without = nameless(&module);
        assert_eq!(without.len(), module.len());
        assert!(without.ends_with(b"\0\x07\x04noneab"), "{without:?}");
        assert!(matches!(nameless(&component("name")), Cow::Borrowed(_)));
    }
}
