//! The file that is written.

use super::BlendError;
use super::rows::Row;
use crate::flow_csv::COLUMNS;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Refuses to write over what is to be read.
pub(super) fn check(out: &Path, inputs: [&[PathBuf]; 3]) -> Result<(), BlendError> {
    let Ok(place) = out.canonicalize() else { return Ok(()) };
    let is_input =
        inputs.into_iter().flatten().any(|path| path.canonicalize().is_ok_and(|input| input == place));
    if is_input { Err(BlendError::OutIsInput(out.into())) } else { Ok(()) }
}

/// Writes the rows. The file gets its name when it is whole.
pub(super) fn write(out: &Path, rows: &[Row]) -> Result<(), BlendError> {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = write_part(&part, out.extension().is_some_and(|end| end == "gz"), rows)
        .and_then(|()| std::fs::rename(&part, out));
    written.map_err(|error| {
        // It may not even exist; the first error is the one to tell.
        let _ = std::fs::remove_file(&part);
        BlendError::Out(out.into(), error)
    })
}

fn write_part(part: &Path, is_gzip: bool, rows: &[Row]) -> io::Result<()> {
    let file = BufWriter::new(File::create(part)?);
    if is_gzip {
        // Its head has no time of writing, so that equal rows give equal bytes.
        let packed = write_rows(GzEncoder::new(file, Compression::default()), rows)?;
        packed.finish()?.flush()
    } else {
        write_rows(file, rows)?.flush()
    }
}

fn write_rows<W: Write>(out: W, rows: &[Row]) -> io::Result<W> {
    let mut lines = csv::Writer::from_writer(out);
    lines.write_record(COLUMNS)?;
    for row in rows {
        lines.write_byte_record(row.text())?;
    }
    lines.into_inner().map_err(csv::IntoInnerError::into_error)
}
