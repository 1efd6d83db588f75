//! Programs whose short options carry secrets: `-p` is a port for one and a password for the next.

/// What an option of a known program carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// A secret, attached or as the next argument.
    Secret,
    /// A secret only if attached (`7z -psecret`); alone it asks at the terminal.
    Attached,
    /// A secret if attached. The next argument is taken for one unless it looks like an option: `mysql -p secret` is
    /// often written although it names a database.
    Likely,
    /// `user:password`, attached or as the next argument; the character parts the two.
    Login(char),
}

/// A family of programs and its options.
#[derive(Debug)]
pub(super) struct Program {
    names: &'static [&'static str],
    options: &'static [(&'static str, Carries)],
    /// One-letter options may stand together, as in `curl -sSu user:password`.
    clusters: bool,
}

/// An option of a known program, found in an argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The value is the next argument.
    Next(Carries),
    /// The value is attached to the option, which comes first.
    Here(&'a str, &'a str, Carries),
}

const PROGRAMS: &[Program] = &[
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlshow",
            "mysqlcheck",
            "mysqlpump",
            "mysqlslap",
            "mysqlbinlog",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-import",
            "mariadb-show",
            "mariadb-check",
            "mariadb-backup",
            "mariadb-binlog",
            "mariabackup",
            "xtrabackup",
            "mysqlsh",
            "mycli",
            // `docker login -p`, `oc login -p` and their like.
            "login",
        ],
        options: &[("-p", Carries::Likely)],
        clusters: false,
    },
    Program {
        names: &["7z", "7za", "7zr", "7zz"],
        options: &[("-p", Carries::Attached)],
        clusters: false,
    },
    Program {
        names: &[
            "sshpass",
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
            "mongostat",
            "mongotop",
            "mongofiles",
            "rabbitmqadmin",
            "cqlsh",
            "cypher-shell",
            "beeline",
            "couchbase-cli",
            "rdesktop",
        ],
        options: &[("-p", Carries::Secret)],
        clusters: false,
    },
    Program {
        names: &[
            "redis-cli",
            "valkey-cli",
            "redis-benchmark",
            "valkey-benchmark",
            "http",
            "https",
        ],
        options: &[("-a", Carries::Secret)],
        clusters: false,
    },
    Program {
        names: &["curl"],
        options: &[
            ("--user", Carries::Login(':')),
            ("--proxy-user", Carries::Login(':')),
            ("-u", Carries::Login(':')),
            ("-U", Carries::Login(':')),
            ("-b", Carries::Secret),
        ],
        clusters: true,
    },
    Program {
        names: &["etcdctl"],
        options: &[("--user", Carries::Login(':'))],
        clusters: false,
    },
    Program {
        names: &["lftp"],
        options: &[("-u", Carries::Login(','))],
        clusters: false,
    },
    Program {
        names: &["smbclient", "rpcclient", "smbget"],
        options: &[("-U", Carries::Login('%'))],
        clusters: false,
    },
    Program {
        names: &["ab"],
        options: &[("-A", Carries::Login(':')), ("-P", Carries::Login(':'))],
        clusters: false,
    },
    Program {
        names: &[
            "ldapsearch",
            "ldapadd",
            "ldapmodify",
            "ldapdelete",
            "ldapwhoami",
            "ldappasswd",
        ],
        options: &[("-w", Carries::Secret)],
        clusters: false,
    },
    Program {
        names: &[
            "mosquitto_pub",
            "mosquitto_sub",
            "mosquitto_rr",
            "sqlcmd",
            "bcp",
            "tsql",
            "osql",
            "ipmitool",
            "zip",
            "unzip",
        ],
        options: &[("-P", Carries::Secret)],
        clusters: false,
    },
    Program {
        names: &["snmpget", "snmpwalk", "snmpbulkwalk", "snmpset"],
        options: &[
            ("-c", Carries::Secret),
            ("-A", Carries::Secret),
            ("-X", Carries::Secret),
        ],
        clusters: false,
    },
    Program {
        names: &["openssl"],
        options: &[
            ("-passin", Carries::Secret),
            ("-passout", Carries::Secret),
            ("-k", Carries::Secret),
            ("-K", Carries::Secret),
        ],
        clusters: false,
    },
];

/// Programs whose `-c` takes a command in the shell's language.
const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox", "su", "runuser",
];

/// The family of the program that an argument names, by the last part of its path.
pub(super) fn named(argument: &str) -> Option<&'static Program> {
    let name = base_name(argument);
    PROGRAMS.iter().find(|program| program.names.contains(&name))
}

/// Whether an argument names a shell. Login shells have a dash before their name.
pub(super) fn is_shell(argument: &str) -> bool {
    let name = base_name(argument);
    SHELLS.contains(&name.strip_prefix('-').unwrap_or(name))
}

/// `80:80`, `127.0.0.1:80:80/tcp`: what `docker -p` takes.
pub(super) fn is_port_mapping(value: &str) -> bool {
    let numbers = value.split('/').next().unwrap_or(value);
    let protocol = value.get(numbers.len()..).unwrap_or_default();
    matches!(protocol, "" | "/tcp" | "/udp" | "/sctp")
        && numbers.contains(':')
        && numbers
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".:-".contains(&byte))
}

fn base_name(argument: &str) -> &str {
    argument.rsplit(['/', '=', '`', '(']).next().unwrap_or(argument)
}

impl Program {
    /// The option of this program in `argument`, if it carries something.
    pub(super) fn find<'a>(&self, argument: &'a str) -> Option<Found<'a>> {
        for &(option, carries) in self.options {
            if argument == option {
                return (carries != Carries::Attached).then_some(Found::Next(carries));
            }
            let long = option.starts_with("--");
            let Some(attached) = argument.strip_prefix(option) else {
                continue;
            };
            // A value is attached to a long option by `=`, to a letter directly; `-passin` and the like take none.
            let value = match (long, option.len()) {
                (true, _) => attached.strip_prefix('='),
                (false, 2) => Some(attached),
                (false, _) => None,
            };
            if let Some((option, value)) =
                value.and_then(|value| argument.split_at_checked(argument.len() - value.len()))
            {
                return Some(Found::Here(option, value, carries));
            }
        }
        let cluster = argument
            .strip_prefix('-')
            .filter(|letters| letters.bytes().all(|byte| byte.is_ascii_alphabetic()))?;
        self.options
            .iter()
            .find(|(option, _)| self.clusters && option.len() == 2 && cluster.ends_with(option.trim_start_matches('-')))
            .map(|&(_, carries)| Found::Next(carries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_means_what_its_program_says() {
        let mysql = named("/usr/bin/mysql").unwrap();
        assert_eq!(
            mysql.find("-psecret"),
            Some(Found::Here("-p", "secret", Carries::Likely))
        );
        assert_eq!(mysql.find("-p"), Some(Found::Next(Carries::Likely)));
        assert_eq!(named("7z").unwrap().find("-p"), None);
        assert_eq!(mysql.find("--port=1"), None);
        let curl = named("curl").unwrap();
        assert_eq!(curl.find("-sSu"), Some(Found::Next(Carries::Login(':'))));
        assert_eq!(
            curl.find("--user=a:b"),
            Some(Found::Here("--user=", "a:b", Carries::Login(':')))
        );
        assert_eq!(curl.find("--user-agent"), None);
        assert!(named("python3").is_none());
        assert!(is_shell("-bash") && is_shell("/bin/sh") && !is_shell("sshd"));
    }
}
