//! A folder with a snapshot and the journals since.
//!
//! `N.snap` is the state before `N.log`; what is older is deleted once its ledger records are stored. A new process
//! never appends to a file that another has written.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::{Engine, Hold, Memory, Outcome, Phase, Request};
use super::ledger::{Entry, Queue, Verb};
use super::meter::{Meter, Plan};
use super::numbered::Numbered;
use super::record::{Described, Record, owned};
use super::segment::{Records, Segment, frame};

/// Bytes of the first file of a process, which may never have much to say.
const FIRST: usize = 1 << 20;
/// Kept free for settlements when no more can be had.
pub(super) const RESERVE: usize = 256 * 1024;
const SPARE: &str = "spare";
/// Budgets whose window ended so long ago are dropped; milliseconds.
pub(super) const KEPT: u64 = 48 * 3600 * 1000;

/// State as a journal tells it.
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) next_id: u64,
    pub(super) next_seq: u64,
    pub(super) now: u64,
}

impl State {
    pub(super) fn new(memory: Memory) -> Self {
        Self { engine: Engine::new(memory), next_id: 1, next_seq: 1, now: 0 }
    }

    /// Do again what a file tells; ledger records go to `queue`. Returns how many bytes were whole.
    fn replay(&mut self, bytes: &[u8], queue: &mut Queue) -> Result<usize, io::Error> {
        let mut plans: HashMap<u32, Plan> = HashMap::new();
        let mut records = Records(bytes);
        for payload in records.by_ref() {
            let record =
                Record::read(payload).ok_or_else(|| damaged("holds a record that this version cannot read"))?;
            self.apply(record, &mut plans, queue).ok_or_else(|| damaged("refers to a plan that is not there"))?;
        }
        Ok(bytes.len() - records.0.len())
    }

    fn apply(&mut self, record: Record<'_>, plans: &mut HashMap<u32, Plan>, queue: &mut Queue) -> Option<()> {
        match record {
            Record::Head { next_id, next_seq, now } => {
                self.next_id = next_id;
                self.next_seq = next_seq;
                self.now = now;
            }
            Record::Plan { number, meters } => {
                let meters = meters.into_iter().map(Described::meter).collect::<Option<Vec<Meter>>>()?;
                plans.insert(number, self.engine.plan(meters));
            }
            Record::Admit { id, plan, now, expires_at, grant, tokens, meta } => {
                let request = Request { id, now, wall: 0, expires_at, tokens, want: grant, minimum: 0, meta };
                self.engine.take(plans.get(&plan)?, &request, grant);
                self.next_id = self.next_id.max(id + 1);
                self.now = self.now.max(now);
            }
            Record::Settle { id, now, wall, seq, amount, tokens, entry } => {
                let meta = self.engine.hold(id).map(|hold| hold.meta.clone()).unwrap_or_default();
                match self.engine.settle(id, amount, tokens, now) {
                    Outcome::Settled(amount) => {
                        queue.push(Entry {
                            seq,
                            verb: Verb::Settle,
                            hold: id,
                            amount,
                            wall,
                            meta,
                            entry: entry.into(),
                        });
                    }
                    Outcome::Late(amount) => {
                        queue.push(Entry { seq, verb: Verb::Late, hold: id, amount, wall, meta, entry: entry.into() });
                    }
                    _ => {}
                }
                self.next_seq = self.next_seq.max(seq + 1);
                self.now = self.now.max(now);
            }
            Record::Release { id, now } => {
                self.engine.release(id, now);
                self.now = self.now.max(now);
            }
            Record::Expire { id, now, wall, seq } => {
                let meta = self.engine.hold(id).map(|hold| hold.meta.clone()).unwrap_or_default();
                if let Outcome::Expired(amount) = self.engine.expire(id, now) {
                    let entry = Box::default();
                    queue.push(Entry { seq, verb: Verb::Expire, hold: id, amount, wall, meta, entry });
                }
                self.next_seq = self.next_seq.max(seq + 1);
                self.now = self.now.max(now);
            }
            Record::Value { name, start, end, value } => self.engine.slots_mut().set(owned(name), start, end, value),
            Record::Hold { id, plan, is_open, expires_at, grant, tokens, meta } => {
                let phase = if is_open { Phase::Open } else { Phase::Expired };
                let plan = Arc::clone(plans.get(&plan)?);
                self.engine.restore(id, Hold { phase, plan, grant, tokens, expires_at, meta: meta.into() });
            }
        }
        Some(())
    }

