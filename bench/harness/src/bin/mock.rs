//! A model server that costs next to nothing: `POST /v1/chat/completions`, whole or as a stream, over TCP and TLS.
//!
//! `mock [--port 0] [--tls-port 0 --cert FILE] [--chunks 64] [--interval-us 0]` prints its ports as JSON and serves
//! until it is ended. A request's own `max_tokens` (content chunks) and `seed` (microseconds between them, or before
//! a whole answer) win over the arguments. With an interval of 0 a stream is one write, as a proxy sees it from a fast server.
//! A `user` of `status-N` is answered with that status, and one of `cut` loses its connection in the middle.

use std::error::Error;
use std::future::{Future, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};
use tollhouse_bench::args::Args;
use tollhouse_bench::{http, stamp};

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    transfer-encoding: chunked\r\n\r\n";
const FILLER: &str = "and then the model went on to say one or two";

/// What is answered, made once.
struct Answers {
    whole: Vec<u8>,
    role: Vec<u8>,
    content: Vec<u8>,
    stamp_at: usize,
    finish: Vec<u8>,
    usage: Vec<u8>,
    done: Vec<u8>,
    chunks: usize,
    interval: u64,
}

/// What one request asks for.
struct Wanted {
    stream: bool,
    usage: bool,
    chunks: usize,
    interval: Duration,
    fault: Option<Fault>,
}

/// How it fails, if it is to.
#[derive(Clone, Copy)]
enum Fault {
    Status(u16),
    Cut,
}

fn event(choices: &str, usage: &str) -> Vec<u8> {
    let data = format!(
        "data: {{\"id\":\"chatcmpl-0123456789abcdef0123456789ab\",\"object\":\"chat.completion.chunk\",\
         \"created\":1764000000,\"model\":\"mock-1\",\"system_fingerprint\":\"fp_0\",\"choices\":[{choices}]{usage}}}\n\n"
    );
    framed(&data)
}

/// The text of the first `"name": "..."`, up to the next quote.
fn quoted<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\"");
    let rest = std::str::from_utf8(&body[memchr::memmem::find(body, key.as_bytes())? + key.len()..]).ok()?;
    rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next()
}

