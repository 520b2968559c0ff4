package export_watchkeeper_plugin_health

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_types"
)

type failed = watchkeeper_plugin_types.Error

func Check() witTypes.Result[witTypes.Unit, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Checker]("health")
	if !ok {
		return witTypes.Err[witTypes.Unit, failed](missing)
	}
	if err := plugin.Check(); err != nil {
		return witTypes.Err[witTypes.Unit, failed](convert.LowerError(err))
	}
	return witTypes.Ok[witTypes.Unit, failed](witTypes.Unit{})
}