    /// Everything, as the records of a snapshot.
    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let (mut payload, mut framed) = (Vec::new(), Vec::new());
        let mut put = |record: &Record<'_>| {
            payload.clear();
            framed.clear();
            record.write(&mut payload);
            frame(&payload, &mut framed);
            out.write_all(&framed)
        };
        put(&Record::Head { next_id: self.next_id, next_seq: self.next_seq, now: self.now })?;
        for (name, start, end, value) in self.engine.slots().values() {
            put(&Record::Value { name, start, end, value })?;
        }
        let mut numbers = Numbers::default();
        for (id, hold) in self.engine.holds() {
            let Some(is_open) = hold.phase.kept() else { continue };
            let (number, is_new) = numbers.of(&hold.plan);
            if is_new {
                put(&introduction(number, &hold.plan))?;
            }
            put(&Record::Hold {
                id,
                plan: number,
                is_open,
                expires_at: hold.expires_at,
                grant: hold.grant,
                tokens: hold.tokens,
                meta: &hold.meta,
            })?;
        }
        Ok(())
    }
}

/// The numbers that plans have in one file. It keeps them alive, so that no other comes to lie at the same address.
#[derive(Default)]
struct Numbers(Numbered<usize, (u32, Plan)>);

impl Numbers {
    fn of(&mut self, plan: &Plan) -> (u32, bool) {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut is_new = false;
        let (number, _) = self.0.entry(plan.as_ptr().addr()).or_insert_with(|| {
            is_new = true;
            (next, Arc::clone(plan))
        });
        (*number, is_new)
    }
}

fn introduction(number: u32, plan: &Plan) -> Record<'_> {
    Record::Plan { number, meters: plan.iter().map(Described::of).collect() }
}

/// The journal that this process writes.
pub(super) struct Journal {
    folder: PathBuf,
    /// Held for as long as the folder is in use.
    _lock: File,
    number: u64,
    current: Segment,
    spare: Option<Segment>,
    size: usize,
    numbers: Numbers,
    /// Number of a file that is no longer written, and of the last ledger record up to its end.
    closed: Vec<(u64, u64)>,
    scratch: Vec<u8>,
}

