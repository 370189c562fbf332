//! [`Tee`]: a request's body that can be had again after an attempt that failed.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{body::Body, error::Error, transport::observe::Progress};

/// A request's body, and what was taken from it: frames are kept while they stream through, never read ahead, never copied.
///
/// [`rewind`](Self::rewind) makes it whole again: what was kept comes first, the rest from where it is. For a body of which nothing is to
/// be kept it is a body like any other, and allocates nothing.
#[derive(Default)]
pub(crate) struct Tee {
    rest: Body,
    record: Option<Box<Record>>,
    /// True if all of the body lies in memory, so that keeping it holds nothing that its sender does not.
    in_memory: bool,
    /// True once something was taken that was not kept.
    lost: bool,
    /// Told of every byte that is taken, if anybody asks.
    progress: Option<Arc<Progress>>,
}

/// What is kept of a body.
#[derive(Default)]
struct Record {
    /// Taken by an attempt before, to come before the rest.
    again: VecDeque<Piece>,
    keep: Keep,
    /// What this attempt took.
    taken: Vec<Piece>,
    held: Held,
}

/// How much of a body is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    #[default]
    Nothing,
    /// One frame, until a byte of the request was written: for a request that may be repeated only if it was not sent.
    UntilSent,
    /// All of it, as far as the [`ReplayBudget`] goes, until the response's head has arrived.
    UntilAnswered,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    End(Option<Box<HeaderMap>>),
}

impl Tee {
    pub(crate) fn new(body: Body) -> Self {
        let in_memory = body.is_in_memory();
        Self { rest: body, record: None, in_memory, lost: false, progress: None }
    }

    /// Counts what is taken from now on.
    pub(crate) fn count_for(&mut self, progress: Option<Arc<Progress>>) {
        self.progress = progress;
    }

    /// True if all of it is sure to be kept, however it is cut into frames, unless the budget of all requests is used up.
    pub(crate) fn fits(&self, budget: &ReplayBudget) -> bool {
        self.in_memory || self.size_hint().upper().is_some_and(|upper| upper <= budget.per_request as u64)
    }

    /// Says what is kept from now on.
    pub(crate) fn keep(&mut self, keep: Keep, budget: &Arc<ReplayBudget>) {
        if self.is_end_stream() {
            return;
        }
        let record = self.record.get_or_insert_default();
        record.keep = keep;
        if keep == Keep::UntilAnswered && !self.in_memory && record.held.budget.is_none() {
            record.held.budget = Some(budget.clone());
        }
    }

    /// A byte of the request was written.
    pub(crate) fn sent(&mut self) {
        if self.record.as_ref().is_some_and(|record| record.keep == Keep::UntilSent) {
            self.forget();
        }
    }

    /// Keeps nothing any more: the request will not be repeated.
    pub(crate) fn forget(&mut self) {
        let Some(record) = &mut self.record else { return };
        self.lost |= !record.taken.is_empty();
        if record.again.is_empty() {
            self.record = None;
        } else {
            record.keep = Keep::Nothing;
            record.taken = Vec::new();
        }
    }

    /// Puts back what was taken, for another attempt. False if that is not to be had any more.
    #[must_use]
    pub(crate) fn rewind(&mut self) -> bool {
        if let Some(record) = &mut self.record {
            let later = std::mem::take(&mut record.again);
            record.again = record.taken.drain(..).chain(later).collect();
            record.keep = Keep::Nothing;
        }
        !self.lost
    }

    /// True if the body's end was taken, and trailers with it.
    pub(crate) fn gave_trailers(&self) -> bool {
        let last = self.record.as_ref().and_then(|record| record.taken.last());
        last.is_some_and(|last| matches!(last, Piece::End(Some(_))))
    }

    /// Keeps what was taken. `fits` is asked only where all is kept.
    fn note(&mut self, fits: impl FnOnce(&mut Held) -> bool, piece: impl FnOnce() -> Piece) {
        let Some(record) = &mut self.record else {
            self.lost = true;
            return;
        };
        match record.keep {
            Keep::Nothing => self.lost = true,
            Keep::UntilSent if record.taken.is_empty() => record.taken.push(piece()),
            // Before a byte is written, no second frame is asked for.
            Keep::UntilSent => self.forget_all(),
            Keep::UntilAnswered if self.in_memory || fits(&mut record.held) => record.taken.push(piece()),
            Keep::UntilAnswered if record.taken.is_empty() => {
                record.keep = Keep::UntilSent;
                record.taken.push(piece());
            }
            Keep::UntilAnswered => self.forget_all(),
        }
    }

    fn count(&self, bytes: usize) {
        if let Some(progress) = &self.progress {
            progress.add_sent(bytes);
        }
    }

    fn forget_all(&mut self) {
        self.forget();
        self.lost = true;
    }

