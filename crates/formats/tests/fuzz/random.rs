//! Random numbers from a seed, and what is made of them.

/// Enough for bodies: a counter, well mixed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Cuts a body: all of it, its bytes, or pieces of any length.
    pub fn pieces<'a>(&mut self, body: &'a [u8]) -> Vec<&'a [u8]> {
        let most = [1, 3, 16, 100, 5000][self.below(5)];
        let (mut rest, mut pieces) = (body, Vec::new());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((1 + self.below(most)).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces
    }

    /// Changes a body in some place: by a bit, a byte, a token, or a piece of itself.
    pub fn damage(&mut self, body: &mut Vec<u8>, tokens: &[&[u8]]) {
        let at = self.below(body.len() + 1);
        let to = (at + self.below(12)).min(body.len());
        match self.below(7) {
            0 if at < body.len() => body[at] ^= 1 << self.below(8),
            1 if at < body.len() => body[at] = self.next() as u8,
            2 => drop(body.drain(at..to)),
            3 => body.truncate(at),
            4 => {
                let from = self.below(body.len() + 1);
                let piece = body[from..(from + self.below(40)).min(body.len())].to_vec();
                drop(body.splice(at..at, piece));
            }
            5 => drop(body.splice(at..to, self.pick(tokens).to_vec())),
            _ => drop(body.splice(at..at, self.pick(tokens).to_vec())),
        }
    }
}
