//! Who somebody is: users and passwords (RFC 7617), compared with bcrypt.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use axum::http::HeaderValue;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Passwords that are remembered to be right.
const REMEMBERED: usize = 64;

/// Compared with where there is no such user, so that the answer takes as long as for one that there is. The password is
/// nobody's; its cost is what `htpasswd` and the documentation of the format have.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Compares passwords, one at a time and not where others wait for it.
#[derive(Debug)]
pub(super) struct Auth {
    /// The right ones alone: wrong ones cost whoever tries them, and must displace none.
    right: Mutex<VecDeque<[u8; 32]>>,
    turn: Semaphore,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            right: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Auth {
    /// Whether the header names one of these users with the right password.
    pub(super) async fn knows(&self, users: &BTreeMap<String, String>, header: Option<&HeaderValue>) -> bool {
        let Some((user, password)) = header.and_then(credentials) else {
            return false;
        };
        let hash = users.get(&user);
        let key = key(&user, hash.map_or("", String::as_str), &password);
        if hash.is_some() && self.is_remembered(&key) {
            return true;
        }
        let Ok(turn) = self.turn.acquire().await else {
            return false;
        };
        // Whoever asked before may have asked the same.
        if hash.is_some() && self.is_remembered(&key) {
            return true;
        }
        let compared = hash.map_or(NOBODY, String::as_str).to_owned();
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(&password, &compared).unwrap_or(false));
        let is_right = verified.await.unwrap_or(false) && hash.is_some();
        if is_right {
            self.remember(key);
        }
        drop(turn);
        is_right
    }

    fn is_remembered(&self, key: &[u8; 32]) -> bool {
        self.right().contains(key)
    }

    fn remember(&self, key: [u8; 32]) {
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.pop_front();
        }
        right.push_back(key);
    }

    fn right(&self) -> std::sync::MutexGuard<'_, VecDeque<[u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for a user with a password: with the hash in it, whose salt is random, so that it tells nothing of the password,
/// and is another one once the password is.
fn key(user: &str, hash: &str, password: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [user.as_bytes(), hash.as_bytes(), password] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderValue {
        format!("Basic {}", STANDARD.encode(text)).parse().unwrap()
    }

    #[tokio::test]
    async fn a_password_is_compared_once_and_counts_as_long_as_its_hash() {
        let auth = Auth::default();
        let mut users = BTreeMap::from([("ada".to_owned(), bcrypt::hash("se:cret", 4).unwrap())]);
        let right = header("ada:se:cret");
        assert!(auth.knows(&users, Some(&right)).await && auth.knows(&users, Some(&right)).await);
        assert_eq!(auth.right().len(), 1);
        for wrong in ["ada:secret", "ada:", "bob:se:cret", "ada", ":"] {
            assert!(!auth.knows(&users, Some(&header(wrong))).await, "{wrong}");
        }
        assert_eq!(auth.right().len(), 1);
        users.insert("ada".to_owned(), bcrypt::hash("other", 4).unwrap());
        assert!(!auth.knows(&users, Some(&right)).await);
        for wrong in ["Bearer x", "Basic", "Basic !", ""] {
            let wrong = HeaderValue::from_static(wrong);
            assert!(!auth.knows(&users, Some(&wrong)).await);
        }
        assert!(!auth.knows(&users, None).await);
    }

    #[test]
    fn the_hash_of_nobody_is_one_that_takes_as_long_as_others() {
        assert_eq!(bcrypt::verify("password", NOBODY).ok(), Some(false));
    }
}
