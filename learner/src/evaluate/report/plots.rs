//! The curves of all methods as SVG.

use super::Row;
use crate::evaluate::metrics::Metrics;
use crate::plot::{PlotError, key, legend, stroke};
use plotters::prelude::*;

/// Name of the file with the ROC curves.
pub const ROC: &str = "roc.svg";

/// Name of the file with the precision-recall curves.
pub const PRECISION_RECALL: &str = "precision_recall.svg";

/// Name of the file with what nominal rates came to.
pub const CALIBRATION: &str = "calibration.svg";

/// Size in pixels.
const SIZE: (u32, u32) = (800, 560);

/// Left end of the logarithmic axis of false positives: a tenth of the smallest rate that is reported.
const RATE_MIN: f64 = 1e-4;

/// Factor between the points of a line over the logarithmic axis, where a straight line is a curve.
const RATE_STEP: f64 = 1.1;

/// A curve and what the legend says of it.
struct Line {
    legend: String,
    points: Vec<(f64, f64)>,
}

/// Returns the ROC curves, false positives on a logarithmic axis: only the left end is of use to anyone.
pub fn roc(rows: &[Row]) -> Result<String, PlotError> {
    let lines = lines(rows, |metrics| (metrics.roc_auc, along_logarithm(&metrics.curves.roc)));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("ROC", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d((RATE_MIN..1.0).log_scale(), 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_desc("false positive rate")
            .y_desc("true positive rate")
            .x_label_formatter(&|rate| format!("{rate}"))
            .draw()?;
        for (place, line) in lines.iter().enumerate() {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), stroke(place)))?
                .label(&line.legend)
                .legend(key(place));
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight)?;
        area.present()?;
    }
    Ok(svg)
}

/// Returns the curves of precision over recall.
pub fn precision_recall(rows: &[Row]) -> Result<String, PlotError> {
    let lines = lines(rows, |metrics| (metrics.pr_auc, metrics.curves.precision_recall.clone()));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Precision and recall", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart.configure_mesh().max_light_lines(1).x_desc("recall").y_desc("precision").draw()?;
        for (place, line) in lines.iter().enumerate() {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), stroke(place)))?
                .label(&line.legend)
                .legend(key(place));
        }
        legend(&mut chart, SeriesLabelPosition::LowerLeft)?;
        area.present()?;
    }
    Ok(svg)
}

/// Returns realised rates of false positives over nominal ones, both logarithmic, and the diagonal on which they agree. A
/// rate of zero has no logarithm: it lies on the lower edge.
pub fn calibration(rows: &[Row]) -> Result<String, PlotError> {
    let runs = rows.chunk_by(|one, next| one.method == next.method);
    let line = |runs: &[Row]| {
        let points = runs.first()?.metrics.as_ref()?.calibration.iter();
        let points = points.map(|point| (point.nominal_rate, point.realised_rate.max(RATE_MIN))).collect();
        Some(Line { legend: runs[0].method.clone(), points })
    };
    let lines: Vec<Line> = runs.filter_map(line).collect();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Thresholds fixed beforehand", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((RATE_MIN..1.0).log_scale(), (RATE_MIN..1.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("nominal false positive rate")
            .y_desc("realised false positive rate")
            .x_label_formatter(&|rate| format!("{rate}"))
            .y_label_formatter(&|rate| format!("{rate}"))
            .draw()?;
        chart.draw_series(LineSeries::new([(RATE_MIN, RATE_MIN), (1.0, 1.0)], BLACK.stroke_width(1)))?;
        for (place, line) in lines.iter().enumerate() {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), stroke(place)).point_size(3))?
                .label(&line.legend)
                .legend(key(place));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
        area.present()?;
    }
    Ok(svg)
}

/// Returns one line for each method, of its first run.
fn lines(rows: &[Row], curve: impl Fn(&Metrics) -> (f64, Vec<(f64, f64)>)) -> Vec<Line> {
    let runs = rows.chunk_by(|one, next| one.method == next.method);
    let line = |runs: &[Row]| {
        let (area, points) = curve(runs.first()?.metrics.as_ref()?);
        Some(Line { legend: format!("{} ({area:.3})", runs[0].method), points })
    };
    runs.filter_map(line).collect()
}

/// Returns a curve from [`RATE_MIN`] on, with points so close that straight lines between them are right.
fn along_logarithm(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for pair in curve.windows(2) {
        let ((x, y), (next_x, next_y)) = (pair[0], pair[1]);
        let mut at = x.max(RATE_MIN);
        while at < next_x {
            points.push((at, y + (next_y - y) * (at - x) / (next_x - x)));
            at *= RATE_STEP;
        }
    }
    points.extend(curve.last());
    points
}
