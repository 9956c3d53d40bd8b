#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::detail::{Detail, Member};
use super::{Charge, Database, Error, Kind, TOKENS, Value, WHO};
use crate::quota::{Admission, Request, Store, Times};

const NOW: u64 = 1_800_000_000_000;
const LISTED: &str = r#"["r1","alice",null,"kim","m","acme","p","up","v","partial",false,1,2,3,4,5,6,7]"#;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tollhouse-ledger-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With tables as `ledger_schema.py` makes them, but for indexes.
    fn open(&self) -> Database {
        let db = Database::open(&self.0.join("ledger.db"), false, Duration::ZERO).unwrap();
        let who = WHO.map(|name| format!("{name} TEXT")).join(", ");
        let tokens = TOKENS.map(|name| format!("{name} INTEGER NOT NULL")).join(", ");
        for sql in [
            "CREATE TABLE IF NOT EXISTS positions (source TEXT PRIMARY KEY, last TEXT NOT NULL) STRICT, WITHOUT ROWID",
            &format!(
                "CREATE TABLE IF NOT EXISTS series \
                 (id INTEGER PRIMARY KEY, status TEXT NOT NULL, priced INTEGER NOT NULL, {who}) STRICT"
            ),
            &format!(
                "CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, \
                 at_ms INTEGER NOT NULL, shared INTEGER NOT NULL, hold TEXT NOT NULL, expired INTEGER NOT NULL, \
                 amount INTEGER NOT NULL, request TEXT, {tokens}) STRICT"
            ),
            "CREATE UNIQUE INDEX IF NOT EXISTS ledger_by_hold ON ledger (hold, expired) WHERE shared",
        ] {
            db.execute(sql, &[]).unwrap();
        }
        db
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn charge<'a>(hold: &'a str, status: &'a str, detail: &'a str) -> Charge<'a> {
    Charge { status, hold, is_shared: false, amount: 5, at_ms: 1, detail: detail.as_bytes() }
}

fn number(db: &Database, sql: &str) -> i64 {
    match db.execute(sql, &[]).unwrap()[0][0] {
        Value::Integer(number) => number,
        ref other => panic!("{other:?}"),
    }
}

fn settled(store: &Store, count: usize) {
    let plan = store.plan(Vec::new());
    let (times, meta) = (Times { now: NOW, wall: NOW }, b"");
    for _ in 0..count {
        let request = Request { id: 0, now: NOW, wall: NOW, expires_at: NOW + 9, tokens: 0, want: 0, minimum: 0, meta };
        let Admission::Admitted(id, _) = store.admit(&plan, request).unwrap() else { panic!("refused") };
        store.settle(id, 0, 0, LISTED.as_bytes(), times).unwrap();
    }
}

fn text(text: &str) -> Member<'_> {
    Member::Text(text.into())
}

