//! Prints the screens of a made-up incident, to look at them: `cargo run --example screens --
//! [scene|all] [80x24] [dark|light|mono] [ascii]`.

#[path = "../tests/screens/fixture.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod fixture;
#[path = "../tests/screens/full.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod full;
#[path = "../tests/screens/parts.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod parts;
#[path = "../tests/screens/salvage.rs"]
#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "shared with the tests")]
mod salvage;

use lifeboat::app::model::Event;
use lifeboat::app::update::update;
use lifeboat::screens::theme::{Palette, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|a| a == word);
    let palette = match () {
        () if has("light") => Palette::Light,
        () if has("mono") => Palette::Mono,
        () => Palette::Dark,
    };
    let theme = Theme { palette, ascii: has("ascii") };
    let size = arguments.iter().find_map(|a| {
        let (w, h) = a.split_once('x')?;
        Some((w.parse::<u16>().ok()?, h.parse::<u16>().ok()?))
    });
    let (width, height) = size.unwrap_or((80, 24));
    for (name, mut app) in fixture::scenes(theme) {
        if !has(name) && !has("all") {
            continue;
        }
        update(&mut app, Event::Resize(width, height));
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        lifeboat::screens::draw(&app.view, area, &mut buffer);
        println!("=== {name} {width}x{height}");
        print(&buffer, has("plain"));
    }
}

fn print(buffer: &Buffer, plain: bool) {
    let area = buffer.area;
    for y in 0..area.height {
        let mut line = String::new();
        for x in 0..area.width {
            let Some(cell) = buffer.cell((x, y)) else { continue };
            if !plain {
                line.push_str("\x1b[0m");
                for (set, code) in
                    [(Modifier::BOLD, "1"), (Modifier::UNDERLINED, "4"), (Modifier::REVERSED, "7")]
                {
                    if cell.modifier.contains(set) {
                        line.push_str(&format!("\x1b[{code}m"));
                    }
                }
                if let Color::Indexed(i) = cell.fg {
                    line.push_str(&format!("\x1b[38;5;{i}m"));
                }
                if let Color::Indexed(i) = cell.bg {
                    line.push_str(&format!("\x1b[48;5;{i}m"));
                }
            }
            line.push_str(cell.symbol());
        }
        println!("{line}{}|", if plain { "" } else { "\x1b[0m" });
    }
}
