//! What the embedded store remembers: over restarts, over compaction, and of files that were cut or damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use tollhouse_core::quota::{
    Admission, Bucket, Budget, Entry, Kind, Meter, Outcome, Plan, Refill, Request, Standing, Store, StoreError, Times,
};

const START: u64 = 1_800_000_000_000;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tollhouse-quota-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, stored: u64) -> Store {
        Store::open(&self.0, stored, 1 << 20).unwrap()
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|own| own == extension));
        found.sort();
        found
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan(store: &Store) -> Plan {
    let requests = Bucket::new(1_000_000, 1_000_000, 60_000, Refill::Interval, false).unwrap();
    let tokens = Bucket::new(9_000_000, 9_000_000, 60_000, Refill::Continuous, true).unwrap();
    store.plan(vec![
        Meter::new("key:a:requests", Kind::Bucket(requests)).unwrap(),
        Meter::new("key:a:tokens", Kind::Bucket(tokens)).unwrap(),
        Meter::new("key:a:parallel", Kind::Parallel(1_000_000)).unwrap(),
        Meter::new("key:a:usd", Kind::Budget(Budget { cap: 1 << 50, start: 0, end: 0 })).unwrap(),
    ])
}

fn at(now: u64) -> Times {
    Times { now, wall: now }
}

fn admit(store: &Store, plan: &Plan, now: u64, meta: &[u8]) -> u64 {
    let expires_at = now + 1_000;
    let request = Request { id: 0, now, wall: now, expires_at, tokens: 7, want: 100, minimum: 1, meta };
    match store.admit(plan, request).unwrap() {
        Admission::Admitted(id, 100) => id,
        other => panic!("{other:?}"),
    }
}

fn standings(store: &Store, plan: &Plan, now: u64) -> Vec<Standing> {
    let mut found = Vec::new();
    store.standings(plan, at(now), |standing| found.push(standing));
    found
}

/// One of everything: settled, released, expired, late, open.
fn history(store: &Store, plan: &Plan) -> [u64; 5] {
    let holds = [0, 1, 2, 3, 4].map(|index| admit(store, plan, START + index, format!("request {index}").as_bytes()));
    store.settle(holds[0], 60, 5, b"first", at(START + 10)).unwrap();
    store.release(holds[1], at(START + 11)).unwrap();
    assert_eq!(store.expire_due(2, at(START + 1_003)).unwrap(), 2);
    assert_eq!(store.settle(holds[2], 10, 5, b"late", at(START + 1_004)).unwrap(), Outcome::Late(-90));
    holds
}

fn cost(entries: &[Entry]) -> i64 {
    entries.iter().map(|entry| entry.amount).sum()
}

#[test]
fn a_store_that_is_opened_again_goes_on_where_it_was() {
    let folder = Folder::new("again");
    let (before, unstored, holds) = {
        let store = folder.open(0);
        let plan = plan(&store);
        let holds = history(&store, &plan);
        (standings(&store, &plan, START + 2_000), store.unstored(0, 100), holds)
    };
    let store = folder.open(0);
    let plan = plan(&store);
    assert_eq!(standings(&store, &plan, START + 2_000), before);
    assert_eq!(store.unstored(0, 100), unstored);
    assert_eq!(store.accounts()[0].2.posted, cost(&unstored));
    assert_eq!(unstored.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((&*unstored[0].meta, &*unstored[0].entry), (&b"request 0"[..], &b"first"[..]));
    assert_eq!((&*unstored[3].meta, &*unstored[3].entry), (&b"request 2"[..], &b"late"[..]));
    // What has ended is known to have, what has not can be ended, and ids are not given out twice.
    assert_eq!(store.settle(holds[0], 60, 5, b"", at(START + 2_000)).unwrap(), Outcome::Duplicate);
    assert_eq!(store.settle(holds[4], 9, 5, b"", at(START + 2_000)).unwrap(), Outcome::Settled(9));
    assert_eq!(store.settle(holds[3], 9, 5, b"", at(START + 2_000)).unwrap(), Outcome::Late(-91));
    assert!(admit(&store, &plan, START + 2_000, b"") > holds[4]);
    assert_eq!(store.settle(99, 1, 1, b"", at(START)).unwrap(), Outcome::Unknown);
}

#[test]
fn the_clock_goes_on_behind_the_latest_moment_that_was_written_down() {
    let folder = Folder::new("clock");
    let future = START * 2;
    {
        let store = folder.open(0);
        admit(&store, &plan(&store), future, b"");
    }
    assert!(folder.open(0).times().now >= future);
}

#[test]
fn many_files_become_one_snapshot_once_their_records_are_stored() {
    let folder = Folder::new("compact");
    let store = folder.open(0);
    let plan = plan(&store);
    let entry = vec![b'x'; 4096];
    let mut count = 0;
    while folder.files("log").len() < 7 {
        let hold = admit(&store, &plan, START, b"meta");
        store.settle(hold, 3, 7, &entry, at(START)).unwrap();
        count += 1;
    }
    let open = admit(&store, &plan, START, b"open");
    assert!(folder.files("snap").is_empty(), "nothing is stored yet");
    assert_eq!(store.unstored(0, usize::MAX).len(), count);
    store.stored(count as u64);
    // The keeper's round: woken by the next append.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while folder.files("snap").is_empty() || folder.files("log").len() > 1 {
        assert!(std::time::Instant::now() < deadline, "{:?}", folder.files("log"));
        std::thread::yield_now();
    }
    let before = standings(&store, &plan, START);
    drop(store);
    let store = folder.open(count as u64);
    let plan = self::plan(&store);
    assert_eq!(standings(&store, &plan, START), before);
    assert!(store.unstored(0, 1).is_empty());
    assert_eq!(store.settle(open, 1, 1, b"", at(START)).unwrap(), Outcome::Settled(1));
    assert_eq!(store.unstored(0, 1)[0].seq, count as u64 + 1);
    assert_eq!(&*store.unstored(0, 1)[0].meta, b"open");
}