    fn is_rewound(&self) -> bool {
        self.record.as_ref().is_some_and(|record| !record.again.is_empty())
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(piece) = this.record.as_mut().and_then(|record| record.again.pop_front()) {
            this.note(|_| true, || piece.clone());
            if this.record.as_ref().is_some_and(|record| record.again.is_empty() && record.keep == Keep::Nothing) {
                this.record = None; // all that was kept has gone on, and the rest may take long
            }
            this.count(piece.length());
            return Poll::Ready(piece.into_frame().map(Ok));
        }
        let frame = ready!(Pin::new(&mut this.rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if !data.is_empty() {
                        this.count(data.len());
                        this.note(|held| held.take(data.len(), FRAME_COST), || Piece::Data(data.clone()));
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    let piece = || Piece::End(Some(Box::new(trailers.clone())));
                    this.note(|held| held.take(0, FRAME_COST + size_of_fields(trailers)), piece);
                }
            }
            None => {
                this.rest = Body::empty(); // another attempt asks for the end again, which not every body bears
                this.note(|_| true, || Piece::End(None));
            }
            Some(Err(_)) => this.forget_all(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_rewound() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.rest.size_hint();
        if let Some(record) = self.record.as_ref().filter(|record| !record.again.is_empty()) {
            let again: usize = record.again.iter().map(Piece::length).sum();
            let upper = hint.upper().and_then(|upper| upper.checked_add(again as u64));
            let lower = hint.lower().saturating_add(again as u64);
            hint = SizeHint::new();
            hint.set_lower(lower);
            if let Some(upper) = upper {
                hint.set_upper(upper);
            }
        }
        hint
    }
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::End(_) => 0,
        }
    }

    fn into_frame(self) -> Option<Frame<Bytes>> {
        match self {
            Self::Data(data) => Some(Frame::data(data)),
            Self::End(trailers) => trailers.map(|trailers| Frame::trailers(*trailers)),
        }
    }
}

/// How many bytes of bodies are kept for another attempt: of one request, and of all requests together, with what it costs to keep them,
/// so that tiny frames are not free.
pub(crate) struct ReplayBudget {
    per_request: usize,
    free: AtomicUsize,
}

impl ReplayBudget {
    pub(crate) fn new(per_request: usize, in_all: usize) -> Self {
        Self { per_request, free: AtomicUsize::new(in_all) }
    }

    fn reserve(&self, bytes: usize) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }
}

/// What one request has of the budget, given back when dropped.
#[derive(Default)]
struct Held {
    budget: Option<Arc<ReplayBudget>>,
    /// Of data alone.
    data: usize,
    /// In all.
    bytes: usize,
}

