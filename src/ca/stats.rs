/// What became of the questions for a host's certificate so far, and how many certificates are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answered with a certificate that was there, or that somebody else was having made.
    pub hits: u64,
    /// Answered with a new one.
    pub misses: u64,
    /// Certificates kept now.
    pub size: usize,
}
