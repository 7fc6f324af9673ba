//! A proxy that does to requests what a bad day does.

use crate::server::Server;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing here waits longer for other requests.
const LIMIT: Duration = Duration::from_secs(20);

/// What the proxy does with a request.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Answers itself, with this status and S3's word for it; the server never hears of it.
    Say(u16, &'static str),
    /// As `Say`, and hangs up before it has read what is sent.
    SayAtOnce(u16, &'static str),
    /// Passes so much of the answer on, and closes.
    Cut(usize),
    /// Passes so much of the answer on, and falls silent until the client goes away.
    Stall(usize),
    /// The server does it all; the client hears nothing.
    LoseAnswer,
    /// Passes the answer on in small pieces, with a pause before each.
    Slow,
    /// Turns a bit of the request's body over on its way to the server.
    Damage,
    /// Reads of ranges wait until so many different ones are asked for.
    Company(usize),
    /// Adds these lines, each with its end, to the answer's head.
    Add(&'static str),
}

/// The proxy, and what it has seen.
pub struct Proxy {
    pub address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    deeds: Mutex<VecDeque<(String, Deed)>>,
    /// `METHOD /path?query` of every request, with ` if absent` after it where that is asked for.
    seen: Mutex<Vec<String>>,
    /// Every request's head, in small letters.
    heads: Mutex<Vec<String>>,
    weather: Mutex<Weather>,
}

/// What holds for every request.
#[derive(Default)]
struct Weather {
    /// The state of the dice; a request in four has bad luck.
    storm: Option<u64>,
    /// How many requests a session's token is good for.
    session: Option<usize>,
    used: HashMap<String, usize>,
    /// Listings whose line holds this name no object.
    stale: Option<String>,
    /// What becomes of every request.
    outage: Option<Deed>,
    /// An outage that begins with the so-manieth request whose line holds the words.
    ahead: Option<(&'static str, usize, Deed)>,
    /// Bytes a second of all answers together, and when the next may be sent.
    pace: Option<(u64, Instant)>,
}

impl Proxy {
    pub fn before(server: &Server) -> Self {
        Self::before_address(&server.address)
    }

    pub fn before_address(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        // Both end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                std::thread::spawn(move || serve(client, &target, &shared));
            }
        });
        Self { address, state }
    }

    /// The next request whose line holds `what` is treated so; each deed is done once, in order.
    pub fn next(&self, what: &str, deed: Deed) {
        self.state.deeds.lock().unwrap().push_back((what.to_owned(), deed));
    }

    /// From now on a request in four is throttled, refused, cut, slowed or left without an answer.
    pub fn storm(&self, seed: Option<u64>) {
        self.state.weather.lock().unwrap().storm = seed;
    }

    /// Every session's token is good for so many requests, and expired from then on.
    pub fn sessions_of(&self, requests: usize) {
        self.state.weather.lock().unwrap().session = Some(requests);
    }

    /// Listings whose line holds `what` are told as they were before there was anything.
    pub fn stale(&self, what: Option<&str>) {
        self.state.weather.lock().unwrap().stale = what.map(str::to_owned);
    }

    /// Every request is treated so from now on.
    pub fn outage(&self, deed: Deed) {
        self.state.weather.lock().unwrap().outage = Some(deed);
    }

    /// The way is as it should be again.
    pub fn mended(&self) {
        let mut weather = self.state.weather.lock().unwrap();
        (weather.outage, weather.ahead) = (None, None);
    }

    /// From the `count`th request on whose line holds `what`, every request is treated so.
    pub fn outage_from(&self, what: &'static str, count: usize, deed: Deed) {
        self.state.weather.lock().unwrap().ahead = Some((what, count, deed));
    }

    /// All answers together pass no faster than so many bytes a second, as over a long line.
    pub fn at_most(&self, bytes_per_second: u64) {
        self.state.weather.lock().unwrap().pace = Some((bytes_per_second, Instant::now()));
    }

    /// Sessions whose token was used.
    pub fn sessions(&self) -> usize {
        self.state.weather.lock().unwrap().used.len()
    }

    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Deeds that are still to be done.
    pub fn left(&self) -> usize {
        self.state.deeds.lock().unwrap().len()
    }
}

impl State {
    /// How many different ranges were asked for.
    fn ranges(&self) -> usize {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter_map(|head| range_of(head)).collect::<HashSet<_>>().len()
    }

    fn deed(&self, line: &str, head: &str) -> Option<Deed> {
        let mut deeds = self.deeds.lock().unwrap();
        if let Some(at) = deeds.iter().position(|(what, _)| line.contains(what.as_str())) {
            return deeds.remove(at).map(|(_, deed)| deed);
        }
        let mut weather = self.weather.lock().unwrap();
        weather.comes(line);
        weather.deed(head)
    }

    /// Waits for its turn to send so many bytes, where there is a pace.
    fn take_turn(&self, bytes: usize, never: &Receiver<()>) {
        let turn = {
            let mut weather = self.weather.lock().unwrap();
            let Some((rate, next)) = &mut weather.pace else { return };
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs_f64(bytes as f64 / *rate as f64);
            *next
        };
        let _ = never.recv_timeout(turn.saturating_duration_since(Instant::now()));
    }
}

