//! The orderly end: whoever wants the machine off or rebooted asks here; the role ends its work first.

use crate::screen;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_exec::sync::Notify;
use keelson_kernel::power;
use keelson_kernel::power_button::PowerButton;

/// Time the role has to end its work; then the machine goes regardless.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the power button is looked at: its event comes as an interrupt that only AML can route.
const BUTTON_PERIOD: Duration = Duration::from_millis(200);

/// Time that the last lines of the log have to leave the machine.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is waited for before the machine goes, but not for long.
type LastWords = Pin<Box<dyn Future<Output = ()>>>;

/// What comes after the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Switch off.
    PowerOff,
    /// Start again.
    Reboot,
}

/// Where the end is asked for. Clones are the same place.
#[derive(Clone, Default)]
pub struct Shutdown(Rc<Inner>);

#[derive(Default)]
struct Inner {
    wanted: Cell<Option<Then>>,
    asked: Notify,
    last_words: RefCell<Option<LastWords>>,
}

impl Shutdown {
    /// Asks for the end. The first request counts.
    pub fn request(&self, then: Then) {
        if self.0.wanted.get().is_none() {
            self.0.wanted.set(Some(then));
            self.0.asked.notify();
        }
    }

    /// Waits for `sent` when the role has ended, but not for more than half a second.
    pub fn last_words(&self, sent: impl Future<Output = ()> + 'static) {
        *self.0.last_words.borrow_mut() = Some(Box::pin(sent));
    }

    /// Waits for the request.
    pub async fn requested(&self) -> Then {
        loop {
            let asked = self.0.asked.notified();
            if let Some(then) = self.0.wanted.get() {
                return then;
            }
            asked.await;
        }
    }

    /// Ends the machine when asked to, after `finish` or when that takes longer than 20 seconds.
    pub async fn serve(self, handle: Handle, finish: impl Future<Output = ()>) {
        self.serve_within(handle, PATIENCE, finish).await;
    }

    /// The same for a role whose end may take another time.
    pub async fn serve_within(self, handle: Handle, patience: Duration, finish: impl Future<Output = ()>) {
        let then = self.requested().await;
        if handle.timeout(patience, finish).await.is_err() {
            log::error!(target: "kernel", "the role did not end within {patience:?}; going down without it");
        }
        let last_words = self.0.last_words.take();
        if let Some(sent) = last_words {
            // What does not get out by then is lost, as is what is said from here on.
            let _ = handle.timeout(LAST_WORDS, sent).await;
        }
        screen::last_words();
        match then {
            Then::PowerOff => power::off(),
            Then::Reboot => power::reboot(),
        }
    }

    /// Asks for power-off when somebody presses the power button (QEMU: `system_powerdown`).
    pub async fn watch_button(self, handle: Handle, button: PowerButton) {
        while !button.pressed() {
            handle.sleep(BUTTON_PERIOD).await;
        }
        log::info!(target: "kernel", "power button");
        self.request(Then::PowerOff);
    }
}
