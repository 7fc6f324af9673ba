//! The shop's database: customers, orders and audit log, made by the server itself, as large as
//! asked for. Owns the sizes and the order of loading; the SQL is in `assets/sandbox/`.

use super::error::DrillError;
use super::server::Server;

pub const DATABASE: &str = "shop";
/// The same in every cluster, whatever a copied one has made of its template.
const CREATE: &str =
    "CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";
/// The tables, in the order in which foreign keys need them.
pub const TABLES: [&str; 3] = ["public.customers", "public.orders", "public.audit_log"];

/// Whoever can log in: the server's own and those that the shop makes.
pub const ROLES: [&str; 3] = ["postgres", "shop_app", "app_maintenance"];

/// Bytes on disk for each order, with its audit line, its tenth of a customer and their indexes.
const BYTES_PER_ORDER: u64 = 398;
/// The hours that the orders are spread over, evenly.
const HOURS: u64 = 14 * 24;

/// Settings for loading alone: no WAL is kept for tables made in the same transaction, and
/// nothing waits for the disk. The load is synced as a whole afterwards.
pub const LOAD_SETTINGS: [(&str, &str); 9] = [
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("archive_mode", "off"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "off"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    ("maintenance_work_mem", "256MB"),
];

/// How many rows a size in megabytes (10^6 bytes) comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    pub orders: u64,
    pub customers: u64,
}

impl Volume {
    #[must_use]
    pub fn of(size_mb: u64) -> Self {
        let orders = (size_mb.saturating_mul(1_000_000) / BYTES_PER_ORDER).max(HOURS * 10);
        Self { orders, customers: orders / 10 }
    }

    /// Orders of the last hour.
    #[must_use]
    pub fn last_hour(self) -> u64 {
        self.orders / HOURS
    }
}

/// Makes and fills the database on a server that was started with [`LOAD_SETTINGS`].
///
/// # Errors
/// Where the server refuses a statement.
pub async fn fill(server: &Server, volume: Volume, seed: u64) -> Result<(), DrillError> {
    let postgres = server.connect("postgres", "postgres").await?;
    let run = DrillError::sql("the shop's database could not be made");
    postgres.batch_execute(CREATE).await.map_err(run)?;
    // Seeds are added to in SQL: kept small, so that no sum overflows.
    let seed = (seed & 0xFFFF_FFFF).to_string();
    let told = |sql: &str, rows: u64| {
        sql.replace("{rows}", &rows.to_string())
            .replace("{customers}", &volume.customers.to_string())
            .replace("{seed}", &seed)
    };
    let customers = told(include_str!("../../../assets/sandbox/customers.sql"), volume.customers);
    let orders = told(include_str!("../../../assets/sandbox/orders.sql"), volume.orders);
    let audit_log = told(include_str!("../../../assets/sandbox/audit_log.sql"), volume.orders);
    let customers = Table {
        name: "public.customers",
        fill: customers,
        indexes: include_str!("../../../assets/sandbox/customers_indexes.sql"),
    };
    let orders = Table {
        name: "public.orders",
        fill: orders,
        indexes: include_str!("../../../assets/sandbox/orders_indexes.sql"),
    };
    let audit_log = Table {
        name: "public.audit_log",
        fill: audit_log,
        indexes: include_str!("../../../assets/sandbox/audit_log_indexes.sql"),
    };
    let people_and_log = async {
        customers.make(server).await?;
        audit_log.make(server).await
    };
    tokio::try_join!(orders.make(server), people_and_log)?;
    let shop = server.connect("postgres", DATABASE).await?;
    shop.batch_execute(include_str!("../../../assets/sandbox/finish.sql"))
        .await
        .map_err(DrillError::sql("the shop's constraints and roles could not be made"))
}

struct Table {
    name: &'static str,
    fill: String,
    indexes: &'static str,
}

impl Table {
    async fn make(&self, server: &Server) -> Result<(), DrillError> {
        let client = server.connect("postgres", DATABASE).await?;
        // One transaction for table, rows and indexes: that is what spares the WAL.
        let sql = format!("BEGIN; {} {} COMMIT;", self.fill, self.indexes);
        let fail = || DrillError::sql("a table of the shop could not be filled");
        client.batch_execute(&sql).await.map_err(fail())?;
        // Hint bits set now need not be written, as full pages of WAL, under traffic.
        let vacuum = format!("VACUUM (FREEZE, ANALYZE) {}", self.name);
        client.batch_execute(&vacuum).await.map_err(fail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_the_smallest_shop_has_orders_in_the_last_hour() {
        assert!(Volume::of(0).last_hour() >= 10);
        assert!(Volume::of(500).last_hour() > 1_000);
        assert!(Volume::of(u64::MAX).customers > 0);
    }
}
