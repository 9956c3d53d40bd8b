//! Bytes that have come and wait for the rest of what they belong to.

/// What a framer has been given and not yet taken. What was taken is dropped with the next read, so that what it hands
/// out can be borrowed.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Everything, taken or not.
    pub(crate) bytes: Vec<u8>,
    /// Up to here it is taken.
    pub(crate) start: usize,
}

impl Pending {
    /// Add what was read. Returns by how much all places move towards the beginning.
    pub(crate) fn push(&mut self, data: &[u8]) -> usize {
        let dropped = std::mem::take(&mut self.start);
        self.bytes.drain(..dropped);
        self.bytes.extend_from_slice(data);
        dropped
    }

    /// How many bytes wait; whoever frames them bounds that.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len() - self.start
    }
}
