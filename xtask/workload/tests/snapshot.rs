//! The program as a whole, with a crowd that is small and an agent that does not start.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use workload::lines::read;
use workload::snapshot::crowd::Standing;
use workload::snapshot::{self, ADDRESS, Crowd, FIRST_PORT, LOOK, Plan, Said};

const PROGRAM: &str = env!("CARGO_BIN_EXE_workload");

fn shell(name: &str, script: &str) -> snapshot::Command {
    snapshot::Command {
        name: name.to_owned(),
        words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        before_port: ":".to_owned(),
    }
}

/// Both parts in one test, since all crowds have the same ports.
#[test]
fn a_crowd_stands_while_ways_take_turns_and_leaves_nothing() {
    let crowd = Crowd {
        processes: 3,
        files: 12,
        listeners: 4,
    };
    let standing = Standing::gather(&crowd, Path::new(PROGRAM)).unwrap();
    let pids: Vec<u32> = standing.pids().collect();
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 12);
    }
    for port in FIRST_PORT..FIRST_PORT + crowd.listeners {
        TcpStream::connect((ADDRESS, port)).unwrap();
    }
    drop(standing);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    let folder: PathBuf = env::temp_dir().join(format!("workload-snapshot-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let plan = Plan {
        crowds: vec![crowd],
        rounds: 2,
        agent: ["/bin/sh", "-c", "echo cannot load >&2; exit 3"]
            .map(str::to_owned)
            .to_vec(),
        commands: vec![
            shell("all", "echo a:20000 a:20001 a:20002 a:20003"),
            shell("fails", "exit 1"),
            shell("none", ":"),
        ],
    };
    let file = folder.join("plan.json");
    fs::write(&file, serde_json::to_string(&plan).unwrap()).unwrap();
    let output = Command::new(PROGRAM)
        .arg("snapshot")
        .args([&file, &folder])
        .output()
        .unwrap();
    fs::remove_dir_all(folder).unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Vec<Said> = read(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(matches!(said.first(), Some(Said::Up { crowd: 0, .. })), "{said:?}");
    let took = said.iter().filter_map(|said| match said {
        Said::Took {
            round, way, listeners, ..
        } => Some((*round, way.as_str(), (*listeners)?)),
        _ => None,
    });
    assert_eq!(
        took.collect::<Vec<_>>(),
        [(0, "all", 4), (0, "none", 0), (1, "none", 0), (1, "all", 4)]
    );
    let refused = said.iter().filter_map(|said| match said {
        Said::Refused { way, why, .. } => Some((way.as_str(), why.as_str())),
        _ => None,
    });
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [
            (LOOK, "the agent ended with status 3: cannot load"),
            ("fails", "it ended with status 1: it said nothing"),
        ]
    );
}