impl Weather {
    /// Counts down to an outage that was announced.
    fn comes(&mut self, line: &str) {
        let Some((what, left, deed)) = &mut self.ahead else { return };
        if line.contains(*what) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.outage = Some(deed.clone());
                self.ahead = None;
            }
        }
    }

    fn deed(&mut self, head: &str) -> Option<Deed> {
        let token = head.lines().find_map(|line| line.strip_prefix("x-amz-security-token: "));
        if let (Some(life), Some(token)) = (self.session, token) {
            let used = self.used.entry(token.to_owned()).or_default();
            *used += 1;
            if *used > life {
                return Some(Deed::Say(400, "ExpiredToken"));
            }
        }
        if let Some(deed) = &self.outage {
            return Some(deed.clone());
        }
        let state = self.storm.as_mut()?;
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (luck, size) = (*state >> 33, (*state >> 40) as usize);
        if luck % 4 != 0 {
            return None;
        }
        Some(match luck / 4 % 7 {
            0 => Deed::Say(503, "SlowDown"),
            1 => Deed::Say(503, ""),
            2 => Deed::Say(500, "InternalError"),
            3 => Deed::Cut(size % 300_000),
            4 => Deed::Stall(size % 300_000),
            5 => Deed::LoseAnswer,
            _ => Deed::Slow,
        })
    }
}

/// What a request's head says of the range that it wants.
pub fn range_of(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("range: "))
}

fn refusal(line: &str, status: u16, code: &str) -> String {
    let text = match code {
        "" => String::new(),
        code => format!("<Error><Code>{code}</Code><Message>so be it</Message></Error>"),
    };
    let mut answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n", text.len());
    let _ = write!(answer, "Connection: close\r\n\r\n");
    if !line.starts_with("HEAD") {
        answer.push_str(&text);
    }
    answer
}

/// One request a connection: both sides are told to close.
fn serve(mut client: TcpStream, target: &str, state: &State) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let small = head.to_lowercase();
    let condition = small.contains("\r\nif-none-match: *\r\n");
    let seen = format!("{line}{}", if condition { " if absent" } else { "" });
    state.seen.lock().unwrap().push(seen);
    state.heads.lock().unwrap().push(small.clone());
    let length = small.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let deed = state.deed(&line, &small);
    if let Some(Deed::SayAtOnce(status, code)) = deed {
        return client.write_all(refusal(&line, status, code).as_bytes()).ok();
    }
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    if let Some(Deed::Say(status, code)) = deed {
        return client.write_all(refusal(&line, status, code).as_bytes()).ok();
    }
    if let Some(Deed::Company(wanted)) = deed {
        let begun = Instant::now();
        while range_of(&small).is_some() && state.ranges() < wanted && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if matches!(deed, Some(Deed::Damage)) {
        let middle = body.len() / 2;
        body[middle] ^= 1;
    }
    let listing = line.starts_with("GET ") && line.contains("list-type=2");
    let mut server = TcpStream::connect(target).ok()?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).ok()?;
    // One that refuses may hang up before it has read it all; what it said is there to be read.
    let _ = server.write_all(&body);
    let stale = |weather: &Weather| weather.stale.as_ref().is_some_and(|what| line.contains(what));
    if listing && stale(&state.weather.lock().unwrap()) {
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        return client.write_all(without_objects(&String::from_utf8(answer).ok()?).as_bytes()).ok();
    }
    if let Some(Deed::Add(lines)) = deed {
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        let end = answer.windows(2).position(|w| w == b"\r\n")? + 2;
        answer.splice(end..end, lines.bytes());
        return client.write_all(&answer).ok();
    }
    pass_on(&mut server, &mut client, deed.as_ref(), state)
}

/// A listing with blanks where its objects stood: every length in it stays true.
fn without_objects(answer: &str) -> String {
    let mut told = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some((before, object)) = rest.split_once("<Contents>") {
        let end = object.find("</Contents>").map_or(object.len(), |at| at + "</Contents>".len());
        told.push_str(before);
        told.extend(std::iter::repeat_n(' ', "<Contents>".len() + end));
        rest = &object[end..];
    }
    told + rest
}

fn pass_on(
    server: &mut TcpStream,
    client: &mut TcpStream,
    deed: Option<&Deed>,
    state: &State,
) -> Option<()> {
    let (most, piece) = match deed {
        Some(Deed::Cut(most) | Deed::Stall(most)) => (*most, 64 << 10),
        Some(Deed::LoseAnswer) => (0, 64 << 10),
        Some(Deed::Slow) => (usize::MAX, 256 << 10),
        _ => (usize::MAX, 64 << 10),
    };
    if matches!(deed, Some(Deed::LoseAnswer)) {
        std::io::copy(server, &mut std::io::sink()).ok()?;
    }
    // Nothing is ever sent on it: receiving from it is how the slow server takes its time.
    let (_keep, never): (Sender<()>, Receiver<()>) = channel();
    let (mut passed, mut buffer) = (0, vec![0; piece]);
    while passed < most {
        let size = server.read(&mut buffer).ok()?.min(most - passed);
        if size == 0 {
            break;
        }
        if matches!(deed, Some(Deed::Slow)) {
            let _ = never.recv_timeout(Duration::from_millis(20));
        }
        for piece in buffer[..size].chunks(16 << 10) {
            state.take_turn(piece.len(), &never);
            client.write_all(piece).ok()?;
        }
        passed += size;
    }
    if matches!(deed, Some(Deed::Stall(_))) {
        // Until the client goes away.
        let _ = client.read(&mut buffer);
    }
    client.shutdown(Shutdown::Both).ok()
}
