//! A real `meshgate-control`, taken from the folder of the built programs, with its state in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A control plane of its own, with its state in a folder of its own, until it is dropped.
pub struct Control {
    process: Child,
    directory: PathBuf,
}

impl Control {
    /// Starts one; none if the program has not been built.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub fn start() -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let program = Path::new(env!("CARGO_BIN_EXE_meshgate")).with_file_name("meshgate-control");
        if !program.exists() {
            println!("skipped: {} is not there; cargo build -p meshgate-control makes it", program.display());
            return None;
        }
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("meshgate-real-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("control.toml");
        let (socket, state) = (directory.join("control.sock"), directory.join("state"));
        let text = format!("listen = \"unix:{}\"\nstate_dir = \"{}\"\n", socket.display(), state.display());
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(config).env("MESHGATE_LOG", "info").env("NO_COLOR", "1");
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        while !socket.exists() {
            // A line is written at the latest when the socket is there; the end of the log is the end of the program.
            assert!(log.read_line(&mut said).unwrap() > 0, "control ended: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { process, directory })
    }

    /// Returns where it listens.
    pub fn server(&self) -> String {
        format!("unix:{}", self.directory.join("control.sock").display())
    }

    /// Runs a command line.
    pub fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_meshgate"))
            .args(line.split_whitespace())
            .current_dir(&self.directory)
            .env("MESHGATE_SERVER", self.server())
            .env("MESHGATE_USER", "alice")
            .output()
            .unwrap()
    }

    /// Runs a command line that must succeed and returns what it printed.
    pub fn done(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command line that must be refused with code 1 and returns the one line of the complaint.
    pub fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{line}: {complaint}");
        complaint.trim_start_matches("meshgate: ").trim_end().to_owned()
    }

    /// Reads a file of the folder in which command lines run.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(name)).unwrap()
    }

    /// Returns whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    /// Writes a file into the folder in which command lines run.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
