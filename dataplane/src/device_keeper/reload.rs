//! Reading the configuration again: devices come and go, the rest takes a restart.
//!
//! Everything is checked before anything is changed. Then what judges learns of the new devices first, so that no frame
//! of theirs is judged by the old bindings; devices that go are given back; those that come are taken. One that cannot
//! be taken after all is tried again, like one that vanished.

use super::{DeviceKeeper, Entry, KeepError};
use crate::binding::{DeviceRole, Role};
use crate::config::{Config, ConfigError, DEVICES_MAX, DeviceConfig, role_word};
use crate::reporter::DeviceFacts;
use crate::subscriber::{ApplyError, DeviceChange};
use crate::topology_commands;
use crate::worker::Order;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long workers may take to give devices back: closing one takes some milliseconds.
const DETACH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const DETACH_POLL: Duration = Duration::from_millis(1);

/// Why a configuration that was read again is not taken. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It changes what cannot be changed while running.
    #[error("{0}: takes effect at the next start only; devices can be changed while running")]
    Fixed(String),
    /// A device.
    #[error(transparent)]
    Device(#[from] KeepError),
    /// Too many devices, those that go included.
    #[error("device: {DEVICES_MAX} at most, and those that go count until they are gone")]
    Full,
    /// The policy cannot be brought into force for the new devices.
    #[error(transparent)]
    Policy(#[from] ApplyError),
    /// Nobody brings policies into force any more.
    #[error("the dataplane is ending")]
    Ending,
}

/// What a new configuration changes.
struct Plan {
    gone: Vec<usize>,
    /// Devices that stay, with what is new of them.
    kept: Vec<(usize, DeviceConfig)>,
    come: Vec<(usize, DeviceConfig)>,
}

impl DeviceKeeper {
    /// Reads the configuration again and takes it, or says why not. Returns how many devices are configured then.
    pub async fn reload(&mut self, changes: &mpsc::Sender<DeviceChange>) -> Result<usize, ReloadError> {
        let Some((running, path)) = self.config.clone() else { return Err(ReloadError::Ending) };
        match self.take_config(&running, &path, changes).await {
            Ok(()) => {
                let devices = self.entries.iter().flatten().count();
                tracing::info!(path = %path.display(), devices, "configuration read again");
                Ok(devices)
            }
            Err(error) => {
                tracing::error!(%error, "configuration not taken; the running one stays");
                Err(error)
            }
        }
    }

    async fn take_config(
        &mut self,
        running: &Config,
        path: &std::path::Path,
        changes: &mpsc::Sender<DeviceChange>,
    ) -> Result<(), ReloadError> {
        let read = Config::read(path)?;
        if let Some(key) = running.fixed_difference(&read) {
            return Err(ReloadError::Fixed(format!("{}: {key}", path.display())));
        }
        let plan = self.plan(&read)?;
        let come: Vec<DeviceConfig> = plan.come.iter().map(|(_, device)| device.clone()).collect();
        topology_commands::check(&come, read.take_uplink).map_err(KeepError::from)?.caution();
        publish(self.roles(&plan), changes).await?;
        for number in &plan.gone {
            self.dismiss(*number)?;
        }
        self.obeyed().await?;
        self.close_retired();
        self.config = Some((read, path.to_owned()));
        for (number, wanted) in plan.kept {
            self.retrain(number, wanted)?;
        }
        for (number, wanted) in plan.come {
            self.entries[number] = Some(Entry { wanted, open: None, told: String::new() });
        }
        self.look();
        Ok(())
    }

    /// Returns what is to be done, with a number for each new device.
    fn plan(&self, read: &Config) -> Result<Plan, ReloadError> {
        let number_of = |name: &str| {
            self.entries
                .iter()
                .position(|entry| entry.as_ref().is_some_and(|entry| entry.wanted.name == name))
        };
        let stays = |entry: &Entry| read.devices.iter().any(|device| device.name == entry.wanted.name);
        let is_gone = |number: &usize| self.entries[*number].as_ref().is_some_and(|entry| !stays(entry));
        let gone = (0..DEVICES_MAX).filter(is_gone).collect();
        let mut free = (0..DEVICES_MAX).filter(|number| self.entries[*number].is_none());
        let (mut kept, mut come) = (Vec::new(), Vec::new());
        for device in &read.devices {
            match number_of(&device.name) {
                Some(number) => kept.push((number, device.clone())),
                None => come.push((free.next().ok_or(ReloadError::Full)?, device.clone())),
            }
        }
        Ok(Plan { gone, kept, come })
    }

    /// Returns the devices by number as they will be; a number without one has no segment and takes no frame.
    fn roles(&self, plan: &Plan) -> Vec<DeviceRole> {
        let nobody = || DeviceRole {
            name: String::new(),
            role: Role::Endpoint,
            segment: None,
            vlans: Vec::new(),
            ethertypes: Vec::new(),
        };
        let planned = plan.kept.iter().chain(&plan.come);
        let numbers = planned.clone().map(|(number, _)| number + 1).max().unwrap_or(0);
        let mut roles: Vec<DeviceRole> = (0..numbers).map(|_| nobody()).collect();
        planned.for_each(|(number, device)| roles[*number] = device.binding());
        roles
    }

    /// Gives a device back and forgets it.
    fn dismiss(&mut self, number: usize) -> Result<(), KeepError> {
        self.withdraw(number)?;
        self.unbook(number);
        self.facts.set(number, None);
        if let Some(entry) = self.entries[number].take() {
            tracing::info!(device = %entry.wanted.name, "device given back");
        }
        Ok(())
    }

    /// Takes over what is new of a device that stays.
    fn retrain(&mut self, number: usize, wanted: DeviceConfig) -> Result<(), KeepError> {
        let Some(entry) = &mut self.entries[number] else { return Ok(()) };
        entry.wanted = wanted;
        let told = self.facts.read().into_iter().find(|(of, _)| *of == number);
        if let Some((_, facts)) = told {
            let role = role_word(entry.wanted.role).to_owned();
            self.facts.set(number, Some(DeviceFacts { role, ..facts }));
        }
        let Some(open) = &mut entry.open else { return Ok(()) };
        open.known.traits.may_be_partial = entry.wanted.may_be_partial();
        let (number, known) = (u16::try_from(number).unwrap_or(u16::MAX), open.known);
        self.order_all(|| Order::Know(number, Some(known)))
    }

    /// Waits until every worker has done what it was told.
    async fn obeyed(&self) -> Result<(), KeepError> {
        let all = async {
            while !self.desks.iter().all(crate::worker::OrderDesk::is_obeyed) {
                tokio::time::sleep(DETACH_POLL).await;
            }
        };
        let late = || self.desks.iter().position(|desk| !desk.is_obeyed()).unwrap_or(0);
        tokio::time::timeout(DETACH_TIMEOUT, all).await.map_err(|_| KeepError::Stuck(late()))
    }
}

/// Has the policy in force compiled for other devices.
async fn publish(devices: Vec<DeviceRole>, changes: &mpsc::Sender<DeviceChange>) -> Result<(), ReloadError> {
    let (done, outcome) = oneshot::channel();
    changes.send(DeviceChange { devices, done }).await.map_err(|_| ReloadError::Ending)?;
    Ok(outcome.await.map_err(|_| ReloadError::Ending)??)
}
