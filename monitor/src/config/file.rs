//! The configuration files: TOML, merged in order, unknown keys refused.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    duration,
    history::{HistoryFile, RawHistory},
    names::{Names, RawRegistry, RawService},
    status, watchable,
};
use crate::{
    event::Protocol,
    exit::ConfigError,
    identity::Privacy,
    policy::{Automatic, KEEP_FIRING_FOR, On, Reach, Rule, Severity, Verdict, WATCHED, covers},
    registry::{PortSpec, Registry},
};

/// What may lie between two looks at all that listens.
const RECONCILE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// A file larger than this is none of ours.
const SIZE_MAX: u64 = 4 << 20;

/// What all files together say.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// `[agent] instance`.
    pub instance: Option<String>,
    /// `[agent] reconcile`: between two looks at all that listens.
    pub reconcile: Option<Duration>,
    /// `[agent] state`: the folder of what outlives the agent.
    pub state: Option<PathBuf>,
    /// `[watch] ports`, of all files.
    pub watch: Vec<PortSpec>,
    /// `[policy] default`.
    pub default: Option<Verdict>,
    /// `[[rule]]`, of all files.
    pub rules: Vec<Rule>,
    /// `[metrics] max_series`.
    pub max_series: Option<usize>,
    /// `[privacy] cmdline`.
    pub privacy: Option<Privacy>,
    /// `[history]`.
    pub history: HistoryFile,
}

/// The files as they are written. What they say of names comes first, since rules may name ports by them.
#[derive(Default)]
pub struct Files {
    written: Vec<Written>,
    names: Names,
}

