//! Command lines as they are met.

/// Rows of a command line and what is left of it.
pub(super) const REAL: &[(&[&str], &[&str])] = &[
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
        &["app", "--password", "--token", "***"],
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
        &["mysql", "-u", "root", "-p", "***"],
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

/// Command lines in which `X1y2Z3w4` is a secret, and nothing else is.
pub(super) const SECRET: &[&[&str]] = &[
    &["password", "X1y2Z3w4"],
    &[
        "app", "key", "X1y2Z3w4", "token", "X1y2Z3w4", "password", "X1y2Z3w4", "1992",
    ],
    &["app", "db_token", "X1y2Z3w4", "db.password", "X1y2Z3w4"],
    &["app", "password X1y2Z3w4"],
    &["app", "FOO=1 app password X1y2Z3w4"],
    &["app", "password", "=", "X1y2Z3w4", "1992"],
    &["sh", "-c", "exec nmcli password 'X1y2Z3w4' up"],
    &["app", "-u", "admin:X1y2Z3w4", "1992"],
    &["app", "--user=admin:X1y2Z3w4"],
    &["app", "--user", "admin:X1y2Z3w4"],
    &["app", "--user", "1000:X1y2Z3w4"],
    &["app", "--admin-login=admin:X1y2Z3w4"],
    &["app", "-uadmin:X1y2Z3w4"],
    &["env", "APP_USER=admin:X1y2Z3w4", "app"],
    &["sh", "-c", "app -u 'admin:X1y2Z3w4' --user=admin:X1y2Z3w4; true"],
    &["mysql", "-p", "X1y2Z3w4"],
    &["/usr/bin/mariadb", "-pX1y2Z3w4"],
    &["sudo", "-u", "db", "mysql", "-pX1y2Z3w4"],
    &["env", "A=1", "nohup", "timeout", "5", "mysqladmin", "-pX1y2Z3w4"],
    &["sh", "-c", "sshpass -p X1y2Z3w4 ssh h"],
    &["mongosh", "-u", "a", "-p", "X1y2Z3w4"],
    &["cqlsh", "-p", "X1y2Z3w4"],
    &["docker", "login", "-u", "a", "-p", "X1y2Z3w4", "registry"],
    &["app", "--otp", "X1y2Z3w4", "--pin", "X1y2Z3w4"],
    &[
        "app",
        "--passcode",
        "X1y2Z3w4",
        "--passphrase",
        "X1y2Z3w4",
        "--pin=X1y2Z3w4",
    ],
    &["app", "Basic", "X1y2Z3w4"],
    &["app", "Basic X1y2Z3w4"],
    &["curl", "-H", "X-Forwarded: Basic X1y2Z3w4"],
    &["curl", "-H", "X-Forwarded:Basic X1y2Z3w4"],
    &["app", "--token", "--password", "X1y2Z3w4"],
    &["app", "ghp_X1y2Z3w4X1y2Z3w4:X1y2Z3w4@host"],
    &["sh", "-c", "mysql -p'X1y2Z3w4 X1y2Z3w4"],
    &["app", "https://hooks.slack.com/services/T0/B0/X1y2Z3w4"],
    &["app", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.X1y2Z3w4"],
    &[
        "app",
        "-----BEGIN PRIVATE KEY-----\nX1y2Z3w4\n-----END PRIVATE KEY-----",
    ],
    &["app", "--config={'password': 'X1y2Z3w4', 'a': 1}"],
];

/// Command lines without a secret.
pub(super) const KEPT: &[&[&str]] = &[
    &["app", "--keyboard", "us", "--author", "Bob", "monkey", "banana"],
    &["app", "--key-file", "path", "--pin-threads", "4"],
    &["nc", "-l", "-p", "8080"],
    &["ssh", "-p", "8080", "host"],
    &["docker", "run", "-p", "80:80", "nginx"],
    &["docker", "run", "--name", "mysql", "-p", "3306:3306", "mysql"],
    &["docker", "run", "--name", "mysql", "-p127.0.0.1:3306:3306/tcp", "mysql"],
    &["python3", "-m", "http.server", "1992"],
    &["python3", "-u", "token.py", "1992"],
    &["app", "--user", "nobody", "--port", "1"],
    &["docker", "run", "-u", "1000:1000", "--user=1000:1000", "nginx"],
    &[
        "app",
        "-u",
        "http://localhost:8080/",
        "-u",
        "127.0.0.1:9090",
        "-udp:0.0.0.0:53",
    ],
    &["postgres", "-D", "/data"],
    &["token.py", "1992"],
    &["auth-server", "--listen", "1"],
    &["app", "auth-server", "1992"],
    &["app", "server.key", "1992"],
    &["app", "--token", "--foo", "X"],
    &["app", "--password", "--foo=1"],
    &["app", "key", "--foo", "1"],
    &["mysql", "-p", "-hdb", "-u", "root"],
    &["./w", "\"q\\ and more"],
    &["./w", "q\\ and more", "don't \"do\\ this"],
    &["app", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"],
];
