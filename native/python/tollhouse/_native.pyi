"""Types of the native extension: the boundary between Python and the core crate."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, final

__all__ = [
    "END",
    "FAULT",
    "HEAD",
    "LEDGER_TOKENS",
    "LEDGER_WHO",
    "READY",
    "BodyResult",
    "DigestedSend",
    "EventRedactor",
    "FastGuard",
    "FastPath",
    "FastRefusal",
    "FastRequest",
    "FastRoute",
    "FastTally",
    "Finding",
    "KeyedDigest",
    "LedgerDatabase",
    "QuotaPlan",
    "QuotaRecords",
    "QuotaStore",
    "Price",
    "PriceTable",
    "RequestError",
    "RequestReader",
    "RequestView",
    "ResponseReader",
    "ScanResult",
    "ScanStream",
    "Scanner",
    "Shedding",
    "SigningKey",
    "Tokens",
    "Vault",
    "__version__",
    "count_tokens",
    "duration",
    "embedding_answer",
    "embedding_calls",
    "encode_headers",
    "heap_bytes",
    "new_id",
    "sign_aws",
    "translate_request",
    "usd",
    "verify_ed25519",
]

_Action = Literal["allow", "flag", "redact", "pseudonymise", "block"]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Decision = Literal["ALLOWED", "TRANSFORMED", "BLOCKED"]

__version__: Final[str]

class RequestError(ValueError):
    """A request body that cannot be accepted; becomes a 400 whose message is safe to show (no body text in it)."""

    message: str
    param: str | None
    code: str

@final
class RequestView:
    """One parsed request body. Made once per request, read by whoever needs it.

    Parsing is strict (RFC 8259): valid UTF-8, no duplicate keys at any level, no NaN or Infinity, no lone
    surrogate escapes, at most `max_depth` levels and `max_nodes` values.
    """

    @staticmethod
    def parse(body: bytes, kind: str, /, *, max_depth: int = 64, max_nodes: int = 100_000) -> RequestView:
        """Parse `body` as a request of `kind`: "chat", "completions", "embeddings", "responses", "messages" or
        "other" (no conversation).

        Raises RequestError for anything malformed, and for a wrong type of a field that the gateway reads.
        """

    def replaced(self, body: bytes, /) -> RequestView:
        """The view of another body of the same kind, under the same limits. Raises RequestError."""
    @property
    def body(self) -> bytes:
        """The very object that was parsed."""
    @property
    def model(self) -> str | None:
        """Requested model; None when absent (the caller decides whether a default exists)."""
    @property
    def stream(self) -> bool: ...
    @property
    def include_usage(self) -> bool:
        """Whether the caller itself set stream_options.include_usage."""
    @property
    def max_tokens(self) -> int | None:
        """Largest limit on generated tokens of those that the endpoint reads: of chat max_tokens and
        max_completion_tokens, of completions and messages max_tokens, of responses max_output_tokens."""
    @property
    def n(self) -> int: ...
    @property
    def choices(self) -> int:
        """How many answers are generated: `n`, or `best_of` of them, for each prompt of a completion."""
    @property
    def service_tier(self) -> str | None:
        """How it is to be processed, as prices call that: `service_tier`, or "fast" where Anthropic's `speed` says so."""
    @property
    def thinks(self) -> bool | None:
        """Whether the model is to think: `reasoning_effort`, `reasoning` or `thinking` says so; None: none of them is there."""
    @property
    def session(self) -> str | None:
        """What the caller calls the requests that belong together: the first of `prompt_cache_key`, `user`,
        `safety_identifier` and `metadata.user_id` that is a non-empty string.
        """
    @property
    def previous_response_id(self) -> str | None: ...
    def tools(self) -> list[str]:
        """Names of the tools that the request offers. What the caller runs is called by its name, what the provider runs
        by its type ("web_search_20250305", "mcp") or by the member that brings it ("mcp_servers"). One that cannot be
        told is "".
        """
    def prompt_bound(self, *, tokens_per_image: int = 50_000) -> int | None:
        """More tokens than any byte-level tokenizer can make of the prompt; from what parsing has found, in about 50 ns.

        None: the model will also read what does not stand in the body (files, conversations and prompts that the provider
        keeps, tools that run there), so only its context bounds the prompt. docs/costs.md says what is assumed of images
        and sound.
        """
    def prompt_tokens(self, encoding: str, /) -> int:
        """Tokens of what the model reads as text, and OpenAI's overhead for messages; images and sound are not in it.

        encoding: as of `count_tokens`. A long body takes 15 to 300 ms per MB and does not hold the interpreter: in a thread
        (`asyncio.to_thread`) it does not hold the event loop either. Raises ValueError for an unknown encoding.
        """
    def quote(
        self, *, max_output: int | None = None, context: int | None = None, tokens_per_image: int = 50_000
    ) -> tuple[int, int, int, int, int, bool]:
        """What answers may come to: tokens of the prompt at most and about so many, tokens of each answer at most, how
        many answers, what buckets of tokens are asked for, and whether the upstream is to be told the bound.

        max_output, context: of the model, where known, in tokens.
        """
    def segments(self) -> list[tuple[int, int, str, bool]]:
        """Strings that a model or a user can read: (start, end, kind, escaped).

        Byte offsets into `body`, quotes excluded. kind: "text", "tool_arguments", "tool_definition", "media",
        "other". escaped: the string holds a backslash and must be decoded before it is read.
        """
    def rewrite(
        self,
        *,
        model: str | None = None,
        include_usage: bool = False,
        max_tokens: tuple[int, str] | None = None,
        proven: bool = False,
        without_model: bool = False,
        version: str | None = None,
    ) -> bytes:
        """The body with `model` replaced, stream_options.include_usage set to true, and at most so many tokens asked for.

        max_tokens: every member that allows more is lowered; if there is none, one of this name is added. A budget for
        thoughts that is no longer below it is lowered with it, below 1,024 tokens there are none. proven: thoughts with
        an empty signature are left out. without_model: the member is taken out, whatever `model` says. version: the
        value of `anthropic_version` where the body has none.

        Spliced: every other byte and the order of the keys stay. Nothing to change: returns `body` itself.
        """

