//! A whole database and a schema that were dropped: back as they were, with everything that belongs
//! to them, and nothing that is there is touched.

use super::Scene;
use lifeboat::engine::drill::sandbox::CLUSTER;

const OFFICE: &str = r#"
CREATE SCHEMA desk AUTHORIZATION keeper;
CREATE TYPE desk.mood AS ENUM ('good', 'bad');
CREATE TABLE desk.people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
    mood desk.mood, long text GENERATED ALWAYS AS (name || '!') STORED, picture oid);
CREATE TABLE desk.notes (day date, person bigint REFERENCES desk.people, t text)
    PARTITION BY RANGE (day);
CREATE TABLE desk.notes_1 PARTITION OF desk.notes FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
ALTER TABLE desk.people ENABLE ROW LEVEL SECURITY, OWNER TO keeper;
CREATE POLICY own ON desk.people FOR SELECT TO clerk USING (name = current_user);
CREATE FUNCTION desk.hush() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION desk.hush();
CREATE MATERIALIZED VIEW desk.many AS SELECT count(*) FROM desk.people;
CREATE PUBLICATION out FOR TABLE desk.people;
GRANT SELECT ON desk.people TO clerk;
INSERT INTO desk.people (name, mood, picture)
  SELECT 'p' || g, 'good', lo_from_bytea(0, decode(repeat('00ff', g * 500), 'hex'))
    FROM generate_series(1, 9) g;
INSERT INTO desk.notes SELECT '2024-02-02', 1 + g % 9, E'n\\t' || g FROM generate_series(1, 99) g;
REFRESH MATERIALIZED VIEW desk.many;
"#;

/// Everything of the database that a person would look at, in one line.
const ALL: &str = "SELECT concat_ws(' | ', \
    (SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM desk.people p), \
    (SELECT md5(string_agg(n::text, ',' ORDER BY n::text COLLATE \"C\")) FROM desk.notes n), \
    (SELECT md5(string_agg(lo_get(picture)::text, ',' ORDER BY id)) FROM desk.people), \
    (SELECT string_agg(r.rolname || setconfig::text, ',' ORDER BY 1) FROM pg_db_role_setting s \
       LEFT JOIN pg_roles r ON r.oid = setrole JOIN pg_database d ON d.oid = setdatabase \
      WHERE datname = current_database()), \
    (SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase \
      WHERE datname = current_database() AND setrole = 0), \
    (SELECT pg_get_userbyid(datdba) || datconnlimit || pg_encoding_to_char(encoding) || datcollate \
       FROM pg_database WHERE datname = current_database()), \
    (SELECT shobj_description(oid, 'pg_database') FROM pg_database \
      WHERE datname = current_database()), \
    has_database_privilege('clerk', current_database(), 'CONNECT'), \
    has_database_privilege('public', current_database(), 'TEMP'), \
    has_table_privilege('clerk', 'desk.people', 'SELECT'), \
    (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'desk.people'::regclass), \
    (SELECT string_agg(extname, ',' ORDER BY 1) FROM pg_extension), \
    (SELECT string_agg(conname, ',' ORDER BY 1) FROM pg_constraint WHERE connamespace = 'desk'::regnamespace), \
    (SELECT string_agg(evtname::text || evtenabled::text, ',') FROM pg_event_trigger), \
    (SELECT string_agg(polname, ',') FROM pg_policy), \
    (SELECT string_agg(pubname, ',') FROM pg_publication), \
    (SELECT last_value FROM desk.people_id_seq))";

const DATABASES: &str = "SELECT string_agg(datname::text, ' ' ORDER BY datname) FROM pg_database";

