//! Whether JSON that comes in pieces is complete.

/// Follows the brackets and strings of one object.
#[derive(Debug, Default)]
pub(crate) struct JsonEnd {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl JsonEnd {
    /// The next piece.
    pub(crate) fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// The object was begun and all of it is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.begun && self.depth == 0
    }
}
