//! The `supervisord*` directives of an upstream block, and what a complete configuration makes of
//! them.

use core::cell::{OnceCell, RefCell};
use core::fmt;
use std::sync::Arc;

use healthcheck_core::key::Key;
use healthcheck_core::supervision::{
    parse_credentials, parse_min_servers, parse_name, parse_on_failure, parse_threshold,
    Supervision, SupervisionDraft, SupervisionError,
};
use healthcheck_core::value::{parse_time, ValueError};
use healthcheck_core::Msec;

use crate::nginx::address::Address;
use crate::nginx::upstream::LineSettings;

/// What an upstream block says of its programs.
#[derive(Default)]
pub(crate) struct SupervisordConf {
    /// The directives as they were read, `supervisord` aside.
    draft: RefCell<SupervisionDraft>,
    /// `supervisord`.
    place: OnceCell<Place>,
}

/// The argument of `supervisord`.
#[derive(Clone)]
enum Place {
    /// `none`: programs are switched by hand and by failures, and nothing is called.
    Nowhere,
    /// A supervisord.
    At(Arc<Supervisord>),
}

/// A supervisord to call.
pub(crate) struct Supervisord {
    /// The address as the configuration writes it.
    pub(crate) label: Box<[u8]>,
    /// What to connect to, in turn.
    pub(crate) addresses: Vec<Address>,
    /// `user:password`.
    pub(crate) credentials: Option<Box<[u8]>>,
}

impl Supervisord {
    /// Its key in shared memory: one supervisord is asked under one name and password.
    pub(crate) fn key(&self) -> Key {
        let credentials = self.credentials.as_deref().unwrap_or_default();
        Key::of_supervisord(&[&self.label, credentials].join(&b' '))
    }
}

/// One upstream's programs and their supervision.
pub(crate) struct Managed {
    /// The settings, defaults filled in.
    pub(crate) rule: Supervision,
    /// Whom to call; `None`: nobody (`supervisord none`).
    pub(crate) supervisord: Option<Arc<Supervisord>>,
    /// The server lines, by program number.
    pub(crate) lines: Vec<LineSettings>,
}

/// Why a directive is refused.
pub(crate) enum SupervisordError {
    /// It stands twice in one block (nginx's words).
    Duplicate,
    /// It stands twice, or does not name a supervisord; the whole message.
    Whole(String),
    /// Its value is not accepted.
    Value(Box<dyn fmt::Display>),
}

impl From<ValueError> for SupervisordError {
    fn from(error: ValueError) -> Self {
        SupervisordError::Value(Box::new(error))
    }
}

impl From<SupervisionError> for SupervisordError {
    fn from(error: SupervisionError) -> Self {
        SupervisordError::Value(Box::new(error))
    }
}

/// Reads one directive's arguments into the block's draft.
pub(crate) type Setting = fn(&mut SupervisionDraft, &[&[u8]]) -> Result<(), SupervisordError>;

