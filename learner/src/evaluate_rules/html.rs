//! A report about rules as a page that needs nothing else: the curve is drawn in it.

use super::curve::Point;
use super::markdown;
use super::report::{Recorded, Report};
use crate::report_page;
use std::fmt::Write;

/// Size of the drawing and of its margin, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 50.0;
/// What the page calls the curve.
const CURVE: &str = "curve";
/// Parts of an axis between two lines.
const TICKS: u8 = 10;

/// Returns the page.
pub fn page(report: &Report) -> String {
    let text = markdown::text(report);
    let Some(recorded) = &report.recorded else { return report_page::page("Rules", &text, &[]) };
    let curve = drawing(recorded);
    report_page::page("Rules", &format!("{text}\n![The curve]({CURVE})\n"), &[(CURVE, &curve)])
}

/// Returns the curve, its hindsight optimum and the baselines as SVG: coverage above over-permissiveness.
fn drawing(recorded: &Recorded) -> String {
    let x = |share: f64| MARGIN + share * (WIDTH - 2.0 * MARGIN);
    let y = |share: f64| HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
    // Writing into a text cannot fail.
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\">\n");
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (at_x, at_y, left, top) = (x(share), y(share), x(0.0), y(1.0));
        let (right, bottom) = (x(1.0), y(0.0));
        _ = writeln!(
            svg,
            "<path d=\"M{at_x:.1} {bottom:.1}V{top:.1}M{left:.1} {at_y:.1}H{right:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share:.1}</text>\
             <text x=\"{:.1}\" y=\"{at_y:.1}\" text-anchor=\"end\">{share:.1}</text>",
            bottom + 16.0,
            left - 6.0
        );
    }
    _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">over-permissiveness</text>\
         <text x=\"{MARGIN}\" y=\"20\">share of later tuples covered</text>",
        x(0.5),
        HEIGHT - 12.0
    );
    for (points, colour, name, line) in [
        (&recorded.curve, "#06c", "mined", true),
        (&recorded.hindsight, "#080", "hindsight", true),
        (&recorded.baselines, "#c30", "without a choice", false),
    ] {
        series(&mut svg, points, colour, (&x, &y), line);
        let Some(last) = points.last() else { continue };
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            x(last.over_permissiveness) - 8.0,
            y(last.tuples_covered) - 6.0
        );
    }
    svg + "</svg>\n"
}

/// Draws the points, and a line through them.
fn series(
    svg: &mut String,
    points: &[Point],
    colour: &str,
    (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
    line: bool,
) {
    let places: Vec<(f64, f64)> =
        points.iter().map(|point| (x(point.over_permissiveness), y(point.tuples_covered))).collect();
    if line {
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", path.join(" "));
    }
    for ((x, y), point) in places.iter().zip(points) {
        _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {} rules, {:.4}, tuples {:.4}, \
             flows {:.4}</title></circle>",
            escaped(&point.method),
            point.rules,
            point.over_permissiveness,
            point.tuples_covered,
            point.flows_covered
        );
    }
}

/// Returns the text with what HTML would read as its own written out: names of groups and files come from outside.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
