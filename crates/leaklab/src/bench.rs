pub fn command(_: &mut lexopt::Parser) -> Result<(), String> {
    Ok(())
}
