//! Messages of an incident over real sockets: servers that speak PagerDuty's, a chat's, a webhook's
//! and SMTP's protocol, away and back again, cut in the middle; each message arrives once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod patience;

use jiff::Timestamp;
use lifeboat::engine::incident::event::{Declaration, Event};
use lifeboat::engine::incident::facts::{Actor, Role, Severity, Tier};
use lifeboat::engine::incident::journal::Journal;
use lifeboat::engine::incident::store::Store;
use patience::wait_or;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a server does with the next request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Reads half of it and hangs up.
    Cuts,
    Busy,
}

#[derive(Debug, Clone)]
struct Posted {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// A server for HTTP that keeps what it was sent.
struct Server {
    port: u16,
    mood: Arc<Mutex<Mood>>,
    got: Arc<Mutex<Vec<Posted>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mood, got) = (Arc::new(Mutex::new(Mood::Well)), Arc::default());
        let server = Self { port, mood: Arc::clone(&mood), got: Arc::clone(&got) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mood = *mood.lock().unwrap();
                // A client that hangs up early is its own affair.
                drop(answer(stream, mood, &got));
            }
        });
        server
    }

    fn got(&self, path: &str) -> Vec<Posted> {
        let all = self.got.lock().unwrap();
        all.iter().filter(|one| one.path == path).cloned().collect()
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn answer(mut stream: TcpStream, mood: Mood, got: &Mutex<Vec<Posted>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if mood == Mood::Cuts {
        return Ok(());
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let status = match mood {
        Mood::Busy => "503 Service Unavailable",
        _ => "202 Accepted",
    };
    if mood == Mood::Well {
        got.lock().unwrap().push(Posted { path, headers, body });
    }
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// A server for mail, as far as one mail needs.
fn mail_server(got: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            drop(take_mail(stream, &got));
        }
    });
    port
}

fn take_mail(mut stream: TcpStream, got: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    stream.write_all(b"220 mail.example.org ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let word = line.split([' ', ':']).next().unwrap_or_default().trim().to_uppercase();
        let reply = match word.as_str() {
            "EHLO" => "250 mail.example.org",
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut mail = String::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line)?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.push_str(&line);
                }
                got.lock().unwrap().push(mail);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 well",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
    }
}

struct Scene {
    root: tempfile::TempDir,
    incident: String,
    folder: PathBuf,
}

impl Scene {
    fn new(http: u16, mail: u16) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        for (name, content) in [
            ("pager.key", String::from("R0UT1NGKEY")),
            ("chat.url", format!("http://127.0.0.1:{http}/services/T0/hunter2")),
            ("webhook.secret", format!("whsec_{KEY}")),
        ] {
            fs::write(at(name), content).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let text = format!(
            "state_directory = \"{}\"\n\
             [[channels]]\nname = \"pager\"\nleast = \"attention\"\n[channels.target]\n\
             kind = \"pagerduty\"\nurl = \"http://127.0.0.1:{http}/v2/enqueue\"\n\
             routing_key_file = \"{}\"\n\
             [[channels]]\nname = \"chat\"\n[channels.target]\nkind = \"slack\"\nurl_file = \"{}\"\n\
             [[channels]]\nname = \"hook\"\n[channels.target]\nkind = \"webhook\"\n\
             url = \"http://127.0.0.1:{http}/hook\"\nsecret_file = \"{}\"\n\
             [[channels]]\nname = \"mail\"\n[channels.target]\nkind = \"email\"\n\
             host = \"127.0.0.1\"\nport = {mail}\ntls = \"none\"\nfrom = \"lifeboat@example.org\"\n\
             to = [\"dba@example.org\"]\n",
            at("state"),
            at("pager.key"),
            at("chat.url"),
            at("webhook.secret"),
        );
        fs::write(at("lifeboat.toml"), text).unwrap();
        let (declaration, folder) = Store::new(&root.path().join("state"))
            .declare(Timestamp::now(), |id| Declaration {
                id: id.to_owned(),
                cluster: String::from("orders"),
                tier: Tier::High,
                environment: String::from("production"),
                title: String::from("orders are gone"),
                identity: None,
                drill: None,
            })
            .unwrap();
        let scene = Self { root, incident: declaration.id.clone(), folder };
        scene.journal(Event::IncidentDeclared(declaration));
        scene
    }

