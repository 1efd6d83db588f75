//! The page where something stands between it and the agent: a proxy that serves it below a path, and a password.

use std::{error::Error, fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::{
    Named, Test,
    agent::{Agent, backend, file},
    browser::{self, Browser},
    listeners::free_port,
    page::{has_row, is_clean, open},
    programs::{Programs, Server, takes_connections},
};

/// They need a browser, and the first one nginx.
pub const IN_A_BROWSER: &[Named] = &[
    ("the_page_is_live_below_a_path_of_a_proxy", behind_a_proxy),
    ("the_page_is_live_behind_a_password", behind_a_password),
];

const NGINX: &str = "usr/sbin/nginx";

/// The name `alice`, and the hash of her password, which is `fakepassword`.
const USER: &str = "alice: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Why they cannot run here; `None` where they can.
pub fn missing() -> Option<String> {
    let nginx = Programs::of_environment().path(NGINX);
    let absent = || format!("there is no {NGINX} here (PORTREEVE_PROGRAMS); it runs on the machine's own kernel");
    browser::missing().or_else(|| (!nginx.exists()).then(absent))
}

/// The part of nginx's configuration that docs/http.md gives, for an agent on this port.
fn documented(port: u16) -> Result<String, Box<dyn Error>> {
    let page = include_str!("../../../docs/http.md");
    let (_, rest) = page
        .split_once("```\nlocation ")
        .ok_or("docs/http.md has no location")?;
    let (block, _) = rest.split_once("```").ok_or("the block does not end")?;
    let block = format!("location {block}");
    assert!(block.contains("127.0.0.1:19992"), "{block}");
    Ok(block.replace("127.0.0.1:19992", &format!("127.0.0.1:{port}")))
}

fn behind_a_proxy() -> Test {
    let front = free_port()?;
    let outside = format!("http://127.0.0.1:{front}/portreeve/");
    let agent = Agent::start(&backend()?, &["--web.external-url", &outside])?;
    let folder = tempfile::tempdir()?;
    // Its workers give up root, and must still come to its files.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let at = folder.path().display();
    let path = folder.path().join("nginx.conf");
    fs::write(
        &path,
        format!(
            "user root; worker_processes 1; daemon off; pid {at}/pid; error_log {at}/log;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
             uwsgi_temp_path {at}; scgi_temp_path {at};\n\
             server {{ listen 127.0.0.1:{front};\n{}\n}} }}\n",
            documented(agent.port())?
        ),
    )?;
    let programs = Programs::of_environment();
    let _proxy = Server::start(programs.command(NGINX).arg("-c").arg(&path))?;
    takes_connections(front)?;
    let browser = Browser::start()?;
    open(&browser, &format!("{outside}?sort=-since"))?;
    works(&browser)?;
    is_clean(&browser, &[&outside])
}

fn behind_a_password() -> Test {
    let (_folder, web) = file("web.yml", format!("basic_auth_users:\n  {USER}\n"))?;
    let agent = Agent::start(&backend()?, &["--web.config.file", &web])?;
    let browser = Browser::start()?;
    let page = format!("http://127.0.0.1:{}/", agent.port());
    // What a person writes into the browser's own question goes along with all that is asked afterwards; so does this.
    let with_her_name = page.replace("http://", "http://alice:fakepassword@");
    browser.open(&with_her_name)?;
    open(&browser, &format!("{page}?sort=-since"))?;
    works(&browser)?;
    // The first page's icon and stream come from where it does, and may still be asked for when the second is open.
    is_clean(&browser, &[&page, &with_her_name])
}

/// A listener comes and goes, its port has a page, and from there a link leads back.
fn works(browser: &Browser) -> Test {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    browser.wait_for(&has_row(port))?;
    browser.click(&format!("#rows a[href=\"ports/{port}\"]"))?;
    browser.wait_for(&format!("document.title.startsWith('Port {port}')"))?;
    browser.wait_for("document.getElementById('state').dataset.state === 'live'")?;
    browser.wait_for("document.querySelector('#owners .owner') !== null")?;
    drop(listener);
    browser.wait_for("document.querySelector('#owners .owner') === null")?;
    browser.click(".back a")?;
    browser.wait_for("document.getElementById('state').dataset.state === 'live'")?;
    browser.wait_for(&format!("!({})", has_row(port)))?;
    let styled = browser.value("getComputedStyle(document.body).margin")?;
    (styled == json!("0px"))
        .then_some(())
        .ok_or_else(|| format!("the page has no style: {styled}").into())
}
