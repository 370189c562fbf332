//! Who a scripted upstream is, behind TLS.

use std::sync::Arc;

use rustls::ServerConfig;

/// What makes the settings of a TLS server: the ones that there are, or a test authority of one's own.
///
/// ```
/// use http::Request;
/// use nexthop::{Body, ExactProxy, ca::CertificateAuthority, testkit::RawUpstream, net::Tls};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let authority = CertificateAuthority::builder().in_memory().build()?;
/// let server = authority.server_config("127.0.0.1").await?;
/// let upstream = RawUpstream::tls(&server, &["http/1.1"], |mut conn| async move {
///     conn.request().await;
///     conn.write("HTTP/1.1 204 No Content\r\n\r\n").await;
/// });
///
/// let tls = Tls::builder().roots_pem(authority.certificate_pem().as_bytes()).build()?;
/// let proxy = ExactProxy::builder().tls(tls).build()?;
/// let url = format!("https://{}/", upstream.addr());
/// assert_eq!(proxy.oneshot(Request::get(url).body(Body::empty())?).await?.status(), 204);
/// # Ok(())
/// # }
/// ```
pub trait ServerTls {
    /// Settings for a server that offers the protocols `alpn`, such as `h2`.
    fn server_config(&self, alpn: &[&str]) -> ServerConfig;
}

impl ServerTls for ServerConfig {
    fn server_config(&self, alpn: &[&str]) -> ServerConfig {
        let mut config = self.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl ServerTls for Arc<ServerConfig> {
    fn server_config(&self, alpn: &[&str]) -> ServerConfig {
        self.as_ref().server_config(alpn)
    }
}
