//! Many clients that each want every file they make to be safe.

use crate::backend::own;
use crate::disk::{FileDisk, Flush};
use crate::model::{Making, new_object};
use crate::tools::Image;
use crate::world::World;
use keelson_exec::sync::Notify;
use keelson_volume::Volume;
use std::cell::Cell;
use std::rc::Rc;

/// Files of each.
const EACH: usize = 50;

/// Creates for each pair of flushes while so many make files, each safe before the next.
pub fn creates_per_flush_pair(clients: usize) -> Result<f64, String> {
    let image = Image::make(256, &["-b", "4096"]);
    let disk = FileDisk::open(image.path(), Flush::Real).map_err(|error| error.to_string())?;
    let world = World::new(1);
    let own = own::mount(&world, disk.clone(), own::Memory::Ample)?;
    let volume = own.volume();
    let (left, done) = (Rc::new(Cell::new(clients)), Rc::new(Notify::new()));
    let failed = Rc::new(Cell::new(None));
    let before = disk.counts();
    for client in 0..clients {
        let (volume, left, done, failed) = (volume.clone(), left.clone(), done.clone(), failed.clone());
        world.handle().spawn("creator", async move {
            for number in 0..EACH {
                let name = format!("file {client} {number}");
                let new = new_object(&Making::Regular, 0o644, (0, 0));
                let made = match volume.create(volume.root(), name.as_bytes(), new).await {
                    Ok(made) => volume.commit(made.object.id).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = made {
                    failed.set(Some(error));
                }
            }
            left.set(left.get() - 1);
            done.notify();
        });
    }
    world.run(async {
        while left.get() > 0 {
            done.notified().await;
        }
    });
    if let Some(error) = failed.get() {
        return Err(error.to_string());
    }
    let flushes = disk.counts().since(before).flushes;
    Ok((clients * EACH) as f64 / (flushes as f64 / 2.0))
}