def translate_request(
    view: RequestView,
    dialect: str,
    /,
    *,
    model: str,
    max_tokens: int | None = None,
    default_tokens: int | None = None,
) -> tuple[bytes, list[str]]:
    """A request in the dialect of an upstream, and the names of what it cannot be told (for `x-gateway-warnings`).

    dialect: "chat" (any server that speaks like OpenAI), "openai" (OpenAI itself, which refuses what it does not know),
    "messages", "vertex-messages" (where the path names the model), "gemini", "converse" (Bedrock), "ollama". A stream is asked for with its usage. max_tokens: no more are to be generated; default_tokens: where
    neither that nor the caller says how many.

    Raises RequestError for what would be missed and cannot be told, ValueError for an unknown dialect or one that this
    kind of request has no meaning in. From 64 KB on the interpreter is not held.
    """

def embedding_calls(view: RequestView, dialect: str, /) -> tuple[list[tuple[bytes, int]], bool, list[str]]:
    """A request for embeddings as calls of a family of models: each body and its number of texts; whether vectors are
    wanted as base64; and the names of what cannot be told.

    dialect: "titan-v1", "titan", "nova", "cohere" (Bedrock), "vertex", "vertex-single" (Gemini's there). Raises
    RequestError for tokens in place of texts and for dimensions that cannot be chosen, ValueError for an unknown dialect.
    """

def embedding_answer(
    parts: list[tuple[bytes, int, int | None]], dialect: str, /, *, model: str, base64: bool = False
) -> bytes:
    """The answers to those calls as OpenAI's one: body, number of texts, and tokens where the head told them, of each.

    Without `usage` if the tokens of one are not known. Raises ValueError for an answer that is not as documented or has
    not a vector for each text, and for an unknown dialect. From 64 KB on the interpreter is not held.
    """

def sign_aws(
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    /,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    service: str,
    date: str,
) -> str:
    """The value of `authorization` for a POST, by AWS' Signature Version 4.

    path: as it is sent, percent-encoded. headers: those to sign, names in lower case, `host` and `x-amz-date` (which is
    `date`, "20150830T123600Z") among them.
    """

@final
class KeyedDigest:
    """HMAC-SHA-256 (RFC 2104) with one key, which `repr` does not show."""

    def __new__(cls, key: bytes, /) -> KeyedDigest:
        """Raises ValueError for an empty key."""

    def of(self, content: bytes, /) -> str:
        """Hexadecimal. Others have the interpreter while a long one is made."""

    def passing(self, send: _Send, /) -> DigestedSend:
        """An ASGI `send` that hands everything on to this one."""

@final
class DigestedSend:
    """Digests the bodies of the messages that pass, without a frame of Python."""

    def __call__(self, message: MutableMapping[str, Any]) -> Awaitable[None]: ...
    @property
    def inner(self) -> _Send | None: ...
    @property
    def is_eager(self) -> object:
        """As the one behind it is."""

    @property
    def sent(self) -> int:
        """Bytes so far."""

    def hexdigest(self) -> str: ...

