package export_watchkeeper_plugin_parser

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_types"
)

type (
	alerts = []watchkeeper_plugin_types.Alert
	failed = watchkeeper_plugin_types.Error
)

func Parse(payload watchkeeper_plugin_types.Payload) witTypes.Result[alerts, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Parser]("parser")
	if !ok {
		return witTypes.Err[alerts, failed](missing)
	}
	parsed, err := plugin.Parse(convert.LiftPayload(payload))
	if err == nil {
		err = convert.Check(parsed)
	}
	if err != nil {
		return witTypes.Err[alerts, failed](convert.LowerError(err))
	}
	return witTypes.Ok[alerts, failed](convert.LowerAlerts(parsed))
}