#[test]
#[ignore = "heavy: see make test-kill"]
fn a_dropped_database_and_dropped_schemas_come_back_whole() {
    let scene = Scene::new();
    scene.sql("CREATE ROLE clerk LOGIN; CREATE ROLE keeper LOGIN PASSWORD 'x'; CREATE ROLE helper");
    scene.sql("CREATE DATABASE office OWNER keeper TEMPLATE template0 ENCODING 'UTF8'");
    scene.sql_in("office", OFFICE);
    // Each of these comes with the server's contrib modules, where those are installed.
    let extension = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions \
                     WHERE name = 'pg_trgm') THEN CREATE EXTENSION pg_trgm; END IF; END $$";
    scene.sql_in("office", extension);
    scene.sql("COMMENT ON DATABASE office IS 'it''s the office'");
    scene.sql("ALTER DATABASE office SET work_mem = '7MB'");
    scene.sql("ALTER DATABASE office SET default_transaction_read_only = on");
    scene.sql("ALTER DATABASE office CONNECTION LIMIT 33");
    scene.sql("ALTER ROLE clerk IN DATABASE office SET statement_timeout = '5s'");
    scene.sql(
        "REVOKE ALL ON DATABASE office FROM public; GRANT CONNECT ON DATABASE office TO clerk",
    );
    scene.sql(
        "CREATE SCHEMA lab AUTHORIZATION keeper; CREATE TABLE lab.t (id int PRIMARY KEY, v text); \
         CREATE TYPE lab.pair AS (a int, b int); \
         CREATE FUNCTION lab.two() RETURNS int LANGUAGE sql AS 'SELECT 2'; \
         CREATE VIEW lab.seen AS SELECT v FROM lab.t; INSERT INTO lab.t VALUES (1, 'one'); \
         CREATE VIEW public.from_lab AS SELECT * FROM lab.t; \
         CREATE SCHEMA bare; CREATE FUNCTION bare.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         GRANT USAGE ON SCHEMA bare TO helper",
    );
    scene.sandbox.back_up().unwrap();
    let before = scene.text_in("office", ALL);
    scene.text("SELECT pg_create_restore_point('before')::text");
    scene.sql("DROP DATABASE office");
    scene.sql(
        "DROP SCHEMA lab CASCADE; DROP SCHEMA bare CASCADE; DROP ROLE keeper; DROP ROLE helper",
    );
    scene.sql("SELECT pg_switch_wal()");
    let databases = scene.text(DATABASES);

    // A look says which roles are missing, and nothing is made before somebody has said what
    // becomes of them.
    let office = ["--whole-database", "office"];
    let looked = scene.parts(&[&office[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!(looked["found"]["missing_roles"], serde_json::json!(["keeper"]), "{looked}");
    assert_eq!(looked["found"]["large_objects"], 9);
    let sure = ["--confirm", CLUSTER];
    let refused = scene.parts(&[&office[..], &sure].concat()).unwrap_err();
    assert!(refused.contains("keeper") && refused.contains("--missing-roles"), "{refused}");
    assert_eq!(scene.text(DATABASES), databases);

    let made = [&office[..], &sure, &["--missing-roles", "create"]].concat();
    let done = scene.parts(&made).unwrap();
    assert_eq!(scene.text_in("office", ALL), before, "{done}");
    assert_eq!(done["brought"]["rows"], 108, "{done}");
    assert_eq!(
        scene.text("SELECT rolcanlogin::text FROM pg_roles WHERE rolname = 'keeper'"),
        "false"
    );

    // One that is there is never touched unasked; asked, it is renamed and stays whole.
    scene.sql_in("office", "BEGIN READ WRITE; TRUNCATE desk.notes; COMMIT");
    let taken = scene.parts(&made).unwrap_err();
    assert!(taken.contains("has a database office already"), "{taken}");
    let emptied = scene.text_in("office", ALL);
    let aside = [&made[..], &["--set-aside", "office_emptied"]].concat();
    scene.parts(&aside).unwrap();
    assert_eq!(scene.text_in("office", ALL), before);
    let there = scene.text_in("office_emptied", ALL);
    assert_eq!(there, emptied);

    // A schema with everything in it, one without a table too, and what their loss took along.
    let schema = |name, missing| {
        let given = ["--schema", name, "--into", "in-place", "--missing-roles", missing];
        scene.parts(&[&given[..], &sure].concat())
    };
    let refused = schema("bare", "ask").unwrap_err();
    assert!(refused.contains("helper"), "{refused}");
    let done = schema("bare", "leave-out").unwrap();
    assert_eq!(scene.text("SELECT bare.one()::text"), "1", "{done}");
    assert_eq!(scene.text("SELECT count(*)::text FROM pg_roles WHERE rolname = 'helper'"), "0");
    let done = schema("lab", "ask").unwrap();
    assert_eq!(scene.text("SELECT v || lab.two() FROM lab.seen"), "one2");
    let owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'lab'";
    assert_eq!(scene.text(owner), "keeper");
    assert!(done["notes"].to_string().contains("public.from_lab"), "{done}");
    assert!(!scene.text(DATABASES).contains("lifeboat"), "nothing unfinished is left");
    scene.sandbox.close().unwrap();
}