impl Held {
    /// Room for a frame of so many bytes of data, and of others.
    fn take(&mut self, data: usize, others: usize) -> bool {
        let Some(budget) = &self.budget else { return false };
        let bytes = data + others;
        let fits = self.data + data <= budget.per_request && budget.reserve(bytes);
        if fits {
            self.data += data;
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.free.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

fn size_of_fields(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FRAME_COST).sum()
}

/// Bytes that keeping a frame takes beside its data.
const FRAME_COST: usize = size_of::<Piece>();

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    /// A body of frames that come one by one, and then trailers.
    struct Frames(VecDeque<Frame<Bytes>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn body(pieces: &[&'static str], with_trailers: bool) -> Tee {
        let mut frames: VecDeque<_> =
            pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes()))).collect();
        if with_trailers {
            frames.push_back(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())])));
        }
        Tee::new(Body::new(Frames(frames)))
    }

    fn budget(per_request: usize, in_all: usize) -> Arc<ReplayBudget> {
        Arc::new(ReplayBudget::new(per_request, in_all))
    }

    /// The next frames as text, trailers as `!`, the end as nothing.
    async fn take(body: &mut (impl HttpBody<Data = Bytes, Error = Error> + Unpin), frames: usize) -> String {
        let mut text = String::new();
        for _ in 0..frames {
            match body.frame().await.transpose().unwrap().map(Frame::into_data) {
                Some(Ok(data)) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Some(Err(_)) => text.push('!'),
                None => {}
            }
        }
        text
    }

    #[tokio::test]
    async fn what_was_taken_comes_again_before_the_rest_as_often_as_it_is_asked_for() {
        let budget = budget(1000, 10_000);
        for taken in 0..=5 {
            let mut body = body(&["one", "", "two", "three"], true);
            for _ in 0..3 {
                body.keep(Keep::UntilAnswered, &budget);
                take(&mut body, taken).await;
                assert!(body.rewind());
            }
            assert_eq!(take(&mut body, 7).await, "onetwothree!", "after {taken} frames");
        }
        assert_eq!(budget.free.load(Ordering::Relaxed), 10_000);
    }

    #[tokio::test]
    async fn an_end_that_was_taken_is_asked_for_again() {
        let budget = budget(1000, 10_000);
        let mut body = body(&["one"], false);
        body.keep(Keep::UntilAnswered, &budget);
        assert_eq!(take(&mut body, 2).await, "one");
        assert!(body.rewind() && !body.is_end_stream());
        assert_eq!(body.size_hint().lower(), 3);
        assert_eq!(take(&mut body, 3).await, "one");
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn nothing_comes_again_of_a_body_that_was_not_kept_or_is_too_long() {
        let roomy = budget(1000, 10_000);
        let mut unkept = body(&["one", "two"], false);
        take(&mut unkept, 1).await;
        assert!(!unkept.rewind());

        for (per_request, in_all) in [(5, 10_000), (1000, 2 * FRAME_COST), (0, 10_000)] {
            let budget = budget(per_request, in_all);
            let mut long = body(&["one", &"x"[..1], "three-and-more"], false);
            long.keep(Keep::UntilAnswered, &budget);
            take(&mut long, 3).await;
            assert_eq!(budget.free.load(Ordering::Relaxed), in_all, "what is not kept holds nothing");
            assert!(!long.rewind(), "{per_request} {in_all}");
        }

        let mut answered = body(&["one", "two"], false);
        answered.keep(Keep::UntilAnswered, &roomy);
        take(&mut answered, 1).await;
        assert_eq!(roomy.free.load(Ordering::Relaxed), 10_000 - 3 - FRAME_COST);
        answered.forget();
        assert_eq!(roomy.free.load(Ordering::Relaxed), 10_000);
        assert!(!answered.rewind());
    }

    #[tokio::test]
    async fn a_body_that_fits_is_kept_however_many_frames_it_comes_in() {
        let pieces = ["abc"; 5];
        for (per_request, fits) in [(15, true), (14, false)] {
            let budget = budget(per_request, 10_000);
            let mut body = body(&pieces, true);
            let sized = Tee::new(Body::new(http_body_util::Full::new(Bytes::from(pieces.concat()))));
            assert_eq!(sized.fits(&budget), fits);
            body.keep(Keep::UntilAnswered, &budget);
            take(&mut body, 6).await;
            assert_eq!(body.rewind(), fits, "{per_request}");
        }
    }

    #[tokio::test]
    async fn one_frame_comes_again_until_it_was_sent_however_long_it_is() {
        let none = budget(0, 0);
        for keep in [Keep::UntilSent, Keep::UntilAnswered] {
            let mut unsent = body(&["one", "two"], false);
            unsent.keep(keep, &none);
            take(&mut unsent, 1).await;
            assert!(unsent.rewind());
            assert_eq!(take(&mut unsent, 3).await, "onetwo");

            let mut sent = body(&["one", "two"], false);
            sent.keep(keep, &none);
            take(&mut sent, 1).await;
            sent.sent();
            assert!(!sent.rewind());
        }
    }

    #[tokio::test]
    async fn a_body_in_memory_comes_again_without_a_budget() {
        let mut whole = Tee::new(Body::from("whole"));
        assert!(whole.fits(&budget(0, 0)));
        whole.keep(Keep::UntilAnswered, &budget(0, 0));
        take(&mut whole, 1).await;
        whole.sent();
        assert!(whole.rewind());
        assert_eq!(take(&mut whole, 1).await, "whole");
    }

    #[tokio::test]
    async fn what_another_attempt_has_taken_back_holds_nothing_of_the_budget() {
        let budget = budget(1000, 10_000);
        let mut again = body(&["one", "two"], false);
        again.keep(Keep::UntilAnswered, &budget);
        take(&mut again, 1).await;
        assert!(again.rewind());
        assert_eq!(budget.free.load(Ordering::Relaxed), 10_000 - 3 - FRAME_COST);
        // As an exchange whose response comes before its body was sent: what is left goes on for as long as it takes.
        again.forget();
        assert_eq!(take(&mut again, 1).await, "one");
        assert_eq!(budget.free.load(Ordering::Relaxed), 10_000);
        assert_eq!(take(&mut again, 1).await, "two");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a body is cut into frames, wherever attempts fail and whatever the budget is: either all of it comes again, with the
        /// same trailers and in the size that was said, or `rewind` says that it does not. And nothing is held afterwards.
        #[test]
        fn all_comes_again_or_nothing_is_said_to(
            pieces in proptest::collection::vec(prop_oneof![Just(""), Just("a"), Just("bc"), Just("defghijklmno")], 0..6),
            with_trailers: bool,
            attempts in proptest::collection::vec((0_usize..9, 0_u8..3, any::<bool>()), 0..4),
            per_request in 0_usize..600,
            in_all in 0_usize..600,
        ) {
            let budget = budget(per_request, in_all);
            let mut body = body(&pieces, with_trailers);
            let whole = pieces.concat() + if with_trailers { "!" } else { "" };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (taken, keep, sent) in attempts {
                body.keep([Keep::Nothing, Keep::UntilSent, Keep::UntilAnswered][usize::from(keep)], &budget);
                let first = runtime.block_on(take(&mut body, taken));
                prop_assert!(whole.starts_with(&first), "{first} of {whole}");
                if sent {
                    body.sent();
                }
                if !body.rewind() {
                    drop(body);
                    prop_assert_eq!(budget.free.load(Ordering::Relaxed), in_all);
                    return Ok(());
                }
            }
            let hint = body.size_hint();
            let left = pieces.concat().len() as u64;
            prop_assert!(hint.lower() <= left && hint.upper().is_none_or(|upper| upper >= left));
            prop_assert_eq!(runtime.block_on(take(&mut body, 20)), whole);
            body.forget();
            prop_assert_eq!(budget.free.load(Ordering::Relaxed), in_all);
        }
    }
}
