//! `register!`: from a plugin's types to a component's exports.

#![allow(missing_docs, reason = "public for what the macro expands to, and for nobody else")]

use std::cell::RefCell;

use crate::{Error, Feed, Health, Parser, Playbook, Poller, PromptBuilder, Responder, Source};

/// Says what the component exports: any subset of `source`, `parser`, `responder`, `poller`, `health`, `prompt_builder`
/// and `playbook`, each with the type that implements it; or `source` and `live_source`. Once in a plugin, at the root of its
/// crate.
///
/// ```
/// # use watchkeeper_sdk::*;
/// # #[derive(serde::Deserialize)] pub struct Config {}
/// # pub struct Mine;
/// # impl Source for Mine {
/// #     type Config = Config;
/// #     fn configure(_: Config) -> Result<(Self, Feed), Error> { Ok((Mine, Feed::webhook("/mine"))) }
/// # }
/// # impl Parser for Mine { fn parse(&self, _: Payload) -> Result<Vec<Alert>, Error> { Ok(vec![]) } }
/// watchkeeper_sdk::register! { source: Mine, parser: Mine }
/// ```
///
/// With a `source`, `parser`, `responder`, `poller` and `health` must be that same type: they are called on the value
/// that [`Source::configure`] made. Without one, each is made with `Default`.
///
/// On native targets the macro only checks the types, so a plugin's crate is also a plain library there, for tests and
/// benchmarks, and several of them go into one binary.
#[macro_export]
macro_rules! register {
    ($($export:ident : $plugin:ty),+ $(,)?) => {
        const _: () = {
            $( $crate::__register!(@check $export $plugin); )+
        };
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the ABI's glue, as generated")]
        const _: () = {
            struct Component;
            $crate::__register!(@instance $($export $plugin,)+);
            $( $crate::__register!(@export $export $plugin); )+
        };
    };
}

