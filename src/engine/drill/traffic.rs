//! The application's traffic on the sandbox: small transactions, and a ledger, outside the
//! database, of those that the server acknowledged. The ledger is for scoring: what stands in it
//! was promised to a customer.

use super::error::DrillError;
use super::server::Server;
use super::shop::{DATABASE, TABLES};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// A row that the server promised to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When the client had the commit's answer.
    pub at: Timestamp,
    pub table: String,
    pub id: i64,
    /// `insert` or `update`.
    pub did: String,
}

/// The running traffic. Ends when told to, or when the server is cut off.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    sessions: Vec<JoinHandle<()>>,
}

/// Held by the incident while it counts what is there: nobody commits meanwhile.
pub type Gate = Arc<RwLock<()>>;

#[derive(Debug)]
struct Shared {
    gate: Gate,
    stop: AtomicBool,
    committed: AtomicU64,
    ledger: Mutex<File>,
}

const SESSIONS: u32 = 2;

impl Traffic {
    /// Starts it, `rate` transactions a second, on `runtime`.
    ///
    /// # Errors
    /// Where the ledger cannot be made or the server not be reached.
    pub fn start(
        server: &Server,
        ledger: &Path,
        rate: f64,
        seed: u64,
        runtime: &Handle,
    ) -> Result<Self, DrillError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(ledger)
            .map_err(DrillError::file(ledger, "the ledger could not be made"))?;
        let shared = Arc::new(Shared {
            gate: Gate::default(),
            stop: AtomicBool::new(false),
            committed: AtomicU64::new(0),
            ledger: Mutex::new(file),
        });
        let pause = Duration::from_secs_f64(f64::from(SESSIONS) / rate.clamp(0.1, 10_000.0));
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let client = runtime.block_on(server.connect("shop_app", DATABASE))?;
            let session = Session {
                shared: Arc::clone(&shared),
                client,
                missing: Vec::new(),
                dice: Dice(seed ^ u64::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            };
            sessions.push(runtime.spawn(session.run(pause)));
        }
        Ok(Self { shared, sessions })
    }

    /// Transactions acknowledged so far.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::SeqCst)
    }

    /// True until every session ended.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.sessions.iter().any(|session| !session.is_finished())
    }

    #[must_use]
    pub fn gate(&self) -> Gate {
        Arc::clone(&self.shared.gate)
    }

    /// Ends it after the transactions that run now; the ledger is whole afterwards.
    pub fn stop(&mut self, runtime: &Handle) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for session in self.sessions.drain(..) {
            // A session that cannot end, because the server hangs, is dropped.
            let _ = runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(5), session).await });
        }
    }
}

/// Reads a ledger. A last line that was cut in the middle is not a promise and is left out.
///
/// # Errors
/// Where it cannot be read, or another line than the last is damaged.
pub fn read_ledger(path: &Path) -> Result<Vec<Acknowledged>, DrillError> {
    let file = File::open(path).map_err(DrillError::file(path, "the ledger cannot be read"))?;
    let mut rows = Vec::new();
    let mut damaged = None;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(DrillError::file(path, "the ledger cannot be read"))?;
        if let Some(error) = damaged.take() {
            return Err(DrillError::file(path, "a line of the ledger is damaged")(error));
        }
        match serde_json::from_str(&line) {
            Ok(row) => rows.push(row),
            Err(error) => damaged = Some(error.into()),
        }
    }
    Ok(rows)
}

struct Session {
    shared: Arc<Shared>,
    client: Client,
    /// Tables that the incident took away whole: what does not need them goes on.
    missing: Vec<&'static str>,
    dice: Dice,
}

impl Session {
    async fn run(mut self, pause: Duration) {
        let mut beat = tokio::time::interval(pause);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.shared.stop.load(Ordering::SeqCst) {
            beat.tick().await;
            let gate = Arc::clone(&self.shared.gate);
            let open = gate.read().await;
            if !self.missing.is_empty() {
                // They may be back.
                self.look().await;
            }
            let done = self.transact().await;
            drop(open);
            match done {
                Ok(rows) => self.shared.acknowledge(&rows),
                // The connection is gone: the server was stopped, and the traffic with it.
                Err(_) if self.client.is_closed() => return,
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => self.look().await,
                // A refused statement, such as the foreign key of a deleted order: the
                // application would tell its user, and nothing was promised.
                Err(_) => {}
            }
        }
    }