struct Written {
    path: PathBuf,
    text: String,
    raw: Raw,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    agent: RawAgent,
    watch: RawWatch,
    policy: RawPolicy,
    rule: Vec<Spanned<RawRule>>,
    metrics: RawMetrics,
    privacy: RawPrivacy,
    history: RawHistory,
    registry: RawRegistry,
    service: Vec<Spanned<RawService>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawAgent {
    instance: Option<Spanned<String>>,
    reconcile: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawWatch {
    ports: Vec<Spanned<RawPort>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    default: Option<RawDefault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDefault {
    Unruled,
    Unexpected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    #[serde(default)]
    ports: Vec<Spanned<RawPort>>,
    #[serde(default)]
    status: Vec<Spanned<String>>,
    protocols: Option<Vec<RawProtocol>>,
    on: Option<Vec<On>>,
    scope: Option<Reach>,
    automatic: Option<Spanned<RawAutomatic>>,
    severity: Severity,
    automatic_severity: Option<Severity>,
    keep_firing_for: Option<Spanned<String>>,
}

/// A port: a number, or text as on the command line.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawPort {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Tcp,
    Udp,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawAutomatic {
    Only(bool),
    Word(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawMetrics {
    max_series: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPrivacy {
    cmdline: Option<RawPrivacyOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPrivacyOf {
    Masked,
    Full,
    None,
}

/// Reads the files in order, each with the `*.toml` of a `conf.d` beside it, in the order of their names. A later value
/// takes the place of an earlier one; ports and rules add up.
pub fn read(paths: &[PathBuf]) -> Result<Files, ConfigError> {
    let mut files = Files::default();
    for path in paths {
        files.add(path, text_of(path)?)?;
        for beside in beside(path)? {
            files.add(&beside, text_of(&beside)?)?;
        }
    }
    Ok(files)
}

impl Files {
    /// Which registry is to be used, and what names lie over it.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Everything else, with service names understood by this registry.
    ///
    /// # Errors
    /// One sentence with file and line on the first thing that is wrong.
    pub fn resolve(self, registry: &Registry) -> Result<File, ConfigError> {
        let mut file = File::default();
        for Written { path, text, raw } in self.written {
            add_text(&mut file, &path, &text, raw, registry)?;
        }
        Ok(file)
    }

    fn add(&mut self, path: &Path, text: String) -> Result<(), ConfigError> {
        let at = |start: usize, problem: &str| at(path, &text, start, problem);
        let mut raw: Raw = toml::from_str(&text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), &plain(error.message())))?;
        self.names
            .add(std::mem::take(&mut raw.registry), std::mem::take(&mut raw.service), &at)?;
        self.written.push(Written {
            path: path.to_owned(),
            text,
            raw,
        });
        Ok(())
    }
}

/// The error on what begins at this byte of a file.
fn at(path: &Path, text: &str, start: usize, problem: &str) -> ConfigError {
    let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
    ConfigError(format!("{} line {line}: {problem}", path.display()))
}

/// The `conf.d/*.toml` beside a file.
fn beside(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(ConfigError(format!(
                "cannot read the folder {}: {error}",
                folder.display()
            )));
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|error| ConfigError(format!("cannot read the folder {}: {error}", folder.display())))?;
        if entry.path().extension().is_some_and(|extension| extension == "toml") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let refuse = |error: std::io::Error| ConfigError(format!("cannot read {}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(refuse)?;
    if !metadata.is_file() {
        return Err(ConfigError(format!("{} is no regular file", path.display())));
    }
    let size = metadata.len();
    if size > SIZE_MAX {
        return Err(ConfigError(format!(
            "{} has {size} bytes; a configuration has at most {SIZE_MAX}",
            path.display()
        )));
    }
    fs::read_to_string(path).map_err(refuse)
}

fn add_text(file: &mut File, path: &Path, text: &str, raw: Raw, registry: &Registry) -> Result<(), ConfigError> {
    let at = |start: usize, problem: &str| at(path, text, start, problem);
    let ports = |raw: &[Spanned<RawPort>]| -> Result<Vec<PortSpec>, ConfigError> {
        let mut specs = Vec::new();
        for port in raw {
            let text = match port.as_ref() {
                RawPort::Number(number) => number.to_string(),
                RawPort::Text(text) => text.clone(),
            };
            specs.extend(watchable(&text, registry).map_err(|error| at(port.span().start, &error))?);
        }
        Ok(specs)
    };
    if let Some(instance) = raw.agent.instance {
        if instance.as_ref().is_empty() || instance.as_ref().contains(char::is_control) {
            let text = "[agent] instance is empty or has control characters in it; leave it out to use the host's name";
            return Err(at(instance.span().start, text));
        }
        file.instance = Some(instance.into_inner());
    }
    if let Some(raw) = raw.agent.reconcile {
        let reconcile = duration::parse(raw.as_ref()).filter(|reconcile| RECONCILE.contains(reconcile));
        file.reconcile = Some(reconcile.ok_or_else(|| {
            let text = format!(
                "[agent] reconcile is `{}`; write a duration from 1s to 1h, like 60s",
                raw.as_ref()
            );
            at(raw.span().start, &text)
        })?);
    }
    if let Some(raw) = raw.agent.state {
        let folder = PathBuf::from(raw.as_ref());
        if !folder.is_absolute() {
            let text = format!("[agent] state is `{}`; write a path that begins with /", raw.as_ref());
            return Err(at(raw.span().start, &text));
        }
        file.state = Some(folder);
    }
    file.watch.extend(ports(&raw.watch.ports)?);
    if let Some(default) = raw.policy.default {
        file.default = Some(match default {
            RawDefault::Unruled => Verdict::Unruled,
            RawDefault::Unexpected => Verdict::Unexpected,
        });
    }
    if let Some(max_series) = raw.metrics.max_series {
        file.max_series = Some(max_series);
    }
    if let Some(privacy) = raw.privacy.cmdline {
        file.privacy = Some(match privacy {
            RawPrivacyOf::Masked => Privacy::Masked,
            RawPrivacyOf::Full => Privacy::Full,
            RawPrivacyOf::None => Privacy::None,
        });
    }
    file.history.add(raw.history, &at)?;
    for spanned in raw.rule {
        let start = spanned.span().start;
        let rule = spanned.into_inner();
        let name = rule.name.as_ref();
        let lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(lower) {
            let text = format!("`{name}` is no name for a rule: use a-z, 0-9 and -, like dormant-port");
            return Err(at(rule.name.span().start, &text));
        }
        if name == WATCHED {
            let text = format!("`{WATCHED}` is the rule of --watch and [watch]; choose another name");
            return Err(at(rule.name.span().start, &text));
        }
        if file.rules.iter().any(|other| other.name == *name) {
            return Err(at(rule.name.span().start, &format!("there is a rule `{name}` already")));
        }
        if rule.ports.is_empty() && rule.status.is_empty() {
            return Err(at(
                start,
                &format!("the rule `{name}` names neither ports nor a status, so it can never match"),
            ));
        }
        let meanings = rule
            .status
            .iter()
            .map(|word| status::meaning(word.as_ref()).map_err(|error| at(word.span().start, &error)));
        let meanings = meanings.collect::<Result<Vec<_>, _>>()?;
        let automatic = match rule.automatic.as_ref().map(|raw| (raw.as_ref(), raw.span())) {
            None => Automatic::Any,
            Some((RawAutomatic::Only(automatic), _)) => Automatic::Only(*automatic),
            Some((RawAutomatic::Word(word), _)) if word == "any" => Automatic::Any,
            Some((RawAutomatic::Word(word), span)) => {
                return Err(at(
                    span.start,
                    &format!("automatic is \"any\", true or false, not \"{word}\""),
                ));
            }
        };
        let keep_firing_for = match &rule.keep_firing_for {
            None => KEEP_FIRING_FOR,
            Some(raw) => duration::parse(raw.as_ref()).ok_or_else(|| {
                at(
                    raw.span().start,
                    &format!("`{}` is no duration; write 15m, 90s or 1h30m", raw.as_ref()),
                )
            })?,
        };
        let protocols = match rule.protocols {
            None => vec![Protocol::Tcp, Protocol::Udp],
            Some(protocols) => protocols
                .into_iter()
                .map(|protocol| match protocol {
                    RawProtocol::Tcp => Protocol::Tcp,
                    RawProtocol::Udp => Protocol::Udp,
                })
                .collect(),
        };
        let on = rule.on.unwrap_or_else(|| vec![On::Listen]);
        let (ports, names_ports) = status::select(ports(&rule.ports)?, &meanings, registry);
        let can_match = ports
            .iter()
            .any(|spec| protocols.iter().any(|protocol| covers(spec, *protocol, spec.first)));
        if !can_match || on.is_empty() {
            let text =
                format!("the rule `{name}` can never match: its ports, status, protocols and `on` leave nothing");
            return Err(at(start, &text));
        }
        file.rules.push(Rule {
            ports,
            names_ports,
            protocols,
            on,
            scope: rule.scope.unwrap_or(Reach::Any),
            automatic,
            severity: rule.severity,
            automatic_severity: rule.automatic_severity,
            keep_firing_for,
            name: rule.name.into_inner(),
        });
    }
    Ok(())
}

/// Turns the parser's message into one line that names the nearest key.
fn plain(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if line.starts_with("unknown field") => {
            let nearest = known
                .iter()
                .map(|key| (strsim::osa_distance(unknown, key), key))
                .min()
                .filter(|(distance, key)| *distance <= key.len().div_ceil(2));
            match nearest {
                Some((_, key)) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
                None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
            }
        }
        _ if line.starts_with("missing field") => match quoted.first() {
            Some(key) => format!("the key `{key}` is missing here"),
            None => line,
        },
        _ => line
            .replace(
                "invalid type: map, expected a sequence",
                "this is a list: write it with two brackets, [[rule]]",
            )
            .replace(", expected a sequence", ": write a list, [\"8080\"]")
            .replace(" as i128", "")
            .replace("usize", "a whole number from 0 on"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    /// One file of this text.
    pub(in crate::config) fn files(text: &str) -> Result<Files, ConfigError> {
        let mut files = Files::default();
        files.add(Path::new("p.toml"), text.to_owned())?;
        Ok(files)
    }

    fn parse(text: &str) -> Result<File, ConfigError> {
        files(text)?.resolve(Registry::embedded())
    }

    #[test]
    fn every_key_of_this_version_is_understood() {
        let file = parse(
            r#"
            [agent]
            instance = "web-7"
            reconcile = "2m"
            state = "/srv/portreeve"
            [watch]
            ports = ["1990-1994", "stun-p3", "tcp/8080", 22]
            [policy]
            default = "unexpected"
            [[rule]]
            name = "dormant-port"
            ports = ["1990-1992", 1994]
            protocols = ["tcp"]
            on = ["listen"]
            scope = "exposed"
            automatic = false
            severity = "critical"
            keep_firing_for = "2s"
            [metrics]
            max_series = 5
            [privacy]
            cmdline = "none"
            "#,
        )
        .unwrap();
        assert_eq!(file.instance.as_deref(), Some("web-7"));
        assert_eq!(file.reconcile, Some(Duration::from_secs(120)));
        assert_eq!(file.state.as_deref(), Some(Path::new("/srv/portreeve")));
        assert_eq!(file.default, Some(Verdict::Unexpected));
        assert_eq!((file.max_series, file.privacy), (Some(5), Some(Privacy::None)));
        let [rule] = file.rules.as_slice() else { panic!() };
        assert_eq!(
            (rule.keep_firing_for, rule.automatic),
            (Duration::from_secs(2), Automatic::Only(false))
        );
        assert_eq!(
            (rule.scope, rule.protocols.as_slice()),
            (Reach::Exposed, [Protocol::Tcp].as_slice())
        );
        assert!(rule.names(Protocol::Tcp, 1992) && !rule.names(Protocol::Tcp, 1993));
        assert!(file.watch.len() >= 4);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_line_and_what_to_do() {
        let rule = |rest: &str| format!("\n[[rule]]\nname = \"r\"\nports = [1]\nseverity = \"info\"\n{rest}\n");
        for (text, expected) in [
            (
                "[watch]\nprots = []".to_owned(),
                "p.toml line 2: unknown key `prots`; did you mean `ports`?",
            ),
            (
                "[zzz]\npath = 1".to_owned(),
                "p.toml line 1: unknown key `zzz`; known here: agent, watch, policy, rule, metrics, privacy",
            ),
            (
                rule("keep_firing_for = \"15\""),
                "p.toml line 6: `15` is no duration; write 15m, 90s or 1h30m",
            ),
            (
                rule("automatic = \"yes\""),
                "p.toml line 6: automatic is \"any\", true or false, not \"yes\"",
            ),
            ("[watch]\nports = [70000]".to_owned(), "p.toml line 2: "),
            (
                "[[rule]]\nname = \"r\"\nseverity = \"info\"\nstatus = [\n\"dormant\",\n\"dormnat\"]".to_owned(),
                "p.toml line 6: `dormnat` is no status; did you mean `dormant`?",
            ),
            (
                "[[rule]]\nname = \"r\"\nseverity = \"info\"\nstatus = [\"dead\"]".to_owned(),
                "p.toml line 4: `dead` is no status; there are dormant, unauthorised, assigned, reserved, unassigned",
            ),
            (
                "[[rule]]\nname = \"r\"\nseverity = \"info\"\nports = [22]\nstatus = [\"dormant\"]".to_owned(),
                "p.toml line 1: the rule `r` can never match: its ports, status, protocols and `on`",
            ),
            (
                "[[rule]]\nname = \"r\"\nports = []\nseverity = \"info\"".to_owned(),
                "p.toml line 1: the rule `r` names neither ports nor a status, so it can never match",
            ),
            (
                "[[rule]]\nname = \"A b\"\nports = [1]\nseverity = \"info\"".to_owned(),
                "p.toml line 2: `A b` is no name for a rule: use a-z, 0-9 and -, like dormant-port",
            ),
            (
                "[agent]\ninstance = \"\"".to_owned(),
                "p.toml line 2: [agent] instance is empty or has",
            ),
            ("[agent\n".to_owned(), "p.toml line 1: "),
            (
                "[agent]\ninstance = \"a\\nb\"".to_owned(),
                "p.toml line 2: [agent] instance is empty or has control",
            ),
            (
                "[agent]\nstate = \"here\"".to_owned(),
                "p.toml line 2: [agent] state is `here`; write",
            ),
            (
                "[agent]\nreconcile = \"500ms\"".to_owned(),
                "p.toml line 2: [agent] reconcile is `500ms`; write",
            ),
            (
                "[metrics]\nmax_series = -1".to_owned(),
                "p.toml line 2: invalid value: integer `-1`, expected a whole number from 0 on",
            ),
            (
                "[watch]\nports = \"8080\"".to_owned(),
                "p.toml line 2: invalid type: string \"8080\": write a list",
            ),
            (
                "[watch]\nports = [\"sctp/80\"]".to_owned(),
                "p.toml line 2: `sctp/80` is neither TCP nor UDP",
            ),
            ("[watch]\nports = [0]".to_owned(), "p.toml line 2: `0` has port 0 in it"),
            (
                "[[rule]]\nname = \"r\"\nports = [1]".to_owned(),
                "p.toml line 1: the key `severity` is missing here",
            ),
            (
                "[rule]\nname = \"r\"".to_owned(),
                "p.toml line 1: this is a list: write it with two brackets",
            ),
            (rule("protocols = []"), "p.toml line 2: the rule `r` can never match"),
            (rule("on = []"), "p.toml line 2: the rule `r` can never match"),
            (
                "[[rule]]\nname = \"r\"\nports = [\"udp/53\"]\nprotocols = [\"tcp\"]\nseverity = \"info\"".to_owned(),
                "p.toml line 1: the rule `r` can never match",
            ),
            (
                "[[rule]]\nname = \"watched-port\"\nports = [1]\nseverity = \"info\"".to_owned(),
                "p.toml line 2: `watched-port` is the rule of",
            ),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}\n{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_rule_on_a_status_covers_the_ports_that_have_it_alone_or_among_ports() {
        let rule = |rest: &str| {
            let text = format!("[[rule]]\nname = \"r\"\nseverity = \"info\"\n{rest}");
            parse(&text).unwrap().rules.remove(0)
        };
        let dormant = rule("status = [\"dormant\"]");
        assert!(dormant.names(Protocol::Tcp, 1992) && dormant.names(Protocol::Udp, 1987));
        assert!(!dormant.names(Protocol::Tcp, 22));
        let among = rule("status = [\"dormant\"]\nports = [\"1990-2000\", 22]\nprotocols = [\"tcp\"]");
        assert!(among.names(Protocol::Tcp, 1992) && among.names(Protocol::Tcp, 1996));
        assert!(!among.names(Protocol::Tcp, 1987) && !among.names(Protocol::Udp, 1992));
        // Too many, and too busy, to name each; within ports that are named they are.
        assert_eq!(rule("status = [\"dormant\", \"unassigned\"]").named(), []);
        assert!(rule("status = [\"unassigned\"]\nports = [\"19000-19999\"]").names(Protocol::Tcp, 19_992));
    }

    #[test]
    fn a_second_rule_of_one_name_is_refused() {
        let rule = "[[rule]]\nname = \"r\"\nports = [1]\nseverity = \"info\"\n";
        let error = parse(&format!("{rule}{rule}")).unwrap_err().to_string();
        assert_eq!(error, "p.toml line 6: there is a rule `r` already");
    }

    #[test]
    fn files_beside_are_read_in_the_order_of_their_names_and_later_values_win() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let main = write("portreeve.toml", "[agent]\ninstance = \"one\"\n[watch]\nports = [1]");
        write("conf.d/20.toml", "[agent]\ninstance = \"three\"");
        write("conf.d/10.toml", "[agent]\ninstance = \"two\"\n[watch]\nports = [2]");
        write("conf.d/30.toml.bak", "nonsense");
        let file = read(&[main]).unwrap().resolve(Registry::embedded()).unwrap();
        assert_eq!((file.instance.as_deref(), file.watch.len()), (Some("three"), 2));
        let error = read(&[folder.path().join("gone.toml")]).err().unwrap().to_string();
        assert!(error.contains("gone.toml") && error.contains("No such file"), "{error}");
    }
}
