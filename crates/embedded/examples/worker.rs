//! The measuring child by hand: lines of `loadline_embedded::protocol` on standard input.

fn main() -> Result<(), loadline_embedded::Error> {
    loadline_embedded::worker(std::io::stdin().lock(), std::io::stdout().lock())
}
