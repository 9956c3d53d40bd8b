//! The embedded store: the engine behind a lock, its journal, and a thread that keeps the journal on the disk.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::clock::{Clock, Times};
use super::engine::{Decision, Denial, Engine, Memory, Outcome, Request, Standing};
use super::journal::{self, Journal, KEPT, RESERVE, State};
use super::ledger::{Entry, Queue, Verb};
use super::meter::{Meter, Plan};
use super::record::Record;
use super::segment::Segment;
use super::slots::Account;

/// Appended records reach the disk within this time; what ends the process, but not the machine, loses none.
const SYNC_EVERY: Duration = Duration::from_millis(40);
/// How often old files are looked at while nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// Files of the journal that are replaced by a snapshot at once.
const COMPACT_FROM: usize = 4;
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// Ledger records that may wait to be stored. More means that the ledger cannot be written, and nothing is admitted.
const MOST_UNSTORED: usize = 1_000_000;
/// Stored records that are taken from the queue in one go.
const FORGOTTEN_AT_ONCE: usize = 256;
/// The store gives ids out itself, so it need not remember those that have ended.
const MEMORY: Memory = Memory { finished: 0, expired: 24 * 3600 * 1000 };

/// Why the store cannot do what it is asked.
#[derive(Debug)]
pub enum StoreError {
    /// The journal cannot be written or read.
    Journal(io::Error),
    /// Too many records of the ledger wait to be stored.
    Ledger,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => write!(f, "the journal of limits and budgets cannot be used: {error}"),
            Self::Ledger => f.write_str("the ledger cannot be written"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Journal(error)
    }
}

/// The answer to an admission.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// The hold, and the nano-USD it has reserved.
    Admitted(u64, u64),
    /// A budget's window has passed: make the plan anew.
    Stale,
    /// A meter refuses.
    Denied(Denial),
}

struct Inner {
    engine: Engine,
    journal: Option<Journal>,
    queue: Queue,
    next_id: u64,
    next_seq: u64,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Something was appended that is not on the disk yet.
    is_dirty: AtomicBool,
    /// The keeper sleeps until somebody appends.
    is_idle: AtomicBool,
    wake: Condvar,
    is_closing: Mutex<bool>,
}

/// Limits, budgets and their ledger, in this process and durable.
pub struct Store {
    shared: Arc<Shared>,
    clock: Clock,
    keeper: Option<JoinHandle<()>>,
}