#[test]
fn a_journal_that_is_cut_anywhere_tells_all_that_was_whole() {
    let folder = Folder::new("cut");
    let amounts: Vec<u64> = (1..=20).collect();
    {
        let store = folder.open(0);
        let plan = plan(&store);
        for amount in &amounts {
            let hold = admit(&store, &plan, START, b"meta");
            store.settle(hold, *amount, 7, b"entry", at(START)).unwrap();
        }
    }
    let log = folder.files("log").remove(0);
    let whole = fs::read(&log).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let other = Folder::new("cut-other");
    for cut in (0..=end + 1).rev().step_by(7) {
        let _ = fs::remove_dir_all(&other.0);
        fs::create_dir_all(&other.0).unwrap();
        let mut bytes = whole.clone();
        // A page that never reached the disk holds zeros.
        bytes[cut..].fill(0);
        fs::write(other.0.join(log.file_name().unwrap()), bytes).unwrap();
        let store = other.open(0);
        let entries = store.unstored(0, 100);
        let told: Vec<u64> = entries.iter().map(|entry| entry.amount.unsigned_abs()).collect();
        assert_eq!(told, amounts[..told.len()]);
        let posted = store.accounts().first().map_or(0, |(_, _, account)| account.posted);
        assert_eq!(posted, cost(&entries));
    }
}

#[test]
fn a_damaged_snapshot_is_refused_by_its_name() {
    let folder = Folder::new("damaged");
    drop(folder.open(0));
    fs::write(folder.0.join("0000000000000009.snap"), b"\x05\0\0\0nothing of the kind").unwrap();
    let error = Store::open(&folder.0, 0, 1 << 20).map(drop).unwrap_err().to_string();
    assert!(error.contains("0000000000000009.snap") && error.contains("ends in the middle"), "{error}");
}

#[test]
fn two_processes_cannot_use_one_folder() {
    let folder = Folder::new("locked");
    let _store = folder.open(0);
    let error = Store::open(&folder.0, 0, 1 << 20).map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Journal(_)) && error.to_string().contains("another process"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = Folder::new("file");
    fs::write(&folder.0, b"a file").unwrap();
    assert!(Store::open(&folder.0.join("quota"), 0, 1 << 20).is_err());
    fs::remove_file(&folder.0).unwrap();
}

#[test]
fn nothing_is_admitted_that_cannot_be_written_down_and_settlements_still_can() {
    let folder = Folder::new("full");
    let store = folder.open(0);
    let plan = plan(&store);
    let holds: Vec<u64> = (0..200).map(|_| admit(&store, &plan, START, b"")).collect();
    // No further file can be made where its name is taken by a folder that is not empty.
    let logs =
        fs::read_dir(&folder.0).unwrap().filter_map(|file| file.ok()?.path().file_stem()?.to_str()?.parse().ok());
    let newest: u64 = logs.max().unwrap();
    let next: &Path = &folder.0.join(format!("{:016}.log", newest + 1));
    fs::create_dir_all(next.join("x")).unwrap();
    let spare: &Path = &folder.0.join("spare");
    while !spare.is_dir() {
        let _ = fs::remove_file(spare);
        fs::create_dir_all(spare.join("x")).unwrap();
    }
    let filler = vec![b'x'; 8192];
    let mut refused = None;
    while refused.is_none() {
        let expires_at = START + 1_000;
        let request =
            Request { id: 0, now: START, wall: START, expires_at, tokens: 0, want: 1, minimum: 1, meta: &filler };
        refused = store.admit(&plan, request).err();
    }
    let before = standings(&store, &plan, START);
    assert!(matches!(refused, Some(StoreError::Journal(_))));
    for hold in holds {
        assert_eq!(store.settle(hold, 1, 1, b"entry", at(START)).unwrap(), Outcome::Settled(1));
    }
    assert_ne!(standings(&store, &plan, START), before);
    fs::remove_dir_all(spare).unwrap();
    fs::remove_dir_all(next).unwrap();
    admit(&store, &plan, START, b"");
}
