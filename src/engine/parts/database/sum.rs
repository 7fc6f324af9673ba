//! What a database holds, as figures that two servers can be compared by: rows and a digest of each
//! table, large objects, where sequences stand, how many objects of each kind, and the database's
//! own properties. Reads only.

use super::super::catalog::NOT_SYSTEM;
use super::super::error::PartsError;
use super::super::names::Name;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// The figures, each under what it is of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sum {
    /// Rows and digest by table.
    tables: BTreeMap<String, (i64, String)>,
    /// Last value by sequence.
    sequences: BTreeMap<String, String>,
    large_objects: String,
    /// How many by kind.
    objects: BTreeMap<String, i64>,
    /// Owner, encoding, locale and settings.
    properties: BTreeMap<String, String>,
}

/// Objects by kind; those of extensions are the extension's.
const OBJECTS: &str = "SELECT x.kind, count(*) FROM ( \
      SELECT 'relations of kind ' || c.relkind::text AS kind, c.oid, \
             'pg_catalog.pg_class'::pg_catalog.regclass::oid AS class \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE NS AND c.relpersistence <> 't' \
      UNION ALL SELECT 'functions', p.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass \
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE NS \
      UNION ALL SELECT 'types', t.oid, 'pg_catalog.pg_type'::pg_catalog.regclass \
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE NS \
      UNION ALL SELECT 'schemas', n.oid, 'pg_catalog.pg_namespace'::pg_catalog.regclass \
        FROM pg_catalog.pg_namespace n WHERE NS \
      UNION ALL SELECT 'constraints', k.oid, 'pg_catalog.pg_constraint'::pg_catalog.regclass \
        FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n \
          ON n.oid = k.connamespace WHERE NS \
      UNION ALL SELECT 'triggers', g.oid, 'pg_catalog.pg_trigger'::pg_catalog.regclass \
        FROM pg_catalog.pg_trigger g WHERE NOT g.tgisinternal \
      UNION ALL SELECT 'policies', y.oid, 'pg_catalog.pg_policy'::pg_catalog.regclass \
        FROM pg_catalog.pg_policy y \
      UNION ALL SELECT 'event triggers', e.oid, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass \
        FROM pg_catalog.pg_event_trigger e \
      UNION ALL SELECT 'publications', u.oid, 'pg_catalog.pg_publication'::pg_catalog.regclass \
        FROM pg_catalog.pg_publication u \
      UNION ALL SELECT 'extensions', e.oid, 0 FROM pg_catalog.pg_extension e \
    ) x WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = x.oid \
          AND d.classid = x.class AND d.deptype = 'e') GROUP BY 1";

/// Zeros at a page's end count for nothing: a hole of a large object comes back as zeros.
const LARGE_OBJECTS: &str = "SELECT \
      (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata)::text || ' with ' || \
      coalesce(sum(pg_catalog.hashtextextended(p.loid::text || ' ' || p.pageno::text || ' ' || \
        pg_catalog.encode(pg_catalog.rtrim(p.data, pg_catalog.decode('00', 'hex')), 'hex'), 0)::numeric), 0)::text \
      FROM pg_catalog.pg_largeobject p WHERE pg_catalog.rtrim(p.data, pg_catalog.decode('00', 'hex')) <> pg_catalog.decode('', 'hex')";