/// The parts of `register!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    (@check source $plugin:ty) => { $crate::__private::is_source::<$plugin>() };
    (@check parser $plugin:ty) => { $crate::__private::is_parser::<$plugin>() };
    (@check responder $plugin:ty) => { $crate::__private::is_responder::<$plugin>() };
    (@check poller $plugin:ty) => { $crate::__private::is_poller::<$plugin>() };
    (@check health $plugin:ty) => { $crate::__private::is_health::<$plugin>() };
    (@check prompt_builder $plugin:ty) => { $crate::__private::is_prompt_builder::<$plugin>() };
    (@check playbook $plugin:ty) => { $crate::__private::is_playbook::<$plugin>() };
    (@check live_source $plugin:ty) => { $crate::__private::is_live_source::<$plugin>() };
    (@check $other:ident $plugin:ty) => {
        ::std::compile_error!(::std::concat!(
            "`", ::std::stringify!($other), "` is none of: source, parser, responder, poller, health, prompt_builder, playbook, live_source"
        ));
    };

    // `instance(|plugin| …)`: the one that `configure` made, or a default one where the plugin is no source.
    (@instance source $plugin:ty, $($rest:tt)*) => {
        ::std::thread_local! {
            static CONFIGURED: $crate::__private::Configured<$plugin> = const { $crate::__private::Configured::none() };
        }
        fn instance<R>(
            call: impl FnOnce(&$plugin) -> ::std::result::Result<R, $crate::Error>,
        ) -> ::std::result::Result<R, $crate::Error> {
            CONFIGURED.with(|configured| configured.call(call))
        }
    };
    (@instance $export:ident $plugin:ty, $($rest:tt)*) => { $crate::__register!(@instance $($rest)*); };
    (@instance) => {
        #[allow(dead_code, reason = "only parsers and their like are called on an instance")]
        fn instance<P: ::std::default::Default, R>(
            call: impl FnOnce(&P) -> ::std::result::Result<R, $crate::Error>,
        ) -> ::std::result::Result<R, $crate::Error> {
            call(&P::default())
        }
    };

    (@export source $plugin:ty) => {
        impl $crate::__private::source::exports::watchkeeper::plugin::source::Guest for Component {
            fn configure(config_json: ::std::string::String) -> ::std::result::Result<$crate::Feed, $crate::Error> {
                CONFIGURED.with(|configured| configured.configure(&config_json))
            }
        }
        $crate::__private::source::export!(Component with_types_in $crate::__private::source);
    };
    (@export parser $plugin:ty) => {
        impl $crate::__private::parser::exports::watchkeeper::plugin::parser::Guest for Component {
            fn parse(
                payload: $crate::Payload,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Alert>, $crate::Error> {
                instance(|plugin: &$plugin| $crate::Parser::parse(plugin, payload))
            }
        }
        $crate::__private::parser::export!(Component with_types_in $crate::__private::parser);
    };
    (@export responder $plugin:ty) => {
        impl $crate::__private::responder::exports::watchkeeper::plugin::responder::Guest for Component {
            fn respond(
                payload: $crate::Payload,
            ) -> ::std::result::Result<::std::option::Option<$crate::Reply>, $crate::Error> {
                instance(|plugin: &$plugin| $crate::Responder::respond(plugin, payload))
            }
        }
        $crate::__private::responder::export!(Component with_types_in $crate::__private::responder);
    };
    (@export poller $plugin:ty) => {
        impl $crate::__private::poller::exports::watchkeeper::plugin::poller::Guest for Component {
            fn fetch(
                cursor: ::std::option::Option<::std::string::String>,
            ) -> ::std::result::Result<$crate::Batch, $crate::Error> {
                instance(|plugin: &$plugin| $crate::Poller::fetch(plugin, cursor))
            }
        }
        $crate::__private::poller::export!(Component with_types_in $crate::__private::poller);
    };
    (@export health $plugin:ty) => {
        impl $crate::__private::health::exports::watchkeeper::plugin::health::Guest for Component {
            fn check() -> ::std::result::Result<(), $crate::Error> {
                instance(|plugin: &$plugin| $crate::Health::check(plugin))
            }
        }
        $crate::__private::health::export!(Component with_types_in $crate::__private::health);
    };
    (@export prompt_builder $plugin:ty) => {
        impl $crate::__private::prompt_builder::exports::watchkeeper::plugin::prompt_builder::Guest for Component {
            fn score(alert: $crate::Alert) -> u32 {
                <$plugin as $crate::PromptBuilder>::score(&alert)
            }
            fn build(briefing: $crate::Briefing) -> ::std::result::Result<$crate::Prompt, $crate::Error> {
                <$plugin as $crate::PromptBuilder>::build(&briefing)
            }
        }
        $crate::__private::prompt_builder::export!(Component with_types_in $crate::__private::prompt_builder);
    };
    (@export playbook $plugin:ty) => {
        impl $crate::__private::playbook::exports::watchkeeper::plugin::playbook::Guest for Component {
            fn next(
                briefing: $crate::Briefing,
                outcomes: ::std::vec::Vec<$crate::Outcome>,
            ) -> ::std::result::Result<$crate::Step, $crate::Error> {
                <$plugin as $crate::Playbook>::next(&briefing, &outcomes)
            }
        }
        $crate::__private::playbook::export!(Component with_types_in $crate::__private::playbook);
    };
    (@export live_source $plugin:ty) => {
        impl $crate::__private::live::exports::watchkeeper::experimental::live_source::Guest for Component {
            async fn subscribe(
            ) -> ::std::result::Result<$crate::__private::wit_bindgen::StreamReader<$crate::Alert>, $crate::Error> {
                let plugin = instance(|plugin: &$plugin| ::std::result::Result::Ok(::std::clone::Clone::clone(plugin)))?;
                let subscribed = $crate::live::LiveSource::subscribe(plugin).await?;
                ::std::result::Result::Ok(subscribed.into_stream())
            }
        }
        $crate::__private::live::export!(Component with_types_in $crate::__private::live);
    };
    (@export $other:ident $plugin:ty) => {};
}

pub const fn is_source<P: Source>() {}
pub const fn is_parser<P: Parser>() {}
pub const fn is_responder<P: Responder>() {}
pub const fn is_poller<P: Poller>() {}
pub const fn is_health<P: Health>() {}
pub const fn is_prompt_builder<P: PromptBuilder>() {}
pub const fn is_playbook<P: Playbook>() {}
#[cfg(feature = "live")]
pub const fn is_live_source<P: crate::live::LiveSource>() {}

/// The one value that a plugin keeps from call to call: what `configure` made of the source's file.
pub struct Configured<P>(RefCell<Option<P>>);

impl<P: Source> Configured<P> {
    pub const fn none() -> Self {
        Configured(RefCell::new(None))
    }

    pub fn configure(&self, config_json: &str) -> Result<Feed, Error> {
        let (plugin, feed) = crate::config::configure(config_json)?;
        self.0.replace(Some(plugin));
        #[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
        crate::arena::open();
        Ok(feed)
    }

    pub fn call<R>(&self, call: impl FnOnce(&P) -> Result<R, Error>) -> Result<R, Error> {
        match &*self.0.borrow() {
            Some(plugin) => call(plugin),
            None => Err(Error::failed("called before `configure`")),
        }
    }
}
