//! Ports that widespread programs take by default, though IANA has not assigned them: reviewed by hand.

use super::registration::Ports;

/// A default that the registry does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct Default {
    /// The ports.
    pub ports: Ports,
    /// Whose default it is.
    pub user: &'static str,
}

impl Default {
    /// Whose default a port is.
    #[must_use]
    pub fn of(port: u16) -> Option<&'static Self> {
        TABLE.iter().find(|default| default.ports.contains(port))
    }

    /// All of them, lowest first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLE.iter()
    }
}

const fn default(first: u16, last: u16, user: &'static str) -> Default {
    Default {
        ports: Ports { first, last },
        user,
    }
}

static TABLE: &[Default] = &[
    default(6881, 6889, "BitTorrent"),
    default(8123, 8123, "ClickHouse, Home Assistant"),
    default(8333, 8333, "Bitcoin"),
    default(8545, 8545, "Ethereum's JSON-RPC"),
    default(8834, 8834, "Nessus"),
    default(8983, 8983, "Solr"),
    default(9094, 9094, "Alertmanager's cluster"),
    default(
        9113,
        9117,
        "Prometheus exporters (nginx, Elasticsearch, blackbox, SNMP, Apache)",
    ),
    default(9121, 9121, "redis_exporter"),
    default(9187, 9187, "postgres_exporter"),
    default(9256, 9256, "process-exporter"),
    default(
        10_250,
        10_259,
        "Kubernetes (kubelet, kube-proxy, scheduler, controllers)",
    ),
    default(11_434, 11_434, "Ollama"),
    default(12_201, 12_201, "Graylog (GELF)"),
    default(15_672, 15_672, "RabbitMQ's management"),
    default(16_379, 16_379, "Redis cluster"),
    default(16_686, 16_686, "Jaeger"),
    default(18_080, 18_081, "Spark, Monero"),
    default(19_132, 19_132, "Minecraft (Bedrock)"),
    default(19_992, 19_992, "portreeve itself"),
    default(24_007, 24_008, "GlusterFS"),
    default(24_224, 24_224, "Fluentd"),
    default(25_565, 25_565, "Minecraft"),
    default(25_672, 25_672, "RabbitMQ's cluster"),
    default(26_379, 26_379, "Redis Sentinel"),
    default(27_015, 27_015, "Steam game servers"),
    default(27_018, 27_019, "MongoDB shards"),
    default(28_015, 28_015, "RethinkDB"),
    default(30_303, 30_303, "Ethereum"),
    default(50_000, 50_000, "Jenkins agents, Db2"),
    default(50_051, 50_051, "gRPC examples"),
    default(51_413, 51_413, "Transmission"),
    default(51_820, 51_820, "WireGuard"),
    default(61_613, 61_616, "ActiveMQ"),
    default(64_738, 64_738, "Mumble"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Meaning, Registry, Transport};

    #[test]
    fn none_of_them_is_assigned_and_they_stand_in_order() {
        for default in Default::all() {
            let assigned = |port| Registry::embedded().meaning(Transport::Tcp, port) == Meaning::Assigned;
            // Within a stretch one may be assigned; its ends are what it was made for.
            assert!(
                !assigned(default.ports.first) && !assigned(default.ports.last),
                "{default:?}"
            );
        }
        assert!(TABLE.is_sorted_by_key(|default| default.ports));
        assert_eq!(Default::of(51_820).map(|default| default.user), Some("WireGuard"));
        assert_eq!(Default::of(51_821), None);
    }
}
