//! Recorded hosts, and the alerts that this playbook claims.

use plugin_high_cpu::HighCpu;
use watchkeeper_sdk::testing;

#[test]
fn every_scenario_is_diagnosed() {
    testing::scenarios::<HighCpu>(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"));
}

#[test]
fn it_claims_its_own_alerts_alone() {
    testing::claims::<HighCpu>("cpu");
}
