//! One question to a container runtime: `runtime.v1.RuntimeService/ContainerStatus`
//! (<https://github.com/kubernetes/cri-api>, `api.proto`), as gRPC over HTTP/2
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::{path::Path, pin::pin};

use anyhow::{Context, Result, bail, ensure};
use h2::{RecvStream, client};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use prost::{Message, bytes::Bytes};
use tokio::net::UnixStream;

const METHOD: &str = "http://localhost/runtime.v1.RuntimeService/ContainerStatus";
/// Bytes of an answer that are read: a container's labels and annotations are in it, and Kubernetes takes 256 KiB of those.
const MAX_ANSWER: usize = 1 << 20;
/// Before a message: a byte that says whether it is compressed, and its length in four.
const PREFIX: usize = 5;

/// gRPC's codes (<https://grpc.io/docs/guides/status-codes/>).
const OK: &str = "0";
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

/// What a container's status says of its image.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    image_ref: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

impl Status {
    /// The image's name: as the pod has it, else as the runtime calls it, else its digest.
    pub(super) fn name(self) -> Option<String> {
        let image = self.image.unwrap_or_default();
        let names = [image.user_specified_image, image.image, self.image_ref];
        // The kubelet asks for an image by its digest, and a runtime may repeat just that.
        let is_name = |name: &&String| !name.is_empty() && !name.starts_with("sha256:");
        let best = names
            .iter()
            .find(is_name)
            .or_else(|| names.iter().find(|name| !name.is_empty()));
        best.cloned()
    }
}

/// The status of the container with this id; `None` where the runtime knows none.
///
/// # Errors
/// Where nobody answers at the socket, or not as a runtime does.
pub(super) async fn status(socket: &Path, id: &str) -> Result<Option<Status>> {
    let stream = UnixStream::connect(socket).await.context("cannot connect")?;
    let (client, connection) = client::handshake(stream).await.context("it speaks no HTTP/2")?;
    let mut asked = pin!(ask(client, id));
    // The connection moves while the answer is waited for, and goes with this call, also where nobody waits any more.
    tokio::select! {
        biased;
        status = &mut asked => status,
        // It has ended: all that came is there.
        _ = connection => asked.await,
    }
}

async fn ask(client: client::SendRequest<Bytes>, id: &str) -> Result<Option<Status>> {
    let mut client = client.ready().await.context("it takes no question")?;
    let request = Request::post(METHOD)
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut question) = client.send_request(request, false).context("it takes no question")?;
    let container_id = id.to_owned();
    question.send_data(framed(&ContainerStatusRequest { container_id })?, true)?;
    let (head, mut body) = answer.await.context("it gives no answer")?.into_parts();
    ensure!(head.status == StatusCode::OK, "it answers HTTP {}", head.status);
    let message = read(&mut body).await?;
    // An answer without a message has all that it says in its head.
    let trailers = body
        .trailers()
        .await
        .context("its answer was cut short")?
        .unwrap_or(head.headers);
    let text = |name: &str| text(&trailers, name);
    match text("grpc-status").as_str() {
        OK => {
            let answer = ContainerStatusResponse::decode(message.get(PREFIX..).unwrap_or_default());
            Ok(answer.context("its answer is not that of CRI v1")?.status)
        }
        NOT_FOUND => Ok(None),
        UNIMPLEMENTED => bail!("it does not know CRI v1 ({})", text("grpc-message")),
        code => bail!("it answers with gRPC's code {code} ({})", text("grpc-message")),
    }
}

fn framed(message: &impl Message) -> Result<Bytes> {
    let encoded = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(encoded.len())?.to_be_bytes());
    framed.extend(encoded);
    Ok(framed.into())
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.context("its answer was cut short")?;
        body.flow_control().release_capacity(part.len())?;
        ensure!(
            message.len() + part.len() <= MAX_ANSWER,
            "its answer is longer than {MAX_ANSWER} bytes"
        );
        message.extend_from_slice(&part);
    }
    Ok(message)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user_specified_image: &str, image: &str, image_ref: &str) -> Option<String> {
        let image = ImageSpec {
            image: image.to_owned(),
            user_specified_image: user_specified_image.to_owned(),
        };
        let image_ref = image_ref.to_owned();
        Status {
            image: Some(image),
            image_ref,
        }
        .name()
    }

    #[test]
    fn a_name_goes_before_a_digest() {
        let digest = "sha256:77af4d6b9913e693e8d0b4b294fa62ade6054e6b2f1ffb617ac955dd63fb0182";
        assert_eq!(name("web:7", "registry/web:7", digest).as_deref(), Some("web:7"));
        assert_eq!(name("", "registry/web:7", digest).as_deref(), Some("registry/web:7"));
        assert_eq!(
            name("", digest, "registry/web@sha256:77").as_deref(),
            Some("registry/web@sha256:77")
        );
        assert_eq!(name("", digest, "").as_deref(), Some(digest));
        assert_eq!(name("", "", ""), None);
    }
}
