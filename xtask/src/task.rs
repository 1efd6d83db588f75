//! The tasks there are.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::workspace::Workspace;
use crate::{bench, deploy, dist, ebpf, fuzz, image, kubernetes, metrics, protos, registry, run, test, tidy, vm};

/// Builds, checks and tests portreeve. Each task does its own set-up: as root it installs what is missing.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) enum Task {
    Run(run::RunArgs),
    Test(test::TestArgs),
    Ebpf(ebpf::EbpfArgs),
    Vm(vm::VmArgs),
    Bench(bench::BenchArgs),
    Dist(dist::DistArgs),
    /// Makes monitor/data from IANA's table, or with --check says whether it is what that table gives.
    Registry {
        #[arg(long)]
        check: bool,
    },
    /// Writes the table of docs/metrics.md from the agent's catalogue of metrics; `tidy` compares the two.
    Metrics,
    Fuzz(fuzz::FuzzArgs),
    Protos(protos::ProtosArgs),
    /// Checks what lies in deploy/: the Prometheus rules with their tests, the sample configurations, the dashboards.
    Rules,
    /// Writes the copies of the alerting rules in deploy/kubernetes, and checks the manifests: helm, kustomize, Kubernetes' schemas.
    Kubernetes {
        /// A built agent, which is asked whether it takes the flags and the configuration
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
    Image(image::ImageArgs),
    /// Checks the walls between the parts of portreeve, and that each test kernel is what the hooks take it for.
    Tidy,
}

impl Task {
    /// Does the task. Gives whether every check in it passed.
    ///
    /// # Errors
    /// Where the task could not be done.
    pub(crate) fn perform(&self, workspace: &Workspace) -> Result<bool> {
        match self {
            Self::Run(args) => run::main(workspace, args).map(|()| true),
            Self::Test(args) => test::main(workspace, args),
            Self::Ebpf(args) => ebpf::main(workspace, args).map(|()| true),
            Self::Vm(args) => vm::main(workspace, args),
            Self::Bench(args) => bench::main(workspace, args),
            Self::Dist(args) => dist::main(workspace, args),
            Self::Registry { check } => registry::generate(&workspace.root, *check).map(|()| true),
            Self::Metrics => metrics::write(&workspace.root).map(|()| true),
            Self::Fuzz(args) => fuzz::main(workspace, args).map(|()| true),
            Self::Protos(args) => protos::main(workspace, args).map(|()| true),
            Self::Rules => Ok(deploy::main(workspace)),
            Self::Kubernetes { agent } => kubernetes::main(workspace, agent.as_deref()),
            Self::Image(args) => image::main(workspace, args),
            Self::Tidy => {
                tidy::check(workspace)?;
                protos::tidy(workspace).map(|()| true)
            }
        }
    }
}
