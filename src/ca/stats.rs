/// Holds counters of the certificate cache, as returned by
/// [`CertificateAuthority::stats`](super::CertificateAuthority::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Requests that were served from the cache, or waited for a certificate that another request created.
    pub hits: u64,
    /// Requests that started to create a certificate.
    pub misses: u64,
    /// Certificates in the cache now.
    pub size: usize,
}
