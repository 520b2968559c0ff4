// Package uptime is of checks that are up or down; the example that is written in every language (plugins/uptime-rust says
// what of).
package uptime

import (
	"slices"
	"strconv"
	"strings"

	"watchkeeper"
)

type uptime struct {
	config config
}

// The source file's keys.
type config struct {
	WebhookPath   string   `json:"webhook_path"`
	Ignore        []string `json:"ignore"`
	CriticalAfter int64    `json:"critical_after"`
}

func init() { watchkeeper.Register(&uptime{}) }

func (u *uptime) Configure(text []byte) (watchkeeper.Feed, error) {
	read := config{WebhookPath: "/alerts/uptime", CriticalAfter: 3}
	if err := watchkeeper.ReadConfig(text, &read); err != nil {
		return watchkeeper.Feed{}, err
	}
	if !strings.HasPrefix(read.WebhookPath, "/") {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("webhook_path", "must begin with `/`")
	}
	if read.CriticalAfter < 1 {
		return watchkeeper.Feed{}, watchkeeper.InvalidConfig("critical_after", "must be 1 or more")
	}
	u.config = read
	return watchkeeper.Webhook(read.WebhookPath), nil
}

func (u *uptime) Parse(payload watchkeeper.Payload) ([]watchkeeper.Alert, error) {
	checks, err := readChecks(payload.Body)
	if err != nil {
		return nil, err
	}
	alerts := make([]watchkeeper.Alert, 0, len(checks))
	for _, check := range checks {
		if !slices.Contains(u.config.Ignore, check.name) {
			alerts = append(alerts, u.alert(check))
		}
	}
	watchkeeper.Log(watchkeeper.LevelInfo, "%d checks", len(checks))
	return alerts, nil
}

func (u *uptime) alert(check check) watchkeeper.Alert {
	alert := watchkeeper.Alert{
		ID:          check.id,
		Severity:    watchkeeper.Info,
		Status:      watchkeeper.Resolved,
		Title:       check.name + " is " + check.state,
		Description: check.message,
		Labels:      append(watchkeeper.Pairs{{Key: "check", Value: check.name}}, check.tags...),
		Annotations: watchkeeper.Pairs{{Key: "failures", Value: strconv.FormatInt(check.failures, 10)}},
	}
	if check.state == "down" {
		alert.Status = watchkeeper.Firing
		alert.Severity = watchkeeper.Warning
		if check.failures >= u.config.CriticalAfter {
			alert.Severity = watchkeeper.Critical
		}
	}
	if check.since != nil {
		startsAt := uint64(*check.since) * 1000
		alert.StartsAt = &startsAt
	}
	return alert
}

// A monitor that is set up sends a challenge, and wants it back.
func (u *uptime) Respond(payload watchkeeper.Payload) (*watchkeeper.Reply, error) {
	body, err := watchkeeper.ReadJSON(payload.Body)
	if err != nil {
		return nil, nil
	}
	challenge, ok := watchkeeper.Get(body, "challenge").(string)
	if !ok {
		return nil, nil
	}
	return &watchkeeper.Reply{
		Status:  200,
		Headers: watchkeeper.Pairs{{Key: "content-type", Value: "text/plain"}},
		Body:    []byte(challenge),
	}, nil
}

func (u *uptime) Check() error {
	if slices.Contains(u.config.Ignore, "*") {
		return watchkeeper.Failed("ignore: * leaves nothing to watch")
	}
	return nil
}
