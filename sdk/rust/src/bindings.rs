//! What wit-bindgen makes of the contract: the shared nouns once, and one module for each export.
//!
//! There is one world an export, and the `export!` macro of each is expanded in the plugin's own crate. So a component
//! carries the description of exactly what its plugin registered; the linker merges the descriptions. The types are
//! generated once, in `nouns`, and shared through `with`, so that a parser's `Alert` is a playbook's `Alert`.

#![allow(unsafe_code, reason = "the ABI's glue, as generated")]
#![allow(missing_docs, unreachable_pub, reason = "as generated; the documentation is the WIT's own")]

/// `types`, `investigation` and `logging`: all that the interfaces have in common.
pub mod nouns {
    wit_bindgen::generate!({
        inline: "
            package watchkeeper:sdk;
            world nouns {
                import watchkeeper:plugin/types@0.1.0;
                import watchkeeper:plugin/logging@0.1.0;
                import watchkeeper:plugin/investigation@0.1.0;
            }
        ",
        path: "../../wit/v0.1.0",
        runtime_path: "::watchkeeper_sdk::__private::wit_bindgen::rt",
        additional_derives: [PartialEq],
        generate_unused_types: true,
        generate_all,
        // Ours, because the generated one displays itself in Rust's debug notation.
        with: { "watchkeeper:plugin/types@0.1.0/error": ::watchkeeper_sdk::Error },
    });
}

/// `types` with our own `Error` in it.
pub mod types {
    pub use super::nouns::watchkeeper::plugin::types::*;
    pub use crate::types::Error;
}

macro_rules! world {
    ($module:ident, $world:literal, { $($with:tt)* }) => {
        pub mod $module {
            wit_bindgen::generate!({
                world: $world,
                path: "../../wit/v0.1.0",
                runtime_path: "::watchkeeper_sdk::__private::wit_bindgen::rt",
                default_bindings_module: "::watchkeeper_sdk::__private",
                additional_derives: [PartialEq],
                pub_export_macro: true,
                with: {
                    "watchkeeper:plugin/logging@0.1.0": ::watchkeeper_sdk::__private::nouns::watchkeeper::plugin::logging,
                    $($with)*
                },
            });
        }
    };
}

macro_rules! world_of_alerts {
    ($module:ident, $world:literal) => {
        world!($module, $world, {
            "watchkeeper:plugin/types@0.1.0": ::watchkeeper_sdk::__private::types,
        });
    };
}

macro_rules! world_of_investigations {
    ($module:ident, $world:literal) => {
        world!($module, $world, {
            "watchkeeper:plugin/types@0.1.0": ::watchkeeper_sdk::__private::types,
            "watchkeeper:plugin/investigation@0.1.0":
                ::watchkeeper_sdk::__private::nouns::watchkeeper::plugin::investigation,
        });
    };
}

#[cfg(feature = "live")]
pub mod live {
    wit_bindgen::generate!({
        world: "watchkeeper:experimental/live-source-plugin",
        path: ["../../wit/v0.1.0", "../../wit/experimental"],
        runtime_path: "::watchkeeper_sdk::__private::wit_bindgen::rt",
        default_bindings_module: "::watchkeeper_sdk::__private",
        pub_export_macro: true,
        with: {
            "watchkeeper:plugin/logging@0.1.0": ::watchkeeper_sdk::__private::nouns::watchkeeper::plugin::logging,
            "watchkeeper:plugin/types@0.1.0": ::watchkeeper_sdk::__private::types,
        },
    });
}

/// WASI 0.3, as far as a live source needs it.
#[cfg(feature = "live")]
pub mod subscriber {
    wit_bindgen::generate!({
        world: "watchkeeper:wasi/subscriber",
        path: "../../wit/wasi-subscriber.wit",
        runtime_path: "::watchkeeper_sdk::__private::wit_bindgen::rt",
        generate_all,
    });
}

world_of_alerts!(source, "source-plugin");
world_of_alerts!(parser, "parser-plugin");
world_of_alerts!(responder, "responder-plugin");
world_of_alerts!(poller, "poller-plugin");
world_of_alerts!(health, "health-plugin");
world_of_investigations!(prompt_builder, "prompt-builder-plugin");
world_of_investigations!(playbook, "playbook-plugin");