/// The figures of the database that is connected to.
///
/// # Errors
/// Where it does not answer.
pub async fn of(client: &Client) -> Result<Sum, PartsError> {
    let failed = |what: &str| PartsError::sql(format!("Adding up {what}"));
    let mut sum = Sum::default();
    let query = format!(
        "SELECT n.nspname::text, c.relname::text, c.relkind = 'S' FROM pg_catalog.pg_class c \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND {NOT_SYSTEM}"
    );
    for row in client.query(&query, &[]).await.map_err(failed("tables"))? {
        let name = Name {
            schema: row.try_get(0).map_err(failed("tables"))?,
            table: row.try_get(1).map_err(failed("tables"))?,
        };
        if row.try_get(2).map_err(failed("sequences"))? {
            let query = format!("SELECT last_value::text || is_called::text FROM {}", name.sql());
            let stands = client.query_one(&query, &[]).await.and_then(|row| row.try_get(0));
            sum.sequences.insert(name.to_string(), stands.map_err(failed("sequences"))?);
        } else {
            let found = super::super::carry::digest(client, &name).await?;
            sum.tables.insert(name.to_string(), found);
        }
    }
    let row = client.query_one(LARGE_OBJECTS, &[]).await.map_err(failed("large objects"))?;
    sum.large_objects = row.try_get(0).map_err(failed("large objects"))?;
    let query = OBJECTS.replace("NS", NOT_SYSTEM);
    for row in client.query(&query, &[]).await.map_err(failed("objects"))? {
        let kind: String = row.try_get(0).map_err(failed("objects"))?;
        sum.objects.insert(kind, row.try_get(1).map_err(failed("objects"))?);
    }
    let query = "SELECT 'owner', pg_catalog.pg_get_userbyid(b.datdba)::text \
                   FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database() \
         UNION ALL SELECT 'encoding and locale', pg_catalog.pg_encoding_to_char(b.encoding)::text \
                   || ' ' || b.datcollate || ' ' || b.datctype \
                   FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database() \
         UNION ALL SELECT 'settings of ' || coalesce(r.rolname, 'all')::text, s.setconfig::text \
                   FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database b \
                     ON b.oid = s.setdatabase AND b.datname = pg_catalog.current_database() \
                   LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole";
    for row in client.query(query, &[]).await.map_err(failed("properties"))? {
        let name: String = row.try_get(0).map_err(failed("properties"))?;
        let value: String = row.try_get(1).map_err(failed("properties"))?;
        sum.properties.insert(name, value);
    }
    Ok(sum)
}

impl Sum {
    pub fn tables(&self) -> u64 {
        self.tables.len() as u64
    }

    pub fn rows(&self) -> u64 {
        self.tables.values().map(|(rows, _)| u64::try_from(*rows).unwrap_or_default()).sum()
    }

    /// What was compared with the copy's and is equal, in words.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn same_as(&self, copy: &Self) -> Result<Vec<String>, PartsError> {
        same("The rows of", &self.tables, &copy.tables)?;
        same("The sequence", &self.sequences, &copy.sequences)?;
        same("The number of", &self.objects, &copy.objects)?;
        same("The database's", &self.properties, &copy.properties)?;
        if self.large_objects != copy.large_objects {
            return Err(PartsError::NotTheSame(String::from(
                "The large objects are not those of the source.",
            )));
        }
        let objects: i64 = self.objects.values().sum();
        Ok(vec![
            format!("{} rows of {} tables, by content", self.rows(), self.tables.len()),
            format!("{} large objects, by content", {
                self.large_objects.split(' ').next().unwrap_or_default()
            }),
            format!("{} sequences, where each stands", self.sequences.len()),
            format!("{objects} objects, by kind"),
            String::from("owner, encoding, locale and settings of the database"),
        ])
    }
}

fn same<T: PartialEq>(
    what: &str,
    here: &BTreeMap<String, T>,
    there: &BTreeMap<String, T>,
) -> Result<(), PartsError> {
    let names = here.keys().chain(there.keys());
    match names.into_iter().find(|name| here.get(*name) != there.get(*name)) {
        None => Ok(()),
        Some(name) => {
            Err(PartsError::NotTheSame(format!("{what} {name} is not as in the source.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_on_either_side_is_not_the_same() {
        let mut here = Sum::default();
        here.tables.insert(String::from("public.t"), (2, String::from("7")));
        assert!(here.same_as(&here.clone()).is_ok());
        let empty = Sum::default();
        assert!(here.same_as(&empty).unwrap_err().to_string().contains("public.t"));
        assert!(empty.same_as(&here).is_err());
        let mut other = here.clone();
        other.tables.insert(String::from("public.t"), (2, String::from("8")));
        assert!(here.same_as(&other).is_err());
    }
}
