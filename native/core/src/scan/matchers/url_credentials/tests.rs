use crate::scan::{Policy, Rules, Scanner};

fn redacted(text: &str) -> Option<String> {
    Scanner::new(Rules::builtin(), &Policy::default()).scan(text).redacted
}

#[test]
fn the_password_of_a_url_is_found() {
    for (text, expected) in [
        ("postgres://app:n7Kq-2x!vL@db.internal:5432/app", "postgres://app:<SECRET>@db.internal:5432/app"),
        (
            "git clone https://joe:Zk93mTq0@git.example.org/x.git",
            "git clone https://joe:<SECRET>@git.example.org/x.git",
        ),
        ("redis://:Zk93mTq0vv@cache:6379", "redis://:<SECRET>@cache:6379"),
        ("amqp://joe:Zk9@mTq0@mq.example.org", "amqp://joe:<SECRET>@mq.example.org"),
    ] {
        assert_eq!(redacted(text).as_deref(), Some(expected));
    }
}

#[test]
fn urls_without_a_password_and_documentation_stay() {
    for text in [
        "https://example.org:8080/@joe/post",
        "ssh://git@build-host/x.git",
        "postgres://user:password@localhost/app",
        "https://$USER:$PASS@localhost/",
        "mysql://root:root@localhost",
        "https://medium.example/p:1/@joe",
    ] {
        assert_eq!(redacted(text), None, "{text}");
    }
}
