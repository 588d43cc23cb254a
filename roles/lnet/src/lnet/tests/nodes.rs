//! Which NIDs belong together.

use crate::lnet::nodes::Nodes;
use crate::lnet::peer_state::MULTI_RAIL;
use crate::lnet::testing::{FixedEntropy, nid};
use alloc::rc::Rc;
use keelson_lnet_wire::nid::Nid;

fn nids(index: &[u8]) -> Vec<Nid> {
    index.iter().map(|index| nid(&format!("10.0.0.{index}@tcp"))).collect()
}

fn one(index: u8) -> Nid {
    nids(&[index])[0]
}

#[test]
fn a_node_says_which_nids_it_has() {
    let mut nodes = Nodes::new(&*FixedEntropy::new(), 100);
    let node = nodes.update(one(2), one(1), &nids(&[1, 2, 3]), MULTI_RAIL).unwrap();
    assert_eq!((node.primary.get(), node.nids.borrow().clone()), (one(1), nids(&[1, 2, 3])));
    assert!(nids(&[1, 2, 3]).iter().all(|nid| nodes.find(nid).is_some()));
    let node = nodes.update(one(3), one(3), &nids(&[3, 1]), MULTI_RAIL).unwrap();
    assert_eq!((node.primary.get(), node.nids.borrow().clone()), (one(3), nids(&[3, 1])));
    assert!(nodes.find(&one(2)).is_none(), "it no longer has it");
    assert_eq!(nodes.iter().count(), 1);
    let first = nodes.find(&one(1)).cloned().unwrap();
    nodes.retain(|node| !Rc::ptr_eq(node, &first));
    assert_eq!(nodes.iter().count(), 0);
}

#[test]
fn who_was_claimed_by_another_can_speak_for_itself() {
    let mut nodes = Nodes::new(&*FixedEntropy::new(), 100);
    nodes.update(one(1), one(1), &nids(&[1, 2]), MULTI_RAIL).unwrap();
    let node = nodes.update(one(2), one(2), &nids(&[2, 1, 3]), MULTI_RAIL).unwrap();
    assert_eq!(nodes.iter().count(), 1, "they agree that they are one");
    assert_eq!(node.nids.borrow().len(), 3);
    let other = nodes.update(one(3), one(3), &nids(&[3, 4]), MULTI_RAIL).unwrap();
    assert_eq!((other.nids.borrow().clone(), nodes.iter().count()), (nids(&[3, 4]), 2));
    assert_eq!(node.nids.borrow().clone(), nids(&[2, 1]));
}

#[test]
fn the_table_is_bounded() {
    let mut nodes = Nodes::new(&*FixedEntropy::new(), 4);
    let node = nodes.update(one(1), one(1), &nids(&[1, 2, 3, 4, 5, 6]), MULTI_RAIL).unwrap();
    assert_eq!(node.nids.borrow().len(), 4);
    assert!(nodes.update(one(7), one(7), &nids(&[7]), 0).is_none());
    assert!(nodes.update(one(1), one(1), &nids(&[1]), 0).is_some());
    assert!(nodes.update(one(7), one(7), &nids(&[7]), 0).is_some());
}
