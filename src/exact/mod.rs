//! [`ExactProxy`] sends exactly the request it is given; [`TransparentProxy`] sends it where it was destined.
//!
//! Both are clients as much as proxies: a [`Request`](http::Request) goes in, the upstream's [`Response`](http::Response) comes out. What
//! they never do is the point: no field is added (but for what says that a connection ends), no path decoded, no redirect followed,
//! nothing decompressed.
//!
//! ```
//! use nexthop::{Body, ExactProxy};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?;
//! # let app = axum::Router::new().route("/upload", axum::routing::post(|body: String| async move { body }));
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let request = http::Request::post(format!("http://{address}/upload")).body(Body::from("some bytes"))?;
//! let response = ExactProxy::new().oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # use http_body_util::BodyExt;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "some bytes");
//! # Ok(())
//! # }
//! ```
//!
//! # As a forward proxy
//!
//! Behind [`serve`](crate::serve()) or another hyper server, [`TransparentProxy`] is a forward proxy for `http://`: clients that are set to
//! use it (`curl -x`) send absolute-form targets, which it connects to. `https://` takes `CONNECT`, which is answered with 501. It dials
//! whatever it is asked for: put access control in front of it. `ForwardProxy` (feature `forward`) has that, and tunnels.
//!
//! ```
//! # use nexthop::{Body, TransparentProxy};
//! # use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = TransparentProxy::builder().absolute_form_only().build()?;
//! let not_for_a_proxy = http::Request::get("/").header("host", "127.0.0.1:3128").body(Body::empty())?;
//! assert_eq!(proxy.oneshot(not_for_a_proxy).await?.status(), 400);
//! # Ok(())
//! # }
//! ```

mod answer;
mod builder;
mod exchange;
pub(crate) mod extended;
pub(crate) mod nominated;
mod prepare;
mod replay;
mod retries;
mod service;
mod transparent;
#[cfg(feature = "forward")]
mod tunnel;

#[cfg(feature = "http2")]
pub use crate::transport::HttpVersions;
pub(crate) use answer::answer;
pub use builder::ExactProxyBuilder;
pub use exchange::ExactProxyFuture;
pub(crate) use exchange::Exchange;
#[cfg(feature = "spawn")]
pub(crate) use exchange::Salvage;
pub(crate) use prepare::Prepare;
pub use service::ExactProxy;
pub use transparent::{TransparentProxy, TransparentProxyBuilder, TransparentProxyFuture};
