//! A conversation as the body of `Converse` and `ConverseStream`, which have the same.

use serde_json::{Map, Value, json};

use super::blocks::Blocks;
use super::models::Family;
use crate::dialects::Warnings;
use crate::dialects::conversation::{Conversation, Format, Role, Tool, ToolChoice};
use crate::dialects::history;
use crate::request::RequestError;

const BEDROCK: &str = "Bedrock";
/// Members of Converse's own body that a caller may add to his.
const OWN: [&str; 6] = [
    "guardrailConfig",
    "additionalModelResponseFieldPaths",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];
const FIELDS: &str = "additionalModelRequestFields";

/// The body of `Converse`; the model and whether it streams stand in the URL.
///
/// # Errors
/// Several choices, a call without a result, arguments that are no object, or content that Bedrock cannot read.
pub fn write_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    history::one_choice(conversation, BEDROCK)?;
    let family = Family::of(&conversation.model);
    let mut body = Map::new();
    let mut fields = conversation.rest.get(FIELDS).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut output = Map::new();
    let most = family.reasoning(conversation, &mut fields, &mut output, warnings);
    let mut blocks = Blocks::new(family, warnings);
    body.insert("messages".into(), messages(conversation, &mut blocks)?.into());
    let system = system(conversation, &mut blocks)?;
    if !system.is_empty() {
        body.insert("system".into(), system.into());
    }
    if let Some(config) = tool_config(conversation, &mut blocks) {
        body.insert("toolConfig".into(), config);
    }
    let thinks = fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled");
    let inference = inference(conversation, most, thinks && family == Family::Anthropic, warnings);
    if !inference.is_empty() {
        body.insert("inferenceConfig".into(), inference.into());
    }
    if let Some(value) = &conversation.top_k {
        family.top_k(value.clone().into(), &mut fields, warnings);
    }
    if !fields.is_empty() {
        body.insert(FIELDS.into(), fields.into());
    }
    match &conversation.format {
        None => {}
        Some(Format::Json) => warnings.lost("response_format"),
        Some(Format::Schema { name, schema, .. }) => {
            let schema = json!({"jsonSchema": {"name": name, "schema": schema.to_string()}});
            output.insert("textFormat".into(), json!({"type": "json_schema", "structure": schema}));
        }
    }
    if !output.is_empty() {
        body.insert("outputConfig".into(), output.into());
    }
    rest(conversation, warnings, &mut body);
    Ok(Value::Object(body).to_string().into_bytes())
}

fn rest(conversation: &Conversation, warnings: &mut Warnings, body: &mut Map<String, Value>) {
    let mut taken = vec![FIELDS, "service_tier"];
    history::carry(conversation, OWN.map(|name| (name, name)), body, &mut taken);
    match conversation.rest.get("service_tier").and_then(Value::as_str) {
        Some(tier @ ("priority" | "flex")) => drop(body.insert("serviceTier".into(), json!({"type": tier}))),
        None | Some("auto" | "default" | "standard_only") => {}
        Some(_) => warnings.lost("service_tier"),
    }
    if conversation.parallel_calls == Some(false) {
        warnings.lost("parallel_tool_calls");
    }
    history::unsaid(conversation, &taken, warnings);
}

fn messages(conversation: &Conversation, blocks: &mut Blocks<'_>) -> Result<Vec<Value>, RequestError> {
    let mut all = Vec::new();
    for (role, parts) in history::joined(&conversation.turns)? {
        let mut content = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.push(part, &mut content)?;
        }
        if !content.is_empty() {
            let role = if role == Role::User { "user" } else { "assistant" };
            all.push(json!({"role": role, "content": content}));
        }
    }
    Ok(all)
}

fn system(conversation: &Conversation, blocks: &mut Blocks<'_>) -> Result<Vec<Value>, RequestError> {
    let mut content = Vec::with_capacity(conversation.system.len());
    for part in &conversation.system {
        blocks.push(part, &mut content)?;
    }
    Ok(content)
}

/// None: no tools. Where calls were made before, Converse wants tools, whether they may be called or not.
fn tool_config(conversation: &Conversation, blocks: &mut Blocks<'_>) -> Option<Value> {
    let called = history::called_names(&conversation.turns);
    let is_forbidden = conversation.tool_choice == Some(ToolChoice::None);
    if is_forbidden && !conversation.tools.is_empty() {
        if called.is_empty() {
            return None;
        }
        blocks.warnings.lost("tool_choice");
    }
    let mut tools = Vec::with_capacity(conversation.tools.len());
    for tool in &conversation.tools {
        tools.push(specification(tool));
        if tool.strict == Some(true) {
            blocks.warnings.lost("tools.strict");
        }
        tools.extend(tool.cache.as_ref().and_then(|mark| blocks.cache_point(mark)));
    }
    if tools.is_empty() {
        tools.extend(called.iter().map(
            |name| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {}}}}}),
        ));
    }
    if tools.is_empty() {
        return None;
    }
    let choice = match &conversation.tool_choice {
        Some(ToolChoice::Required) => Some(json!({"any": {}})),
        Some(ToolChoice::Named(name)) => Some(json!({"tool": {"name": name}})),
        Some(ToolChoice::Auto | ToolChoice::None) | None => None,
    };
    Some(match choice {
        Some(choice) => json!({"tools": tools, "toolChoice": choice}),
        None => json!({"tools": tools}),
    })
}

fn specification(tool: &Tool) -> Value {
    let mut schema = tool.parameters.clone().unwrap_or_else(|| json!({"properties": {}}));
    if let Value::Object(members) = &mut schema {
        members.entry("type").or_insert_with(|| "object".into());
    }
    let mut specification = json!({"name": tool.name, "inputSchema": {"json": schema}});
    if let Some(text) = tool.description.as_ref().filter(|text| !text.is_empty()) {
        specification["description"] = text.clone().into();
    }
    json!({"toolSpec": specification})
}

fn inference(
    conversation: &Conversation,
    most: Option<u64>,
    thinks: bool,
    warnings: &mut Warnings,
) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(most) = most {
        out.insert("maxTokens".into(), most.into());
    }
    if let Some(value) = &conversation.temperature {
        // While Anthropic's models think, theirs cannot be changed.
        if thinks && value.as_f64() != Some(1.0) {
            warnings.lost("temperature");
        } else {
            out.insert("temperature".into(), value.clone().into());
        }
    }
    if let Some(value) = &conversation.top_p {
        out.insert("topP".into(), value.clone().into());
    }
    if !conversation.stop.is_empty() {
        out.insert("stopSequences".into(), conversation.stop.clone().into());
    }
    out
}