@final
class SigningKey:
    """A private key of Ed25519 (RFC 8032). Its memory is wiped when it goes, and `repr` does not show it."""

    @staticmethod
    def generate() -> SigningKey:
        """Raises OSError if the system has no randomness."""

    @staticmethod
    def from_pem(pem: bytearray) -> SigningKey:
        """PKCS#8, not encrypted. Raises ValueError, whose message shows nothing, for anything else."""

    def pem(self) -> bytearray:
        """PKCS#8; to be wiped by whoever has used it."""

    @property
    def public(self) -> bytes:
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message."""

def verify_ed25519(public: bytes, signature: bytes, message: bytes, /) -> bool:
    """Whether it is a signature of the message by that key; strictly: no keys of small order, no second form."""

def count_tokens(text: str, encoding: str, /) -> int:
    """Tokens of a text as tiktoken counts them; names of special tokens are text. encoding: "cl100k_base", "o200k_base".

    From 2 KB on the interpreter is not held. The first call per encoding unpacks its vocabulary. Raises ValueError for
    an unknown encoding, UnicodeEncodeError for lone surrogates.
    """

HEAD: Final[int]
READY: Final[int]
END: Final[int]
FAULT: Final[int]

def encode_headers(first: bytes, headers: list[tuple[bytes, bytes]], /) -> tuple[bytes, int | None, bool, bool]:
    """`first` with the header lines; the content-length, whether the connection closes, whether it is an event stream.

    transfer-encoding is left out. Raises ValueError for a header that would end its line.
    """

def heap_bytes() -> int:
    """Bytes of the small blocks (up to 16 KB) that the extension has in use: for tools, as it looks at all of them."""

def new_id() -> str:
    """An id for a request: `req_` and 32 hexadecimal digits, unpredictable and unique. Raises OSError without randomness."""

def usd(nano: int, /) -> str:
    """Nano-USD as dollars, without an exponent and without needless zeros: 0.00, 1.5 (as "1.50"), 0.000000001."""

def duration(ms: int, /) -> str:
    """Milliseconds as OpenAI's headers write them: 120ms, 7.66s, 6m0s, 1h2m3s."""

@final
class RequestReader:
    """The HTTP/1.1 requests of a client's connection, one after the other.

    `feed` and `proceed` return flags: HEAD (`head` can be asked), READY (`take` has bytes of the body), END (the request
    is complete; what came after it is kept until `proceed`), FAULT (`refused` tells status and reason; close).
    """

    def __new__(cls, *, max_head: int = 65536, max_headers: int = 100) -> RequestReader: ...
    def feed(self, data: bytes, /) -> int: ...
    def proceed(self) -> int:
        """Go on to the next request, after the end of this one."""
    def take(self) -> bytes:
        """Bytes of the body that have come and were not taken yet."""
    def head(self) -> tuple[str, str, bytes, bytes, int, list[tuple[bytes, bytes]], bool]:
        """Method, decoded path, path as sent, query, minor version, headers (lower-case names), keep-alive."""
    @property
    def held(self) -> int:
        """Bytes kept: not taken of the body, and of later requests."""
    @property
    def has_begun(self) -> bool:
        """Whether any byte of the present request has come."""
    @property
    def expects_continue(self) -> bool: ...
    @property
    def refused(self) -> tuple[int, str] | None: ...

