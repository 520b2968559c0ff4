// Package plugin writes the briefing for a model, for alerts about disks.
package plugin

import (
	"fmt"
	"strings"

	"watchkeeper"
)

type plugin struct{}

func init() { watchkeeper.Register(&plugin{}) }

func (*plugin) Score(alert watchkeeper.Alert) uint32 {
	if strings.Contains(strings.ToLower(alert.Title), "disk") {
		return 60
	}
	return 0
}

func (*plugin) Build(briefing watchkeeper.Briefing) (watchkeeper.Prompt, error) {
	return watchkeeper.Prompt{
		Instructions: "Find out what fills the disk, and since when. Change nothing.",
		Task: fmt.Sprintf("%s (source %s). Which file system is full, and what filled it?",
			briefing.Alert.Title, briefing.Source),
		FirstSteps: []watchkeeper.Call{df},
	}, nil
}

var df = watchkeeper.Call{Tool: "bash", Input: `{"command":"df -h"}`, Purpose: "which file system is full"}
