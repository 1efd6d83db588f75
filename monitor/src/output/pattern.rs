//! Names as people ask for them.

/// Whether a name is what was asked for: all of it where that is a pattern, else a part of it.
#[must_use]
pub fn matches(asked: &str, name: &str) -> bool {
    if asked.contains(['*', '?']) {
        let (pattern, name): (Vec<char>, Vec<char>) = (asked.chars().collect(), name.chars().collect());
        is_like(&pattern, &name)
    } else {
        name.contains(asked)
    }
}

/// Whether a name follows a pattern. Goes back to the last `*` alone, so that no pattern takes long.
fn is_like(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(seen) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (at, seen) = (*behind + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_and_a_pattern_is_the_whole() {
        for (asked, name, expected) in [
            ("ngin", "nginx", true),
            ("nginx*", "nginx", true),
            ("*inx", "nginx", true),
            ("n*i*x", "nginx", true),
            ("n?inx", "nginx", true),
            ("ngin?", "nginx-worker", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(asked, name), expected, "{asked} and {name}");
        }
    }
}
