//! `tls_server_config`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CipherSuite, NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use super::{
    RawTls, Web,
    clients::{AnyCertificate, Named, names},
    unreadable,
};

/// What Go's crypto/tls has for TLS 1.2 and rustls has not, so that files may name it.
const GO_SUITES: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Go's names of key exchanges; without a group those that are not offered here.
const CURVES: [(&str, Option<NamedGroup>); 5] = [
    ("CurveP256", Some(NamedGroup::secp256r1)),
    ("CurveP384", Some(NamedGroup::secp384r1)),
    ("CurveP521", None),
    ("X25519", Some(NamedGroup::X25519)),
    ("X25519MLKEM768", None),
];

const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

/// When a client has to show a certificate, and whether that is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    Unasked,
    Any { needed: bool },
    Verified { needed: bool },
}

impl Clients {
    fn parse(word: &str) -> Result<Self, String> {
        match word {
            "" | "NoClientCert" => Ok(Self::Unasked),
            "RequestClientCert" => Ok(Self::Any { needed: false }),
            // The second one is the older name.
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::Any { needed: true }),
            "VerifyClientCertIfGiven" => Ok(Self::Verified { needed: false }),
            "RequireAndVerifyClientCert" => Ok(Self::Verified { needed: true }),
            _ => Err(format!(
                "client_auth_type: `{word}` is none of NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven and RequireAndVerifyClientCert"
            )),
        }
    }
}

impl Web {
    pub(super) fn take_tls(&mut self, raw: RawTls, folder: &Path) -> Result<(), String> {
        let mut pem = |text: &Option<String>, file: &Option<String>, name: &str| {
            let (text, file) = (given(text), given(file));
            match (text, file) {
                (Some(_), Some(_)) => Err(format!("{name} and {name}_file exclude each other")),
                (Some(text), None) => Ok(Some((name.to_owned(), text.as_bytes().to_vec()))),
                (None, Some(file)) => {
                    let path: PathBuf = folder.join(file);
                    self.files.push(path.clone());
                    let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
                    Ok(Some((path.display().to_string(), bytes)))
                }
                (None, None) => Ok(None),
            }
        };
        let certificate = pem(&raw.cert, &raw.cert_file, "cert")?;
        let key = pem(&raw.key, &raw.key_file, "key")?;
        let authorities = pem(&raw.client_ca, &raw.client_ca_file, "client_ca")?;
        let clients = Clients::parse(given(&raw.client_auth_type).unwrap_or_default())?;
        if certificate.is_none() && key.is_none() && authorities.is_none() && clients == Clients::Unasked {
            // As there: a section that names no certificate asks for no TLS.
            return Ok(());
        }
        let certificate = certificate.ok_or("cert_file is missing")?;
        let key = key.ok_or("key_file is missing")?;
        let provider = Arc::new(self.provider(&raw)?);
        let versions = self.versions(&raw)?;
        let verifier = self.verifier(&raw, clients, authorities, &provider)?;
        let chain = certificates(&certificate)?;
        let (name, bytes) = &key;
        let key =
            PrivateKeyDer::from_pem_slice(bytes).map_err(|_| format!("{name} has no private key in PEM format"))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| format!("no cipher suite is left for these versions of TLS ({error})"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| format!("certificate and key do not belong together ({error})"))?;
        config.ignore_client_order = raw.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.verifies_clients = matches!(clients, Clients::Verified { .. });
        self.tls = Some(Arc::new(config));
        Ok(())
    }

