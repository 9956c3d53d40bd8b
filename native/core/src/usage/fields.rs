//! Which key of whose report is which count.

use super::{MOST_TOKENS, Usage};
use crate::json::{Error, Event, Reader, Span};

/// A count that some provider reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Everything that was read, the cache's part included.
    Prompt,
    /// What was read; beside fields of Anthropic's or Bedrock's cache it is without them.
    Input,
    /// What was written.
    Completion,
    Total,
    /// Read from the cache, as part of a whole.
    Cached,
    /// Read from the cache, in Anthropic's and Bedrock's words.
    CacheRead,
    /// Written to the cache, likewise; all times of keeping together.
    Written,
    /// Written to the cache, as part of a whole (`OpenRouter`).
    DetailWritten,
    Write5m,
    Write1h,
    Audio,
    CachedAudio,
    Image,
    /// What server-side tools gave the model to read, apart from the prompt (Gemini).
    ToolUse,
    ToolAudio,
    ToolImage,
    Reasoning,
    /// Reasoning apart from what was written (Gemini).
    Thoughts,
    AudioOut,
    ImageOut,
}

pub(super) const FIELDS: usize = Field::ImageOut as usize + 1;

/// The object or list that a key stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Report,
    /// `prompt_tokens_details`, `input_tokens_details`
    Read,
    /// `completion_tokens_details`, `output_tokens_details`
    Written,
    /// `cached_tokens_details`, in the former
    Cached,
    /// Anthropic's `cache_creation`
    Creation,
    /// Bedrock's `cacheDetails`: a list of `{ttl, inputTokens}`
    Kept,
    /// Gemini's lists of `{modality, tokenCount}`
    Modalities([Option<Field>; 2]),
    Unknown,
}

/// An item of a list, whose keys may come in any order.
#[derive(Clone, Copy, Default)]
struct Item {
    count: Option<u32>,
    slot: Option<usize>,
}

fn group(key: &[u8]) -> Group {
    match key {
        b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => Group::Read,
        b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => Group::Written,
        b"cached_tokens_details" => Group::Cached,
        b"cache_creation" => Group::Creation,
        b"cacheDetails" => Group::Kept,
        b"promptTokensDetails" => Group::Modalities([Some(Field::Audio), Some(Field::Image)]),
        b"cacheTokensDetails" => Group::Modalities([Some(Field::CachedAudio), None]),
        b"candidatesTokensDetails" => Group::Modalities([Some(Field::AudioOut), Some(Field::ImageOut)]),
        b"toolUsePromptTokensDetails" => Group::Modalities([Some(Field::ToolAudio), Some(Field::ToolImage)]),
        _ => Group::Unknown,
    }
}

fn field(group: Group, key: &[u8]) -> Option<Field> {
    Some(match (group, key) {
        (Group::Report, b"prompt_tokens" | b"promptTokenCount") => Field::Prompt,
        (Group::Report, b"input_tokens" | b"inputTokens") => Field::Input,
        (
            Group::Report,
            b"completion_tokens" | b"output_tokens" | b"outputTokens" | b"candidatesTokenCount" | b"responseTokenCount",
        ) => Field::Completion,
        // Of Anthropic there is none, Bedrock's and Gemini's hold parts that are counted by themselves.
        (Group::Report, b"total_tokens") => Field::Total,
        (Group::Report, b"cache_read_input_tokens" | b"cacheReadInputTokens") => Field::CacheRead,
        (Group::Report, b"cache_creation_input_tokens" | b"cacheWriteInputTokens") => Field::Written,
        // Gemini, DeepSeek, Moonshot.
        (Group::Report, b"cachedContentTokenCount" | b"prompt_cache_hit_tokens" | b"cached_tokens") => Field::Cached,
        (Group::Report, b"thoughtsTokenCount") => Field::Thoughts,
        (Group::Report, b"toolUsePromptTokenCount") => Field::ToolUse,
        (Group::Report, b"reasoning_tokens") => Field::Reasoning,
        (Group::Read, b"cached_tokens") => Field::Cached,
        (Group::Read, b"cache_write_tokens" | b"cache_creation_tokens") => Field::DetailWritten,
        (Group::Read, b"audio_tokens") => Field::Audio,
        (Group::Read, b"image_tokens") => Field::Image,
        (Group::Cached, b"audio_tokens") => Field::CachedAudio,
        (Group::Written, b"reasoning_tokens" | b"thinking_tokens") => Field::Reasoning,
        (Group::Written, b"audio_tokens") => Field::AudioOut,
        (Group::Written, b"image_tokens") => Field::ImageOut,
        (Group::Creation, b"ephemeral_5m_input_tokens") => Field::Write5m,
        (Group::Creation, b"ephemeral_1h_input_tokens") => Field::Write1h,
        _ => return None,
    })
}

