package export_watchkeeper_plugin_responder

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_responder"
	"wit_component/watchkeeper_plugin_types"
)

type (
	reply  = witTypes.Option[watchkeeper_plugin_responder.Reply]
	failed = watchkeeper_plugin_types.Error
)

func Respond(payload watchkeeper_plugin_types.Payload) witTypes.Result[reply, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Responder]("responder")
	if !ok {
		return witTypes.Err[reply, failed](missing)
	}
	answer, err := plugin.Respond(convert.LiftPayload(payload))
	if err != nil {
		return witTypes.Err[reply, failed](convert.LowerError(err))
	}
	if answer == nil {
		return witTypes.Ok[reply, failed](witTypes.None[watchkeeper_plugin_responder.Reply]())
	}
	return witTypes.Ok[reply, failed](witTypes.Some(watchkeeper_plugin_responder.Reply{
		Status:  answer.Status,
		Headers: convert.LowerPairs(answer.Headers),
		Body:    answer.Body,
	}))
}
