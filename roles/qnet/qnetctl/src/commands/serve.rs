//! `serve`: a directory of this host for other nodes.

use crate::failure::Failure;
use crate::host_files::HostFiles;
use crate::json::Object;
use crate::session::Session;
use keelson_qnet::io::Order;
use std::future::pending;
use std::path::Path;
use std::rc::Rc;

/// Serves until the program is ended.
pub async fn serve(session: &Session, directory: &Path) -> Result<(), Failure> {
    let doing = format!("serve {}", directory.display());
    let files = HostFiles::open(directory).map_err(Failure::host(&*doing))?;
    let node = session.host.node();
    node.namespace().mount("/", Rc::new(files), Order::After).map_err(Failure::remote(doing))?;
    let (name, directory) = (node.name(), directory.display().to_string());
    let text = || format!("serving {directory} as /net/{name}");
    session.print(text, || Object::new().text("serving", &directory).text("name", &name)).await?;
    pending().await
}
