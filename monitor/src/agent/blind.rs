//! Rules on what this kernel and backend do not show: they are right, and would wait for ever.

use crate::{
    event::Protocol,
    kernel::{Service, Subject},
    policy::{On, Policy, Rule},
};

/// Logs each rule that waits for something that is not seen here.
pub(super) fn warn_of_blind_rules(policy: &Policy, service: &Service) {
    for sentence in policy.rules().iter().filter_map(|rule| blind(rule, service)) {
        ::log::warn!("{sentence}");
    }
}

/// What a rule waits for in vain, in a sentence.
fn blind(rule: &Rule, service: &Service) -> Option<String> {
    let (mut vain, mut unseen) = (Vec::new(), Vec::new());
    for on in &rule.on {
        let subject = subject(*on, rule);
        if !service.sees(subject) {
            vain.push(on.as_str());
            unseen.push(subject.loss());
        }
    }
    unseen.dedup();
    (!vain.is_empty()).then(|| {
        format!(
            "rule `{}` on {} sees nothing with backend {}: not reported here are {} (portreeve doctor says why)",
            rule.name,
            vain.join(", "),
            service.backend,
            unseen.join(", and ")
        )
    })
}

/// What has to be seen for a rule to match; where it is about both protocols, TCP is enough. UDP sockets come and go with binds.
fn subject(on: On, rule: &Rule) -> Subject {
    let has_tcp = rule.selector.takes_some_of(Protocol::Tcp);
    match on {
        On::Listen if has_tcp => Subject::Listens,
        On::Connect if has_tcp => Subject::Connects,
        On::Accept => Subject::Accepts,
        On::Listen | On::Connect | On::Bind | On::BindFailed => Subject::Binds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::{Attempt, Backend, HookState},
        policy::Selector,
        registry::PortSpec,
    };

    /// As a backend that sees these subjects serves.
    fn service(backend: Backend, subjects: &[Subject]) -> Service {
        let hooks = subjects.iter().map(|subject| HookState {
            hook: "somewhere",
            subject: *subject,
            backend,
            symbol: None,
            refusal: None,
            absent: false,
        });
        let hooks = hooks.collect();
        Service::possible(&[Attempt { backend, hooks }], None).unwrap()
    }

    fn rule(on: &[On], protocols: &[Protocol]) -> Rule {
        let port = PortSpec {
            transport: None,
            first: 5005,
            last: 5005,
        };
        Rule {
            name: "x".to_owned(),
            on: on.to_vec(),
            selector: Selector {
                protocols: protocols.to_vec(),
                ..Selector::on(vec![port])
            },
            ..Rule::dormant_port()
        }
    }

    #[test]
    fn a_rule_on_what_the_backend_does_not_show_is_told_in_one_line() {
        let tracepoint = service(Backend::Tracepoint, &[Subject::Listens, Subject::Connects]);
        let told = |on: &[On], protocols: &[Protocol]| blind(&rule(on, protocols), &tracepoint);
        let both = [Protocol::Tcp, Protocol::Udp];
        assert_eq!(
            told(&[On::Accept], &both).unwrap(),
            "rule `x` on accept sees nothing with backend tracepoint: not reported here are accepts (portreeve doctor says \
             why)"
        );
        assert_eq!(
            told(&[On::Listen, On::Bind, On::BindFailed, On::Connect, On::Accept], &both).unwrap(),
            "rule `x` on bind, bind_failed, accept sees nothing with backend tracepoint: not reported here are binds, and \
             UDP sockets, and accepts (portreeve doctor says why)"
        );
        assert_eq!(told(&[On::Listen, On::Connect], &both), None);
        // The tracepoint is TCP's.
        let udp = told(&[On::Listen, On::Connect], &[Protocol::Udp]).unwrap();
        assert!(udp.starts_with("rule `x` on listen, connect sees nothing"), "{udp}");
        let all = service(Backend::Fexit, &Subject::ALL);
        let everything = rule(&[On::Listen, On::Bind, On::BindFailed, On::Connect, On::Accept], &both);
        assert_eq!(blind(&everything, &all), None);
    }
}
