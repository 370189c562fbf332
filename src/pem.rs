//! PEM (RFC 7468) as editors, OpenSSL and shells leave it: certificates and private keys, or what is wrong with the text.

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error, PemObject},
};
use zeroize::Zeroizing;

/// The sections of a text. A byte order mark, indentation, and markers that are not on a line of their own do not matter.
pub(crate) struct Pem {
    /// Sections of known labels, rewritten with one marker per line. Wiped, because a key may be among them.
    known: Zeroizing<Vec<u8>>,
    /// The labels of the other sections, as far as they are worth showing.
    others: Vec<String>,
    has_encrypted_key: bool,
}

impl Pem {
    /// Finds the sections of `text`.
    ///
    /// # Errors
    /// The reason, which contains nothing of the text but labels: it is empty, in another encoding, binary, or a section has no end.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        match text {
            [] => return Err("is empty".into()),
            [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => {
                return Err("is UTF-16 text; PEM must be saved as ASCII or UTF-8".into());
            }
            [0x30, ..] if find(text, BEGIN).is_none() => {
                return Err("is binary (DER or PKCS #12), not PEM; convert it with openssl".into());
            }
            _ => {}
        }
        // As large as it becomes at the most, so that no copy of a key is left behind when it grows.
        let known = Zeroizing::new(Vec::with_capacity(2 * text.len()));
        let mut pem = Self { known, others: Vec::new(), has_encrypted_key: false };
        let mut rest = text;
        while let Some((_, begin)) = split(rest, BEGIN) {
            let Some((label, body)) = split(begin, DASHES) else {
                return Err("contains a BEGIN line that does not end with -----".into());
            };
            let label = std::str::from_utf8(label).ok().filter(|label| is_label(label));
            let label = label.ok_or("contains a BEGIN line with an invalid label")?;
            let end = format!("-----END {label}-----");
            // One that has no end must not swallow the next.
            let length = find(body, end.as_bytes()).filter(|at| find(body, BEGIN).is_none_or(|next| *at < next));
            let length = length.ok_or_else(|| format!("contains a section without an end: {label}"))?;
            let (body, after) = body.split_at(length);
            pem.add(label, body);
            rest = after.get(end.len()..).unwrap_or_default();
        }
        Ok(pem)
    }

    fn add(&mut self, label: &str, body: &[u8]) {
        let label = match label {
            // An old label, and one of OpenSSL, whose settings follow the certificate.
            "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => "CERTIFICATE",
            label => label,
        };
        // RFC 1421 §4.6.1.1, as OpenSSL still writes it.
        let is_encrypted = label == "ENCRYPTED PRIVATE KEY" || find(body, b"Proc-Type: 4,ENCRYPTED").is_some();
        if is_encrypted {
            self.has_encrypted_key = true;
        } else if KNOWN.contains(&label) {
            self.known.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
            self.known.extend(body.iter().filter(|byte| !byte.is_ascii_whitespace()));
            self.known.extend_from_slice(format!("\n-----END {label}-----\n").as_bytes());
        } else if self.others.len() < MAX_OTHERS && !self.others.iter().any(|other| other == label) {
            self.others.push(label.to_owned());
        }
    }

    /// The certificates, in the order of the text.
    ///
    /// # Errors
    /// There is none, or the reason why one cannot be decoded.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Vec<_> = self.sections().map(|found| found.map(first_element)).collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
        if self.others.is_empty() {
            return Err("contains no certificate".into());
        }
        Err(format!("contains no certificate, only: {}", self.others.join(", ")))
    }

    /// The private keys, in the order of the text.
    ///
    /// # Errors
    /// There is none that can be used, or the reason why one cannot be decoded.
    pub(crate) fn private_keys(&self) -> Result<Vec<PrivateKeyDer<'static>>, String> {
        let found: Vec<_> = self.sections().collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
        if self.has_encrypted_key {
            return Err("contains an encrypted private key; decrypt it with `openssl pkey`".into());
        }
        match self.others.iter().find(|label| label.ends_with("PRIVATE KEY")) {
            Some(label) => {
                Err(format!("contains a private key of an unsupported kind ({label}); convert it with `openssl pkey`"))
            }
            None => Err("contains no private key in PEM".into()),
        }
    }

    fn sections<T: PemObject>(&self) -> impl Iterator<Item = Result<T, String>> {
        T::pem_slice_iter(&self.known).map(|section| {
            section.map_err(|error| match error {
                // The error itself may contain a part of a key.
                Error::Base64Decode(_) => "contains a section that is not valid Base64".into(),
                _ => "contains a section that is not valid PEM".into(),
            })
        })
    }
}

