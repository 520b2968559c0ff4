// Package plugin reads alerts that senders POST to a webhook.
package plugin

import (
	"strings"

	"watchkeeper"
)

type plugin struct{}

// The keys of a source's file. A key that isn't here is refused by name.
type config struct {
	WebhookPath string `json:"webhook_path"`
}

func init() { watchkeeper.Register(&plugin{}) }

func (*plugin) Configure(text []byte) (watchkeeper.Feed, error) {
	config := config{WebhookPath: "/alerts/@name@"}
	if err := watchkeeper.ReadConfig(text, &config); err != nil {
		return watchkeeper.Feed{}, err
	}
	if !strings.HasPrefix(config.WebhookPath, "/") {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("webhook_path", "must begin with `/`")
	}
	return watchkeeper.Webhook(config.WebhookPath), nil
}

func (*plugin) Parse(payload watchkeeper.Payload) ([]watchkeeper.Alert, error) {
	alerts, err := readAlerts(payload)
	watchkeeper.Log(watchkeeper.LevelInfo, "%d alerts", len(alerts))
	return alerts, err
}
