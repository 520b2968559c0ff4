//! `wasi:io` that doesn't outlast the call: a guest that waits meets no epoch, so each place where it can wait is here.
//!
//! Invariant: a wait ends with the call's deadline, and when the host stops.

use std::future::Future;
use std::time::Instant;

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::poll::{Host as WaitForMany, HostPollable as WaitForOne};
use wasmtime_wasi::p2::bindings::io::streams::{
    HostInputStream as WaitForInput, HostOutputStream as WaitForOutput,
};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use crate::calls::{Calls, HostStops};
use crate::guest::{Guest, MOST_WAITS};

/// Puts these in the place of WASI's own, which wait for as long as it takes.
pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    linker.allow_shadowing(true);
    poll::add_to_linker::<Guest, HasWaits>(linker, Guest::waits)?;
    streams::add_to_linker::<Guest, HasWaits>(linker, Guest::waits)?;
    linker.allow_shadowing(false);
    Ok(())
}

pub(crate) struct Waits<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) deadline: Instant,
    pub(crate) calls: &'a Calls,
}

struct HasWaits;

impl HasData for HasWaits {
    type Data<'a> = Waits<'a>;
}

/// Why a wait was ended.
#[derive(Debug, thiserror::Error)]
#[error("the call's time was spent waiting")]
pub(crate) struct WaitedTooLong;

impl Waits<'_> {
    /// What comes of waiting, on this thread. An error: it was ended first.
    fn wait<'t, T, F>(&'t mut self, wait: impl FnOnce(&'t mut ResourceTable) -> F) -> Result<T>
    where
        F: Future<Output = T> + 't,
    {
        let Waits { table, deadline, calls } = self;
        let wait = wait(table);
        wasmtime_wasi::runtime::in_tokio(async {
            tokio::select! {
                biased;
                came = wait => Ok(came),
                () = tokio::time::sleep_until((*deadline).into()) => Err(WaitedTooLong.into()),
                () = calls.ending() => Err(HostStops.into()),
            }
        })
    }

    fn wait_for_stream<'t, T, F>(
        &'t mut self,
        wait: impl FnOnce(&'t mut ResourceTable) -> F,
    ) -> StreamResult<T>
    where
        F: Future<Output = StreamResult<T>> + 't,
    {
        self.wait(wait).map_err(StreamError::Trap)?
    }
}

impl poll::Host for Waits<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        if pollables.len() > MOST_WAITS {
            let count = pollables.len();
            return Err(wasmtime::format_err!(
                "it waits for {count} others at once; the most is {MOST_WAITS}"
            ));
        }
        self.wait(|table| WaitForMany::poll(table, pollables))?
    }
}

impl poll::HostPollable for Waits<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.table, pollable)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.wait(|table| WaitForOne::block(table, pollable))?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.table, pollable)
    }
}

impl streams::Host for Waits<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

impl streams::HostInputStream for Waits<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self.table, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.wait_for_stream(|table| WaitForInput::blocking_read(table, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.wait_for_stream(|table| WaitForInput::blocking_skip(table, stream, len))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.wait(|table| WaitForInput::drop(table, stream))?
    }
}

impl streams::HostOutputStream for Waits<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::write(self.table, stream, bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.wait_for_stream(|table| WaitForOutput::blocking_write_and_flush(table, stream, bytes))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.wait_for_stream(|table| WaitForOutput::blocking_write_zeroes_and_flush(table, stream, len))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.wait_for_stream(|table| WaitForOutput::blocking_flush(table, stream))
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        streams::HostOutputStream::splice(self.table, to, from, len)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.wait_for_stream(|table| WaitForOutput::blocking_splice(table, to, from, len))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        self.wait(|table| WaitForOutput::drop(table, stream))?
    }
}
