//! Pictures that a model has drawn.

use serde_json::{Value, json};

use super::{asked, events, streamed, whole};

fn drawn() -> Value {
    let parts = json!([{"text": "here"}, {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/aGk="}}]);
    json!({"candidates": [{"index": 0, "content": {"parts": parts}, "finishReason": "STOP"}], "modelVersion": "g"})
}

const URL: &str = "data:image/jpeg;base64,/9j/aGk=";

#[test]
fn a_picture_of_geminis_reaches_every_caller() {
    let message = whole("gemini", "chat", &drawn())["choices"][0]["message"].clone();
    assert_eq!(message["content"], "here");
    assert_eq!(message["images"], json!([{"type": "image_url", "index": 0, "image_url": {"url": URL}}]));
    let blocks = whole("gemini", "messages", &drawn())["content"].clone();
    let source = json!({"type": "base64", "media_type": "image/jpeg", "data": "/9j/aGk="});
    assert_eq!(blocks[1], json!({"type": "image", "source": source}));
    let output = whole("gemini", "responses", &drawn())["output"].clone();
    assert_eq!((&output[1]["type"], &output[1]["result"]), (&json!("image_generation_call"), &json!("/9j/aGk=")));
}

#[test]
fn a_picture_in_a_stream_reaches_every_caller() {
    let stream = format!("data: {}\n\n", drawn());
    let told = events(&streamed("gemini", "chat", &stream).0);
    let images: Vec<_> = told.iter().filter_map(|event| event["choices"][0]["delta"].get("images")).collect();
    assert_eq!(images, [&json!([{"type": "image_url", "index": 0, "image_url": {"url": URL}}])]);
    let told = events(&streamed("gemini", "messages", &stream).0);
    assert!(told.iter().any(|event| event["content_block"]["type"] == "image"));
    let told = events(&streamed("gemini", "responses", &stream).0);
    assert!(told.iter().any(|event| event["item"]["result"] == "/9j/aGk="));
}

#[test]
fn a_picture_of_a_chat_server_is_told_to_others() {
    let image = json!({"type": "image_url", "image_url": {"url": URL}});
    let message = json!({"role": "assistant", "content": "", "images": [image]});
    let body = json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    assert_eq!(whole("chat", "messages", &body)["content"][0]["source"]["data"], "/9j/aGk=");
}

#[test]
fn a_picture_that_is_handed_back_reaches_gemini_and_is_named_where_it_cannot_go() {
    let image = json!({"type": "image_url", "image_url": {"url": URL}});
    let body = json!({"model": "gemini-2.5-flash-image", "modalities": ["image", "text"], "messages": [
        {"role": "user", "content": "draw"},
        {"role": "assistant", "content": "here", "images": [image]},
        {"role": "user", "content": "now in red"},
    ]});
    let (told, warnings) = asked("chat", "gemini", &body);
    assert_eq!(told["contents"][1]["parts"][1]["inlineData"]["data"], "/9j/aGk=");
    assert_eq!(told["generationConfig"]["responseModalities"], json!(["IMAGE", "TEXT"]));
    assert_eq!(warnings.len(), 0, "{warnings:?}");
    for to in ["messages", "openai", "converse"] {
        let (_, warnings) = asked("chat", to, &body);
        assert!(warnings.iter().any(|name| name == "messages.images"), "{to} {warnings:?}");
    }
    let item = json!({"type": "image_generation_call", "id": "ig", "status": "completed", "result": "/9j/aGk="});
    let input = json!([{"role": "user", "content": "draw"}, item, {"role": "user", "content": "now in red"}]);
    let (told, _) = asked("responses", "gemini", &json!({"model": "gemini-2.5-flash-image", "input": input}));
    let media = json!({"mimeType": "image/jpeg", "data": "/9j/aGk="});
    assert_eq!(told["contents"][1]["parts"][0]["inlineData"], media);
}
