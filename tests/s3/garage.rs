//! A store that is spread over three machines, one of which is lost in the middle.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

/// Three Garage nodes on the loopback, each object on all of them.
struct Garage {
    program: PathBuf,
    folder: tempfile::TempDir,
    nodes: Vec<Node>,
    key: (String, String),
}

struct Node {
    config: PathBuf,
    s3: String,
    child: Option<Child>,
}

impl Node {
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Garage {
    /// A cluster that answers, with the bucket `backups`.
    fn start() -> Option<Self> {
        let Some(program) = program("garage", "LIFEBOAT_GARAGE") else {
            not_run("garage is not here; make test-s3 builds it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (nodes, key) = (Vec::new(), (String::new(), String::new()));
        let mut garage = Self { program, folder, nodes, key };
        for number in 0..3 {
            garage.add_node(number);
        }
        let ids: Vec<String> = (0..3)
            .map(|node| garage.until(node, &["node", "id", "-q"], |said| said.contains('@')))
            .collect();
        for id in &ids[1..] {
            garage.until(0, &["node", "connect", id.trim()], |_| true);
        }
        for (number, id) in ids.iter().enumerate() {
            let (id, zone) = (&id[..16], format!("zone-{number}"));
            garage.until(0, &["layout", "assign", id, "-z", &zone, "-c", "1G"], |_| true);
        }
        garage.until(0, &["layout", "apply", "--version", "1"], |_| true);
        garage.until(0, &["bucket", "create", "backups"], |_| true);
        let made = garage.until(0, &["key", "create", "lifeboat"], |_| true);
        let word = |label: &str| {
            let line = made.lines().find(|line| line.starts_with(label)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        garage.key = (word("Key ID"), word("Secret key"));
        let allow = ["bucket", "allow", "--read", "--write", "backups", "--key", "lifeboat"];
        garage.until(0, &allow, |_| true);
        Some(garage)
    }

    fn add_node(&mut self, number: usize) {
        let root = self.folder.path().join(number.to_string());
        fs::create_dir(&root).unwrap();
        // Somebody else may take a port in between: then the test fails, and says on which.
        let ports: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |at: usize| ports[at].local_addr().unwrap().to_string();
        let (rpc, s3, admin, root) = (address(0), address(1), address(2), root.display());
        let text = format!(
            "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\n\
             db_engine = \"sqlite\"\nreplication_factor = 3\n\
             rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{s3}\"\n\
             [admin]\napi_bind_addr = \"{admin}\"\n",
            "5a".repeat(32)
        );
        let config = self.folder.path().join(format!("{number}.toml"));
        fs::write(&config, text).unwrap();
        drop(ports);
        self.nodes.push(Node { config, s3, child: None });
        self.start_node(number);
    }

    fn start_node(&mut self, number: usize) {
        let log = fs::File::create(self.folder.path().join(format!("{number}.log"))).unwrap();
        let node = &mut self.nodes[number];
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&node.config).arg("server").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log).env("RUST_LOG", "garage=warn");
        node.child = Some(command.spawn().unwrap());
        let address = node.s3.clone();
        crate::support::wait_for(&format!("Garage's node {number}"), || {
            TcpStream::connect(&address).is_ok()
        });
    }

    /// Asks a node again until it does it and the answer fits: a cluster takes a while to meet.
    fn until(&self, node: usize, words: &[&str], fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let mut answer = None;
        let what = format!("garage {words:?}");
        let begun = Instant::now();
        while answer.is_none() {
            let mut command = Command::new(&self.program);
            let done = command.arg("-c").arg(&self.nodes[node].config).args(words).output();
            let done = done.unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            last = format!("{said}{}", String::from_utf8_lossy(&done.stderr));
            if done.status.success() && fits(&said) {
                answer = Some(said);
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {last}");
        }
        answer.unwrap_or(last)
    }

    fn config(&self, node: usize) -> S3Config {
        let (id, secret) = &self.key;
        let keys =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        S3Config {
            bucket: "backups".into(),
            prefix: "pg/{cluster}".into(),
            endpoint: Some(format!("http://{}", self.nodes[node].s3)),
            region: "garage".into(),
            root_certificate: None,
            credentials: S3Credentials::File {
                path: secret_file(self.folder.path(), "keys", &keys),
                profile: None,
            },
            object_lock: None,
            parallel: None,
            timeout_seconds: None,
        }
    }
}

#[test]
#[ignore = "heavy: Garage is built first, see make test-s3"]
fn a_garage_cluster_serves_and_loses_a_node_in_the_middle() {
    let Some(mut garage) = Garage::start() else { return };
    let store = S3Store::make(&garage.config(0), "shop").unwrap();
    store.put(MARKER, b"{}").unwrap();
    suite::run(&store);

    // A node is lost in the middle of a write that goes through another, and of a read.
    let large = content(96 * MIB);
    let mut writer = store.create("base/large").unwrap();
    writer.write_all(&large[..40 * MIB]).unwrap();
    garage.nodes[2].stop();
    writer.write_all(&large[40 * MIB..]).unwrap();
    writer.finish().unwrap();
    assert!(store.read("base/large").unwrap() == large, "written with a node lost");
    garage.start_node(2);
    garage.until(0, &["status"], |said| !said.contains("FAILED"));
    let proxy = Proxy::before_address(&garage.nodes[0].s3);
    let mut config = garage.config(0);
    config.endpoint = Some(format!("http://{}", proxy.address));
    let through = S3Store::open_within(&config, "shop", limits()).unwrap();
    let (before, mut range) = (proxy.seen().len(), vec![0; large.len()]);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| through.read_range("base/large", 0, &mut range));
        // In the middle: some pieces have been asked for, and not all.
        crate::support::wait_for("the reading to be under way", || proxy.seen().len() > before + 4);
        garage.nodes[1].stop();
        read.join().unwrap().unwrap();
    });
    assert!(range == large, "read while a node was lost");
    // The node that is spoken to is lost: that is told, and another one has everything.
    garage.start_node(1);
    garage.until(1, &["status"], |said| !said.contains("FAILED"));
    garage.nodes[0].stop();
    let gone = S3Store::open_within(&garage.config(0), "shop", limits()).unwrap();
    assert_eq!(gone.read("base/large").unwrap_err().fault, StoreFault::Unavailable);
    let other = S3Store::open(&garage.config(1), "shop").unwrap();
    assert!(other.read("base/large").unwrap() == large);
}
