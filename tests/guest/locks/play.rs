//! Plays scenarios. A scenario file is its own transcript: played right, it is printed as it was read.
//!
//! - `== TITLE` begins a scenario: new actors, a new file.
//! - `NAME COMMAND: RESULT` has an actor execute a command (see `actor`); `kill` and `exit` give `gone`.
//! - `either NAME NAME: RESULT` waits until one of two that wait has a result; from then on it is `winner`, the other
//!   `loser`.
//! - All other lines are comments.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::{PORT, serve};

/// An actor, wherever it is.
struct Actor(BufReader<TcpStream>);

/// The actors of a scenario by name.
struct Cast<'a> {
    file: String,
    places: &'a HashMap<String, String>,
    actors: HashMap<String, Actor>,
    /// What `winner` and `loser` stand for.
    roles: HashMap<String, String>,
}

/// Prints the scenarios of a file with the results they really had.
pub fn play(scenario: &str, file: &str, places: &[&str]) {
    thread::spawn(serve::serve);
    let places: HashMap<String, String> = places
        .iter()
        .filter_map(|place| place.split_once('='))
        .map(|(name, address)| (name.into(), address.into()))
        .collect();
    let text = fs::read_to_string(scenario).expect("the scenario");
    let mut cast = Cast::new(file, 0, &places);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("==") {
            cast = Cast::new(file, number, &places);
        }
        match line.split_once(": ").filter(|_| !line.starts_with(['=', '#'])) {
            Some((step, _)) => println!("{step}: {}", cast.take(step)),
            None => println!("{line}"),
        }
    }
}

impl<'a> Cast<'a> {
    fn new(file: &str, number: usize, places: &'a HashMap<String, String>) -> Cast<'a> {
        Cast { file: format!("{file}.{number}"), places, actors: HashMap::new(), roles: HashMap::new() }
    }

    fn take(&mut self, step: &str) -> String {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            ["either", one, other] => self.either([one, other]),
            [name, ..] => {
                let command = step[name.len()..].trim_start();
                let result = self.tell(name, command);
                if result == "gone" {
                    let name = self.roles.get(name).map_or(name, String::as_str).to_string();
                    self.actors.remove(&name);
                }
                result
            }
            [] => String::new(),
        }
    }

    fn tell(&mut self, name: &str, command: &str) -> String {
        let name = self.roles.get(name).cloned().unwrap_or_else(|| name.into());
        let (file, places) = (&self.file, self.places);
        let actor = self.actors.entry(name.clone()).or_insert_with(|| {
            let address = places.get(&name).map_or("127.0.0.1", String::as_str);
            Actor::start(address, file)
        });
        actor.tell(command)
    }

    fn either(&mut self, names: [&str; 2]) -> String {
        loop {
            for (name, other) in [(names[0], names[1]), (names[1], names[0])] {
                let result = self.tell(name, "still");
                if result != "waits" {
                    self.roles = [("winner".into(), name.into()), ("loser".into(), other.into())].into();
                    return result;
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Actor {
    fn start(address: &str, file: &str) -> Actor {
        // The listener may have been started a moment ago.
        let stream = (0..600).find_map(|_| {
            let stream = TcpStream::connect((address, PORT));
            stream.map_err(|_| thread::sleep(Duration::from_millis(100))).ok()
        });
        let mut stream = stream.unwrap_or_else(|| panic!("nobody serves actors at {address}"));
        let _ = stream.set_nodelay(true);
        stream.write_all(format!("{file}\n").as_bytes()).expect("tell the file");
        Actor(BufReader::new(stream))
    }

    fn tell(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).expect("tell a command");
        let mut result = String::new();
        self.0.read_line(&mut result).expect("a result");
        result.trim_end().into()
    }
}
