//! The namespaces of a run: a sender, a host with two devices, a receiver that counts and drops.
//!
//! ```text
//! near: eth0 ===== near :host: far ===== eth0 :far      each is a veth pair; traffic goes either way
//! ```
//! Names begin with the number of the process, so that the remains of a killed run are known and removed by the next one.

use super::VethError;
use super::program::{self, Program};
use meshgate_policy::Mac;
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What all names begin with.
const PREFIX: &str = "mgbench-";
/// What a process must be for its ground to be left alone.
const OWN_NAME: &str = "meshgate-bench";
/// Where namespaces have their names.
const NAMESPACES: &str = "/run/netns";
const PLACES: [&str; 3] = ["near", "host", "far"];

/// One end of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first device's.
    Near,
    /// The second device's.
    Far,
}

impl Side {
    /// Returns its namespace, which is also the name of the host's device there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    /// Returns the other one.
    pub fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }

    /// Returns its MAC.
    pub fn mac(self) -> Mac {
        Mac([2, 0x55, 0, 0, 0, self.number()])
    }

    /// Returns its address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, 0, self.number())
    }

    fn number(self) -> u8 {
        match self {
            Self::Near => 1,
            Self::Far => 2,
        }
    }
}

/// Namespaces, devices and a folder, removed when dropped.
pub struct Ground {
    name: String,
    folder: PathBuf,
}

impl Ground {
    /// Makes all; each device has so many queues.
    pub fn new(queues: u32) -> Result<Self, VethError> {
        if !rustix::process::geteuid().is_root() {
            return Err(VethError::NotRoot);
        }
        sweep()?;
        let name = format!("{PREFIX}{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        // A folder that is there already is somebody else's.
        fs::create_dir(&folder).map_err(|error| VethError::Folder(folder.clone(), error))?;
        let ground = Self { name, folder };
        for place in PLACES {
            program::run(&format!("ip netns add {}", ground.namespace(place)))?;
            let off = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
            ground.on(place, &format!("sysctl -qw {off}"))?;
        }
        for side in [Side::Near, Side::Far] {
            ground.connect(side, queues)?;
        }
        Ok(ground)
    }

    /// Makes the pair of devices of a side, and the sink at its end.
    fn connect(&self, side: Side, queues: u32) -> Result<(), VethError> {
        let (name, host) = (side.name(), self.namespace("host"));
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        let peer = format!("peer name {name} {queues} netns {host}");
        self.on(name, &format!("ip link add eth0 address {} {queues} type veth {peer}", side.mac()))?;
        self.on(name, "ip link set eth0 up")?;
        self.on("host", &format!("ip link set {name} up"))?;
        let sink = "table netdev sink {\n  counter sunk { }\n  chain ingress {\n    \
                    type filter hook ingress device \"eth0\" priority 0\n    \
                    ip protocol udp counter name sunk drop\n    drop\n  }\n}\n";
        let file = self.write(&format!("sink-{name}.nft"), sink)?;
        self.on(name, &format!("nft -f {}", file.display())).map(drop)
    }

    /// Gives both ends addresses, for what is sent through the network stack.
    pub fn address(&self) -> Result<(), VethError> {
        for side in [Side::Near, Side::Far] {
            let other = side.other();
            self.on(side.name(), &format!("ip address add {}/24 dev eth0", side.address()))?;
            let neighbour = format!("{} lladdr {}", other.address(), other.mac());
            self.on(side.name(), &format!("ip neighbour add {neighbour} dev eth0"))?;
        }
        Ok(())
    }

    /// Takes programs off the host's devices that a forwarder may have left there.
    pub fn bare(&self) -> Result<(), VethError> {
        for side in [Side::Near, Side::Far] {
            self.on("host", &format!("ip link set {} xdp off", side.name()))?;
        }
        Ok(())
    }

    /// Returns the packets that arrived at a side so far.
    pub fn sunk(&self, side: Side) -> Result<u64, VethError> {
        let said = self.on(side.name(), "nft list counter netdev sink sunk")?;
        let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
        let packets = words.nth(1).and_then(|word| word.parse().ok());
        packets.ok_or_else(|| VethError::Command("nft list counter".to_owned(), said))
    }

    /// Returns the full name of a namespace.
    pub fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    /// Returns the run's own name, for what must not clash with other runs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command in a namespace and returns what it printed.
    pub fn on(&self, place: &str, line: &str) -> Result<String, VethError> {
        program::run(&format!("ip netns exec {} {line}", self.namespace(place)))
    }

    /// Starts a program in a namespace with all the priority there is; what it prints goes into a log of this name.
    pub fn start(&self, place: &str, log: &str, line: &str) -> Result<Program, VethError> {
        Program::urgent(
            &format!("ip netns exec {} {line}", self.namespace(place)),
            &self.path(&format!("{log}.log")),
        )
    }

    /// Returns the path of a file of this run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of this run.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, VethError> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| VethError::Folder(path.clone(), error))?;
        Ok(path)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.name, &self.folder);
    }
}

/// Removes what runs left whose process is gone.
pub fn sweep() -> Result<(), VethError> {
    let temporary = std::env::temp_dir();
    let number = |name: &str| name.strip_prefix(PREFIX)?.parse::<u32>().ok();
    let of_namespace = |name: String| number(name.rsplit_once('-')?.0);
    let of_folder = |name: String| number(&name);
    let namespaces = names(Path::new(NAMESPACES)).filter_map(of_namespace);
    let left: BTreeSet<u32> = namespaces.chain(names(&temporary).filter_map(of_folder)).collect();
    for number in left {
        let is_running =
            fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|comm| comm.trim() == OWN_NAME);
        if !is_running {
            let ground = format!("{PREFIX}{number}");
            println!("removing what run {number} left");
            remove(&ground, &temporary.join(&ground));
        }
    }
    Ok(())
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>().into_iter()
}

/// Ends what runs in the namespaces of a run, and removes them and its folder. Goes on whatever fails: the rest shall go.
fn remove(ground: &str, folder: &Path) {
    for place in PLACES {
        let namespace = format!("{ground}-{place}");
        if !Path::new(NAMESPACES).join(&namespace).exists() {
            continue;
        }
        if let Ok(inside) = program::run(&format!("ip netns pids {namespace}")) {
            inside.split_whitespace().filter_map(|number| number.parse().ok()).for_each(program::kill);
        }
        if let Err(error) = program::run(&format!("ip netns delete {namespace}")) {
            println!("{error}");
        }
    }
    // Anyone can make a folder in the temporary one: only one that is ours, and no link.
    let is_own = fs::symlink_metadata(folder).is_ok_and(|found| {
        found.is_dir() && std::os::unix::fs::MetadataExt::uid(&found) == rustix::process::geteuid().as_raw()
    });
    if is_own && let Err(error) = fs::remove_dir_all(folder) {
        println!("{}: {error}", folder.display());
    }
}
