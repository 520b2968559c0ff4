package plugin

import (
	"fmt"

	"watchkeeper"
)

// readAlerts reads what senders send, {"alerts": [{"id": "…", "title": "…"}]}. Each mistake is named with its place.
func readAlerts(payload watchkeeper.Payload) ([]watchkeeper.Alert, error) {
	body, err := payload.JSON()
	if err != nil {
		return nil, err
	}
	list, ok := watchkeeper.Get(body, "alerts").([]any)
	if !ok {
		return nil, watchkeeper.InvalidPayload("alerts: must be a list")
	}
	alerts := make([]watchkeeper.Alert, len(list))
	for i, item := range list {
		if alerts[i], err = readAlert(i, item); err != nil {
			return nil, err
		}
	}
	return alerts, nil
}

func readAlert(index int, item any) (watchkeeper.Alert, error) {
	var alert watchkeeper.Alert
	wrong := func(key, what string) (watchkeeper.Alert, error) {
		return alert, watchkeeper.InvalidPayload("alerts[%d].%s: %s", index, key, what)
	}
	switch watchkeeper.Get(item, "severity") {
	case nil, "warning":
		alert.Severity = watchkeeper.Warning
	case "info":
		alert.Severity = watchkeeper.Info
	case "critical":
		alert.Severity = watchkeeper.Critical
	default:
		return wrong("severity", "must be info, warning or critical")
	}
	var ok bool
	if alert.ID, ok = watchkeeper.Get(item, "id").(string); !ok {
		return wrong("id", "must be a text")
	}
	if alert.Title, ok = watchkeeper.Get(item, "title").(string); !ok {
		return wrong("title", "must be a text")
	}
	if watchkeeper.Get(item, "resolved") == true {
		alert.Status = watchkeeper.Resolved
	}
	if host, ok := watchkeeper.Get(item, "host").(string); ok {
		alert.Labels = watchkeeper.Pairs{{Key: "host", Value: host}}
	}
	var err error
	if since, ok := watchkeeper.Get(item, "since").(string); ok {
		alert.StartsAt, err = watchkeeper.ReadTime(since, fmt.Sprintf("alerts[%d].since", index))
	}
	return alert, err
}
