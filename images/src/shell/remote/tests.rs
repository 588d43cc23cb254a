//! The remote console on a simulated network.

use super::*;
use crate::shell::conversation::{END_OF_INPUT, OUTPUT_MAX};
use crate::shell::{Command, Conversation, Interpreter, Tty};
use alloc::boxed::Box;
use core::net::SocketAddr;
use keelson_hal::NetFeatures;
use keelson_net_sim::{Faults, Lab};

const PORT: u16 = 5000;

/// A lab with a console on 10.0.0.1 for `line`, and a client at `client`.
fn lab(line: &str, client: &str) -> (Lab, Stack) {
    let lab = Lab::new(1, Faults::default());
    let (server, _) = lab.host("10.0.0.1/16", NetFeatures::empty());
    let (client, _) = lab.host(client, NetFeatures::empty());
    let config = Config::parse(&[OPTIONS], &[], "", line.as_bytes());
    let handle = lab.handle();
    let commands = vec![
        Command::new("echo", "repeats", |words| words.join("+")),
        Command::new("long", "says too much", |_| "x".repeat(OUTPUT_MAX + 5)),
        Command::waiting("sleep", "waits an hour", move |_| {
            let sleep = handle.sleep(Duration::from_secs(3600));
            async move {
                sleep.await;
                String::from("awake")
            }
        }),
    ];
    let commands = Commands::new(commands);
    let commands =
        if line.contains("role") { commands.with_interpreter(Rc::new(Role(lab.handle()))) } else { commands };
    listen(&lab.handle(), &server, &config, &commands);
    (lab, client)
}

/// A role that counts: `count N` one number a second, `cat` repeats lines until the end of input, `behind` speaks
/// later.
struct Role(Handle);

impl Interpreter for Role {
    fn help(&self) -> &'static str {
        "those of the role"
    }

    fn converse(&self, tty: Rc<Tty>) -> Rc<dyn Conversation> {
        Rc::new(Counting { handle: self.0.clone(), tty })
    }
}

struct Counting {
    handle: Handle,
    tty: Rc<Tty>,
}

impl Conversation for Counting {
    fn line(&self, line: &str) -> core::pin::Pin<Box<dyn Future<Output = ()>>> {
        let (handle, tty, line) = (self.handle.clone(), self.tty.clone(), line.to_string());
        match line.split_once(' ') {
            Some(("count", number)) => {
                let number: u32 = number.parse().unwrap();
                Box::pin(async move {
                    for n in 1..=number {
                        tty.write(format!("{n}\n").as_bytes());
                        handle.sleep(Duration::from_secs(1)).await;
                    }
                })
            }
            None if line == "cat" => Box::pin(async move {
                loop {
                    let changed = tty.changed();
                    let wait = changed.notified();
                    let mut room = [0; 64];
                    match tty.read(&mut room) {
                        0 => wait.await,
                        len if room[..len].contains(&END_OF_INPUT) => return,
                        len => drop(tty.write(&room[..len])),
                    }
                }
            }),
            _ => {
                let later = self.handle.clone();
                self.handle.spawn("behind", async move {
                    later.sleep(Duration::from_secs(5)).await;
                    tty.write(b"done\n");
                });
                Box::pin(core::future::ready(()))
            }
        }
    }
}

fn open(line: &str) -> (Lab, Stack) {
    lab(line, "10.0.0.2/16")
}

const LINE: &str = "console.port=5000 console.allow=10.9.0.0/16,10.0.0.2";

async fn connect(stack: &Stack) -> Result<TcpStream, keelson_net::ConnectError> {
    stack.connect(SocketAddr::new(IpAddr::from([10, 0, 0, 1]), PORT), Default::default()).await
}

/// Everything said until the end of the stream, or until `count` prompts came.
async fn hear(stream: &mut TcpStream, prompts: usize) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while String::from_utf8_lossy(&text).matches("> ").count() < prompts {
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8(text).unwrap()
}

/// What is heard after `sent`, until `prompts` prompts came.
fn answer(sent: &[u8], prompts: usize) -> String {
    let (lab, client) = open(LINE);
    let sent = sent.to_vec();
    lab.run(async move {
        let mut stream = connect(&client).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        hear(&mut stream, prompts).await
    })
}

#[test]
fn lines_are_answered_and_followed_by_a_prompt() {
    assert_eq!(answer(b"echo a \"b c\"\r\nls\n", 3), "> a+b c\n> ls: no such command; try help\n> ");
    assert_eq!(answer(b"echo <<EOF\nnet:\n  - tcp\nEOF\necho b\n", 3), "> net:\n  - tcp\n> b\n> ");
    assert_eq!(answer(b"exit\necho never\n", usize::MAX), "> ");
}

#[test]
fn telnet_negotiations_are_skipped() {
    let sent = b"\xff\xfd\x03\xff\xfb\x18ec\xff\xfa\x18\x00x\xff\xffy\xff\xf0ho \xff\xf1ab\r\n";
    assert_eq!(answer(sent, 2), "> ab\n> ");
}

#[test]
fn lines_and_answers_are_bounded() {
    let long = [b"echo ", &[b'y'; 2000][..], b"\necho z\n"].concat();
    assert_eq!(answer(&long, 3), "> the line is longer than 1024 characters; nothing was done\n> z\n> ");
    let text = answer(b"long\n", 2);
    assert!(text.ends_with("x\n... 6 bytes more\n> "), "{}", &text[text.len() - 50..]);
    assert!(text.len() < OUTPUT_MAX + 100);
}

