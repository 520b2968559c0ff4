//! Which field or case of which type a component has otherwise than the contract. The runtime's own message counts fields.

use std::collections::BTreeMap;

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};

use crate::bindings::v0_1::PACKAGE;

const WIT: &str = include_str!("../../../wit/v0.1.0/watchkeeper.wit");

/// The fields or cases of the contract's records, enums and variants, by the type's name, in their order.
fn of_contract() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut shapes = BTreeMap::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in WIT.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("record" | "enum" | "variant"), Some(name), Some("{")) => open = Some((name, Vec::new())),
            (Some("}"), ..) => shapes.extend(open.take()),
            (Some(member), ..) => {
                if let Some((_, members)) = &mut open {
                    members.extend(member.split([':', '(', ',']).next());
                }
            }
            _ => {}
        }
    }
    shapes
}

/// In words, the first type that differs; none if all that can be seen agree.
pub(crate) fn difference(component: &Component) -> Option<String> {
    let contract = of_contract();
    let (kind, engine) = (component.component_type(), component.engine());
    // The nouns that interfaces share are imported from where they are defined.
    let all = kind.imports(engine).chain(kind.exports(engine));
    for (interface, item) in all.filter(|(name, _)| name.starts_with(PACKAGE)) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        for (name, item) in instance.exports(engine) {
            let ComponentItem::Type(ty) = item.ty else { continue };
            let (Some(found), Some(expected)) = (members(&ty), contract.get(name)) else { continue };
            if let Some(difference) = compare(&found, expected) {
                return Some(format!("in {interface}, its `{name}` {difference}"));
            }
        }
    }
    None
}

fn members(ty: &Type) -> Option<Vec<String>> {
    Some(match ty {
        Type::Record(record) => record.fields().map(|field| field.name.to_owned()).collect(),
        Type::Enum(cases) => cases.names().map(str::to_owned).collect(),
        Type::Variant(variant) => variant.cases().map(|case| case.name.to_owned()).collect(),
        _ => return None,
    })
}

fn compare(found: &[String], expected: &[&str]) -> Option<String> {
    let more = found.iter().find(|name| !expected.contains(&name.as_str()));
    let less = expected.iter().find(|name| !found.iter().any(|found| found == *name));
    match (more, less) {
        (Some(more), Some(less)) => {
            Some(format!("has `{more}`, which the contract doesn't, and lacks `{less}`"))
        }
        (Some(more), None) => Some(format!("has `{more}`, which the contract doesn't")),
        (None, Some(less)) => Some(format!("lacks `{less}`")),
        (None, None) if found != expected => Some("has its members in another order".into()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_shapes_are_read() {
        let shapes = of_contract();
        assert_eq!(shapes["severity"], ["info", "warning", "critical"]);
        assert_eq!(shapes["feed"], ["webhook", "poll", "subscription"]);
        assert_eq!(shapes["webhook-feed"], ["path"]);
        let alert = [
            "id",
            "severity",
            "status",
            "title",
            "description",
            "labels",
            "annotations",
            "starts-at",
            "ends-at",
        ];
        assert_eq!(shapes["alert"], alert);
        assert_eq!(shapes.len(), 25, "{shapes:#?}");
    }
}
