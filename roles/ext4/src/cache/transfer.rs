//! The traffic between the pages and the device.

use super::{Flight, PAGE, PageCache, READ_AHEAD};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::future::poll_fn;
use keelson_exec::block_on;
use keelson_hal::{BlockCompletion, BlockError, BlockOp, BlockRequest, SECTOR_SIZE, Ticket};

/// Largest request, also where the device would take more: small enough to keep several in flight.
const REQUEST_PAGES: usize = 64;
/// Most write requests in flight.
const FLIGHTS: usize = 64;
/// Finished buffers that are kept.
const SPARE_BUFFERS: usize = 16;

impl PageCache {
    /// Reads the pages from `first` on that are missing, up to `last` and further for a sequential reader.
    pub(super) fn fetch(&mut self, first: u64, last: u64) -> Result<(), BlockError> {
        let ahead = self.read_ahead(first);
        let device_pages = self.device_bytes().div_ceil(PAGE as u64);
        let wanted = last.saturating_add(1).max(first + ahead as u64).min(device_pages);
        let stop = self.pages.range(first..wanted).next().map_or(wanted, |(&page, _)| page);
        self.expect_reader(first, stop, ahead);
        self.counters.misses += stop - first;

        // A request keeps its place in the device's queue until it is collected: never ask for more places
        // than there are.
        let most = self.geometry.queue_depth.max(1);
        let mut pending: VecDeque<(Ticket, u64)> = VecDeque::new();
        let mut outcome = Ok(());
        let mut page = first;
        while page < stop {
            if pending.len() >= most
                && let Some(oldest) = pending.pop_front()
            {
                outcome = outcome.and(self.arrive(oldest));
            }
            let count = self.request_pages().min((stop - page) as usize);
            let bytes: usize = (page..page + count as u64).map(|page| self.page_bytes(page)).sum();
            let mut buffer = self.take_buffer();
            buffer.resize(bytes, 0);
            let request = BlockRequest { op: BlockOp::Read, sector: sector_of(page), buffer };
            pending.push_back((self.submit(request), page));
            self.counters.reads += 1;
            self.counters.read_bytes += bytes as u64;
            page += count as u64;
        }
        for ticket in pending {
            outcome = outcome.and(self.arrive(ticket));
        }
        outcome
    }

    /// Waits for the pages from `first` on and puts them in.
    fn arrive(&mut self, (ticket, first): (Ticket, u64)) -> Result<(), BlockError> {
        let done = self.wait(ticket);
        let outcome = match done.result {
            Ok(()) => self.keep(first, &done.buffer),
            Err(error) => {
                self.counters.errors += 1;
                Err(error)
            }
        };
        self.give_buffer(done.buffer);
        outcome
    }

    fn keep(&mut self, first: u64, content: &[u8]) -> Result<(), BlockError> {
        for (page, content) in (first..).zip(content.chunks(PAGE)) {
            // Writing out to make room never brings pages in, so a page is still missing here.
            self.insert(page, Some(content))?;
        }
        Ok(())
    }

    /// How many pages to read for a reader that misses `page`: more each time it comes where expected.
    fn read_ahead(&mut self, page: u64) -> usize {
        let window =
            self.streams.iter().find(|(next, _)| *next == page && page != 0).map(|(_, window)| *window);
        window.map_or(0, |window| (window * 2).clamp(16, READ_AHEAD.min(self.limit / 8)))
    }

    fn expect_reader(&mut self, first: u64, next: u64, window: usize) {
        let known = self.streams.iter().position(|(expected, _)| *expected == first);
        let slot = known.unwrap_or_else(|| {
            self.next_stream = (self.next_stream + 1) % self.streams.len();
            self.next_stream
        });
        self.streams[slot] = (next, window);
    }

    /// Starts writing dirty pages as far as the device takes them, without waiting for the end.
    pub(super) fn start_writing(&mut self) -> Result<(), BlockError> {
        self.submit_dirty();
        self.check_failure()
    }