    /// Which tables are not there.
    async fn look(&mut self) {
        let sql = "SELECT t FROM unnest($1::text[]) AS t WHERE pg_catalog.to_regclass(t) IS NULL";
        let asked = self.client.query(sql, &[&TABLES.as_slice()]).await;
        let Ok(rows) = asked else { return };
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        self.missing =
            TABLES.into_iter().filter(|table| names.iter().any(|name| name == table)).collect();
    }

    /// What is done next, of a hundred: where a table is missing, something that needs it not.
    fn choose(&mut self) -> u64 {
        let what = self.dice.below(100);
        let lost = |table: &str| self.missing.contains(&table);
        match what {
            0..60 if lost("public.orders") => 60,
            0..75 if lost("public.customers") => 75,
            75.. if lost("public.orders") => 60,
            what => what,
        }
    }

    async fn transact(
        &mut self,
    ) -> Result<Vec<(&'static str, i64, &'static str)>, tokio_postgres::Error> {
        let (what, detail) = (self.choose(), self.dice.next());
        let transaction = self.client.transaction().await?;
        let (action, order, mut rows) = match what {
            0..60 => {
                let sql = "INSERT INTO public.orders (customer_id, amount, shipping_note)
                    SELECT id, $1::bigint / 100.0, 'parcel ' || to_hex($1::bigint)
                    FROM public.customers
                    WHERE id >= $2::bigint % (SELECT max(id) FROM public.customers) ORDER BY id LIMIT 1
                    RETURNING id";
                let amount = i64::try_from(500 + detail % 50_000).unwrap_or(500);
                let pick = i64::try_from(detail >> 1).unwrap_or_default();
                let id: i64 = transaction.query_one(sql, &[&amount, &pick]).await?.get(0);
                ("order placed", Some(id), vec![("public.orders", id, "insert")])
            }
            60..75 => {
                let sql = "INSERT INTO public.customers (email, name, city)
                    VALUES ($1 || '@shop.example', 'New Customer', 'Harbour') RETURNING id";
                let name = format!("new-{detail:x}");
                let id: i64 = transaction.query_one(sql, &[&name]).await?.get(0);
                ("customer registered", None, vec![("public.customers", id, "insert")])
            }
            _ => {
                let sql = "UPDATE public.orders SET status = 'packed'
                    WHERE id = (SELECT max(id) FROM public.orders) - $1::bigint RETURNING id";
                let back = i64::try_from(detail % 200).unwrap_or_default();
                let id: Option<i64> =
                    transaction.query_opt(sql, &[&back]).await?.map(|row| row.get(0));
                let rows = id.map(|id| ("public.orders", id, "update")).into_iter().collect();
                ("order packed", id, rows)
            }
        };
        if self.missing.contains(&"public.audit_log") {
            transaction.commit().await?;
            return Ok(rows);
        }
        let sql = "INSERT INTO public.audit_log (actor, action, order_id)
            VALUES ('shop_app', $1, $2) RETURNING id";
        let id: i64 = transaction.query_one(sql, &[&action, &order]).await?.get(0);
        rows.push(("public.audit_log", id, "insert"));
        transaction.commit().await?;
        Ok(rows)
    }
}

impl Shared {
    fn acknowledge(&self, rows: &[(&'static str, i64, &'static str)]) {
        let at = Timestamp::now();
        let mut text = String::new();
        for (table, id, did) in rows {
            let row =
                Acknowledged { at, table: (*table).to_owned(), id: *id, did: (*did).to_owned() };
            if let Ok(line) = serde_json::to_string(&row) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        // A promise that cannot be kept in the ledger is not counted either.
        if ledger.write_all(text.as_bytes()).is_ok() {
            self.committed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A small generator (xorshift), so that a seed gives the same traffic.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_cut_in_its_last_line_reads_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let whole =
            r#"{"at":"2025-01-13T10:00:00Z","table":"public.orders","id":7,"did":"insert"}"#;
        std::fs::write(&path, format!("{whole}\n{{\"at\":\"2025")).unwrap();
        assert_eq!(read_ledger(&path).unwrap().len(), 1);
        std::fs::write(&path, format!("{{\"at\n{whole}\n")).unwrap();
        assert!(read_ledger(&path).is_err());
    }
}
