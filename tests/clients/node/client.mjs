// The official JavaScript client against a gateway. Reads {baseURL, apiKey, tag} from standard input and writes a
// report to standard output: for each case what it saw, or the error that it met. tests/e2e judges the report.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { baseURL, apiKey, tag } = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 10_000 });
const ECHO = "tollhouse/echo";
const TINY = "tiny";
const text = "Say it, nicely: wörld 😀";
const messages = [{ role: "user", content: text }];
const tools = [
  {
    type: "function",
    function: {
      name: "open_gate",
      parameters: {
        type: "object",
        properties: { gate: { type: "string" }, minutes: { type: "integer" } },
        required: ["gate", "minutes"],
      },
    },
  },
];

/** What an application would look at when a call fails. */
function told(error) {
  const { status, code, type, param, message, requestID } = error;
  return { class: error.constructor.name, status, code, type, param, message, requestID };
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return told(error);
  }
  throw new Error("this should have failed");
}

async function collect(model, more = {}) {
  const stream = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 20, ...more });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return {
    text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
    chunks: chunks.length,
    finish: chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.finish_reason)).filter(Boolean),
    usage: chunks.map((chunk) => chunk.usage).filter(Boolean),
  };
}

const cases = {
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, one: (await client.models.retrieve(ECHO)).owned_by };
  },

  async chat() {
    const { data, response, request_id } = await client.chat.completions
      .create({ model: ECHO, messages })
      .withResponse();
    return {
      text: data.choices[0].message.content,
      usage: data.usage,
      requestID: request_id,
      header: response.headers.get("x-request-id"),
      decision: response.headers.get("x-gateway-decision"),
    };
  },

  async chatOfTheModelServer() {
    const whole = await client.chat.completions.create({ model: TINY, messages, max_tokens: 20, temperature: 0 });
    const streamed = await collect(TINY, { temperature: 0 });
    return { whole: whole.choices[0].message.content, streamed };
  },

  stream: () => collect(ECHO),
  streamWithUsage: () => collect(ECHO, { stream_options: { include_usage: true } }),
  streamThatFails: () => failure(collect("hostile/overloaded-mid-stream")),

  async tools() {
    const reply = await client.chat.completions.create({ model: ECHO, messages, tools, tool_choice: "required" });
    const [call] = reply.choices[0].message.tool_calls;
    return { finish: reply.choices[0].finish_reason, name: call.function.name, arguments: call.function.arguments };
  },

  async toolsStreamed() {
    const runner = client.chat.completions.stream({ model: ECHO, messages, tools, tool_choice: "required" });
    const pieces = [];
    runner.on("tool_calls.function.arguments.delta", (event) => pieces.push(event.arguments_delta));
    const final = await runner.finalChatCompletion();
    return { pieces, arguments: final.choices[0].message.tool_calls[0].function.arguments };
  },

  async embeddings() {
    const ask = (options) => client.embeddings.create({ model: ECHO, input: ["x", "y"], dimensions: 16, ...options });
    // Without a format the client asks for base64 and unpacks it.
    const [packed, floats] = [await ask({}), await ask({ encoding_format: "float" })];
    const tiny = await client.embeddings.create({ model: TINY, input: "gateway", encoding_format: "float" });
    return {
      packed: packed.data.map((item) => Array.from(item.embedding)),
      floats: floats.data.map((item) => item.embedding),
      tiny: tiny.data[0].embedding.length,
    };
  },

  async completion() {
    return (await client.completions.create({ model: ECHO, prompt: "as it is" })).choices[0].text;
  },

  badKey: () =>
    failure(new OpenAI({ baseURL, apiKey: "sk-th-wrongwrongwr-nope", maxRetries: 0 }).models.list()),
  unknownModel: () => failure(client.chat.completions.create({ model: "no-such-model", messages }, { maxRetries: 2 })),
  wrongType: () => failure(client.chat.completions.create({ model: ECHO, messages: "not a list" })),
  unreachable: () => failure(client.chat.completions.create({ model: "unreachable", messages })),

  async retries() {
    const patient = client.withOptions({ maxRetries: 2 });
    const seen = {};
    for (const status of [429, 503]) {
      const started = performance.now();
      const reply = await patient.chat.completions.create({ model: `hostile/busy@${status}-${tag}`, messages });
      seen[status] = { text: reply.choices[0].message.content, ms: performance.now() - started };
    }
    return seen;
  },
  givesUp: () =>
    failure(client.chat.completions.create({ model: `hostile/flaky@9-${tag}`, messages }, { maxRetries: 1 })),

  async abort() {
    const stream = await client.chat.completions.create({ model: `hostile/ticking@5-${tag}`, messages, stream: true });
    let chunks = 0;
    for await (const chunk of stream) {
      if (chunk.choices.length && ++chunks === 3) stream.controller.abort();
    }
    return chunks;
  },
  timeout: () =>
    failure(client.chat.completions.create({ model: `hostile/hang@${tag}`, messages }, { timeout: 300 })),
};

const report = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    report[name] = await run();
  } catch (error) {
    report[name] = { unexpected: told(error) };
  }
}
process.stdout.write(JSON.stringify(report));