    fn journal(&self, event: Event) {
        let actor = Actor { user: String::from("alice"), uid: 1000, role: Role::Commander };
        let mut opened = Journal::open(&self.folder).unwrap();
        opened.journal.append(Timestamp::now(), &actor, event).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("ALL_PROXY");
        let config = self.root.path().join("lifeboat.toml");
        command.arg("--config").arg(config).args(arguments).output().unwrap()
    }

    /// Delivers what can be delivered now; how each channel stands.
    fn deliver(&self, code: i32) -> HashMap<String, Value> {
        let output = self.run(&["messages", &self.incident, "--deliver", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        all.into_iter().map(|one| (one["channel"].as_str().unwrap().to_owned(), one)).collect()
    }
}

#[test]
fn each_message_arrives_once_whatever_the_network_does() {
    let http = Server::start();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let scene = Scene::new(http.port, mail_server(Arc::clone(&mails)));

    // Away in two ways; mail goes on by itself.
    http.set(Mood::Cuts);
    let stand = scene.deliver(12);
    assert_eq!(stand["pager"]["waiting"]["tries"], 1, "{stand:?}");
    assert_eq!(stand["mail"]["pending"], 0, "{stand:?}");
    let told = serde_json::to_string(&stand["chat"]).unwrap();
    assert!(!told.contains("hunter2"), "{told}");
    scene.journal(Event::SeveritySet { severity: Severity::Sev1 });
    http.set(Mood::Busy);
    assert!(scene.deliver(12)["hook"]["pending"].as_u64().unwrap() >= 1);
    http.set(Mood::Well);
    let delivered =
        || scene.run(&["messages", &scene.incident, "--deliver"]).status.code() == Some(0);
    wait_or(LIMIT, delivered, || format!("{:?}", scene.run(&["messages", &scene.incident])));
    scene.deliver(0);

    let pages: Vec<Value> =
        http.got("/v2/enqueue").iter().map(|p| serde_json::from_slice(&p.body).unwrap()).collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
    for page in &pages {
        assert_eq!(page["routing_key"], "R0UT1NGKEY");
        assert_eq!(page["event_action"], "trigger");
        assert_eq!(page["dedup_key"], format!("lifeboat/{}", scene.incident));
        assert_eq!(page["payload"]["severity"], "critical");
    }
    let chat = http.got("/services/T0/hunter2");
    assert_eq!(chat.len(), 2);
    assert!(String::from_utf8_lossy(&chat[0].body).contains("orders are gone"));
    let hooks = http.got("/hook");
    let ids: Vec<&str> = hooks.iter().map(|one| one.headers["webhook-id"].as_str()).collect();
    assert_eq!(ids, [format!("{}/1", scene.incident), format!("{}/2", scene.incident)]);
    hooks.iter().for_each(is_signed);
    let mails = mails.lock().unwrap();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[0].contains("Subject: [INC-") && mails[0].contains("orders are gone"));

    // No secret in what is kept.
    for entry in fs::read_dir(scene.folder.join("messages")).unwrap() {
        let kept = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!kept.contains("hunter2") && !kept.contains("R0UT1NG") && !kept.contains(KEY));
    }
}

