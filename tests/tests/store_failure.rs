//! A store that can't be written: 503, nothing claims success, and it recovers by itself.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{PATH, PATIENCE, Setup, TOKEN, Watchkeeper, not_run, wait};

/// Room for the store and the compiled plugin, and little more.
const DISK_MIB: u32 = 16;

const NAMESPACES: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

fn namespaces_can_be_had() -> bool {
    let [program, flags @ ..] = NAMESPACES;
    let tried = Command::new(program).args(flags).args(["mount", "-t", "tmpfs", "none", "/mnt"]).status();
    tried.is_ok_and(|status| status.success())
}

/// A host whose data folder is a file system of its own, which no other process sees.
fn on_a_small_disk() -> Watchkeeper {
    let site = Setup::new().prepare();
    let data = site.data_dir();
    let script = format!("mount -t tmpfs -o size={DISK_MIB}m none '{}' && exec \"$@\"", data.display());
    Watchkeeper::start_within(site, &[&NAMESPACES[..], &["sh", "-c", &script, "sh"]].concat())
}

/// The filler of the host's disk, seen through the host's own mounts.
fn filler(host: &Watchkeeper) -> PathBuf {
    let data = host.site.data_dir().join("filler");
    PathBuf::from(format!("/proc/{}/root{}", host.id(), data.display()))
}

fn fill(host: &Watchkeeper) {
    let mut file = File::options().create(true).append(true).open(filler(host)).unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn payload(id: &str) -> Value {
    webhook([firing(id, &[("alertname", "A"), ("instance", id)])])
}

fn ids(host: &Watchkeeper) -> BTreeSet<String> {
    host.alerts().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_readiness(host: &Watchkeeper, status: u16) {
    wait(&format!("/readyz answers {status}"), PATIENCE, || {
        (host.get("/readyz").status == status).then_some(())
    });
}

#[test]
fn a_full_disk_is_answered_503_and_nothing_claims_success() {
    if !namespaces_can_be_had() {
        return not_run("this machine gives no user namespaces, in which a small disk could be mounted");
    }
    let host = on_a_small_disk();
    let mut acknowledged = BTreeSet::new();
    let mut refused = 0;
    let mut send = |id: String| {
        let answer = host.post(&payload(&id));
        match answer.status {
            200 => _ = acknowledged.insert(id),
            503 => {
                refused += 1;
                assert!(answer.error().contains("can't be written"), "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
        answer.status
    };
    assert_eq!(send("before".into()), 200);

    fill(&host);
    let full = (0..1000).find(|n| send(format!("full-{n}")) == 503);
    assert!(full.is_some(), "a thousand alerts were stored on a full disk");
    for n in 0..20 {
        assert_eq!(send(format!("still-full-{n}")), 503);
    }
    wait_for_readiness(&host, 503);
    assert_eq!(host.get("/healthz").status, 200, "the process itself is well");
    assert_eq!(send("more".into()), 503);

    std::fs::remove_file(filler(&host)).unwrap();
    wait_for_readiness(&host, 200);
    assert_eq!(send("after".into()), 200);
    assert_eq!(ids(&host), acknowledged, "what is stored is what was acknowledged");
    let failed = host.metrics().sum("agent_alerts_processed_total", &[("status", "failed")]);
    assert_eq!(failed, f64::from(refused));
    let errors = host.metrics().sum("agent_alert_source_errors_total", &[("error_type", "store_failed")]);
    assert_eq!(errors, f64::from(refused));
}

#[test]
fn clients_that_share_a_failed_commit_all_hear_of_it() {
    if !namespaces_can_be_had() {
        return not_run("this machine gives no user namespaces, in which a small disk could be mounted");
    }
    let host = on_a_small_disk();
    host.store(&payload("before"));
    fill(&host);
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (http, url) = (host.client().clone(), host.url(PATH));
            std::thread::spawn(move || {
                let send = |n: u32| {
                    let id = format!("{client}-{n}");
                    let request = http.post(&url).bearer_auth(TOKEN).body(payload(&id).to_string());
                    (id, request.send().unwrap())
                };
                (0..50)
                    .map(send)
                    .map(|(id, answer)| (id, answer.status().as_u16(), answer.text().unwrap()))
                    .collect()
            })
        })
        .collect();
    let answers: Vec<Vec<(String, u16, String)>> =
        clients.into_iter().map(|client| client.join().unwrap()).collect();
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let mut acknowledged: BTreeSet<String> = ["before".to_owned()].into();
    for (id, status, body) in answers {
        match status {
            200 => _ = acknowledged.insert(id),
            503 => assert!(body.contains("full"), "the message says why: {body}"),
            _ => panic!("{status} {body}"),
        }
    }
    std::fs::remove_file(filler(&host)).unwrap();
    wait_for_readiness(&host, 200);
    assert_eq!(ids(&host), acknowledged, "what is stored is what was acknowledged");
}
