//! Files of records: each has its length and checksum, and the first that is not whole ends the file.
//!
//! A journal is written through shared memory, so an append is a copy and no system call, and what has been appended
//! outlives the process, however that ends. The disk gets it when the file is synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use memmap2::MmapMut;

const HEADER: usize = 8;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A file that is being written.
pub(super) struct Segment {
    file: File,
    map: MmapMut,
    end: usize,
}

impl Segment {
    /// A file of zeros. Its blocks are written, so that none is missing when the disk is full.
    pub(super) fn create(path: &Path, size: usize) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut left = size;
        while left > 0 {
            let count = left.min(ZEROS.len());
            file.write_all(&ZEROS[..count])?;
            left -= count;
        }
        file.sync_all()?;
        // SAFETY: the folder is locked by this process and the file is neither cut nor written by anybody else.
        #[expect(unsafe_code, reason = "a mapped file is the one way to append without a system call")]
        let map = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { file, map, end: 0 })
    }

    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.map.len() - self.end >= payload + HEADER
    }

    /// Append a record; false if there is no room.
    pub(super) fn append(&mut self, payload: &[u8]) -> bool {
        let Ok(length) = u32::try_from(payload.len()) else { return false };
        if !self.has_room(payload.len()) {
            return false;
        }
        let at = self.end;
        let body = at + HEADER;
        self.map[body..body + payload.len()].copy_from_slice(payload);
        self.map[at + 4..body].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        // Last, so that what is cut short has no length, or none that its checksum agrees with.
        self.map[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.end = body + payload.len();
        true
    }

    pub(super) fn used(&self) -> usize {
        self.end
    }

    pub(super) fn size(&self) -> usize {
        self.map.len()
    }

    /// Another handle, to sync by without holding anything up.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// The records of a file, up to the first that is not whole.
pub(super) struct Records<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length == 0 {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
            return None;
        }
        self.0 = rest;
        Some(payload)
    }
}

/// A record as it stands in a file that is written at once.
pub(super) fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
}