/// The certificate without what OpenSSL writes after it, in a section with the label `TRUSTED CERTIFICATE`.
fn first_element(der: CertificateDer<'static>) -> CertificateDer<'static> {
    let length = match *der {
        // X.690 §8.1.3: the short form, or the long form with a number of bytes.
        [_, short @ ..=0x7F, ..] => 2 + usize::from(short),
        [_, 0x81, a, ..] => 3 + usize::from(a),
        [_, 0x82, a, b, ..] => 4 + usize::from(u16::from_be_bytes([a, b])),
        _ => return der,
    };
    match der.get(..length) {
        Some(element) if element.len() < der.len() => element.to_vec().into(),
        _ => der,
    }
}

/// RFC 7468 §3, in upper case. Nothing else is shown to anybody: it may be a part of a key.
fn is_label(label: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(is_good)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn split<'a>(text: &'a [u8], part: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(text, part)?;
    Some((text.get(..at)?, text.get(at + part.len()..)?))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &[u8] = b"-----";
const KNOWN: [&str; 4] = ["CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const MAX_LABEL: usize = 40;
const MAX_OTHERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn section(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn sections_are_found_however_a_text_was_saved_and_joined() {
        let (one, two) = (section("CERTIFICATE", "MAEC"), section("X509 CERTIFICATE", "MAEF"));
        for text in [
            format!("{one}{two}"),
            format!("\u{feff}{one}\u{feff}{two}"),
            format!("{}{}", one.trim_end(), two.trim_end()),
            format!("{one}{two}").replace('\n', "\r\n"),
            format!("{one}{two}").replace('\n', "\r"),
            format!("{one}{two}").replace('\n', "\n    "),
            format!("{one}{two}").replace('\n', ""),
            format!("Bag Attributes\n  friendlyName: x\n{one}\nsubject=CN = y\n{two}"),
            format!("{}{one}{}{two}", section("EC PARAMETERS", "BggqhkjOPQMBBw=="), section("X509 CRL", "AAAA")),
            format!("{one}{}", section("TRUSTED CERTIFICATE", "MAEFMAA=")),
        ] {
            let found = Pem::read(text.as_bytes()).unwrap().certificates().unwrap();
            assert_eq!(found, [CertificateDer::from(vec![0x30, 1, 2]), vec![0x30, 1, 5].into()], "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_byte_of_a_key() {
        let secret = "c2VjcmV0IHNlY3JldA==";
        let encrypted = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{secret}");
        let certificate = section("CERTIFICATE", "AAEC");
        for (text, why) in [
            (String::new(), "is empty"),
            ("0\u{2}".to_owned(), "is binary"),
            ("no PEM".to_owned(), "contains no private key in PEM"),
            (certificate.clone(), "contains no private key in PEM"),
            (section("ENCRYPTED PRIVATE KEY", secret), "contains an encrypted private key"),
            (section("RSA PRIVATE KEY", &encrypted), "contains an encrypted private key"),
            (section("OPENSSH PRIVATE KEY", secret), "of an unsupported kind (OPENSSH PRIVATE KEY)"),
            (section("DSA PRIVATE KEY", secret), "of an unsupported kind (DSA PRIVATE KEY)"),
            (section("PRIVATE KEY", "c2Vjc=mV0IHNlY3JldA=="), "not valid Base64"),
            (section("PRIVATE KEY", secret).replace("-----END", "----END"), "without an end: PRIVATE KEY"),
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}\n{certificate}"), "without an end: PRIVATE KEY"),
            (format!("-----BEGIN PRIVATE KEY{secret}-----"), "an invalid label"),
            (format!("-----BEGIN PRIVATE KEY\n{secret}"), "does not end with"),
        ] {
            let error = Pem::read(text.as_bytes()).and_then(|pem| pem.private_keys()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("c2V") && !error.contains("secret"), "{error}");
        }
        let utf_16: Vec<u8> = "\u{feff}-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(Pem::read(&utf_16).is_err_and(|error| error.contains("UTF-16")));
        let request = section("CERTIFICATE REQUEST", "AAEC");
        let error = Pem::read(request.as_bytes()).unwrap().certificates().unwrap_err();
        assert_eq!(error, "contains no certificate, only: CERTIFICATE REQUEST");
    }
}
