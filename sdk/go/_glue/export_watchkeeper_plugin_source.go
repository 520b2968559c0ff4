package export_watchkeeper_plugin_source

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_source"
)

type (
	feed   = watchkeeper_plugin_source.Feed
	failed = watchkeeper_plugin_source.Error
)

func Configure(config string) witTypes.Result[feed, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Source]("source")
	if !ok {
		return witTypes.Err[feed, failed](missing)
	}
	configured, err := plugin.Configure([]byte(config))
	if err != nil {
		return witTypes.Err[feed, failed](convert.LowerError(err))
	}
	return witTypes.Ok[feed, failed](lower(configured))
}

func lower(configured watchkeeper.Feed) feed {
	switch {
	case configured.PollIntervalMS != 0:
		return watchkeeper_plugin_source.MakeFeedPoll(
			watchkeeper_plugin_source.PollFeed{IntervalMs: configured.PollIntervalMS})
	case configured.Transport != "":
		return watchkeeper_plugin_source.MakeFeedSubscription(watchkeeper_plugin_source.SubscriptionFeed{
			Transport: configured.Transport,
			Settings:  convert.LowerPairs(configured.Settings),
		})
	default:
		return watchkeeper_plugin_source.MakeFeedWebhook(
			watchkeeper_plugin_source.WebhookFeed{Path: configured.WebhookPath})
	}
}