/// As a receiver checks it, by another implementation of HMAC.
fn is_signed(posted: &Posted) {
    let key = data_encoding::BASE64.decode(KEY.as_bytes()).unwrap();
    let mut whole =
        format!("{}.{}.", posted.headers["webhook-id"], posted.headers["webhook-timestamp"])
            .into_bytes();
    whole.extend(&posted.body);
    let key = format!("hexkey:{}", data_encoding::HEXLOWER.encode(&key));
    let judged = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut judge) = judged else {
        eprintln!("openssl is not there: the signature was not judged by it");
        return;
    };
    judge.stdin.take().unwrap().write_all(&whole).unwrap();
    let expected = judge.wait_with_output().unwrap().stdout;
    let given = posted.headers["webhook-signature"].strip_prefix("v1,").unwrap();
    assert_eq!(data_encoding::BASE64.decode(given.as_bytes()).unwrap(), expected);
}

#[test]
fn a_channel_can_be_tried_and_outsiders_get_plain_words() {
    let http = Server::start();
    let scene = Scene::new(http.port, 9);
    let output = scene.run(&["messages", "--test", "hook"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&http.got("/hook")[0].body).contains("incident.test"));
    let refused = scene.run(&["messages", "--test", "mail"]);
    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    let unknown = scene.run(&["messages", "--test", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let public = scene.run(&["messages", &scene.incident, "--public"]);
    let text = String::from_utf8(public.stdout).unwrap();
    assert!(text.starts_with("INVESTIGATING: we see a problem with orders since "), "{text}");
    assert!(!text.contains("alice"), "{text}");
}

/// Nobody has a window open and no runner is alive: the scheduler wakes one, which reminds.
#[test]
#[ignore = "half a minute: see make test-people"]
fn the_scheduler_reminds_of_lines_that_are_due_while_nobody_looks() {
    let http = Server::start();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let scene = Scene::new(http.port, mail_server(Arc::clone(&mails)));
    let root = scene.root.path().display().to_string();
    let runbook = scene.root.path().join("runbook.toml");
    fs::write(&runbook, "[[horizons]]\nid = \"hour\"\nseconds = 8\n").unwrap();
    let config = scene.root.path().join("lifeboat.toml");
    let text = format!(
        "runbook = \"{}\"\n{}\n[[clusters]]\nname = \"orders\"\ntier = \"high\"\n\
         environment = \"production\"\ndata_directory = \"{root}/data\"\n\
         repositories = [\"local\"]\n[clusters.connection]\nhost = \"{root}\"\n\
         [clusters.control]\ndriver = \"pg_ctl\"\n[[repositories]]\nname = \"local\"\n\
         [repositories.store]\nkind = \"file\"\npath = \"{root}/repository\"\n",
        runbook.display(),
        fs::read_to_string(&config).unwrap()
    );
    fs::write(&config, text).unwrap();
    scene.journal(Event::StepFinished { step: String::from("open") });
    assert!(http.got("/hook").is_empty());

    let mut scheduler = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("ALL_PROXY")
        .arg("--config")
        .arg(&config)
        .arg("schedule")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let told = |what: &str| {
        let entries = lifeboat::engine::incident::journal::read(&scene.folder).unwrap().entries;
        entries.iter().any(|entry| match &entry.event {
            Event::ChecklistReminded(reminder) => {
                reminder.overdue.iter().chain(&reminder.soon).any(|line| line == what)
            }
            _ => false,
        })
    };
    let posted = || {
        let all = http.got("/hook");
        all.iter()
            .any(|one| String::from_utf8_lossy(&one.body).contains("OVERDUE: Monitoring alerts"))
    };
    let until = Instant::now() + Duration::from_secs(150);
    while !(told("alerts-enabled") && posted()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let end = |pid: i32| {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    };
    end(i32::try_from(scheduler.id()).unwrap());
    scheduler.wait().unwrap();
    let runner = fs::read(scene.folder.join("runner.json")).ok();
    let runner = runner.and_then(|told| serde_json::from_slice::<Value>(&told).ok());
    if let Some(pid) = runner.as_ref().and_then(|told| told["pid"].as_i64()) {
        end(i32::try_from(pid).unwrap());
    }
    assert!(told("alerts-enabled"), "no runner was woken to remind");
    assert!(posted(), "{:?}", http.got("/hook"));
}
