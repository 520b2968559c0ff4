package export_watchkeeper_plugin_poller

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_poller"
)

type (
	batch  = watchkeeper_plugin_poller.Batch
	failed = watchkeeper_plugin_poller.Error
)

func Fetch(cursor witTypes.Option[string]) witTypes.Result[batch, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Poller]("poller")
	if !ok {
		return witTypes.Err[batch, failed](missing)
	}
	fetched, err := plugin.Fetch(convert.Pointer(cursor))
	if err == nil {
		err = convert.Check(fetched.Alerts)
	}
	if err != nil {
		return witTypes.Err[batch, failed](convert.LowerError(err))
	}
	return witTypes.Ok[batch, failed](batch{
		Alerts: convert.LowerAlerts(fetched.Alerts),
		Cursor: convert.Option(fetched.Cursor),
		More:   fetched.More,
	})
}
