//! A server that returns what it is sent, `/dev/name/local/echo`: for measurements, and the smallest server there is. A
//! larger one, with a client, is `examples/adder.rs`.

use crate::api::{Credentials, Kernel, Message, NameScope, Received};
use alloc::vec;
use keelson_qnet_wire::Errno;

/// Its name.
pub const NAME: &str = "echo";
/// Bytes of a long message that are returned at once.
const PIECE: usize = 65_536;

/// Serves until the kernel stops. `EEXIST` when there is such a server.
pub async fn serve(kernel: Kernel) -> Result<(), Errno> {
    let pid = kernel.create_process(&Credentials::default())?;
    let service = kernel.name_attach(pid, NAME, NameScope::Local)?;
    loop {
        // Pulses mean nothing to it, and it knows nothing of its clients.
        let Received::Message(message) = service.receive().await else { continue };
        if message.len() > message.data().len() {
            // The rest is still with the client. Others are not to wait for it.
            kernel.executor().spawn("echo", return_long(message));
        } else {
            message.reply_same(0);
        }
    }
}

/// In pieces, of which the last goes with the reply.
async fn return_long(message: Message) {
    let len = message.len();
    let mut room = vec![0; len.min(PIECE)];
    let mut at = 0;
    loop {
        match message.read(at, &mut room).await {
            Ok(got) if at + got >= len || got < room.len() => {
                let piece = room.get(..got).unwrap_or_default();
                // Behind what was written ahead of it.
                if at == 0 {
                    return message.reply(0, piece);
                }
                return match message.write(at, piece).await {
                    Ok(_) => message.reply(0, &[]),
                    Err(errno) => message.error(errno),
                };
            }
            Ok(got) => {
                if let Err(errno) = message.write(at, &room).await {
                    return message.error(errno);
                }
                at += got;
            }
            Err(errno) => return message.error(errno),
        }
    }
}