@final
class ResponseReader:
    """Decodes one HTTP/1.1 response and, if it is an event stream, taps its events; all in one call per read.

    `feed` returns a set of flags: HEAD (status and headers are known), READY (`take` has bytes), END (the message is
    complete, `reusable` tells about the connection), FAULT (`fault` tells what was wrong; nothing more will come).

    Event streams: only whole events are handed out, byte for byte as received. Blocks without a data line are
    reduced to their comment lines; a byte order mark is dropped. READY is not set before the first event with data.
    """

    def __new__(
        cls,
        dialect: str,
        /,
        *,
        client: str | None = None,
        strip_usage: bool = False,
        stream: bool = False,
        request_id: str = "",
        model: str = "",
        created: int = 0,
        request: bytes | None = None,
        max_head: int = 65536,
        max_headers: int = 100,
        max_body: int = 67108864,
        max_event: int = 1048576,
    ) -> ResponseReader:
        """dialect: "chat", "completions", "messages", "responses", "other" (no conversation: a stream ends where its
        framing does, and what is neither events nor JSON is READY as it comes, however long) or "raw" (never tapped).

        client: the dialect of the caller, where it is another: "chat", "completions",
        "messages" or "responses". Then `dialect` is
        that of the upstream ("openai" is "chat"; "gemini", "converse", "ollama"), and a success is handed out translated,
        whole or event by event; anything else stays as it is. request_id, model, created (seconds since the epoch):
        for answers that do not say. request: the caller's body, for answers that repeat what was asked.

        strip_usage: drop the usage-only chunk before [DONE] that the caller did not ask for.

        stream: the caller has asked for one, so a success (200) that is none is handed out as the stream that would have
        said the same; `is_event_stream` is true then.
        """
    def expect_choices(self, choices: int, /) -> None:
        """How many the caller has asked for (1 if nothing is said): where fewer have ended, a stream that lacks its
        `[DONE]` is given none."""
    def limit_output(self, tokens: int, /) -> None:
        """End the stream with a fault ("spent") in front of the event with which it surely has more generated tokens."""
    def feed(self, data: bytes, /) -> int: ...
    def eof(self) -> int:
        """The peer closed its side. Flags as of `feed`; a message cut short is a FAULT."""
    def lost(self) -> int:
        """The same where the connection was reset or given up: what ends with it alone is cut short as well."""
    def take(self, limit: int | None = None, /) -> bytes:
        """The bytes that are ready for the client, at most `limit` of them; b"" when there are none."""
    @property
    def pending(self) -> int:
        """Bytes ready and not yet taken."""
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """End-to-end headers, names lower case. Hop-by-hop headers are left out."""
    def pick(self, names: Sequence[bytes], /) -> list[tuple[bytes, bytes]]:
        """Those of `headers` whose (lower-case) name is among `names`."""
    @property
    def is_event_stream(self) -> bool: ...
    @property
    def translated(self) -> bool:
        """Whether the caller speaks another dialect; then the upstream's content type is not the answer's."""
    @property
    def reusable(self) -> bool:
        """After END: the connection may carry another request."""
    @property
    def fault(self) -> tuple[str, str] | None:
        """(kind, message). kind: "protocol" (malformed HTTP), "too_large", "truncated" (ended early), "encoding"
        (a Content-Encoding that was not asked for), "stream_error" (an error event of the upstream; message is
        the upstream's own), "malformed_event" (broken JSON inside a tool call), "spent" (see `limit_output`)."""
    @property
    def error_event(self) -> bytes | None:
        """The upstream's own error object (JSON) if there was one: in a stream, as trailing JSON, or in a success."""
    @property
    def events(self) -> int:
        """Events with data so far, [DONE] included."""
    @property
    def malformed_events(self) -> int: ...
    @property
    def done(self) -> bool:
        """The stream said that it is complete: [DONE], message_stop, response.completed, or every choice finished."""
    @property
    def ended(self) -> bool:
        """The same, but for choices that finished: nothing at all will follow."""
    @property
    def at_its_end(self) -> bool:
        """Not ended, but every choice has finished beyond doubt: nothing can be missing but the usage and the end. False
        of a choice that came whole in one event: there are servers that write a reason with every chunk."""
    @property
    def cut(self) -> bool:
        """The connection ended before the stream did. If that is complete for all that (`ended`), its upstream has not
        said so: every choice had finished."""
    @property
    def usage(self) -> tuple[int, int, int, int] | None:
        """(prompt, completion, cached, reasoning) tokens: the last usage object that was seen, never a sum; of a
        JSON body or of a stream. cached is part of prompt, reasoning of completion, whatever the provider's own
        convention. None: the upstream told nothing, or something that cannot be (a negative count, say)."""
    @property
    def tokens(self) -> Tokens | None:
        """The same by kind."""
    def tell_cost(self, price: Price, /) -> None:
        """Add what the stream has cost (`x_gateway_cost_usd`, a string) to the chunk that holds nothing but its usage."""
    def cost(self, price: Price, /) -> int | None:
        """What the answer cost in nano-USD, rounded up once; None where `tokens` is."""
    @property
    def text_bytes(self) -> int:
        """Decoded bytes of generated text and tool arguments seen in the stream (for an estimate)."""
    def fault_event(self, message: str, code: str, status: int | None = None, /) -> bytes:
        """A well-formed error event of this dialect, preceded by whatever ends an open line. status: that it would have had
        in front of the stream, where dialects tell it by a word; None: the upstream's own error says it.
        """