impl Journal {
    /// Read what is there and begin a new file. `size`: bytes of a file.
    pub(super) fn open(folder: &Path, size: usize, memory: Memory, queue: &mut Queue) -> io::Result<(Self, State)> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this store"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let _ = fs::remove_file(folder.join(SPARE));
        let (mut state, logs) = restore(folder, u64::MAX, memory, queue)?;
        state.next_seq = state.next_seq.max(queue.stored_until() + 1);
        let number = newest(folder)? + 1;
        let current = Segment::create(&folder.join(SPARE), FIRST.min(size))?;
        fs::rename(folder.join(SPARE), log(folder, number))?;
        let last_seq = state.next_seq - 1;
        let journal = Self {
            folder: folder.into(),
            _lock: lock,
            number,
            current,
            spare: None,
            size,
            numbers: Numbers::default(),
            closed: logs.into_iter().map(|number| (number, last_seq)).collect(),
            scratch: Vec::with_capacity(1024),
        };
        Ok((journal, state))
    }

    /// Make sure that `bytes` more can be written, whatever happens; `last_seq`: of the ledger so far.
    pub(super) fn reserve(&mut self, bytes: usize, last_seq: u64) -> io::Result<()> {
        if self.current.has_room(bytes) {
            return Ok(());
        }
        let path = log(&self.folder, self.number + 1);
        let next = match self.spare.take() {
            Some(spare) => {
                fs::rename(self.folder.join(SPARE), path)?;
                spare
            }
            // Under its own name at once: the keeper may be writing zeros to the spare at this moment.
            None => Segment::create(&path, self.size.max(2 * bytes))?,
        };
        self.closed.push((self.number, last_seq));
        self.number += 1;
        self.current = next;
        self.numbers = Numbers::default();
        Ok(())
    }

    /// Write down a record for which there is room.
    pub(super) fn append(&mut self, record: &Record<'_>) {
        self.scratch.clear();
        record.write(&mut self.scratch);
        let is_written = self.current.append(&self.scratch);
        debug_assert!(is_written, "room was reserved");
    }

    /// The number of a plan in this file, which introduces it if need be.
    pub(super) fn plan(&mut self, plan: &Plan) -> u32 {
        let (number, is_new) = self.numbers.of(plan);
        if is_new {
            self.append(&introduction(number, plan));
        }
        number
    }

    /// Bytes that the introduction of a plan may take.
    pub(super) fn introduction_size(plan: &Plan) -> usize {
        64 + plan.iter().map(|meter| meter.name().len() + 64).sum::<usize>()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn handle(&self) -> io::Result<File> {
        self.current.handle()
    }

    /// Where to make the next file, if it is time for that.
    pub(super) fn wants_spare(&self) -> Option<(PathBuf, usize)> {
        let is_filling = self.current.used() * 2 > self.current.size();
        (self.spare.is_none() && is_filling).then(|| (self.folder.join(SPARE), self.size))
    }

    pub(super) fn keep_spare(&mut self, spare: Segment) {
        self.spare = Some(spare);
    }

    /// Up to which file (exclusive) a snapshot can replace what is there, if at least `least` files go with it.
    pub(super) fn compactable(&self, stored: u64, least: usize) -> Option<u64> {
        let done = self.closed.iter().take_while(|(_, last)| *last <= stored).count();
        if done < least.max(1) {
            return None;
        }
        Some(self.closed.get(done).map_or(self.number, |(number, _)| *number))
    }

    pub(super) fn compacted(&mut self, before: u64) {
        self.closed.retain(|(number, _)| *number >= before);
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Replace all files before `before` by one snapshot. Reads files only, so nobody has to wait for it.
pub(super) fn compact(folder: &Path, before: u64, memory: Memory, wall: u64) -> io::Result<()> {
    let (mut state, _) = restore(folder, before, memory, &mut Queue::after(u64::MAX))?;
    state.engine.sweep(wall.saturating_sub(KEPT));
    let unfinished = folder.join("snapshot");
    let mut out = BufWriter::new(File::create(&unfinished)?);
    state.write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&unfinished, folder.join(format!("{before:016}.snap")))?;
    File::open(folder)?.sync_all()?;
    for (number, _, path) in files(folder)? {
        if number < before {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The state before the file `before`, and the numbers of the journals that tell it.
fn restore(folder: &Path, before: u64, memory: Memory, queue: &mut Queue) -> io::Result<(State, Vec<u64>)> {
    let mut state = State::new(memory);
    let files = files(folder)?;
    let snapshot = files.iter().filter(|(number, is_snapshot, _)| *is_snapshot && *number <= before).max();
    let mut from = 0;
    if let Some((number, _, path)) = snapshot {
        let bytes = fs::read(path)?;
        if state.replay(&bytes, queue).map_err(|error| named(path, &error))? != bytes.len() {
            return Err(named(path, &damaged("ends in the middle")));
        }
        from = *number;
    }
    let mut logs = Vec::new();
    for (number, is_snapshot, path) in &files {
        if !is_snapshot && (from..before).contains(number) {
            state.replay(&fs::read(path)?, queue).map_err(|error| named(path, &error))?;
            logs.push(*number);
        }
    }
    Ok((state, logs))
}

/// (number, whether it is a snapshot, path) in the order of their numbers.
fn files(folder: &Path) -> io::Result<Vec<(u64, bool, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let is_snapshot = match path.extension().and_then(|extension| extension.to_str()) {
            Some("snap") => true,
            Some("log") => false,
            _ => continue,
        };
        if let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) {
            found.push((number, is_snapshot, path));
        }
    }
    found.sort();
    Ok(found)
}

fn newest(folder: &Path) -> io::Result<u64> {
    Ok(files(folder)?.last().map_or(0, |(number, ..)| *number))
}

fn log(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}.log"))
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how.to_owned())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::super::meter::Kind;
    use super::super::record::Record;
    use super::{Journal, Memory, Meter, Plan, Queue, Segment};

    const SIZE: usize = 4096;
    const MEMORY: Memory = Memory { finished: 0, expired: 1000 };

    fn admit(journal: &mut Journal, plan: &Plan, id: &mut u64) {
        *id += 1;
        journal.reserve(256, 0).unwrap();
        let number = journal.plan(plan);
        let (now, expires_at) = (*id, u64::MAX);
        journal.append(&Record::Admit { id: *id, plan: number, now, expires_at, grant: 0, tokens: 0, meta: b"" });
    }

    /// Until the next file has its first record.
    fn fill(journal: &mut Journal, plan: &Plan, id: &mut u64) {
        let first = journal.number();
        while journal.number() == first {
            admit(journal, plan, id);
        }
    }

    #[test]
    fn a_spare_that_comes_too_late_for_one_file_is_the_next_and_harms_neither() {
        let folder = std::env::temp_dir().join(format!("quota-late-spare-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let (mut journal, _) = Journal::open(&folder, SIZE, MEMORY, &mut Queue::default()).unwrap();
        let plan: Plan = Arc::from([Meter::new("p", Kind::Parallel(1 << 40)).unwrap()]);
        let mut id = 0;
        while journal.wants_spare().is_none() {
            admit(&mut journal, &plan, &mut id);
        }
        let (path, size) = journal.wants_spare().unwrap();
        // The keeper has begun to make it and is not done when the file is full.
        let spare = Segment::create(&path, size).unwrap();
        fill(&mut journal, &plan, &mut id);
        journal.keep_spare(spare);
        fill(&mut journal, &plan, &mut id);
        fill(&mut journal, &plan, &mut id);
        drop(journal);
        let (_, state) = Journal::open(&folder, SIZE, MEMORY, &mut Queue::default()).unwrap();
        assert_eq!(state.engine.open_count() as u64, id, "every admission is there");
        fs::remove_dir_all(&folder).unwrap();
    }
}