    /// The cipher suites and key exchanges that are asked for. Like Go's, the list does not touch TLS 1.3.
    fn provider(&mut self, raw: &RawTls) -> Result<CryptoProvider, String> {
        let mut provider = ring::default_provider();
        let asked = raw.cipher_suites.as_deref().unwrap_or_default();
        for name in asked {
            let is_known = provider.cipher_suites.iter().any(|suite| is_named(suite.suite(), name));
            if !is_known && !GO_SUITES.contains(&name.as_str()) {
                return Err(format!("cipher_suites: `{name}` is no cipher suite of TLS 1.2 or 1.3"));
            }
            if !is_known {
                self.remarks
                    .push(format!("cipher_suites: {name} is not offered here, and left out"));
            }
        }
        if !asked.is_empty() {
            let order = |suite: CipherSuite| asked.iter().position(|name| is_named(suite, name));
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || order(suite.suite()).is_some());
            provider.cipher_suites.sort_by_key(|suite| order(suite.suite()));
        }
        let asked = raw.curve_preferences.as_deref().unwrap_or_default();
        let mut groups = Vec::new();
        for name in asked {
            match CURVES.iter().find(|(known, _)| known == name) {
                Some((_, Some(group))) => {
                    groups.extend(provider.kx_groups.iter().find(|known| known.name() == *group).copied());
                }
                Some((_, None)) => self
                    .remarks
                    .push(format!("curve_preferences: {name} is not offered here, and left out")),
                None => {
                    let known = CURVES.map(|(name, _)| name).join(", ");
                    return Err(format!("curve_preferences: `{name}` is none of {known}"));
                }
            }
        }
        if !asked.is_empty() {
            if groups.is_empty() {
                return Err(
                    "curve_preferences: none of these is offered here; name X25519, CurveP256 or CurveP384".to_owned(),
                );
            }
            provider.kx_groups = groups;
        }
        Ok(provider)
    }

    fn versions(&mut self, raw: &RawTls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        let index = |key: &str, word: Option<&str>, usual: usize| match word {
            None => Ok(usual),
            Some(word) => VERSIONS
                .iter()
                .position(|known| *known == word)
                .ok_or_else(|| format!("{key}: `{word}` is none of {}", VERSIONS.join(", "))),
        };
        let min = index("min_version", given(&raw.min_version), 2)?;
        let max = index("max_version", given(&raw.max_version), 3)?;
        if max < 2 {
            return Err("max_version: TLS before 1.2 is not spoken here; set TLS12 or TLS13".to_owned());
        }
        if min > max {
            return Err("min_version is above max_version".to_owned());
        }
        if min < 2 {
            self.remarks
                .push("min_version: TLS before 1.2 is not spoken here; it begins with TLS12".to_owned());
        }
        let all = [(2, &TLS12), (3, &TLS13)];
        let wanted = all.into_iter().filter(|(version, _)| (min..=max).contains(version));
        Ok(wanted.map(|(_, version)| version).collect())
    }

    fn verifier(
        &mut self,
        raw: &RawTls,
        clients: Clients,
        authorities: Option<(String, Vec<u8>)>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let allowed = names(raw.client_allowed_sans.as_deref().unwrap_or_default())?;
        if !allowed.is_empty() && !matches!(clients, Clients::Verified { .. }) {
            return Err(
                "client_allowed_sans needs a client_auth_type that verifies, like RequireAndVerifyClientCert"
                    .to_owned(),
            );
        }
        let needed = match clients {
            Clients::Unasked if authorities.is_some() => {
                return Err("client_ca_file is given without a client_auth_type".to_owned());
            }
            Clients::Unasked => return Ok(Arc::new(NoClientAuth)),
            Clients::Any { needed } => return Ok(Arc::new(AnyCertificate::new(needed, Arc::clone(provider)))),
            Clients::Verified { needed } => needed,
        };
        let roots = match &authorities {
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(authorities)? {
                    let (name, _) = authorities;
                    roots.add(certificate).map_err(|error| format!("{name}: {error}"))?;
                }
                roots
            }
            // As there: without authorities of its own it is those of the host.
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if needed {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let verifier = builder.build().map_err(|error| format!("client_ca_file: {error}"))?;
        Ok(if allowed.is_empty() {
            verifier
        } else {
            Arc::new(Named::new(verifier, allowed))
        })
    }
}

/// What is set and not empty, which means the same there.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Whether Go has this name for a suite: rustls says what TLS 1.3 has in its own way.
fn is_named(suite: CipherSuite, name: &str) -> bool {
    let own = format!("{suite:?}").replace("TLS13_", "TLS_");
    // Older names of Go's lack the hash.
    own == name
        || own
            .strip_suffix("_SHA256")
            .is_some_and(|short| short == name && name.ends_with("POLY1305"))
}

fn certificates((name, bytes): &(String, Vec<u8>)) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{name} has no certificate in PEM format")),
    }
}
