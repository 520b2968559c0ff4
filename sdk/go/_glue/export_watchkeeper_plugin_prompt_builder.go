package export_watchkeeper_plugin_prompt_builder

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"watchkeeper"
	"wit_component/convert"
	"wit_component/investigate"
	"wit_component/watchkeeper_plugin_investigation"
	"wit_component/watchkeeper_plugin_prompt_builder"
	"wit_component/watchkeeper_plugin_types"
)

type (
	prompt = watchkeeper_plugin_prompt_builder.Prompt
	failed = watchkeeper_plugin_types.Error
)

func Score(alert watchkeeper_plugin_types.Alert) uint32 {
	return convert.Must[watchkeeper.PromptBuilder]("prompt-builder").Score(convert.LiftAlert(alert))
}

func Build(briefing watchkeeper_plugin_investigation.Briefing) witTypes.Result[prompt, failed] {
	plugin, missing, ok := convert.Plugin[watchkeeper.PromptBuilder]("prompt-builder")
	if !ok {
		return witTypes.Err[prompt, failed](missing)
	}
	built, err := plugin.Build(investigate.LiftBriefing(briefing))
	if err != nil {
		return witTypes.Err[prompt, failed](convert.LowerError(err))
	}
	return witTypes.Ok[prompt, failed](prompt{
		Instructions: built.Instructions,
		Task:         built.Task,
		FirstSteps:   investigate.LowerCalls(built.FirstSteps),
	})
}