/// The slot of a modality, or of a time of keeping; None: counted with everything else.
fn slot(group: Group, word: &[u8]) -> Option<usize> {
    let field = match (group, word) {
        (Group::Modalities([audio, _]), b"AUDIO") => audio?,
        (Group::Modalities([_, image]), b"IMAGE") => image?,
        (Group::Kept, b"1h") => Field::Write1h,
        (Group::Kept, b"5m") => Field::Write5m,
        _ => return None,
    };
    Some(field as usize)
}

pub(super) fn read(usage: &mut Usage, reader: &mut Reader<'_>) -> Result<bool, Error> {
    let outside = reader.depth();
    match reader.next()? {
        Event::ObjectStart => {}
        Event::ArrayStart => {
            while reader.depth() > outside {
                reader.next()?;
            }
            return Ok(false);
        }
        _ => return Ok(false),
    }
    members(usage, Group::Report, reader)?;
    Ok(true)
}

/// The members of an object that has been opened.
fn members(usage: &mut Usage, within: Group, reader: &mut Reader<'_>) -> Result<(), Error> {
    while let Event::Key(key) = reader.next()? {
        let name = reader.raw(key);
        if let Some(field) = field(within, name) {
            count(usage, field, reader)?;
            continue;
        }
        let inside = match (within, group(name)) {
            // Groups stand in the report, one of them in another group.
            (Group::Report, group) => group,
            (Group::Read, Group::Cached) => Group::Cached,
            _ => Group::Unknown,
        };
        details(usage, inside, reader)?;
    }
    Ok(())
}

/// The value of a key that is no count.
fn details(usage: &mut Usage, group: Group, reader: &mut Reader<'_>) -> Result<(), Error> {
    if group == Group::Unknown {
        return reader.skip_value().map(drop);
    }
    let outside = reader.depth();
    match reader.next()? {
        Event::ObjectStart if !matches!(group, Group::Kept | Group::Modalities(_)) => members(usage, group, reader)?,
        Event::ArrayStart => {
            if let Group::Modalities(fields) = group {
                // A list is complete: what it leaves out is none.
                fields.into_iter().flatten().for_each(|field| usage.reported[field as usize] = None);
            }
            while reader.depth() > outside {
                if reader.next()? == Event::ObjectStart {
                    item(usage, group, reader)?;
                }
            }
        }
        _ => {
            while reader.depth() > outside {
                reader.next()?;
            }
        }
    }
    Ok(())
}

fn item(usage: &mut Usage, group: Group, reader: &mut Reader<'_>) -> Result<(), Error> {
    let mut item = Item::default();
    while let Event::Key(key) = reader.next()? {
        match reader.raw(key) {
            b"tokenCount" | b"inputTokens" => item.count = number(usage, reader)?,
            b"modality" | b"ttl" => {
                let value = reader.skip_value()?;
                let word = reader.bytes(value);
                let word = word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or_default();
                item.slot = slot(group, word);
            }
            _ => {
                reader.skip_value()?;
            }
        }
    }
    if let (Some(slot), Some(count)) = (item.slot, item.count) {
        usage.reported[slot] = Some(count);
    }
    Ok(())
}

fn count(usage: &mut Usage, field: Field, reader: &mut Reader<'_>) -> Result<(), Error> {
    if let Some(count) = number(usage, reader)? {
        usage.reported[field as usize] = Some(count);
    }
    Ok(())
}

/// The value that comes next as a count; None for null. Anything else spoils the report.
fn number(usage: &mut Usage, reader: &mut Reader<'_>) -> Result<Option<u32>, Error> {
    let span = reader.skip_value()?;
    let text = reader.bytes(span);
    if text == b"null" {
        return Ok(None);
    }
    let count = whole(reader, span).filter(|count| *count <= MOST_TOKENS).and_then(|count| u32::try_from(count).ok());
    usage.is_spoiled |= count.is_none();
    Ok(count)
}

/// A number without a fraction; some servers write `12.0`.
fn whole(reader: &Reader<'_>, span: Span) -> Option<u64> {
    let text = reader.bytes(span);
    let digits = text.strip_suffix(b".0").unwrap_or(text);
    // `parse` would take a plus, which is no JSON.
    std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Ollama's own dialect counts beside the text.
pub(super) fn read_beside(usage: &mut Usage, key: &[u8], reader: &mut Reader<'_>) -> Result<bool, Error> {
    let field = match key {
        b"prompt_eval_count" => Field::Prompt,
        b"eval_count" => Field::Completion,
        _ => return Ok(false),
    };
    count(usage, field, reader)?;
    Ok(true)
}
