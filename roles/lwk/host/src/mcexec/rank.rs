//! Ranks of MPI jobs: which node a rank goes to, and which part of it is its own (sections 6.1 and 7.4).

use keelson_lwk_wire::messages::Rank;

use super::options::Options;

/// Where launchers say which rank this is: Hydra and other users of PMI, Slurm, Open MPI.
const RANK: [&str; 3] = ["PMI_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"];
/// And which among those that the same daemon started.
const LOCAL: [&str; 3] = ["MPI_LOCALRANKID", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"];

/// A variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn number(names: &[&str], variable: Variable<'_>) -> Option<u32> {
    names.iter().find_map(|name| variable(name)?.parse().ok())
}

/// The node that `--node-by-rank` gives this rank: with `-n`, so many ranks share each node. Fails in words.
pub fn node(options: &Options, variable: Variable<'_>) -> Result<Option<String>, String> {
    let Some(nodes) = &options.node_by_rank else { return Ok(None) };
    let Some(rank) = number(&RANK, variable) else {
        return Err(format!(
            "--node-by-rank: nobody says which rank this is (none of {}); start it with mpiexec or srun",
            RANK.join(", ")
        ));
    };
    let each = options.processes.max(1);
    match nodes.get((rank / each) as usize) {
        Some(node) => Ok(Some(node.clone())),
        None => Err(format!(
            "--node-by-rank: rank {rank} has no node: {} with {each} rank{} each; name more nodes, or raise -n",
            nodes.join(","),
            if each == 1 { "" } else { "s" }
        )),
    }
}

/// Which of the `-n` equal parts of its node this process gets; the node decides when nobody says.
pub fn rank(options: &Options, variable: Variable<'_>) -> Rank {
    let processes = options.processes;
    let index = match options.node_by_rank {
        // Ranks are dealt out to nodes in their order, whoever started them.
        Some(_) => number(&RANK, variable).map(|rank| rank % processes.max(1)),
        None => number(&LOCAL, variable),
    };
    Rank { processes, index: index.filter(|index| *index < processes).unwrap_or(Rank::UNKNOWN) }
}

/// The environment of this process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn options(line: &str) -> Options {
        Options::parse(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    fn variables(text: &'static str) -> impl Fn(&str) -> Option<String> {
        |name| text.split(' ').find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }

    #[test]
    fn ranks_are_dealt_out_to_nodes() {
        let two = options("--node-by-rank=n0,1 -n 2 a.out");
        for (rank, wanted, index) in [("0", "n0", 0), ("1", "n0", 1), ("2", "1", 0), ("3", "1", 1)] {
            let variable = |name: &str| (name == "PMI_RANK").then(|| rank.to_owned());
            assert_eq!(node(&two, &variable), Ok(Some(wanted.to_owned())));
            assert_eq!(super::rank(&two, &variable), Rank { processes: 2, index });
        }
        let one = options("--node-by-rank=n0,n1 a.out");
        assert_eq!(node(&one, &variables("SLURM_PROCID=1")), Ok(Some("n1".to_owned())));
        assert_eq!(rank(&one, &variables("SLURM_PROCID=1")), Rank { processes: 0, index: Rank::UNKNOWN });
        let beyond = node(&two, &variables("OMPI_COMM_WORLD_RANK=4")).unwrap_err();
        assert!(beyond.contains("rank 4") && beyond.contains("n0,1 with 2 ranks each"), "{beyond}");
        assert!(node(&two, &variables("OTHER=4")).unwrap_err().contains("PMI_RANK"));
    }

    #[test]
    fn local_ranks_choose_the_part_of_a_node() {
        let two = options("-n 2 a.out");
        assert_eq!(node(&two, &variables("PMI_RANK=3")), Ok(None));
        assert_eq!(rank(&two, &variables("PMI_RANK=3 MPI_LOCALRANKID=1")), Rank { processes: 2, index: 1 });
        for unknown in ["PMI_RANK=3", "MPI_LOCALRANKID=2", "MPI_LOCALRANKID=x"] {
            assert_eq!(
                rank(&two, &variables(unknown)),
                Rank { processes: 2, index: Rank::UNKNOWN },
                "{unknown}"
            );
        }
    }
}
