//! Where memory lies on a machine with two NUMA nodes.

use super::*;

/// An address space of which nothing is filled ahead.
fn first_touch() -> (Arc<Mm>, Arc<Machine>) {
    mm_with(|settings| settings.policy_threshold = 0)
}

fn limit(machine: &Machine, node: usize, bytes: u64) {
    machine.limits[node].store(bytes, Ordering::Relaxed);
}

fn mapped(mm: &Mm, len: u64) -> u64 {
    mm.mmap(&anonymous(0, len, RW, ANON | map::NORESERVE)).unwrap()
}

fn touch(mm: &Mm, at: u64, node: usize) -> Result<usize, Fault> {
    mm.fault(at, Access::Write, node)?;
    Ok(mm.node_of_page(at).unwrap())
}

#[test]
fn a_page_lies_where_it_is_touched_first() {
    let (mm, _) = first_touch();
    let at = mm.mmap(&anonymous(0, 4 * MIB, RW, ANON)).unwrap();
    assert_eq!(mm.usage().resident, 0, "filled before anybody touched it");
    assert_eq!((touch(&mm, at, 1), touch(&mm, at + 2 * MIB, 0)), (Ok(1), Ok(0)));
    assert_eq!(touch(&mm, at + MIB, 0), Ok(1), "the second to come finds it");
    assert_eq!(mm.area_usage(&mm.area(at).unwrap()).nodes, [2 * MIB, 2 * MIB]);
}

/// `mcexec -m 1 -M 1m`: what is smaller lies where it is touched, until the program itself says something.
#[test]
fn small_mappings_do_not_follow_the_launcher() {
    let preferred = Policy::new(1, 0b10, 0b11).unwrap();
    let (mm, _) = mm_with(|settings| (settings.policy_threshold, settings.policy) = (MIB, preferred));
    let (small, large) = (mapped(&mm, MIB / 2), mapped(&mm, 2 * MIB));
    assert_eq!((touch(&mm, small, 0), touch(&mm, large, 0)), (Ok(0), Ok(1)));
    mm.set_policy(Policy::new(2, 0b10, 0b11).unwrap());
    let small = mapped(&mm, MIB / 2);
    assert_eq!(touch(&mm, small, 0), Ok(1));
}

#[test]
fn what_is_bound_to_a_node_never_comes_from_another() {
    let (mm, machine) = first_touch();
    limit(&machine, 1, 2 * MIB + 4096);
    let at = mapped(&mm, 8 * MIB);
    mm.mbind(at, 8 * MIB, Policy::new(2, 0b10, 0b11).unwrap(), 0).unwrap();
    assert_eq!((touch(&mm, at, 0), touch(&mm, at + 2 * MIB, 0)), (Ok(1), Ok(1)));
    assert_eq!(touch(&mm, at + 4 * MIB, 0), Err(Fault::OutOfMemory));
    assert_eq!((pool().used_of(0), pool().used_of(1)), (0, 2 * MIB + 4096));
    mm.set_policy(Policy::new(2, 0b10, 0b11).unwrap());
    let demanded = anonymous(0, 2 * MIB, RW, ANON | map::HUGETLB);
    assert_eq!(mm.mmap(&demanded), Err(Errno::ENOMEM));
    assert_eq!(mm.move_page(at + 2 * MIB, 0), Ok(0));
}

#[test]
fn a_wish_is_followed_as_far_as_that_goes() {
    let (mm, machine) = first_touch();
    limit(&machine, 1, 2 * MIB + 64 * 1024);
    let at = mapped(&mm, 8 * MIB);
    mm.mbind(at, 8 * MIB, Policy::new(1, 0b10, 0b11).unwrap(), 0).unwrap();
    // Small pages there go before large ones elsewhere, and anything elsewhere before nothing.
    let size = |at| mm.space().find(at).unwrap().size;
    assert_eq!((touch(&mm, at, 0), size(at)), (Ok(1), PageSize::Large));
    assert_eq!((touch(&mm, at + 2 * MIB, 0), size(at + 2 * MIB)), (Ok(1), PageSize::Small));
    assert_eq!((touch(&mm, at + 4 * MIB, 0), size(at + 4 * MIB)), (Ok(0), PageSize::Large));
}

#[test]
fn several_nodes_take_turns_or_come_before_the_rest() {
    let (mm, machine) = first_touch();
    let at = mapped(&mm, 8 * MIB);
    mm.mbind(at, 8 * MIB, Policy::new(3, 0b11, 0b11).unwrap(), 0).unwrap();
    let turns = [0, 2, 4, 6].map(|offset| touch(&mm, at + offset * MIB, 1).unwrap());
    assert_eq!(turns, [0, 1, 0, 1]);
    // Shared memory in large pages, too.
    let shared = mm.mmap(&anonymous(0, 8 * MIB, RW, map::SHARED | map::ANONYMOUS | map::NORESERVE)).unwrap();
    mm.mbind(shared, 8 * MIB, Policy::new(3, 0b11, 0b11).unwrap(), 0).unwrap();
    let turns = [0, 2, 4, 6].map(|offset| touch(&mm, shared + offset * MIB, 1).unwrap());
    assert_eq!((turns, mm.space().find(shared).unwrap().size), ([0, 1, 0, 1], PageSize::Large));

    let many = mapped(&mm, 4 * MIB);
    mm.mbind(many, 4 * MIB, Policy::new(5, 0b11, 0b11).unwrap(), 0).unwrap();
    assert_eq!(touch(&mm, many, 1), Ok(1));
    limit(&machine, 1, 0);
    assert_eq!(touch(&mm, many + 2 * MIB, 1), Ok(0));
}

#[test]
fn memory_is_filled_ahead_where_that_spoils_nothing() {
    let (mm, machine) = first_touch();
    let filled = |mm: &Mm| {
        let before = mm.usage().resident;
        mm.mmap(&Map { node: 0, ..anonymous(0, 4 * MIB, RW, ANON) }).unwrap();
        mm.usage().resident - before
    };
    assert_eq!(filled(&mm), 0);
    mm.set_policy(Policy::new(3, 0b11, 0b11).unwrap());
    assert_eq!((filled(&mm), pool().used_of(0), pool().used_of(1)), (4 * MIB, 2 * MIB, 2 * MIB));
    mm.set_policy(Policy::default());
    // Programs have one node only: what the other has is not theirs (`mem=`).
    limit(&machine, 1, 0);
    assert_eq!((filled(&mm), mm.nodes()), (4 * MIB, 0b1));
}
