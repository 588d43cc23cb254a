//! The terminal at a console of the machine.

use super::conversation::{End, Terminal};
use alloc::rc::Rc;
use core::future::poll_fn;
use keelson_hal::Console;

/// A console; nobody leaves it.
pub(super) struct Serial<C>(pub Rc<C>);

impl<C: Console> Terminal for Serial<C> {
    const ECHO: bool = true;
    const LEAVES: bool = false;
    const DUPLEX: bool = true;

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        Ok(poll_fn(|cx| self.0.poll_read(cx, buffer)).await)
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), End> {
        self.0.write(text);
        Ok(())
    }
}