@final
class Tokens:
    """Tokens of one request by kind. Every token is of exactly one kind.

    Read: "input" (nothing special), "cached", "cache_write" (kept for five minutes, or as long as the provider likes),
    "cache_write_1h", "audio_input", "audio_cached", "image_input". Written: "output" (nothing special), "reasoning",
    "audio_output", "image_output".
    """

    def __new__(cls, **counts: int) -> Tokens:
        """Counts by kind. Raises TypeError for an unknown kind, OverflowError for more than 10^9 read or written."""
    @staticmethod
    def find(json: bytes, /) -> Tokens | None:
        """Those that a provider reports: its usage object (usageMetadata, in Gemini's case), or an answer that has one.

        None if nothing is reported, or if a count is negative, no whole number or larger than 10^9.
        """
    def __getitem__(self, kind: str, /) -> int:
        """Raises KeyError for an unknown kind."""
    @property
    def prompt(self) -> int:
        """All kinds that were read."""
    @property
    def completion(self) -> int:
        """All kinds that were written."""
    @property
    def summary(self) -> tuple[int, int, int, int, int, int, int]:
        """As a ledger has them: `prompt`, all cached, all written to the cache, `completion`, reasoning, audio in and out.

        The second, third and sixth are part of the first, the fifth and the last part of the fourth.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Price:
    """What one model costs. Amounts are nano-USD, below 2^53."""

    def cost(self, tokens: Tokens, /) -> int:
        """Exactly, rounded up once at the end."""
    def bound(self, prompt_tokens: int, output_tokens: int, /) -> int:
        """No request that reads and writes at most so many tokens costs more, whatever kinds they are of.

        All choices together. Raises OverflowError for more than 10^9 tokens.
        """
    def affordable_output(self, prompt_tokens: int, amount: int, choices: int = 1, /) -> int | None:
        """The most tokens for each choice such that `bound` of all choices is at most `amount`.

        None: not even the prompt is affordable. Where output is free: 10^9 divided by the choices.
        """
    def variant(self, name: str, /) -> Price | None:
        """The price in another way of processing: "batch", "flex", "priority" or "fast". None: it has no price of its own."""
    def rate(self, kind: str, /, prompt_tokens: int = 0) -> int:
        """Nano-USD per million tokens of a kind, for a prompt of that length. Raises KeyError for an unknown kind."""
    @property
    def is_free(self) -> bool: ...
    @property
    def hides_thoughts(self) -> bool:
        """Whether the model, as it is called, is one that thinks without being asked to and does not show all of it."""
    @property
    def max_output(self) -> int | None:
        """The most tokens of one answer, where known."""
    @property
    def context(self) -> int | None:
        """Tokens that fit, where known."""

@final
class PriceTable:
    """Prices by provider and model. Immutable; one may serve any number of threads."""

    def __new__(
        cls,
        json: bytes,
        overrides: dict[str, dict[str, int | dict[int, dict[str, int]]] | str] | None = None,
        *,
        day: str = "",
    ) -> PriceTable:
        """json: config/prices.json. day: what holds then ("2026-11-21"); empty: what held when the table was made.

        overrides: by "provider/model", or "provider/beginning*": prices in nano-USD per million tokens by kind, of which
        "input" must be there ("request": nano-USD; "above": whole sets of prices by the number of prompt tokens above
        which they hold), or the "provider/model" that it costs the same as.

        Raises ValueError for malformed data.
        """
    @property
    def version(self) -> str:
        """Source, day and digest."""
    def find(self, provider: str, model: str, /) -> Price | None:
        """The price of what `provider` calls `model`; None: unpriced, which is not 0.

        First the overrides; then the very name; that without its date; the most telling pattern; then the same at
        the providers whose models this one resells.
        """

@final
class Finding:
    """Where something was found, in characters of the text; never what it was."""

    @property
    def type(self) -> str:
        """Presidio's entity name (EMAIL_ADDRESS, CREDIT_CARD ...), SECRET, INJECTION, or what a rule of yours says."""
    @property
    def rule(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def score(self) -> float:
        """Confidence, 0 to 1."""
    @property
    def action(self) -> _Action:
        """What was done about it."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class ScanResult:
    """What became of a text."""

    @property
    def decision(self) -> _Decision: ...
    @property
    def findings(self) -> list[Finding]:
        """By start; a list of your own."""
    @property
    def redacted(self) -> str:
        """What may pass: the very text if nothing had to change; if it is BLOCKED, what precedes the match.

        An attack is the verdict on a text as a whole, so all of it precedes that: heed `decision`.
        """

@final
class ScanStream:
    """A text that comes in pieces: the same findings, and the same text out, as for the whole, however it is cut."""

    def feed(self, text: str, /) -> str:
        """What may pass now; what could still become a match is held back.

        Never raises for what was found: after a block `decision` is BLOCKED and nothing passes any more. What follows
        is still looked at, for `findings`. Raises ValueError after `finish`, and for lone surrogates.
        """
    def finish(self) -> str:
        """The text is complete: what was held back, as far as it may pass."""
    @property
    def findings(self) -> list[Finding]:
        """So far, by start; positions count from the beginning of the whole text."""
    @property
    def decision(self) -> _Decision: ...

@final
class Scanner:
    """Finds personal data, secrets and attacks. Immutable; one may serve any number of threads."""

    def __new__(
        cls,
        policy: Mapping[str, Any] | None = None,
        rules: str
        | PathLike[str]
        | Mapping[str, Any]
        | Sequence[str | PathLike[str] | Mapping[str, Any]]
        | None = None,
    ) -> Scanner:
        """policy: an action for each of "pii", "secrets" and "injection" (default: redact, redact, block), and
        exceptions by type and by rule: {"pii": "redact", "types": {"EMAIL_ADDRESS": "allow"}, "rules": {...}}. An action
        is "allow", "flag", "redact", "pseudonymise" or "block"; the rule wins over its type, the type over its family.

        rules: rules besides the built-in ones: mappings, or paths of .toml or .yaml files.

        Raises ValueError with one line for everything that is wrong: "rule NAME: reason".
        """
    def scan(self, text: str, /) -> ScanResult:
        """Look at a whole text. Lone surrogates are looked at as question marks."""
    def stream(self) -> ScanStream: ...
    def scan_request(self, view: RequestView, key: bytes | None = None, /) -> BodyResult:
        """Look at every text of a request. With a key, "pseudonymise" is reversible: the same key gives a value the same
        pseudonym. Without one it redacts.
        """
    def scan_json(self, body: bytes, key: bytes | None = None, /) -> BodyResult:
        """Look at every string, key and number of JSON of any shape. Raises ValueError for what is no JSON."""
    def scan_answer(self, body: bytes, vault: Vault | None = None, /) -> BodyResult:
        """Look at an answer (JSON of any shape, else one text) and restore the pseudonyms of its request."""
    def event_redactor(self, dialect: str, vault: Vault | None = None, /) -> EventRedactor:
        """dialect: as of ResponseReader; what an error is told in where the stream itself does not show it."""
    @property
    def rules(self) -> list[tuple[str, str, Literal["pii", "secrets", "injection"]]]:
        """All rules: id, type and family."""

@final
class Vault:
    """The pseudonyms of one request and what they stand for; shows neither."""

    def __len__(self) -> int: ...

@final
class BodyResult:
    """What became of a body."""

    @property
    def decision(self) -> _Decision: ...
    @property
    def body(self) -> bytes | None:
        """The body that passes, spliced; None if it passes byte for byte, or does not pass."""
    @property
    def vault(self) -> Vault | None:
        """What the answer's way back needs; None if nothing was pseudonymised."""
    @property
    def counts(self) -> list[tuple[str, _Action, int]]:
        """How often each type was found, by what was done about it."""

@final
class EventRedactor:
    """One event stream on its way to its reader: nothing of a match goes out, pseudonyms are restored.

    What may still become a match is held back; events that do not change pass byte for byte.
    """

    def feed(self, chunk: bytes, /) -> bytes:
        """What may go out now. When the stream must not go on, that ends with an error event, and `stopped` says why."""
    def finish(self) -> bytes:
        """The stream has ended: what was held back."""
    def fail(self) -> bytes:
        """The scanner raised: an error event to end with. Nothing passes from now on."""
    @property
    def stopped(self) -> Literal["blocked", "too_large", "failed"] | None: ...
    @property
    def decision(self) -> _Decision: ...
    @property
    def counts(self) -> list[tuple[str, _Action, int]]:
        """As of BodyResult, so far."""

LEDGER_WHO: tuple[str, ...]
"""Columns of the ledger's series: who and what was charged, in the order of a charge's detail."""
LEDGER_TOKENS: tuple[str, ...]
"""Columns of the ledger: tokens by kind, in the order of a charge's detail."""

@final
class LedgerDatabase:
    """The ledger's SQLite file: see `tollhouse.middlewares.stores.ledger`, which is how to use it.

    Everything is done without the interpreter's lock. Errors are those of Python's sqlite3, `sqlite_errorcode` included.
    """

    def __new__(cls, path: str | PathLike[str], *, read_only: bool = False, busy_s: float = 5.0) -> LedgerDatabase:
        """busy_s: how long a statement waits for others' locks."""
    def execute(self, sql: str, parameters: Sequence[str | int | None] = (), /) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
    def last(self, source: str, /) -> str | None:
        """The position of the last record of `source`; None if there is none."""
    def append(self, source: str, charges: Sequence[tuple[int | str, str, str, int, int, bytes]], /) -> None:
        """(position, status, hold, amount, at, detail) each, in one transaction. Raises ValueError for a bad detail."""
    def append_from(self, source: str, records: QuotaRecords, limit: int, /) -> int:
        """Take at most `limit` records in one transaction, and tell the store then; how many. None if it has gone."""
    def close(self) -> None:
        """Whatever is asked afterwards raises sqlite3.ProgrammingError."""

@final
class QuotaRecords:
    """Of a `QuotaStore`, those that are not stored. It does not keep the store."""

@final
class QuotaPlan:
    """Meters that one request is charged on, as its store knows them."""

@final
class QuotaStore:
    """Limits and budgets in this process: see `tollhouse.middlewares.stores.embedded`, which is how to use it.

    Times are milliseconds since the epoch on the store's clock, unless `now_ms` says otherwise; money is nano-USD.
    """

    def __new__(
        cls, folder: str | PathLike[str] | None = None, *, stored: int = 0, segment_bytes: int = 16777216
    ) -> QuotaStore:
        """folder: kept there; None: in memory. stored: records of the ledger up to this one need not be told again.

        Raises BlockingIOError while another process uses the folder, OSError if it cannot be used.
        """
    def plan(self, meters: Sequence[tuple[Any, ...]], /) -> QuotaPlan:
        """(name, capacity, amount, period in ms, by interval, counts tokens), (name, cap, start, end), (name, capacity).

        Raises ValueError that names the meter.
        """
    def admit(
        self,
        plan: QuotaPlan,
        /,
        tokens: int,
        want: int,
        minimum: int,
        expires_in_ms: int,
        meta: bytes,
        now_ms: int | None = None,
    ) -> (
        tuple[int, int, int, tuple[tuple[int, int], ...]]
        | tuple[int, int | None, int]
        | tuple[int]
    ):
        """(hold, granted, now, ((remaining, reset), ...)); refused: (index, wait, remaining); stale: (now,).

        Raises OSError when it cannot be written down; nothing is held then.
        """
    def settle(self, hold: int, /, amount: int, tokens: int, entry: bytes, now_ms: int | None = None) -> str:
        """"settled", "late", "duplicate" or "unknown". Raises OSError; nothing is changed then."""
    def release(self, hold: int, /, now_ms: int | None = None) -> str:
        """"released", "duplicate" or "unknown". Raises OSError."""
    def expire_due(self, limit: int, /, now_ms: int | None = None) -> int:
        """Charge what is due; how many. Raises OSError."""
    def unstored(self, limit: int, /) -> list[tuple[int, str, int, int, int, bytes, bytes]]:
        """Records: (seq, "settle" | "late" | "expire", hold, amount, at, meta, entry), oldest first."""
    def records(self) -> QuotaRecords:
        """The same, for `LedgerDatabase.append_from`."""
    def stored(self, seq: int, /) -> None:
        """Records up to this one are stored elsewhere, for good."""
    def accounts(self) -> list[tuple[str, int, int, int]]:
        """Of each budget's window: name, start, posted, reserved."""
    @property
    def open_holds(self) -> int: ...
    @property
    def now_ms(self) -> int: ...

@final
class FastTally:
    """Counts of requests that have the same labels."""

    def __new__(cls, *, durations: list[int], overheads: list[int]) -> FastTally:
        """The bounds of histograms, in nanoseconds."""
    def counted(self) -> tuple[int, list[int], int, list[int], int, list[int], int, int] | None:
        """Since the last time: requests, by duration, all durations, by overhead, all overheads, tokens (prompt,
        completion, cached, reasoning), nano-USD, requests without a price. None: no requests. In any thread.
        """

@final
class FastGuard:
    """Looks at plain requests and whole answers to them."""

    def __new__(
        cls,
        *,
        request: Scanner | None,
        response: Scanner | None,
        restorer: Scanner | None,
        longest: int,
        durations: list[int],
    ) -> FastGuard:
        """The scanners of both directions (None: not looked at), and the one for answers in which pseudonyms are to be
        restored. longest: bytes; what is longer is not looked at, so it does not pass. durations: the bounds of a histogram, in nanoseconds.
        """
    def counted(self) -> list[tuple[str, list[int], list[int], int, list[tuple[str, str, int]]]]:
        """Since the last time, of each direction (request, response): allowed and transformed, by duration, all durations,
        findings by type and action. In any thread.
        """

@final
class FastRefusal:
    """A response that says no, and is the same each time."""

    def __new__(
        cls, *, head: bytes, body: bytes, behind: bytes | None, noted: tuple[str, str, str, FastTally]
    ) -> FastRefusal:
        """head: status line and headers, without the length. behind: of the request's id, which stands at the end of `body`
        and in a header `request-id` then. noted: members of the access log's line, up to the status, from the key to the
        provider, the error; and who counts.
        """

@final
class Shedding:
    """Refusals of POST requests, by path."""

    def __new__(cls, refusals: dict[str, FastRefusal], /) -> Shedding: ...
    def refuse(self, reader: RequestReader, last: bytes, closes: bool, /) -> tuple[bytes, bytes, bool] | None:
        """The response to the request whose head has come, its line for the log, and whether the connection ends with it:
        it is counted, and what has come of its body is gone. last: the end of the head; closes: the connection ends anyway.
        None: it is for another path, and nothing was done.
        """

@final
class FastRoute:
    """What is the same for all plain requests of one key to one model: `gateway/fastpath.py` says where it is from.

    Times are nanoseconds, money is nano-USD. JSON and header lines go in as they are to come out.
    """

    def __new__(
        cls,
        *,
        way: Any,
        plan: QuotaPlan,
        path: str,
        kind: str,
        model: str,
        max_bytes: int,
        max_depth: int,
        max_nodes: int,
        until_ms: int,
        upstream_model: str,
        head: bytes,
        limit: str,
        price: Price | None,
        actual: Price | None,
        max_output: int | None,
        context: int | None,
        tokens_per_image: int,
        has_budget: bool,
        has_hard: bool,
        expires_in_ms: int,
        bounds: list[tuple[str, int, str | None]],
        meta: bytes,
        entry: bytes,
        lines: Sequence[bytes],
        returned: list[bytes],
        log_asked: str,
        log_who: str,
        tallies: Sequence[FastTally],
        limited: tuple[str, str, str, FastTally],
        busy: FastRefusal | None,
        gone: tuple[str, str, str, FastTally],
        guard: FastGuard | None,
        pseudonym_key: bytes | None,
    ) -> FastRoute:
        """until_ms: since the epoch, when prices may change. head: of the upstream's request, up to its id. price bounds
        what may be reserved, `actual` is charged. bounds: of the plan's meters, what each counts (requests, tokens, parallel, budget), how much, and how a refusal's
        message begins, as it stands in a JSON string (None: they are told by somebody else). limited: how those are logged and counted; busy: what is told when the queue is full, None where somebody else may be asked.
        meta, entry: of the ledger, behind the id. lines, tallies: of what is allowed, and of what is transformed. log_asked, log_who: members of the access log's line. Raises ValueError for an unknown kind, of request or meter.
        """
    @property
    def way(self) -> Any:
        """The very object that was given."""
    def limit(self) -> None:
        """A limit has refused a request: it is asked first from now on."""
    def reopen(self) -> None:
        """Something could be reserved again, after a request for which nothing could."""

@final
class FastPath:
    """Routes, by the SHA-256 of a key."""

    def __new__(cls) -> FastPath: ...
    def learn(self, digest: bytes, route: FastRoute, /) -> None:
        """In the place of the one for the same path and model, if there is one."""
    def forget(self, digest: bytes, path: str, model: str, /) -> None: ...
    def clear(self) -> None: ...
    def expects(self, reader: RequestReader, /) -> bool:
        """Whether the head is plain and its key and path have routes, and its body is short. It need not have come."""
    def find(self, reader: RequestReader, /) -> FastRequest | None:
        """A whole request whose head is plain, and that a route is for. Nothing is taken from the reader."""

@final
class FastRequest:
    """One plain request."""

    @property
    def id(self) -> str:
        """`x-request-id`."""
    @property
    def way(self) -> Any:
        """That of its route."""
    @property
    def digest(self) -> bytes:
        """SHA-256 of its key."""
    def take_view(self) -> RequestView:
        """That of its body as it passes, once it was reserved for. Once."""
    @property
    def decision(self) -> str:
        """About the request."""
    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """What was found in it: type, action, how many."""
    @property
    def vault(self) -> Vault | None:
        """Its pseudonyms."""
    @property
    def closes(self) -> bool:
        """Whether the client wants the connection to end with the answer."""
    @property
    def is_plain(self) -> bool:
        """Whether its body is, too: no stream. Of others it can only be said that they are refused."""
    @property
    def is_alone(self) -> bool:
        """Whether nobody else can be asked than its upstream."""
    @property
    def is_limited(self) -> bool:
        """Whether a limit has refused the last one of its route."""
    def limited(self, store: QuotaStore, reader: RequestReader, last: bytes, /) -> tuple[bytes, bytes, int] | None:
        """The response, the line for the log and the index of the meter, if a limit refuses it as it came: it is counted,
        and taken from the reader. last: the end of the head. None: nothing was done.
        """
    def busy(self, reader: RequestReader, last: bytes, /) -> tuple[bytes, bytes] | None:
        """The same where its upstream's queue is full; None: somebody else may be asked."""
    def waits(self) -> None:
        """It waits from now on, as it came: no overhead of ours."""
    def waits_no_more(self) -> int:
        """Nanoseconds that it has waited."""
    def gone(self, reader: RequestReader, /) -> bytes:
        """The line for the log where its client has gone meanwhile: it is counted, and taken from the reader."""
    def reserve(self, store: QuotaStore, reader: RequestReader, /) -> tuple[bytes, bytes] | None:
        """Reserve what it may come to, and take the body from the reader: head and body for the upstream, a small body in
        one piece with the head. None: it was not admitted (or cannot be); nothing is held and nothing was taken.
        """
    def end(self, store: QuotaStore, reader: ResponseReader, last: bytes, /) -> bytes | None:
        """Settle, and write the response; last: the end of its head. None: no plain success, and nothing was done."""
    def count(self) -> None:
        """Its duration ends now."""
    def line(self) -> bytes | None:
        """For the access log, once it was counted."""
    @property
    def elapsed(self) -> tuple[int, int, int]:
        """Nanoseconds since it was found, and since it was reserved; and those that it waited before that."""
    @property
    def admitted(self) -> tuple[int, int, int, tuple[tuple[int, int], ...]] | None:
        """What the store has answered, as QuotaStore.admit does."""
