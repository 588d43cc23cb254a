//! `ping`, `send` and `pulse`.

use crate::failure::Failure;
use crate::json::Object;
use crate::session::Session;
use keelson_qnet::api::Credentials;
use keelson_qnet_wire::Errno;
use std::fmt::Write;
use std::time::Duration;

/// Time between pings.
const PAUSE: Duration = Duration::from_millis(200);
/// Room for the reply to a message.
const REPLY: usize = 65_536;
/// Priority of a pulse: QNX's default.
const PRIORITY: u8 = 10;

/// Waits until a node shows that it is there: all that was sent to it before has arrived then.
async fn verify(session: &Session, node: &str) -> Result<(), Failure> {
    let directory = session.host.node().directory();
    let directory = directory.ok_or_else(|| Failure::remote(node)(Errno::ENOREMOTE))?;
    directory.verify(node).await.map(|_| ()).map_err(Failure::remote(format!("ping {node}")))
}

/// Measures round trips. A connection is made before.
pub async fn ping(session: &Session, node: &str, count: u32) -> Result<(), Failure> {
    session.node(node).await?;
    verify(session, node).await?;
    let handle = session.host.handle();
    let mut times = Vec::new();
    for number in 1..=count {
        let start = handle.now();
        verify(session, node).await?;
        let time = (handle.now() - start).as_secs_f64() * 1000.0;
        times.push(time);
        let text = || format!("{node}: {number} {time:.3} ms");
        let object = || Object::new().text("node", node).number("number", number).float("ms", time);
        session.print(text, object).await?;
        if number < count {
            handle.sleep(PAUSE).await;
        }
    }
    if session.options.json || times.is_empty() {
        return Ok(());
    }
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let (min, max) =
        times.iter().fold((f64::MAX, 0.0f64), |(min, max), time| (min.min(*time), max.max(*time)));
    let summary = format!("{node}: min {min:.3} ms, mean {mean:.3} ms, max {max:.3} ms");
    session.print(|| summary, Object::new).await
}

/// Makes a process for the time of the command: channels look at who sends.
async fn as_process<T>(
    session: &Session,
    act: impl AsyncFnOnce(&Credentials) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let kernel = session.host.node().kernel();
    let user = session.host.user();
    let pid = kernel.create_process(&user).map_err(Failure::remote("make a process"))?;
    let who = Credentials { pid: pid as i32, ..user };
    let result = act(&who).await;
    kernel.end_process(pid);
    result
}

/// Sends a message, and prints status and reply.
pub async fn send(session: &Session, node: &str, pid: u32, chid: u32, data: &[u8]) -> Result<(), Failure> {
    let nd = session.node(node).await?;
    let doing = format!("{node} pid {pid} chid {chid}");
    let mut reply = vec![0; REPLY];
    let (status, len) = as_process(session, async |who| {
        let connection = session.host.node().kernel().connect(nd, pid, chid, who).await;
        let connection = connection.map_err(Failure::remote(&*doing))?;
        connection.send(&[data], &mut reply).await.map_err(Failure::remote(&*doing))
    })
    .await?;
    let reply = reply.get(..len).unwrap_or_default();
    let hex = hex(reply);
    let text = || match reply {
        [] => format!("status {status}"),
        _ => format!("status {status}, {len} bytes\n{hex}"),
    };
    session.print(text, || Object::new().number("status", status).text("reply", &hex.replace('\n', ""))).await
}

/// Bytes as digits, 32 bytes a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for (number, byte) in bytes.iter().enumerate() {
        if number > 0 && number % 32 == 0 {
            text.push('\n');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Sends a pulse, and waits until the node has it.
pub async fn pulse(
    session: &Session,
    node: &str,
    (pid, chid): (u32, u32),
    code: i8,
    value: i32,
) -> Result<(), Failure> {
    let nd = session.node(node).await?;
    let doing = format!("{node} pid {pid} chid {chid}");
    as_process(session, async |who| {
        let connection = session.host.node().kernel().connect(nd, pid, chid, who).await;
        let connection = connection.map_err(Failure::remote(&*doing))?;
        connection.pulse(PRIORITY, code, value).map_err(Failure::remote(&*doing))?;
        // Messages are delivered in order: with the answer to a ping, the pulse is there.
        verify(session, node).await
    })
    .await?;
    if session.options.json {
        let object = || Object::new().text("node", node).number("code", code).number("value", value);
        session.print(String::new, object).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_lines() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_eq!(hex(&[1; 33]).lines().map(str::len).collect::<Vec<_>>(), [64, 2]);
    }
}
