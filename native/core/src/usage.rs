//! Token counts as providers report them, brought to one meaning: every token is of exactly one kind.

use crate::cost::{Kind, PerKind};
use crate::json::{Error, Limits, Mode, Reader};

mod fields;

use fields::{FIELDS, Field};

/// Tokens of one kind in one answer. More than this is no count but a mistake, and would not fit a price either.
pub const MOST_TOKENS: u64 = 1_000_000_000;

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };

/// What an answer's reports say. A later one replaces what it mentions: providers send cumulative values, never parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    reported: [Option<u32>; FIELDS],
    /// A count was no count. Nothing is known then: half a report would be a bill that is too low.
    is_spoiled: bool,
}

/// Tokens by kind. Their sum is what passed through the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens(PerKind<u64>);

impl Usage {
    /// The report in a JSON text: a `usage` or `usageMetadata` object by itself, or an answer that has one.
    #[must_use]
    pub fn find(json: &[u8]) -> Self {
        let mut usage = Self::default();
        if usage.read(&mut Reader::new(json, LIMITS, Mode::Lenient)).is_err() {
            return Self::default();
        }
        if usage.is_spoiled || usage.tokens().is_some() {
            return usage;
        }
        let mut tap = crate::tap::Tap::new(crate::tap::Dialect::Chat);
        tap.body(json);
        tap.usage
    }

    /// Tokens by kind; None if nothing was reported, or nothing that could be true.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        if self.is_spoiled {
            return None;
        }
        let (read, read_kinds) = self.input()?;
        let (written, written_kinds) = self.output(read);
        let mut tokens = PerKind::default();
        for (kind, count) in read_kinds.into_iter().chain(written_kinds) {
            tokens[kind] = count;
        }
        (read <= MOST_TOKENS && written <= MOST_TOKENS).then_some(Tokens(tokens))
    }

    fn get(&self, field: Field) -> u64 {
        self.known(field).unwrap_or(0)
    }

    fn known(&self, field: Field) -> Option<u64> {
        self.reported[field as usize].map(u64::from)
    }

    /// What the model read: the sum, and its kinds. None if nothing was reported of what it read or wrote.
    fn input(&self) -> Option<(u64, [(Kind, u64); 7])> {
        let total = self.known(Field::Prompt).or_else(|| self.known(Field::Input));
        if total.is_none() && self.known(Field::Completion).is_none() {
            return None;
        }
        let hour = self.get(Field::Write1h);
        let written = self.get(Field::Written).max(self.get(Field::Write5m) + hour).max(self.get(Field::DetailWritten));
        let cached = self.get(Field::CacheRead).max(self.get(Field::Cached));
        // Anthropic and Bedrock count what the cache had apart; they have no `prompt_tokens`. Nor can a part be more
        // than its whole.
        let names_parts = [Field::CacheRead, Field::Written].iter().any(|field| self.known(*field).is_some());
        let is_apart = self.known(Field::Prompt).is_none() && names_parts;
        let total = total.unwrap_or(0);
        let plain = if is_apart { total } else { total.checked_sub(cached + written).unwrap_or(total) };
        let plain = plain + self.get(Field::ToolUse);
        let cached_audio = self.get(Field::CachedAudio).min(cached);
        let audio = (self.get(Field::Audio) + self.get(Field::ToolAudio)).saturating_sub(cached_audio).min(plain);
        let images = (self.get(Field::Image) + self.get(Field::ToolImage)).min(plain - audio);
        let hour = hour.min(written);
        let kinds = [
            (Kind::Input, plain - audio - images),
            (Kind::Cached, cached - cached_audio),
            (Kind::CacheWrite, written - hour),
            (Kind::CacheWriteHour, hour),
            (Kind::AudioInput, audio),
            (Kind::CachedAudio, cached_audio),
            (Kind::ImageInput, images),
        ];
        Some((plain + cached + written, kinds))
    }

    /// What the model wrote, after it had read `read` tokens: the sum, and its kinds.
    fn output(&self, read: u64) -> (u64, [(Kind, u64); 4]) {
        let visible = self.get(Field::Completion);
        let told = self.get(Field::Reasoning);
        // xAI and Gemini's OpenAI dialect leave reasoning out of `completion_tokens`; `total_tokens` gives it away.
        let surplus = self.get(Field::Total).saturating_sub(read + visible);
        let apart = self.get(Field::Thoughts).max(surplus);
        // Nor can a part be more than its whole.
        let apart = if apart == 0 && told > visible { told } else { apart };
        let reasoning = if apart > 0 { apart.max(told) } else { told };
        let total = visible + apart;
        let rest = total.saturating_sub(reasoning);
        let audio = self.get(Field::AudioOut).min(rest);
        let images = self.get(Field::ImageOut).min(rest - audio);
        let kinds = [
            (Kind::Output, rest - audio - images),
            (Kind::Reasoning, total - rest),
            (Kind::AudioOutput, audio),
            (Kind::ImageOutput, images),
        ];
        (total, kinds)
    }

    /// Read the value that comes next; anything but an object is passed over. True if it was an object.
    ///
    /// # Errors
    /// Malformed JSON.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<bool, Error> {
        fields::read(self, reader)
    }

    /// Read the value of a key that stands beside the answer's text (Ollama). True if the key is such a one.
    ///
    /// # Errors
    /// Malformed JSON.
    pub(crate) fn read_beside(&mut self, key: &[u8], reader: &mut Reader<'_>) -> Result<bool, Error> {
        fields::read_beside(self, key, reader)
    }
}

impl Tokens {
    /// Tokens of one kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> u64 {
        self.0[kind]
    }

    /// With as many tokens of that kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, count: u64) -> Self {
        self.0[kind] = count;
        self
    }

    /// Everything that the model read, from the cache or not.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        Kind::INPUT.iter().map(|kind| self.0[*kind]).sum()
    }

    /// Everything that it wrote, reasoning included.
    #[must_use]
    pub fn completion(&self) -> u64 {
        Kind::OUTPUT.iter().map(|kind| self.0[*kind]).sum()
    }

    /// As the ledger has them: read, of it from the cache and into it, written, of it thought, heard, spoken.
    #[must_use]
    pub fn summary(&self) -> [u64; 7] {
        let get = |kind| self.get(kind);
        [
            self.prompt(),
            self.cached(),
            get(Kind::CacheWrite) + get(Kind::CacheWriteHour),
            self.completion(),
            get(Kind::Reasoning),
            get(Kind::AudioInput),
            get(Kind::AudioOutput),
        ]
    }

    /// What it read from the cache.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.0[Kind::Cached] + self.0[Kind::CachedAudio]
    }
}

#[cfg(test)]
mod tests;