impl Store {
    /// A store that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        let state = State::new(MEMORY);
        Self { shared: Shared::new(state, None, Queue::default()), clock: Clock::after(0), keeper: None }
    }

    /// The store in `folder`, made if need be. `stored`: the ledger's records up to this one are stored already;
    /// `size`: bytes of a file of the journal.
    ///
    /// # Errors
    /// The folder cannot be used, another process uses it, or what is in it is damaged.
    pub fn open(folder: &Path, stored: u64, size: usize) -> Result<Self, StoreError> {
        let mut queue = Queue::after(stored);
        let (journal, state) = Journal::open(folder, size, MEMORY, &mut queue)?;
        let clock = Clock::after(state.now);
        let shared = Shared::new(state, Some(journal), queue);
        let kept = Arc::clone(&shared);
        let keeper = thread::Builder::new().name("quota-journal".into()).spawn(move || Keeper::new(&kept).run())?;
        Ok(Self { shared, clock, keeper: Some(keeper) })
    }

    /// The store's time.
    #[must_use]
    pub fn times(&self) -> Times {
        self.clock.read()
    }

    /// A plan of these meters.
    #[must_use]
    pub fn plan(&self, meters: Vec<Meter>) -> Plan {
        self.shared.lock().engine.plan(meters)
    }

    /// Admit on all meters or none; `request.id` is set here.
    ///
    /// # Errors
    /// What would be decided could not be written down; nothing was taken.
    pub fn admit(&self, plan: &Plan, mut request: Request<'_>) -> Result<Admission, StoreError> {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        if inner.queue.len() >= MOST_UNSTORED {
            return Err(StoreError::Ledger);
        }
        if let Some(journal) = &mut inner.journal {
            let bytes = 128 + request.meta.len() + Journal::introduction_size(plan);
            journal.reserve(bytes + RESERVE, inner.next_seq - 1)?;
        }
        request.id = inner.next_id;
        let grant = match inner.engine.admit(plan, &request) {
            Decision::Admitted(grant) | Decision::Repeated(grant) => grant,
            Decision::Stale | Decision::Finished => return Ok(Admission::Stale),
            Decision::Denied(denial) => return Ok(Admission::Denied(denial)),
        };
        inner.next_id += 1;
        if let Some(journal) = &mut inner.journal {
            let Request { id, now, expires_at, tokens, meta, .. } = request;
            let number = journal.plan(plan);
            journal.append(&Record::Admit { id, plan: number, now, expires_at, grant, tokens, meta });
        }
        self.shared.appended();
        Ok(Admission::Admitted(request.id, grant))
    }

    /// The refusal that an admission would meet now, if it is one. Nothing is taken and nothing written down.
    #[must_use]
    pub fn denial(&self, plan: &Plan, request: &Request<'_>) -> Option<Denial> {
        match self.shared.lock().engine.decide(plan, request) {
            Decision::Denied(denial) => Some(denial),
            _ => None,
        }
    }

    /// End a hold with what it came to.
    ///
    /// # Errors
    /// It could not be written down; nothing was changed, and the caller is to try again.
    pub fn settle(&self, id: u64, amount: u64, tokens: u64, entry: &[u8], times: Times) -> Result<Outcome, StoreError> {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        if inner.engine.hold(id).is_none() {
            return Ok(inner.unknown(id));
        }
        inner.reserve(128 + entry.len())?;
        let (outcome, meta) = inner.engine.settle_for(id, amount, tokens, times.now);
        let (verb, charged) = match outcome {
            Outcome::Settled(charged) => (Verb::Settle, charged),
            Outcome::Late(charged) => (Verb::Late, charged),
            _ => return Ok(outcome),
        };
        let seq = inner.next_seq;
        let Times { now, wall } = times;
        inner.append(&Record::Settle { id, now, wall, seq, amount, tokens, entry });
        inner.record(Entry { seq, verb, hold: id, amount: charged, wall, meta, entry: entry.into() });
        self.shared.appended();
        Ok(outcome)
    }

    /// Undo an admission whose request provably never reached an upstream.
    ///
    /// # Errors
    /// It could not be written down; nothing was changed.
    pub fn release(&self, id: u64, times: Times) -> Result<Outcome, StoreError> {
        let mut inner = self.shared.lock();
        if inner.engine.hold(id).is_none() {
            return Ok(inner.unknown(id));
        }
        inner.reserve(64)?;
        let outcome = inner.engine.release(id, times.now);
        if outcome == Outcome::Released {
            inner.append(&Record::Release { id, now: times.now });
            self.shared.appended();
        }
        Ok(outcome)
    }

    /// Charge what is due, at most `limit` holds; returns how many.
    ///
    /// # Errors
    /// It could not be written down; what was done before stands.
    pub fn expire_due(&self, limit: usize, times: Times) -> Result<usize, StoreError> {
        let mut inner = self.shared.lock();
        let mut count = 0;
        while count < limit
            && let Some(id) = inner.engine.due(times.now)
        {
            inner.reserve(64)?;
            let meta = inner.engine.hold(id).map(|hold| hold.meta.clone()).unwrap_or_default();
            let Outcome::Expired(amount) = inner.engine.expire(id, times.now) else { break };
            let seq = inner.next_seq;
            let Times { now, wall } = times;
            inner.append(&Record::Expire { id, now, wall, seq });
            inner.record(Entry { seq, verb: Verb::Expire, hold: id, amount, wall, meta, entry: Box::default() });
            count += 1;
        }
        if count > 0 {
            self.shared.appended();
        }
        Ok(count)
    }

    /// What each meter has left.
    pub fn standings(&self, plan: &Plan, times: Times, mut each: impl FnMut(Standing)) {
        self.shared.lock().engine.standings(plan, times.now, times.wall, |_, standing| each(standing));
    }

    /// All budgets' windows: name, start, account.
    #[must_use]
    pub fn accounts(&self) -> Vec<(String, u64, Account)> {
        let inner = self.shared.lock();
        inner.engine.accounts().map(|(name, start, account)| (name.to_owned(), start, account)).collect()
    }

    /// How many holds are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.shared.lock().engine.open_count()
    }

    /// Records of the ledger behind the one with the number `after` that are not known to be stored, oldest first.
    #[must_use]
    pub fn unstored(&self, after: u64, limit: usize) -> Vec<Entry> {
        self.shared.lock().queue.read(after, limit).cloned().collect()
    }

    /// Records up to `seq` are stored for good.
    pub fn stored(&self, seq: u64) {
        // Some at a time, and given back without the lock: nobody who is to be admitted waits for it.
        loop {
            let forgotten = self.shared.lock().queue.stored(seq, FORGOTTEN_AT_ONCE);
            if forgotten.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Store {
    /// What was appended is on the disk when this returns.
    fn drop(&mut self) {
        *self.shared.is_closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Inner {
    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        match &mut self.journal {
            Some(journal) => journal.reserve(bytes, self.next_seq - 1),
            None => Ok(()),
        }
    }

    fn append(&mut self, record: &Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.append(record);
        }
    }

    fn record(&mut self, entry: Entry) {
        self.next_seq = entry.seq + 1;
        self.queue.push(entry);
    }

    fn unknown(&self, id: u64) -> Outcome {
        if id != 0 && id < self.next_id { Outcome::Duplicate } else { Outcome::Unknown }
    }
}

impl Shared {
    fn new(state: State, journal: Option<Journal>, queue: Queue) -> Arc<Self> {
        let State { engine, next_id, next_seq, .. } = state;
        Arc::new(Self {
            inner: Mutex::new(Inner { engine, journal, queue, next_id, next_seq }),
            is_dirty: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            wake: Condvar::new(),
            is_closing: Mutex::new(false),
        })
    }

    /// Nothing here panics while it holds the lock, and if it did, the journal would still tell the truth.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A system call only for the first append after a pause.
    fn appended(&self) {
        if self.is_dirty.load(Ordering::SeqCst) {
            return;
        }
        self.is_dirty.store(true, Ordering::SeqCst);
        if self.is_idle.swap(false, Ordering::SeqCst) {
            let _closing = self.is_closing.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }
}

/// Syncs the journal, makes the next file before it is needed, and replaces old ones by a snapshot.
struct Keeper<'a> {
    shared: &'a Shared,
    /// Of the file that is synced.
    file: Option<(u64, std::fs::File)>,
    swept: Instant,
}

impl<'a> Keeper<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, file: None, swept: Instant::now() }
    }

    fn run(mut self) {
        loop {
            let is_closing = self.pause();
            // What fails here fails again where it matters: when no room is left, nothing is admitted.
            let _ = self.sync();
            if is_closing {
                return;
            }
            let _ = self.prepare();
            let _ = self.compact();
            if self.swept.elapsed() >= SWEEP_EVERY {
                self.swept = Instant::now();
                let wall = Clock::after(0).read().wall;
                self.shared.lock().engine.sweep(wall.saturating_sub(KEPT));
            }
        }
    }

    /// Wait until there is something to sync, and then a while for more; true if this is the last round.
    fn pause(&self) -> bool {
        let shared = self.shared;
        let mut closing = shared.is_closing.lock().unwrap_or_else(PoisonError::into_inner);
        shared.is_idle.store(true, Ordering::SeqCst);
        // Whoever appended before that has seen nobody idle.
        if !*closing && !shared.is_dirty.load(Ordering::SeqCst) {
            closing = shared.wake.wait_timeout(closing, IDLE).unwrap_or_else(PoisonError::into_inner).0;
        }
        shared.is_idle.store(false, Ordering::SeqCst);
        if !*closing && shared.is_dirty.load(Ordering::SeqCst) {
            closing = shared.wake.wait_timeout(closing, SYNC_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        *closing
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.shared.is_dirty.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let inner = self.shared.lock();
        let Some(journal) = &inner.journal else { return Ok(()) };
        let number = journal.number();
        let handle = match &self.file {
            Some((known, _)) if *known == number => None,
            _ => Some(journal.handle()?),
        };
        let folder = handle.as_ref().map(|_| journal.folder().to_owned());
        drop(inner);
        if let Some(handle) = handle {
            // The end of the file before, and the name of this one.
            if let Some((_, before)) = self.file.take() {
                before.sync_data()?;
            }
            if let Some(folder) = folder {
                std::fs::File::open(folder)?.sync_all()?;
            }
            self.file = Some((number, handle));
        }
        self.file.as_ref().map_or(Ok(()), |(_, file)| file.sync_data())
    }

    fn prepare(&self) -> io::Result<()> {
        let wanted = self.shared.lock().journal.as_ref().and_then(Journal::wants_spare);
        if let Some((path, size)) = wanted {
            let spare = Segment::create(&path, size)?;
            if let Some(journal) = &mut self.shared.lock().journal {
                journal.keep_spare(spare);
            }
        }
        Ok(())
    }

    fn compact(&self) -> io::Result<()> {
        let inner = self.shared.lock();
        let Some(journal) = &inner.journal else { return Ok(()) };
        let Some(before) = journal.compactable(inner.queue.stored_until(), COMPACT_FROM) else { return Ok(()) };
        let folder = journal.folder().to_owned();
        drop(inner);
        journal::compact(&folder, before, MEMORY, Clock::after(0).read().wall)?;
        if let Some(journal) = &mut self.shared.lock().journal {
            journal.compacted(before);
        }
        Ok(())
    }
}
