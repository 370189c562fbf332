//! Whether the body of a request may be sent, and where it ends.

use http::{Method, request::Parts};
use http_body::Body as _;

use super::{super::replay::Tee, Exchange};
use crate::{
    error::{Error, ErrorKind},
    exact::Prepare,
    ext::ConnectTo,
    message::target::{Form, form},
    transport::http1::{RequestFraming, request_framing},
};

impl<P: Prepare> Exchange<P> {
    /// How the body is framed, looked at once.
    pub(super) fn frame(&mut self) -> Result<RequestFraming, Error> {
        let framing = match self.framing {
            Some(framing) => framing,
            None if self.parts.method == Method::CONNECT => connect_framing(&self.parts, &self.body)?,
            None => {
                let framing = if self.prepare.is_unframed() {
                    RequestFraming::of(&self.parts.method, &self.body.size_hint(), None)
                } else {
                    request_framing(&self.parts.method, &self.parts.headers, self.body.size_hint())?
                };
                if framing.has_content() {
                    self.check_content(framing)?;
                }
                framing
            }
        };
        self.framing = Some(framing);
        Ok(framing)
    }

    /// Refuses a body that may not be sent.
    fn check_content(&self, framing: RequestFraming) -> Result<(), Error> {
        // RFC 9110 §9.3.8: the answer would be this body, too, which is nobody's to be read.
        if self.parts.method == Method::TRACE {
            return Err(Error::new(ErrorKind::RequestBody, "TRACE must not have a body"));
        }
        if framing == RequestFraming::Chunked && !self.proxy.chunked_requests {
            return Err(Error::new(ErrorKind::LengthRequired, "the request body must have a Content-Length"));
        }
        Ok(())
    }
}

/// What `CONNECT` asks for is said by its authority, and whom it asks by `ConnectTo`. It has no body (RFC 9110 §9.3.6).
fn connect_framing(parts: &Parts, body: &Tee) -> Result<RequestFraming, Error> {
    if parts.extensions.get::<ConnectTo>().is_none() {
        return Err(Error::new(ErrorKind::Unsupported, "CONNECT needs a proxy to connect to (ConnectTo)"));
    }
    if form(&parts.method, &parts.uri)? != Form::Authority || parts.uri.port_u16().is_none() {
        return Err(Error::new(ErrorKind::InvalidTarget, "the target of CONNECT must be host:port"));
    }
    if !body.is_end_stream() {
        return Err(Error::new(ErrorKind::RequestBody, "CONNECT must not have a body"));
    }
    Ok(RequestFraming::None)
}
