//! Chance that can be had again.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64 (Steele, Lea and Flood, 2014): one line of state, and good enough to choose moments with.
pub struct Random(u64);

impl Random {
    /// By `WATCHKEEPER_TEST_SEED`, else another one each time. It is printed, so a failure can be run again.
    pub fn seeded() -> Self {
        let given = std::env::var("WATCHKEEPER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("the seed is {seed}; WATCHKEEPER_TEST_SEED={seed} chooses the same moments again");
        Self(seed)
    }

    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least `from`, less than `to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.step() % (to - from)
    }
}
