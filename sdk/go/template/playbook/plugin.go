// Package plugin diagnoses full disks, without a model.
package plugin

import (
	"fmt"
	"strconv"
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

func (*plugin) Next(_ watchkeeper.Briefing, outcomes []watchkeeper.Outcome) (watchkeeper.Step, error) {
	if len(outcomes) == 0 {
		return watchkeeper.Step{Calls: []watchkeeper.Call{df}}, nil
	}
	last := outcomes[len(outcomes)-1]
	line, percent := fullest(last.Output)
	if last.Status != watchkeeper.Ran || percent < 0 {
		unknown := watchkeeper.Report{Summary: "df answered nothing that could be read.", Confidence: 0.1}
		return watchkeeper.Step{Report: &unknown}, nil
	}
	return watchkeeper.Step{Report: report(len(outcomes)-1, line, percent)}, nil
}

// fullest answers the line with the highest percentage, and that; -1 where there is none.
func fullest(output string) (string, int) {
	best, highest := "", -1
	for _, line := range strings.Split(output, "\n") {
		for _, word := range strings.Fields(line) {
			digits, ok := strings.CutSuffix(word, "%")
			percent, err := strconv.Atoi(digits)
			if ok && err == nil && percent > highest {
				best, highest = strings.TrimSpace(line), percent
			}
		}
	}
	return best, highest
}

func report(outcome int, line string, percent int) *watchkeeper.Report {
	statement := fmt.Sprintf("The fullest file system is at %d %%.", percent)
	confidence := 0.4
	if percent >= 90 {
		confidence = 0.8
	}
	evidence := []watchkeeper.Evidence{{Outcome: uint32(outcome), Excerpt: line}}
	return &watchkeeper.Report{
		Summary:         statement,
		Findings:        []watchkeeper.Finding{{Statement: statement, Evidence: evidence}},
		Recommendations: []string{"Free space, or grow the file system."},
		Confidence:      confidence,
	}
}
