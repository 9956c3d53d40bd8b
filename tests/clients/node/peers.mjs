// Other JavaScript clients against a gateway: the Responses API of `openai`, `@anthropic-ai/sdk`, and the AI SDK with its
// OpenAI and OpenAI-compatible providers. Reads {baseURL, apiKey} and writes a report, as client.mjs does.
import { readFileSync } from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

const { baseURL, apiKey } = JSON.parse(readFileSync(0, "utf8"));
const ECHO = "tollhouse/echo";
const text = "Say it, nicely: wörld 😀";
const schema = {
  type: "object",
  properties: { gate: { type: "string" } },
  required: ["gate"],
};

async function aiSdk(model) {
  const whole = await generateText({ model, prompt: text, maxRetries: 0 });
  const stream = streamText({ model, prompt: text, maxRetries: 0 });
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  const opened = [];
  const open_gate = tool({
    description: "Opens a gate",
    inputSchema: z.object({ gate: z.string() }),
    execute: async ({ gate }) => {
      opened.push(gate);
      return "opened";
    },
  });
  // The built-in model calls a tool whose name is in the message.
  const called = await generateText({
    model,
    prompt: "please open_gate now",
    tools: { open_gate },
    stopWhen: stepCountIs(3),
    maxRetries: 0,
  });
  return {
    whole: whole.text,
    usage: whole.usage,
    streamed: pieces.join(""),
    pieces: pieces.length,
    finish: await stream.finishReason,
    opened,
    called: called.text,
  };
}

const cases = {
  async responses() {
    const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 10_000 });
    const whole = await client.responses.create({ model: ECHO, input: text });
    const tools = [{ type: "function", name: "open_gate", parameters: schema, strict: false }];
    const stream = client.responses.stream({ model: ECHO, input: text, tools, tool_choice: "required" });
    const types = [];
    for await (const event of stream) types.push(event.type);
    const final = await stream.finalResponse();
    const [call] = final.output;
    const again = await client.responses.create({
      model: ECHO,
      tools,
      input: [
        { role: "user", content: text },
        ...final.output,
        { type: "function_call_output", call_id: call.call_id, output: "opened" },
      ],
    });
    return {
      text: whole.output_text,
      usage: whole.usage,
      types,
      call: [call.name, JSON.parse(call.arguments)],
      answered: again.output_text,
    };
  },

  async anthropic() {
    const client = new Anthropic({ baseURL: baseURL.replace("/v1", ""), apiKey, maxRetries: 0, timeout: 10_000 });
    const ask = { model: ECHO, max_tokens: 50, messages: [{ role: "user", content: text }] };
    const whole = await client.messages.create(ask);
    const tools = [{ name: "open_gate", input_schema: schema }];
    const stream = client.messages.stream({ ...ask, tools, tool_choice: { type: "any" } });
    const final = await stream.finalMessage();
    return {
      text: whole.content[0].text,
      usage: whole.usage,
      stop: final.stop_reason,
      call: [final.content[0].name, final.content[0].input],
      count: await client.messages.countTokens({ model: ECHO, messages: ask.messages }),
    };
  },

  aiSdkCompatible: () => aiSdk(createOpenAICompatible({ name: "gateway", baseURL, apiKey, includeUsage: true })(ECHO)),
  aiSdkResponses: () => aiSdk(createOpenAI({ baseURL, apiKey }).responses(ECHO)),
};

const report = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    report[name] = await run();
  } catch (error) {
    report[name] = { unexpected: String(error.stack ?? error).slice(0, 2000) };
  }
}
process.stdout.write(JSON.stringify(report));
