//! Chromium, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>), which is JSON over HTTP.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};

use super::agent::{DEADLINE, has_program};

/// What a step gives: an error is a sentence.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// What Chromium is started with: no window, nothing of its own on the network, nothing of another profile.
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// The size of the window.
pub const DESK: (u32, u32) = (1440, 900);

/// Why there is no browser here; `None` where there is one.
pub fn missing() -> Option<String> {
    let absent: Vec<_> = ["chromium", "chromedriver"]
        .into_iter()
        .filter(|program| !has_program(program))
        .collect();
    (!absent.is_empty()).then(|| {
        format!(
            "there is no {} here (Debian's packages chromium and chromium-driver); it runs on the machine's own kernel",
            absent.join(" and no ")
        )
    })
}

/// A browser with one window. It ends when it is dropped.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    /// The URL of the session.
    session: String,
    /// Goes last: the browser writes into it to its end.
    _profile: tempfile::TempDir,
}

/// Whether WebDriver says that a page, or a part of it, is being replaced.
fn is_replaced(error: &str) -> bool {
    ["stale element reference", "no such element"]
        .iter()
        .any(|replaced| error.contains(replaced))
}

/// A driver, and its port.
fn driver() -> Outcome<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = driver.stdout.take().ok_or("no stdout")?;
    let mut said = Vec::new();
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    // `ChromeDriver was started successfully on port 41007.`
    let port = lines.by_ref().inspect(|line| said.push(line.clone())).find_map(|line| {
        let port = line.split("successfully on port ").nth(1)?;
        port.trim_end_matches('.').parse::<u16>().ok()
    });
    let Some(port) = port else {
        let status = driver.wait()?;
        return Err(format!("chromedriver does not start ({status}): {}", said.join(" | ")).into());
    };
    // It must not wait for somebody to read on.
    thread::spawn(move || lines.for_each(drop));
    Ok((driver, port))
}

impl Browser {
    /// Starts it with a new profile.
    pub fn start() -> Outcome<Self> {
        let profile = tempfile::tempdir()?;
        // The free port that it finds for IPv4 may be another one's for IPv6, and then it ends.
        let (driver, port) = driver().or_else(|_| driver())?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(DEADLINE))
            .build();
        let mut browser = Self {
            driver,
            agent: config.into(),
            session: format!("http://127.0.0.1:{port}"),
            _profile: profile,
        };
        let folder = browser._profile.path().join("profile");
        let flags = FLAGS.map(str::to_owned).into_iter().chain([
            format!("--user-data-dir={}", folder.display()),
            format!("--window-size={},{}", DESK.0, DESK.1),
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": flags.collect::<Vec<_>>()},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let made = browser.post("/session", &wanted)?;
        let id = made["sessionId"].as_str().ok_or("no session")?;
        browser.session = format!("{}/session/{id}", browser.session);
        Ok(browser)
    }

    fn ask(&self, method: Method, path: &str, body: &str) -> Outcome<Value> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .body(body.to_owned())?;
        let text = self.agent.run(request)?.body_mut().read_to_string()?;
        let mut answer: Value = serde_json::from_str(&text)?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{path}: {error}: {}", value["message"]).into()),
            None => Ok(value),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.ask(Method::POST, path, &body.to_string())
    }

    /// Goes to a page, and waits until it is loaded.
    pub fn open(&self, url: &str) -> Outcome<()> {
        self.post("/url", &json!({"url": url})).map(drop)
    }

    /// What an expression in JavaScript gives.
    pub fn value(&self, expression: &str) -> Outcome<Value> {
        let script = json!({"script": format!("return ({expression});"), "args": []});
        self.post("/execute/sync", &script)
    }

    /// Waits until an expression holds.
    pub fn wait_for(&self, expression: &str) -> Outcome<()> {
        let end = Instant::now() + DEADLINE;
        while self.value(expression)? != true {
            if Instant::now() > end {
                let page = self.value("document.body.innerText")?;
                return Err(format!("never came true: {expression}; the page is {page}").into());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    fn element(&self, selector: &str) -> Outcome<String> {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}))?;
        let id = found.as_object().and_then(|object| object.values().next());
        Ok(id.and_then(Value::as_str).ok_or("no element")?.to_owned())
    }

    /// Clicks, as a person does: what is covered or away cannot be clicked, and what was replaced between the look and the click is
    /// looked for again.
    pub fn click(&self, selector: &str) -> Outcome<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.element(selector);
            let clicked = found.and_then(|id| self.post(&format!("/element/{id}/click"), &json!({})));
            match clicked {
                Err(error) if is_replaced(&error.to_string()) && Instant::now() < end => {}
                clicked => return clicked.map(drop),
            }
        }
    }

    /// Types into a field.
    pub fn write(&self, selector: &str, text: &str) -> Outcome<()> {
        let path = format!("/element/{}/value", self.element(selector)?);
        self.post(&path, &json!({"text": text})).map(drop)
    }

    /// Asks for something that WebDriver has no word for (<https://chromedevtools.github.io/devtools-protocol/>).
    pub fn devtools(&self, command: &str, parameters: &Value) -> Outcome<Value> {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Makes the window this wide and high.
    pub fn resize(&self, (width, height): (u32, u32)) -> Outcome<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// What came into a log since it was last asked for: `browser` is the console, `performance` has requests.
    pub fn log(&self, kind: &str) -> Outcome<Vec<Value>> {
        match self.post("/se/log", &json!({"type": kind}))? {
            Value::Array(entries) => Ok(entries),
            other => Err(format!("no log: {other}").into()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.ask(Method::DELETE, "", "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
