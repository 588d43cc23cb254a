//! Memory of the kernel whose amount a program or a host decides about: there may be none, and then the call fails and not the node.

use crate::Errno;
use alloc::string::String;
use alloc::vec::Vec;

/// So many zeros.
///
/// # Errors
///
/// ENOMEM.
pub fn zeros(len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = with_room(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// An empty list with room for so many.
///
/// # Errors
///
/// ENOMEM.
pub fn with_room<T>(len: usize) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    Ok(list)
}

/// A copy.
///
/// # Errors
///
/// ENOMEM.
pub fn copy_of(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut copy = with_room(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Adds one to a list that may have become long.
///
/// # Errors
///
/// ENOMEM.
pub fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Errno> {
    list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    list.push(item);
    Ok(())
}

/// Adds bytes to those that may have become many.
///
/// # Errors
///
/// ENOMEM.
pub fn extend(bytes: &mut Vec<u8>, more: &[u8]) -> Result<(), Errno> {
    bytes.try_reserve(more.len()).map_err(|_| Errno::ENOMEM)?;
    bytes.extend_from_slice(more);
    Ok(())
}

/// A list of all items, which may be many.
///
/// # Errors
///
/// ENOMEM.
pub fn collect<T>(items: impl IntoIterator<Item = T>) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    for item in items {
        push(&mut list, item)?;
    }
    Ok(list)
}

/// Adds to a text that may have become long.
///
/// # Errors
///
/// ENOMEM.
pub fn push_text(text: &mut String, more: &str) -> Result<(), Errno> {
    text.try_reserve(more.len()).map_err(|_| Errno::ENOMEM)?;
    text.push_str(more);
    Ok(())
}