#[test]
fn a_command_can_be_waited_for_or_interrupted() {
    let (lab, client) = open(LINE);
    let handle = lab.handle();
    lab.run(async move {
        let mut stream = connect(&client).await.unwrap();
        let began = handle.now();
        stream.write_all(b"sleep\necho ahead\n").await.unwrap();
        assert_eq!(hear(&mut stream, 3).await, "> awake\n> ahead\n> ");
        assert!(handle.now() - began >= Duration::from_secs(3600));
        let began = handle.now();
        stream.write_all(b"sleep\n").await.unwrap();
        handle.sleep(Duration::from_secs(1)).await;
        stream.write_all(b"\xff\xf4echo after\n").await.unwrap();
        assert_eq!(hear(&mut stream, 2).await, "interrupted\n> after\n> ");
        assert!(handle.now() - began < Duration::from_secs(5));
    });
}

/// The line of a console with the role's interpreter.
const ROLE: &str = "console.port=5000 console.allow=10.0.0.2 hostname=role";

#[test]
fn other_lines_go_to_the_role() {
    let (lab, client) = open(ROLE);
    let handle = lab.handle();
    lab.run(async move {
        let mut stream = connect(&client).await.unwrap();
        let began = handle.now();
        stream.write_all(b"count 3\necho a\nhelp\n").await.unwrap();
        let text = hear(&mut stream, 4).await;
        assert!(text.starts_with("> 1\n2\n3\n> a\n> echo "), "{text}");
        assert!(text.contains("\nothers     those of the role\n> "), "{text}");
        assert!(handle.now() - began >= Duration::from_secs(3));
        // Output comes as it is made, and Ctrl-C ends it.
        stream.write_all(b"count 1000\n").await.unwrap();
        let mut first = [0; 2];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"1\n");
        handle.sleep(Duration::from_millis(2500)).await;
        stream.write_all(b"\x03echo after\n").await.unwrap();
        assert_eq!(hear(&mut stream, 2).await, "2\n3\ninterrupted\n> after\n> ");
    });
}

#[test]
fn what_is_typed_goes_to_whoever_reads() {
    let (lab, client) = open(ROLE);
    let handle = lab.handle();
    lab.run(async move {
        let (mut reader, mut writer) = connect(&client).await.unwrap().into_split();
        writer.write_all(b"count 1\ncat\nfirst\r\n").await.unwrap();
        handle.sleep(Duration::from_secs(3)).await;
        writer.write_all(b"second\n").await.unwrap();
        handle.sleep(Duration::from_secs(1)).await;
        // The end of the stream is the end of input.
        writer.shutdown();
        let (mut text, mut buffer) = (Vec::new(), [0; 256]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(String::from_utf8(text).unwrap(), "> 1\n> first\nsecond\n> ");
    });
}

#[test]
fn what_runs_behind_is_shown() {
    let (lab, client) = open(ROLE);
    lab.run(async move {
        let mut stream = connect(&client).await.unwrap();
        stream.write_all(b"behind\n").await.unwrap();
        assert_eq!(hear(&mut stream, 2).await, "> > ");
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"done\n");
    });
}

#[test]
fn strangers_are_turned_away() {
    let (lab, client) = lab(LINE, "10.0.0.3/16");
    let heard = lab.run(async move {
        let Ok(mut stream) = connect(&client).await else { return String::new() };
        let _ = stream.write_all(b"echo a\n").await;
        hear(&mut stream, 1).await
    });
    assert_eq!(heard, "");
}

#[test]
fn without_a_list_the_port_is_closed() {
    for line in ["console.port=5000", "console.port=5000 console.allow=10.0.0.0/33", "console.allow=10.0.0.2"]
    {
        let (lab, client) = open(line);
        let error = lab.run(async move { connect(&client).await.map(drop) });
        assert!(matches!(error, Err(keelson_net::ConnectError::Refused(_))), "{line}: {error:?}");
    }
}

#[test]
fn sessions_are_counted_and_end_when_idle() {
    let (lab, client) = open(LINE);
    let handle = lab.handle();
    lab.run(async move {
        let mut open = Vec::new();
        for _ in 0..SESSIONS {
            let mut stream = connect(&client).await.unwrap();
            assert_eq!(hear(&mut stream, 1).await, "> ");
            open.push(stream);
        }
        let mut fifth = connect(&client).await.unwrap();
        assert_eq!(hear(&mut fifth, 1).await, "4 sessions are open; end one with exit\n");
        handle.sleep(IDLE + Duration::from_secs(1)).await;
        assert_eq!(open[0].read(&mut [0; 8]).await, Ok(0), "idle sessions end");
        let mut again = connect(&client).await.unwrap();
        assert_eq!(hear(&mut again, 1).await, "> ");
    });
}

#[test]
fn a_half_closed_stream_gets_its_answers() {
    let (lab, client) = open(LINE);
    let heard = lab.run(async move {
        let (mut reader, mut writer) = connect(&client).await.unwrap().into_split();
        writer.write_all(b"sleep\necho done\nhalf a li").await.unwrap();
        writer.shutdown();
        let (mut text, mut buffer) = (Vec::new(), [0; 256]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(text).unwrap()
    });
    assert_eq!(heard, "> awake\n> done\n> ");
}
