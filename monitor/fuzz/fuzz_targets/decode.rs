//! Any bytes that the ring could hand over: an event, or the reason why they are none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor_common::Record;
use portreeve::event::{DecodeError, Event, Kind};

fuzz_target!(|bytes: &[u8]| {
    match Event::decode(bytes) {
        Err(DecodeError::Short(length)) => assert!(length == bytes.len() && length < Record::SIZE),
        Err(DecodeError::Family(_) | DecodeError::Protocol(_)) => assert!(bytes.len() >= Record::SIZE),
        Ok(event) => {
            assert!(bytes.len() >= Record::SIZE);
            assert_eq!(event.peer.is_some(), matches!(event.kind, Kind::Connect | Kind::Accept));
            if let Some(path) = event.opener.executable.as_ref().and_then(|found| found.path.as_ref()) {
                assert!(path.starts_with('/') && !path.contains('\0'));
            }
            // What every stage asks of an event has an answer.
            let _ = (
                event.subject(),
                event.scope(),
                event.opens_listener(),
                event.socket.dual_stack(),
            );
        }
    }
});
