//! Recorded hosts, and the alerts that this playbook claims.

use plugin_memory::Memory;
use watchkeeper_sdk::testing;

#[test]
fn every_scenario_is_diagnosed() {
    testing::scenarios::<Memory>(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"));
}

#[test]
fn it_claims_its_own_alerts_alone() {
    testing::claims::<Memory>("memory");
}
