//! How full a budget is, in steps that each mean that something is done.

/// A step; a higher one includes what the lower ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// Nothing is done.
    #[default]
    Calm,
    /// Open chunks go to the outputs before their time, and chunks that are on the disk leave memory.
    Flush,
    /// New connections are turned away.
    Close,
    /// Somebody waits for room: inputs that can wait do, the others drop and count.
    Full,
}

impl Pressure {
    /// By the part of the common room that is held, in percent.
    const STEPS: [(usize, Pressure); 2] = [(50, Pressure::Flush), (95, Pressure::Close)];

    pub(crate) fn of(held: usize, room: usize, waited_for: bool) -> Pressure {
        if waited_for {
            return Pressure::Full;
        }
        let reached = |(percent, _): &&(usize, Pressure)| held >= room / 100 * percent;
        Pressure::STEPS.iter().rev().find(reached).map_or(Pressure::Calm, |(_, step)| *step)
    }

    /// The word for it in logs and figures.
    pub fn word(self) -> &'static str {
        match self {
            Pressure::Calm => "calm",
            Pressure::Flush => "flush",
            Pressure::Close => "close",
            Pressure::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_with_what_is_held_and_is_full_when_somebody_waits() {
        let steps: Vec<&str> =
            [0, 49, 50, 94, 95, 100].map(|held| Pressure::of(held * 10, 1_000, false).word()).to_vec();
        assert_eq!(steps, ["calm", "calm", "flush", "flush", "close", "close"]);
        assert_eq!(Pressure::of(0, 1_000, true), Pressure::Full);
        assert!(Pressure::Calm < Pressure::Flush && Pressure::Close < Pressure::Full);
    }
}
