//! The plots of a report as SVG: regret over the days, confidence against acceptance.

use super::trials::Place;
use crate::plot::{PlotError, key, legend, stroke};
use plotters::prelude::*;

/// Size in pixels.
const SIZE: (u32, u32) = (800, 480);

/// Returns the name of the file with the regret in a world.
pub fn regret_name(world: &str) -> String {
    format!("regret_{world}.svg")
}

/// Returns the name of the file with the calibration in a world.
pub fn calibration_name(world: &str) -> String {
    format!("calibration_{world}.svg")
}

/// Returns the curves of right suggestions that were missed, one for each ranking, of the first persona.
pub fn regret(place: &Place) -> Result<String, PlotError> {
    let rows = place.trials.first().map_or(&[][..], |trial| &trial.rows);
    let most =
        rows.iter().filter_map(|row| row.regret_by_day.last()).fold(1.0_f64, |most, end| most.max(*end));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("Right suggestions missed, {}", place.world), ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..place.days as f64, 0.0..most)?;
        chart.configure_mesh().max_light_lines(1).x_desc("days").y_desc("missed so far, mean").draw()?;
        for (at, row) in rows.iter().enumerate() {
            let points =
                row.regret_by_day.iter().enumerate().map(|(day, missed)| ((day + 1) as f64, *missed));
            chart
                .draw_series(LineSeries::new(std::iter::once((0.0, 0.0)).chain(points), stroke(at)))?
                .label(row.ranking)
                .legend(key(at));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
        area.present()?;
    }
    Ok(svg)
}

/// Returns confidence against acceptance, one line for each persona, and the line of a perfect predictor.
pub fn calibration(place: &Place) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("Confidence and acceptance, {}", place.world), ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart.configure_mesh().max_light_lines(1).x_desc("confidence shown").y_desc("share of yes").draw()?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.4)))?;
        for (at, trial) in place.trials.iter().enumerate() {
            let points = trial.calibration.iter().map(|point| (point.confidence, point.accepted));
            chart
                .draw_series(LineSeries::new(points, stroke(at)).point_size(3))?
                .label(trial.persona)
                .legend(key(at));
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
        area.present()?;
    }
    Ok(svg)
}