    /// Writes all dirty pages and waits until the device has them. Reports a failed write once.
    pub fn write_out(&mut self) -> Result<(), BlockError> {
        self.submit_dirty();
        while let Some(flight) = self.flights.pop_front() {
            self.land(flight);
        }
        self.check_failure()
    }

    /// Writes all dirty pages and makes them safe from a power cut.
    pub fn flush(&mut self) -> Result<(), BlockError> {
        self.write_out()?;
        if !self.geometry.write_cache {
            return Ok(());
        }
        let request = BlockRequest { op: BlockOp::Flush, sector: 0, buffer: Vec::new() };
        let ticket = self.submit(request);
        self.counters.flushes += 1;
        let done = self.wait(ticket);
        if done.result.is_err() {
            self.counters.errors += 1;
        }
        done.result
    }

    fn check_failure(&mut self) -> Result<(), BlockError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn submit_dirty(&mut self) {
        while let Some(&first) = self.dirty.first() {
            let most = self.request_pages() as u64;
            let mut pages = 1;
            while pages < most && self.dirty.contains(&(first + pages)) {
                pages += 1;
            }
            self.submit_run(first, pages);
        }
    }

    fn submit_run(&mut self, first: u64, pages: u64) {
        // Two writes of one page must not be in flight together: they may end in either order.
        let busy =
            |cache: &PageCache| cache.pages.range(first..first + pages).any(|(_, page)| page.writing > 0);
        let most = self.geometry.queue_depth.clamp(1, FLIGHTS);
        while self.flights.len() >= most || busy(self) {
            let Some(flight) = self.flights.pop_front() else { break };
            self.land(flight);
        }
        let mut buffer = self.take_buffer();
        for page in first..first + pages {
            let bytes = self.page_bytes(page);
            if let Some(cached) = self.pages.get_mut(&page) {
                buffer.extend_from_slice(&cached.data[..bytes]);
                cached.writing += 1;
            }
            self.dirty.remove(&page);
        }
        self.counters.writes += 1;
        self.counters.write_bytes += buffer.len() as u64;
        let request = BlockRequest { op: BlockOp::Write, sector: sector_of(first), buffer };
        let ticket = self.submit(request);
        self.flights.push_back(Flight { ticket, first, pages });
    }

    fn land(&mut self, flight: Flight) {
        let done = self.wait(flight.ticket);
        for page in flight.first..flight.first + flight.pages {
            if let Some(cached) = self.pages.get_mut(&page) {
                cached.writing -= 1;
            }
        }
        if let Err(error) = done.result {
            self.counters.errors += 1;
            self.failed.get_or_insert(error);
            log::error!(
                target: "ext4",
                "{}: writing {} pages at sector {} failed: {error}",
                self.device.name(), flight.pages, sector_of(flight.first)
            );
            // What the device holds now is not known; what the pages hold must not be taken for written.
            for page in flight.first..flight.first + flight.pages {
                if !self.dirty.contains(&page) {
                    self.pages.remove(&page);
                }
            }
        }
        self.give_buffer(done.buffer);
    }

    /// Hands a request to the device. A full queue is full of our own writes: a request keeps its place until
    /// its completion is collected, so that waiting for room without collecting would never end.
    fn submit(&mut self, mut request: BlockRequest) -> Ticket {
        loop {
            match self.device.submit(request) {
                Ok(ticket) => return ticket,
                Err(back) => request = back,
            }
            match self.flights.pop_front() {
                Some(flight) => self.land(flight),
                None => block_on(&*self.park, poll_fn(|cx| self.device.poll_room(cx))),
            }
        }
    }

    fn wait(&self, ticket: Ticket) -> BlockCompletion {
        block_on(&*self.park, poll_fn(|cx| self.device.poll_done(ticket, cx)))
    }

    fn request_pages(&self) -> usize {
        (self.geometry.max_transfer / PAGE).clamp(1, REQUEST_PAGES)
    }

    fn take_buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < SPARE_BUFFERS {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

fn sector_of(page: u64) -> u64 {
    page * (PAGE / SECTOR_SIZE) as u64
}
