//! The item that is being written, of which only the end is known once it is there.

use super::events::{array, member, object, text_member};
use super::tools::custom_input;

/// An item that has begun.
#[derive(Debug)]
pub(super) enum Open {
    /// What the model says.
    Message(Message),
    /// What it thinks.
    Reasoning(Reasoning),
    /// A tool that it calls.
    Call(Call),
}

/// A message under way.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) id: String,
    /// Those that are done, written.
    pub(super) parts: Vec<Vec<u8>>,
    /// The one that is not.
    pub(super) part: Option<Part>,
}

/// A part of a message under way.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    /// Written.
    pub(super) annotations: Vec<Vec<u8>>,
}

/// A thought under way.
#[derive(Debug, Default)]
pub(super) struct Reasoning {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) signature: String,
    /// In place of a signature: something sealed already.
    pub(super) sealed: Option<String>,
}

/// A call under way.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) id: String,
    /// What its result will name.
    pub(super) answers_to: String,
    pub(super) name: String,
    pub(super) arguments: String,
    /// It takes any text, and was told to the upstream as a function of one string.
    pub(super) is_custom: bool,
}

impl Part {
    /// As it is now, or (empty) as it begins.
    pub(super) fn written(&self, text: &str) -> Vec<u8> {
        if self.is_refusal {
            return object(&[br#""type":"refusal""#, &text_member("refusal", text)]);
        }
        object(&[
            br#""type":"output_text""#,
            &member("annotations", &array(&self.annotations)),
            br#""logprobs":[]"#,
            &text_member("text", text),
        ])
    }
}

impl Message {
    pub(super) fn written(&self, status: &str) -> Vec<u8> {
        object(&[
            &text_member("id", &self.id),
            br#""type":"message""#,
            &text_member("status", status),
            &member("content", &array(&self.parts)),
            br#""role":"assistant""#,
        ])
    }
}

impl Reasoning {
    pub(super) fn summary_part(text: &str) -> Vec<u8> {
        object(&[br#""type":"summary_text""#, &text_member("text", text)])
    }

    pub(super) fn written(&self) -> Vec<u8> {
        let summary = if self.text.is_empty() { Vec::new() } else { vec![Self::summary_part(&self.text)] };
        let sealed = self
            .sealed
            .clone()
            .or_else(|| (!self.signature.is_empty()).then(|| super::seal::signature(&self.signature)));
        let encrypted = sealed
            .map_or_else(|| b"\"encrypted_content\":null".to_vec(), |sealed| text_member("encrypted_content", &sealed));
        object(&[
            &text_member("id", &self.id),
            br#""type":"reasoning""#,
            &member("summary", &array(&summary)),
            &encrypted,
        ])
    }
}

impl Call {
    /// What it was called with, as a caller reads it.
    pub(super) fn said(&self) -> String {
        if self.is_custom { custom_input(&self.arguments) } else { self.arguments.clone() }
    }

    pub(super) fn written(&self, status: &str, said: &str) -> Vec<u8> {
        let (kind, name): (&[u8], _) = if self.is_custom {
            (br#""type":"custom_tool_call""#, "input")
        } else {
            (br#""type":"function_call""#, "arguments")
        };
        object(&[
            &text_member("id", &self.id),
            kind,
            &text_member("status", status),
            &text_member(name, said),
            &text_member("call_id", &self.answers_to),
            &text_member("name", &self.name),
        ])
    }
}
