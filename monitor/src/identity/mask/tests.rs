//! Command lines as they are met, and secrets that must never show.

use proptest::prelude::*;

use super::*;

fn masked(arguments: &[&str]) -> Vec<String> {
    mask(arguments.iter().map(|&argument| argument.to_owned()).collect())
}

/// Rows of a command line and what is left of it.
const REAL: &[(&[&str], &[&str])] = &[
    (
        &["app", "--password=x1y2", "--port", "1992"],
        &["app", "--password=***", "--port", "1992"],
    ),
    (
        &["app", "--password", "x1y2", "--port", "1992"],
        &["app", "--password", "***", "--port", "1992"],
    ),
    (
        &["java", "-password", "x1y2", "-jar", "a.jar"],
        &["java", "-password", "***", "-jar", "a.jar"],
    ),
    (
        &["java", "-Dspring.datasource.password=x", "-Dkey=x", "-Xmx1g"],
        &["java", "-Dspring.datasource.password=***", "-Dkey=***", "-Xmx1g"],
    ),
    (
        &["env", "A_TOKEN=x1y2", "PWD=/srv", "server"],
        &["env", "A_TOKEN=***", "PWD=/srv", "server"],
    ),
    (&["app", "--db-token", "x1y2"], &["app", "--db-token", "***"]),
    (&["app", "api_key: x1y2"], &["app", "api_key: ***"]),
    (
        &["app", "api_key:", "x1y2", "next"],
        &["app", "api_key:", "***", "next"],
    ),
    (
        &["app", "--password", "--token", "x1y2"],
        &["app", "--password", "***", "***"],
    ),
    (
        &["mongod", "--auth", "--port", "27017"],
        &["mongod", "--auth", "--port", "27017"],
    ),
    (&["app", "--auth", "x1y2"], &["app", "--auth", "***"]),
    (
        &["mysql", "-uroot", "-psecret", "shop"],
        &["mysql", "-uroot", "-p***", "shop"],
    ),
    (
        &["mysql", "-u", "root", "-p", "shop"],
        &["mysql", "-u", "root", "-p", "shop"],
    ),
    (
        &["sudo", "/usr/bin/mysqldump", "-psecret", "shop"],
        &["sudo", "/usr/bin/mysqldump", "-p***", "shop"],
    ),
    (
        &["docker", "run", "-p", "1992:80", "nginx"],
        &["docker", "run", "-p", "1992:80", "nginx"],
    ),
    (
        &["docker", "run", "-e", "POSTGRES_PASSWORD=x", "-ePASS=x", "postgres"],
        &["docker", "run", "-e", "POSTGRES_PASSWORD=***", "-ePASS=***", "postgres"],
    ),
    (
        &["docker", "run", "nginx:1@sha256:abcd"],
        &["docker", "run", "nginx:1@sha256:abcd"],
    ),
    (
        &["sshpass", "-p", "x1y2", "ssh", "host"],
        &["sshpass", "-p", "***", "ssh", "host"],
    ),
    (
        &["sshpass", "-px1y2", "ssh", "-p", "22", "host"],
        &["sshpass", "-p***", "ssh", "-p", "***", "host"],
    ),
    (
        &["curl", "-u", "user:pass", "http://h/"],
        &["curl", "-u", "user:***", "http://h/"],
    ),
    (
        &["curl", "-sSu", "user:pass", "http://h/"],
        &["curl", "-sSu", "user:***", "http://h/"],
    ),
    (
        &["curl", "-uuser:pass", "--user=a:b"],
        &["curl", "-uuser:***", "--user=a:***"],
    ),
    (
        &["curl", "-H", "Authorization: Bearer abc.def", "http://h/"],
        &["curl", "-H", "Authorization: Bearer ***", "http://h/"],
    ),
    (
        &["curl", "-H", "Authorization:Basic dTpw"],
        &["curl", "-H", "Authorization:Basic ***"],
    ),
    (
        &["curl", "-H", "authorization: Digest username=\"u\", response=\"r\""],
        &["curl", "-H", "authorization: Digest ***"],
    ),
    (&["curl", "-H", "X-Api-Key: abc"], &["curl", "-H", "X-Api-Key: ***"]),
    (&["curl", "-H", "Cookie: a=b; c=d"], &["curl", "-H", "Cookie: ***"]),
    (
        &["curl", "https://h/p?token=abc&port=1"],
        &["curl", "https://h/p?token=***"],
    ),
    (
        &["curl", "-d", "user=u&password=a b c"],
        &["curl", "-d", "user=u&password=***"],
    ),
    (
        &["curl", "-d", "{\"user\": \"u\", \"password\": \"a b\", \"port\": 1}"],
        &["curl", "-d", "{\"user\": \"u\", \"password\": *** \"port\": 1}"],
    ),
    (
        &["curl", "-d", "{\"password\": \"a b\", \"port\": 1}"],
        &["curl", "-d", "{\"password\": ***"],
    ),
    (
        &["redis-cli", "-h", "db", "-a", "pass"],
        &["redis-cli", "-h", "db", "-a", "***"],
    ),
    (
        &["redis-server", "--requirepass", "x", "--port", "6379"],
        &["redis-server", "--requirepass", "***", "--port", "6379"],
    ),
    (
        &["psql", "postgresql://alice:s3cret@db:5432/shop"],
        &["psql", "postgresql://***@db:5432/shop"],
    ),
    (
        &["psql", "host=db password=s3cret user=a"],
        &["psql", "host=db password=*** user=a"],
    ),
    (
        &["app", "--db=redis://:s3@h1:6379,redis://:s4@h2:6379/0"],
        &["app", "--db=redis://***@h1:6379,redis://***@h2:6379/0"],
    ),
    (
        &["git", "clone", "https://x-access-token:ghs_abc@github.com/a/b"],
        &["git", "clone", "https://***@github.com/a/b"],
    ),
    (
        &["psql", "postgres://alice:my-pw=x@db/shop"],
        &["psql", "postgres://***"],
    ),
    (&["app", "password:x1@y2"], &["app", "password:***"]),
    (
        &["git", "clone", "https://ghp_abc@github.com/a/b"],
        &["git", "clone", "https://***@github.com/a/b"],
    ),
    (&["app", "amqp://u:pa/ss@h:5672/v"], &["app", "amqp://***@h:5672/v"]),
    (&["app", "amqp://u:p@ss/word@h:5672/v"], &["app", "amqp://***@h:5672/v"]),
    (
        &["app", "https://cdn.example/pkg@1.2/x.js"],
        &["app", "https://cdn.example/pkg@1.2/x.js"],
    ),
    (
        &["app", "root:s3cret@tcp(db:3306)/shop"],
        &["app", "***@tcp(db:3306)/shop"],
    ),
    (&["app", "--proxy=u:p=q@proxy:3128"], &["app", "--proxy=***@proxy:3128"]),
    (&["dnsmasq", "127.0.0.1:53@eth0"], &["dnsmasq", "127.0.0.1:53@eth0"]),
    (
        &["app", "--upstream", "http://auth.example.net:80/"],
        &["app", "--upstream", "http://auth.example.net:80/"],
    ),
    (
        &["app", "--listen=auth-server:1992"],
        &["app", "--listen=auth-server:1992"],
    ),
    (
        &["app", "--keyboard", "us", "--author", "Bob", "monkey"],
        &["app", "--keyboard", "us", "--author", "Bob", "monkey"],
    ),
    (
        &["app", "--key-file", "/etc/k.pem", "--password-file=/etc/p"],
        &["app", "--key-file", "/etc/k.pem", "--password-file=/etc/p"],
    ),
    (&["psql", "--no-password", "shop"], &["psql", "--no-password", "shop"]),
    (
        &["helm", "--set", "auth.password=x,service.port=1"],
        &["helm", "--set", "auth.password=***"],
    ),
    (
        &["kubectl", "--from-literal=password=x"],
        &["kubectl", "--from-literal=password=***"],
    ),
    (
        &["openssl", "rsa", "-passin", "pass:x", "-in", "k"],
        &["openssl", "rsa", "-passin", "***", "-in", "k"],
    ),
    (
        &["smbclient", "-U", "alice%x", "//h/s"],
        &["smbclient", "-U", "alice%***", "//h/s"],
    ),
    (
        &["sh", "-c", "mysql -psecret shop | nc -l 1992"],
        &["sh", "-c", "mysql -p*** shop | nc -l 1992"],
    ),
    (
        &["sh", "-c", "PASSWORD=x ./run --port 1992"],
        &["sh", "-c", "PASSWORD=*** ./run --port 1992"],
    ),
    (
        &["sh", "-c", "PASSWORD=x;mysql -psecret"],
        &["sh", "-c", "PASSWORD=***;mysql -p***"],
    ),
    (
        &["bash", "-lc", "exec app --password 'a b' --port 1"],
        &["bash", "-lc", "exec app --password '***' --port 1"],
    ),
    (&["bash", "-c", "mysql -p\"a b\" x"], &["bash", "-c", "mysql -p*** x"]),
    (
        &["sh", "-c", "curl -H 'Authorization: Bearer a b' u"],
        &["sh", "-c", "curl -H 'Authorization: Bearer ***' u"],
    ),
    (
        &["sh", "-c", "sh -c 'app --token \"x y\"' && echo \"it's\""],
        &["sh", "-c", "sh -c 'app --token \"***\"' && echo \"it's\""],
    ),
    (
        &["ssh", "-oProxyCommand=sshpass -p x nc", "host"],
        &["ssh", "-oProxyCommand=sshpass -p *** nc", "host"],
    ),
    (
        &["sh", "-c", "ssh -o'ProxyCommand sshpass -p x nc' host"],
        &["sh", "-c", "ssh -o'ProxyCommand sshpass -p *** nc' host"],
    ),
    (
        &["don't mind: app --password x1y2 --port 1"],
        &["don't mind: app --password *** --port 1"],
    ),
    (&["nginx: worker process"], &["nginx: worker process"]),
    (
        &["postgres: alice shop 127.0.0.1(54321) idle"],
        &["postgres: alice shop 127.0.0.1(54321) idle"],
    ),
    (&["app", "password = x1y2 next"], &["app", "password = *** next"]),
    (&["app", "password =x1y2 next"], &["app", "password =*** next"]),
    (&["app", "", "-", "--"], &["app", "", "-", "--"]),
    (&["app", "--password", ""], &["app", "--password", "***"]),
    (&["app", "--password"], &["app", "--password"]),
    (
        &["app", "--größe=5", "пароль", "--token=пароль"],
        &["app", "--größe=5", "пароль", "--token=***"],
    ),
];

