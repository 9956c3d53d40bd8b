//! Kinds of tokens that may have prices of their own.

use std::ops::{Index, IndexMut};

/// What a token was. Every token is of exactly one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read, and nothing more special.
    Input,
    /// Read from the cache.
    Cached,
    /// Written to the cache, to be kept for five minutes or as long as the provider likes.
    CacheWrite,
    /// Written to the cache, to be kept for an hour.
    CacheWriteHour,
    /// Heard.
    AudioInput,
    /// Heard, from the cache.
    CachedAudio,
    /// Seen.
    ImageInput,
    /// Written, and nothing more special.
    Output,
    /// Thought.
    Reasoning,
    /// Spoken.
    AudioOutput,
    /// Drawn.
    ImageOutput,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::Cached,
        Self::CacheWrite,
        Self::CacheWriteHour,
        Self::AudioInput,
        Self::CachedAudio,
        Self::ImageInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
    ];
    /// What a model reads.
    pub const INPUT: [Self; 7] = [
        Self::Input,
        Self::Cached,
        Self::CacheWrite,
        Self::CacheWriteHour,
        Self::AudioInput,
        Self::CachedAudio,
        Self::ImageInput,
    ];
    /// What a model writes.
    pub const OUTPUT: [Self; 4] = [Self::Output, Self::Reasoning, Self::AudioOutput, Self::ImageOutput];

    /// The name that the price table and the rest of the gateway use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Cached => "cached",
            Self::CacheWrite => "cache_write",
            Self::CacheWriteHour => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::CachedAudio => "audio_cached",
            Self::ImageInput => "image_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
        }
    }

    /// By that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One value for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind<T>([T; Kind::ALL.len()]);

impl<T> Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}
