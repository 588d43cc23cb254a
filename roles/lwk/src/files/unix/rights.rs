//! Files that go with a message (SCM_RIGHTS).

use super::UnixSocket;
use crate::files::Description;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

/// Files of one message.
pub struct Rights {
    files: Vec<Arc<Description>>,
    /// Whom they count for, and how many that user may have aboard.
    pub(super) user: u32,
    pub(super) most: u32,
    /// In a [`List`].
    next: Option<Box<Rights>>,
}

impl Rights {
    /// Files that `user` sends, who may have `most` on their way (RLIMIT_NOFILE); `None` without files.
    pub fn new(files: Vec<Arc<Description>>, user: u32, most: u32) -> Option<Box<Rights>> {
        (!files.is_empty()).then(|| Box::new(Rights { files, user, most, next: None }))
    }

    pub(super) fn files(&self) -> &[Arc<Description>] {
        &self.files
    }

    pub(super) fn into_files(self) -> Vec<Arc<Description>> {
        self.files
    }

    /// Those that are sockets, by what [`super::flight::Aboard`] knows them.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (usize, &Arc<Description>, &UnixSocket)> {
        self.files
            .iter()
            .filter_map(|description| Some((key(description), description, socket(description)?)))
    }
}

fn key(description: &Arc<Description>) -> usize {
    Arc::as_ptr(description).addr()
}

pub(super) fn socket(description: &Description) -> Option<&UnixSocket> {
    description.file().as_any().downcast_ref()
}

/// Rights one after another. Adding some takes no memory, of which there may be none. Nothing is left in it when it goes.
#[derive(Default)]
pub(super) struct List(Option<Box<Rights>>);

impl List {
    pub fn push(&mut self, mut rights: Box<Rights>) {
        rights.next = self.0.take();
        self.0 = Some(rights);
    }

    pub fn pop(&mut self) -> Option<Box<Rights>> {
        let mut first = self.0.take()?;
        self.0 = first.next.take();
        Some(first)
    }
}

/// The socket itself, when nobody else has it.
pub(super) fn last_of(description: Arc<Description>) -> Option<UnixSocket> {
    let file: Arc<dyn Any + Send + Sync> = Arc::into_inner(description)?.into_file();
    file.downcast().ok().and_then(Arc::into_inner)
}

impl UnixSocket {
    /// The files in messages to it, and to those who wait to be accepted.
    pub(super) fn each_rights(&self, mut each: impl FnMut(&Rights)) {
        let state = self.state.lock();
        state.inbox.rights().for_each(&mut each);
        for end in state.listening.iter().flat_map(|listening| &listening.pending) {
            end.state.lock().inbox.rights().for_each(&mut each);
        }
    }

    /// Takes these files out.
    pub(super) fn unload(&self, onto: &mut List) {
        let mut state = self.state.lock();
        state.inbox.unload(onto);
        for end in state.listening.iter().flat_map(|listening| &listening.pending) {
            end.state.lock().inbox.unload(onto);
        }
    }

    /// The same of a socket that goes, and ends those who wait to be accepted.
    pub(super) fn hollow(&mut self, onto: &mut List) {
        let state = self.state.get_mut();
        state.inbox.unload(onto);
        let ends = state.listening.take().map(|listening| listening.pending);
        for mut end in ends.into_iter().flatten().filter_map(Arc::into_inner) {
            end.state.get_mut().inbox.unload(onto);
            end.is_hollow = true;
        }
    }
}
