use serde::Deserialize;

use super::{
    ConfigErrors,
    table::{Reading, Table},
};
use crate::exact::TransparentProxy;

/// A [`TransparentProxy`], as a file describes it. See the [module](super) for how values are written.
///
/// | key | |
/// |---|---|
/// | `force_host` | text: host with or without a port to connect to, whatever the request says |
/// | `force_scheme` | `http` or `https` |
/// | `absolute_form_only` | flag: for a forward proxy, see [`TransparentProxyBuilder`](crate::exact::TransparentProxyBuilder::absolute_form_only) |
/// | `via` | text: the proxy's name in `Via`, of requests and responses |
///
/// and the keys of [`ProxyAppConfig`](super::ProxyAppConfig) for time limits, connections and TLS.
///
/// ```
/// use nexthop::config::TransparentProxyConfig;
///
/// let config: TransparentProxyConfig = serde_json::from_str(r#"{"force_host": "127.0.0.1:8080", "response_timeout": "5s"}"#)?;
/// let service = config.build()?;
/// # Ok::<(), nexthop::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct TransparentProxyConfig(Table);

impl TransparentProxyConfig {
    /// Checks everything, and makes the service with a pool of connections of its own.
    ///
    /// # Errors
    /// All [`ConfigErrors`].
    pub fn build(&self) -> Result<TransparentProxy, ConfigErrors> {
        let mut reading = Reading::new(self.0.clone());
        let mut builder = TransparentProxy::builder();
        if let Some(host) = reading.text("force_host") {
            reading.check("force_host", TransparentProxy::builder().force_host(&host).build());
            builder = builder.force_host(host);
        }
        if let Some(scheme) = reading.text("force_scheme") {
            reading.check("force_scheme", TransparentProxy::builder().force_scheme(&scheme).build());
            builder = builder.force_scheme(scheme);
        }
        if reading.flag("absolute_form_only") == Some(true) {
            builder = builder.absolute_form_only();
        }
        if let Some(name) = reading.text("via") {
            reading.check("via", TransparentProxy::builder().via(&name).build());
            builder = builder.via(name);
        }
        if let Some(exact) = reading.exact() {
            builder = builder.client(exact);
        }
        reading.finish()?;
        Ok(builder.build()?)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for TransparentProxyConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
