//! A real Docker engine, read through the broker by Docker's own client: what it keeps is the same before and after, whatever
//! the client is told to do.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod running;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use running::Ground;
use serde_json::{Value, json};

/// In every secret that a container or an image of the test has.
const CANARY: &str = "canary-51d0";

/// An engine of this test's own, with its data in a folder that goes with it, and no network.
struct Engine {
    daemon: Child,
    folder: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let log = std::fs::File::create(at("log")).unwrap();
        let mut daemon = Command::new("dockerd");
        daemon.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        // What the machine's own engine is told isn't for this one.
        std::fs::write(at("daemon.json"), "{}").unwrap();
        daemon.arg("--config-file").arg(at("daemon.json"));
        daemon.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &group()]);
        // Where the machine's own containerd runs, it is that one, and nothing of another engine's is to be seen there.
        daemon.args(["--containerd-namespace", &group()]);
        daemon.args(["--containerd-plugins-namespace", &format!("{}-plugins", group())]);
        daemon.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
        daemon
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("docker.sock").display()));
        let daemon =
            daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut engine = Self { daemon, folder };
        let started = Instant::now();
        while !engine.docker(&["version"]).status.success() {
            let log = std::fs::read_to_string(engine.at("log")).unwrap();
            let runs = engine.daemon.try_wait().unwrap().is_none();
            assert!(runs && started.elapsed() < Duration::from_secs(60), "dockerd does not start: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("docker.sock")
    }

    /// The client without the sandbox.
    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        let mut docker = Command::new("docker");
        docker.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.folder.path());
        docker.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        docker.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An image of one static program, and three containers of it: one that runs, one that ended, one that never began.
    fn fill(&self) {
        let root = self.at("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let tar = self.at("tiny.tar");
        let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg(".").status().unwrap();
        assert!(packed.success());
        let variable = format!("ENV IMAGE_TOKEN={CANARY}");
        self.must(&[
            "import",
            "--change",
            &variable,
            "--message",
            "as it is",
            tar.to_str().unwrap(),
            "team/tiny:1",
        ]);
        let password = format!("DB_PASSWORD={CANARY}");
        let create = |name: &str, script: &str| {
            let run = ["create", "--name", name, "--network", "none", "--env", &password, "team/tiny:1"];
            self.must(&[&run[..], &["/bin/busybox", "sh", "-c", script]].concat());
        };
        create("web", "echo a line of the log; echo and an error >&2; exec /bin/busybox sleep 600");
        create("done", "/bin/busybox touch /made; exit 3");
        create("made", "exit 0");
        self.must(&[
            "volume",
            "create",
            "--opt",
            "type=tmpfs",
            "--opt",
            &format!("o=uid=0,{CANARY}"),
            "--opt",
            "device=tmpfs",
            "share",
        ]);
        self.must(&["start", "web", "done"]);
        self.must(&["wait", "done"]);
        while !self.must(&["logs", "web"]).contains("a line") {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that the engine says it has, and what it says has happened.
    fn state(&self) -> Vec<Value> {
        let asked = [
            &["inspect", "web", "done", "made"][..],
            &["image", "inspect", "team/tiny:1"],
            &["volume", "inspect", "share"],
            &["network", "inspect", "none", "host"],
        ];
        let mut state: Vec<Value> =
            asked.iter().map(|words| serde_json::from_str(&self.must(words)).unwrap()).collect();
        for words in [
            &["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"][..],
            &["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"],
            &["volume", "ls", "--quiet"],
            &["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"],
        ] {
            state.push(json!(self.must(words)));
        }
        // To the second: what happened in this one isn't told yet. That somebody looked at processes is told, too.
        std::thread::sleep(Duration::from_millis(1100));
        let happened =
            ["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}} {{.TimeNano}}"];
        let happened = self.must(&happened);
        let changes: Vec<&str> =
            happened.lines().filter(|line| !line.starts_with("container top ")).collect();
        state.push(json!(changes));
        state
    }

    /// The client in the sandbox, with what the rule of the policy that ships gives it.
    async fn sandboxed(&self, arguments: &str) -> (Option<i32>, String) {
        let sandbox = json!({
            "docker": self.socket(),
            "variables": {"DOCKER_HOST": format!("unix://{}", self.socket().display())},
        });
        let outcome = Ground::default().run_with(&format!("docker {arguments}"), sandbox).await;
        (outcome.exit_code, outcome.output.into_exposed())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.docker(&["kill", "web"]);
        // As an operator would end it: so containerd, which it started, ends, too.
        if let Some(pid) = rustix::process::Pid::from_raw(self.daemon.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
        running::remove_groups(&group());
    }
}

/// The control groups of its containers, in each hierarchy that there is.
fn group() -> String {
    format!("watchkeeper-test-{}", std::process::id())
}

/// Whether all of it is here. In CI it is.
fn is_here() -> bool {
    let needed = [("dockerd", "docker.io"), ("docker", "docker.io"), ("busybox", "busybox-static")];
    needed.iter().all(|(program, package)| running::peers::require(program, package).is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_is_read_and_nothing_of_it_changes() {
    if !is_here() {
        return;
    }
    let engine = Engine::start();
    engine.fill();
    let before = engine.state();
    assert!(serde_json::to_string(&before).unwrap().contains(CANARY), "there is something to be left out");

    for (arguments, words) in [
        ("ps", "Up "),
        ("ps -a --size", "Exited (3)"),
        ("images", "team/tiny"),
        ("image ls", "team/tiny"),
        ("info", "Storage Driver: vfs"),
        ("version", "Server:"),
        ("logs --tail 5 web", "a line of the log"),
        ("logs --since 1h --timestamps web", "and an error"),
        ("inspect -f '{{.State.ExitCode}} {{.State.Status}}' done", "3 exited"),
        ("inspect web", "\"Status\": \"running\""),
        ("container inspect made", "\"Status\": \"created\""),
        ("image inspect team/tiny:1", "\"Architecture\""),
        ("history team/tiny:1", "as it is"),
        ("stats --no-stream web", "web"),
        ("top web", "sleep 600"),
        ("diff done", "A /made"),
        ("port web", ""),
        ("system df", "Images"),
        ("system df -v", "team/tiny"),
        ("network ls", "none"),
        ("network inspect none", "\"Driver\": \"null\""),
        ("volume ls", "share"),
        ("events --since 1h --until 0s", "start"),
    ] {
        let (code, output) = engine.sandboxed(arguments).await;
        assert!(code == Some(0) && output.contains(words), "docker {arguments}: {code:?} {output}");
        assert!(!output.contains(CANARY), "docker {arguments}: {output}");
    }
    let mut through = Vec::new();
    for arguments in [
        "start made",
        "stop web",
        "restart web",
        "kill web",
        "pause web",
        "rm -f web",
        "rename web other",
        "update --cpus 1 web",
        "exec web /bin/busybox id",
        "attach --no-stdin web",
        "run team/tiny:1 /bin/busybox id",
        "create team/tiny:1 /bin/busybox id",
        "commit web stolen",
        "cp web:/etc /tmp",
        "export web",
        "save team/tiny:1",
        "import /etc/passwd other:1",
        "load -i /etc/passwd",
        "tag team/tiny:1 other:1",
        "rmi -f team/tiny:1",
        "pull busybox",
        "push team/tiny:1",
        "volume create other",
        "volume rm share",
        "network create other",
        "network connect host web",
        "network rm host",
        "system prune -a -f",
        "container prune -f",
        "image prune -a -f",
        "volume prune -f",
        "swarm init",
        "plugin ls",
        "logs -f web",
        "events",
    ] {
        let (code, output) = engine.sandboxed(arguments).await;
        let words = ["Watchkeeper's broker", "received 403"];
        if code == Some(0) || !words.iter().any(|words| output.contains(words)) {
            through.push(format!("docker {arguments}: {code:?} {output}"));
        }
    }
    assert!(through.is_empty(), "{through:#?}");
    assert_eq!(before, engine.state());
    // What a person agreed to is done, as the policy that ships says: by the socket itself.
    let host = format!("unix://{}", engine.socket().display());
    let agreed = json!({"privileged_socket": engine.socket(), "variables": {"DOCKER_HOST": host}});
    let outcome = Ground::default().run_agreed("docker restart -t 0 web", agreed).await;
    assert_eq!(
        (outcome.exit_code, outcome.output.expose_untrusted().as_str()),
        (Some(0), "web\n"),
        "{outcome:?}"
    );
    assert_ne!(before, engine.state());
}
