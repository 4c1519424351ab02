//! reqwest and tonic: `clients reqwest|reqwest_http_2|tonic SUFFIX`. ureq and tungstenite
//! ask one service: `clients ureq|tungstenite SUFFIX`.

#[path = "../../../cloudrun/codec.rs"]
mod codec;

use bytes::Bytes;
use serde_json::{Value, json};
use tonic::{Request, Status};

use codec::AsTheyAre;

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let words: Vec<String> = std::env::args().collect();
    match words[1].as_str() {
        "tonic" => grpc(&words[2]).await,
        "ureq" => {
            let _ = ureq::get(format!("http://hello{}", words[2])).call()?;
            Ok(())
        }
        "tungstenite" => {
            let _ = tungstenite::connect(format!("ws://ws{}/", words[2]))?;
            Ok(())
        }
        "reqwest_http_2" => {
            let client = reqwest::Client::builder().http2_prior_knowledge().build()?;
            http(client, &words[2]).await
        }
        _ => http(reqwest::Client::new(), &words[2]).await,
    }
}

fn body() -> Bytes {
    (0..1_000_000u32).map(|at| (at % 251) as u8).collect()
}

fn fact(what: &str, status: &str, headers: Value, body: &[u8]) {
    let sum = ring::digest::digest(&ring::digest::SHA256, body);
    let body = format!("{} {sum:?}", body.len());
    println!(
        "{}",
        json!({ "what": what, "status": status, "headers": headers, "body": body })
    );
}

async fn http(client: reqwest::Client, suffix: &str) -> Result<(), Problem> {
    let url = |service: &str, path: &str| format!("http://{service}{suffix}{path}");
    let mut all = vec![
        ("get", client.get(url("hello", "/"))),
        ("post", client.post(url("echo", "/")).body(body())),
        ("stream", client.get(url("bytes", "/300000?chunked=1"))),
    ];
    for status in ["204", "404", "500", "503"] {
        all.push((status, client.get(url("status", &format!("/{status}")))));
    }
    for (what, request) in all {
        let answer = request.send().await?;
        let headers = answer.headers().iter();
        let headers =
            headers.map(|(name, value)| json!([name.as_str(), value.to_str().unwrap_or("")]));
        let (headers, status) = (headers.collect(), answer.status().to_string());
        fact(what, &status, headers, &answer.bytes().await?);
    }
    let asked = client
        .get(url("echo", "/headers"))
        .send()
        .await?
        .text()
        .await?;
    println!("{}", json!({ "what": "asked", "asked": asked }));
    let mut fifty = Vec::new();
    for at in 0..50 {
        fifty.extend(
            client
                .get(url("bytes", &format!("/{at}")))
                .send()
                .await?
                .bytes()
                .await?,
        );
    }
    fact("fifty", "", json!([]), &fifty);
    let twenty: Vec<_> = (0..20)
        .map(|at| client.get(url("bytes", &format!("/{at}"))).send())
        .map(tokio::spawn)
        .collect();
    let mut bodies = Vec::new();
    for one in twenty {
        bodies.extend(one.await??.bytes().await?);
    }
    fact("twenty", "", json!([]), &bodies);
    Ok(())
}

async fn grpc(suffix: &str) -> Result<(), Problem> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://grpc{suffix}"))?;
    let channel = endpoint.connect().await?;
    let client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    let bidi: Vec<Bytes> = ["one", "", "three"].map(Bytes::from).to_vec();
    for (what, messages) in [
        ("Unary", vec![body()]),
        ("Fail", vec![Bytes::new()]),
        ("TrailersOnly", vec![Bytes::new()]),
        ("NoSuch", vec![Bytes::new()]),
        ("ServerStream", vec![Bytes::from("1000")]),
        ("Bidi", bidi),
    ] {
        let (mut status, got) = call(client.clone(), what, messages).await;
        status.metadata_mut().remove("date");
        let told = json!([[
            "details",
            format!("{:?} {}", status.metadata(), status.message())
        ]]);
        fact(what, &format!("{:?}", status.code()), told, &got);
    }
    let calls = |count: u32| {
        (0..count).map(|at| call(client.clone(), "Unary", vec![at.to_string().into()]))
    };
    let mut fifty = Vec::new();
    for one in calls(50) {
        fifty.extend(one.await.1);
    }
    fact("fifty", "", json!([]), &fifty);
    let twenty: Vec<_> = calls(20).map(tokio::spawn).collect();
    let mut bodies = Vec::new();
    for one in twenty {
        bodies.extend(one.await?.1);
    }
    fact("twenty", "", json!([]), &bodies);
    Ok(())
}

/// A call of any kind: its status, with the trailers where it is well, and all messages.
async fn call(
    mut client: tonic::client::Grpc<tonic::transport::Channel>,
    method: &str,
    messages: Vec<Bytes>,
) -> (Status, Vec<u8>) {
    let mut got = Vec::new();
    let path = format!("/test.Echo/{method}").parse().expect("a path");
    let answer = async {
        client
            .ready()
            .await
            .map_err(|err| Status::unknown(err.to_string()))?;
        let request = Request::new(tokio_stream::iter(messages));
        let mut stream = client
            .streaming(request, path, AsTheyAre)
            .await?
            .into_inner();
        while let Some(message) = stream.message().await? {
            got.extend(message);
        }
        Ok(stream.trailers().await?.unwrap_or_default())
    };
    let status = match answer.await {
        Ok(trailers) => Status::with_metadata(tonic::Code::Ok, "", trailers),
        Err(status) => status,
    };
    (status, got)
}
