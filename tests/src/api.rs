//! The HTTP API as a test speaks to it.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::wait::eventually;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A client of the API under one key.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: reqwest::header::HeaderMap,
    /// The body as it came.
    pub body: bytes::Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status and returns the JSON.
    ///
    /// # Panics
    /// When it is another one, with what the server said.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "the API answered: {}", self.text());
        self.json()
    }
}

impl Api {
    pub(crate) fn new(base: &str, key: Option<&str>) -> Self {
        let http = crate::http::client()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client can be made");
        Self { http, base: base.to_owned(), key: key.map(str::to_owned) }
    }

    /// A request to be added to and sent, with the key.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.try_send(request).await;
        answer.unwrap_or_else(|e| panic!("no answer from the API: {e}"))
    }

    /// Sends a request to a server that may be away.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn try_send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, reqwest::Error> {
        let answer = request.timeout(REQUEST_LIMIT).send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await? })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::DELETE, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// POST of JSON under an idempotency key.
    pub async fn post_once(&self, path: &str, body: &Value, key: &str) -> Answer {
        let request = self.request(reqwest::Method::POST, path).json(body);
        self.send(request.header("Idempotency-Key", key)).await
    }

    /// Waits until the delivery is in one of the states (parted by `|`), and returns it.
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub async fn expect_delivery(&self, id: &str, states: &str, limit: Duration) -> Value {
        let path = format!("/v1/deliveries/{id}");
        eventually(&format!("delivery {id} is {states}"), limit, || async {
            let delivery = self.get(&path).await.expect(200);
            let now = delivery["state"].as_str().unwrap_or_default();
            states.split('|').any(|state| state == now).then_some(delivery)
        })
        .await
    }

    /// Waits until `found` finds something in the items of a list.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn expect_item(
        &self,
        path: &str,
        limit: Duration,
        found: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("{path} holds what is looked for"), limit, || async {
            let list = self.get(path).await.expect(200);
            let items = list["items"].as_array()?;
            items.iter().find(|item| found(item)).cloned()
        })
        .await
    }

    /// Opens the stream of server-sent events.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn events(&self) -> EventStream {
        let answer = self
            .request(reqwest::Method::GET, "/v1/events")
            .send()
            .await
            .unwrap_or_else(|e| panic!("no answer from /v1/events: {e}"));
        assert_eq!(answer.status().as_u16(), 200, "/v1/events was refused");
        EventStream { body: answer.bytes_stream().boxed(), buffer: String::new() }
    }
}

/// Server-sent events of one tenant or member.
pub struct EventStream {
    body: futures::stream::BoxStream<'static, Result<bytes::Bytes, reqwest::Error>>,
    buffer: String,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

impl EventStream {
    /// The data of the next event for which `fits` holds; others are passed over.
    ///
    /// # Panics
    /// When none comes within `limit`, or the stream ends.
    pub async fn expect(&mut self, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let found = tokio::time::timeout(limit, async {
            loop {
                let event = self.next().await;
                if fits(&event) {
                    return event;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no fitting event within {limit:?}"))
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let event: String = self.buffer.drain(..end + 2).collect();
                let data: String =
                    event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if let Ok(value) = serde_json::from_str(data.trim()) {
                    return value;
                }
                continue;
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.buffer.push_str(&String::from_utf8_lossy(&chunk)),
                end => panic!("the event stream ended: {end:?}"),
            }
        }
    }
}
