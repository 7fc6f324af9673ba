//! The two faces of the printed report, and how wide text is in them. Owns measuring and breaking of
//! lines; what the faces cannot show becomes a question mark, never a hole.

use krilla::text::Font;
use rustybuzz::ttf_parser::Face;

/// Regular and bold.
pub(super) struct Fonts {
    pub regular: Font,
    pub bold: Font,
    faces: [Face<'static>; 2],
}

impl Fonts {
    pub(super) fn load() -> Option<Self> {
        let face = |data: &'static [u8]| Face::parse(data, 0).ok();
        Some(Self {
            regular: Font::new(ttf_noto_sans::REGULAR.into(), 0)?,
            bold: Font::new(ttf_noto_sans::BOLD.into(), 0)?,
            faces: [face(ttf_noto_sans::REGULAR)?, face(ttf_noto_sans::BOLD)?],
        })
    }

    /// Text of which every character can be shown, on one line.
    pub(super) fn shown(&self, text: &str) -> String {
        let [regular, _] = &self.faces;
        let shown = |c: char| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() || regular.glyph_index(c).is_none() => '?',
            c => c,
        };
        text.chars().map(shown).collect()
    }

    /// Points.
    pub(super) fn width(&self, text: &str, size: f32, bold: bool) -> f32 {
        let face = &self.faces[usize::from(bold)];
        let units = f32::from(face.units_per_em());
        let advance = |c: char| {
            let glyph = face.glyph_index(c).unwrap_or_default();
            f32::from(face.glyph_hor_advance(glyph).unwrap_or_default())
        };
        text.chars().map(advance).sum::<f32>() / units * size
    }

    /// The text in lines that fit; a word that fits nowhere is broken.
    pub(super) fn wrap(&self, text: &str, size: f32, bold: bool, room: f32) -> Vec<String> {
        let text = self.shown(text);
        let fits = |line: &str| self.width(line, size, bold) <= room;
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if !fits(&line) && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::take(&mut line));
                    line.push(c);
                }
            }
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_shown_is_a_question_mark() {
        let fonts = Fonts::load().unwrap();
        assert_eq!(fonts.shown("Größe, Лодка\n\u{7}"), "Größe, Лодка ?");
        assert_eq!(fonts.shown("日本"), "??");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_room_and_nothing_is_lost(text in "[a-zäж ./-]{0,200}") {
            let fonts = Fonts::load().unwrap();
            let lines = fonts.wrap(&text, 9.5, false, 120.0);
            let joined: String = lines.concat().chars().filter(|c| *c != ' ').collect();
            let whole: String = fonts.shown(&text).chars().filter(|c| *c != ' ').collect();
            prop_assert_eq!(joined, whole);
            for line in lines {
                prop_assert!(fonts.width(&line, 9.5, false) <= 120.0);
            }
        }
    }
}
