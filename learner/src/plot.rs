//! What the plots of all reports have in common: strokes by place, keys beside their names, a box around these.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

/// What a plot cannot be drawn for.
pub(crate) type PlotError = Box<dyn std::error::Error>;

/// Width of a key in pixels.
const KEY_PIXELS: i32 = 16;

/// Returns the stroke of the line at this place.
pub(crate) fn stroke(place: usize) -> ShapeStyle {
    Palette99::pick(place).stroke_width(2)
}

/// Returns what stands beside the name of the line at this place.
pub(crate) fn key(place: usize) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new([(x, y), (x + KEY_PIXELS, y)], stroke(place))
}

/// Draws the names of the lines into a corner.
pub(crate) fn legend<'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    corner: SeriesLabelPosition,
) -> Result<(), PlotError> {
    let labels = &mut chart.configure_series_labels();
    labels.position(corner).background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}
