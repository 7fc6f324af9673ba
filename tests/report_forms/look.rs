//! The report as a browser and a printer show it. Heavy: it needs a Chromium and poppler's programs.
//! What it saw stays in `target/report-look` for people.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wide window, and a telephone's.
const WIDTHS: [u32; 2] = [1280, 390];

/// The report in a frame of that width: a browser without a screen makes no window narrower than 500.
fn framed(page: &str, width: u32) -> String {
    let inner = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"/><style>body{{margin:0}}iframe{{border:0;\
         width:{width}px;height:6000px}}</style></head><body><iframe id=\"report\" srcdoc=\"{inner}\">\
         </iframe><script>addEventListener('load', () => {{\
         const frame = document.getElementById('report'), page = frame.contentDocument;\
         const root = page.documentElement, drawn = svg => svg.getBoundingClientRect();\
         const seen = {{ scroll: root.scrollWidth, width: root.clientWidth,\
         requests: frame.contentWindow.performance.getEntriesByType('resource').length,\
         charts: [...page.querySelectorAll('svg')].filter(svg => drawn(svg).width > 200 && \
         drawn(svg).height > 10).length,\
         narrowest: Math.min(...[...page.querySelectorAll('td')].map(drawn).map(cell => cell.width)),\
         scripts: page.querySelectorAll('script').length }};\
         document.body.setAttribute('data-seen', JSON.stringify(seen)); }});</script></body></html>"
    )
}

fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
}

fn browse(browser: &str, folder: &Path, arguments: &[String]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--hide-scrollbars", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-look");
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
#[ignore = "heavy: see make test-report"]
fn the_page_stands_in_a_browser_at_both_widths() {
    let Some(browser) = chromium() else {
        // `make test-report` gets one, and says so where it cannot.
        println!("NOT RUN: there is no Chromium here.");
        return;
    };
    let (folder, page) = (folder(), crate::escalated().report().html());
    fs::write(folder.join("report.html"), &page).unwrap();
    for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    for width in WIDTHS {
        let name = format!("frame-{width}.html");
        fs::write(folder.join(&name), framed(&page, width)).unwrap();
        let address = format!("file://{}", folder.join(&name).display());
        let told = browse(browser, &folder, &[String::from("--dump-dom"), address.clone()]);
        let seen = told.split("data-seen=\"").nth(1).and_then(|rest| rest.split('"').next());
        let seen = seen.expect("the page was looked at").replace("&quot;", "\"");
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let number = |name: &str| seen[name].as_u64().unwrap();
        assert_eq!(number("width"), u64::from(width), "{seen}");
        assert!(number("scroll") <= number("width"), "it scrolls sideways at {width}: {seen}");
        assert_eq!(number("requests"), 0, "{seen}");
        assert_eq!(number("scripts"), 0, "{seen}");
        assert!(number("charts") >= 5, "{seen}");
        // A column of single letters is no column.
        assert!(seen["narrowest"].as_f64().unwrap() > 40.0, "{seen}");
        let shot = folder.join(format!("report-{width}.png"));
        let _ = fs::remove_file(&shot);
        let window = format!("--window-size={},6000", width.max(500));
        browse(browser, &folder, &[format!("--screenshot={}", shot.display()), window, address]);
        assert!(fs::metadata(&shot).unwrap().len() > 20_000, "{}", shot.display());
    }
}

#[test]
#[ignore = "heavy: see make test-report"]
fn the_print_has_its_words_and_its_drawings() {
    if Command::new("pdftoppm").arg("-v").output().is_err() {
        println!("NOT RUN: there is no pdftoppm here (poppler-utils).");
        return;
    }
    let folder = folder();
    let path = folder.join("report.pdf");
    fs::write(&path, crate::escalated().report().pdf().unwrap()).unwrap();
    let text = Command::new("pdftotext").args(["-layout"]).arg(&path).arg("-").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    for words in [
        "Recovery report INC-20260113-001",
        "Whose time it was",
        "Senior site reliability engineer",
        "Everything that was done",
        "Page 1 of ",
    ] {
        assert!(text.contains(words), "{words} is not in the print:\n{text}");
    }
    for old in fs::read_dir(&folder).unwrap().flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        if name.starts_with("page-") {
            fs::remove_file(old.path()).unwrap();
        }
    }
    let drawn = Command::new("pdftoppm")
        .args(["-png", "-r", "80"])
        .arg(&path)
        .arg(folder.join("page"))
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let pages = fs::read_dir(&folder).unwrap().flatten();
    let pages = pages.filter(|file| file.file_name().to_string_lossy().starts_with("page-"));
    assert!(pages.count() >= 3, "the whole report is on several pages");
}
