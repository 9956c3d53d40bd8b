//! What a request asks for, in no dialect.

use serde_json::{Map, Number, Value};

/// A request for an answer in words. What is None or empty was not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What the upstream calls the model.
    pub model: String,
    /// Instructions: text, of all system and developer messages in their order.
    pub system: Vec<Part>,
    /// What was said so far. Neighbours may be of one role; a dialect that minds joins them.
    pub turns: Vec<Turn>,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_calls: Option<bool>,
    /// The most tokens of an answer, reasoning included.
    pub max_tokens: Option<u64>,
    /// Numbers as the caller wrote them.
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    pub top_p: Option<Number>,
    /// The most likely tokens to choose from.
    pub top_k: Option<Number>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// How many answers; None is one.
    pub choices: Option<u64>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// What the text of the answer must be.
    pub format: Option<Format>,
    /// Who asks, for the provider's own watch on abuse.
    pub user: Option<String>,
    /// The answer comes in events.
    pub stream: bool,
    /// The caller wants the usage in the stream.
    pub include_usage: bool,
    /// Every other member of the body by its name in the caller's dialect. A dialect takes what it can say; what is left
    /// over is named in a warning or refused.
    pub rest: Map<String, Value>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The caller; also where results of tools stand.
    User,
    /// The model.
    Assistant,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// In order.
    pub parts: Vec<Part>,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// The prompt up to here is worth keeping.
    pub cache: Option<CacheMark>,
}

/// Anthropic's `cache_control`, Bedrock's `cachePoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// "5m" or "1h"; None is the provider's default.
    pub ttl: Option<String>,
}

/// What a piece of a message is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Never empty.
    Text(String),
    /// An image.
    Image(Media),
    /// A PDF or another file for the model to read.
    Document {
        /// Its bytes, or where they are.
        media: Media,
        /// Its name or title.
        name: Option<String>,
    },
    /// Sound.
    Audio(Media),
    /// What the model thought before it spoke.
    Thinking {
        /// Its text; may be empty where only the signature is told.
        text: String,
        /// What proves to its provider that the model wrote it; replayed byte for byte.
        signature: Option<String>,
    },
    /// The same, sealed.
    RedactedThinking(String),
    /// The model calls a tool.
    Call {
        /// Which call it is; its result names it.
        id: String,
        /// Which tool.
        name: String,
        /// JSON; "{}" where it takes none.
        arguments: String,
        /// Gemini's `thoughtSignature`.
        signature: Option<String>,
    },
    /// What a tool answered.
    CallResult {
        /// Of which call.
        id: String,
        /// Texts and images; may be empty.
        parts: Vec<Part>,
        /// The tool failed.
        is_error: bool,
    },
    /// The model would not say it.
    Refusal(String),
    /// What only the caller's own dialect knows (a search result, a server's tool): its type, for the refusal or warning.
    Foreign(String),
}

/// Bytes, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// In the request.
    Inline {
        /// "image/png"
        media_type: String,
        /// Base64.
        data: String,
    },
    /// Fetched by the provider, never by the gateway.
    Url(String),
    /// Kept by the provider.
    File(String),
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments; None: it takes none.
    pub parameters: Option<Value>,
    /// Arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// The tools up to here are worth keeping.
    pub cache: Option<CacheMark>,
}

/// Whether tools must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// None may.
    None,
    /// As the model likes.
    Auto,
    /// One at least.
    Required,
    /// This one.
    Named(String),
}

/// How much to think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// "minimal", "low", "medium", "high", "xhigh": `OpenAI`'s words.
    Effort(String),
    /// At most so many tokens.
    Budget(u64),
    /// As the model likes (Anthropic's "adaptive").
    Adaptive,
}

/// What the text of the answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// What the schema is called.
        name: String,
        /// JSON Schema.
        schema: Value,
        /// To the letter.
        strict: Option<bool>,
    },
}
