//! From a frame to its bytes: the only place where owned chunks become slices.

use crate::frame::Frame;
use crate::links::Span;
use crate::umem::{Shared, TX_METADATA_BYTES};

impl Shared {
    /// Returns the parts of a packet in order.
    pub(crate) fn spans<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = Span> + 'a {
        self.check(frame);
        std::iter::successors(Some(frame.first_span()), |span| Some(self.links.next(span.chunk)))
            .take(frame.chunks())
    }

    /// Returns the last part of a packet.
    pub(crate) fn last_span(&self, frame: &Frame) -> Span {
        self.spans(frame).last().expect("a frame has at least one chunk")
    }

    /// Returns the bytes in the first chunk.
    #[inline]
    pub(crate) fn first<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.check(frame);
        // SAFETY: the first span of the frame.
        unsafe { self.span_bytes(frame, frame.first_span()) }
    }

    /// Returns the bytes in the first chunk for writing.
    #[inline]
    pub(crate) fn first_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.check(frame);
        let span = frame.first_span();
        // SAFETY: the first span of the frame.
        unsafe { self.span_bytes_mut(frame, span) }
    }

    /// Returns the bytes in chunk number `index`.
    pub(crate) fn part<'a>(&'a self, frame: &'a Frame, index: usize) -> Option<&'a [u8]> {
        let span = self.spans(frame).nth(index)?;
        // SAFETY: one of the frame's spans.
        Some(unsafe { self.span_bytes(frame, span) })
    }

    /// Returns the bytes in chunk number `index` for writing.
    pub(crate) fn part_mut<'a>(&'a self, frame: &'a mut Frame, index: usize) -> Option<&'a mut [u8]> {
        let span = self.spans(frame).nth(index)?;
        // SAFETY: one of the frame's spans.
        Some(unsafe { self.span_bytes_mut(frame, span) })
    }

    /// Returns all parts in order.
    pub(crate) fn parts<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = &'a [u8]> {
        self.spans(frame).map(|span| {
            // SAFETY: one of the frame's spans.
            unsafe { self.span_bytes(frame, span) }
        })
    }

    /// Returns the place of the TX metadata, directly before the packet, whose headroom the caller has checked.
    pub(crate) fn metadata_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.check(frame);
        let bytes = u16::try_from(TX_METADATA_BYTES).expect("it is 24");
        let span = Span { offset: frame.offset - bytes, bytes, ..frame.first_span() };
        // SAFETY: not a span of the frame, but within its first chunk, which it owns whole.
        unsafe { self.span_bytes_mut(frame, span) }
    }

    /// Returns the bytes of a span.
    ///
    /// # Safety
    /// `span` lies within one chunk of `owner`, a frame of this UMEM.
    #[inline]
    unsafe fn span_bytes<'a>(&'a self, _owner: &'a Frame, span: Span) -> &'a [u8] {
        let start = self.start(span.chunk) + usize::from(span.offset);
        // SAFETY: a frame is the exclusive owner of its chunks: it is made only from a chunk of a free list or one
        // that `Owners` took back from the kernel. Writing to them needs the frame by `&mut`, and giving them to the
        // kernel needs it by value; both are impossible while `'a` lasts.
        unsafe { self.area.slice(start, usize::from(span.bytes)) }
    }

    /// Returns the bytes of a span for writing.
    ///
    /// # Safety
    /// `span` lies within one chunk of `owner`, a frame of this UMEM.
    #[inline]
    unsafe fn span_bytes_mut<'a>(&'a self, _owner: &'a mut Frame, span: Span) -> &'a mut [u8] {
        let start = self.start(span.chunk) + usize::from(span.offset);
        // SAFETY: the frame is the exclusive owner of its chunks (see `span_bytes`) and borrowed exclusively for
        // `'a`, so that nobody else can reach the bytes meanwhile.
        unsafe { self.area.slice_mut(start, usize::from(span.bytes)) }
    }
}

impl Frame {
    /// Returns the part of the packet in its first chunk.
    #[inline]
    pub(crate) fn first_span(&self) -> Span {
        Span { chunk: self.chunk, offset: self.offset, bytes: self.chunk_bytes }
    }
}