#[test]
fn real_command_lines_lose_their_secrets_and_nothing_else() {
    for (command, expected) in REAL {
        assert_eq!(masked(command), *expected, "{command:?}");
    }
}

#[test]
fn quotes_nested_too_deep_are_masked_as_a_whole() {
    let mut text = "app --flag x".to_owned();
    for level in 0..8 {
        let quote = if level % 2 == 0 { '\'' } else { '"' };
        text = format!("a {quote}{text}{quote}");
    }
    // Each level changes the quote, so the outermost closes at its first counterpart inside: whatever the shape, the
    // scan ends and keeps the count.
    assert_eq!(masked(&["sh", "-c", &text]).len(), 3);
}

const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pass",
    "db-password",
    "token",
    "db_token",
    "A_TOKEN",
    "secret",
    "client-secret",
    "api_key",
    "key",
    "auth",
    "credential",
    "credentials",
    "PGPASSWORD",
    "authToken",
];

/// A secret as people and machines make them. It begins with a letter or digit, so that it is not an option, and it
/// holds no quote, by which texts would end it.
fn secret() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9!#$%^&+/.,:;_@~=?-]{7,40}"
}

/// Whether any six letters in a row of `secret` are in `output`.
fn leaks(secret: &str, output: &[String]) -> bool {
    secret.as_bytes().windows(6).any(|part| {
        output
            .iter()
            .any(|argument| argument.as_bytes().windows(6).any(|shown| shown == part))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_secret_behind_a_listed_word_never_shows(name in prop::sample::select(NAMES), secret in secret(), form in 0..12) {
        let command: Vec<String> = match form {
            0 => vec![format!("--{name}={secret}")],
            1 => vec![format!("--{name}"), secret.clone()],
            2 => vec![format!("-{name}"), secret.clone()],
            3 => vec![format!("{name}={secret}")],
            4 => vec![format!("{name}: {secret}")],
            5 => vec![format!("{name}:"), secret.clone()],
            6 => vec!["sh".into(), "-c".into(), format!("run --{name} '{secret}' x")],
            7 => vec!["sh".into(), "-c".into(), format!("{name}=\"{secret}\" run")],
            8 => vec![format!("title of a server --{name} {secret} end")],
            9 => vec!["-d".into(), format!("{{\"{name}\":\"{secret}\"}}")],
            10 => vec![format!("https://host/path?a=b&{name}={secret}")],
            _ => vec![format!("--set={name}={secret}")],
        };
        let command: Vec<String> = std::iter::once("app".to_owned()).chain(command).chain(["1992".to_owned()]).collect();
        let output = mask(command.clone());
        prop_assert_eq!(output.len(), command.len());
        prop_assert!(!leaks(&secret, &output), "{:?} became {:?}", command, output);
        prop_assert_eq!(output.last().map(String::as_str), Some("1992"));
    }

    #[test]
    fn a_password_in_a_url_never_shows(secret in secret(), form in 0..4) {
        let command = match form {
            0 => format!("postgres://alice:{secret}@db.example:5432/shop"),
            1 => format!("--uri=redis://:{secret}@10.0.0.1"),
            2 => format!("a text with https://{}@host/ in it", secret.replace(['/', '?', '#', ':'], "x")),
            _ => format!("root:{secret}@tcp(db:3306)/shop"),
        };
        // `u:12345/x@host` begins like a host with a port, and a comma with `://` behind it begins the next URL.
        let digits = secret.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(0);
        prop_assume!(digits == 0 || !secret[digits..].starts_with(['/', '?', '#', ',']));
        prop_assume!(!secret.contains("://"));
        let output = mask(vec!["app".to_owned(), command.clone()]);
        prop_assert!(!leaks(&secret, &output), "{:?} became {:?}", command, output);
    }

    #[test]
    fn any_command_line_is_masked_without_failing(arguments in prop::collection::vec("\\PC{0,60}", 0..12)) {
        prop_assert_eq!(mask(arguments.clone()).len(), arguments.len());
    }

    #[test]
    fn any_text_of_quotes_blanks_and_options_is_masked_without_failing(text in "[ '\"\\\\;=:@/a-cé-]{0,200}") {
        let command = vec!["mysql".to_owned(), "sh".to_owned(), "-c".to_owned(), text];
        prop_assert_eq!(mask(command).len(), 4);
    }
}
