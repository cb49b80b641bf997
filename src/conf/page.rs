//! The `healthcheck_status` directive of a server or location.

use core::cell::Cell;

use healthcheck_core::status::{format_from_argument, Format, UnsupportedFormat, DEFAULT_FORMAT};

/// What a location's `healthcheck_status` says.
#[derive(Default)]
pub(crate) struct PageConf {
    /// The format of a page whose request names none; unset without the directive.
    format: Cell<Option<&'static Format>>,
}

/// Why a `healthcheck_status` is refused.
pub(crate) enum PageError {
    /// It stands twice in one place.
    Duplicate,
    /// Its argument names no format.
    Format(UnsupportedFormat),
}

impl PageConf {
    /// Reads the directive's arguments: none, or the name of a format.
    pub(crate) fn set(&self, args: &[&[u8]]) -> Result<(), PageError> {
        if self.format.get().is_some() {
            return Err(PageError::Duplicate);
        }
        let format = match args.first() {
            Some(name) => format_from_argument(name).map_err(PageError::Format)?,
            None => &DEFAULT_FORMAT,
        };
        self.format.set(Some(format));
        Ok(())
    }

    /// The format of a page whose request names none.
    pub(crate) fn format(&self) -> &'static Format {
        self.format.get().unwrap_or(&DEFAULT_FORMAT)
    }
}
