//! The view on a terminal, renewed until a person ends it.

use super::Looks;
use super::screen::lines;
use super::view::View;
use crate::failure::Failure;
use crate::inside_answers::Activity;
use crate::table::printable;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Size where the terminal does not tell.
const SIZE: (u16, u16) = (80, 24);
/// Keys that wait; more than the first one mean nothing.
const KEYS_MAX: usize = 4;
/// Ctrl-C, which a terminal in raw mode hands over like any other key.
const INTERRUPT: u8 = 3;

/// A terminal that is put back when dropped, whatever happened.
struct Terminal;

impl Terminal {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on there is something to put back.
        let taken = Self;
        let mut out = io::stdout();
        queue!(out, EnterAlternateScreen, Hide)?;
        out.flush()?;
        Ok(taken)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = io::stdout();
        // A terminal that is gone needs nothing.
        _ = queue!(out, Show, LeaveAlternateScreen);
        _ = out.flush();
        _ = disable_raw_mode();
    }
}

/// Shows the host until q or Ctrl-C. While control does not answer, the last view stays, and says so.
pub async fn run(mut looks: Looks<'_>, mut before: Activity, interval: Duration) -> Result<(), Failure> {
    let _terminal = Terminal::take().map_err(Failure::Output)?;
    let mut keys = keys();
    let mut told = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let mut view = View::between(&Activity::default(), before.clone());
    let mut trouble = String::new();
    loop {
        draw(&view, &trouble).map_err(Failure::Output)?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = told.recv() => return Ok(()),
            key = keys.recv() => match key {
                Some(b'q' | b'Q' | INTERRUPT) | None => return Ok(()),
                Some(_) => continue,
            },
        }
        match looks.look().await {
            Ok(after) => {
                view = View::between(&before, after.clone());
                (before, trouble) = (after, String::new());
            }
            Err(error) => trouble = printable(error.to_string()),
        }
    }
}

/// Returns what is typed. The thread that reads it ends with the program: nothing can end a read of a terminal.
fn keys() -> mpsc::Receiver<u8> {
    let (typed, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        for key in io::stdin().lock().bytes() {
            let Ok(key) = key else { return };
            if typed.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}

fn draw(view: &View, trouble: &str) -> io::Result<()> {
    let (columns, rows) = size().unwrap_or(SIZE);
    let (columns, room) = (usize::from(columns), usize::from(rows).saturating_sub(1));
    let mut out = io::BufWriter::new(io::stdout());
    let mut shown = 0;
    for line in lines(view, columns, room) {
        let is_heading = line.chars().next().is_some_and(char::is_uppercase) || line.starts_with("  RULE");
        let attribute = if shown == 0 || is_heading { Attribute::Bold } else { Attribute::Reset };
        queue!(out, MoveTo(0, shown), SetAttribute(attribute), Print(line))?;
        queue!(out, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
        shown += 1;
    }
    queue!(out, MoveTo(0, shown), Clear(ClearType::FromCursorDown))?;
    let below: String = if trouble.is_empty() { "q ends".to_owned() } else { format!("{trouble}; q ends") };
    let below: String = below.chars().take(columns).collect();
    queue!(out, MoveTo(0, rows.saturating_sub(1)), SetAttribute(Attribute::Dim), Print(below))?;
    queue!(out, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
    out.flush()
}
