package plugin

import (
	"fmt"

	"watchkeeper"
)

// readBatch reads what the other side answers. Each mistake is named with its place. Without a next the cursor stays as it was
// before.
func readBatch(body []byte, before *string) (watchkeeper.Batch, error) {
	batch := watchkeeper.Batch{Cursor: before}
	page, err := watchkeeper.ReadJSON(body)
	if err != nil {
		return batch, err
	}
	list, ok := watchkeeper.Get(page, "alerts").([]any)
	if !ok {
		return batch, watchkeeper.InvalidPayload("alerts: must be a list")
	}
	batch.Alerts = make([]watchkeeper.Alert, len(list))
	for i, item := range list {
		if batch.Alerts[i], err = readAlert(i, item); err != nil {
			return batch, err
		}
	}
	switch next := watchkeeper.Get(page, "next").(type) {
	case nil:
	case string:
		batch.Cursor = &next
	default:
		return batch, watchkeeper.InvalidPayload("next: must be a text")
	}
	batch.More = watchkeeper.Get(page, "more") == true
	return batch, nil
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
