//! The recovery report: Markdown, JSON and one self-contained HTML page.