fn framed(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

impl Answers {
    fn new(chunks: usize, interval: u64) -> io::Result<Self> {
        let said = "The mock upstream has read the question and gives this answer, which is about as long as a short \
            answer of a model is: two or three sentences, so that a proxy has some bytes to carry and a parser has \
            a text to look at. ";
        let usage = "{\"prompt_tokens\":212,\"completion_tokens\":64,\"total_tokens\":276}";
        let body = format!(
            "{{\"id\":\"chatcmpl-0123456789abcdef0123456789ab\",\"object\":\"chat.completion\",\"created\":1764000000,\
             \"model\":\"mock-1\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{said}\",\
             \"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{usage},\
             \"system_fingerprint\":\"fp_0\"}}"
        );
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let hole = "a".repeat(stamp::LEN);
        let content = event(
            &format!("{{\"index\":0,\"delta\":{{\"content\":\" at:{hole} {FILLER}\"}},\"finish_reason\":null}}"),
            "",
        );
        let stamp_at = memchr::memmem::find(&content, stamp::MARK).ok_or_else(|| io::Error::other("no mark"))?;
        Ok(Self {
            whole: whole.into_bytes(),
            role: event("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}", ""),
            content,
            stamp_at: stamp_at + stamp::MARK.len(),
            finish: event("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", ""),
            usage: event("", &format!(",\"usage\":{usage}")),
            done: [framed("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat(),
            chunks,
            interval,
        })
    }

    fn wanted(&self, body: &[u8]) -> Wanted {
        let number = |name: &str| http::json_field(body, name).and_then(|text| text.parse::<u64>().ok());
        Wanted {
            stream: http::json_field(body, "stream") == Some("true"),
            usage: http::json_field(body, "include_usage") == Some("true"),
            chunks: number("max_tokens").map_or(self.chunks, |count| usize::try_from(count).unwrap_or(self.chunks)),
            interval: Duration::from_micros(number("seed").unwrap_or(self.interval)),
            fault: quoted(body, "user").and_then(|user| match user.strip_prefix("status-") {
                Some(status) => status.parse().ok().map(Fault::Status),
                None => (user == "cut").then_some(Fault::Cut),
            }),
        }
    }

    fn push_content(&self, out: &mut Vec<u8>) {
        let at = out.len() + self.stamp_at;
        out.extend_from_slice(&self.content);
        stamp::write(stamp::now(), &mut out[at..]);
    }

    fn push_end(&self, wanted: &Wanted, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.finish);
        if wanted.usage {
            out.extend_from_slice(&self.usage);
        }
        out.extend_from_slice(&self.done);
    }

    async fn stream<S: AsyncWrite + Unpin>(
        &self,
        socket: &mut S,
        wanted: &Wanted,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        out.clear();
        out.extend_from_slice(STREAM_HEAD);
        out.extend_from_slice(&self.role);
        let start = Instant::now();
        for index in 0..u32::try_from(wanted.chunks).unwrap_or(u32::MAX) {
            if !wanted.interval.is_zero() {
                if !out.is_empty() {
                    send(socket, out).await?;
                }
                sleep_until(start + wanted.interval * index).await;
            }
            self.push_content(out);
        }
        if !wanted.interval.is_zero() {
            send(socket, out).await?;
        }
        self.push_end(wanted, out);
        send(socket, out).await
    }
}

fn refusal(status: u16) -> String {
    let body = "{\"error\":{\"message\":\"the mock was told to fail\",\"type\":\"server_error\",\"code\":null}}";
    format!(
        "HTTP/1.1 {status} Failed\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn send<S: AsyncWrite + Unpin>(socket: &mut S, out: &mut Vec<u8>) -> io::Result<()> {
    socket.write_all(out).await?;
    socket.flush().await?;
    out.clear();
    Ok(())
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, answers: &Answers) -> io::Result<()> {
    let mut buf: Vec<u8> = Vec::with_capacity(16 << 10);
    let mut out: Vec<u8> = Vec::with_capacity(32 << 10);
    loop {
        let head = loop {
            if let Some(head) = http::head(&buf)? {
                break head;
            }
            if socket.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        };
        if head.chunked {
            return socket.write_all(b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\n\r\n").await;
        }
        let end = head.len + head.length.unwrap_or(0);
        while buf.len() < end {
            if socket.read_buf(&mut buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let wanted = answers.wanted(&buf[head.len..end]);
        if let Some(Fault::Status(status)) = wanted.fault {
            socket.write_all(refusal(status).as_bytes()).await?;
            socket.flush().await?;
        } else if let Some(Fault::Cut) = wanted.fault {
            let whole = if wanted.stream { [STREAM_HEAD, &answers.role].concat() } else { answers.whole.clone() };
            socket.write_all(&whole[..whole.len() - 20]).await?;
            return socket.shutdown().await;
        } else if wanted.stream {
            answers.stream(&mut socket, &wanted, &mut out).await?;
        } else {
            if !wanted.interval.is_zero() {
                sleep(wanted.interval).await;
            }
            socket.write_all(&answers.whole).await?;
            socket.flush().await?;
        }
        buf.drain(..end);
        if head.close {
            return socket.shutdown().await;
        }
    }
}

/// Serves one port, each connection as `open` makes it of a socket.
async fn accept<S, F>(listener: TcpListener, answers: Arc<Answers>, open: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (opening, answers) = (open(socket), Arc::clone(&answers));
        tokio::spawn(async move {
            // A peer that goes away is no matter of the mock's: the load generator judges the answers.
            if let Ok(socket) = opening.await {
                let _ = serve(socket, &answers).await;
            }
        });
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::error::Error;
    use std::io;
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::{Answers, accept};

    /// A certificate for localhost and 127.0.0.1; its PEM goes to `file`, for clients to trust.
    pub fn acceptor(file: &str) -> Result<TlsAcceptor, Box<dyn Error>> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        std::fs::write(file, made.cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answers: Arc<Answers>) -> io::Result<()> {
        accept(listener, answers, move |socket| acceptor.accept(socket)).await
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use std::error::Error;
    use std::io;
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::Answers;

    pub fn acceptor(_file: &str) -> Result<(), Box<dyn Error>> {
        Err("--cert: built without TLS".into())
    }

    #[expect(clippy::unused_async, reason = "stands where the one with TLS stands")]
    pub async fn serve(_listener: TcpListener, _acceptor: (), _answers: Arc<Answers>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env()?;
    let answers = Arc::new(Answers::new(args.parse("chunks", 64)?, args.parse("interval-us", 0)?)?);
    let plain = TcpListener::bind(("127.0.0.1", args.parse("port", 0)?)).await?;
    let port = plain.local_addr()?.port();
    let Some(file) = args.get("cert") else {
        println!("{{\"port\":{port}}}");
        return Ok(accept(plain, answers, |socket| ready(Ok(socket))).await?);
    };
    let secure = TcpListener::bind(("127.0.0.1", args.parse("tls-port", 0)?)).await?;
    let acceptor = tls::acceptor(file)?;
    println!("{{\"port\":{port},\"tls_port\":{}}}", secure.local_addr()?.port());
    tokio::try_join!(
        accept(plain, Arc::clone(&answers), |socket| ready(Ok(socket))),
        tls::serve(secure, acceptor, answers)
    )?;
    Ok(())
}
