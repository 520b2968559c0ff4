// Package investigate leads what investigations speak of between the SDK's types and those of the generated bindings.
package investigate

import (
	"watchkeeper"
	"wit_component/convert"
	"wit_component/watchkeeper_plugin_investigation"
)

func all[From, To any](from []From, each func(From) To) []To {
	to := make([]To, len(from))
	for i, one := range from {
		to[i] = each(one)
	}
	return to
}

func LowerCalls(calls []watchkeeper.Call) []watchkeeper_plugin_investigation.Call {
	return all(calls, func(call watchkeeper.Call) watchkeeper_plugin_investigation.Call {
		return watchkeeper_plugin_investigation.Call(call)
	})
}

func LowerReport(report watchkeeper.Report) watchkeeper_plugin_investigation.Report {
	evidence := func(one watchkeeper.Evidence) watchkeeper_plugin_investigation.Evidence {
		return watchkeeper_plugin_investigation.Evidence(one)
	}
	finding := func(one watchkeeper.Finding) watchkeeper_plugin_investigation.Finding {
		return watchkeeper_plugin_investigation.Finding{
			Statement: one.Statement,
			Evidence:  all(one.Evidence, evidence),
		}
	}
	return watchkeeper_plugin_investigation.Report{
		Summary:         report.Summary,
		RootCause:       convert.Option(report.RootCause),
		Findings:        all(report.Findings, finding),
		Recommendations: report.Recommendations,
		Confidence:      report.Confidence,
	}
}

func liftReport(report watchkeeper_plugin_investigation.Report) watchkeeper.Report {
	evidence := func(one watchkeeper_plugin_investigation.Evidence) watchkeeper.Evidence {
		return watchkeeper.Evidence(one)
	}
	finding := func(one watchkeeper_plugin_investigation.Finding) watchkeeper.Finding {
		return watchkeeper.Finding{Statement: one.Statement, Evidence: all(one.Evidence, evidence)}
	}
	return watchkeeper.Report{
		Summary:         report.Summary,
		RootCause:       convert.Pointer(report.RootCause),
		Findings:        all(report.Findings, finding),
		Recommendations: report.Recommendations,
		Confidence:      report.Confidence,
	}
}

func LiftBriefing(briefing watchkeeper_plugin_investigation.Briefing) watchkeeper.Briefing {
	past := func(one watchkeeper_plugin_investigation.PastReport) watchkeeper.PastReport {
		return watchkeeper.PastReport{
			Incident: one.Incident,
			Title:    one.Title,
			EndedAt:  one.EndedAt,
			Report:   liftReport(one.Report),
		}
	}
	tool := func(one watchkeeper_plugin_investigation.Tool) watchkeeper.Tool { return watchkeeper.Tool(one) }
	return watchkeeper.Briefing{
		Incident: briefing.Incident,
		Source:   briefing.Source,
		Alert:    convert.LiftAlert(briefing.Alert),
		Related:  all(briefing.Related, convert.LiftAlert),
		History:  all(briefing.History, past),
		Tools:    all(briefing.Tools, tool),
		Now:      briefing.Now,
	}
}

func LiftOutcomes(outcomes []watchkeeper_plugin_investigation.Outcome) []watchkeeper.Outcome {
	return all(outcomes, func(one watchkeeper_plugin_investigation.Outcome) watchkeeper.Outcome {
		return watchkeeper.Outcome{
			Call:       watchkeeper.Call(one.Call),
			Status:     watchkeeper.OutcomeStatus(one.Status),
			Output:     one.Output,
			Truncated:  one.Truncated,
			ExitCode:   convert.Pointer(one.ExitCode),
			DurationMS: one.DurationMs,
		}
	})
}
