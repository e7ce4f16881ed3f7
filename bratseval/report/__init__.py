"""report.html: what a result folder says, as one page that needs no network."""
