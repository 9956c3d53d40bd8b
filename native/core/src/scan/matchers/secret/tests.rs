use crate::scan::{Policy, Rules, Scanner};

const VALUE: &str = "k3v9qzt0plx7mw2rb8nc";

fn scanner() -> Scanner {
    Scanner::new(Rules::builtin(), &Policy::default())
}

fn redacted(text: &str) -> Option<String> {
    scanner().scan(text).redacted
}

#[test]
fn what_is_called_a_secret_is_one() {
    for frame in [
        "my build key is V and it fails",
        "here is the credential for it -> V , use it",
        "I rotated the token yesterday. New one: V\nCan you help?",
        "summarise this line: auth ok for joe with V at 12:04",
        "BUILD_API_KEY=V\n",
        "export BUILD_TOKEN=V && ./run.sh",
        "const buildToken = 'V';",
        "build_secret = \"V\"\n",
        "{\"service\": \"build\", \"buildApiKey\": \"V\"}",
        r#"{"arguments": "{\"headers\": {\"x-api-key\": \"V\"}}"}"#,
        "auth:\n  build_secret: V\n  region: x",
        "https://api.example.org/items?limit=1&token=V",
        "Authorization: V",
        "Authorization: Bearer V",
        "svc=build tok=V attempt=2",
        "connect(api_key=V)",
        "config['api_key'] = 'V'",
        "api_key => V",
        "| api token | V |",
        "client = Build(token, 'V')",
    ] {
        let (text, expected) = (frame.replace('V', VALUE), frame.replace('V', "<SECRET>"));
        assert_eq!(redacted(&text), Some(expected));
    }
}

#[test]
fn values_of_other_names_stay() {
    for frame in [
        "request_id=V",
        "sha256:V",
        "cache_key_hash = V",
        "the commit V fixes it",
        "public_key = 'V'",
        "the public key is V",
        "-----BEGIN PUBLIC KEY-----\nV",
        "token_id: V",
        "integrity V",
        "see V",
    ] {
        assert_eq!(redacted(&frame.replace('V', "9f2b7c1e4d8a60350b1c2e7f40d6a813")), None, "{frame}");
    }
    for text in [
        "secret_length = X25519.secret_length",
        "keyPressed = kVK_Return.u16",
        "token = get_token(request)",
        "api_key = os.environ['BUILD_API_KEY']",
        "token: {{ vault.token }}",
        "key: uploads/2024/report-12.pdf",
        "the key moments of the 2022-2023 season",
        "password: ********",
        "token=${BUILD_TOKEN}",
        "from x.ed25519 import PublicKey, X25519PrivateKey",
        "Ok(TrafficSecrets::Chacha20Poly1305)",
        "gpg --recv-keys 9F2B7C1E4D8A60350B1C2E7F40D6A813C5E70294",
        "github.com/x/token v1.9.4 h1:ftWc9WdOfJ0a92nsE2jF5u5ZwH8Bv2zdeOC42RjbV2g=",
    ] {
        assert_eq!(redacted(text), None, "{text}");
    }
}

#[test]
fn a_value_may_hang_on_its_name() {
    let hex = "9f2b7c1e4d8a60350b1c2e7f40d6a813";
    assert_eq!(redacted(&format!("build-secret-{hex}")).as_deref(), Some("build-secret-<SECRET>"));
    assert_eq!(redacted(&format!("build-report-{hex}")), None);
}

#[test]
fn passwords_may_be_short() {
    for (text, expected) in [
        ("Server=x;User ID=etl;Password=Dk9!vQ2z;Encrypt=true", "Server=x;User ID=etl;Password=<SECRET>;Encrypt=true"),
        ("uid=app;pwd=Zq83#kd;", "uid=app;pwd=<SECRET>;"),
        ("{\"password\": \"lake-42-Hq\"}", "{\"password\": \"<SECRET>\"}"),
        ("the password is Zk93mTq0.", "the password is <SECRET>."),
        ("machine example.org login joe password Zk93mTq0", "machine example.org login joe password <SECRET>"),
        ("my_password := 'gr8Lake42'", "my_password := '<SECRET>'"),
        ("Connect -Server x -Password Gr8Lake42!", "Connect -Server x -Password <SECRET>"),
        ("dump --db-password Zk93mTq0 --all", "dump --db-password <SECRET> --all"),
    ] {
        assert_eq!(redacted(text).as_deref(), Some(expected));
    }
}

#[test]
fn passwords_that_are_none_stay() {
    for text in [
        "password = get_password(user)",
        "password: string",
        "the password is wrong, try again",
        "if password == confirm_password:",
        "this.addPassword = \"#add-password\";",
        "password = \"123\"",
        "echo $pwd; cd /tmp/x1",
        "run --password PASSWORD or --password $PW1",
        "a no-password login1 page",
        "password=$(cat file1)",
        "Forgot your password? Reset it within 24h",
    ] {
        assert_eq!(redacted(text), None, "{text}");
    }
}

#[test]
fn pieces_are_found_like_the_whole() {
    let text = format!(
        "my key is {VALUE}. {{\"password\": \"lake-42-Hq\"}} build-secret-9f2b7c1e4d8a60350b1c2e7f40d6a813, end"
    );
    let whole = scanner().scan(&text);
    for cut in 0..=text.len() {
        let (mut stream, mut out) = (scanner().stream(), String::new());
        stream.feed(&text[..cut], &mut out).unwrap();
        stream.feed(&text[cut..], &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        assert_eq!(Some(out), whole.redacted, "cut at {cut}");
    }
}
