//! Who can still see what was taken out of an address space: the rule by which frames and tables are used again.

#![forbid(unsafe_code)]

/// What a core does with a space, as somebody sees it who has just taken something out and counted up the
/// generation. A core
///
/// 1. says that it is inside, 2. compares the generation with the one it saw when it loaded CR3 last, and, if that
///    is another, says that it is not, loads CR3 and starts again, 3. is in ring 3, 4. says that it is not inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// The space is in CR3, or about to be.
    pub loaded: bool,
    /// The program is in ring 3, or about to be.
    pub inside: bool,
    /// The core follows the tables in software.
    pub walking: bool,
    /// Generation at the last load of CR3; 0 before the first.
    pub seen: u64,
}

impl View {
    /// True when the core may use a page that was gone at `generation`: the kernel itself never goes through CR3
    /// to a program's pages.
    pub fn may_use_page(self, generation: u64) -> bool {
        self.walking || self.inside && self.seen < generation
    }

    /// True when the core may follow a table that was gone at `generation`: processors do so of their own accord,
    /// in ring 0 too.
    pub fn may_follow_table(self, generation: u64) -> bool {
        self.walking || self.loaded && self.seen < generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const CORES: usize = 2;
    /// Times that a core goes to ring 3.
    const ROUNDS: u8 = 2;

    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
    struct Core {
        step: u8,
        rounds: u8,
        inside: bool,
        seen: u64,
        read: u64,
        /// Has the translation of the page.
        translation: bool,
    }

    /// The whole system between two steps.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    struct World {
        mapped: bool,
        generation: u64,
        cores: [Core; CORES],
        remover: u8,
        looks_at: usize,
        sees_inside: bool,
        free: bool,
    }

    /// In which order the remover does its two steps.
    #[derive(Clone, Copy, PartialEq)]
    enum Order {
        Right,
        CountsFirst,
    }

    /// Every world that one step of core `n` leads to; `Err` when it uses a page that is free.
    fn core_steps(world: &World, n: usize) -> Result<Vec<World>, ()> {
        let mut next = *world;
        let core = &mut next.cores[n];
        match core.step {
            0 if core.rounds == ROUNDS => return Ok(vec![]),
            0 => (core.inside, core.step) = (true, 1),
            1 if world.generation == core.seen => core.step = 4,
            1 => (core.inside, core.step) = (false, 2),
            2 => (core.read, core.step) = (world.generation, 3),
            3 => (core.translation, core.seen, core.step) = (false, core.read, 0),
            // Ring 3: uses the page, or leaves.
            _ => {
                let mut left = next;
                left.cores[n].inside = false;
                left.cores[n].step = 0;
                left.cores[n].rounds += 1;
                if world.cores[n].translation || world.mapped {
                    if world.free {
                        return Err(());
                    }
                    next.cores[n].translation = true;
                    return Ok(vec![left, next]);
                }
                return Ok(vec![left]);
            }
        }
        Ok(vec![next])
    }

    fn remover_step(world: &World, order: Order) -> Option<World> {
        let mut next = *world;
        let unmap = world.remover == u8::from(order == Order::CountsFirst);
        match world.remover {
            0 | 1 => {
                if unmap {
                    next.mapped = false;
                } else {
                    next.generation += 1;
                }
                next.remover += 1;
            }
            // Looks at one core after the other, and at `inside` before `seen`.
            2 if world.looks_at == CORES => (next.free, next.remover) = (true, 4),
            2 => (next.sees_inside, next.remover) = (world.cores[world.looks_at].inside, 3),
            3 => {
                let seen = world.cores[world.looks_at].seen;
                let view = View { loaded: true, inside: world.sees_inside, walking: false, seen };
                next.looks_at = if view.may_use_page(2) { 0 } else { world.looks_at + 1 };
                next.remover = 2;
            }
            _ => return None,
        }
        Some(next)
    }

    /// Goes through every order of all steps; the number of worlds, or `Err` when a free page was used in one.
    fn explore(order: Order) -> Result<usize, ()> {
        let start = World {
            mapped: true,
            generation: 1,
            cores: [Core::default(); CORES],
            remover: 0,
            looks_at: 0,
            sees_inside: false,
            free: false,
        };
        let (mut seen, mut todo) = (HashSet::from([start]), vec![start]);
        let mut freed = false;
        while let Some(world) = todo.pop() {
            freed |= world.free;
            let mut next: Vec<World> = remover_step(&world, order).into_iter().collect();
            for core in 0..CORES {
                next.extend(core_steps(&world, core)?);
            }
            todo.extend(next.into_iter().filter(|world| seen.insert(*world)));
        }
        assert!(freed, "the page is free in the end");
        Ok(seen.len())
    }

    #[test]
    fn no_order_of_steps_uses_a_page_that_is_free() {
        assert!(explore(Order::Right).is_ok_and(|worlds| worlds > 1000));
    }

    #[test]
    fn the_search_finds_the_mistake_of_counting_first() {
        assert!(explore(Order::CountsFirst).is_err());
    }

    #[test]
    fn tables_stay_for_cores_at_rest() {
        let view = View { loaded: true, inside: false, walking: false, seen: 4 };
        assert!(!view.may_use_page(5) && view.may_follow_table(5));
        assert!(!view.may_follow_table(4));
        let walking = View { loaded: false, inside: false, walking: true, seen: 9 };
        assert!(walking.may_use_page(1) && walking.may_follow_table(1));
    }
}
