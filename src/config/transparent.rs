use serde::Deserialize;

use super::{
    ConfigErrors,
    table::{Reading, Table},
};
use crate::exact::TransparentProxy;

/// Configures a [`TransparentProxy`] from a file. The [module](super) describes the types of values.
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `force_host` | string | host, with or without a port, that all requests are sent to | the requested host |
/// | `force_scheme` | string | `http` or `https`: the scheme of all connections | the scheme of the target, else `http` |
/// | `absolute_form_only` | boolean | rejects targets not in [absolute form][absolute] (400), for a forward proxy | `false` |
/// | `via` | string | the proxy's name in `Via` of requests and responses, by which loops are detected | no `Via` |
///
/// The keys of [`ProxyAppConfig`](super::ProxyAppConfig#limits-and-connections) for timeouts, limits, connections and
/// TLS apply, too.
///
/// [absolute]: crate::exact::TransparentProxyBuilder::absolute_form_only
///
/// ```
/// use nexthop::config::TransparentProxyConfig;
///
/// let text = r#"{"force_host": "127.0.0.1:8080", "response_timeout": "5s"}"#;
/// let config: TransparentProxyConfig = serde_json::from_str(text)?;
/// let service = config.build()?;
/// # Ok::<(), nexthop::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct TransparentProxyConfig(Table);

impl TransparentProxyConfig {
    /// Validates the configuration and creates the service, with its own connection pool.
    ///
    /// # Errors
    /// All [`ConfigErrors`] of the configuration.
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
