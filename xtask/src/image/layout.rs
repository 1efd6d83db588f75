//! An image in OCI's layout (image-spec, image-layout.md), and what it must be: one layer with one program.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command::output;

/// What the image holds: mode, numbers of owner and group, name, as `tar` shows them.
const FILES: [(&str, &str, &str); 2] = [("drwxr-xr-x", "0/0", "bin/"), ("-rwxr-xr-x", "0/0", "bin/portreeve")];
/// Labels that every image has, by their names below `org.opencontainers.image`.
const LABELS: [&str; 5] = ["title", "description", "licenses", "version", "revision"];

/// An image, read.
#[derive(Debug)]
pub(crate) struct Image {
    manifest: Value,
    config: Value,
    /// The layers' files, as `tar --list --verbose` shows them.
    files: String,
}

/// Reads the one image of a layout.
///
/// # Errors
/// Where a file is missing or is none of this format.
pub(crate) fn read(layout: &Path) -> Result<Image> {
    let index = document(&layout.join("index.json"))?;
    let blob = |descriptor: Option<&Value>| -> Result<_> {
        let digest = descriptor.and_then(|descriptor| descriptor.get("digest")?.as_str());
        let hash = digest.and_then(|digest| digest.strip_prefix("sha256:"));
        Ok(layout
            .join("blobs/sha256")
            .join(hash.context("a descriptor has no SHA-256")?))
    };
    let manifest = document(&blob(index.pointer("/manifests/0"))?)?;
    let config = document(&blob(manifest.get("config"))?)?;
    let mut files = String::new();
    for layer in manifest.get("layers").and_then(Value::as_array).into_iter().flatten() {
        let mut tar = Command::new("tar");
        tar.args(["--list", "--verbose", "--numeric-owner", "--gzip", "--file"]);
        files.push_str(&output(tar.arg(blob(Some(layer))?))?);
    }
    Ok(Image {
        manifest,
        config,
        files,
    })
}

fn document(file: &Path) -> Result<Value> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match serde_json::from_slice(&text) {
        Ok(document) => Ok(document),
        Err(error) => bail!("{} is no JSON: {error}", file.display()),
    }
}

impl Image {
    /// What is not as it must be in the image of this version.
    pub(crate) fn wrong(&self, version: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let layers = self
            .manifest
            .get("layers")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        if layers != 1 {
            wrong.push(format!("it has {layers} layers, and one program is one"));
        }
        for (pointer, wanted) in [
            ("/os", json!("linux")),
            ("/architecture", json!("amd64")),
            ("/config/User", json!("0:0")),
            ("/config/Entrypoint", json!(["/bin/portreeve"])),
            ("/config/Cmd", json!(["run"])),
            ("/config/Labels/org.opencontainers.image.version", json!(version)),
        ] {
            let found = self.config.pointer(pointer).unwrap_or(&Value::Null);
            if *found != wanted {
                wrong.push(format!("{pointer} is {found}, and must be {wanted}"));
            }
        }
        for label in LABELS {
            let pointer = format!("/config/Labels/org.opencontainers.image.{label}");
            let text = self.config.pointer(&pointer).and_then(Value::as_str);
            if text.is_none_or(str::is_empty) {
                wrong.push(format!("it has no label {label}"));
            }
        }
        for pointer in ["/config/Volumes", "/config/ExposedPorts", "/config/WorkingDir"] {
            if let Some(found) = self.config.pointer(pointer) {
                wrong.push(format!("{pointer} is {found}, and nothing needs it"));
            }
        }
        let files: Vec<_> = self.files.lines().map(file).collect();
        if files != FILES {
            wrong.push(format!("it holds {files:?}, and must hold {FILES:?}"));
        }
        wrong
    }
}

/// Mode, owner and name in a line of tar's: `-rwxr-xr-x 0/0 12205008 2026-11-26 08:00 bin/portreeve`.
fn file(line: &str) -> (&str, &str, &str) {
    let mut words = line.split_ascii_whitespace();
    let (mode, owner) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    (mode, owner, words.last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Image {
        let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), json!(value));
        let labels: serde_json::Map<_, _> = LABELS
            .iter()
            .map(|name| label(name, if *name == "version" { "1.2.3" } else { "text" }))
            .collect();
        Image {
            manifest: json!({ "layers": [{}] }),
            config: json!({
                "os": "linux", "architecture": "amd64",
                "config": { "User": "0:0", "Entrypoint": ["/bin/portreeve"], "Cmd": ["run"], "Labels": labels }
            }),
            files: "drwxr-xr-x 0/0               0 2026-11-26 08:00 bin/\n\
                    -rwxr-xr-x 0/0        12205008 2026-11-26 08:00 bin/portreeve\n"
                .to_owned(),
        }
    }

    #[test]
    fn one_layer_with_the_program_is_right() {
        assert_eq!(sound().wrong("1.2.3"), Vec::<String>::new());
    }

    #[test]
    fn whatever_differs_is_said() {
        let two_layers = Image {
            manifest: json!({ "layers": [{}, {}] }),
            ..sound()
        };
        assert_eq!(two_layers.wrong("1.2.3").len(), 1);
        assert_eq!(sound().wrong("1.2.4").len(), 1, "another version");
        for (pointer, value) in [
            ("/config/User", json!("65532")),
            ("/config/Entrypoint", json!(["/bin/sh"])),
            ("/architecture", json!("arm64")),
            ("/config/Labels/org.opencontainers.image.revision", json!("")),
        ] {
            let mut image = sound();
            *image.config.pointer_mut(pointer).unwrap() = value;
            assert_eq!(image.wrong("1.2.3").len(), 1, "{pointer}");
        }
        let mut image = sound();
        image.config["config"]["Volumes"] = json!({ "/data": {} });
        assert_eq!(image.wrong("1.2.3").len(), 1);
    }

    #[test]
    fn a_file_too_many_or_of_another_owner_is_said() {
        for files in [
            sound().files + "-rw-r--r-- 0/0 9 2026-11-26 08:00 etc/passwd\n",
            sound().files.replace("0/0        12205008", "1000/1000 12205008"),
            sound().files.replace("-rwxr-xr-x", "-rwsr-xr-x"),
            String::new(),
        ] {
            assert_eq!(Image { files, ..sound() }.wrong("1.2.3").len(), 1);
        }
    }
}
