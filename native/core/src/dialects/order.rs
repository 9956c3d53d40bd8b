//! Events in an order in which one thing follows another, for dialects whose answers are made of blocks.
//!
//! Chat servers may mix the pieces of parallel calls, and say or think something in the middle of one. What comes before
//! the arguments of the open call are complete waits for them.

use super::json_end::JsonEnd;
use super::reply::Event;

/// Of the first choice, which is the only one that such dialects have; the others pass as they are.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The call whose arguments are under way.
    open: Option<(u32, JsonEnd)>,
    /// What waits, pieces of one thing joined.
    held: Vec<Event>,
}

impl Order {
    /// Hand on the event, or keep it, and whatever may follow now.
    pub(crate) fn push(&mut self, event: Event, hand_on: &mut impl FnMut(&Event)) {
        if matches!(event, Event::Stop { choice: 0, .. } | Event::End) {
            // What the open call still lacks does not come.
            while !self.held.is_empty() {
                self.open = None;
                self.release(hand_on);
            }
            self.open = None;
            hand_on(&event);
            return;
        }
        self.sort(event, hand_on);
        if self.is_free() && !self.held.is_empty() {
            self.release(hand_on);
        }
    }

    fn sort(&mut self, event: Event, hand_on: &mut impl FnMut(&Event)) {
        match &event {
            Event::Arguments { choice: 0, call, json } => match &mut self.open {
                Some((open, end)) if open == call => {
                    end.push(json);
                    hand_on(&event);
                }
                _ => self.hold(event),
            },
            Event::Call { choice: 0, .. }
            | Event::Text { choice: 0, .. }
            | Event::Thinking { choice: 0, .. }
            | Event::Signature { choice: 0, .. }
            | Event::RedactedThinking { choice: 0, .. }
            | Event::Refusal { choice: 0, .. }
            | Event::Image { choice: 0, .. }
            | Event::Citation { choice: 0, .. } => {
                if !self.is_free() {
                    self.hold(event);
                    return;
                }
                self.open = match &event {
                    Event::Call { call, .. } => Some((*call, JsonEnd::default())),
                    _ => None,
                };
                hand_on(&event);
            }
            _ => hand_on(&event),
        }
    }

    fn is_free(&self) -> bool {
        self.open.as_ref().is_none_or(|(_, end)| end.is_complete())
    }

    /// Go through what waits once; what has to wait on does.
    fn release(&mut self, hand_on: &mut impl FnMut(&Event)) {
        for event in std::mem::take(&mut self.held) {
            // Of a call that was never begun, or is over already, nothing can be told any more.
            let is_lost = matches!(&event, Event::Arguments { choice: 0, call, .. }
                if self.open.as_ref().is_none_or(|(open, _)| open != call) && !self.is_waiting(*call));
            if !is_lost {
                self.sort(event, hand_on);
            }
        }
    }

    fn is_waiting(&self, of: u32) -> bool {
        self.held.iter().any(|event| matches!(event, Event::Call { call, .. } if *call == of))
    }

    fn hold(&mut self, event: Event) {
        if let Event::Arguments { call: of, json: piece, .. } = &event
            && let Some(json) = self.held.iter_mut().rev().find_map(|held| match held {
                Event::Arguments { call, json, .. } if call == of => Some(json),
                _ => None,
            })
        {
            json.push_str(piece);
            return;
        }
        match (self.held.last_mut(), &event) {
            (Some(Event::Text { text, .. }), Event::Text { text: piece, .. })
            | (Some(Event::Thinking { text, .. }), Event::Thinking { text: piece, .. })
            | (Some(Event::Refusal { text, .. }), Event::Refusal { text: piece, .. }) => text.push_str(piece),
            _ => self.held.push(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(call: u32) -> Event {
        Event::Call { choice: 0, call, id: call.to_string(), name: "f".to_owned(), signature: None }
    }

    fn arguments(call: u32, json: &str) -> Event {
        Event::Arguments { choice: 0, call, json: json.to_owned() }
    }

    fn text(text: &str) -> Event {
        Event::Text { choice: 0, text: text.to_owned() }
    }

    fn ordered(events: Vec<Event>) -> Vec<Event> {
        let mut order = Order::default();
        let mut out = Vec::new();
        for event in events {
            order.push(event, &mut |event| out.push(event.clone()));
        }
        out
    }

    #[test]
    fn what_is_in_order_passes_at_once() {
        let events = [text("a"), call(0), arguments(0, "{"), arguments(0, "}"), call(1)];
        let mut order = Order::default();
        for event in &events {
            let mut out = Vec::new();
            order.push(event.clone(), &mut |event| out.push(event.clone()));
            assert_eq!(out, std::slice::from_ref(event));
        }
        assert_eq!(ordered(events.to_vec()), events);
    }

    #[test]
    fn a_call_waits_for_the_arguments_of_the_one_before_and_no_longer() {
        let mixed = vec![
            call(0),
            call(1),
            arguments(1, "{\"y\""),
            arguments(0, "{"),
            text("a"),
            arguments(1, ":1"),
            text("b"),
            arguments(0, "}"),
            arguments(1, "}"),
        ];
        let expected = [
            call(0),
            arguments(0, "{"),
            arguments(0, "}"),
            call(1),
            arguments(1, "{\"y\":1"),
            arguments(1, "}"),
            text("ab"),
        ];
        assert_eq!(ordered(mixed), expected);
    }

    #[test]
    fn calls_whose_arguments_never_end_are_all_told_at_the_end() {
        let mixed = vec![call(0), call(1), call(2), arguments(2, "{}"), arguments(0, "{"), text("a"), Event::End];
        let expected = [call(0), arguments(0, "{"), call(1), call(2), arguments(2, "{}"), text("a"), Event::End];
        assert_eq!(ordered(mixed), expected);
    }

    #[test]
    fn arguments_of_no_call_are_nobodys() {
        assert_eq!(ordered(vec![arguments(7, "{}"), text("a"), Event::End]), [text("a"), Event::End]);
    }
}
