//! Images of containers, from the runtime itself: Kubernetes' Container Runtime Interface, where its socket is given.
//!
//! Whoever waits for an answer handles events, so there is a limit to each question, to what all of them take together, and
//! silence for a while where the runtime does not answer.

mod cri;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::confinement::{self, Part};

/// How long an answer is waited for. A runtime that is not busy takes a millisecond or two.
const LIMIT: Duration = Duration::from_millis(500);
/// In each span of this length …
const SPAN: Duration = Duration::from_secs(10);
/// … answers are waited for no longer than this in all: whoever may make cgroups may make ids of containers.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// How long a runtime that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(10);
/// Containers that are remembered: a node has some hundreds.
const MAX_KNOWN: usize = 4_096;
/// Bytes of a name: that of a repository has 255, with its registry, tag and digest.
const MAX_NAME: usize = 1_024;

/// A question: a container's id, and where the answer goes.
type Question = (String, SyncSender<Answer>);
/// The image's name; `None` where the runtime knows no such container. An error is a sentence.
type Answer = Result<Option<String>, String>;

/// The table from a container's id to its image, and the way to the runtime.
#[derive(Debug)]
pub(super) struct Images {
    socket: PathBuf,
    /// A container's image does not change.
    known: HashMap<String, Option<String>>,
    /// The thread that asks: from the first question on.
    asker: Option<SyncSender<Question>>,
    silent_until: Option<Instant>,
    /// The last question had no answer, which was said.
    failed: bool,
    budget: Budget,
}

impl Images {
    /// Those of the runtime that answers at `socket`. Asks nothing yet.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            known: HashMap::new(),
            asker: None,
            silent_until: None,
            failed: false,
            budget: Budget::default(),
        }
    }

    /// The image of the container with this id, as the runtime names it; `None` where it does not say, or not in time.
    pub(super) fn of(&mut self, id: &str) -> Option<String> {
        if let Some(image) = self.known.get(id) {
            return image.clone();
        }
        let now = Instant::now();
        if self.silent_until.is_some_and(|until| now < until) || self.budget.is_spent(now) {
            return None;
        }
        let answer = self.ask(id);
        self.budget.spend(now.elapsed());
        match answer {
            Ok(image) => {
                if self.failed {
                    self.failed = false;
                    log::info!(
                        "--cri.socket {}: the container runtime answers again",
                        self.socket.display()
                    );
                }
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
                self.known.insert(id.to_owned(), image.clone());
                image
            }
            Err(error) => {
                self.silent_until = Some(Instant::now() + PAUSE);
                if !self.failed {
                    self.failed = true;
                    log::warn!(
                        "--cri.socket {}: {error}; containers have no image until the runtime answers",
                        self.socket.display()
                    );
                }
                None
            }
        }
    }

    fn ask(&mut self, id: &str) -> Answer {
        let asker = match &self.asker {
            Some(asker) => asker,
            None => self.asker.insert(start(self.socket.clone())?),
        };
        let (answer, answers) = sync_channel(1);
        let asked = asker.try_send((id.to_owned(), answer));
        let answer = asked
            .map_err(|_| ())
            .and_then(|()| answers.recv_timeout(LIMIT).map_err(|_| ()));
        answer.unwrap_or_else(|()| Err(format!("no answer within {} ms", LIMIT.as_millis())))
    }
}

/// Whether the runtime at this socket answers as one; why not is a sentence.
pub(crate) fn answers(socket: &Path) -> Result<(), String> {
    // No container has such an id, and that it knows none is an answer.
    Images::new(socket.to_owned()).ask("portreeve").map(drop)
}

/// What was waited for answers in the span that began then.
#[derive(Debug, Default)]
struct Budget {
    began: Option<Instant>,
    spent: Duration,
}

impl Budget {
    fn is_spent(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= SPAN) {
            self.began = Some(now);
            self.spent = Duration::ZERO;
        }
        self.spent >= MAX_WAIT
    }

    fn spend(&mut self, time: Duration) {
        self.spent += time;
    }
}

/// Starts the thread that asks. It ends when nobody can ask it any more.
fn start(socket: PathBuf) -> Result<SyncSender<Question>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (asker, questions) = sync_channel(1);
    let ask = move || {
        confinement::give_up_files_too(Part::Images, []);
        answer(&runtime, &socket, &questions);
    };
    let started = thread::Builder::new().name("images".to_owned()).spawn(ask);
    started.map(|_| asker).map_err(|error| error.to_string())
}

fn answer(runtime: &tokio::runtime::Runtime, socket: &Path, questions: &Receiver<Question>) {
    while let Ok((id, answer)) = questions.recv() {
        let asked = runtime.block_on(async { tokio::time::timeout(LIMIT, cri::status(socket, &id)).await });
        let named = match asked {
            Ok(Ok(status)) => Ok(status
                .and_then(|status| status.name())
                .filter(|name| name.len() <= MAX_NAME)),
            Ok(Err(error)) => Err(format!("{error:#}")),
            // Whoever asked has given up too.
            Err(_) => continue,
        };
        // It may have given up meanwhile.
        let _ = answer.send(named);
    }
}

#[cfg(test)]
mod tests;
