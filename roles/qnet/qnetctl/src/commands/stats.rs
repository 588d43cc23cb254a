//! `stats`: `/proc/qnetstats` of a node.

use crate::failure::Failure;
use crate::json::Object;
use crate::session::Session;

/// Longest text.
const MOST: usize = 1 << 20;

/// Prints it as it stands; with `--json` each counter by itself.
pub async fn stats(session: &Session, node: &str) -> Result<(), Failure> {
    session.node(node).await?;
    let path = format!("/net/{node}/proc/qnetstats");
    let bytes = session.files().read_to_end(&path, MOST).await.map_err(Failure::remote(path))?;
    if !session.options.json {
        return Ok(session.output.write(&bytes).await?);
    }
    for line in String::from_utf8_lossy(&bytes).lines() {
        session.print(String::new, || object(line)).await?;
    }
    Ok(())
}

/// A line: a counter, a pair of use and high water, or text.
fn object(line: &str) -> Object {
    let text = || Object::new().text("text", line);
    // Lines of the original have no colon.
    let parts = line.split_once(':').or_else(|| line.trim_end().rsplit_once(' '));
    let Some((name, value)) = parts else { return text() };
    let (name, value) = (name.trim(), value.trim());
    let numbers: Option<Vec<u64>> = value.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([value]) => Object::new().text("name", name).number("value", *value),
        Some([value, high]) => Object::new().text("name", name).number("value", *value).number("high", *high),
        _ => text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let of = |line| object(line).finish();
        assert_eq!(
            of("kif net_server                :         0,3"),
            r#"{"name":"kif net_server","value":0,"high":3}"#
        );
        assert_eq!(of("txd ok                          930"), r#"{"name":"txd ok","value":930}"#);
        assert_eq!(of("node beta"), r#"{"text":"node beta"}"#);
        assert_eq!(of("**** Qnet at 10:00:00"), r#"{"text":"**** Qnet at 10:00:00"}"#);
    }
}
