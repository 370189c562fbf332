//! Observability of exchanges: spans, the hook and metrics.

mod figures;
mod hook;
mod spans;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, Once},
};

use nexthop::ExactProxy;
use tokio::sync::Notify;
use tower::Service;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

use crate::support::{get, within};

/// Collects the spans that this thread closes and the text of all spans and events.
#[derive(Clone, Default)]
struct Capture(Arc<Captured>);

#[derive(Default)]
struct Captured {
    closed: Mutex<Vec<Fields>>,
    text: Mutex<String>,
    changed: Notify,
}

/// Fields of a span, or the text of an event.
#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Capture {
    fn start() -> (Self, DefaultGuard) {
        // tracing caches the interest in a span at its first use. A subscriber that is set meanwhile in another thread
        // may be missed permanently, so the first use happens here.
        static SEEN: Once = Once::new();
        SEEN.call_once(|| {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(Self::default()), || {
                drop(ExactProxy::new().call(get("http://up.test/")));
            });
        });
        let capture = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(capture.clone()));
        (capture, guard)
    }

    /// Waits until `count` spans are closed and returns them.
    #[track_caller]
    fn spans(&self, count: usize) -> impl Future<Output = Vec<Fields>> {
        let captured = self.0.clone();
        within("a span's end", async move {
            loop {
                let changed = captured.changed.notified();
                let closed = captured.closed.lock().unwrap().clone();
                if closed.len() >= count {
                    assert_eq!(closed.len(), count, "{closed:#?}");
                    return closed;
                }
                changed.await;
            }
        })
    }

    /// Waits for a single closed span and returns it.
    #[track_caller]
    fn only(&self) -> impl Future<Output = Fields> {
        let spans = self.spans(1);
        async move { spans.await.remove(0) }
    }

    fn text(&self) -> String {
        self.0.text.lock().unwrap().clone()
    }
}

impl Fields {
    #[track_caller]
    fn has(&self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            assert_eq!(self.0.get(name).map(String::as_str), Some(*value), "{name} in {self:#?}");
        }
    }

    #[track_caller]
    fn lacks(&self, names: &[&str]) {
        for name in names {
            assert!(!self.0.contains_key(name), "{name} in {self:#?}");
        }
    }

    /// Returns a field that is a time in milliseconds.
    #[track_caller]
    fn time(&self, name: &str) -> f64 {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:#?}")).parse().unwrap()
    }

    /// Asserts that each time is present and not earlier than the one before.
    #[track_caller]
    fn in_order(&self, names: &[&str]) {
        let times: Vec<_> = names.iter().map(|name| self.time(name)).collect();
        assert!(times.is_sorted(), "{names:?} are {times:?}");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    /// Ignores spans and events of other crates.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("nexthop") && *metadata.level() <= Level::TRACE
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.text.lock().unwrap().push_str(&format!("{fields:?}\n"));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let fields = span.extensions_mut().remove::<Fields>().unwrap();
        self.0.text.lock().unwrap().push_str(&format!("{fields:?}\n"));
        assert_eq!((span.name(), span.metadata().target()), ("exchange", "nexthop::exchange"));
        self.0.closed.lock().unwrap().push(fields);
        self.0.changed.notify_waiters();
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
