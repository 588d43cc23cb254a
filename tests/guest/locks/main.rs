//! Locks as programs take them: actors in as many processes and guests as a scenario needs, and a crowd that
//! contends. Compiled statically by the tests (`rustc`, no crates) and put into the guest.
//!
//! - `locks serve` starts an actor for each connection to [`PORT`].
//! - `locks play SCENARIO FILE [NAME=ADDRESS]...` prints what each step of a scenario led to.
//! - `locks hold FILE COMMAND...` executes the commands, says `holding` and keeps what it has until it is killed.
//! - `locks contend FILE SEED PROCESSES ROUNDS` counts up in a file that others count up in at the same time.
//! - `locks sum FILE` prints what was counted.

mod actor;
mod contend;
mod play;
mod serve;
mod sys;

/// Where actors are started.
pub const PORT: u16 = 7000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    match arguments[1..] {
        ["actor", file] => actor::run(file),
        ["serve"] => serve::serve(),
        ["play", scenario, file, ref places @ ..] => play::play(scenario, file, places),
        ["hold", file, ref commands @ ..] => actor::hold(file, commands),
        ["contend", file, seed, processes, rounds] => {
            contend::crowd(file, number(seed), number(processes), number(rounds));
        }
        ["contender", file, seed, rounds] => contend::contend(file, number(seed), number(rounds)),
        ["sum", file] => println!("{}", contend::sum(file)),
        _ => panic!("what is {:?}?", &arguments[1..]),
    }
}