#[test]
fn a_list_is_read_in_its_order() {
    let detail = Detail::read(LISTED.as_bytes()).unwrap();
    assert_eq!((detail.request(), detail.status(), detail.priced()), ("\"r1\"", "\"partial\"", "false"));
    assert_eq!(detail.who(), [r#""alice""#, "null", r#""kim""#, r#""m""#, r#""acme""#, r#""p""#, r#""up""#, r#""v""#]);
    assert_eq!(detail.tokens(), ["1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn what_is_not_said_is_not_known() {
    for json in ["", "[]", "{}", r#"{"colour":"red"}"#] {
        let detail = Detail::read(json.as_bytes()).unwrap();
        assert_eq!((detail.request(), detail.status(), detail.priced()), ("null", "\"complete\"", "true"), "{json}");
        assert!(detail.who().iter().all(|one| *one == "null") && detail.tokens().iter().all(|one| *one == "0"));
    }
    let named = Detail::read(br#"{"output":7,"team":"t","status":"cut"}"#).unwrap();
    assert_eq!((named.who()[1], named.status(), named.tokens()[3]), ("\"t\"", "\"cut\"", "7"));
}

#[test]
fn a_list_of_the_version_without_tenants_has_none() {
    let old = LISTED.replace(r#""acme","#, "");
    let detail = Detail::read(old.as_bytes()).unwrap();
    assert_eq!(detail.who()[3..6], [r#""m""#, "null", r#""p""#]);
    assert_eq!((detail.status(), detail.tokens()[6]), ("\"partial\"", "7"));
}

#[test]
fn what_is_no_detail_is_refused() {
    let long = LISTED.replace(']', ",8]");
    for json in ["{", "[1", "7", "\"r1\"", "null", "[] []", &long] {
        assert!(Detail::read(json.as_bytes()).is_none(), "{json}");
    }
}

#[test]
fn members_are_stored_as_what_they_are() {
    for (json, member) in [
        ("null", Some(Member::Null)),
        ("true", Some(Member::Int(1))),
        ("false", Some(Member::Int(0))),
        ("-12", Some(Member::Int(-12))),
        ("1.5", Some(Member::Real(1.5))),
        (r#""""#, Some(text(""))),
        (r#""a\n\u00e9\"""#, Some(text("a\n\u{e9}\""))),
        ("9223372036854775808", None),
        ("1e999", None),
        ("[]", None),
        (r#""\ud800""#, None),
    ] {
        assert_eq!(Member::read(json), member, "{json}");
    }
}

#[test]
fn charges_are_written_all_or_none() {
    let folder = Folder::new();
    let mut db = folder.open();
    db.append("s", "2", [charge("1", "settled", LISTED), charge("2", "late", LISTED)]).unwrap();
    let failed = db.append("s", "4", [charge("3", "settled", "[\"new\"]"), charge("4", "settled", "{")]).unwrap_err();
    assert!(matches!(&failed, Error::Detail(hold) if hold == "4"), "{failed}");
    assert_eq!(failed.kind(), Kind::Value);
    assert_eq!(db.last("s").unwrap().as_deref(), Some("2"));
    assert_eq!(number(&db, "SELECT count(*) FROM ledger"), 2);
    // The series that went with them is made anew.
    db.append("s", "3", [charge("3", "settled", "[\"new\"]")]).unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM ledger JOIN series ON series.id = series"), 3);
    assert_eq!(number(&db, "SELECT count(*) FROM series"), 3);
}

#[test]
fn a_status_is_the_gateways_unless_nobody_has_ended_the_hold() {
    let folder = Folder::new();
    let mut db = folder.open();
    let attempt = LISTED.replace("partial", "attempt");
    let cases = [
        ("settled", LISTED, "partial", 1),
        ("late", LISTED, "late", 0),
        ("estimated", LISTED, "estimated", 1),
        ("unknown", LISTED, "unknown", 1),
        ("unknown", &*attempt, "attempt", 1),
        ("estimated", &*attempt, "estimated", 1),
    ];
    db.append("s", "6", cases.map(|(status, detail, ..)| charge("1", status, detail))).unwrap();
    let rows = db
        .execute("SELECT status, input FROM ledger JOIN series ON series.id = series ORDER BY ledger.id", &[])
        .unwrap();
    for (row, (_, _, status, input)) in rows.into_iter().zip(cases) {
        assert_eq!(row, [Value::Text(status.into()), Value::Integer(input)]);
    }
}

#[test]
fn a_shared_store_may_tell_again_what_it_has_told() {
    let folder = Folder::new();
    let mut db = folder.open();
    let shared = Charge { is_shared: true, ..charge("h", "settled", LISTED) };
    let expired = Charge { is_shared: true, ..charge("h", "estimated", LISTED) };
    db.append("s", "1-0", [shared, expired]).unwrap();
    db.append("s", "2-0", [expired, shared]).unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM ledger"), 2);
}

#[test]
fn records_are_taken_from_a_store_and_dropped_there_when_they_are_here() {
    let folder = Folder::new();
    let mut db = folder.open();
    let store = Store::in_memory();
    settled(&store, 1000);
    assert_eq!(db.append_from("e", &store, 300).unwrap(), 300);
    assert_eq!((store.unstored(0, 1)[0].seq, db.last("e").unwrap().as_deref()), (301, Some("300")));
    assert_eq!(db.append_from("e", &store, 4096).unwrap(), 700);
    assert_eq!(db.append_from("e", &store, 4096).unwrap(), 0);
    assert!(store.unstored(0, 1).is_empty());
    assert_eq!(number(&db, "SELECT count(DISTINCT hold) FROM ledger"), 1000);
    assert_eq!(number(&db, "SELECT count(*) FROM series"), 1);
}

#[test]
fn what_a_store_tells_again_after_a_crash_is_not_written_again() {
    let folder = Folder::new();
    let (mut db, store, told_again) = (folder.open(), Store::in_memory(), Store::in_memory());
    settled(&store, 300);
    settled(&told_again, 301);
    db.append_from("e", &store, 4096).unwrap();
    assert_eq!(db.append_from("e", &told_again, 4096).unwrap(), 1);
    assert_eq!(number(&db, "SELECT count(*) FROM ledger"), 301);
}

#[test]
fn a_file_that_others_write_keeps_nothing_from_the_store() {
    let folder = Folder::new();
    let (mut db, other) = (folder.open(), folder.open());
    let store = Store::in_memory();
    settled(&store, 10);
    other.execute("BEGIN IMMEDIATE", &[]).unwrap();
    assert_eq!(db.append_from("e", &store, 4096).unwrap_err().kind(), Kind::Operational);
    assert_eq!(store.unstored(0, 100).len(), 10);
    other.execute("ROLLBACK", &[]).unwrap();
    assert_eq!(db.append_from("e", &store, 4096).unwrap(), 10);
}

#[test]
fn a_position_that_is_no_number_is_told() {
    let folder = Folder::new();
    let mut db = folder.open();
    db.append("e", "1-0", [charge("1", "settled", LISTED)]).unwrap();
    assert!(matches!(db.append_from("e", &Store::in_memory(), 1), Err(Error::Position(source)) if source == "e"));
}

#[test]
fn a_file_that_is_only_read_is_not_made() {
    let folder = Folder::new();
    let missing = Database::open(&folder.0.join("none.db"), true, Duration::ZERO).err().unwrap();
    assert_eq!(missing.kind(), Kind::Operational);
    drop(folder.open());
    let mut db = Database::open(&folder.0.join("ledger.db"), true, Duration::ZERO).unwrap();
    assert_eq!(db.append("s", "1", [charge("1", "settled", "")]).unwrap_err().kind(), Kind::Operational);
}
