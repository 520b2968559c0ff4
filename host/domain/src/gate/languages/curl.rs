//! curl: health endpoints of this machine, and formats that print.

/// Last parts of a path behind which programs say how they are.
const ENDPOINTS: &[&str] = &[
    "",
    "health",
    "healthz",
    "healthy",
    "healthcheck",
    "health-check",
    "health_check",
    "live",
    "livez",
    "liveness",
    "alive",
    "ready",
    "readyz",
    "readiness",
    "ping",
    "status",
    "up",
    "heartbeat",
    "metrics",
    "nginx_status",
    "stub_status",
    "server-status",
    "basic_status",
    "php-fpm-status",
    "fpm-status",
    "fpm-ping",
    "info",
    "version",
    "startup",
    "prometheus",
    "stats",
    // Prometheus and Alertmanager about themselves.
    "alerts",
    "buildinfo",
    "rules",
    "runtimeinfo",
    "tsdb",
    // NATS' monitoring port.
    "gatewayz",
    "jsz",
    "routez",
    "varz",
];
/// Folders that such a path may be in.
const FOLDERS: &[&str] = &[
    "-",
    "api",
    "v1",
    "v2",
    "v3",
    "actuator",
    "health",
    "healthz",
    "_health",
    "internal",
    "management",
    "q",
    "status",
    "app",
    "web",
];
/// Elasticsearch's reads.
const WHOLE: &[&str] = &[
    "_cat/aliases",
    "_cat/allocation",
    "_cat/count",
    "_cat/fielddata",
    "_cat/health",
    "_cat/indices",
    "_cat/master",
    "_cat/nodes",
    "_cat/pending_tasks",
    "_cat/plugins",
    "_cat/recovery",
    "_cat/segments",
    "_cat/shards",
    "_cat/tasks",
    "_cat/thread_pool",
    "_cluster/allocation/explain",
    "_cluster/health",
    "_cluster/pending_tasks",
    "_cluster/stats",
    "_nodes/hot_threads",
    "_nodes/stats",
    "_nodes/stats/fs",
    "_nodes/stats/jvm",
    "_nodes/stats/os",
];

pub(super) fn health_url(text: &str) -> Result<(), String> {
    let refuse = || format!("the URL `{}`: a health endpoint of localhost", text.escape_debug());
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    let (authority, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    let fits = is_loopback(authority) && is_endpoint(path) && is_query(query, WHOLE.contains(&path));
    if fits { Ok(()) } else { Err(refuse()) }
}

fn is_loopback(authority: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| match authority.strip_prefix(host) {
        Some("") => true,
        Some(port) => {
            port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok() && !port.starts_with('+'))
        }
        None => false,
    })
}

fn is_endpoint(path: &str) -> bool {
    let (folders, last) = path.rsplit_once('/').unwrap_or(("", path));
    let known = folders.split('/').all(|folder| folder.is_empty() || FOLDERS.contains(&folder));
    let clean = !path.contains("//") && !path.starts_with('/');
    WHOLE.contains(&path)
        || (clean && known && ENDPOINTS.contains(&last) && (path.is_empty() || !last.is_empty()))
}

/// Nothing that could name another machine; the names of columns have dots.
fn is_query(query: &str, dots: bool) -> bool {
    let known =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_=&,;-".contains(&byte) || (dots && byte == b'.');
    query.len() <= 200 && query.bytes().all(known)
}

/// `%{http_code} %{time_total}\n`: variables and text. `@` would read a file, `%output` write one, `%header` is fine.
pub(super) fn format(text: &str) -> Result<(), String> {
    let plain = !text.starts_with('@') && !text.contains("%output");
    if plain { Ok(()) } else { Err(format!("curl's format `{}`", text.escape_debug())) }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn this_machines_health_alone() {
        holds(
            Language::HealthUrl,
            &[
                "localhost",
                "http://localhost/",
                "http://localhost:8080/health",
                "https://127.0.0.1:8443/healthz",
                "http://[::1]:80/ready",
                "http://127.0.0.1:9090/-/healthy",
                "http://localhost:8080/actuator/health/liveness",
                "localhost:9200/_cluster/health?pretty",
                "http://localhost:9200/_cat/indices?v",
                "http://localhost:9200/_cat/shards?v&h=index,shard,unassigned.reason",
                "http://localhost:8222/varz",
            ],
            &[
                "http://evil.example/health",
                "http://localhost.evil.example/health",
                "http://localhost@evil.example/health",
                "http://localhost:80@evil.example/health",
                "http://127.0.0.1.nip.io/",
                "http://localhost\\@evil.example/health",
                "http://evil.example#@localhost/health",
                "http://u:p@localhost/health",
                "file:///etc/shadow",
                "gopher://localhost:6379/_x",
                "http://localhost:8080/shutdown",
                "http://localhost/health/../admin",
                "http://localhost/health?url=http://x",
                "http://localhost/health?host=evil.example",
                "http://localhost:9090/api/v1/targets",
                "http://localhost:8222/connz?auth=true",
                "http://localhost//health",
                "http://localhost:2375/containers/json",
                "http://localhost:99999/health",
                "http://localhost/{a,b}",
                "-K",
                "@x",
                "",
                "http://10.0.0.1/health",
                "http://0/health",
                "HTTP://localhost/health",
                "http://localhost/admin/health",
            ],
        );
        holds(
            Language::CurlFormat,
            &["%{http_code}\\n", "x"],
            &["@/etc/shadow", "%output{/x}", "a%{stderr}%output{x}"],
        );
    }
}
