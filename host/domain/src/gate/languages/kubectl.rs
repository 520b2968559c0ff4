//! What `kubectl get -o` prints: wide, name, or paths to metadata, status and such fields of a specification as hold no
//! values of the application's own. Not whole objects, which have environments and annotations in them.

pub(super) fn output(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        None if matches!(text, "wide" | "name") => Ok(()),
        Some(("jsonpath", template)) => json_path(template),
        Some(("custom-columns", columns)) => columns.split(',').try_for_each(column),
        _ => Err(format!("kubectl's output `{}`", text.escape_debug())),
    }
}

pub(super) fn path(text: &str) -> Result<(), String> {
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    permitted(bare, false)
}

fn column(text: &str) -> Result<(), String> {
    let (_, path) = text.split_once(':').ok_or_else(|| format!("the column `{}`", text.escape_debug()))?;
    permitted(path, false)
}

fn json_path(template: &str) -> Result<(), String> {
    let (mut rest, mut ranges) = (template, Vec::new());
    while let Some((_, opened)) = rest.split_once('{') {
        let (action, after) = closed(opened).ok_or("a jsonpath in which `}` is missing")?;
        rest = after;
        let action = action.trim();
        // Within a range over a status, fields belong to the status.
        let inside = ranges.last().copied().unwrap_or(false);
        if let Some(path) = action.strip_prefix("range ") {
            let path = path.trim();
            let items = matches!(path, ".items[*]" | ".items[]" | "$.items[*]");
            if !items {
                permitted(path, inside)?;
            }
            ranges.push(inside || !items);
        } else if action == "end" {
            ranges.pop().ok_or("a jsonpath `{end}` that ends nothing")?;
        } else if !is_text(action) {
            permitted(action, inside)?;
        }
    }
    if ranges.is_empty() { Ok(()) } else { Err("a jsonpath in which `{end}` is missing".to_owned()) }
}

/// Up to the brace that closes, which within quotes is none.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut quoted = None;
    for (at, next) in text.char_indices() {
        match (quoted, next) {
            (None, '}') => return Some((&text[..at], &text[at + 1..])),
            (None, '"' | '\'') => quoted = Some(next),
            (Some(quote), _) if quote == next => quoted = None,
            _ => {}
        }
    }
    None
}

fn is_text(action: &str) -> bool {
    let inner = action.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(|text| !text.contains('"') && action.len() > 1)
}

fn permitted(path: &str, inside: bool) -> Result<(), String> {
    let refuse = || format!("the path `{}`: metadata and status may be printed", path.escape_debug());
    let parts = parts(path).ok_or_else(refuse)?;
    // From `$` on it is the root again.
    if (inside && !path.starts_with('$')) || is_harmless(&parts) { Ok(()) } else { Err(refuse()) }
}

fn is_harmless(parts: &[&str]) -> bool {
    match parts {
        ["items", below @ ..] => is_harmless(below),
        ["status", ..] | ["kind" | "apiVersion"] => true,
        ["metadata", field, ..] => matches!(
            *field,
            "name"
                | "namespace"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "labels"
                | "uid"
                | "generation"
                | "ownerReferences"
                | "resourceVersion"
        ),
        ["spec", "containers" | "initContainers", field, ..] => {
            matches!(*field, "name" | "image" | "resources" | "ports" | "imagePullPolicy")
        }
        ["spec", "template", "spec", "containers", field, ..] => {
            matches!(*field, "name" | "image" | "resources")
        }
        ["spec", field, ..] => matches!(
            *field,
            "nodeName"
                | "replicas"
                | "restartPolicy"
                | "schedulerName"
                | "type"
                | "clusterIP"
                | "ports"
                | "selector"
                | "priority"
                | "serviceAccountName"
                | "unschedulable"
                | "taints"
                | "podCIDR"
                | "capacity"
                | "accessModes"
                | "storageClassName"
                | "volumeName"
                | "schedule"
                | "suspend"
                | "completions"
                | "parallelism"
                | "minReplicas"
                | "maxReplicas"
                | "rules"
                | "ingressClassName"
                | "hostNetwork"
                | "providerID"
                | "nodeSelector"
                | "tolerations"
        ),
        // Events.
        ["lastTimestamp" | "firstTimestamp" | "eventTime" | "reason" | "message" | "type" | "count"] => true,
        ["involvedObject", ..] => true,
        _ => false,
    }
}

/// `.a.b[0].c[*]`, `.status.conditions[?(@.type=="Ready")].status`
fn parts(path: &str) -> Option<Vec<&str>> {
    let mut rest = path.strip_prefix("$.").or_else(|| path.strip_prefix('.')).unwrap_or(path);
    let mut parts = Vec::new();
    loop {
        let name =
            rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).count();
        if name == 0 {
            return None;
        }
        parts.push(&rest[..name]);
        rest = &rest[name..];
        // A label's name may have dots in it, written `\.`, and slashes.
        while let Some(escaped) = rest.strip_prefix("\\.").or_else(|| rest.strip_prefix('/')) {
            let more = escaped
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
                .count();
            rest = &escaped[more..];
        }
        while let Some(opened) = rest.strip_prefix('[') {
            let (index, after) = opened.split_once(']')?;
            if !is_index(index) {
                return None;
            }
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(below) => rest = below,
            None => return rest.is_empty().then_some(parts),
        }
    }
}

fn is_index(index: &str) -> bool {
    let slice = index.bytes().all(|byte| byte.is_ascii_digit() || b":-".contains(&byte));
    let filter = index.strip_prefix("?(@.").and_then(|text| text.strip_suffix(')'));
    let compares =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=!<>\"' ".contains(&byte));
    matches!(index, "*" | "") || slice || filter.is_some_and(compares)
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn metadata_and_status_and_no_values() {
        holds(
            Language::KubectlOutput,
            &[
                "wide",
                "name",
                "jsonpath={.status.phase}",
                "jsonpath={.status.containerStatuses[*].restartCount}",
                r#"jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}"#,
                r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#,
                r#"jsonpath={range .items[*]}{range .status.containerStatuses[*]}{.name}{end}{end}"#,
                "custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
                "custom-columns=R:.status.containerStatuses[0].restartCount",
            ],
            &[
                "yaml",
                "json",
                "jsonpath={.items[*]}",
                "jsonpath={.}",
                "jsonpath={@}",
                "jsonpath={..env}",
                "jsonpath={.items[*].spec}",
                "jsonpath={.items[*].spec.containers[*].env}",
                "jsonpath={.items[*].*}",
                "jsonpath={.items[*]['spec']}",
                "jsonpath={.metadata.annotations}",
                "jsonpath={.metadata}",
                "jsonpath={range .items[*]}{.spec}{end}",
                "jsonpath={range .items[*]}{@}{end}",
                "jsonpath={range .status.x[*]}{..}{end}",
                "jsonpath={range .status.x[*]}{$.items[*].spec}{end}",
                "jsonpath={.data}",
                "jsonpath={.status",
                "jsonpath={end}",
                "jsonpath={range .items[*]}",
                "custom-columns=E:.spec.containers[*].env",
                "custom-columns=A:..value",
                "custom-columns=A",
                "go-template={{.}}",
                "jsonpath-file=/x",
                "custom-columns-file=/x",
            ],
        );
        holds(
            Language::KubectlPath,
            &[".lastTimestamp", ".metadata.creationTimestamp", "{.status.startTime}", "status.startTime"],
            &[".data", ".spec.containers[*].env", "..", ""],
        );
    }
}