/// Fills a setting that must stand at most once.
fn once<T, E: Into<SupervisordError>>(
    field: &mut Option<T>,
    args: &[&[u8]],
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<(), SupervisordError> {
    if field.is_some() {
        return Err(SupervisordError::Duplicate);
    }
    *field = Some(parse(args.first().copied().unwrap_or_default()).map_err(Into::into)?);
    Ok(())
}

/// One reader a directive whose value stands once.
macro_rules! settings {
    ($($name:ident: $field:ident, $parse:path, $doc:literal;)+) => {$(
        #[doc = $doc]
        pub(crate) fn $name(
            draft: &mut SupervisionDraft,
            args: &[&[u8]],
        ) -> Result<(), SupervisordError> {
            once(&mut draft.$field, args, $parse)
        }
    )+};
}

settings! {
    set_connect_timeout: connect_timeout, parse_time, "`supervisord_connect_timeout TIME`";
    set_send_timeout: send_timeout, parse_time, "`supervisord_send_timeout TIME`";
    set_read_timeout: read_timeout, parse_time, "`supervisord_read_timeout TIME`";
    set_poll: poll, parse_time, "`supervisord_poll TIME`";
    set_drain: drain, parse_time, "`supervisord_drain TIME`";
    set_cooldown: cooldown, parse_time, "`supervisord_cooldown TIME`";
    set_on_failure: on_failure, parse_on_failure, "`supervisord_on_failure stop|restart|ignore`";
    set_load_threshold: load_threshold, parse_threshold, "`supervisord_load_threshold NUMBER`";
    set_min_servers: min_servers, parse_min_servers, "`supervisord_min_servers NUMBER`";
    set_load_interval: load_interval, parse_time, "`supervisord_load_interval TIME`";
}

/// `supervisord_name NAME`
pub(crate) fn set_name(
    draft: &mut SupervisionDraft,
    args: &[&[u8]],
) -> Result<(), SupervisordError> {
    if let Some(name) = &draft.prefix {
        let name = name.escape_ascii();
        return Err(SupervisordError::Whole(format!("supervisord_name already set to \"{name}\"")));
    }
    draft.prefix = args.first().map(|name| parse_name(name)).transpose()?;
    Ok(())
}

/// `supervisord_inherit_backend_status`
pub(crate) fn set_inherit(
    draft: &mut SupervisionDraft,
    _: &[&[u8]],
) -> Result<(), SupervisordError> {
    draft.inherit = true;
    Ok(())
}

impl SupervisordConf {
    /// Reads one directive.
    pub(crate) fn set(&self, setting: Setting, args: &[&[u8]]) -> Result<(), SupervisordError> {
        setting(&mut self.draft.borrow_mut(), args)
    }

    /// Reads `supervisord ADDRESS [user:pass]` or `supervisord none`; `resolve` finds the addresses
    /// that a text names, or says why there are none.
    pub(crate) fn set_place(
        &self,
        args: &[&[u8]],
        resolve: impl Fn(&[u8]) -> Result<Vec<Address>, &'static str>,
    ) -> Result<(), SupervisordError> {
        let label = match self.place.get() {
            Some(Place::Nowhere) => Some("none".into()),
            Some(Place::At(supervisord)) => Some(supervisord.label.escape_ascii().to_string()),
            None => None,
        };
        if let Some(label) = label {
            let whole = format!("supervisord already set to \"{label}\"");
            return Err(SupervisordError::Whole(whole));
        }
        let address = args.first().copied().unwrap_or_default();
        let credentials = args.get(1).map(|text| parse_credentials(text)).transpose()?;
        let place = if address == b"none" {
            Place::Nowhere
        } else {
            let addresses = resolve(address).map_err(|reason| {
                let address = address.escape_ascii();
                SupervisordError::Whole(format!("{reason} in supervisord \"{address}\""))
            })?;
            Place::At(Arc::new(Supervisord { label: address.into(), addresses, credentials }))
        };
        // Tested above to be empty.
        let _ = self.place.set(place);
        Ok(())
    }

    /// Whether `supervisord` stands in the block, with an address or `none`.
    pub(crate) fn is_managed(&self) -> bool {
        self.place.get().is_some()
    }

    /// Whether the block has settings that mean nothing without `supervisord`.
    pub(crate) fn has_idle_settings(&self) -> bool {
        !self.is_managed() && self.draft.borrow().any_setting()
    }

    /// The supervision of the upstream called `name` with these server lines, defaults filled in;
    /// `None` without `supervisord`.
    pub(crate) fn managed(&self, name: &[u8], lines: Vec<LineSettings>) -> Option<Managed> {
        let supervisord = match self.place.get()? {
            Place::Nowhere => None,
            Place::At(supervisord) => Some(Arc::clone(supervisord)),
        };
        let rule = self.draft.borrow().finish(name, supervisord.is_some());
        Some(Managed { rule, supervisord, lines })
    }
}

impl Managed {
    /// How long one command may take from its acceptance to its result, before another worker takes
    /// it over, ms.
    pub(crate) fn command_limit(&self) -> Msec {
        /// Room for a busy event loop, and for asking whether a program has come up.
        const GRACE: Msec = 2_000;

        let addresses = self.supervisord.as_ref().map_or(0, |one| one.addresses.len());
        let limits = self.rule.limits;
        let connects = limits.connect.saturating_mul(Msec::try_from(addresses).unwrap_or(1));
        limits.total().saturating_add(connects).saturating_add(GRACE)
    }
}
