package export_watchkeeper_plugin_playbook

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/investigate"
	"wit_component/watchkeeper_plugin_investigation"
	"wit_component/watchkeeper_plugin_playbook"
	"wit_component/watchkeeper_plugin_types"
)

type (
	step   = watchkeeper_plugin_playbook.Step
	failed = watchkeeper_plugin_types.Error
)

func Next(
	briefing watchkeeper_plugin_investigation.Briefing,
	outcomes []watchkeeper_plugin_investigation.Outcome,
) witTypes.Result[step, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.Playbook]("playbook")
	if !ok {
		return witTypes.Err[step, failed](missing)
	}
	next, err := plugin.Next(investigate.LiftBriefing(briefing), investigate.LiftOutcomes(outcomes))
	if err != nil {
		return witTypes.Err[step, failed](convert.LowerError(err))
	}
	if next.Report != nil {
		return witTypes.Ok[step, failed](watchkeeper_plugin_playbook.MakeStepConclude(investigate.LowerReport(*next.Report)))
	}
	return witTypes.Ok[step, failed](watchkeeper_plugin_playbook.MakeStepCalls(investigate.LowerCalls(next.Calls)))
}
